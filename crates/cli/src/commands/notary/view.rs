//! A report on a Notary Project signature, for people and as JSON.

use countersign_crypto::{encoding, sha256};
use countersign_notary::{AuthenticTime, Check, CheckName, Outcome, Reason, Report, Verdict, Verified};
use countersign_x509::Certificate;
use serde_json::{Value, json};

use crate::checklist::Checklist;
use crate::out::Terminal;

const fn label(name: CheckName) -> &'static str {
    match name {
        CheckName::Policy => "trust policy",
        CheckName::Envelope => "envelope",
        CheckName::Certificates => "certificates",
        CheckName::Signature => "signature",
        CheckName::Artifact => "artifact",
        CheckName::Metadata => "metadata",
        CheckName::TrustStore => "trust store",
        CheckName::Identity => "identity",
        CheckName::Expiry => "expiry",
        CheckName::AuthenticTimestamp => "time of signing",
        CheckName::Revocation => "revocation",
        other => other.code(),
    }
}

/// What to do next. Never a weaker check.
const fn next_step(reason: Reason) -> &'static str {
    match reason {
        Reason::NoSignature => "ask whoever publishes it for a signature of the Notary Project",
        Reason::ArtifactMismatch => "this is not what was signed: fetch it again and compare the digests",
        Reason::IdentityMismatch | Reason::CertificateUntrusted => {
            "someone else signed: see who with `countersign notary inspect`, and ask the publisher"
        }
        Reason::SignatureExpired => "the signer wants it used no more: ask for a newer one",
        Reason::CertificateNotValid | Reason::TimestampMissing => {
            "check this machine's clock; else ask the publisher to sign again, with a timestamp"
        }
        Reason::RevocationNotChecked => "fetch the authority's revocation list and give it with --crl",
        Reason::CertificateRevoked => "the key is not to be trusted any more: ask the publisher",
        Reason::PluginRequired => "verify it with notation and the plugin which it names",
        Reason::NoApplicablePolicy => "add a statement for it to the trust policy",
        Reason::TrustStoreMissing => "put the publisher's root certificate into the trust store",
        Reason::MetadataMismatch => "see what is signed with `countersign notary inspect`",
        Reason::Internal => "please report it, with the command line",
        _ => "fetch the signature again, and ask the publisher",
    }
}

/// The checklist, the verdict in its last line.
pub(super) fn checklist(terminal: &Terminal, title: &str, report: &Report, explain: bool) -> String {
    let mut list = Checklist::new(terminal, title);
    for check in report.checks() {
        push_check(&mut list, check, explain);
    }
    match report.verdict() {
        Verdict::Verified(verified) => {
            push_facts(&mut list, verified);
            list.verdict(&match verified.logged() {
                [] => terminal.good("VERIFIED"),
                logged => terminal.bad(&format!(
                    "ACCEPTED by level {} although {} does not hold (--enforce-logged refuses)",
                    verified.level().name(),
                    logged.iter().map(|check| label(check.name)).collect::<Vec<_>>().join(", ")
                )),
            })
        }
        Verdict::Skipped => {
            list.verdict(&terminal.bad("SKIPPED: the trust policy says so, nothing was verified"))
        }
        Verdict::Rejected(_) => list.verdict(&terminal.bad("REJECTED")),
    }
}

fn push_facts(list: &mut Checklist<'_>, verified: &Verified) {
    let signer = verified.signer().map_or_else(|| "nobody who is trusted".to_owned(), describe);
    list.fact("signed by", &signer);
    match verified.authentic_time() {
        Some(AuthenticTime::TimestampAuthority { time, authority }) => {
            list.fact("before", &format!("{time} (says {authority})"));
        }
        Some(AuthenticTime::SigningAuthority(time)) => {
            list.fact("at", &format!("{time} (says the signing authority)"));
        }
        _ => list.fact("at", &format!("{} (says the signer)", verified.attributes().signing_time)),
    }
    for (name, value) in verified.metadata() {
        list.fact("metadata", &format!("{name}={value}"));
    }
}

/// A certificate in a few words that tell it from all others.
pub(super) fn describe(certificate: &Certificate) -> String {
    let print = encoding::hex_encode(&sha256(certificate.der()));
    format!("{} ({}, sha256:{print})", certificate.subject(), certificate.public_key().key_type())
}

fn push_check(list: &mut Checklist<'_>, check: &Check, explain: bool) {
    let name = label(check.name);
    match check.outcome {
        Outcome::Passed => list.passed(name, &check.found),
        Outcome::NotApplicable => list.not_applicable(name, &check.found),
        Outcome::Failed | Outcome::Logged => {
            let only = if check.outcome == Outcome::Logged { " (the trust policy only logs it)" } else { "" };
            list.failed(name, check.reason.map_or("", Reason::code), only);
            list.detail("expected", &check.expected);
            list.detail("found", &check.found);
            if let Some(reason) = check.reason {
                list.detail("next", next_step(reason));
            }
            return;
        }
    }
    if explain {
        list.detail("expected", &check.expected);
    }
}

/// The report as JSON: verified facts apart from what was only found.
pub(super) fn report_json(artifact: &str, report: &Report) -> Value {
    let checks: Vec<Value> = report
        .checks()
        .iter()
        .map(|c| {
            json!({ "name": c.name.code(), "outcome": c.outcome.code(), "expected": c.expected,
                "found": c.found, "reason": c.reason.map(Reason::code) })
        })
        .collect();
    let result = report.verified().map(|verified| {
        let logged: Vec<_> = verified.logged().iter().map(|check| check.reason.map(Reason::code)).collect();
        let time = verified.authentic_time().map(|time| match time {
            AuthenticTime::SigningAuthority(time) => {
                json!({ "source": "signing_authority", "time": time.to_string() })
            }
            AuthenticTime::TimestampAuthority { time, authority } => {
                json!({ "source": "timestamp_authority", "time": time.to_string(), "authority": authority })
            }
            _ => Value::Null,
        });
        json!({ "digest": verified.target().digest.to_string(), "signer": verified.signer().map(describe),
            "statement": verified.statement(), "level": verified.level().name(), "logged": logged,
            "signingScheme": verified.attributes().scheme.name(), "authenticTime": time,
            "metadata": verified.metadata() })
    });
    json!({ "artifact": artifact, "verified": result.is_some(),
        "skipped": matches!(report.verdict(), Verdict::Skipped), "exitCode": report.exit_code(),
        "reason": report.rejection().map(|rejection| rejection.reason.code()), "result": result, "checks": checks })
}
