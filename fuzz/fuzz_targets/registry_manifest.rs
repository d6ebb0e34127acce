//! Manifests: an image or an index and never both, called by the digest of its bytes.
#![no_main]

use countersign_registry::Manifest;
use countersign_registry::manifest::Kind;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(manifest) = Manifest::parse("it", None, data.to_vec()) else { return };
    assert_eq!(manifest.bytes, data);
    let digest = manifest.descriptor.digest;
    assert_eq!(digest, countersign_crypto::HashAlgorithm::Sha256.digest(data));
    assert_eq!(Manifest::parse_checked("it", None, &digest, data.to_vec()).as_ref(), Ok(&manifest));
    let media_type = manifest.descriptor.media_type.as_str();
    assert_eq!(
        matches!(manifest.kind, Kind::Index(_)),
        media_type.contains("index") || media_type.contains("list")
    );
    let _ = manifest.as_referrer();
});
