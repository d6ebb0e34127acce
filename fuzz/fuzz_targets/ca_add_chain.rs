//! Bodies of add-chain and add-pre-chain: a chain that is read is not empty.
#![no_main]

use countersign_ca::ct::parse_submission;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(chain) = parse_submission(data) {
        assert!((1..=8).contains(&chain.len()));
    }
});
