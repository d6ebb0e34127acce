//! In-toto statements: reading, and that what was read is the same after writing and reading again.
#![no_main]

use countersign_attestation::Statement;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(statement) = Statement::from_json(data) else { return };
    let written = statement.to_json().expect("what was read can be written");
    let again = Statement::from_json(&written).expect("what was written can be read");
    assert_eq!(again.subjects, statement.subjects);
    assert_eq!(again.predicate_type, statement.predicate_type);
    assert_eq!(again.version, statement.version);
    assert_eq!(again.to_json().as_ref(), Ok(&written), "one form only");
});
