//! Entry bundles: the first byte is the width less one, the rest the bundle.
#![no_main]

use countersign_tlog::tile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((width, bundle)) = data.split_first() else { return };
    if let Ok(entries) = tile::parse_entries(bundle, u16::from(*width) + 1) {
        let mut again = Vec::new();
        for entry in entries {
            tile::push_entry(&mut again, entry).expect("it was read from a bundle");
        }
        assert_eq!(again, bundle);
    }
});
