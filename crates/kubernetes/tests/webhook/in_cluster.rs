//! What is asked of a cluster: pull secrets, labels, ConfigMaps, keys; and the cluster's own policies together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use countersign_client::policy::{Cluster, SecretData, Told};
use countersign_clock::SystemClock;
use countersign_crypto::Signer as _;
use countersign_crypto::encoding::base64_encode;
use countersign_kubernetes::admit::Admission;
use countersign_kubernetes::policies::{Policies, PoliciesOptions};
use countersign_policy::cluster_image::NoMatch;
use countersign_policy::{CouldNot, CouldNotReason, ObjectName, PolicySet, load, read_documents};
use futures_util::future::join_all;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::support::{Hook, Registry, key, pod, review, signed_by, source};

/// A cluster in memory.
#[derive(Debug, Default, Clone)]
pub(crate) struct Kube(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    labels: BTreeMap<String, BTreeMap<String, String>>,
    secrets: BTreeMap<String, SecretData>,
    accounts: BTreeMap<String, Vec<String>>,
    maps: BTreeMap<String, BTreeMap<String, String>>,
    asked: AtomicUsize,
    hangs: AtomicBool,
    /// Questions that are being answered, and the most there ever were.
    open: AtomicUsize,
    most: AtomicUsize,
}

/// A question that is being answered, until somebody answers or gives up.
struct Open<'a>(&'a Inner);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Kube {
    async fn told<T: Clone>(&self, what: &str, found: Option<&T>) -> Result<T, CouldNot> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        self.0.most.fetch_max(self.0.open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let _open = Open(&self.0);
        if self.0.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        // Whoever else asks may come in meanwhile.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        let missing = || CouldNot::new(CouldNotReason::NotFound, format!("{what}: not found"));
        found.cloned().ok_or_else(missing)
    }

    fn asked(&self) -> usize {
        self.0.asked.swap(0, Ordering::SeqCst)
    }
}

impl Cluster for Kube {
    fn config_map<'a>(&'a self, name: &'a ObjectName) -> Told<'a, BTreeMap<String, String>> {
        Box::pin(async move { self.told(&name.to_string(), self.0.maps.get(&name.to_string())).await })
    }

    fn namespace_labels<'a>(&'a self, name: &'a str) -> Told<'a, BTreeMap<String, String>> {
        Box::pin(async move { self.told(name, self.0.labels.get(name)).await })
    }

    fn secret<'a>(&'a self, name: &'a ObjectName) -> Told<'a, SecretData> {
        Box::pin(async move { self.told(&name.to_string(), self.0.secrets.get(&name.to_string())).await })
    }

    fn pull_secrets<'a>(&'a self, account: &'a ObjectName) -> Told<'a, Vec<ObjectName>> {
        Box::pin(async move {
            let found = self.told(&account.to_string(), self.0.accounts.get(&account.to_string())).await;
            let named = |name| ObjectName { namespace: account.namespace.clone(), name };
            Ok(found.unwrap_or_default().into_iter().map(named).collect())
        })
    }
}

/// A cluster with labels of the namespace `shop`.
pub(crate) fn labelled(labels: &[(&str, &str)]) -> Kube {
    let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Kube(Arc::new(Inner { labels: [("shop".to_owned(), labels)].into(), ..Inner::default() }))
}

/// A pull secret of the registry's user `u` with the password `p`.
fn pull_secret(registry: &Registry) -> SecretData {
    let auths =
        json!({"auths": {registry.host.clone(): {"auth": base64_encode(b"u:p")}}, "credsStore": "none"});
    [(".dockerconfigjson".to_owned(), Zeroizing::new(auths.to_string().into_bytes()))].into()
}

/// From now on only that user is answered.
fn demand_login(registry: &Registry) {
    let wanted = format!("Basic {}", base64_encode(b"u:p"));
    registry.lie(move |_, headers| {
        let known = headers.get("authorization").is_some_and(|given| given.as_bytes() == wanted.as_bytes());
        let login = [("www-authenticate", "Basic realm=\"r\"")];
        (!known).then(|| (StatusCode::UNAUTHORIZED, login, "").into_response())
    });
}

async fn bench() -> (Registry, String, Arc<countersign_crypto::KeyPair>) {
    let (registry, own) = (Registry::start().await, key());
    registry.put("v1").await;
    registry.sign("v1", &own).await;
    let image = registry.image("v1");
    (registry, image, own)
}

#[tokio::test]
async fn pull_secrets_of_the_pod_and_of_its_account_are_used_and_those_of_others_are_not() {
    let (registry, image, own) = bench().await;
    demand_login(&registry);
    for (secret, accounts, named, admitted) in [
        ("shop/pull", vec![], vec!["pull"], true),
        ("shop/pull", vec!["pull"], vec![], true),
        ("other/pull", vec!["pull"], vec!["pull"], false),
        ("shop/pull", vec![], vec![], false),
    ] {
        let cluster = Kube(Arc::new(Inner {
            secrets: [(secret.to_owned(), pull_secret(&registry))].into(),
            accounts: [("shop/default".to_owned(), accounts.into_iter().map(str::to_owned).collect())].into(),
            ..Inner::default()
        }));
        let hook = Hook::in_cluster(cluster).await;
        hook.admission.set_policies(PolicySet::new(vec![signed_by("acme", &registry, &own)]));
        let mut pod = pod(&[&image]);
        pod["spec"]["imagePullSecrets"] = named.iter().map(|name| json!({"name": name})).collect();
        let answer = hook.review("/mutate", &review("CREATE", &pod)).await;
        assert_eq!(answer.allowed(), admitted, "{secret} {answer:?}");
        if !admitted {
            assert_eq!(answer.code(), 500, "a registry that refuses is not one without signatures");
        }
    }
}

#[tokio::test]
async fn a_pull_secret_that_is_not_there_hinders_nothing_until_the_registry_refuses() {
    let (registry, image, own) = bench().await;
    let mut pod = pod(&[&image]);
    pod["spec"]["imagePullSecrets"] = json!([{"name": "gone"}]);
    let asked = review("CREATE", &pod);
    for refuses in [false, true] {
        let hook = Hook::in_cluster(Kube::default()).await;
        hook.admission.set_policies(PolicySet::new(vec![signed_by("acme", &registry, &own)]));
        if refuses {
            demand_login(&registry);
        }
        let answer = hook.review("/mutate", &asked).await;
        assert_eq!(answer.allowed(), !refuses, "{answer:?}");
        assert_eq!(answer.message().contains("shop/gone"), refuses, "{answer:?}");
        assert_eq!(answer.message().contains("does not exist"), refuses, "{answer:?}");
    }
}

/// A ClusterPolicy of Kyverno over the images of a registry.
fn kyverno(registry: &Registry, key: &countersign_crypto::KeyPair, more: &Value) -> Value {
    let mut entry = json!({"imageReferences": [format!("{}/*", registry.host)], "attestors": [{"entries": [
        {"keys": {"publicKeys": key.public_key().to_pem(), "rekor": {"ignoreTlog": true}, "ctlog": {"ignoreSCT": true}}}]}]});
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "kyverno"},
        "spec": {"validationFailureAction": "Enforce", "rules": [{"name": "signed",
            "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, "verifyImages": [entry]}]}})
}

fn set(policies: &[Value]) -> PolicySet {
    let documents = policies.iter().flat_map(|policy| read_documents(&policy.to_string()).unwrap()).collect();
    load(documents).unwrap().into_policy_set(&[])
}

#[tokio::test]
async fn a_secret_that_a_policy_names_without_a_namespace_is_of_the_webhooks_own() {
    let (registry, image, own) = bench().await;
    demand_login(&registry);
    let credentials = json!({"imageRegistryCredentials": {"secrets": ["pull"]}});
    for (place, admitted) in [("countersign/pull", true), ("shop/pull", false), ("kyverno/pull", false)] {
        let secrets = [(place.to_owned(), pull_secret(&registry))].into();
        let hook = Hook::in_cluster(Kube(Arc::new(Inner { secrets, ..Inner::default() }))).await;
        hook.admission.set_policies(set(&[kyverno(&registry, &own, &credentials)]));
        let answer = hook.review("/mutate", &review("CREATE", &pod(&[&image]))).await;
        assert_eq!(answer.allowed(), admitted, "{place} {answer:?}");
        assert!(admitted || answer.message().contains("countersign/pull"), "{answer:?}");
    }
}

#[tokio::test]
async fn fifty_reviews_at_once_ask_the_cluster_once_for_each_thing() {
    let (registry, image, own) = bench().await;
    demand_login(&registry);
    let pem = Zeroizing::new(own.public_key().to_pem().into_bytes());
    let cluster = Kube(Arc::new(Inner {
        labels: [("shop".to_owned(), [("team".to_owned(), "a".to_owned())].into())].into(),
        secrets: [
            ("shop/pull".to_owned(), pull_secret(&registry)),
            ("keys/cosign".to_owned(), [("cosign.pub".to_owned(), pem)].into()),
        ]
        .into(),
        accounts: [("shop/default".to_owned(), vec!["pull".to_owned()])].into(),
        ..Inner::default()
    }));
    let hook = Hook::in_cluster(cluster.clone()).await;
    let policy = json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "own"},
        "spec": {"images": ["**"], "namespaceSelector": {"matchLabels": {"team": "a"}},
            "signedBy": {"key": "k8s://keys/cosign"}, "require": {"transparencyLog": false, "ctLog": false}}});
    hook.admission.set_policies(set(&[policy]));
    let asked = review("CREATE", &pod(&[&image]));
    let answers = join_all((0..50).map(|_| hook.review("/mutate?timeout=30s", &asked))).await;
    for answer in &answers {
        assert!(answer.allowed(), "{answer:?}");
    }
    // Labels are asked for with each round of reviews, since they may change; the rest is kept for a minute.
    let count = cluster.asked();
    assert!(count <= 3 + 50, "{count}");
    assert!(hook.review("/mutate", &asked).await.allowed());
    assert_eq!(cluster.asked(), 1, "the labels");
}

#[tokio::test]
async fn a_cluster_that_hangs_is_a_denial_in_time_that_says_so() {
    let (registry, image, own) = bench().await;
    let cluster = labelled(&[]);
    let hook = Hook::in_cluster(cluster.clone()).await;
    hook.admission.set_policies(PolicySet::new(vec![signed_by("acme", &registry, &own)]));
    cluster.0.hangs.store(true, Ordering::SeqCst);
    let asked = review("CREATE", &pod(&[&image]));
    let answers = join_all((0..50).map(|_| hook.review("/mutate?timeout=2s", &asked))).await;
    for answer in &answers {
        assert!(!answer.allowed() && answer.code() == 500, "{answer:?}");
        assert!(answer.message().contains("could not be checked"), "{answer:?}");
    }
    assert_eq!(cluster.0.most.load(Ordering::SeqCst), 1, "one asks, the others wait for it");
    cluster.0.hangs.store(false, Ordering::SeqCst);
    assert!(hook.review("/mutate", &asked).await.allowed());
}

/// The policies of a cluster, put into place as they come.
async fn policies(cluster: Kube, exceptions: &[&str]) -> (Hook, Policies) {
    let source = Arc::new(source(cluster));
    let hook = Hook::of(Admission::new(Arc::clone(&source), Arc::new(SystemClock))).await;
    let policies = Policies::new(PoliciesOptions {
        admission: Arc::clone(&hook.admission),
        source,
        metrics: Arc::default(),
        installation: BTreeMap::new(),
        exceptions: exceptions
            .iter()
            .map(|pattern| countersign_policy::Glob::wildcard(pattern).unwrap())
            .collect(),
        files: false,
        cluster: true,
    });
    (hook, policies)
}

fn documents(objects: &[Value]) -> Vec<countersign_policy::Document> {
    objects.iter().flat_map(|object| read_documents(&object.to_string()).unwrap()).collect()
}

/// A ClusterImagePolicy by a key.
fn cluster_image(registry: &Registry, tag: &str, key: &countersign_crypto::KeyPair) -> Value {
    json!({"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy", "metadata": {"name": "sigstore"},
        "spec": {"images": [{"glob": format!("{}/app:{tag}", registry.host)}],
            "authorities": [{"key": {"data": key.public_key().to_pem()}}]}})
}

#[tokio::test]
async fn policy_controllers_policies_hold_in_namespaces_that_opted_in_and_refuse_what_none_is_about() {
    let (registry, signed, own) = bench().await;
    registry.put("other").await;
    let (other, include) = (registry.image("other"), "policy.sigstore.dev/include");
    for (labels, setting, forced, unmatched) in [
        (&[(include, "true")][..], None, None, (false, false)),
        (&[(include, "true")], Some(NoMatch::Warn), None, (true, true)),
        (&[(include, "true")], Some(NoMatch::Allow), None, (true, false)),
        (&[(include, "true")], Some(NoMatch::Allow), Some(NoMatch::Deny), (false, false)),
        (&[(include, "false")], None, None, (true, false)),
        (&[], Some(NoMatch::Deny), Some(NoMatch::Deny), (true, false)),
    ] {
        let (hook, mut policies) = policies(labelled(labels), &[]).await;
        if let Some(forced) = forced {
            policies = policies.without_match(forced);
        }
        policies.set_cluster(documents(&[cluster_image(&registry, "v1", &own)]));
        assert!(hook.admission.policies().is_none(), "what policy-controller is set to is not known yet");
        policies.set_controller(setting);
        let answer = hook.review("/mutate", &review("CREATE", &pod(&[&other]))).await;
        let warned = answer.0["warnings"].as_array().is_some_and(|told| !told.is_empty());
        assert_eq!((answer.allowed(), warned), unmatched, "{labels:?} {setting:?} {answer:?}");
        let judged = labels == [(include, "true")];
        let answer = hook.review("/mutate", &review("CREATE", &pod(&[&signed]))).await;
        assert_eq!(answer.pins().len(), usize::from(judged), "{labels:?} {answer:?}");
    }
}

#[tokio::test]
async fn a_cluster_image_policy_that_cannot_be_read_refuses_where_it_may_hold() {
    let (registry, signed, own) = bench().await;
    let mut broken = cluster_image(&registry, "v1", &own);
    broken["spec"]["authoritiez"] = json!([]);
    for (label, admitted) in [("true", false), ("false", true)] {
        let (hook, policies) = policies(labelled(&[("policy.sigstore.dev/include", label)]), &[]).await;
        policies.set_controller(None);
        policies.set_cluster(documents(&[broken.clone()]));
        let answer = hook.review("/mutate", &review("CREATE", &pod(&[&signed]))).await;
        assert_eq!(answer.allowed(), admitted, "{answer:?}");
        assert!(admitted || answer.message().contains("authoritiez"), "{answer:?}");
    }
}

#[tokio::test]
async fn k06_labels_that_cannot_be_had_are_no_reason_to_pass_a_rule_over() {
    let (_registry, signed, own) = bench().await;
    let selecting = json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "own"},
        "spec": {"images": ["**"], "namespaceSelector": {"matchLabels": {"team": "a"}},
            "signedBy": {"key": own.public_key().to_pem()}}});
    let kyverno = json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "kyverno"},
        "spec": {"validationFailureAction": "Enforce", "rules": [{"name": "signed",
            "match": {"any": [{"resources": {"kinds": ["Pod"], "namespaceSelector": {"matchLabels": {"team": "a"}}}}]},
            "verifyImages": [{"imageReferences": ["*"], "attestors": [{"entries": [
                {"keys": {"publicKeys": own.public_key().to_pem()}}]}]}]}]}});
    for policy in [selecting, kyverno] {
        let hook = Hook::in_cluster(Kube::default()).await;
        hook.admission.set_policies(set(&[policy]));
        let answer = hook.review("/mutate", &review("CREATE", &pod(&[&signed]))).await;
        assert!(!answer.allowed() && answer.code() == 500, "{answer:?}");
        let (hook, policies) = policies(Kube::default(), &[]).await;
        policies.set_controller(None);
        policies.set_cluster(documents(&[cluster_image(&_registry, "v1", &own)]));
        assert!(!hook.review("/mutate", &review("CREATE", &pod(&[&signed]))).await.allowed());
    }
}

#[tokio::test]
async fn k08_exceptions_hold_in_namespaces_that_may_have_any_and_each_is_judged_alone() {
    let (registry, _, own) = bench().await;
    registry.put("unsigned").await;
    let unsigned = registry.image("unsigned");
    let excepting = |name: &str, resources: Value| {
        json!({"apiVersion": "kyverno.io/v2", "kind": "PolicyException", "metadata": {"name": name, "namespace": "tenant"},
            "spec": {"exceptions": [{"policyName": "kyverno", "ruleNames": ["signed"]}],
                "match": {"any": [{"resources": resources}]}}})
    };
    let whole = excepting("whole", json!({"kinds": ["Pod"], "names": ["app"], "namespaces": ["shop"]}));
    // Together they would name this pod; none of them does.
    let halves = [
        excepting("by-name", json!({"kinds": ["Pod"], "names": ["app"], "namespaces": ["elsewhere"]})),
        excepting("by-namespace", json!({"kinds": ["Pod"], "names": ["other"], "namespaces": ["shop"]})),
    ];
    let policy = kyverno(&registry, &own, &json!({}));
    for (exceptions, allowed, admitted) in [
        (vec![whole.clone()], &[][..], false),
        (vec![whole.clone()], &["platform"], false),
        (vec![whole], &["tenant"], true),
        (halves.to_vec(), &["tenant"], false),
    ] {
        let (hook, policies) = policies(labelled(&[]), allowed).await;
        policies.set_controller(None);
        policies.set_cluster(documents(&[vec![policy.clone()], exceptions.clone()].concat()));
        let answer = hook.review("/mutate", &review("CREATE", &pod(&[&unsigned]))).await;
        assert_eq!(answer.allowed(), admitted, "{exceptions:?} {allowed:?} {answer:?}");
    }
}

#[tokio::test]
async fn a_custom_resource_is_judged_and_pinned_by_an_extractor() {
    let (registry, signed, own) = bench().await;
    registry.put("unsigned").await;
    let mut policy = kyverno(&registry, &own, &json!({}));
    let rule = &mut policy["spec"]["rules"][0];
    rule["match"]["any"][0]["resources"]["kinds"] = json!(["tekton.dev/v1/Task"]);
    rule["imageExtractors"] = json!({"Task": [{"path": "/spec/steps/*/image"}]});
    let hook = Hook::start(Vec::new()).await;
    let policies = set(&[policy]);
    let custom: Vec<_> = policies.custom_objects().into_iter().collect();
    assert_eq!(custom, [countersign_policy::CustomObject::Kind("Task".into())], "what API servers are told");
    hook.admission.set_policies(policies);
    let task = |image: &str| {
        json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "app", "namespace": "shop"},
            "spec": {"steps": [{"name": "build", "image": image}]}})
    };
    let answer = hook.review("/mutate", &review("CREATE", &task(&signed))).await;
    assert_eq!(answer.pins().keys().collect::<Vec<_>>(), ["/spec/steps/0/image"], "{answer:?}");
    let unsigned = registry.image("unsigned");
    let answer = hook.review("/validate", &review("CREATE", &task(&unsigned))).await;
    assert!(!answer.allowed() && answer.message().contains(&unsigned), "{answer:?}");
    let mut update = review("UPDATE", &task(&unsigned));
    update["request"]["oldObject"] = task(&signed);
    assert!(!hook.review("/mutate", &update).await.allowed());
}
