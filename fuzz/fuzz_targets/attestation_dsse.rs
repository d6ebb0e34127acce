//! DSSE envelopes: reading, and that what was read is the same after writing and reading again.
#![no_main]

use countersign_attestation::{Envelope, Statement};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(envelope) = Envelope::from_json(data) else { return };
    assert!(!envelope.signatures.is_empty());
    assert_eq!(Envelope::from_json(&envelope.to_json()).as_ref(), Ok(&envelope));
    assert!(envelope.pae().ends_with(&envelope.payload));
    let _ = Statement::from_json(&envelope.payload);
});
