//! Trust policies: documents as notation has them, and for each rule one in which it alone makes the answer no.

use countersign_notary::policy::{Action, BlobPolicy, Level, OciPolicy, TrustedIdentities, VerifyTimestamp};
use countersign_notary::{Reason, StoreType};

/// A document with one statement, spoilt by replacing a text.
fn oci(from: &str, to: &str) -> Result<OciPolicy, Reason> {
    let good = r#"{"version":"1.0","trustPolicies":[{"name":"one","registryScopes":["registry.example.com/app"],
        "signatureVerification":{"level":"strict"},"trustStores":["ca:acme","tsa:clock"],
        "trustedIdentities":["x509.subject: C=US, ST=WA, O=acme"]}]}"#;
    assert!(good.contains(from), "{from}");
    OciPolicy::parse(good.replacen(from, to, 1).as_bytes()).map_err(|refusal| refusal.reason)
}

const MALFORMED: Result<OciPolicy, Reason> = Err(Reason::TrustPolicyMalformed);

#[test]
fn a_document_is_read_whole() {
    let policy = oci("one", "one").unwrap();
    let statement = policy.statement_for("registry.example.com/app").unwrap();
    let rules = statement.rules.as_ref().unwrap();
    assert_eq!((statement.name.as_str(), statement.level), ("one", Level::Strict));
    assert_eq!(rules.actions.revocation, Action::Enforce);
    assert_eq!(rules.verify_timestamp, VerifyTimestamp::Always);
    assert_eq!(rules.stores[0].kind, StoreType::Ca);
    assert_eq!(rules.stores[1].to_string(), "tsa:clock");
    assert!(matches!(&rules.identities, TrustedIdentities::Names(names) if names.len() == 1));
}

#[test]
fn documents_that_break_a_rule_are_refused() {
    for (name, from, to) in [
        ("another version", r#""1.0""#, r#""2.0""#),
        ("no version", r#""version":"1.0","#, ""),
        ("no statements", r#""trustPolicies":[{"#, r#""trustPolicies":[],"x":[{"#),
        ("an unknown member", r#""name":"one""#, r#""name":"one","overide":{}"#),
        ("no name", r#""name":"one""#, r#""name":"""#),
        ("no scopes", r#"["registry.example.com/app"]"#, "[]"),
        ("all and one", r#"["registry.example.com/app"]"#, r#"["*","registry.example.com/app"]"#),
        ("a wild card", r#"["registry.example.com/app"]"#, r#"["registry.example.com/*"]"#),
        ("no repository", r#"["registry.example.com/app"]"#, r#"["registry.example.com"]"#),
        ("a tag", "example.com/app", "example.com/app:1"),
        ("a scope twice", r#"["registry.example.com/app"]"#, r#"["a.b/c","a.b/c"]"#),
        ("another level", "strict", "Strict"),
        ("no level", r#""level":"strict""#, ""),
        ("another member", r#""level":"strict""#, r#""level":"strict","verify":"always""#),
        ("another time", r#""level":"strict""#, r#""level":"strict","verifyTimestamp":"never""#),
        ("integrity", r#""level":"strict""#, r#""level":"strict","override":{"integrity":"log"}"#),
        (
            "authenticity skipped",
            r#""level":"strict""#,
            r#""level":"strict","override":{"authenticity":"skip"}"#,
        ),
        ("expiry skipped", r#""level":"strict""#, r#""level":"strict","override":{"expiry":"skip"}"#),
        (
            "time skipped",
            r#""level":"strict""#,
            r#""level":"strict","override":{"authenticTimestamp":"skip"}"#,
        ),
        ("another check", r#""level":"strict""#, r#""level":"strict","override":{"revocations":"log"}"#),
        ("another action", r#""level":"strict""#, r#""level":"strict","override":{"expiry":"warn"}"#),
        (
            "an override twice",
            r#""level":"strict""#,
            r#""level":"strict","override":{"expiry":"log","expiry":"enforce"}"#,
        ),
        ("skip with an override", r#""level":"strict""#, r#""level":"skip","override":{"expiry":"log"}"#),
        ("skip with stores", "strict", "skip"),
        ("no stores", r#"["ca:acme","tsa:clock"]"#, "[]"),
        ("another store", "ca:acme", "x509:acme"),
        ("a store elsewhere", "ca:acme", "ca:../acme"),
        ("no identities", r#"["x509.subject: C=US, ST=WA, O=acme"]"#, "[]"),
        ("an identity without state", ", ST=WA", ""),
        ("anybody and somebody", r#"["x509.subject"#, r#"["*","x509.subject"#),
        ("bytes behind the end", "}]}", "}]}{}"),
    ] {
        assert_eq!(oci(from, to), MALFORMED, "{name}");
    }
    assert_eq!(OciPolicy::parse(b"").unwrap_err().reason, Reason::TrustPolicyMalformed);
}

#[test]
fn a_refusal_names_the_statement() {
    let document = br#"{"version":"1.0","trustPolicies":[{"name":"mine","registryScopes":["*"],
        "signatureVerification":{"level":"strict"},"trustStores":[],"trustedIdentities":["*"]}]}"#;
    assert!(OciPolicy::parse(document).unwrap_err().expected.contains("\"mine\""));
}

#[test]
fn levels_and_their_overrides() {
    use Action::{Enforce, Log, Skip};
    for (verification, expected) in [
        (r#"{"level":"strict"}"#, [Enforce, Enforce, Enforce, Enforce]),
        (r#"{"level":"permissive"}"#, [Enforce, Log, Log, Log]),
        (r#"{"level":"audit"}"#, [Log, Log, Log, Log]),
        (r#"{"level":"strict","override":{"revocation":"skip"}}"#, [Enforce, Enforce, Enforce, Skip]),
        (r#"{"level":"strict","override":{"authenticity":"log"}}"#, [Log, Enforce, Enforce, Enforce]),
        (r#"{"level":"audit","override":{"expiry":"enforce"}}"#, [Log, Log, Enforce, Log]),
        (
            r#"{"level":"permissive","override":{"authenticTimestamp":"enforce"}}"#,
            [Enforce, Enforce, Log, Log],
        ),
    ] {
        let policy = oci(r#"{"level":"strict"}"#, verification).unwrap();
        let actions = policy.statements().next().unwrap().rules.as_ref().unwrap().actions;
        let found = [actions.authenticity, actions.authentic_timestamp, actions.expiry, actions.revocation];
        assert_eq!(found, expected, "{verification}");
    }
}

fn two(first: &str, second: &str) -> Result<OciPolicy, Reason> {
    let statement = |name: &str, scopes: &str| {
        format!(
            r#"{{"name":"{name}","registryScopes":{scopes},"signatureVerification":{{"level":"strict"}},
            "trustStores":["ca:acme"],"trustedIdentities":["*"]}}"#
        )
    };
    let names = if first == second { ("one", "one") } else { ("one", "two") };
    let (a, b) = (statement(names.0, first), statement(names.1, second));
    let document = format!(r#"{{"version":"1.0","trustPolicies":[{a},{b}]}}"#);
    OciPolicy::parse(document.as_bytes()).map_err(|refusal| refusal.reason)
}

#[test]
fn one_statement_owns_a_repository_and_the_exact_one_wins() {
    let policy = two(r#"["a.b/c"]"#, r#"["*"]"#).unwrap();
    assert_eq!(policy.statement_for("a.b/c").unwrap().name, "one");
    assert_eq!(policy.statement_for("a.b/c/d").unwrap().name, "two");
    assert_eq!(two(r#"["a.b/c"]"#, r#"["a.b/d","a.b/c"]"#), MALFORMED);
    assert_eq!(two(r#"["*"]"#, r#"["*"]"#), MALFORMED);
    let narrow = two(r#"["a.b/c"]"#, r#"["a.b/d"]"#).unwrap();
    for other in ["a.b/e", "a.b/c/d", "A.b/c", "a.b/c:1", "", "*"] {
        assert_eq!(narrow.statement_for(other).unwrap_err().reason, Reason::NoApplicablePolicy, "{other}");
    }
}

#[test]
fn skip_needs_a_name_and_nothing_else() {
    let skip = |scopes: &str| {
        let document = format!(
            r#"{{"version":"1.0","trustPolicies":[{{"name":"n","registryScopes":{scopes},
            "signatureVerification":{{"level":"skip"}}}}]}}"#
        );
        OciPolicy::parse(document.as_bytes()).map_err(|refusal| refusal.reason)
    };
    assert!(skip(r#"["a.b/c"]"#).unwrap().statement_for("a.b/c").unwrap().rules.is_none());
    assert_eq!(skip(r#"["*"]"#), MALFORMED);
}

fn blob(members: &[(&str, &str, bool)]) -> Result<BlobPolicy, Reason> {
    let statement = |(name, level, global): &(&str, &str, bool)| {
        let trust = match *level {
            "skip" => "",
            _ => r#","trustStores":["ca:acme"],"trustedIdentities":["*"]"#,
        };
        format!(
            r#"{{"name":"{name}","globalPolicy":{global},"signatureVerification":{{"level":"{level}"}}{trust}}}"#
        )
    };
    let statements: Vec<String> = members.iter().map(statement).collect();
    let document = format!(r#"{{"version":"1.0","trustPolicies":[{}]}}"#, statements.join(","));
    BlobPolicy::parse(document.as_bytes()).map_err(|refusal| refusal.reason)
}

#[test]
fn policies_for_files_are_chosen_by_name_or_are_global() {
    let policy = blob(&[("a", "strict", false), ("b", "audit", true), ("c", "skip", false)]).unwrap();
    assert_eq!(policy.statement_for(Some("a")).unwrap().name, "a");
    assert_eq!(policy.statement_for(None).unwrap().name, "b");
    assert!(policy.statement_for(Some("c")).unwrap().rules.is_none());
    assert_eq!(policy.statement_for(Some("d")).unwrap_err().reason, Reason::NoApplicablePolicy);
    let none = blob(&[("a", "strict", false)]).unwrap();
    assert_eq!(none.statement_for(None).unwrap_err().reason, Reason::NoApplicablePolicy);
    let refused = Err(Reason::TrustPolicyMalformed);
    assert_eq!(blob(&[("a", "strict", true), ("b", "strict", true)]), refused, "two global ones");
    assert_eq!(blob(&[("a", "skip", true)]), refused, "a global one that skips");
    assert_eq!(blob(&[("a", "strict", false), ("a", "audit", false)]), refused, "a name twice");
    assert_eq!(blob(&[]), refused);
    let scoped = br#"{"version":"1.0","trustPolicies":[{"name":"a","registryScopes":["*"],
        "signatureVerification":{"level":"strict"},"trustStores":["ca:a"],"trustedIdentities":["*"]}]}"#;
    assert!(BlobPolicy::parse(scoped).is_err(), "a policy for registries");
}
