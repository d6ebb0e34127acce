//! What runs, judged by the policies that hold at the webhook.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_client::policy::{NoCluster, Source, SourceOptions};
use countersign_clock::SystemClock;
use countersign_kubernetes::admit::Admission;
use countersign_kubernetes::continuous::{
    AdmissionJudge, Metrics, News, Options, Rechecker, Sinks, Standing, Verifier,
};
use countersign_kubernetes::scan::{Control, ScanOptions, Scanner, Settings};
use countersign_policy::{
    Action, Ask, Pin, Policy, PolicyKind, PolicyName, PolicySet, Request, RuleResult, Status, Stop,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{Seen, deployment, origin};

/// A policy with one rule, which says what it is told to.
#[derive(Debug)]
struct Says(&'static str, Status);

impl Policy for Says {
    fn name(&self) -> PolicyName {
        PolicyName { kind: PolicyKind::Countersign, namespace: String::new(), name: self.0.into() }
    }

    fn evaluate(&self, request: &Request, _: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
        assert!(request.background, "nobody waits for an answer");
        let result = RuleResult {
            policy: self.name(),
            rule: "one".into(),
            image: None,
            digest: None,
            status: self.1,
            action: Action::Audit,
            fail_closed: true,
            reason: "told".into(),
            message: "as it was told".into(),
            properties: BTreeMap::new(),
            decided_by: Vec::new(),
            level: None,
        };
        Ok((vec![result], Vec::new()))
    }
}

fn policies(says: &[(&'static str, Status)]) -> PolicySet {
    PolicySet::new(
        says.iter().map(|(name, status)| Box::new(Says(name, *status)) as Box<dyn Policy>).collect(),
    )
}

#[tokio::test(start_paused = true)]
async fn other_policies_are_other_verdicts_at_once_and_each_policy_is_told_by_itself() {
    let source = Arc::new(Source::new(SourceOptions {
        registry: Default::default(),
        cluster: Arc::new(NoCluster),
        trust: BTreeMap::new(),
    }));
    let admission =
        Admission::new(Arc::clone(&source), Arc::new(SystemClock)).exempting(["kube-system".to_owned()]);
    let admission = Arc::new(admission);
    let options = ScanOptions {
        controls: vec![Control::Policy],
        settings: Settings::default(),
        policies: PolicySet::default(),
        repository: None,
        at_once: 1,
    };
    let scanner = Scanner::new(options, source, Arc::new(SystemClock));
    let judge = Arc::new(AdmissionJudge::new(Arc::clone(&admission), scanner));
    let (to, mut alerts) = mpsc::unbounded_channel();
    let metrics = Metrics::default();
    let sinks =
        Arc::new(Sinks::start(vec![Arc::new(Seen { to, away: Arc::default(), named: "seen" })], &metrics));
    let rechecker = Rechecker::default();
    tokio::spawn(rechecker.clone().follow(admission.changes()));
    let verifier = Verifier::new(Options::default(), judge, sinks, metrics.clone(), Arc::new(SystemClock));
    let (news, telling) = mpsc::channel(4);
    tokio::spawn(verifier.rechecked_by(rechecker).run(telling));
    let mut exempt = deployment("dns", "r.example/dns:1");
    exempt.name.namespace = "kube-system".into();
    for resource in [exempt, deployment("web", "r.example/web:1")] {
        news.send(News::There(origin(), Box::new(resource))).await.unwrap();
    }
    // Before there are policies nothing is told, and after that what they say.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(alerts.try_recv().is_err());
    admission.set_policies(policies(&[("a", Status::Fail), ("b", Status::Pass)]));
    let soon = Duration::from_secs(3);
    let mut told = async || {
        let alert = timeout(soon, alerts.recv()).await.unwrap().unwrap();
        assert_eq!(alert.workload.name, "web", "what is exempt is not judged");
        let changes = alert.changes.iter();
        changes.map(|c| (c.policy.clone().unwrap(), c.was, c.is)).collect::<Vec<_>>()
    };
    let name = |policy: &str| format!("{} {policy}, rule one", PolicyKind::Countersign.code());
    assert_eq!(told().await, [(name("a"), None, Standing::Failed)]);
    // The one that failed all along hides nothing.
    admission.set_policies(policies(&[("a", Status::Fail), ("b", Status::Fail)]));
    assert_eq!(told().await, [(name("b"), Some(Standing::Passed), Standing::Failed)]);
    admission.set_policies(policies(&[("b", Status::Pass)]));
    let mut changes = told().await;
    changes.sort();
    assert_eq!(
        changes,
        [
            (name("a"), Some(Standing::Failed), Standing::Gone),
            (name("b"), Some(Standing::Failed), Standing::Passed)
        ]
    );
}
