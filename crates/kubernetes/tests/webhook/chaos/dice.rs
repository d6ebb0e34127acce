//! Chance with a seed.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers by chance (splitmix64), safe to share. The same seed gives the same numbers; who draws which depends on the
/// machine.
#[derive(Debug)]
pub(super) struct Dice(AtomicU64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A number below this one.
    pub(super) fn below(&self, bound: usize) -> usize {
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        let mut z = self.0.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }

    /// True this many times of a thousand.
    pub(super) fn permille(&self, times: usize) -> bool {
        self.below(1000) < times
    }

    pub(super) fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
