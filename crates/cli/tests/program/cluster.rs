//! Scans of what a cluster runs, and plans of what would be denied in it, as their users run them.

use serde_json::{Value, json};

use crate::api_server::{ApiServer, pod, workload};
use crate::images;
use crate::registry::Fake;
use crate::support::Home;
use crate::watch::Watch;

/// A cluster that draws from a registry with a signed and an unsigned image.
struct Bench {
    fake: Fake,
    server: ApiServer,
    home: Home,
    signed: String,
    unsigned: String,
}

impl Bench {
    async fn new() -> Self {
        let (fake, server, home) = (Fake::start().await, ApiServer::start().await, Home::new());
        let signed = images::image(&fake.app(), "signed", "signed").await.digest.to_string();
        let unsigned = images::image(&fake.app(), "unsigned", "unsigned").await.digest.to_string();
        home.good(&["generate-key-pair"]);
        let bench = Self { fake, server, home, signed, unsigned };
        bench.home.good(&["sign", "--key", "cosign.key", "--no-tlog", &bench.image("signed")]);
        bench.write("kube.json", &bench.server.kubeconfig("here"));
        bench.write("trust.json", crate::policy::TRUSTS_NOBODY);
        for name in ["prod", "dev"] {
            let account = json!({ "metadata": { "name": "default", "namespace": name } });
            bench.server.put("serviceaccounts", account);
        }
        bench
    }

    fn image(&self, tag: &str) -> String {
        format!("{}/app:{tag}", self.fake.host)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.home.path(name), text).unwrap();
    }

    /// A Deployment with one pod, which runs this digest.
    fn deploy(&self, name: &str, namespace: &str, tag: &str, running: &str) {
        let (of, set) = (format!("{name}-d"), format!("{name}-r"));
        let mut objects = [
            ("deployments", workload(name, &of, &self.image(tag), None)),
            (
                "replicasets",
                workload(&format!("{name}-1"), &set, &self.image(tag), Some(("Deployment", &of))),
            ),
            (
                "pods",
                pod(&format!("{name}-1-a"), &self.image(tag), Some(running), Some(("ReplicaSet", &set))),
            ),
        ];
        for (plural, object) in &mut objects {
            object["metadata"]["namespace"] = namespace.into();
            self.server.put(plural, object.take());
        }
    }

    fn policy(&self, name: &str, action: &str) -> Value {
        let pem = std::fs::read_to_string(self.home.path("cosign.pub")).unwrap();
        json!({ "apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": { "name": name },
            "spec": { "images": [format!("{}/app", self.fake.host)], "action": action,
                "require": { "transparencyLog": false }, "signedBy": { "key": pem } } })
    }

    /// Exit code and both texts, of the cluster.
    fn run(&self, command: &[&str], more: &[&str]) -> (i32, String, String) {
        self.home.text(&[command, &["--kubeconfig", "kube.json"], more].concat())
    }

    fn scan(&self, more: &[&str]) -> (i32, String, String) {
        self.run(&["scan", "control", "C-0237"], more)
    }

    fn plan(&self, more: &[&str]) -> (i32, String, String) {
        self.run(&["admission", "plan", "--trusted-root", "trust.json"], more)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_judged_and_named_by_its_workload() {
    let bench = Bench::new().await;
    bench.deploy("shop", "prod", "signed", &bench.signed);
    assert_eq!(bench.scan(&[]).0, 0);
    // The tag was moved after this one was started.
    bench.deploy("older", "prod", "signed", &bench.unsigned);
    let (code, out, err) = bench.scan(&["-v"]);
    assert_eq!(code, 2, "{err}");
    for expected in [
        "Kind: Deployment\nName: older\nNamespace: prod\nFile: cluster\n",
        "spec.template.spec.containers[0].image (main): ",
        &format!("next: countersign sign {}/app@{}", bench.fake.host, bench.unsigned),
        "Name: shop",
    ] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    assert!(!out.contains("Kind: Pod") && !out.contains("Kind: ReplicaSet"), "{out}");
    let (_, out, _) = bench.run(&["scan", "control", "C-0306"], &[]);
    assert!(
        out.contains(&format!("{} runs, and the tag names {} now", bench.unsigned, bench.signed)),
        "{out}"
    );
    assert_eq!(out.matches("the tag names").count(), 1, "{out}");

    let (code, out, _) = bench.run(&["scan", "cluster", "--format", "policyreport"], &["-q"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["items"][0]["metadata"]["namespace"]), (2, &json!("prod")));
    let (code, out, _) = bench.run(&["scan", "registries", "--json"], &[]);
    let audit: Value = serde_json::from_str(&out).unwrap();
    let usage = json!({ "resources": 2, "images": 2, "signed": 1, "unsigned": 1, "unchecked": 0 });
    assert_eq!((code, &audit["registries"][&bench.fake.host]), (0, &usage));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_option_of_a_clusters_scan_alone_changes_the_answer() {
    let bench = Bench::new().await;
    assert_eq!(bench.scan(&[]).0, 1, "nothing runs");
    bench.deploy("good", "prod", "signed", &bench.signed);
    bench.deploy("bad", "dev", "unsigned", &bench.unsigned);
    assert_eq!(bench.scan(&[]).0, 2);
    assert_eq!(bench.scan(&["-n", "prod"]).0, 0);
    assert_eq!(bench.scan(&["--namespace", "prod"]).0, 0);
    assert_eq!(bench.scan(&["--exclude-namespaces", "dev"]).0, 0);
    assert_eq!(bench.scan(&["-n", "nowhere"]).0, 1);

    let one = |name: &str, more: &[&str]| {
        bench.run(&["scan", "workload", name, "--severity-threshold", "high"], more)
    };
    assert_eq!(one("Deployment/good", &["-n", "prod"]).0, 0);
    assert_eq!(one("deployments/bad", &["-n", "dev"]).0, 2);
    assert_eq!(one("Pod/bad-1-a", &["-n", "dev"]).0, 2);
    let (code, _, err) = one("Deployment/good", &[]);
    assert!(
        code == 1 && err.contains("Deployment/good in default") && err.contains("kubectl get deployments"),
        "{err}"
    );
    assert_eq!(one("Service/good", &["-n", "prod"]).0, 1);

    bench.write("away.json", &bench.server.kubeconfig("nowhere"));
    let away = |more: &[&str]| {
        let command = ["scan", "control", "C-0237", "-n", "prod", "--kubeconfig", "away.json"];
        bench.home.text(&[&command[..], more].concat())
    };
    let (code, _, err) = away(&[]);
    assert!(code == 6 && err.contains("kubectl cluster-info"), "{code} {err}");
    assert_eq!(away(&["--context", "here"]).0, 0);
    assert_eq!(away(&["--context", "unheard"]).0, 1);
    assert_eq!(bench.home.text(&["scan", "control", "C-0237"]).0, 1, "no kubeconfig anywhere");

    bench.write("pod.yaml", "{kind: Pod, spec: {containers: [{name: a, image: r.example/a}]}}");
    for flag in [&["--context", "here"][..], &["--no-pull-secrets"], &["--cluster-policies"]] {
        let (code, _, err) = bench.home.text(&[&["scan", "control", "C-0237", "pod.yaml"], flag].concat());
        assert!(code == 1 && err.contains(flag[0]), "{err}");
    }
    assert_eq!(bench.scan(&["--cluster-policies"]).0, 1, "nothing would ask them");
    assert_eq!(bench.run(&["scan", "registries", "--cluster-policies"], &[]).0, 1);

    bench.server.forbid("cronjobs");
    let (code, out, _) = bench.scan(&["-n", "prod"]);
    assert!(code == 6 && out.contains("CronJob") && out.contains("forbidden"), "{code} {out}");
    let all = [
        "pods",
        "replicasets",
        "jobs",
        "replicationcontrollers",
        "deployments",
        "statefulsets",
        "daemonsets",
    ];
    for plural in all {
        bench.server.forbid(plural);
    }
    let (code, out, err) = bench.scan(&[]);
    assert!(code == 6 && out.is_empty() && err.contains("kubectl auth can-i list pods"), "{code} {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_secrets_are_used_unless_it_is_said_that_they_are_not() {
    let bench = Bench::new().await;
    let mut object = pod("alone", &bench.image("signed"), Some(&bench.signed), None);
    object["spec"]["imagePullSecrets"] = json!([{ "name": "gone" }]);
    bench.server.put("pods", object);
    bench.server.forbid("secrets");
    let (code, out, _) = bench.scan(&[]);
    assert!(code == 6 && out.contains("prod/gone"), "{code} {out}");
    assert_eq!(bench.scan(&["--no-pull-secrets"]).0, 0);
    bench.write("policy.json", &bench.policy("acme", "deny").to_string());
    assert_eq!(bench.plan(&["--policy", "policy.json"]).0, 6);
    assert_eq!(bench.plan(&["--policy", "policy.json", "--no-pull-secrets"]).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policies_of_the_cluster_decide_over_what_runs_and_over_what_tags_name() {
    let bench = Bench::new().await;
    bench.server.serve("countersign.dev/v1alpha1", "ImagePolicy", "imagepolicies");
    bench.deploy("shop", "prod", "signed", &bench.signed);
    let scan = |more: &[&str]| {
        let command = ["scan", "control", "CS-0003", "--trusted-root", "trust.json", "--cluster-policies"];
        bench.run(&command, more)
    };
    assert_eq!(scan(&[]).0, 1, "there are none");
    bench.server.put("imagepolicies", bench.policy("acme", "deny"));
    assert_eq!(scan(&[]).0, 0);
    bench.deploy("older", "prod", "signed", &bench.unsigned);
    let (code, out, err) = scan(&[]);
    assert!(code == 2 && out.contains("Name: older") && out.contains("(ImagePolicy acme"), "{out} {err}");
    assert!(!out.contains("Name: shop"), "{out}");
    // What somebody put into the pods is judged with the workload.
    let mut injected =
        pod("shop-1-b", &bench.image("signed"), Some(&bench.signed), Some(("ReplicaSet", "shop-r")));
    let containers = injected["spec"]["containers"].as_array_mut().unwrap();
    containers.push(json!({ "name": "proxy", "image": bench.image("unsigned") }));
    bench.server.put("pods", injected);
    let (_, out, _) = scan(&[]);
    assert!(out.contains("Name: shop") && out.contains("pods: spec.containers[1].image (proxy)"), "{out}");
    // Files count beside them.
    let mut other = bench.policy("nobody", "deny");
    other["spec"]["signedBy"] = json!({ "repo": "acme/app" });
    bench.write("more.json", &other.to_string());
    let (code, out, _) = scan(&["--policy", "more.json"]);
    assert!(code != 0 && out.contains("(ImagePolicy nobody") && out.contains("(ImagePolicy acme"), "{out}");
    bench.server.forbid("imagepolicies");
    assert_eq!(scan(&[]).0, 6, "what cannot be read may refuse");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_revocation_lists_of_the_cluster_are_obeyed_and_the_highest_holds() {
    let bench = Bench::new().await;
    for (kind, plural) in [("ImagePolicy", "imagepolicies"), ("RevocationList", "revocationlists")] {
        bench.server.serve("countersign.dev/v1alpha1", kind, plural);
    }
    bench.server.put("imagepolicies", bench.policy("acme", "deny"));
    bench.deploy("shop", "prod", "signed", &bench.signed);
    bench.home.good(&["generate-key-pair", "--output-key-prefix", "soc"]);
    let place = ["--list", "bad.json", "--sign-with", "soc.key"];
    let revoke = |what: &[&str]| {
        bench.home.good(&[&["revoke"], what, &place, &["--reason", "leaked", "--by", "soc"]].concat());
    };
    // As `kubectl apply` would put it there.
    let apply = |name: &str| {
        let object = ["revoke", "list", "--kubernetes", "--name", name];
        let object = bench.home.good(&[&object[..], &place].concat());
        bench.server.put("revocationlists", serde_json::from_str(&object).unwrap());
    };
    let scanned: &[&str] = &["scan", "control", "CS-0003"];
    let one: &[&str] =
        &["scan", "workload", "Deployment/shop", "-n", "prod", "--severity-threshold", "critical"];
    let planned: &[&str] = &["admission", "plan"];
    let by = ["--cluster-policies", "--trusted-root", "trust.json", "--revocation-key", "soc.pub"];
    let obeyed = |command: &[&str], more: &[&str]| bench.run(command, &[&by[..], more].concat());

    let (code, out, err) = obeyed(scanned, &[]);
    assert!(code == 6 && out.contains("there is none yet"), "{code} {out} {err}");
    revoke(&["--key", "soc.pub"]);
    apply("a1");
    assert_eq!(obeyed(scanned, &[]).0, 0, "another key");
    assert_eq!(obeyed(planned, &[]).0, 0);
    std::fs::copy(bench.home.path("bad.json"), bench.home.path("first.json")).unwrap();
    revoke(&["--key", "cosign.pub"]);
    apply("a2");
    for command in [scanned, one, planned] {
        let (code, out, err) = obeyed(command, &[]);
        assert!(out.contains("entry 2 of list 2 of RevocationList a2"), "{command:?}: {code} {out} {err}");
        assert!(code == 2 || command == one, "{command:?}: {code}");
        let (_, out, _) = bench.run(command, &by[..3]);
        assert!(!out.contains("revoked"), "nobody may revoke: {out}");
    }
    // A list that is named counts with them: by its number.
    assert_eq!(obeyed(scanned, &["--revocations", "bad.json"]).0, 2);
    let (code, _, err) = obeyed(scanned, &["--revocations", "none.json"]);
    assert!(code == 5 && err.contains("none.json"), "{err}");
    revoke(&["undo", "2"]);
    apply("a3");
    assert_eq!(obeyed(scanned, &[]).0, 0, "undone");
    assert_eq!(obeyed(planned, &["--revocations", "first.json"]).0, 0, "an older one says nothing");
    // What does not count is told.
    let forged = json!({ "metadata": { "name": "b" }, "spec": { "list": "{}" } });
    bench.server.put("revocationlists", forged);
    let (code, _, err) = obeyed(scanned, &[]);
    assert!(code == 0 && err.contains("the revocation list of RevocationList b: "), "{code} {err}");
    // What was seen in the cluster is remembered outside of it.
    let file = ["scan", "control", "C-0237", "--revocation-key", "soc.pub", "--revocations", "first.json"];
    bench.write("pod.yaml", "{kind: Pod, spec: {containers: [{name: a, image: r.example/a}]}}");
    let (code, _, err) = bench.home.text(&[&file[..], &["pod.yaml"]].concat());
    assert!(code == 5 && err.contains("expected number 3 or more, found 1"), "{code} {err}");
    bench.server.forbid("revocationlists");
    let (code, _, err) = obeyed(scanned, &[]);
    assert!(code == 6 && err.contains("revocation lists") && err.contains("forbidden"), "{code} {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_obeys_the_policies_and_the_revocation_lists_of_the_cluster_as_they_change() {
    let bench = Bench::new().await;
    for (kind, plural) in [("ImagePolicy", "imagepolicies"), ("RevocationList", "revocationlists")] {
        bench.server.serve("countersign.dev/v1alpha1", kind, plural);
    }
    bench.server.put("imagepolicies", bench.policy("acme", "deny"));
    bench.deploy("shop", "prod", "unsigned", &bench.unsigned);
    bench.deploy("web", "prod", "signed", &bench.signed);
    bench.home.good(&["generate-key-pair", "--output-key-prefix", "soc"]);
    let place = ["--list", "bad.json", "--sign-with", "soc.key"];
    let revoke = |name: &str, what: &[&str]| {
        bench.home.good(&[&["revoke"], what, &place, &["--reason", "leaked", "--by", "soc"]].concat());
        let object = ["revoke", "list", "--kubernetes", "--name", name];
        let object = bench.home.good(&[&object[..], &place].concat());
        bench.server.put("revocationlists", serde_json::from_str(&object).unwrap());
    };
    revoke("a1", &["--key", "soc.pub"]);
    let watch = Watch::of(
        &bench.home,
        &[
            &["scan", "control", "CS-0003", "--watch", "--interval", "1h", "--format", "json"][..],
            &["--kubeconfig", "kube.json", "--cluster-policies", "--trusted-root", "trust.json"],
            &["--revocation-key", "soc.pub"],
        ]
        .concat(),
    );
    // Until that is told of the Deployment of this name: how it stands and why.
    let told = |name: &str, is: &str, why: &str| loop {
        let alert = watch.alert();
        let change = &alert["changes"][0];
        let says = change["message"].as_str().unwrap().contains(why);
        if alert["workload"]["name"] == name && change["is"] == is && says {
            return;
        }
    };
    told("shop", "failed", "(ImagePolicy acme");
    revoke("a2", &["--key", "cosign.pub"]);
    told("web", "failed", "entry 2 of list 2 of RevocationList a2");
    revoke("a3", &["undo", "2"]);
    told("web", "passed", "");
    let mut other = bench.policy("nobody", "deny");
    other["spec"]["signedBy"] =
        json!({ "key": std::fs::read_to_string(bench.home.path("soc.pub")).unwrap() });
    bench.server.put("imagepolicies", other);
    told("web", "failed", "(ImagePolicy nobody");
    assert_eq!(watch.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_what_would_be_denied_and_why() {
    let bench = Bench::new().await;
    bench
        .fake
        .lie(|seen| seen.path.starts_with("/v2/secret/").then(|| crate::registry::answer(403, &[], "")));
    bench.deploy("good", "prod", "signed", &bench.signed);
    bench.deploy("bad", "prod", "unsigned", &bench.unsigned);
    bench.deploy("test", "dev", "unsigned", &bench.unsigned);
    bench.deploy("core", "kube-system", "unsigned", &bench.unsigned);
    let mut hidden = workload("hidden", "hidden-s", &format!("{}/secret:v1", bench.fake.host), None);
    hidden["metadata"]["namespace"] = "dev".into();
    bench.server.put("statefulsets", hidden);
    // Somebody puts a container into the pods.
    let mut injected =
        pod("good-1-b", &bench.image("signed"), Some(&bench.signed), Some(("ReplicaSet", "good-r")));
    let containers = injected["spec"]["containers"].as_array_mut().unwrap();
    containers.push(json!({ "name": "proxy", "image": bench.image("unsigned") }));
    bench.server.put("pods", injected);
    let mut ended = pod("ended", &bench.image("unsigned"), None, None);
    ended["status"]["phase"] = "Succeeded".into();
    bench.server.put("pods", ended);

    let mut deny = bench.policy("acme", "deny");
    deny["spec"]["images"] = json!([format!("{}/**", bench.fake.host)]);
    bench.write("policies.yaml", &format!("{deny}\n---\n{}\n", bench.policy("tells", "warn")));
    let by = ["--policy", "policies.yaml"];
    let (code, out, err) = bench.plan(&by);
    assert_eq!((code, err.as_str()), (2, ""));
    let sign = format!("next: countersign sign {}/app@{}", bench.fake.host, bench.unsigned);
    for expected in [
        "ImagePolicy acme\n  Deployment/dev/test: would be denied",
        "  Deployment/prod/bad: would be denied",
        "  Pod/prod/good-1-b of ReplicaSet/good-r: would be denied",
        "  StatefulSet/dev/hidden: would be denied, as it could not be checked",
        "ImagePolicy tells\n  Deployment/dev/test: would be admitted with a warning",
        &sign,
        "5 workloads are judged: 3 would be denied; 1 would be denied, as it could not be checked; 1 in namespaces that are never \
         judged (kube-system)\n",
    ] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    assert!(!out.contains("core") && !out.contains("ended") && !out.contains("good: "), "{out}");
    let (code, out, _) = bench.plan(&[&by[..], &["--format", "json"]].concat());
    let planned: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &planned["schema"], &planned["schemaVersion"]),
        (2, &json!("countersign.admission-plan"), &json!(1))
    );
    let count = |denied: u8, unchecked: u8, warned: u8, workloads: u8| {
        json!({ "workloads": workloads, "denied": denied, "deniedUnchecked": unchecked, "warned": warned,
            "admittedUnchecked": 0, "audited": 0 })
    };
    assert_eq!(planned["all"], count(3, 1, 0, 5));
    assert_eq!(
        planned["policies"],
        json!({ "ImagePolicy acme": count(3, 1, 0, 5), "ImagePolicy tells": count(0, 0, 3, 4) })
    );
    assert_eq!(planned["namespaces"], json!({ "dev": count(1, 1, 0, 2), "prod": count(2, 0, 0, 3) }));
    assert_eq!(planned["findings"].as_array().unwrap().len(), 7);
    let (code, out, _) = bench.plan(&[&by[..], &["--format", "markdown"]].concat());
    assert!(code == 2 && out.starts_with("## ") && out.contains("| ImagePolicy acme | 5 | 3 | 1 |"), "{out}");
    assert!(!bench.server.seen().iter().any(|asked| asked.contains("/secrets")), "no workload names one");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_option_of_a_plan_alone_changes_the_answer() {
    let bench = Bench::new().await;
    bench.write("policy.json", &bench.policy("acme", "deny").to_string());
    let plan = |more: &[&str]| bench.plan(&[&["--policy", "policy.json"], more].concat()).0;
    assert_eq!(plan(&[]), 1, "nothing runs");
    bench.deploy("good", "prod", "signed", &bench.signed);
    bench.deploy("bad", "dev", "unsigned", &bench.unsigned);
    assert_eq!(plan(&[]), 2);
    assert_eq!(plan(&["-n", "prod"]), 0);
    assert_eq!(plan(&["--exclude-namespaces", "dev"]), 0);
    assert_eq!(plan(&["--exempt-namespace", "dev"]), 0);
    assert_eq!(plan(&["--exempt-namespace", "dev,prod"]), 2, "no such name");
    assert_eq!(plan(&["--concurrency", "1"]), 2);
    assert_eq!(plan(&["--context", "nowhere"]), 6);
    assert_eq!(plan(&["--repository", "r.example/evidence"]), 1);
    assert_eq!(plan(&["--registry-token", "x"]), 1);
    assert_eq!(bench.plan(&[]).0, 1, "by no policy");
    assert_eq!(bench.plan(&["--cluster-policies"]).0, 1, "there are none");
    bench.write("warns.json", &bench.policy("acme", "warn").to_string());
    assert_eq!(bench.plan(&["--policy", "warns.json"]).0, 0);
    bench.write("wrong.json", "{}");
    assert_eq!(bench.plan(&["--policy", "wrong.json"]).0, 1);

    // What the cluster has, with the exceptions of namespaces that may have any.
    bench.server.serve("kyverno.io/v1", "ClusterPolicy", "clusterpolicies");
    bench.server.serve("kyverno.io/v2", "PolicyException", "policyexceptions");
    let pem = std::fs::read_to_string(bench.home.path("cosign.pub")).unwrap();
    bench.server.put("clusterpolicies", json!({ "metadata": { "name": "signed" }, "spec": {
        "validationFailureAction": "Enforce", "rules": [{ "name": "signed",
            "match": { "any": [{ "resources": { "kinds": ["Pod"] } }] },
            "verifyImages": [{ "imageReferences": [format!("{}/*", bench.fake.host)], "mutateDigest": false, "verifyDigest": false,
                "attestors": [{ "entries": [{ "keys": { "publicKeys": pem, "rekor": { "ignoreTlog": true } } }] }] }] }] } }));
    bench.server.put(
        "policyexceptions",
        json!({ "metadata": { "name": "known", "namespace": "dev" }, "spec": {
        "exceptions": [{ "policyName": "signed", "ruleNames": ["signed", "autogen-signed"] }],
        "match": { "any": [{ "resources": { "kinds": ["Pod", "Deployment"] } }] } } }),
    );
    let (code, out, err) = bench.plan(&["--cluster-policies"]);
    assert_eq!(code, 2, "{out} {err}");
    let (code, out, err) = bench.plan(&["--cluster-policies", "--exception-namespace", "dev"]);
    assert_eq!(code, 0, "{out} {err}");
    assert_eq!(bench.plan(&["--cluster-policies", "--exception-namespace", "prod"]).0, 2);
    assert_eq!(plan(&["--exception-namespace", "dev"]), 1, "there are none of files");
    bench.server.put(
        "configmaps",
        json!({ "metadata": { "name": "config-policy-controller", "namespace": "other" },
        "data": { "no-match-policy": "deny" } }),
    );
    let prod = |more: &[&str]| bench.plan(&[&["--cluster-policies", "-n", "prod"], more].concat()).0;
    assert_eq!(prod(&[]), 0);
    assert_eq!(prod(&["--policy-controller-namespace", "other"]), 2, "no ClusterImagePolicy is about it");

    bench.server.put("clusterpolicies", json!({ "metadata": { "name": "secret" }, "spec": {
        "validationFailureAction": "Enforce", "rules": [{ "name": "signed",
            "match": { "any": [{ "resources": { "kinds": ["Pod"] } }] },
            "verifyImages": [{ "imageReferences": [format!("{}/*", bench.fake.host)], "mutateDigest": false, "verifyDigest": false,
                "imageRegistryCredentials": { "secrets": ["pull"] },
                "attestors": [{ "entries": [{ "keys": { "publicKeys": pem, "rekor": { "ignoreTlog": true } } }] }] }] }] } }));
    bench.server.forbid("secrets");
    for (more, name) in [(&[][..], "countersign/pull"), (&["--webhook-namespace", "other"], "other/pull")] {
        let (_, out, _) = bench.plan(&[&["--cluster-policies", "-n", "prod"], more].concat());
        assert!(out.contains(&format!("the secret {name}")), "{out}");
    }

    bench.server.forbid("deployments");
    let (code, out, _) = bench.plan(&["--policy", "policy.json", "-n", "prod"]);
    assert!(code == 6 && out.contains("not known: Deployment in the namespace prod"), "{code} {out}");
}
