//! Several replicas that share an authority.

use std::sync::Arc;

use countersign_client::policy::NoCluster;
use countersign_clock::{ManualClock, SystemClock, Timestamp};
use countersign_kubernetes::admit::Admission;
use countersign_kubernetes::certificate::{Certificates, Keeper, Keeping, Kept, Memory};
use countersign_policy::PolicySet;
use countersign_x509::{Certificate, San};
use futures_util::future::join_all;
use tokio::sync::Barrier;

use crate::support::{Hook, pod, review, source};

#[tokio::test]
async fn replicas_answer_with_one_authority_and_go_on_when_one_ends() {
    let keeper = Arc::new(Memory::default()) as Arc<dyn Keeper>;
    let mut hooks = Vec::new();
    for _ in 0..2 {
        let admission = Admission::new(Arc::new(source(NoCluster)), Arc::new(SystemClock));
        let hook = Hook::kept(admission, Arc::clone(&keeper)).await;
        hook.admission.set_policies(PolicySet::default());
        hooks.push(hook);
    }
    assert_eq!(hooks[0].certificates.bundle(), hooks[1].certificates.bundle());
    // The API server knows one bundle, whichever replica wrote it.
    let client = hooks[0].client();
    let body = review("CREATE", &pod(&["r.example/a"])).to_string();
    for hook in &hooks {
        let asked = client.post(format!("{}/validate", hook.running.url)).body(body.clone());
        assert_eq!(asked.send().await.unwrap().status(), 200);
    }
    let ended = hooks.remove(0);
    ended.running.shutdown();
    ended.running.wait().await.unwrap();
    let asked = client.post(format!("{}/validate", hooks[0].running.url)).body(body);
    assert_eq!(asked.send().await.unwrap().status(), 200);
}

/// A keeper whose readers all see the same before anybody writes: the worst that can happen to replicas.
#[derive(Debug)]
struct Racing {
    kept: Memory,
    together: Barrier,
    races: std::sync::atomic::AtomicUsize,
}

impl Keeper for Racing {
    fn read(&self) -> Keeping<'_, Option<Kept>> {
        Box::pin(async move {
            let read = self.kept.read().await;
            use std::sync::atomic::Ordering::SeqCst;
            let racing = self.races.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
            if racing {
                self.together.wait().await;
            }
            read
        })
    }

    fn replace<'a>(&'a self, old: Option<&'a Kept>, new: &'a str) -> Keeping<'a, bool> {
        self.kept.replace(old, new)
    }
}

#[tokio::test]
async fn replicas_that_race_come_to_one_authority_at_the_start_and_at_a_rotation() {
    const REPLICAS: usize = 4;
    let racing = Arc::new(Racing {
        kept: Memory::default(),
        together: Barrier::new(REPLICAS),
        races: REPLICAS.into(),
    });
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(2_000_000_000).unwrap()));
    let open = || {
        let names = vec![San::Dns("countersign-admission.countersign.svc".into())];
        Certificates::open(Arc::clone(&racing) as _, names, Arc::clone(&clock) as _)
    };
    let replicas: Vec<Certificates> =
        join_all((0..REPLICAS).map(|_| open())).await.into_iter().map(Result::unwrap).collect();
    let bundles = |expected: usize| {
        for replica in &replicas {
            assert_eq!(replica.bundle(), replicas[0].bundle());
            assert_eq!(Certificate::chain_from_pem(&replica.bundle()).unwrap().len(), expected);
        }
    };
    bundles(1);
    let first = replicas[0].bundle();
    // All see at once that a new authority is due.
    clock.advance_seconds(500 * 24 * 3600);
    racing.races.store(REPLICAS, std::sync::atomic::Ordering::SeqCst);
    for refreshed in join_all(replicas.iter().map(Certificates::refresh)).await {
        refreshed.unwrap();
    }
    bundles(2);
    assert!(replicas[0].bundle().contains(first.trim()), "what serves now is still believed");
    // One is slow, and the other signs by the new authority already: both bundles know both.
    clock.advance_seconds(3600);
    replicas[1].refresh().await.unwrap();
    bundles(2);
}
