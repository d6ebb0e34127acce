//! Rows of the adversarial tables about requests and policies, by their ids, in every language that they concern.

use countersign_crypto::Signer as _;
use countersign_policy::cluster_image::ClusterImagePolicy;
use countersign_policy::kyverno::{ClusterPolicy, ImageValidatingPolicy, PolicyException};
use countersign_policy::own::{self, ImagePolicy};
use countersign_policy::{Decision, GroupVersionKind, Operation, PolicySet, Request, Status};
use serde_json::{Value, json};

use crate::languages::{ALL, Language, Signer, policy};
use crate::support::{By, Cluster, key, pod};

pub(crate) const IMAGE: &str = "ghcr.io/acme/app:v1";
pub(crate) const OTHER: &str = "ghcr.io/acme/other:v1";
pub(crate) const SCAN: &str = "https://example.com/scan";
pub(crate) const ALICE: Signer =
    Signer::Person { subject: "alice@example.com", issuer: "https://issuer.example", patterns: false };

pub(crate) fn person(subject: &'static str, issuer: &'static str, patterns: bool) -> Signer {
    Signer::Person { subject, issuer, patterns }
}

/// A pattern over all images of `acme`.
const fn ours(language: Language) -> &'static str {
    match language {
        Language::Own | Language::ClusterImage => "ghcr.io/acme/**",
        Language::ClusterPolicy | Language::ImageValidating => "ghcr.io/acme/*",
    }
}

pub(crate) fn decide(
    cluster: &Cluster,
    language: Language,
    signer: &Signer,
    kind: Option<&str>,
    request: &Request,
) -> Decision {
    let policy =
        policy(language, ours(language), signer, kind).unwrap_or_else(|e| panic!("{language:?}: {e}"));
    cluster.decide_all(vec![policy], Vec::new(), request)
}

/// Whether the image is let in because the policy passed.
pub(crate) fn passes(cluster: &Cluster, language: Language, signer: &Signer, kind: Option<&str>) -> bool {
    let decision = decide(cluster, language, signer, kind, &Request::of_object(pod(&[IMAGE])));
    let passed = decision.results.iter().any(|result| result.status == Status::Pass);
    assert_eq!(decision.admits(), passed, "{language:?}: {decision:?}");
    passed
}

pub(crate) fn signed_by_alice() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.put(OTHER);
    cluster.sign(IMAGE, By::Alice, &json!({}));
    cluster
}

#[test]
fn k04_each_part_of_an_identity_alone_makes_the_answer_no_in_every_language() {
    let cluster = signed_by_alice();
    let (subject, issuer) = ("alice@example.com", "https://issuer.example");
    for language in ALL {
        for (signer, expected) in [
            (person(subject, issuer, false), true),
            (person("bob@example.com", issuer, false), false),
            (person(subject, "https://other.example", false), false),
            (person("alice@.*", "https://issuer.*", true), true),
            (person("bob@.*", "https://issuer.*", true), false),
            (person("alice@.*", "https://other.*", true), false),
            // The whole text, wherever the original is content with a part.
            (person("alice", "https://issuer.*", true), false),
            (person("alice@.*", "issuer", true), false),
        ] {
            assert_eq!(passes(&cluster, language, &signer, None), expected, "{language:?} {signer:?}");
        }
    }
}

#[test]
fn k14_k15_images_of_every_container_and_volume_are_verified_in_every_language() {
    let cluster = signed_by_alice();
    for language in ALL {
        for place in ["containers", "initContainers", "ephemeralContainers", "volumes"] {
            for (image, admits) in [(IMAGE, true), (OTHER, false)] {
                let mut object = pod(&[IMAGE]);
                object["spec"][place] = match place {
                    "volumes" => json!([{"name": "v", "image": {"reference": image}}]),
                    "containers" => json!([{"name": "a", "image": IMAGE}, {"name": "b", "image": image}]),
                    _ => json!([{"name": "b", "image": image}]),
                };
                let decision = decide(&cluster, language, &ALICE, None, &Request::of_object(object));
                assert_eq!(decision.admits(), admits, "{language:?} {place} {image}: {decision:?}");
            }
        }
    }
}

#[test]
fn k14_a_container_that_is_put_into_a_running_pod_is_verified_in_every_language() {
    let cluster = signed_by_alice();
    for language in ALL {
        for (image, admits) in [(IMAGE, true), (OTHER, false)] {
            let old = pod(&[IMAGE]);
            let mut new = old.clone();
            new["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": image}]);
            let mut request = Request::of_object(new);
            request.operation = Operation::Update;
            request.subresource = "ephemeralcontainers".into();
            request.old_object = Some(old);
            let decision = decide(&cluster, language, &ALICE, None, &request);
            assert_eq!(decision.admits(), admits, "{language:?} {image}: {decision:?}");
        }
    }
}

#[test]
fn k12_whatever_form_a_pod_has_no_image_of_it_is_passed_over() {
    let cluster = signed_by_alice();
    let bad = json!([{"name": "b", "image": OTHER}]);
    for language in ALL {
        for (spec, admits) in [
            (json!({"containers": null, "initContainers": bad}), false),
            (json!({"initContainers": null, "containers": bad}), false),
            (json!({"ephemeralContainers": [], "volumes": null, "containers": bad}), false),
            (json!({"containers": {"name": "a", "image": OTHER}}), false),
            (json!({"containers": [{"name": "a", "image": [OTHER]}]}), false),
            (json!({"containers": [{"name": "a", "image": null}], "initContainers": bad}), false),
            (json!({"containers": []}), true),
            (json!({}), true),
        ] {
            let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "prod"}, "spec": spec});
            let decision = decide(&cluster, language, &ALICE, None, &Request::of_object(object));
            assert_eq!(decision.admits(), admits, "{language:?} {spec}: {decision:?}");
        }
    }
}

#[test]
fn k07_cve_2023_34091_what_is_on_its_way_out_is_verified_in_every_language() {
    let cluster = signed_by_alice();
    for language in ALL {
        let terminating = |image: &str| {
            let mut object = pod(&[image]);
            object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            object["metadata"]["finalizers"] = json!(["x"]);
            object
        };
        let mut request = Request::of_object(terminating(OTHER));
        request.operation = Operation::Update;
        request.old_object = Some(terminating(IMAGE));
        assert!(!decide(&cluster, language, &ALICE, None, &request).admits(), "{language:?}");
    }
}

#[test]
fn what_is_only_tried_is_judged_like_anything_else() {
    let cluster = signed_by_alice();
    for language in ALL {
        let mut request = Request::of_object(pod(&[OTHER]));
        request.dry_run = true;
        assert!(!decide(&cluster, language, &ALICE, None, &request).admits(), "{language:?}");
    }
}

#[test]
fn k08_exceptions_of_a_tenant_do_not_hold_and_two_are_judged_each_by_itself() {
    let cluster = signed_by_alice();
    let request = Request::of_object(pod(&[OTHER]));
    let of_kyverno = |namespace: &str, images: &str| {
        let exception = json!({"apiVersion": "policies.kyverno.io/v1", "kind": "PolicyException",
            "metadata": {"name": "e", "namespace": namespace},
            "spec": {"policyRefs": [{"kind": "ImageValidatingPolicy", "name": "p"}], "images": [images]}});
        PolicyException::read(&exception).unwrap()
    };
    let judged = |exceptions: Vec<PolicyException>, object: Value| {
        let policy = policy(Language::ImageValidating, "ghcr.io/acme/*", &ALICE, None).unwrap();
        cluster.decide_all(vec![policy], exceptions, &Request::of_object(object)).admits()
    };
    assert!(judged(vec![of_kyverno("kyverno", OTHER)], pod(&[OTHER])));
    assert!(!judged(vec![of_kyverno("prod", OTHER)], pod(&[OTHER])), "of a namespace that may have none");
    let two = || vec![of_kyverno("kyverno", OTHER), of_kyverno("kyverno", "ghcr.io/acme/third:*")];
    assert!(!judged(two(), pod(&[OTHER, "ghcr.io/acme/third:v1"])), "neither covers the object");
    // Our own are of the cluster, and each is for its own policy, images and namespaces.
    let own = |policies: &str, images: &str| {
        own::PolicyException::read(&json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "PolicyException",
            "metadata": {"name": "e"}, "spec": {"policies": [policies], "images": [images], "namespaces": ["prod"],
                "owner": "a", "reason": "b", "until": "2999-01-01"}}))
        .unwrap()
    };
    for language in ALL {
        let excused = |exceptions| {
            let policy = policy(language, ours(language), &ALICE, None).unwrap();
            let set = PolicySet::new(vec![policy]).excusing(exceptions);
            set.evaluate(&request, &cluster, cluster.now).unwrap().admits()
        };
        assert!(!excused(vec![own("p", "ghcr.io/acme/third"), own("q", "ghcr.io/acme/*")]), "{language:?}");
    }
}

#[test]
fn k09_policies_call_nobody_in_any_language() {
    let pem = key().public_key().to_pem();
    let rule = |context: Value| {
        json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "p"}, "spec": {"rules": [{
            "name": "r", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, "context": [context],
            "verifyImages": [{"imageReferences": ["*"], "attestors": [{"entries": [{"keys": {"publicKeys": pem}}]}]}]}]}})
    };
    for (field, value) in [
        ("apiCall", json!({"service": {"url": "http://169.254.169.254/latest/meta-data"}})),
        ("apiCall", json!({"urlPath": "/api/v1/namespaces/kube-system/secrets"})),
        ("globalReference", json!({"name": "x"})),
    ] {
        let error = ClusterPolicy::read(&rule(json!({"name": "x", field: value}))).unwrap_err();
        assert_eq!(error.path, format!("spec.rules[0].context[0].{field}"));
    }
    let in_cel = |expression: &str| {
        ImageValidatingPolicy::read(
            &json!({"apiVersion": "policies.kyverno.io/v1", "kind": "ImageValidatingPolicy",
            "metadata": {"name": "p"}, "spec": {
                "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
                "attestors": [{"name": "a", "cosign": {"key": {"data": pem}}}],
                "validations": [{"expression": format!("{expression} && images.containers.all(i, verifyImageSignatures(i, [attestors.a]) > 0)")}]}}),
        )
    };
    in_cel("true").unwrap();
    for expression in [
        "http.Get('http://127.0.0.1') == ''",
        "http.Post('http://127.0.0.1', {}) == ''",
        "resource.Get('v1', 'secrets', 'kube-system', 'x') == ''",
        "globalContext.Get('x', '') == ''",
        "image.GetMetadata('x') == ''",
    ] {
        assert!(in_cel(expression).is_err(), "{expression}");
    }
    let own = |condition: &str| {
        ImagePolicy::read(
            &json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "p"},
            "spec": {"images": ["**"], "attestations": [{"predicate": SCAN, "signedBy": {"key": pem}, "conditions": [condition]}]}}),
        )
    };
    own("predicate.ok").unwrap();
    assert!(own("http.Get('http://127.0.0.1') == ''").is_err());
    let of_controller = |inner: Value| {
        ClusterImagePolicy::read(
            &json!({"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy",
            "metadata": {"name": "p"}, "spec": {"images": [{"glob": "**"}], "authorities": [{"key": {"data": pem}}], "policy": inner}}),
        )
    };
    for inner in [
        json!({"type": "rego", "remote": {"url": "http://169.254.169.254/p", "sha256sum": "00"}}),
        json!({"type": "rego", "data": "package sigstore\nisCompliant { http.send({\"url\": \"http://127.0.0.1\", \"method\": \"get\"}) }"}),
    ] {
        assert!(of_controller(inner.clone()).is_err(), "{inner}");
    }
}

#[test]
fn k10_values_that_double_again_and_again_end_in_every_expression_language() {
    let pem = key().public_key().to_pem();
    let cluster = signed_by_alice();
    // JMESPath, in the context of a rule.
    let mut context = vec![json!({"name": "l0", "variable": {"value": "0123456789abcdef"}})];
    for level in 1..40 {
        let before = format!("{{{{ l{0} }}}}{{{{ l{0} }}}}", level - 1);
        context.push(json!({"name": format!("l{level}"), "variable": {"value": before}}));
    }
    let rule = json!({"name": "r", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, "context": context,
        "verifyImages": [{"imageReferences": ["*"], "attestors": [{"entries": [{"keys": {"publicKeys": pem}}]}]}]});
    let policy = ClusterPolicy::read(
        &json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "p"},
        "spec": {"validationFailureAction": "Enforce", "rules": [rule]}}),
    )
    .unwrap();
    let decision = cluster.decide(policy, &Request::of_object(pod(&[IMAGE])));
    assert!(!decision.admits());
    assert_eq!(decision.results[0].status, Status::Error, "{decision:?}");
    // CEL, in variables.
    let mut variables = vec![json!({"name": "l0", "expression": "'0123456789abcdef'"})];
    for level in 1..40 {
        let before = format!("variables.l{0} + variables.l{0}", level - 1);
        variables.push(json!({"name": format!("l{level}"), "expression": before}));
    }
    let policy = ImageValidatingPolicy::read(&json!({"apiVersion": "policies.kyverno.io/v1", "kind": "ImageValidatingPolicy",
        "metadata": {"name": "p"}, "spec": {"variables": variables,
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
            "attestors": [{"name": "a", "cosign": {"key": {"data": pem}}}],
            "validations": [{"expression": "variables.l39 != '' && images.containers.all(i, verifyImageSignatures(i, [attestors.a]) > 0)"}]}})).unwrap();
    let decision = cluster.decide(policy, &Request::of_object(pod(&[IMAGE])));
    assert!(!decision.admits());
    assert_eq!(decision.results[0].status, Status::Error, "{decision:?}");
}

#[test]
fn k11_an_expression_that_falls_over_refuses_and_crashes_nothing() {
    let cluster = signed_by_alice();
    let rule = |key: &str| {
        let rule = json!({"name": "r", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
            "validate": {"deny": {"conditions": {"all": [{"key": key, "operator": "Equals", "value": "x"}]}}}});
        ClusterPolicy::read(
            &json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "p"},
            "spec": {"validationFailureAction": "Enforce", "rules": [rule]}}),
        )
    };
    for key in ["{{ nofunc(@) }}", "{{ @ | nofunc(@) }}", "{{ a[ }}", "{{ `{` }}"] {
        assert!(rule(key).is_err(), "{key}");
    }
    for key in ["{{ to_upper(request.object.nothing) }}", "{{ divide(`1`, `0`) }}"] {
        let decision = cluster.decide(rule(key).unwrap(), &Request::of_object(pod(&[IMAGE])));
        assert!(!decision.admits(), "{key}: {decision:?}");
    }
}

#[test]
fn kinds_that_make_pods_are_judged_by_their_templates_in_every_language() {
    let cluster = signed_by_alice();
    for language in ALL {
        for (version, kind, wrap) in [
            ("apps/v1", "Deployment", "template"),
            ("apps/v1", "StatefulSet", "template"),
            ("apps/v1", "DaemonSet", "template"),
            ("batch/v1", "Job", "template"),
            ("batch/v1", "CronJob", "jobTemplate"),
        ] {
            for (image, admits) in [(IMAGE, true), (OTHER, false)] {
                let template = json!({"spec": pod(&[image])["spec"]});
                let spec = if wrap == "template" {
                    json!({ "template": template })
                } else {
                    json!({"jobTemplate": {"spec": {"template": template}}})
                };
                let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a", "namespace": "prod"}, "spec": spec});
                let request = Request { kind: GroupVersionKind::of(&object), ..Request::of_object(object) };
                let decision = decide(&cluster, language, &ALICE, None, &request);
                assert_eq!(decision.admits(), admits, "{language:?} {kind} {image}: {decision:?}");
            }
        }
    }
}
