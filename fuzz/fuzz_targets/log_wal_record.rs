//! Records of the log's write-ahead file: whatever is on disk, reading ends and allocates no more than it read.
#![no_main]

use countersign_log::wal::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    while let Some((record, tail)) = Record::parse(rest) {
        if let Record::Batch { entries, .. } = record {
            assert!(entries.len() <= rest.len());
        }
        assert!(tail.len() < rest.len());
        rest = tail;
    }
});
