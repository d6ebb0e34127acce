//! PEM, base64, hex and the two forms of an ECDSA signature: reading, and that what was read survives being written and
//! read again.
#![no_main]

use countersign_crypto::{KeyType, ecdsa, encoding};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for key in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521, KeyType::Ed25519] {
        if let Ok(fixed) = ecdsa::fixed_from_der(key, data) {
            assert_eq!(ecdsa::der_from_fixed(key, &fixed).as_deref(), Ok(data));
        }
        if let Ok(der) = ecdsa::der_from_fixed(key, data) {
            assert_eq!(ecdsa::fixed_from_der(key, &der).as_deref(), Ok(data));
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(bytes) = encoding::base64_decode(text) {
        assert_eq!(encoding::base64_encode(&bytes), text);
    }
    if let Ok(bytes) = encoding::base64url_decode(text) {
        assert_eq!(encoding::base64url_encode(&bytes), text);
    }
    if let Ok(bytes) = encoding::hex_decode(text) {
        assert_eq!(encoding::hex_encode(&bytes), text.to_ascii_lowercase());
    }
    for block in encoding::pem_decode(text).unwrap_or_default() {
        let written = encoding::pem_encode(&block.label, &block.der);
        let again = encoding::pem_decode(&written).expect("it was written");
        assert_eq!(again.len(), 1);
        assert_eq!((&again[0].label, &again[0].der), (&block.label, &block.der));
    }
});
