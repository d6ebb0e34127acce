//! Bodies of signingCert, version 1 and 2.
#![no_main]

use countersign_ca::IssueRequest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = IssueRequest::from_v1_json(data, None);
    if let Ok(request) = IssueRequest::from_v2_json(data, Some("header".into())) {
        assert!(!request.token.is_empty());
    }
});
