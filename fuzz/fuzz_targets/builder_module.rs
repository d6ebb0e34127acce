//! Archives of Go's modules: whatever is read gives one hash, and nothing comes out of few bytes without end.
#![no_main]

use std::io::Cursor;

use countersign_builder::control::module_hash;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let one = module_hash(&mut Cursor::new(data));
    let again = module_hash(&mut Cursor::new(data));
    assert_eq!(one, again);
});
