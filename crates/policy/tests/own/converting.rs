//! Kyverno's policies in our own language: the same decisions, or an error with the field's path.

use countersign_crypto::Signer as _;
use countersign_policy::kyverno::ClusterPolicy;
use countersign_policy::own::ImagePolicy;
use countersign_policy::{Converted, Document, Policy, ReadError, Request, convert, read_documents};
use serde_json::{Value, json};

use crate::support::{By, Cluster, key, pod};
use crate::with;

const IMAGE: &str = "ghcr.io/acme/app:v1";

fn kyverno(spec: Value, rule: Value, entry: Value) -> Value {
    let entry = with(json!({"imageReferences": ["ghcr.io/acme/*"]}), entry);
    let rule = with(
        json!({"name": "check", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, "verifyImages": [entry]}),
        rule,
    );
    json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "signed"},
        "spec": with(json!({"validationFailureAction": "Enforce", "rules": [rule]}), spec)})
}

fn converted(policy: &Value) -> Result<Converted, ReadError> {
    let [document] = <[Document; 1]>::try_from(read_documents(&policy.to_string()).unwrap()).unwrap();
    convert(&document)
}

/// Whether the request is admitted, and what is pinned: by a policy as it is, and converted.
fn both(cluster: &Cluster, policy: &Value, image: &str) -> [(bool, Vec<String>); 2] {
    let request = Request::of_object(pod(&[image]));
    let own = converted(policy).unwrap_or_else(|error| panic!("{error}\n{policy}")).documents;
    let own: Vec<Box<dyn Policy>> =
        own.iter().map(|own| Box::new(ImagePolicy::read(own).unwrap()) as Box<dyn Policy>).collect();
    let as_it_is: Vec<Box<dyn Policy>> = vec![Box::new(ClusterPolicy::read(policy).unwrap())];
    [as_it_is, own].map(|policies| {
        let decision = cluster.decide_all(policies, Vec::new(), &request);
        (decision.admits(), decision.pins.into_iter().map(|pin| pin.to).collect())
    })
}

#[test]
fn a_converted_policy_decides_as_the_one_it_was() {
    let (first, second) = (key(), key());
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.put("ghcr.io/other/app:v1");
    cluster.sign(IMAGE, By::Alice, &json!({"stage": "prod"}));
    cluster.sign(IMAGE, By::Key(&first), &json!({}));
    cluster.attest(
        IMAGE,
        By::Alice,
        "https://example.com/scan",
        &json!({"tool": {"name": "grype"}, "ok": true}),
    );
    let keyless = |changes: Value| {
        json!({"keyless": with(json!({"subject": "alice@example.com", "issuer": "https://issuer.example",
            "rekor": {"url": "https://log0.example"}}), changes)})
    };
    let by_key = |key: &countersign_crypto::KeyPair| json!({"keys": {"publicKeys": key.public_key().to_pem(), "rekor": {"url": "https://log0.example"}}});
    let signed = |entries: Value, count: Value| json!({"attestors": [{"entries": entries, "count": count}]});
    let said = |conditions: Value| {
        json!({"attestations": [{"type": "https://example.com/scan", "attestors": [{"entries": [keyless(json!({}))]}],
            "conditions": [conditions]}]})
    };
    let compare =
        |key: &str, operator: &str, value: Value| json!({"key": key, "operator": operator, "value": value});
    let (yes, no) = (json!({}), json!({"subject": "bob@example.com"}));
    for (entry, expected) in [
        (signed(json!([keyless(yes.clone())]), Value::Null), true),
        (signed(json!([keyless(no.clone())]), Value::Null), false),
        (signed(json!([keyless(json!({"subject": "*@example.com"}))]), Value::Null), true),
        (
            signed(
                json!([keyless(json!({"issuer": null, "issuerRegExp": "https://issuer.*"}))]),
                Value::Null,
            ),
            true,
        ),
        (
            signed(json!([keyless(json!({"issuer": null, "issuerRegExp": "https://other.*"}))]), Value::Null),
            false,
        ),
        (
            signed(
                json!([keyless(
                    json!({"additionalExtensions": {"sourceRepositoryURI": "https://git.evil"}})
                )]),
                Value::Null,
            ),
            false,
        ),
        (signed(json!([keyless(yes.clone()), by_key(&second)]), json!(1)), true),
        (signed(json!([keyless(yes.clone()), by_key(&second)]), Value::Null), false),
        (signed(json!([keyless(yes.clone()), by_key(&first), by_key(&second)]), json!(2)), true),
        (signed(json!([keyless(json!({"rekor": {"url": "https://log1.example"}}))]), Value::Null), false),
        (
            signed(
                json!([with(keyless(yes.clone()), json!({"annotations": {"stage": "prod"}}))]),
                Value::Null,
            ),
            true,
        ),
        (
            signed(
                json!([with(keyless(yes.clone()), json!({"annotations": {"stage": "test"}}))]),
                Value::Null,
            ),
            false,
        ),
        (with(signed(json!([keyless(yes.clone())]), Value::Null), json!({"mutateDigest": false})), false),
        (
            with(
                signed(json!([keyless(yes.clone())]), Value::Null),
                json!({"mutateDigest": false, "verifyDigest": false}),
            ),
            true,
        ),
        (with(signed(json!([keyless(no.clone())]), Value::Null), json!({"failureAction": "Audit"})), true),
        (
            with(
                signed(json!([keyless(no.clone())]), Value::Null),
                json!({"imageReferences": ["ghcr.io/other/*"]}),
            ),
            true,
        ),
        (with(signed(json!([keyless(no.clone())]), Value::Null), json!({"imageReferences": ["*"]})), false),
        (
            with(
                signed(json!([keyless(no.clone())]), Value::Null),
                json!({"imageReferences": ["ghcr.io/ac*"]}),
            ),
            false,
        ),
        (
            with(
                signed(json!([keyless(no.clone())]), Value::Null),
                json!({"imageReferences": ["ghcr.io/acme/app:*"]}),
            ),
            false,
        ),
        (
            with(
                signed(json!([keyless(no.clone())]), Value::Null),
                json!({"skipImageReferences": ["ghcr.io/acme/a*"]}),
            ),
            true,
        ),
        (said(json!({"all": [compare("{{ tool.name }}", "Equals", json!("grype"))]})), true),
        (said(json!({"all": [compare("{{ tool.name }}", "NotEquals", json!("grype"))]})), false),
        (said(json!({"all": [compare("{{ ok }}", "Equals", json!(false))]})), false),
        (
            said(
                json!({"any": [compare("{{ ok }}", "Equals", json!(false)), compare("{{tool.name}}", "Equals", json!("grype"))]}),
            ),
            true,
        ),
    ] {
        let policy = kyverno(json!({}), json!({}), entry.clone());
        let [as_it_is, own] = both(&cluster, &policy, IMAGE);
        assert_eq!(as_it_is.0, expected, "{entry}");
        assert_eq!(own, as_it_is, "{entry}");
    }
    let elsewhere = json!({"match": {"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["test"]}}]}});
    let policy = kyverno(json!({}), elsewhere, signed(json!([keyless(no.clone())]), Value::Null));
    assert!(both(&cluster, &policy, IMAGE).iter().all(|(admits, _)| *admits));
    cluster.away.insert("evidence".into());
    for (spec, admits) in [(json!({}), false), (json!({"failurePolicy": "Ignore"}), true)] {
        let policy = kyverno(spec, json!({}), signed(json!([keyless(yes.clone())]), Value::Null));
        assert!(both(&cluster, &policy, IMAGE).iter().all(|found| found.0 == admits), "{policy}");
    }
}

#[test]
fn what_cannot_be_said_is_an_error_with_its_path_and_what_differs_is_told() {
    let keyless = json!({"keyless": {"subject": "a", "issuer": "https://i.example", "rekor": {"url": "https://l.example"}}});
    let attestors = json!({"attestors": [{"entries": [keyless]}]});
    let entry = |changes: Value| kyverno(json!({}), json!({}), with(attestors.clone(), changes));
    let rule = |changes: Value| kyverno(json!({}), changes, attestors.clone());
    let spec = |changes: Value| kyverno(changes, json!({}), attestors.clone());
    let pods =
        |more: Value| json!({"match": {"any": [{"resources": with(json!({"kinds": ["Pod"]}), more)}]}});
    let condition = |key: &str, operator: &str, value: Value| {
        entry(json!({"attestations": [{"type": "https://example.com/t", "attestors": attestors["attestors"],
            "conditions": [{"all": [{"key": key, "operator": operator, "value": value}]}]}]}))
    };
    let entry_path = "spec.rules[0].verifyImages[0]";
    for (policy, path) in [
        (spec(json!({"applyRules": "One"})), "spec.applyRules".to_owned()),
        (spec(json!({"admission": false})), "spec.admission".into()),
        (
            spec(json!({"validationFailureActionOverrides": [{"action": "Audit", "namespaces": ["a"]}]})),
            "spec.validationFailureActionOverrides".into(),
        ),
        (
            rule(json!({"exclude": {"any": [{"resources": {"namespaces": ["a"]}}]}})),
            "spec.rules[0].exclude".into(),
        ),
        (
            rule(json!({"preconditions": {"all": [{"key": "a", "operator": "Equals", "value": "a"}]}})),
            "spec.rules[0].preconditions".into(),
        ),
        (
            spec(json!({"webhookConfiguration": {"matchConditions": [{"name": "a", "expression": "true"}]}})),
            "spec.webhookConfiguration.matchConditions".into(),
        ),
        (
            rule(json!({"match": {"any": [{"resources": {"kinds": ["Pod", "Task"]}}]}})),
            "spec.rules[0].match.any[0].resources.kinds".into(),
        ),
        (
            kyverno(
                json!({}),
                json!({"match": {"any": [{"resources": {"kinds": ["Task"]}}]},
                    "imageExtractors": {"Task": [{"path": "/spec/image", "jmesPath": "trim_prefix(@, 'a')"}]}}),
                with(attestors.clone(), json!({"mutateDigest": false})),
            ),
            "spec.rules[0].imageExtractors.Task[0].jmesPath".into(),
        ),
        (rule(pods(json!({"names": ["a"]}))), "spec.rules[0].match.any[0].resources".into()),
        (
            rule(pods(json!({"selector": {"matchLabels": {"a": "b"}}}))),
            "spec.rules[0].match.any[0].resources.selector".into(),
        ),
        (
            entry(json!({"imageReferences": ["ghcr.io/acme/app:v*"]})),
            format!("{entry_path}.imageReferences[0]"),
        ),
        (entry(json!({"imageReferences": ["ghcr.io/a*/app"]})), format!("{entry_path}.imageReferences[0]")),
        (entry(json!({"imageReferences": ["nginx*"]})), format!("{entry_path}.imageReferences[0]")),
        (
            entry(json!({"skipImageReferences": ["ghcr.io/a/b:*"]})),
            format!("{entry_path}.skipImageReferences[0]"),
        ),
        (
            entry(json!({"skipImageReferences": ["ghcr.io/acme/legacy"]})),
            format!("{entry_path}.skipImageReferences[0]"),
        ),
        (
            entry(json!({"skipImageReferences": ["docker.io/library/*"]})),
            format!("{entry_path}.skipImageReferences[0]"),
        ),
        (
            condition("{{ request.operation }}", "Equals", json!("CREATE")),
            format!("{entry_path}.attestations[0].conditions[0].all[0].key"),
        ),
        (
            entry(json!({"imageRegistryCredentials": {"providers": ["amazon"]}})),
            format!("{entry_path}.imageRegistryCredentials"),
        ),
        (
            condition("{{ length(a) }}", "Equals", json!(true)),
            format!("{entry_path}.attestations[0].conditions[0].all[0].key"),
        ),
        (
            condition("{{ a }}", "GreaterThan", json!(1)),
            format!("{entry_path}.attestations[0].conditions[0].all[0].operator"),
        ),
        (
            condition("{{ a }}", "Equals", json!("a*")),
            format!("{entry_path}.attestations[0].conditions[0].all[0].value"),
        ),
        (
            condition("{{ a }}", "Equals", json!("1h")),
            format!("{entry_path}.attestations[0].conditions[0].all[0].value"),
        ),
    ] {
        ClusterPolicy::read(&policy).unwrap_or_else(|error| panic!("{error}\n{policy}"));
        let error = converted(&policy).expect_err(&policy.to_string());
        assert_eq!(error.path, path, "{error}");
    }
    let codes = |policy: &Value| {
        converted(policy).unwrap().differences.into_iter().map(|found| found.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&entry(json!({}))), ["everything_that_makes_pods"]);
    assert_eq!(
        codes(&spec(json!({"webhookTimeoutSeconds": 5}))),
        ["no_time_of_its_own", "everything_that_makes_pods"]
    );
    let mut severe = entry(json!({}));
    severe["metadata"]["annotations"] = json!({"policies.kyverno.io/severity": "high"});
    assert_eq!(codes(&severe), ["no_report_properties", "everything_that_makes_pods"]);
    assert_eq!(
        codes(&entry(
            json!({"type": "SigstoreBundle", "imageReferences": ["ghcr.io/a/b:*"], "required": false})
        )),
        ["everything_that_makes_pods", "older_forms_too", "digests_too", "always_required"]
    );
    let other = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
    assert_eq!(converted(&other).unwrap_err().path, "kind");
}

#[test]
fn what_extractors_look_into_are_custom_resources() {
    let signer = key();
    let entry = json!({"attestors": [{"entries": [{"keys": {"publicKeys": signer.public_key().to_pem(),
        "rekor": {"url": "https://log0.example"}}}]}]});
    let of = |kinds: Value| {
        let rule = json!({"match": {"any": [{"resources": {"kinds": kinds}}]}, "imageExtractors": {
            "Task": [{"path": "/spec/steps/*", "value": "image", "key": "name", "name": "steps"}, {"path": "/spec/base"}],
            "Pipeline": [{"path": "/spec/image"}]}});
        kyverno(json!({}), rule, entry.clone())
    };
    let told = |kinds: Value| {
        let Converted { documents, differences } = converted(&of(kinds)).unwrap();
        let codes: Vec<&str> = differences.into_iter().map(|found| found.code).collect();
        (documents[0]["spec"]["customResources"].clone(), codes)
    };
    let task = json!({"Task": ["/spec/steps/*/image", "/spec/base"]});
    assert_eq!(told(json!(["Task"])), (task.clone(), vec!["pods_too"]));
    assert_eq!(told(json!(["tekton.dev/v1/Task"])), (task.clone(), vec!["whatever_group", "pods_too"]));
    assert_eq!(told(json!(["Pod", "Task"])), (task, vec!["everything_that_makes_pods"]));
    assert_eq!(told(json!(["Pod"])), (Value::Null, vec!["everything_that_makes_pods"]), "of no use there");

    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.put("ghcr.io/acme/other:v1");
    cluster.sign(IMAGE, By::Key(&signer), &json!({}));
    let policy = of(json!(["Task"]));
    let own = ImagePolicy::read(&converted(&policy).unwrap().documents[0]).unwrap();
    let both: [Box<dyn Policy>; 2] = [Box::new(ClusterPolicy::read(&policy).unwrap()), Box::new(own)];
    for policy in both {
        let set = countersign_policy::PolicySet::new(vec![policy]);
        for (step, base, admits) in [
            (IMAGE, IMAGE, true),
            ("ghcr.io/acme/other:v1", IMAGE, false),
            (IMAGE, "ghcr.io/acme/other:v1", false),
        ] {
            let object = json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "t", "namespace": "shop"},
                "spec": {"steps": [{"name": "a", "image": step}], "base": base}});
            let decision = set.evaluate(&Request::of_object(object), &cluster, cluster.now).unwrap();
            assert_eq!(decision.admits(), admits, "{step} {base}: {decision:?}");
            assert!(!admits || decision.pins.len() == 2, "{decision:?}");
        }
    }
}
