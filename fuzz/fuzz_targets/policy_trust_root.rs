//! `TrustRoot` objects as JSON, repositories in them included: what compiles is a trusted root that can be written and read.
#![no_main]

use countersign_bundle::TrustedRoot;
use countersign_policy::cluster_image::TrustRootObject;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    let Ok(object) = TrustRootObject::read(&value) else { return };
    let Ok(compiled) = object.compile(Timestamp::UNIX_EPOCH, None) else { return };
    let json = compiled.root.to_json().expect("what was read can be written");
    assert!(TrustedRoot::from_json(&json).is_ok());
});
