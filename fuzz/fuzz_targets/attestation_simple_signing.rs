//! cosign's older payload: reading, and that what was read is the same after writing and reading again.
#![no_main]

use countersign_attestation::SimpleSigning;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(payload) = SimpleSigning::from_json(data) else { return };
    // Escapes can make the written text longer than what is read.
    let Ok(written) = payload.to_json() else { return };
    assert_eq!(SimpleSigning::from_json(&written).as_ref(), Ok(&payload));
});
