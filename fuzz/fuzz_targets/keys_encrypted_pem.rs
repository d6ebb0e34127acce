//! Encrypted key files: parsing and every check before the key derivation, with the derivation behind them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = countersign_keys::encrypted::decrypt(text, b"");
    }
});
