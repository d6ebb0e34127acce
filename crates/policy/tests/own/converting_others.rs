//! Policies of Kyverno's newer language and of policy-controller in our own: the same decisions, or an error with the
//! field's path.

use countersign_crypto::Signer as _;
use countersign_policy::cluster_image::ClusterImagePolicy;
use countersign_policy::kyverno::ImageValidatingPolicy;
use countersign_policy::own::ImagePolicy;
use countersign_policy::{Converted, Document, Policy, ReadError, Request, Status, convert, read_documents};
use serde_json::{Value, json};

use crate::support::{By, Cluster, key, pod};
use crate::with;

const IMAGE: &str = "ghcr.io/acme/app:v1";
const SCAN: &str = "https://example.com/scan";
/// The images that every policy is asked about: signed, unsigned, and of somebody else's.
const IMAGES: [&[&str]; 5] = [
    &[IMAGE],
    &["ghcr.io/acme/unsigned:v1"],
    &[IMAGE, "ghcr.io/acme/unsigned:v1"],
    &["ghcr.io/other/app:v1"],
    &["docker.io/library/nginx:1"],
];

fn converted(policy: &Value) -> Result<Converted, ReadError> {
    let [document] = <[Document; 1]>::try_from(read_documents(&policy.to_string()).unwrap()).unwrap();
    convert(&document)
}

fn as_it_is(policy: &Value) -> Box<dyn Policy> {
    match policy["kind"].as_str() {
        Some("ClusterImagePolicy") => {
            Box::new(ClusterImagePolicy::read(policy).unwrap_or_else(|e| panic!("{e}\n{policy}")))
        }
        _ => Box::new(ImageValidatingPolicy::read(policy).unwrap_or_else(|e| panic!("{e}\n{policy}"))),
    }
}

/// Alice and the holder of a key signed the image, and Alice scanned it.
fn cluster(key: &countersign_crypto::KeyPair) -> Cluster {
    let mut cluster = Cluster::new();
    for image in IMAGES.iter().copied().flatten() {
        cluster.put(image);
    }
    cluster.namespaces.insert("prod".into(), [("tier".to_owned(), "gold".to_owned())].into());
    cluster.sign(IMAGE, By::Alice, &json!({}));
    cluster.sign(IMAGE, By::Key(key), &json!({}));
    cluster.attest(IMAGE, By::Alice, SCAN, &json!({"ok": true}));
    cluster
}

/// Whether the policy admits the image that is signed; and that it decides as its conversion does on all requests.
fn same_on_all(cluster: &Cluster, policy: &Value) -> bool {
    let own = converted(policy).unwrap_or_else(|error| panic!("{error}\n{policy}")).documents;
    let decide = |policies: Vec<Box<dyn Policy>>, object: Value| {
        let decision = cluster.decide_all(policies, Vec::new(), &Request::of_object(object));
        let passes = decision.results.iter().all(|result| result.status <= Status::Pass);
        (decision.admits(), passes, decision.pins.into_iter().map(|pin| pin.to).collect::<Vec<_>>())
    };
    let mut signed = None;
    for images in IMAGES {
        for kind in ["Pod", "Deployment"] {
            let object = match kind {
                "Pod" => pod(images),
                _ => {
                    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app", "namespace": "prod"},
                    "spec": {"template": {"spec": pod(images)["spec"]}}})
                }
            };
            let policies =
                own.iter().map(|own| Box::new(ImagePolicy::read(own).unwrap()) as Box<dyn Policy>).collect();
            let (before, after) = (decide(vec![as_it_is(policy)], object.clone()), decide(policies, object));
            assert_eq!((before.0, before.1), (after.0, after.1), "{kind} {images:?}\n{policy}\n{own:?}");
            // Where something does not pass, each image is pinned by itself or none is: told as a difference.
            assert!(!before.1 || before.2 == after.2, "{kind} {images:?}: {before:?} {after:?}\n{policy}");
            signed.get_or_insert(before.0);
        }
    }
    signed.unwrap()
}

fn validating(spec: Value) -> Value {
    let spec = with(
        json!({
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["pods"]}]},
            "matchImageReferences": [{"glob": "ghcr.io/acme/*"}],
        }),
        spec,
    );
    json!({"apiVersion": "policies.kyverno.io/v1", "kind": "ImageValidatingPolicy", "metadata": {"name": "signed"}, "spec": spec})
}

fn cluster_image(spec: Value) -> Value {
    let spec = with(json!({"images": [{"glob": "ghcr.io/acme/*"}]}), spec);
    json!({"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy", "metadata": {"name": "signed"}, "spec": spec})
}

#[test]
fn a_converted_policy_in_cel_decides_as_the_one_it_was() {
    let (first, second) = (key(), key());
    let cluster = cluster(&first);
    let identity =
        |subject: &str| json!({"identities": [{"subject": subject, "issuer": "https://issuer.example"}]});
    let by_key = |key: &countersign_crypto::KeyPair| json!({"key": {"data": key.public_key().to_pem()}});
    let attestors = json!([
        {"name": "alice", "cosign": {"keyless": identity("alice@example.com"), "ctlog": {"url": "https://log0.example"}}},
        {"name": "bob", "cosign": {"keyless": identity("bob@example.com"), "ctlog": {"url": "https://log0.example"}}},
        {"name": "first", "cosign": with(by_key(&first), json!({"ctlog": {"url": "https://log0.example"}}))},
        {"name": "second", "cosign": with(by_key(&second), json!({"ctlog": {"url": "https://log0.example"}}))},
    ]);
    let asks = |expression: &str| {
        validating(
            json!({"attestors": attestors, "attestations": [{"name": "scan", "intoto": {"type": SCAN}}],
            "validations": [{ "expression": expression }]}),
        )
    };
    let signed = |list: &str, compared: &str| {
        asks(&format!("images.containers.map(i, verifyImageSignatures(i, [{list}])).all(n, n {compared})"))
    };
    for (index, (policy, admits)) in [
        (signed("attestors.alice", "> 0"), true),
        (signed("attestors.bob", "> 0"), false),
        (signed("attestors.first", ">= 1"), true),
        (signed("attestors.second", "> 0"), false),
        (signed("attestors.alice, attestors.second", "> 0"), true),
        (signed("attestors.alice, attestors.second", "== 2"), false),
        (signed("attestors.alice, attestors.first", "== 2"), true),
        (signed("attestors.alice, attestors.first, attestors.second", ">= 2"), true),
        (signed("attestors.bob, attestors.first, attestors.second", "> 1"), false),
        (
            asks(
                "images.containers.all(i, verifyAttestationSignatures(i, attestations.scan, [attestors.alice]) > 0)",
            ),
            true,
        ),
        (
            asks(
                "images.containers.all(i, verifyAttestationSignatures(i, attestations.scan, [attestors.first]) > 0)",
            ),
            false,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(same_on_all(&cluster, &policy), admits, "{policy}");
        // One that admits and one that does not are enough for the rest.
        if index > 1 {
            continue;
        }
        for changes in [
            json!({"validationActions": ["Audit"]}),
            json!({"validationActions": ["Warn"]}),
            json!({"validationConfigurations": {"mutateDigest": false}}),
            json!({"validationConfigurations": {"mutateDigest": false, "verifyDigest": false}}),
            json!({"matchImageReferences": [{"glob": "ghcr.io/other/*"}]}),
            json!({"matchImageReferences": [{"glob": "docker.io/library/nginx:*"}, {"glob": "ghcr.io/acme/app:*"}]}),
            json!({"matchImageReferences": null}),
        ] {
            let mut changed = policy.clone();
            changed["spec"] = with(policy["spec"].clone(), changes);
            same_on_all(&cluster, &changed);
        }
        let selected = |tier: &str| {
            let mut changed = policy.clone();
            changed["spec"]["matchConstraints"]["namespaceSelector"] = json!({"matchLabels": {"tier": tier}});
            same_on_all(&cluster, &changed)
        };
        assert_eq!((selected("gold"), selected("tin")), (admits, true), "{policy}");
    }
    let mut away = self::cluster(&first);
    away.away.insert("evidence".into());
    let mut policy = signed("attestors.alice", "> 0");
    assert!(!same_on_all(&away, &policy));
    policy["spec"]["failurePolicy"] = "Ignore".into();
    assert!(same_on_all(&away, &policy));
}

#[test]
fn a_converted_policy_of_policy_controller_decides_as_the_one_it_was() {
    let (first, second) = (key(), key());
    let cluster = cluster(&first);
    let person = |subject: &str| json!({"keyless": {"identities": [{"subject": subject, "issuer": "https://issuer.example"}]}});
    let holder = |key: &countersign_crypto::KeyPair| json!({"key": {"data": key.public_key().to_pem()}, "ctlog": {"url": "https://log0.example"}});
    let with_log = |authority: Value| with(authority, json!({"ctlog": {"url": "https://log0.example"}}));
    let scan = |authority: Value| {
        with(authority, json!({"attestations": [{"name": "scan", "predicateType": SCAN}]}))
    };
    for (authorities, admits) in [
        (json!([person("alice@example.com")]), true),
        (json!([person("bob@example.com")]), false),
        (json!([holder(&first)]), true),
        (json!([holder(&second)]), false),
        (json!([with_log(person("bob@example.com")), with_log(person("alice@example.com"))]), true),
        (json!([scan(person("alice@example.com"))]), true),
        (json!([scan(person("bob@example.com"))]), false),
        (json!([scan(person("bob@example.com")), scan(person("alice@example.com"))]), true),
        (json!([{"static": {"action": "fail"}}, person("alice@example.com")]), true),
        (json!([{"key": {"data": second.public_key().to_pem()}}]), false),
    ] {
        let policy = cluster_image(json!({ "authorities": authorities }));
        assert_eq!(same_on_all(&cluster, &policy), admits, "{policy}");
        for changes in [
            json!({"mode": "warn"}),
            json!({"images": [{"glob": "**"}]}),
            json!({"images": [{"glob": "*"}]}),
            json!({"images": [{"glob": "ghcr.io/**"}]}),
            json!({"images": [{"glob": "ghcr.io/acme/unsigned:*"}, {"glob": "index.docker.io/library/*"}]}),
        ] {
            let mut changed = policy.clone();
            changed["spec"] = with(policy["spec"].clone(), changes);
            same_on_all(&cluster, &changed);
        }
    }
}

#[test]
fn what_cannot_be_said_of_these_is_an_error_with_its_path_and_what_differs_is_told() {
    let pem = key().public_key().to_pem();
    let in_cel = |changes: Value| {
        let spec = json!({"attestors": [{"name": "a", "cosign": {"key": {"data": pem}}}],
            "validations": [{"expression": "images.containers.all(i, verifyImageSignatures(i, [attestors.a]) > 0)"}]});
        validating(with(spec, changes))
    };
    let rules = |changes: Value| {
        let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"]});
        json!({"matchConstraints": {"resourceRules": [with(rule, changes)]}})
    };
    let one = |field: &str| json!({field: [{"name": "n", "expression": "true"}]});
    let key = || json!({"key": {"data": pem}});
    let authorities = |list: Value| cluster_image(json!({ "authorities": list }));
    let rego = json!({"type": "rego", "data": "package sigstore\nisCompliant { true }"});
    for (policy, path) in [
        (in_cel(one("matchConditions")), "spec.matchConditions"),
        (in_cel(one("variables")), "spec.variables"),
        (in_cel(json!({"images": [{"name": "n", "expression": "[]"}]})), "spec.images"),
        (in_cel(json!({"credentials": {"providers": ["amazon"]}})), "spec.credentials"),
        (
            in_cel(rules(json!({"resources": ["pods", "deployments"]}))),
            "spec.matchConstraints.resourceRules[0]",
        ),
        (in_cel(rules(json!({"operations": ["CREATE"]}))), "spec.matchConstraints.resourceRules[0]"),
        (
            in_cel(with(
                rules(json!({})),
                json!({"matchImageReferences": [{"expression": "image.registry() == 'a'"}]}),
            )),
            "spec.matchImageReferences[0].expression",
        ),
        (
            in_cel(json!({"matchImageReferences": [{"glob": "ghcr.io/acme/app:v1"}]})),
            "spec.matchImageReferences[0].glob",
        ),
        (in_cel(json!({"evaluation": {"admission": {"enabled": false}}})), "spec.evaluation.admission"),
        (
            in_cel(
                json!({"validations": [{"expression": "images.containers.exists(i, verifyImageSignatures(i, [attestors.a]) > 0)"}]}),
            ),
            "spec.validations[0].expression",
        ),
        (
            in_cel(
                json!({"attestors": [{"name": "a", "cosign": {"key": {"data": pem, "hashAlgorithm": "sha512"}}}]}),
            ),
            "spec.attestors",
        ),
        (
            cluster_image(json!({"authorities": [key()], "match": [{"resource": "pods", "version": "v1"}]})),
            "spec.match",
        ),
        (cluster_image(json!({"authorities": [key()], "policy": rego})), "spec.policy"),
        (
            cluster_image(json!({"authorities": [key()], "images": [{"glob": "ghcr.io/acme/app:v1"}]})),
            "spec.images[0].glob",
        ),
        (
            cluster_image(json!({"authorities": [key()], "images": [{"glob": "ghcr.io/acme**"}]})),
            "spec.images[0].glob",
        ),
        (
            cluster_image(json!({"authorities": [key()], "images": [{"glob": "nginx"}]})),
            "spec.images[0].glob",
        ),
        (authorities(json!([{"static": {"action": "pass"}}])), "spec.authorities[0].static"),
        (authorities(json!([{"static": {"action": "fail"}}])), "spec.authorities"),
        (
            authorities(json!([
                key(),
                with(key(), json!({"attestations": [{"name": "a", "predicateType": "vuln"}]}))
            ])),
            "spec.authorities[1]",
        ),
        (
            authorities(json!([with(
                key(),
                json!({"attestations": [{"name": "a", "predicateType": "vuln", "policy": rego}]})
            )])),
            "spec.authorities[0]",
        ),
        (
            authorities(json!([with(key(), json!({"source": [{"signaturePullSecrets": [{"name": "a"}]}]}))])),
            "spec.authorities[0].source",
        ),
        (authorities(json!([with(key(), json!({"source": [{"tagPrefix": "a-"}]}))])), "spec.authorities[0]"),
    ] {
        drop(as_it_is(&policy));
        let error = converted(&policy).expect_err(&policy.to_string());
        assert_eq!(error.path, path, "{error}");
    }
    let codes = |policy: &Value| {
        converted(policy).unwrap().differences.into_iter().map(|found| found.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&in_cel(json!({}))), ["everything_that_makes_pods", "every_container"]);
    let more = json!({"auditAnnotations": [{"key": "a", "valueExpression": "'b'"}],
        "evaluation": {"background": {"enabled": false}}});
    assert_eq!(
        codes(&in_cel(more)),
        ["no_audit_annotations", "everything_that_makes_pods", "every_container", "scanned_too"]
    );
    let bundle = authorities(json!([with(key(), json!({"signatureFormat": "bundle"}))]));
    assert_eq!(codes(&bundle), ["every_namespace", "other_forms_too"]);
}
