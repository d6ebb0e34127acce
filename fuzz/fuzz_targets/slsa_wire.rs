//! Provenance in the forms in which it circulates: each piece is a whole bundle, or says what is wrong with it.
#![no_main]

use countersign_slsa::wire::{MAX_PIECES, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(pieces) = read(data) else { return };
    assert!((1..=MAX_PIECES).contains(&pieces.len()));
    for bundle in pieces.iter().filter_map(|piece| piece.bundle.as_ref().ok()) {
        assert_eq!(bundle.check_shape(), Ok(()));
        assert!(!bundle.content.signature().is_empty());
    }
});
