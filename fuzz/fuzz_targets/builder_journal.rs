//! Journals of builds: what makes a statement is about something.
#![no_main]

use countersign_builder::signer::statement;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(statement) = statement(data) else { return };
    assert!(!statement.subjects.is_empty() && statement.subjects.iter().all(|one| !one.digest.is_empty()));
});
