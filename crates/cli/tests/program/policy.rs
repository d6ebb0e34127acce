//! Policies in files: read, explained, and images verified by them as the cluster would.

use crate::images;
use crate::registry::{Fake, answer};
use crate::support::{Home, golden};
use serde_json::Value;

/// A trusted root that trusts nobody but has the form of one: keys alone decide.
pub(crate) const TRUSTS_NOBODY: &str = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[],"certificateAuthorities":[],"ctlogs":[],"timestampAuthorities":[]}"#;

/// A policy of this name over `app` in a registry, with more of its specification.
fn policy(name: &str, host: &str, more: &str) -> String {
    format!(
        "apiVersion: countersign.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {{name: {name}}}\nspec:\n  \
         images: [\"{host}/app\"]\n  require: {{transparencyLog: false}}\n{more}"
    )
}

/// Somebody by the key in this file.
fn by_key(home: &Home, file: &str) -> String {
    let pem = std::fs::read_to_string(home.path(file)).unwrap();
    format!("  signedBy:\n    key: |\n      {}\n", pem.trim().replace('\n', "\n      "))
}

/// A registry with `app:v1`, signed by `cosign.key`, and `app:unsigned`.
async fn bench() -> (Fake, Home) {
    let fake = Fake::start().await;
    images::image(&fake.app(), "v1", "content").await;
    images::image(&fake.app(), "unsigned", "other content").await;
    let home = Home::new();
    home.good(&["generate-key-pair"]);
    home.good(&["generate-key-pair", "--output-key-prefix", "other"]);
    let image = format!("{}/app:v1", fake.host);
    home.good(&["sign", "--key", "cosign.key", "--no-tlog", &image]);
    std::fs::write(home.path("trust.json"), TRUSTS_NOBODY).unwrap();
    (fake, home)
}

fn verify(home: &Home, policy: &str, image: &str, more: &[&str]) -> (i32, String, String) {
    std::fs::write(home.path("policy.yaml"), policy).unwrap();
    let command = ["verify", "--policy", "policy.yaml", "--trusted-root", "trust.json", image];
    home.text(&[&command[..], more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_verified_by_policies_and_printed_by_what_was_verified() {
    let (fake, home) = bench().await;
    let image = |tag: &str| format!("{}/app:{tag}", fake.host);
    let own = policy("own", &fake.host, &by_key(&home, "cosign.pub"));
    let (code, out, err) = verify(&home, &own, &image("v1"), &[]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with(&format!("{}/app@sha256:", fake.host)), "{out}");

    let (code, out, err) = verify(&home, &own, &image("unsigned"), &[]);
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    assert!(err.contains("countersign tree"), "{err}");

    let other = policy("other", &fake.host, &by_key(&home, "other.pub"));
    let (code, out, err) = verify(&home, &other, &image("v1"), &[]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    let (code, out, _) = verify(&home, &other, &image("v1"), &["-o", "json"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    let result = &document["images"][0]["results"][0];
    assert_eq!((code, &document["admitted"], &result["reason"]), (2, &false.into(), &"wrong_key".into()));

    let both = format!("{own}---\n{other}");
    assert_eq!(verify(&home, &both, &image("v1"), &[]).0, 2, "each policy holds");
    let told = policy("other", &fake.host, &format!("  action: warn\n{}", by_key(&home, "other.pub")));
    let (code, _, err) = verify(&home, &told, &image("v1"), &[]);
    assert!(code == 0 && err.contains("told, and let in"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_policy_is_about_or_nobody_could_check_is_not_admitted() {
    let (fake, home) = bench().await;
    let image = format!("{}/app:v1", fake.host);
    let elsewhere = policy("own", "registry.example", &by_key(&home, "cosign.pub"));
    let (code, _, err) = verify(&home, &elsewhere, &image, &[]);
    assert!(code == 2 && err.contains("no policy is about this image"), "{err}");

    let prod = policy("own", &fake.host, &format!("  namespaces: [prod]\n{}", by_key(&home, "cosign.pub")));
    assert_eq!(verify(&home, &prod, &image, &[]).0, 2);
    assert_eq!(verify(&home, &prod, &image, &["--namespace", "prod"]).0, 0);

    let own = policy("own", &fake.host, &by_key(&home, "cosign.pub"));
    let (code, _, err) = verify(&home, &own, &image, &["--repository", "registry.example/evidence"]);
    assert!(code == 1 && err.contains("said by the policy"), "{err}");
    fake.lie(|_| Some(answer(503, &[], "")));
    let (code, _, err) = verify(&home, &own, &image, &["-t", "30s"]);
    assert!(code == 6 && err.contains("could not be checked"), "{code} {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_lets_in_what_a_policy_refuses_until_it_ends() {
    let (fake, home) = bench().await;
    let image = format!("{}/app:unsigned", fake.host);
    let excepted = |until: &str| {
        let host = &fake.host;
        format!(
            "{}---\napiVersion: countersign.dev/v1alpha1\nkind: PolicyException\nmetadata: {{name: old}}\nspec: \
             {{policies: [own], images: [\"{host}/app\"], owner: me, reason: old, until: {until}}}\n",
            policy("own", host, &by_key(&home, "cosign.pub"))
        )
    };
    let (code, _, err) = verify(&home, &excepted("2999-01-01"), &image, &[]);
    assert!(code == 0 && err.contains("excepted until"), "{err}");
    assert_eq!(verify(&home, &excepted("2020-01-01"), &image, &[]).0, 3);
}

#[test]
fn what_is_wrong_with_policies_is_told_with_the_fields_path() {
    let home = Home::new();
    std::fs::create_dir(home.path("policies")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(home.path("policies").join(name), text).unwrap();
    write(
        "a.yaml",
        &policy("a", "ghcr.io/acme", "  signedBy: {subject: \"*\", issuer: \"https://idp.example\"}\n"),
    );
    write("b.yaml", &policy("b", "ghcr.io/acme", "  signedBy: {email: a@acme.example}\n"));
    write(
        "c.yaml",
        "apiVersion: kyverno.io/v1\nkind: ClusterPolicy\nmetadata: {name: c}\nspec: {rulez: []}\n",
    );
    write(
        "d.yaml",
        "apiVersion: countersign.dev/v1alpha1\nkind: PolicyException\nmetadata: {name: old}\nspec: {policies: [a], images: \
         [\"**\"], owner: me, reason: old, until: 2020-12-31}\n",
    );
    write("notes.txt", "no policy");
    let (code, out, err) = home.text(&["policy", "lint", "policies"]);
    assert_eq!(code, 1, "{err}");
    golden("policy-lint.txt", &out);
    let (_, out, _) = home.text(&["policy", "lint", "policies", "-o", "json"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&document["policies"], &document["errors"]), (&1.into(), &2.into()));
    assert_eq!(home.text(&["policy", "lint", "policies/a.yaml"]).0, 0, "a remark is no error");
    for command in ["explain", "lint"] {
        std::fs::create_dir_all(home.path("empty")).unwrap();
        assert_eq!(home.text(&["policy", command, "empty"]).0, 1);
        assert_eq!(home.text(&["policy", command, "not-there.yaml"]).0, 1);
    }
    let (code, _, err) = home.text(&["policy", "explain", "policies/b.yaml"]);
    assert!(code == 1 && err.contains("spec.signedBy: expected issuer"), "{err}");
}

#[test]
fn policies_are_told_in_plain_words() {
    let home = Home::new();
    let text = "apiVersion: countersign.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: acme}\nspec:\n  \
                images: [\"ghcr.io/acme/**\"]\n  exceptImages: [\"ghcr.io/acme/scratch/**\"]\n  \
                namespaces: [prod-*]\n  namespaceSelector: {matchLabels: {tier: prod}}\n  signedBy:\n    atLeast: 2\n    \
                of:\n    - {repo: acme/app, workflow: release.yml, ref: refs/tags/*}\n    \
                - {email: release@acme.example, issuer: \"https://idp.acme.example\", annotations: {stage: prod}}\n    \
                - {name: security, key: \"k8s://security/cosign\"}\n  attestations:\n  \
                - {predicate: vuln, notOlderThan: 7d, signedBy: {repo: acme/scanner}}\n  \
                trust: {root: acme, transparencyLogUrl: \"https://log.acme.example\"}\n---\n\
                apiVersion: countersign.dev/v1alpha1\nkind: PolicyException\nmetadata: {name: legacy}\nspec:\n  \
                {policies: [acme], images: [ghcr.io/acme/legacy], namespaces: [prod-old], owner: payments@acme.example, \
                reason: replaced in March, until: 2027-03-31}\n";
    std::fs::write(home.path("policy.yaml"), text).unwrap();
    golden("policy-explain.txt", &home.good(&["policy", "explain", "policy.yaml"]));
}

/// A test of Kyverno's, in the form of its samples.
#[tokio::test(flavor = "multi_thread")]
async fn kyvernos_tests_run_as_they_are() {
    let (fake, home) = bench().await;
    let host = &fake.host;
    let pem =
        std::fs::read_to_string(home.path("cosign.pub")).unwrap().trim().replace('\n', "\n              ");
    let write = |name: &str, text: &str| std::fs::write(home.path("tests").join(name), text).unwrap();
    std::fs::create_dir(home.path("tests")).unwrap();
    write(
        "policy.yaml",
        &format!(
            "apiVersion: kyverno.io/v1\nkind: ClusterPolicy\nmetadata: {{name: signed}}\nspec:\n  \
             validationFailureAction: Enforce\n  rules:\n  - name: check\n    \
             match: {{any: [{{resources: {{kinds: [Pod], namespaceSelector: {{matchLabels: {{tier: prod}}}}}}}}]}}\n    \
             verifyImages:\n    - imageReferences: [\"{host}/*\"]\n      attestors:\n      - entries:\n        - keys:\n            \
             publicKeys: |\n              {pem}\n            rekor: {{ignoreTlog: true}}\n"
        ),
    );
    let pod = |name: &str, namespace: &str, tag: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{containers: \
             [{{name: c, image: \"{host}/app:{tag}\"}}]}}\n"
        )
    };
    let namespaces = "apiVersion: v1\nkind: Namespace\nmetadata: {name: prod, labels: {tier: prod}}\n---\n\
                      apiVersion: v1\nkind: Namespace\nmetadata: {name: test}\n";
    let pods = [pod("good", "prod", "v1"), pod("bad", "prod", "unsigned"), pod("other", "test", "unsigned")];
    write("resources.yaml", &format!("{namespaces}{}{}", pods.concat(), pod("lost", "nowhere", "v1")));
    let expect = |results: &[(&str, &str)]| {
        let lines: String = results
            .iter()
            .map(|(resource, result)| {
                format!("- {{policy: signed, rule: check, kind: Pod, resources: [{resource}], result: {result}}}\n")
            })
            .collect();
        write(
            "kyverno-test.yaml",
            &format!("name: signed\npolicies: [policy.yaml]\nresources: [resources.yaml]\nresults:\n{lines}"),
        );
        home.text(&["policy", "test", "tests", "--trusted-root", "trust.json"])
    };
    let right = [("good", "pass"), ("bad", "fail"), ("prod/good", "pass"), ("other", "skip")];
    let (code, out, err) = expect(&right);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("4 results, 0 other than expected"), "{out}");
    for (resource, result) in [("good", "fail"), ("bad", "pass"), ("other", "pass"), ("lost", "pass")] {
        let (code, out, err) = expect(&[(resource, result)]);
        assert_eq!(code, 2, "{resource} {result}: {out}{err}");
    }
    for (resource, result, told) in
        [("missing", "pass", "which is none"), ("good", "perhaps", "unknown variant"), ("good", "", "result")]
    {
        let (code, out, err) = expect(&[(resource, result)]);
        assert!(code == 1 && err.contains(told), "{resource} {result}: {out}{err}");
    }
    // Beside resources: values, who asks, what the object is afterwards.
    let run = |result: &str, more: &str| {
        let text = format!(
            "policies: [policy.yaml]\nresources: [resources.yaml]\nresults: [{{policy: signed, {result}}}]\n{more}"
        );
        write("kyverno-test.yaml", &text);
        home.text(&["policy", "test", "tests", "--trusted-root", "trust.json"])
    };
    write(
        "values.yaml",
        "apiVersion: cli.kyverno.io/v1alpha1\nkind: Value\nmetadata: {name: values}\n\
         namespaceSelector: [{name: nowhere, labels: {tier: prod}}]\n\
         policies: [{name: signed, resources: [{name: bad, values: {request.operation: DELETE}}]}]\n",
    );
    let values = "variables: values.yaml\n";
    let selector = "values: {namespaceSelector: [{name: nowhere, labels: {tier: prod}}]}\n";
    for (result, more, code) in [
        ("resources: [lost], result: pass", values, 0),
        ("resources: [lost], result: pass", selector, 0),
        ("resources: [lost], result: pass", "", 2),
        ("resources: [bad], result: skip", values, 0),
        ("resources: [bad], result: skip", selector, 2),
        ("resourceSpecs: [{kind: Pod, namespace: prod, name: good}], result: pass", "", 0),
        ("resourceSpecs: [{kind: Pod, namespace: test, name: good}], result: pass", "", 1),
        ("resources: [good], result: pass", "jsonPayload: {a: 1}\n", 1),
        ("resources: [good], result: pass, generatedResource: made.yaml", "", 1),
        ("resources: [good], result: pass", "values: {globalValues: {imageData.x: y}}\n", 1),
        ("resources: [good], result: pass", "variables: not-there.yaml\n", 1),
        ("resources: [good], result: pass, isImageValidatingPolicy: true", "", 1),
        ("resources: [good], result: pass, isImageValidatingPolicy: false", "", 0),
        (
            "resources: [good], result: pass",
            "apiVersion: cli.kyverno.io/v1alpha1\nkind: Test\nmetadata: {name: t}\n",
            0,
        ),
        ("resources: [good], result: pass", "apiVersion: cli.kyverno.io/v1alpha1\nkind: Value\n", 1),
        ("resources: [good], result: pass", "apiVersion: v1\nkind: Test\n", 1),
        ("resources: [good], result: pass", "userinfo: values.yaml\n", 1),
        ("resources: [good], result: pass", "variables: policy.yaml\n", 1),
    ] {
        let (found, out, err) = run(result, more);
        assert_eq!(found, code, "{result} {more}: {out}{err}");
    }
    // What the object is after it was pinned.
    write("patched.yaml", &pod("good", "prod", "v1"));
    let patched = "resources: [good], result: pass, patchedResources: patched.yaml";
    let (code, out, _) = run(patched, "");
    assert!(code == 2 && out.contains("the patched resource: spec.containers[0].image"), "{out}");
    let pinned = out.rsplit_once("found \"").unwrap().1.split('"').next().unwrap().to_owned();
    assert!(pinned.contains(":v1@sha256:"), "{pinned}");
    let annotated = pod("good", "prod", &pinned[pinned.find(":v1").unwrap() + 1..])
        .replace("namespace: prod}", "namespace: prod, annotations: {kyverno.io/verify-images: yes}}");
    write("patched.yaml", &annotated);
    let (code, out, err) = run(patched, "");
    assert_eq!(code, 0, "{out}{err}");
    write("patched.yaml", &pod("other", "prod", "v1"));
    assert_eq!(run(patched, "").0, 1, "no such object");
    // A failure that is not scored is a warning; who asks decides what a policy is about; a ConfigMap's data may be a value.
    let policy = std::fs::read_to_string(home.path("tests/policy.yaml")).unwrap();
    let unscored = policy
        .replace("{name: signed}", "{name: signed, annotations: {policies.kyverno.io/scored: \"false\"}}");
    write("policy.yaml", &unscored);
    assert_eq!(run("resources: [bad], result: warn", "").0, 0);
    assert_eq!(run("resources: [bad], result: fail", "").0, 2);
    let of_users = policy.replace(
        "{resources: {kinds: [Pod],",
        "{subjects: [{kind: User, name: ci}], resources: {kinds: [Pod],",
    );
    write("policy.yaml", &of_users);
    write(
        "user.yaml",
        "apiVersion: cli.kyverno.io/v1alpha1\nkind: UserInfo\nuserInfo: {username: ci, groups: [a]}\nclusterRoles: [b]\n",
    );
    assert_eq!(run("resources: [bad], result: fail", "userinfo: user.yaml\n").0, 0);
    assert_eq!(run("resources: [bad], result: skip", "").0, 0);
    let named = policy
        .replace(&format!("[\"{host}/*\"]"), "[\"{{ images.data.ours }}\"]")
        .replace(
            "  - name: check\n",
            "  - name: check\n    context: [{name: images, configMap: {name: images, namespace: default}}]\n",
        )
        .replace("images.data", "names.data")
        .replace("{name: images, configMap", "{name: names, configMap");
    write("policy.yaml", &named);
    let ours = format!("values: {{globalValues: {{names.data.ours: \"{host}/*\"}}}}\n");
    assert_eq!(run("rule: check, resources: [bad], result: fail", &ours).0, 0);
    assert_eq!(run("rule: check, resources: [bad], result: error", "").0, 0, "the ConfigMap is not there");
}

#[test]
fn policies_in_cel_and_of_policy_controller_are_written_in_our_own() {
    let home = Home::new();
    let identity = "{issuer: \"https://idp.acme.example\", subject: release@acme.example}";
    let in_cel = format!(
        "apiVersion: policies.kyverno.io/v1\nkind: ImageValidatingPolicy\nmetadata: {{name: signed}}\nspec:\n  \
         matchConstraints: {{resourceRules: [{{apiGroups: [\"\"], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [pods]}}]}}\n  \
         matchImageReferences: [{{glob: \"ghcr.io/acme/*\"}}]\n  \
         attestors: [{{name: ci, cosign: {{keyless: {{identities: [{identity}]}}, ctlog: {{url: \"https://log.acme.example\"}}}}}}]\n  \
         validations: [{{expression: \"images.containers.map(i, verifyImageSignatures(i, [attestors.ci])).all(n, n > 0)\"}}]\n"
    );
    let of_controller = format!(
        "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {{name: signed}}\nspec:\n  \
         images: [{{glob: \"ghcr.io/acme/**\"}}]\n  mode: warn\n  \
         authorities: [{{keyless: {{identities: [{identity}]}}, ctlog: {{url: \"https://log.acme.example\"}}}}]\n"
    );
    for (name, text) in [("cel", in_cel), ("controller", of_controller)] {
        let file = format!("{name}.yaml");
        std::fs::write(home.path(&file), text).unwrap();
        let own = home.good(&["policy", "convert", &file]);
        golden(&format!("policy-convert-{name}.txt"), &own);
        std::fs::write(home.path("own.yaml"), &own).unwrap();
        assert_eq!(home.text(&["policy", "lint", "own.yaml"]).0, 0);
        let words = |file: &str| {
            home.good(&["policy", "explain", file]).lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(words(&file), words("own.yaml"), "and is told in the same words");
    }
}

#[test]
fn policies_of_other_languages_are_written_in_our_own() {
    let home = Home::new();
    let policy = |more: &str| {
        format!(
            "apiVersion: kyverno.io/v1\nkind: ClusterPolicy\nmetadata: {{name: signed}}\nspec:\n  \
             validationFailureAction: Audit\n  rules:\n  - name: check\n    \
             match: {{any: [{{resources: {{kinds: [Pod], namespaces: [prod-*]}}}}]}}\n    \
             verifyImages:\n    - imageReferences: [\"ghcr.io/acme/*\"]\n      mutateDigest: false\n      attestors:\n      \
             - count: 1\n        entries:\n        - keyless: {{subject: \"https://github.com/acme/*\", issuer: \
             \"https://token.actions.githubusercontent.com\", rekor: {{url: \"https://log.acme.example\"}}}}\n        \
             - keyless: {{subject: release@acme.example, issuer: \"https://idp.acme.example\", rekor: {{url: \
             \"https://log.acme.example\"}}}}\n{more}"
        )
    };
    std::fs::write(home.path("kyverno.yaml"), policy("")).unwrap();
    let own = home.good(&["policy", "convert", "kyverno.yaml"]);
    golden("policy-convert.txt", &own);
    std::fs::write(home.path("own.yaml"), &own).unwrap();
    assert_eq!(home.text(&["policy", "lint", "own.yaml"]).0, 0);
    let again = home.good(&["policy", "convert", "own.yaml"]);
    let body = |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    assert_eq!(body(&again), body(&own), "what is in our own language stays");
    let words = |file: &str| {
        let text = home.good(&["policy", "explain", file]);
        text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(words("kyverno.yaml"), words("own.yaml"), "and is told in the same words");

    let context = "    context: [{name: keys, configMap: {name: keys, namespace: default}}]\n";
    std::fs::write(home.path("context.yaml"), policy(context)).unwrap();
    let (code, out, err) = home.text(&["policy", "convert", "kyverno.yaml", "context.yaml"]);
    assert_eq!((code, out.as_str()), (1, ""), "nothing is written when something cannot be: {err}");
    assert!(err.contains("ClusterPolicy/signed: spec.rules[0].context"), "{err}");
    let told = home.good(&["policy", "explain", "context.yaml"]);
    assert!(told.contains("evaluated as it is"), "{told}");
}

/// A TrustRoot object of this form.
fn trust_root(spec: &Value) -> String {
    serde_json::json!({"apiVersion": "policy.sigstore.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": "own"},
        "spec": spec})
    .to_string()
}

/// The first root of a repository that nobody serves.
fn tuf_root() -> String {
    use countersign_crypto::{KeyPair, KeyType, Signer};
    use countersign_trust::tuf::repository::{Lifetimes, Repository, Role, Roles, TargetFile};
    let key = || -> std::sync::Arc<dyn Signer> {
        std::sync::Arc::new(KeyPair::generate(KeyType::EcdsaP256).unwrap())
    };
    let (folder, ring) = (tempfile::tempdir().unwrap(), [key(), key()]);
    let roles = Roles::offline_and_online(Role::single(ring[0].public_key()), ring[1].public_key());
    let targets = [TargetFile::new("trusted_root.json", TRUSTS_NOBODY)];
    let now = countersign_clock::Timestamp::UNIX_EPOCH;
    Repository::create(folder.path(), &roles, Lifetimes::default(), &ring, &targets, now).unwrap();
    std::fs::read_to_string(folder.path().join("1.root.json")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trust_root_beside_a_policy_is_used_by_its_name_and_one_that_cannot_be_had_is_no_empty_one() {
    let (fake, home) = bench().await;
    let image = format!("{}/app:v1", fake.host);
    let more = format!("  trust: {{root: own}}\n{}", by_key(&home, "cosign.pub"));
    let own = policy("own", &fake.host, &more);
    let (code, _, err) = verify(&home, &own, &image, &[]);
    assert!(code == 6 && err.contains("there is no trust root \"own\""), "{code} {err}");
    let here = trust_root(&serde_json::json!({"trustedRootJSON": TRUSTS_NOBODY}));
    assert_eq!(verify(&home, &format!("{own}---\n{here}\n"), &image, &[]).0, 0);

    let mirror = "http://127.0.0.1:1";
    let remote = trust_root(&serde_json::json!({"remote": {"mirror": mirror, "root": tuf_root()}}));
    let (code, _, err) = verify(&home, &format!("{own}---\n{remote}\n"), &image, &[]);
    assert!(code == 6 && err.contains(mirror) && err.contains("the last try"), "{code} {err}");
    let (code, out, _) = home.text(&["policy", "lint", "policy.yaml"]);
    assert!(code == 0 && out.contains(mirror) && out.contains("(trust_root_is_fetched)"), "{out}");
}

#[test]
fn policy_controllers_settings_are_linted() {
    let home = Home::new();
    let settings = |data: &str| {
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-policy-controller}}\ndata: {data}\n"
        );
        std::fs::write(home.path("map.yaml"), text).unwrap();
        let (code, out, _) = home.text(&["policy", "lint", "map.yaml"]);
        (code, out)
    };
    assert_eq!(
        settings("{no-match-policy: warn, fail-on-empty-authorities: \"true\"}"),
        (0, "0 policies, 0 errors, 0 remarks\n".into())
    );
    let (code, out) = settings("{no-match-policy: alow}");
    assert!(code == 1 && out.contains("expected deny, warn or allow"), "{out}");
    let (code, out) = settings("{no-match-policy: allow, fail-on-empty-authorities: \"false\"}");
    assert!(code == 0 && out.contains("no_match_allows") && out.contains("authorities_are_needed"), "{out}");
}

/// Writes a revocation list of one's own, signed with `soc.key`, that revokes the key `cosign.pub`, or the other one.
pub(crate) fn revoke_key(home: &Home, key: &str) {
    if !home.path("soc.key").exists() {
        home.good(&["generate-key-pair", "--output-key-prefix", "soc"]);
    }
    let own = ["revoke", "--list", "bad.json", "--sign-with", "soc.key", "--reason", "leaked", "--by", "soc"];
    home.good(&[&own[..], &["--key", key]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_is_not_admitted_whatever_the_policy_trusts() {
    let (fake, home) = bench().await;
    let image = format!("{}/app:v1", fake.host);
    let own = policy("own", &fake.host, &by_key(&home, "cosign.pub"));
    let listed = ["--revocations", "bad.json", "--revocation-key", "soc.pub"];
    revoke_key(&home, "other.pub");
    let (code, _, err) = verify(&home, &own, &image, &listed);
    assert_eq!(code, 0, "{err}");
    revoke_key(&home, "cosign.pub");
    let (code, out, err) = verify(&home, &own, &image, &listed);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("leaked") && err.contains("entry 2 of list 2 of bad.json"), "{err}");
    assert_eq!(verify(&home, &own, &image, &[]).0, 0, "nobody is told to obey");
    assert_eq!(verify(&home, &own, &image, &listed[..2]).0, 1, "nobody is named who may sign");
}
