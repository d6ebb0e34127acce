//! Files of policies: whatever stands in them, each object is read or refused.
#![no_main]

use countersign_policy::{convert, load, read_documents};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(documents) = read_documents(text) else { return };
    for document in &documents {
        let _ = convert(document);
    }
    if let Ok(loaded) = load(documents) {
        for policy in loaded.policies() {
            let _ = (policy.name().to_string(), policy.lints());
        }
        let _ = loaded.into_policy_set(&[]);
    }
});
