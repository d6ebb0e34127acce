//! `countersign notary`: files signed and verified, and for each option a run in which it alone makes the answer no.

use crate::support::Home;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../client/tests/data/notary");
const ACME: &str = r#""trustStores":["ca:acme"],"trustedIdentities":["x509.subject: C=US, ST=WA, O=acme"]"#;

/// A home with a key, its certificates, the policies and a store that trusts them, and a file.
fn home() -> Home {
    let home = Home::new();
    for name in ["signer.key", "chain.pem", "listed-chain.pem", "root.pem", "good.crl.pem", "revoked.crl.pem"]
    {
        std::fs::copy(format!("{DATA}/{name}"), home.path(name)).unwrap();
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(home.path("signer.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let store = home.path("store/x509/ca/acme");
    std::fs::create_dir_all(&store).unwrap();
    std::fs::copy(home.path("root.pem"), store.join("root.pem")).unwrap();
    let statement = |name: &str, level: &str, more: &str| {
        format!(r#"{{"name":"{name}",{more}"signatureVerification":{{"level":"{level}"}},{ACME}}}"#)
    };
    let document =
        |statements: &[String]| format!(r#"{{"version":"1.0","trustPolicies":[{}]}}"#, statements.join(","));
    let blob = document(&[
        statement("strict", "strict", r#""globalPolicy":true,"#),
        statement("lenient", "permissive", ""),
    ]);
    std::fs::write(home.path("blob.json"), blob).unwrap();
    let oci = document(&[statement("one", "strict", r#""registryScopes":["registry.example.com/app"],"#)]);
    std::fs::write(home.path("oci.json"), oci).unwrap();
    std::fs::write(home.path("app.tar"), "artifact").unwrap();
    home
}

fn sign(home: &Home, more: &[&str]) {
    let fixed = ["notary", "sign", "--key", "signer.key", "--certificate-chain"];
    let chain = if more.contains(&"--listed") { "listed-chain.pem" } else { "chain.pem" };
    let more: Vec<&str> = more.iter().copied().filter(|word| *word != "--listed").collect();
    home.good(&[&fixed[..], &[chain], &more, &["app.tar"]].concat());
}

/// Verifies and gives exit code and standard output.
fn verify(home: &Home, more: &[&str]) -> (i32, String) {
    let fixed = ["notary", "verify", "--trust-policy", "blob.json", "--trust-store", "store"];
    let (code, out, err) = home.text(&[&fixed[..], more, &["app.tar"]].concat());
    (code, out + &err)
}

#[test]
fn a_file_is_signed_and_verified_in_both_forms() {
    for (form, name) in [("jws", "app.tar.jws.sig"), ("cose", "app.tar.cose.sig")] {
        let home = home();
        assert_eq!(verify(&home, &[]).0, 3, "no signature");
        sign(&home, &["--signature-format", form, "-m", "build=42"]);
        assert!(home.path(name).is_file());
        let (code, out) = verify(&home, &["-m", "build=42"]);
        assert_eq!(code, 0, "{out}");
        assert!(out.ends_with("VERIFIED\n"), "{out}");
        let (code, out) = verify(&home, &["--output", "json"]);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &report["verified"], &report["skipped"]), (0, &true.into(), &false.into()));
        assert_eq!(report["result"]["metadata"]["build"], "42");
        let shown = home.good(&["notary", "inspect", name]);
        assert!(shown.contains("notary.x509") && shown.contains("countersign/"), "{shown}");
        std::fs::write(home.path("app.tar"), "artefact").unwrap();
        let (code, out) = verify(&home, &[]);
        assert_eq!(code, 2);
        assert!(out.contains("artifact_mismatch"), "{out}");
    }
}

#[test]
fn each_option_alone_makes_the_answer_no() {
    let home = home();
    sign(&home, &["-m", "build=42", "--expiry", "24h"]);
    assert_eq!(verify(&home, &[]).0, 0);
    assert_eq!(verify(&home, &["-m", "build=43"]).0, 4);
    assert_eq!(verify(&home, &["--media-type", "text/plain"]).0, 2);
    assert_eq!(verify(&home, &["--policy-name", "nobody"]).0, 4);
    assert_eq!(verify(&home, &["--signature", "app.tar.cose.sig"]).0, 1, "it is not there");
    std::fs::copy(home.path("app.tar.jws.sig"), home.path("app.tar.cose.sig")).unwrap();
    assert_eq!(verify(&home, &["--signature", "app.tar.cose.sig"]).0, 2, "the name says another form");
    assert_eq!(verify(&home, &[]).0, 1, "two signatures, and none is named");
    std::fs::remove_file(home.path("app.tar.cose.sig")).unwrap();
    std::fs::create_dir(home.path("elsewhere")).unwrap();
    let fixed = ["notary", "verify", "app.tar", "--trust-policy"];
    let (code, out, _) = home.text(&[&fixed[..], &["blob.json", "--trust-store", "elsewhere"]].concat());
    assert_eq!(code, 5, "{out}");
    assert_eq!(home.text(&[&fixed[..], &["oci.json", "--trust-store", "store"]].concat()).0, 5, "for images");
    assert_eq!(home.text(&["notary", "verify", "app.tar"]).0, 5, "no policy at all");
    let other = std::fs::read_to_string(home.path("blob.json")).unwrap().replace("O=acme", "O=other");
    std::fs::write(home.path("other.json"), other).unwrap();
    assert_eq!(home.text(&[&fixed[..], &["other.json", "--trust-store", "store"]].concat()).0, 4);
}

#[test]
fn notations_own_folder_is_used_when_nothing_is_named() {
    let home = home();
    sign(&home, &[]);
    let folder = home.path(".config/notation");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::rename(home.path("blob.json"), folder.join("trustpolicy.blob.json")).unwrap();
    std::fs::rename(home.path("store"), folder.join("truststore")).unwrap();
    home.good(&["notary", "verify", "app.tar"]);
    // A signature for files is none by a policy for images.
    std::fs::rename(folder.join("trustpolicy.blob.json"), folder.join("trustpolicy.json")).unwrap();
    assert_eq!(home.text(&["notary", "verify", "app.tar"]).0, 5);
}

#[test]
fn v57_revocation_is_answered_by_the_lists_that_are_given() {
    let home = home();
    sign(&home, &["--listed"]);
    let (code, out) = verify(&home, &[]);
    assert_eq!(code, 2);
    assert!(out.contains("revocation_not_checked") && out.contains("--crl"), "{out}");
    assert_eq!(verify(&home, &["--crl", "good.crl.pem"]).0, 0);
    let (code, out) = verify(&home, &["--crl", "revoked.crl.pem"]);
    assert_eq!(code, 2);
    assert!(out.contains("certificate_revoked"), "{out}");
    assert_eq!(verify(&home, &["--crl", "good.crl.pem", "--crl", "revoked.crl.pem"]).0, 2, "any one of them");
    assert_eq!(verify(&home, &["--crl", "root.pem"]).0, 2, "no list at all");
}

#[test]
fn v56_what_a_lenient_policy_only_logs_is_told_and_can_be_refused() {
    let home = home();
    sign(&home, &["--listed"]);
    let (code, out) = verify(&home, &["--policy-name", "lenient"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("revocation_not_checked") && out.contains("ACCEPTED by level permissive"), "{out}");
    assert!(!out.contains("VERIFIED"), "{out}");
    let (code, out) = verify(&home, &["--policy-name", "lenient", "--enforce-logged"]);
    assert_eq!(code, 2);
    assert!(out.ends_with("REJECTED\n"), "{out}");
}

#[test]
fn signing_refuses_what_nobody_would_accept() {
    let home = home();
    let refused = |more: &[&str]| home.text(&[&["notary", "sign", "--key", "signer.key"], more].concat()).0;
    assert_eq!(refused(&["--certificate-chain", "root.pem", "app.tar"]), 1, "another key's certificate");
    assert_eq!(refused(&["app.tar"]), 1, "no certificate");
    let chain = ["--certificate-chain", "chain.pem"];
    for bad in [
        &["not-there"][..],
        &["-m", "build", "app.tar"],
        &["-m", "a=1", "-m", "a=2", "app.tar"],
        &["-m", "io.cncf.notary.x=1", "app.tar"],
        &["--expiry", "0s", "app.tar"],
        &["--signature", "app.sig", "app.tar"],
        &["--signature", "app.cose.sig", "app.tar"],
        &["--timestamp-url", "http://127.0.0.1:9", "app.tar"],
    ] {
        assert_eq!(refused(&[&chain, bad].concat()), 1, "{bad:?}");
    }
    assert!(!home.path("app.tar.jws.sig").exists());
    let unreachable =
        ["--timestamp-url", "http://127.0.0.1:9", "--timestamp-root-cert", "root.pem", "app.tar"];
    assert_eq!(refused(&[&chain, &unreachable[..]].concat()), 6);
    assert!(!home.path("app.tar.jws.sig").exists(), "no signature without the timestamp that was asked for");
    home.good(&[&["notary", "sign", "--key", "signer.key"], &chain[..], &["--dry-run", "app.tar"]].concat());
    assert!(!home.path("app.tar.jws.sig").exists());
}

#[test]
fn options_of_files_are_refused_for_images_and_the_other_way_round() {
    let home = home();
    let fixed = ["notary", "verify", "--trust-policy", "oci.json", "--trust-store", "store"];
    let run = |more: &[&str]| home.text(&[&fixed[..], more].concat()).0;
    for option in ["--signature", "--media-type", "--policy-name"] {
        assert_eq!(run(&[option, "x", "127.0.0.1:9/app:v1"]), 1, "{option}");
    }
    for option in ["--signature", "--media-type"] {
        let sign = ["notary", "sign", "--key", "signer.key", "--certificate-chain", "chain.pem", option, "x"];
        let (code, _, err) = home.text(&[&sign[..], &["127.0.0.1:9/app:v1"]].concat());
        assert!(code == 1 && err.contains("is for files"), "{option}: {err}");
    }
    assert_eq!(run(&["--local-image", "app.tar"]), 1, "without a scope");
    assert_eq!(run(&["127.0.0.1:9/app:v1"]), 4, "no statement for it, told before anyone is asked");
    let all =
        std::fs::read_to_string(home.path("oci.json")).unwrap().replace("registry.example.com/app", "*");
    std::fs::write(home.path("oci.json"), all).unwrap();
    assert_eq!(run(&["127.0.0.1:9/app:v1"]), 6, "a registry that cannot be asked is not \"unsigned\"");
}

#[test]
fn a_certificate_that_is_revoked_signs_for_nobody() {
    let home = home();
    sign(&home, &[]);
    home.good(&["generate-key-pair", "--output-key-prefix", "soc"]);
    let own = ["revoke", "--list", "bad.json", "--sign-with", "soc.key", "--reason", "leaked", "--by", "soc"];
    let listed = ["--revocations", "bad.json", "--revocation-key", "soc.pub"];
    home.good(&[&own[..], &["--identity", "O=somebody, CN=else"]].concat());
    assert_eq!(verify(&home, &listed).0, 0);
    home.good(&[&own[..], &["--certificate", "root.pem"]].concat());
    let (code, out) = verify(&home, &listed);
    assert_eq!(code, 2, "{out}");
    assert!(out.contains("revoked") && out.contains("leaked"), "{out}");
    assert_eq!(verify(&home, &["--policy-name", "lenient", listed[0], listed[1], listed[2], listed[3]]).0, 2);
    assert_eq!(verify(&home, &[]).0, 0);
}
