//! `countersign scan` as its users run it: exit codes, and every option by itself.

use serde_json::{Value, json};

use crate::images;
use crate::registry::{Fake, answer};
use crate::support::Home;

/// A registry with a signed and an unsigned image, and manifests which name them.
struct Bench {
    fake: Fake,
    home: Home,
}

fn deployment(name: &str, namespace: &str, image: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{template: {{spec: {{containers: [{{name: main, image: \"{image}\"}}]}}}}}}\n"
    )
}

impl Bench {
    async fn new() -> Self {
        let fake = Fake::start().await;
        fake.lie(|seen| seen.path.starts_with("/v2/secret/").then(|| answer(403, &[], "")));
        for tag in ["signed", "unsigned"] {
            images::image(&fake.app(), tag, tag).await;
        }
        let home = Home::new();
        home.good(&["generate-key-pair"]);
        let bench = Self { fake, home };
        bench.home.good(&["sign", "--key", "cosign.key", "--no-tlog", &bench.image("app:signed")]);
        bench.write("signed.yaml", &deployment("good", "prod", &bench.image("app:signed")));
        bench.write("unsigned.yaml", &deployment("bad", "prod", &bench.image("app:unsigned")));
        bench.write("secret.yaml", &deployment("hidden", "prod", &bench.image("secret:v1")));
        bench
    }

    fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.fake.host)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.home.path(name), text).unwrap();
    }

    /// The exit code of a scan for signatures.
    fn code(&self, arguments: &[&str]) -> i32 {
        self.text(arguments).0
    }

    fn text(&self, arguments: &[&str]) -> (i32, String, String) {
        self.home.text(&[&["scan", "control", "C-0237"][..], arguments].concat())
    }

    /// The exit code of a scan by these controls, with this configuration.
    fn configured(&self, controls: &str, config: &Value, file: &str) -> i32 {
        self.write("controls.json", &config.to_string());
        self.home.text(&["scan", "control", controls, "--controls-config", "controls.json", file]).0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_tells_failed_from_not_looked_at_and_from_nothing_to_scan() {
    let bench = Bench::new().await;
    assert_eq!(bench.code(&["signed.yaml"]), 0);
    assert_eq!(bench.code(&["signed.yaml", "unsigned.yaml"]), 2);
    assert_eq!(bench.code(&["signed.yaml", "secret.yaml"]), 6);
    assert_eq!(bench.code(&["secret.yaml", "unsigned.yaml"]), 2);
    bench.write("service.yaml", "{apiVersion: v1, kind: Service}");
    bench.write("broken.yaml", "a: [");
    assert_eq!(bench.code(&["service.yaml"]), 1, "nothing to scan");
    assert_eq!(bench.code(&["signed.yaml", "broken.yaml"]), 1);
    assert_eq!(bench.code(&["signed.yaml", "missing.yaml"]), 1);
    assert_eq!(bench.home.text(&["scan"]).0, 1);
    assert_eq!(bench.home.text(&["scan", "control", "C-0001", "signed.yaml"]).0, 1, "nothing is configured");
    let (_, _, err) = bench.home.text(&["scan", "control", "C-0236", "signed.yaml"]);
    assert!(err.contains("trustedCosignPublicKeys"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_told_with_its_place_and_the_next_command_and_v_shows_what_passes() {
    let bench = Bench::new().await;
    let (_, out, _) = bench.text(&["signed.yaml", "unsigned.yaml", "secret.yaml"]);
    for expected in [
        "ApiVersion: apps/v1\nKind: Deployment\nName: bad\nNamespace: prod\nFile: unsigned.yaml\n",
        "spec.template.spec.containers[0].image (main): ",
        "it is not signed",
        "next: countersign sign ",
        "Name: hidden",
        "Resource Summary",
    ] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    assert!(!out.contains("Name: good"), "{out}");
    let (_, out, _) = bench.text(&["-v", "signed.yaml", "unsigned.yaml"]);
    assert!(out.contains("Name: good") && out.contains("Sigstore bundle"), "{out}");
    // The command that is named signs it.
    let line = out.lines().find_map(|line| line.trim().strip_prefix("next: countersign sign ")).unwrap();
    bench.home.good(&["sign", "--key", "cosign.key", "--no-tlog", line]);
    assert_eq!(bench.code(&["unsigned.yaml"]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_and_standard_input_are_read() {
    let bench = Bench::new().await;
    std::fs::create_dir_all(bench.home.path("deploy/more")).unwrap();
    let list = json!({ "kind": "List", "items": [
        { "kind": "Pod", "metadata": { "name": "p" }, "spec": { "initContainers": [{ "name": "i", "image": bench.image("app:unsigned") }] } },
    ] });
    bench.write("deploy/more/list.json", &list.to_string());
    bench.write("deploy/values.yaml", "replicas: 3");
    bench.write("deploy/notes.txt", "not a manifest");
    let (code, out, err) = bench.text(&["deploy"]);
    assert_eq!(code, 2, "{err}");
    assert!(out.contains("spec.initContainers[0].image (i)"), "{out}");
    assert!(err.contains("passed over: deploy/values.yaml") && !err.contains("notes.txt"), "{err}");
    let input = std::fs::File::open(bench.home.path("unsigned.yaml")).unwrap();
    let output = bench.home.command(&["scan", "control", "C-0237", "-"]).stdin(input).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_threshold_and_filter_alone_changes_the_answer() {
    let bench = Bench::new().await;
    let both = ["signed.yaml", "unsigned.yaml"];
    let with = |more: &[&str]| bench.code(&[more, &both].concat());
    assert_eq!(with(&["--compliance-threshold", "50"]), 0);
    assert_eq!(with(&["--compliance-threshold", "50.1"]), 2);
    assert_eq!(with(&["--compliance-threshold", "101"]), 1);
    assert_eq!(bench.code(&["--compliance-threshold", "50", "signed.yaml", "secret.yaml"]), 0);
    assert_eq!(bench.code(&["--compliance-threshold", "60", "signed.yaml", "secret.yaml"]), 6);
    assert_eq!(with(&["--severity-threshold", "critical"]), 0);
    assert_eq!(with(&["--severity-threshold", "high"]), 2);
    assert_eq!(with(&["--severity-threshold", "dire"]), 1);
    bench.write("other.yaml", &deployment("other", "dev", &bench.image("app:signed")));
    let files = ["other.yaml", "unsigned.yaml"];
    let with = |more: &[&str]| bench.code(&[more, &files].concat());
    assert_eq!(with(&["--include-namespaces", "dev"]), 0);
    assert_eq!(with(&["--include-namespaces", "dev,prod"]), 2);
    assert_eq!(with(&["--exclude-namespaces", "prod"]), 0);
    assert_eq!(with(&["--exclude-namespaces", "prod,dev"]), 1, "nothing is left");
    assert_eq!(with(&["--exclude-namespaces", "prod", "--include-namespaces", "dev"]), 1);
    assert_eq!(with(&["--concurrency", "1"]), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_and_exceptions_pass_over_what_they_name_and_nothing_else() {
    let bench = Bench::new().await;
    assert_eq!(bench.code(&["--format", "json", "-o", "last.json", "unsigned.yaml"]), 2);
    let report: Value =
        serde_json::from_slice(&std::fs::read(bench.home.path("last.json")).unwrap()).unwrap();
    assert_eq!((&report["schema"], &report["schemaVersion"]), (&json!("countersign.scan"), &json!(1)));
    assert_eq!(bench.code(&["--baseline", "last.json", "unsigned.yaml"]), 0);
    bench.write("new.yaml", &deployment("new", "prod", &bench.image("app:unsigned")));
    assert_eq!(bench.code(&["--baseline", "last.json", "unsigned.yaml", "new.yaml"]), 2);
    assert_eq!(bench.code(&["--baseline", "signed.yaml", "unsigned.yaml"]), 1);

    let exception = |name: &str, end: &str| {
        json!([{ "name": "known", "actions": ["alertOnly"], "expirationDate": end,
            "resources": [{ "designatorType": "Attributes", "attributes": { "name": name } }],
            "posturePolicies": [{ "controlID": "C-0237" }] }])
        .to_string()
    };
    for (name, end, code) in [
        ("bad", "2100-01-01T00:00:00Z", 0),
        ("ba", "2100-01-01T00:00:00Z", 2),
        ("bad", "2020-01-01T00:00:00Z", 2),
        ("bad", "soon", 1),
    ] {
        bench.write("exceptions.json", &exception(name, end));
        assert_eq!(bench.code(&["--exceptions", "exceptions.json", "unsigned.yaml"]), code, "{name} {end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_says_who_may_have_signed_and_where_images_may_come_from() {
    let bench = Bench::new().await;
    let key = std::fs::read_to_string(bench.home.path("cosign.pub")).unwrap();
    let inputs = |inputs: Value| json!({ "settings": { "postureControlInputs": inputs, "countersign": { "transparencyLog": false } } });
    let keys = inputs(json!({ "trustedCosignPublicKeys": [key] }));
    assert_eq!(bench.configured("C-0236", &keys, "signed.yaml"), 0);
    assert_eq!(bench.configured("C-0236", &keys, "unsigned.yaml"), 2);
    bench.home.good(&["generate-key-pair", "--output-key-prefix", "stranger"]);
    let stranger = std::fs::read_to_string(bench.home.path("stranger.pub")).unwrap();
    assert_eq!(
        bench.configured("C-0236", &inputs(json!({ "trustedCosignPublicKeys": [stranger] })), "signed.yaml"),
        2
    );
    let logged = json!({ "settings": { "postureControlInputs": { "trustedCosignPublicKeys": [key] } } });
    assert_eq!(
        bench.configured("C-0236", &logged, "signed.yaml"),
        5,
        "a log is asked for, and no trust root is there"
    );
    assert_eq!(
        bench.configured(
            "C-0236",
            &json!({ "settings": { "countersign": { "trusted": [] } } }),
            "signed.yaml"
        ),
        1
    );

    let app = bench.image("app");
    for (allowed, code) in [(app.as_str(), 0), (&bench.fake.host, 0), (&bench.image("ap"), 2), ("ghcr.io", 2)]
    {
        let config = inputs(json!({ "imageRepositoryAllowList": [allowed] }));
        assert_eq!(bench.configured("C-0078", &config, "signed.yaml"), code, "{allowed}");
        let config = inputs(json!({ "untrustedRegistries": [allowed] }));
        assert_eq!(bench.configured("C-0001", &config, "signed.yaml"), 2 - code, "{allowed}");
    }
    assert_eq!(bench.configured("C-0306", &inputs(json!({})), "signed.yaml"), 2);
    let exempt = inputs(json!({ "imageDigestExemptRepositories": [app] }));
    assert_eq!(bench.configured("C-0306", &exempt, "signed.yaml"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_scanned_by_name_and_registries_are_counted() {
    let bench = Bench::new().await;
    let signed = bench.image("app:signed");
    let (code, out, err) = bench.home.text(&["scan", "image", "-v", &signed]);
    assert_eq!(code, 2, "it has no bill of materials: {err}");
    assert!(out.contains("C-0236 was skipped") && out.contains("Kind: Image"), "{out}");
    assert_eq!(bench.home.text(&["scan", "image", "--severity-threshold", "high", &signed]).0, 0);

    let login = ["--registry-username", "u", "--registry-password", "p"];
    assert_eq!(bench.code(&[&login[..], &["signed.yaml"]].concat()), 1, "to whatever the file names");
    assert_eq!(bench.home.text(&[&["scan", "registries", "signed.yaml"][..], &login].concat()).0, 1);

    let (code, out, _) = bench.home.text(&["scan", "registries", "--json", "signed.yaml", "unsigned.yaml"]);
    let audit: Value = serde_json::from_str(&out).unwrap();
    let usage = json!({ "resources": 2, "images": 2, "signed": 1, "unsigned": 1, "unchecked": 0 });
    assert_eq!(
        (code, &audit["registries"][&bench.fake.host], &audit["namespaces"]["prod"]),
        (0, &usage, &usage)
    );
    let (code, out, _) = bench.home.text(&["scan", "registries", "secret.yaml"]);
    assert!(code == 6 && out.contains("Registry") && out.contains("Namespace"), "{code} {out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_decide_over_manifests_and_images() {
    let bench = Bench::new().await;
    let pem = std::fs::read_to_string(bench.home.path("cosign.pub")).unwrap();
    let policy = json!({ "apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": { "name": "acme" },
        "spec": { "images": [bench.image("app")], "require": { "transparencyLog": false }, "signedBy": { "key": pem } } });
    bench.write("policy.json", &policy.to_string());
    bench.write("trust.json", crate::policy::TRUSTS_NOBODY);
    let by_policy = ["--policy", "policy.json", "--trusted-root", "trust.json"];
    let scan = |arguments: &[&str]| {
        bench.home.text(&[&["scan", "control", "CS-0003"][..], &by_policy, arguments].concat())
    };
    assert_eq!(scan(&["signed.yaml"]).0, 0);
    let (code, out, _) = scan(&["signed.yaml", "unsigned.yaml"]);
    assert!(
        code == 2 && out.contains("(ImagePolicy acme") && out.contains("containers[0].image"),
        "{code} {out}"
    );
    let unsigned = bench.image("app:unsigned");
    let (code, out, _) = bench.home.text(&[&["scan", "image", &unsigned][..], &by_policy].concat());
    assert!(code == 2 && out.contains("(ImagePolicy acme"), "{code} {out}");
    assert_eq!(bench.home.text(&["scan", "control", "CS-0003", "signed.yaml"]).0, 1, "without policies");
    assert_eq!(bench.code(&["--policy", "policy.json", "signed.yaml"]), 1, "it would not be heard");
    assert_eq!(scan(&["--repository", "r.example/evidence", "signed.yaml"]).0, 1, "a policy says where");
    bench.write("policy.json", "{}");
    assert_eq!(scan(&["signed.yaml"]).0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_is_revoked_does_not_verify() {
    let bench = Bench::new().await;
    let key = std::fs::read_to_string(bench.home.path("cosign.pub")).unwrap();
    let config = json!({ "settings": { "postureControlInputs": { "trustedCosignPublicKeys": [key] },
        "countersign": { "transparencyLog": false } } });
    bench.write("controls.json", &config.to_string());
    crate::policy::revoke_key(&bench.home, "cosign.pub");
    let scan = ["scan", "control", "C-0236", "--controls-config", "controls.json", "-v", "signed.yaml"];
    let (before, out, err) = bench.home.text(&scan);
    let listed = ["--revocations", "bad.json", "--revocation-key", "soc.pub"];
    let (after, told, _) = bench.home.text(&[&scan[..], &listed].concat());
    assert_eq!((before, after), (0, 2), "{out}{err}{told}");
    assert!(told.contains("leaked"), "{told}");
}
