//! Trust policies of both kinds: a document that is accepted has a statement which says what it asks for.
#![no_main]

use countersign_notary::policy::{BlobPolicy, DistinguishedName, Level, OciPolicy, Statement};
use libfuzzer_sys::fuzz_target;

fn check(statement: &Statement) {
    assert!(!statement.name.is_empty());
    assert_eq!(statement.rules.is_none(), statement.level == Level::Skip);
    assert!(statement.rules.iter().all(|rules| !rules.stores.is_empty()));
}

fuzz_target!(|data: &[u8]| {
    if let Ok(policy) = OciPolicy::parse(data) {
        policy.statements().for_each(check);
        if let Ok(statement) = policy.statement_for("registry.example.com/app") {
            check(statement);
        }
    }
    if let Ok(policy) = BlobPolicy::parse(data) {
        policy.statements().for_each(check);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = DistinguishedName::parse(text).map(|name| name.to_string());
    }
});
