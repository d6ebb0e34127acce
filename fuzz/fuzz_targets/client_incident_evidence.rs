//! Evidence of an incident: reading it, and verifying it by a trusted root that trusts nobody.
#![no_main]

use std::sync::LazyLock;

use countersign_bundle::TrustedRoot;
use countersign_client::incident::Evidence;
use countersign_clock::Timestamp;
use libfuzzer_sys::fuzz_target;

static NOBODY: LazyLock<TrustedRoot> = LazyLock::new(|| {
    let empty = br#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[],"certificateAuthorities":[],"ctlogs":[],"timestampAuthorities":[]}"#;
    TrustedRoot::from_json(empty).unwrap()
});

fuzz_target!(|data: &[u8]| {
    if let Ok(evidence) = Evidence::from_json("it", data) {
        assert!(evidence.verify(&NOBODY, Timestamp::UNIX_EPOCH).is_err());
    }
});
