//! Tile paths: each tile has one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(path) = countersign_tlog::tile::TilePath::parse(text)
    {
        assert_eq!(path.to_string(), text);
    }
});
