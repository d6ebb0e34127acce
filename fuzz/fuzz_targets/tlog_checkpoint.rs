//! Checkpoint texts: reading, and that what was read is written back byte for byte; also what one says of an index.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(checkpoint) = countersign_tlog::Checkpoint::parse(text)
    {
        assert_eq!(checkpoint.to_text(), text);
        if let Ok(Some(index)) = countersign_tlog::IndexCommitment::of(&checkpoint) {
            assert!(checkpoint.extensions.contains(&index.to_line()) && index.size <= checkpoint.size);
        }
    }
});
