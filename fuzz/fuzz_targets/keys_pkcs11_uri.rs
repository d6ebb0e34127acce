//! PKCS #11 URIs: whatever parses is written in a form that means the same, and holds no PIN.
#![no_main]

use countersign_keys::pkcs11::Pkcs11Uri;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(uri) = Pkcs11Uri::parse(text) {
        let written = uri.to_string();
        // In values the equals sign is encoded.
        assert!(!written.contains("pin-value="));
        assert_eq!(Pkcs11Uri::parse(&written).expect("what is written reads back"), uri);
    }
});
