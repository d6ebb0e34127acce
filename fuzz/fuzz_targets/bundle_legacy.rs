//! cosign's older forms: a layer's bytes and its annotations, as one JSON object of texts with the layer under "".
#![no_main]

use std::collections::BTreeMap;

use countersign_attestation::json;
use countersign_bundle::{Bundle, BundleVersion, legacy};
use libfuzzer_sys::fuzz_target;

fn check(bundle: &Bundle) {
    assert_eq!(bundle.version, BundleVersion::Legacy);
    assert_eq!(bundle.check_shape(), Ok(()));
    assert!(!bundle.content.signature().is_empty());
}

fuzz_target!(|data: &[u8]| {
    if let Ok(bundle) = legacy::from_blob_bundle(data) {
        check(&bundle);
        let written = legacy::to_blob_bundle(&bundle).expect("a blob's signature");
        let again = legacy::from_blob_bundle(&written).expect("what was written can be read");
        assert_eq!(again.content, bundle.content);
        assert_eq!(again.verification_material.content.leaf(), bundle.verification_material.content.leaf());
    }
    let Ok(mut annotations) = json::from_slice::<BTreeMap<String, String>>(data, 1 << 20) else { return };
    let layer = annotations.remove("").unwrap_or_default();
    if let Ok(bundle) = legacy::from_signature_layer(layer.as_bytes(), &annotations) {
        check(&bundle);
        let written = legacy::to_annotations(&bundle, &[]);
        assert_eq!(legacy::from_signature_layer(layer.as_bytes(), &written).as_ref(), Ok(&bundle));
    }
    if let Ok(bundle) = legacy::from_attestation_layer(layer.as_bytes(), &annotations) {
        check(&bundle);
        assert_eq!(bundle.content.stamped(), layer.as_bytes());
    }
});
