//! Signed notes: reading, and that what was read is written back byte for byte.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(note) = countersign_tlog::Note::parse(data) {
        assert_eq!(note.to_string().as_bytes(), data);
        let _ = countersign_tlog::Checkpoint::parse(note.text());
    }
});
