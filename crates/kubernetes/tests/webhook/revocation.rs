//! The webhook obeys a new revocation list with the next review, and no older one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_clock::{Clock as _, Timestamp};
use countersign_crypto::encoding::hex_encode;
use countersign_crypto::{KeyPair, Signer as _};
use countersign_kubernetes::certificate::{Keeper, KeeperError, Keeping, Kept, Memory};
use countersign_kubernetes::continuous::sink::Sending;
use countersign_kubernetes::continuous::{
    AdmissionJudge, Alert, Metrics, News, Options, Origin, Rechecker, Sink, Sinks, Standing, Verifier,
};
use countersign_kubernetes::revocation::{RevocationLists, RevocationOptions};
use countersign_kubernetes::scan::{Control, Resource, ScanOptions, Scanner, Settings};
use countersign_policy::PolicySet;
use countersign_verify::TrustMaterial;
use countersign_verify::revocation::{Entry, Revocation, RevocationAuthority, RevocationList, Target, seal};
use tokio::sync::mpsc;

use crate::support::{Hook, Registry, key, pod, review, signed_by};

struct Bench {
    hook: Hook,
    image: String,
    signer: Arc<KeyPair>,
    soc: Arc<KeyPair>,
    keeper: Arc<dyn Keeper>,
    lists: RevocationLists,
    _registry: Registry,
}

fn now() -> Timestamp {
    countersign_clock::SystemClock.now()
}

fn lists(hook: &Hook, soc: &KeyPair, keeper: &Arc<dyn Keeper>) -> RevocationLists {
    RevocationLists::new(RevocationOptions {
        authority: RevocationAuthority::new(&[soc.public_key().clone()], &[]).unwrap(),
        material: TrustMaterial::empty(),
        keeper: Arc::clone(keeper),
        source: Arc::clone(&hook.source),
        metrics: Arc::clone(&hook.metrics),
        clock: Arc::new(countersign_clock::SystemClock),
    })
}

impl Bench {
    async fn new() -> Self {
        let (registry, signer, soc) = (Registry::start().await, key(), key());
        let image = registry.put("v1").await;
        registry.sign("v1", &signer).await;
        let hook = Hook::start(vec![signed_by("acme", &registry, &signer)]).await;
        let keeper: Arc<dyn Keeper> = Arc::<Memory>::default();
        let lists = lists(&hook, &soc, &keeper);
        Self { hook, image, signer, soc, keeper, lists, _registry: registry }
    }

    fn list(&self, number: u64, revoked: &[&KeyPair]) -> RevocationList {
        let entry = |(id, key): (u32, &&KeyPair)| Entry {
            id,
            revoke: Some(Revocation {
                target: Target::Key(hex_encode(&key.public_key().fingerprint())),
                since: None,
                until: None,
                expires: None,
            }),
            undo: None,
            reason: "leaked".into(),
            by: "soc".into(),
            at: now(),
        };
        let entries = (1..).zip(revoked).map(entry).collect();
        let expires = now().checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
        RevocationList { number, issued_at: now(), expires, entries }
    }

    fn sealed(&self, number: u64, revoked: &[&KeyPair]) -> Vec<u8> {
        seal(&self.list(number, revoked), &*self.soc).unwrap()
    }

    /// The answer to a pod with the image: `None` when it is admitted.
    async fn refused(&self) -> Option<String> {
        let answer = self.hook.review("/validate", &review("CREATE", &pod(&[&self.image]))).await;
        (!answer.allowed()).then(|| answer.message().to_owned())
    }
}

#[tokio::test]
async fn a_new_list_is_obeyed_by_the_next_review_although_the_image_was_judged_a_moment_ago() {
    let bench = Bench::new().await;
    let without = bench.refused().await.unwrap();
    assert!(without.contains("a revocation list is to be obeyed and there is none yet"), "{without}");
    assert_eq!(bench.lists.offer("the cluster", &bench.sealed(1, &[])).await, Ok(true));
    assert_eq!(bench.refused().await, None);
    assert_eq!(bench.lists.offer("the cluster", &bench.sealed(2, &[&bench.signer])).await, Ok(true));
    let refused = bench.refused().await.unwrap();
    for part in ["revoked", "leaked", "by soc", "entry 1 of list 2"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert_eq!(bench.lists.offer("the cluster", &bench.sealed(3, &[])).await, Ok(true), "undone");
    assert_eq!(bench.refused().await, None);
}

#[tokio::test]
async fn what_does_not_count_is_told_and_the_last_good_list_goes_on() {
    let bench = Bench::new().await;
    bench.lists.offer("the cluster", &bench.sealed(5, &[&bench.signer])).await.unwrap();
    let other = key();
    let forged = seal(&bench.list(6, &[]), &*other).unwrap();
    for wrong in [b"{}".to_vec(), forged, bench.sealed(4, &[]), bench.sealed(5, &[])] {
        assert!(bench.lists.offer("the cluster", &wrong).await.is_err());
        assert!(bench.refused().await.unwrap().contains("revoked"));
    }
    let (_, page) = bench.hook.get("/metrics").await;
    assert!(page.contains("countersign_admission_revocation_lists_refused_total 4"), "{page}");
    assert!(page.contains("countersign_admission_revocation_list_number 5"), "{page}");
    // The same once more is neither new nor wrong.
    let held = bench.lists.current().await.unwrap();
    assert_eq!((held.list().number, *bench.lists.changes().borrow()), (5, 5));
}

#[tokio::test]
async fn a_restart_forgets_neither_what_is_revoked_nor_the_highest_number() {
    let bench = Bench::new().await;
    bench.lists.offer("the cluster", &bench.sealed(5, &[&bench.signer])).await.unwrap();
    let again = lists(&bench.hook, &bench.soc, &bench.keeper);
    assert!(bench.refused().await.unwrap().contains("none yet"));
    again.restore().await.unwrap();
    assert!(bench.refused().await.unwrap().contains("revoked"));
    assert!(again.offer("the cluster", &bench.sealed(4, &[])).await.is_err(), "an old object was put back");
    assert!(bench.refused().await.unwrap().contains("revoked"));
    // Somebody else may revoke now: the record says nothing, and that is told.
    let others = lists(&bench.hook, &key(), &bench.keeper);
    assert!(others.restore().await.unwrap_err().to_string().contains("not signed by anybody who may revoke"));
}

/// A keeper that cannot be reached for a while.
#[derive(Debug, Default)]
struct Away {
    kept: Memory,
    away: AtomicBool,
}

impl Keeper for Away {
    fn read(&self) -> Keeping<'_, Option<Kept>> {
        if self.away.load(Ordering::SeqCst) {
            return Box::pin(async { Err(KeeperError("no answer within 5 s".into())) });
        }
        self.kept.read()
    }

    fn replace<'a>(&'a self, old: Option<&'a Kept>, new: &'a str) -> Keeping<'a, bool> {
        self.kept.replace(old, new)
    }
}

#[tokio::test]
async fn no_list_is_taken_while_nobody_knows_which_was_the_last() {
    let mut bench = Bench::new().await;
    let keeper = Arc::new(Away::default());
    bench.keeper = Arc::clone(&keeper) as _;
    bench.lists = lists(&bench.hook, &bench.soc, &bench.keeper);
    bench.lists.offer("the cluster", &bench.sealed(5, &[&bench.signer])).await.unwrap();
    keeper.away.store(true, Ordering::SeqCst);
    // A restart, while the API server that has the record does not answer.
    bench.lists = lists(&bench.hook, &bench.soc, &bench.keeper);
    assert!(bench.lists.restore().await.is_err());
    let old = bench.sealed(4, &[]);
    let refused = bench.lists.offer("the cluster", &old).await.unwrap_err().to_string();
    assert!(
        refused.contains("it may be an older one") && refused.contains("no answer within 5 s"),
        "{refused}"
    );
    assert!(bench.refused().await.unwrap().contains("none yet"), "and so nothing can be checked");
    keeper.away.store(false, Ordering::SeqCst);
    let refused = bench.lists.offer("the cluster", &old).await.unwrap_err().to_string();
    assert!(refused.contains("expected number 5 or more, found 4"), "{refused}");
    assert!(bench.refused().await.unwrap().contains("entry 1 of list 5"));
    assert_eq!(bench.lists.offer("the cluster", &bench.sealed(6, &[])).await, Ok(true));
    assert_eq!(bench.refused().await, None);
}

#[tokio::test]
async fn a_slow_replica_does_not_put_an_older_list_into_the_record() {
    let bench = Bench::new().await;
    let slow = lists(&bench.hook, &bench.soc, &bench.keeper);
    slow.restore().await.unwrap();
    bench.lists.offer("the cluster", &bench.sealed(6, &[&bench.signer])).await.unwrap();
    assert_eq!(slow.offer("the cluster", &bench.sealed(5, &[])).await, Ok(true), "by what it knows");
    let again = lists(&bench.hook, &bench.soc, &bench.keeper);
    again.restore().await.unwrap();
    assert_eq!(again.current().await.unwrap().list().number, 6);
}

#[tokio::test]
async fn a_list_that_has_expired_is_could_not_check_and_never_revoked_or_good() {
    let bench = Bench::new().await;
    let mut list = bench.list(1, &[]);
    list.issued_at = now().checked_sub(jiff::SignedDuration::from_hours(2)).unwrap();
    list.expires = now().checked_sub(jiff::SignedDuration::from_hours(1)).unwrap();
    bench.lists.offer("the cluster", &seal(&list, &*bench.soc).unwrap()).await.unwrap();
    let refused = bench.refused().await.unwrap();
    assert!(refused.contains("has expired") && refused.contains("nobody knows what is revoked"), "{refused}");
}

/// Hands alerts on.
#[derive(Debug)]
struct Seen(mpsc::UnboundedSender<Arc<Alert>>);

impl Sink for Seen {
    fn name(&self) -> &'static str {
        "seen"
    }

    fn send<'a>(&'a self, alerts: &'a [Arc<Alert>]) -> Sending<'a> {
        Box::pin(async move {
            alerts.iter().for_each(|alert| self.0.send(Arc::clone(alert)).unwrap());
            Ok(())
        })
    }
}

#[tokio::test]
async fn what_runs_is_verified_again_as_soon_as_another_list_holds() {
    let bench = Bench::new().await;
    bench.lists.offer("the cluster", &bench.sealed(1, &[])).await.unwrap();
    let options = ScanOptions {
        controls: vec![Control::Policy],
        settings: Settings::default(),
        policies: PolicySet::default(),
        repository: None,
        at_once: 1,
    };
    let clock = Arc::new(countersign_clock::SystemClock);
    let scanner = Scanner::new(options, Arc::clone(&bench.hook.source), clock.clone());
    let judge = Arc::new(AdmissionJudge::new(Arc::clone(&bench.hook.admission), scanner));
    let (to, mut alerts) = mpsc::unbounded_channel();
    let metrics = Metrics::default();
    let sinks = Arc::new(Sinks::start(vec![Arc::new(Seen(to))], &metrics));
    let rechecker = Rechecker::default();
    tokio::spawn(rechecker.clone().follow(bench.lists.changes()));
    // Its turn comes in ten minutes, which nobody waits for here.
    let verifier = Verifier::new(Options::default(), judge, sinks, metrics.clone(), clock);
    let (news, telling) = mpsc::channel(4);
    tokio::spawn(verifier.rechecked_by(rechecker).run(telling));
    let running = Resource::of(pod(&[&bench.image]), "cluster").unwrap();
    news.send(News::There(Origin::from("pods"), Box::new(running))).await.unwrap();
    while !metrics.page().contains("countersign_continuous_workloads{status=\"passed\"} 1") {
        tokio::task::yield_now().await;
    }
    let mut told = async || {
        let alert = alerts.recv().await.unwrap();
        assert_eq!((alert.workload.name.as_str(), alert.changes.len()), ("app", 1));
        (alert.changes[0].is, alert.changes[0].message.clone())
    };
    bench.lists.offer("the cluster", &bench.sealed(2, &[&bench.signer])).await.unwrap();
    let (is, why) = told().await;
    assert!(is == Standing::Failed && why.contains("entry 1 of list 2"), "{is:?} {why}");
    bench.lists.offer("the cluster", &bench.sealed(3, &[])).await.unwrap();
    assert_eq!(told().await.0, Standing::Passed, "undone");
}
