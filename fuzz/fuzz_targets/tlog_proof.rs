//! Proofs: index, size and hashes as they come. Sizes at the edge of the number range must not overflow.
#![no_main]

use countersign_tlog::merkle;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((index, rest)) = data.split_first_chunk::<8>() else { return };
    let Some((size, rest)) = rest.split_first_chunk::<8>() else { return };
    let (index, size) = (u64::from_be_bytes(*index), u64::from_be_bytes(*size));
    let (proof, _) = rest.as_chunks::<32>();
    let leaf = [7; 32];
    if let Ok(root) = merkle::root_from_inclusion(&leaf, index, size, proof) {
        assert!(index < size);
        merkle::verify_inclusion(&leaf, index, size, proof, &root).expect("its own root");
    }
    let _ = merkle::verify_consistency(index, &leaf, size, &[8; 32], proof);
});
