//! Public keys: reading SubjectPublicKeyInfo, and that what was read is written back byte for byte. A key that was
//! read can be asked to verify; the answer for a made-up signature is no.
#![no_main]

use countersign_crypto::{PublicKey, Scheme};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(key) = PublicKey::from_spki_der(data) {
        assert_eq!(key.spki_der(), data);
        assert_eq!(PublicKey::from_pem(&key.to_pem()).expect("it was written"), key);
        assert!(key.verify(Scheme::ECDSA_SHA256, b"message", &[0x30, 0x06, 2, 1, 1, 2, 1, 1]).is_err());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = PublicKey::from_pem(text);
    }
});
