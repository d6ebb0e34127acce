//! Log entries: reading, and that what was read is the same after writing and reading again.
#![no_main]

use countersign_bundle::TlogEntry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(entry) = TlogEntry::from_json(data) else { return };
    assert_eq!(TlogEntry::from_json(&entry.to_json()), Ok(entry));
});
