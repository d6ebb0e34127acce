//! How an entry is written down in the queue: its Merkle leaf and its stored form, for index 0.

use crate::Leaf;

/// Writes a leaf down.
pub(super) fn encode(leaf: &Leaf) -> Vec<u8> {
    let mut form = (leaf.merkle_leaf.len() as u64).to_be_bytes().to_vec();
    form.extend_from_slice(&leaf.merkle_leaf);
    form.extend_from_slice(&leaf.stored);
    form
}

/// Reads it again; `None` for what is no leaf.
pub(super) fn decode(form: &[u8]) -> Option<Leaf> {
    let (len, rest) = form.split_first_chunk::<8>()?;
    let (merkle_leaf, stored) = rest.split_at_checked(usize::try_from(u64::from_be_bytes(*len)).ok()?)?;
    Some(Leaf { merkle_leaf: merkle_leaf.to_vec(), stored: stored.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_round_trip_and_what_is_none_is_refused() {
        let leaf = Leaf { merkle_leaf: b"merkle".to_vec(), stored: b"stored form".to_vec() };
        let form = encode(&leaf);
        assert_eq!(decode(&form).unwrap(), leaf);
        for cut in 0..8 + b"merkle".len() {
            assert_eq!(decode(&form[..cut]), None, "cut to {cut}");
        }
    }
}
