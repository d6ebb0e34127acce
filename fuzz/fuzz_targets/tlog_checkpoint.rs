//! Checkpoint texts: reading, and that what was read is written back byte for byte.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(checkpoint) = countersign_tlog::Checkpoint::parse(text)
    {
        assert_eq!(checkpoint.to_text(), text);
    }
});
