//! An inclusion proof, drawn: from the entry at the bottom to the root, with each hash that the proof brings beside the
//! way. It is drawn only when it holds.

use countersign_crypto::encoding::hex_encode;
use countersign_tlog::Hash;
use countersign_tlog::merkle::{node_hash, verify_inclusion};

const WIDTH: u32 = 360;
const STEP: u32 = 62;
const BOX_WIDTH: u32 = 108;
const BOX_HEIGHT: u32 = 30;
const MIDDLE: u32 = WIDTH / 2;

/// One level of the way up.
#[derive(Debug, PartialEq, Eq)]
struct Level {
    /// The hash that the proof brings.
    sibling: Hash,
    /// Whether it stands left of the way.
    left: bool,
    /// What both make.
    parent: Hash,
}

/// The way from a leaf to the root of a tree of some size; `None` when the proof does not lead there.
fn way(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Option<Vec<Level>> {
    verify_inclusion(leaf, index, size, proof, root).ok()?;
    let (mut node, mut last) = (index, size.checked_sub(1)?);
    let mut below = *leaf;
    let mut levels = Vec::with_capacity(proof.len());
    for sibling in proof {
        // Levels on which this node is the last one and stands alone are passed over.
        while node == last && node & 1 == 0 && node != 0 {
            node >>= 1;
            last >>= 1;
        }
        let left = node & 1 == 1;
        let parent = if left { node_hash(sibling, &below) } else { node_hash(&below, sibling) };
        levels.push(Level { sibling: *sibling, left, parent });
        below = parent;
        node >>= 1;
        last >>= 1;
    }
    (below == *root).then_some(levels)
}

/// The picture, or `None` when the proof does not hold.
pub(super) fn drawn(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Option<String> {
    let levels = way(leaf, index, size, proof, root)?;
    let count = u32::try_from(levels.len()).ok()?;
    let bottom = 8 + count * STEP;
    let height = bottom + BOX_HEIGHT + 8;
    let mut out = format!(
        "<svg class=\"proof\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"proof-title\">\n\
         <title id=\"proof-title\">From entry {index} at the bottom over {count} hashes to the root of {size} entries at \
         the top</title>\n"
    );
    let mut y = bottom;
    for level in &levels {
        let above = y - STEP;
        let x = if level.left { BOX_WIDTH / 2 + 6 } else { WIDTH - BOX_WIDTH / 2 - 6 };
        out.push_str(&format!(
            "<path class=\"way\" d=\"M{MIDDLE} {y}V{to}\"/><path class=\"edge\" d=\"M{x} {y}L{MIDDLE} {to}\"/>\n",
            to = above + BOX_HEIGHT
        ));
        out.push_str(&node("given", x, y, &level.sibling));
        y = above;
    }
    out.push_str(&node("leaf", MIDDLE, bottom, leaf));
    let mut y = bottom;
    for (number, level) in (1..).zip(&levels) {
        y -= STEP;
        out.push_str(&node(if number == count { "root" } else { "made" }, MIDDLE, y, &level.parent));
    }
    out.push_str("</svg>\n");
    Some(out)
}

fn node(class: &str, x: u32, y: u32, hash: &Hash) -> String {
    let hex = hex_encode(hash);
    let short = hex.get(..10).unwrap_or(&hex);
    format!(
        "<g class=\"{class}\"><title>{hex}</title><rect x=\"{}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" \
         rx=\"6\"/><text x=\"{x}\" y=\"{}\">{short}…</text></g>\n",
        x - BOX_WIDTH / 2,
        y + 20,
    )
}

#[cfg(test)]
mod tests {
    use countersign_tlog::merkle::leaf_hash;

    use super::*;

    /// Root and inclusion proof as RFC 6962 defines them.
    fn root_and_proof(leaves: &[Hash], index: usize) -> (Hash, Vec<Hash>) {
        if let [one] = leaves {
            return (*one, Vec::new());
        }
        let middle = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(middle);
        if index < middle {
            let (own, mut proof) = root_and_proof(left, index);
            let (other, _) = root_and_proof(right, 0);
            proof.push(other);
            (node_hash(&own, &other), proof)
        } else {
            let (own, mut proof) = root_and_proof(right, index - middle);
            let (other, _) = root_and_proof(left, 0);
            proof.push(other);
            (node_hash(&other, &own), proof)
        }
    }

    #[test]
    fn every_proof_of_small_trees_is_drawn_to_its_root_and_a_false_one_is_not() {
        for size in 1..=34_u64 {
            let leaves: Vec<Hash> = (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect();
            for index in 0..size {
                let at = usize::try_from(index).unwrap();
                let (root, proof) = root_and_proof(&leaves, at);
                let levels = way(&leaves[at], index, size, &proof, &root).unwrap();
                assert_eq!(levels.len(), proof.len());
                let picture = drawn(&leaves[at], index, size, &proof, &root).unwrap();
                assert_eq!(picture.matches("class=\"given\"").count(), proof.len());
                assert!(picture.contains(&hex_encode(&root)));
                assert_eq!(drawn(&leaves[at], index, size, &proof, &[7; 32]), None);
                if size > 1 {
                    assert_eq!(drawn(&[7; 32], index, size, &proof, &root), None);
                }
            }
        }
    }
}
