//! Entries of static CT data tiles: reading, and that what was read is written back byte for byte.
#![no_main]

use countersign_tlog::static_ct::TileLeaf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok((leaf, rest)) = TileLeaf::parse(data) {
        let used = data.len() - rest.len();
        assert_eq!(leaf.encode().expect("it was read"), &data[..used]);
        leaf.merkle_leaf().expect("it was read");
        let _ = leaf.leaf_index();
    }
});
