//! Proofs of a map: what is read is written back the same, and leads to one root that has one answer for the key.
#![no_main]

use countersign_tlog::map::{MapError, MapProof};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((key, rest)) = data.split_first_chunk::<32>() else { return };
    let Ok(proof) = MapProof::parse(rest) else { return };
    assert_eq!(proof.to_bytes(), rest);
    assert!(proof.siblings.len() <= 256);
    match proof.verify(key, &[7; 32]) {
        Err(MapError::Root | MapError::Way) => {}
        other => panic!("a root that nothing leads to: {other:?}"),
    }
});
