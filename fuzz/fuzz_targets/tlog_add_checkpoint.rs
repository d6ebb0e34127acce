//! Requests to a witness: reading, and writing what was read.
#![no_main]

use countersign_tlog::add_checkpoint::AddCheckpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(asked) = AddCheckpoint::parse(data) {
        assert_eq!(AddCheckpoint::parse(asked.to_text().as_bytes()).as_ref(), Ok(&asked));
        assert!(asked.judge(&[], None).is_err());
    }
});
