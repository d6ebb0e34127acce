//! Bodies of log entries, of both versions. A body of version 2 has one spelling; one of version 1 is written in one.
#![no_main]

use countersign_bundle::rekor::{BodyV1, HashedRekordV2};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(entry) = HashedRekordV2::parse_body(data) {
        assert_eq!(entry.canonical_body(), data);
    }
    for (kind, version) in [("hashedrekord", "0.0.1"), ("dsse", "0.0.1"), ("intoto", "0.0.2")] {
        if let Ok(body) = BodyV1::parse(kind, version, data) {
            let canonical = body.canonical_body();
            assert_eq!(BodyV1::parse(kind, version, &canonical).map(|b| b.canonical_body()), Ok(canonical));
        }
    }
});
