//! Reviews while everything fails that can: registries, the cluster, the clock, clients, the webhook itself, with policies
//! and trust roots that change under way. Whatever happens, no image is admitted which the policy's signers have not
//! signed, and there is always an answer before the API server gives up.
//!
//! ```sh
//! COUNTERSIGN_CHAOS_REVIEWS=100000 cargo test -p countersign-kubernetes --test webhook chaos -- --nocapture
//! ```
//!
//! `COUNTERSIGN_CHAOS_SEED` takes the seed of another run. Times mean something only where nothing else wants the processors.

mod dice;
mod hostile;
mod registry;
mod run;
mod world;

use std::time::Instant;

use self::run::Run;

/// How many reviews without being told.
const REVIEWS: usize = 600;
/// How many are under way at once. Most of them wait, since a registry hangs or is slow.
const AT_ONCE: usize = if cfg!(debug_assertions) { 12 } else { 128 };
/// How many of what is wrong are shown, and how much of each.
const SHOWN: (usize, usize) = (20, 1000);

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: expected a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_chaos_nothing_is_admitted_that_is_not_signed_and_there_is_always_an_answer() {
    let reviews = number("COUNTERSIGN_CHAOS_REVIEWS").unwrap_or(REVIEWS);
    let mut drawn = [0; 4];
    countersign_crypto::random(&mut drawn).unwrap();
    let seed =
        number("COUNTERSIGN_CHAOS_SEED").unwrap_or(usize::try_from(u32::from_le_bytes(drawn)).unwrap());
    println!("seed {seed}, {reviews} reviews");
    let started = Instant::now();
    let run = Run::start(reviews, u64::try_from(seed).unwrap()).await;
    run.all(AT_ONCE).await;
    println!("{:.1} s until all is calm", started.elapsed().as_secs_f32());
    run.is_well_when_all_is_calm().await;
    let counts = run.counts();
    println!("{counts}\n{:.1} s", started.elapsed().as_secs_f32());
    let wrong = counts.wrong.len();
    for text in counts.wrong.iter().take(SHOWN.0) {
        println!("wrong: {}", text.chars().take(SHOWN.1).collect::<String>());
    }
    assert!(wrong == 0, "seed {seed}: {wrong} wrong");
    assert_eq!(
        counts.admitted + counts.refused + counts.could_not_check + counts.left + counts.killed,
        reviews
    );
    // A run in which nothing happened shows nothing.
    assert!(counts.admitted > reviews / 50 && counts.refused > reviews / 50, "seed {seed}: {counts:#?}");
    assert!(counts.could_not_check > 0 && counts.left > 0 && counts.restarts > 1, "seed {seed}: {counts:#?}");
    assert!(counts.faults > reviews / 100 && counts.changes > reviews / 100, "seed {seed}: {counts:#?}");
}
