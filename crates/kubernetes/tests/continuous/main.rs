//! What runs is verified in turn and when something changes; what changed is told once; nothing grows without end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

mod cluster;
#[path = "../../../registry/tests/it/images.rs"]
#[expect(dead_code, reason = "shared with the tests of the registry's client, which need more of it")]
mod images;
mod policies;
mod receivers;
#[path = "../../../registry/tests/it/support/mod.rs"]
#[expect(dead_code, reason = "shared with the tests of the registry's client, which need more of it")]
mod registry;
mod removed;
mod sinks;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use countersign_kubernetes::continuous::{Limits, News, Options, Standing};
use countersign_kubernetes::scan::Status;
use tokio::time::{Instant, sleep, timeout};

use support::{Bench, Told, deployment, origin};

const INTERVAL: Duration = Duration::from_secs(600);
const GOOD: &str = "r.example/good:1";
const BAD: &str = "r.example/bad:1";

fn many() -> Options {
    Options { per_second: 1000, at_once: 100, ..Options::default() }
}

#[tokio::test(start_paused = true)]
async fn every_workload_is_verified_once_in_an_interval_and_never_in_one_burst() {
    let bench = Bench::start(many());
    for n in 0..600 {
        bench.there(&format!("w{n}"), GOOD).await;
    }
    sleep(Duration::from_secs(2)).await;
    let first = bench.judge.times();
    let mut last: BTreeMap<String, Instant> = first.into_iter().map(|(name, at, _)| (name, at)).collect();
    assert_eq!(last.len(), 600, "at once, as they are new");
    sleep(3 * INTERVAL).await;
    let (mut per_minute, mut rounds) = (BTreeMap::<u64, u32>::new(), 0);
    for (name, at, since) in bench.judge.times() {
        assert!(at - last[&name] <= INTERVAL, "{name}");
        assert!(since >= last[&name] && since <= at, "by evidence that is newer than the last look");
        last.insert(name, at);
        *per_minute.entry((at - bench.begun).as_secs() / 60).or_default() += 1;
        rounds += 1;
    }
    assert!((1798..=1802).contains(&rounds), "{rounds}");
    assert!(per_minute.values().all(|count| *count <= 62), "{per_minute:?}");
}

#[tokio::test(start_paused = true)]
async fn registries_are_asked_for_so_many_in_a_second_and_so_many_at_once() {
    let options = Options { per_second: 10, at_once: 4, ..Options::default() };
    let bench = Bench::with(options, Told { takes: Duration::from_millis(350), ..Told::default() });
    for n in 0..200 {
        bench.there(&format!("w{n}"), GOOD).await;
    }
    sleep(Duration::from_secs(10)).await;
    let judged = bench.judge.times().len();
    assert!((95..=101).contains(&judged), "{judged}");
    assert!(bench.judge.most.load(Ordering::SeqCst) <= 4);
    assert!(bench.value("late_seconds").unwrap() >= 9, "that it cannot keep up is seen");
}

#[tokio::test(start_paused = true)]
async fn only_changes_are_told_and_each_once() {
    let mut bench = Bench::start(many());
    bench.there("web", GOOD).await;
    bench.judge.say(BAD, Status::Failed);
    bench.there("shop", BAD).await;
    assert_eq!(bench.alert().await, ("shop".into(), vec![(None, Standing::Failed)]));
    sleep(3 * INTERVAL).await;
    assert!(bench.alerts.try_recv().is_err(), "nothing changed");
    bench.judge.say(BAD, Status::Passed);
    bench.judge.say(GOOD, Status::Failed);
    let mut told = vec![bench.alert().await, bench.alert().await];
    told.sort();
    let change = |was, is| vec![(Some(was), is)];
    assert_eq!(
        told,
        [
            ("shop".into(), change(Standing::Failed, Standing::Passed)),
            ("web".into(), change(Standing::Passed, Standing::Failed))
        ]
    );
    assert_eq!(bench.value("workloads{status=\"failed\"}"), Some(1));
    assert_eq!(bench.value("checks{control=\"C-0237\",status=\"passed\"}"), Some(1));
    assert_eq!(bench.value("failed_workloads{namespace=\"shop\"}"), Some(1));
    // What failed and is no more, is told too: somebody waits for its end.
    bench.news.send(News::Gone(origin(), deployment("web", GOOD).name)).await.unwrap();
    assert_eq!(bench.alert().await, ("web".into(), change(Standing::Failed, Standing::Gone)));
    assert_eq!(bench.value("workloads{status=\"failed\"}"), Some(0));
    assert_eq!(bench.value("failed_workloads{namespace=\"shop\"}"), None);
}

#[tokio::test(start_paused = true)]
async fn a_hiccup_of_a_registry_is_no_alarm_and_a_long_one_is() {
    let mut bench = Bench::start(many());
    bench.there("web", GOOD).await;
    sleep(Duration::from_secs(1)).await;
    bench.judge.say(GOOD, Status::Unchecked);
    bench.rechecker.all();
    sleep(Duration::from_secs(300)).await;
    bench.judge.say(GOOD, Status::Passed);
    sleep(INTERVAL).await;
    assert!(bench.alerts.try_recv().is_err());
    bench.judge.say(GOOD, Status::Unchecked);
    bench.rechecker.all();
    let begun = Instant::now();
    assert_eq!(bench.alert().await, ("web".into(), vec![(Some(Standing::Passed), Standing::Unchecked)]));
    let after = begun.elapsed();
    assert!(after >= Duration::from_secs(900) && after <= Duration::from_secs(970), "{after:?}");
    bench.judge.say(GOOD, Status::Passed);
    let begun = Instant::now();
    assert_eq!(bench.alert().await, ("web".into(), vec![(Some(Standing::Unchecked), Standing::Passed)]));
    assert!(begun.elapsed() <= Duration::from_secs(61), "it is tried again soon");
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_one_is_looked_for_at_once_in_all_that_run_the_same() {
    let mut bench = Bench::start(many());
    for n in 0..50 {
        bench.there(&format!("w{n}"), GOOD).await;
    }
    bench.there("other", "r.example/other:1").await;
    sleep(Duration::from_secs(2)).await;
    bench.judge.times();
    bench.judge.say(GOOD, Status::Failed);
    let begun = Instant::now();
    bench.alert().await;
    let first = Instant::now();
    assert!(first - begun <= INTERVAL / 50, "the first of fifty comes early");
    for _ in 1..50 {
        bench.alert().await;
    }
    assert!(first.elapsed() <= Duration::from_secs(1), "{:?}", first.elapsed());
    let judged = bench.judge.times();
    assert!(judged.iter().all(|(name, ..)| name != "other"));
    // By the evidence that the first one found: what was asked for then and not since.
    let shared = judged.iter().filter(|(_, at, since)| *at >= first && *since <= first);
    let bars: BTreeSet<Instant> = shared.clone().map(|(_, _, since)| *since).collect();
    assert!(shared.count() >= 48 && bars.len() <= 2, "{bars:?}");
}

#[tokio::test(start_paused = true)]
async fn a_changed_workload_and_changed_policies_are_verified_at_once() {
    let mut bench = Bench::start(Options { per_second: 10, ..Options::default() });
    for n in 0..30 {
        bench.there(&format!("w{n}"), GOOD).await;
    }
    sleep(Duration::from_secs(10)).await;
    bench.judge.times();
    bench.there("w0", GOOD).await;
    sleep(Duration::from_millis(10)).await;
    assert!(bench.judge.times().iter().all(|(name, ..)| name != "w0"), "it is as it was");
    bench.judge.say(BAD, Status::Failed);
    bench.there("w0", BAD).await;
    let begun = Instant::now();
    assert_eq!(bench.alert().await, ("w0".into(), vec![(Some(Standing::Passed), Standing::Failed)]));
    assert!(begun.elapsed() < Duration::from_secs(1));
    bench.judge.times();
    bench.rechecker.all();
    bench.rechecker.all();
    sleep(Duration::from_secs(4)).await;
    let judged = bench.judge.times().len();
    assert!((30..=32).contains(&judged), "all of them once: {judged}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_before_there_is_something_to_judge_by() {
    let mut bench = Bench::start(many());
    bench.judge.unready.store(true, Ordering::SeqCst);
    bench.judge.say(BAD, Status::Failed);
    bench.there("web", BAD).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(bench.value("workloads{status=\"waiting\"}"), Some(1));
    bench.judge.unready.store(false, Ordering::SeqCst);
    let told = timeout(Duration::from_secs(2), bench.alert()).await.unwrap();
    assert_eq!(told, ("web".into(), vec![(None, Standing::Failed)]));
}

#[tokio::test(start_paused = true)]
async fn a_fault_over_one_workload_is_that_workloads_alone() {
    let mut bench = Bench::start(many());
    bench.there("fault", "r.example/fault:1").await;
    bench.judge.say(BAD, Status::Failed);
    bench.there("web", BAD).await;
    assert_eq!(bench.alert().await.0, "web");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.value("faults_total"), Some(1));
    sleep(INTERVAL).await;
    assert!(bench.value("faults_total").unwrap() >= 2, "it stays in turn");
    bench.there("web", "r.example/fault:2").await;
    assert_eq!(bench.alert().await, ("web".into(), vec![(Some(Standing::Failed), Standing::Unchecked)]));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_workloads_of_as_many_images_are_kept_in_a_bounded_room() {
    let limits = Limits { workloads: 9_900, ..Limits::default() };
    let options = Options { limits, per_second: 5000, at_once: 16, ..Options::default() };
    let bench = Bench::with(options, Told { takes: Duration::from_millis(1), ..Told::default() });
    bench.news.send(News::Begun(origin())).await.unwrap();
    for n in 0..10_000 {
        bench.there(&format!("w{n}"), &format!("r.example/app:{n}")).await;
    }
    bench.news.send(News::Read(origin())).await.unwrap();
    sleep(Duration::from_secs(30)).await;
    let judged: BTreeSet<String> = bench.judge.times().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(judged.len(), 9_900);
    assert!(bench.judge.most.load(Ordering::SeqCst) <= 16);
    assert_eq!(bench.value("workloads{status=\"passed\"}"), Some(9_900));
    assert_eq!(bench.value("workloads_beyond_limit"), Some(100), "what has no room is seen");
    assert!(bench.value("kept_bytes").unwrap() < 16 << 20, "{:?}", bench.value("kept_bytes"));
    // A list that is read again and holds nothing any more.
    bench.news.send(News::Begun(origin())).await.unwrap();
    bench.news.send(News::Read(origin())).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!((bench.value("workloads{status=\"passed\"}"), bench.value("kept_bytes")), (Some(0), Some(0)));
}
