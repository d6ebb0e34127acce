//! Certificate signing requests: a key is given only when the request is signed by it.
#![no_main]

use countersign_x509::csr;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(key) = csr::parse(data) {
        assert!(data.windows(key.spki_der().len()).any(|w| w == key.spki_der()));
    }
});
