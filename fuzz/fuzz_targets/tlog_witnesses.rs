//! Verifier keys of witnesses: reading a list of them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(witnesses) = std::str::from_utf8(data).map(countersign_tlog::Witnesses::parse)
        && let Ok(witnesses) = witnesses
    {
        assert!(witnesses.count() > 0);
    }
});
