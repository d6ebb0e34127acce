//! Bundles: reading, and that a bundle which version 0.3 can say is the same after writing and reading again.
#![no_main]

use countersign_bundle::{Bundle, BundleVersion};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(bundle) = Bundle::from_json(data) else { return };
    assert!(!bundle.content.signature().is_empty());
    assert_eq!(bundle.check_shape(), Ok(()));
    let Ok(written) = bundle.to_json() else { return };
    let again = Bundle::from_json(&written).expect("what was written can be read");
    assert_eq!(again.version, BundleVersion::V0_3);
    assert_eq!(again.verification_material.tlog_entries, bundle.verification_material.tlog_entries);
    assert_eq!(again.verification_material.content.leaf(), bundle.verification_material.content.leaf());
    assert_eq!(again.content.signature(), bundle.content.signature());
    assert_eq!(again.to_json(), Ok(written), "one form only");
});
