//! TUF timestamp and snapshot metadata: parsing and the canonical form.
#![no_main]

use countersign_trust::tuf::metadata::{Signed, Snapshot, TimestampRole};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(file) = Signed::<TimestampRole>::parse(data) {
        let _ = file.signed_bytes();
    }
    if let Ok(file) = Signed::<Snapshot>::parse(data) {
        let _ = file.signed_bytes();
    }
});
