//! A registry whose evidence goes away: the verdict turns.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use countersign_client::image::{Forms, Signing, Target, sign};
use countersign_client::policy::{NoCluster, Source, SourceOptions};
use countersign_client::services::Services;
use countersign_client::sign::{Identity, Session};
use countersign_client::trust::Trust;
use countersign_clock::SystemClock;
use countersign_crypto::{KeyPair, KeyType, Signer as _};
use countersign_http::{Http, HttpOptions};
use countersign_kubernetes::continuous::News;
use countersign_kubernetes::continuous::{Metrics, Options, ScanJudge, Sinks, Standing, Verifier};
use countersign_kubernetes::scan::{Baseline, Control, Exceptions, ScanOptions, Scanner, Settings};
use countersign_policy::{Demands, KeySource, PolicySet, TrustRoot};
use countersign_registry::Reference;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::images;
use crate::registry::{Fake, answer, options};
use crate::support::{Seen, deployment, origin};

async fn signed(fake: &Fake, key: &Arc<KeyPair>) -> String {
    let store = fake.app();
    let descriptor = images::image(&store, "v1", "v1").await;
    let image = format!("{}/app:v1", fake.host);
    let reference = Reference::parse(&image).unwrap().at(descriptor.digest);
    let target = Target { reference, descriptor, platform: None };
    let signing =
        Signing { annotations: Vec::new(), forms: Forms { bundle: false, older: true }, identity: None };
    let (http, trust) = (Http::new(HttpOptions::default()), Trust::nobody());
    let identity = Identity::Key(Arc::clone(key) as _);
    let session = Session::new(&http, &trust, Services::default(), identity, Arc::new(SystemClock)).unwrap();
    sign(&session, Some(&store), &target, &signing, Timestamp::UNIX_EPOCH).await.unwrap();
    image
}

fn scanner(key: &KeyPair) -> Scanner {
    let settings = Settings {
        keys: vec![KeySource::Pem(key.public_key().to_pem())],
        demands: Demands { log: false, sct: false, timestamp: false },
        ..Settings::default()
    };
    let root = TrustRoot::new(Trust::nobody().root).unwrap();
    let source = Source::new(SourceOptions {
        registry: options(),
        cluster: Arc::new(NoCluster),
        trust: [(None, Arc::new(root))].into(),
    });
    let options = ScanOptions {
        controls: vec![Control::SignatureExists, Control::SignatureVerifies],
        settings,
        policies: PolicySet::default(),
        repository: None,
        at_once: 8,
    };
    Scanner::new(options, source, Arc::new(SystemClock))
}

/// The interval is short and the clock is the machine's, as the registry is a real one on loopback. That turns come once in
/// an interval is another test's.
#[tokio::test]
async fn k16_a_signature_that_is_deleted_later_turns_the_verdict_at_the_next_turn() {
    let fake = Fake::start().await;
    let key = Arc::new(KeyPair::generate(KeyType::EcdsaP256).unwrap());
    let image = signed(&fake, &key).await;
    let (to, mut alerts) = mpsc::unbounded_channel();
    let metrics = Metrics::default();
    let sinks = Sinks::start(vec![Arc::new(Seen { to, away: Arc::default(), named: "seen" })], &metrics);
    let judge = ScanJudge::new(scanner(&key), Exceptions::default(), Baseline::default());
    let options = Options { interval: Duration::from_millis(100), ..Options::default() };
    let verifier =
        Verifier::new(options, Arc::new(judge), Arc::new(sinks), metrics.clone(), Arc::new(SystemClock));
    let (news, telling) = mpsc::channel(1);
    let running = tokio::spawn(verifier.run(telling));
    news.send(News::There(origin(), Box::new(deployment("web", &image)))).await.unwrap();
    // Several turns with the signature there; the source would keep what it found for minutes.
    let verified = || {
        let page = metrics.page();
        let line =
            page.lines().find_map(|line| line.strip_prefix("countersign_continuous_verifications_total "));
        line.map_or(0, |count| count.parse::<u32>().unwrap())
    };
    while verified() < 3 {
        tokio::task::yield_now().await;
    }
    assert!(
        metrics.page().contains("countersign_continuous_workloads{status=\"passed\"} 1"),
        "{}",
        metrics.page()
    );
    assert!(alerts.try_recv().is_err());

    // The signature is deleted.
    fake.lie(|seen| {
        seen.path
            .ends_with(".sig")
            .then(|| answer(404, &[], "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\"}]}"))
    });
    let before = verified();
    let alert = tokio::time::timeout(Duration::from_secs(30), alerts.recv()).await.unwrap().unwrap();
    // A turn may have been under way.
    assert!(verified() <= before + 2, "{before}");
    let told: BTreeSet<_> =
        alert.changes.iter().map(|change| (change.control.id(), change.was, change.is)).collect();
    let turned = |control| (control, Some(Standing::Passed), Standing::Failed);
    assert_eq!(told, [turned("C-0236"), turned("C-0237")].into());
    assert!(alert.changes.iter().all(|change| change.reason == "no_signature" && !change.next.is_empty()));

    // The registry is away: that is no news, and nothing is forgotten.
    fake.lie(|_| Some(answer(503, &[], "")));
    let before = verified();
    while verified() < before + 2 {
        tokio::task::yield_now().await;
    }
    assert!(alerts.try_recv().is_err());
    assert!(metrics.page().contains("countersign_continuous_workloads{status=\"unchecked\"} 1"));
    fake.lie(|_| None);
    let alert = tokio::time::timeout(Duration::from_secs(30), alerts.recv()).await.unwrap().unwrap();
    assert!(
        alert.changes.iter().all(|c| (c.was, c.is) == (Some(Standing::Failed), Standing::Passed)),
        "{alert}"
    );
    running.abort();
}
