//! Trusted roots and trust configurations: reading, and that there is one written form.
#![no_main]

use countersign_bundle::{ClientTrustConfig, TrustedRoot};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(root) = TrustedRoot::from_json(data) {
        let written = root.to_json().expect("what was read can be written");
        let again = TrustedRoot::from_json(&written).expect("what was written can be read");
        assert_eq!(again.to_json(), Ok(written));
    }
    if let Ok(both) = ClientTrustConfig::from_json(data) {
        let written = both.to_json().expect("what was read can be written");
        let again = ClientTrustConfig::from_json(&written).expect("what was written can be read");
        assert_eq!(again.to_json(), Ok(written));
    }
});
