//! A report of the engine, for people and as JSON.

use countersign_crypto::encoding;
use countersign_verify::{Check, CheckName, Outcome, Reason, Report};
use serde_json::{Value, json};

use crate::checklist::Checklist;
use crate::out::Terminal;

/// How a check is called.
const fn label(name: CheckName) -> &'static str {
    match name {
        CheckName::Shape => "bundle",
        CheckName::KeyMaterial => "key or certificate",
        CheckName::Digest => "digest",
        CheckName::Timestamp => "timestamp",
        CheckName::IntegratedTime => "time by the log",
        CheckName::SigningTime => "signing time",
        CheckName::CertificateChain => "certificate chain",
        CheckName::Sct => "SCT",
        CheckName::LogPromise => "log promise",
        CheckName::InclusionProof => "log inclusion",
        CheckName::Checkpoint => "log checkpoint",
        CheckName::LogBinding => "log entry",
        CheckName::Logs => "logs",
        CheckName::Witnesses => "witnesses",
        CheckName::Signature => "signature",
        CheckName::Statement => "statement",
        CheckName::PredicateType => "statement type",
        CheckName::Annotations => "annotations",
        CheckName::Identity => "identity",
        CheckName::Revocation => "revocation",
        other => other.code(),
    }
}

/// Why a failed check matters, and what to do next. Never a weaker check.
pub(crate) const fn meaning(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::NoSignature => (
            "an unsigned artifact could come from anyone",
            "ask the sender for its signature; a file's is FILE.sigstore.json",
        ),
        Reason::DigestMismatch | Reason::SubjectMismatch | Reason::EntryDigestMismatch => (
            "this is not the artifact that was signed: it was changed, or the signature is of another one",
            "fetch artifact and signature again from the sender and compare their digests",
        ),
        Reason::DigestUnavailable => (
            "the signature is over another digest than the one given",
            "give the file itself instead of its digest",
        ),
        Reason::IdentityMismatch | Reason::IssuerMismatch | Reason::ExtensionMismatch => (
            "someone else signed than the one you expect",
            "see who did with `countersign inspect BUNDLE`, and ask the sender whether that is right",
        ),
        Reason::WrongKey | Reason::KeyExpected | Reason::CertificateExpected => (
            "it was signed with something else than you expect",
            "see with what, with `countersign inspect BUNDLE`, and ask the sender whether that is right",
        ),
        Reason::NoKeyVerifies => (
            "it names no key, so it is someone else's signature or a broken one",
            "ask the sender which key it was signed with",
        ),
        Reason::SignatureInvalid
        | Reason::EntrySignatureMismatch
        | Reason::EntryKeyMismatch
        | Reason::TimestampMismatch
        | Reason::CheckpointMismatch => (
            "the parts of the signature do not belong together; it was changed or put together by hand",
            "fetch the signature again from the sender",
        ),
        Reason::CertificateUntrusted
        | Reason::LogUntrusted
        | Reason::SctUntrusted
        | Reason::TimestampUntrusted
        | Reason::CheckpointUntrusted => (
            "it was made with another instance than the one you trust",
            "find out which instance the sender uses; if you trust it too, name it with --instance",
        ),
        Reason::TrustRootMalformed
        | Reason::NoTrustedAuthority
        | Reason::NoTrustedLog
        | Reason::NoTrustedCtLog
        | Reason::NoTrustedTimestampAuthority => (
            "what is trusted does not say whom to trust for this",
            "bring the trust root up to date: countersign trust update",
        ),
        Reason::NoLogEntry | Reason::TooFewLogs | Reason::InclusionProofMissing => (
            "a signature that no log has seen could be one of many, made in secret",
            "ask the sender to sign with a transparency log",
        ),
        Reason::NoTime
        | Reason::TooFewTimestamps
        | Reason::TimeInFuture
        | Reason::CertificateNotValid
        | Reason::AuthorityNotValid
        | Reason::KeyNotValid => (
            "nobody trusted says that it was signed while the signer was entitled to",
            "check this machine's clock; else ask the sender to sign again with a timestamp",
        ),
        Reason::PredicateTypeMismatch | Reason::AnnotationMismatch => (
            "it is signed, but says something else than you asked for",
            "see what it says with `countersign inspect BUNDLE`",
        ),
        Reason::Revoked => (
            "whoever may revoke says that it no longer counts",
            "use another version, or ask the sender to sign it again with what is not revoked (docs/revocation.md)",
        ),
        Reason::RevocationListExpired => (
            "what is revoked is not known any more",
            "fetch the list anew: countersign trust update; whoever signs it: countersign revoke renew",
        ),
        Reason::Internal => ("a fault of the program", "please report it, with the command line"),
        _ => (
            "this part of the evidence cannot be relied on",
            "fetch the signature again from the sender; see more with --explain",
        ),
    }
}

/// The checklist, the verdict in its last line.
pub(crate) fn checklist(terminal: &Terminal, title: &str, report: &Report, explain: bool) -> String {
    let mut list = Checklist::new(terminal, title);
    engine_checks(&mut list, report, explain);
    match report.verified() {
        Ok(verified) => {
            let signer = verified.signer();
            let who = match (signer.identity(), signer.issuer()) {
                (Some(name), Some(issuer)) => format!("{name} (vouched for by {issuer})"),
                _ => {
                    let print = encoding::hex_encode(&signer.public_key().fingerprint());
                    format!("the holder of the key sha256:{print}")
                }
            };
            list.fact("signed by", &who);
            for time in verified.times() {
                list.fact("at", &format!("{} (says {})", time.time, time.authority));
            }
            for entry in verified.entries() {
                list.fact("logged in", &format!("{} as entry {}", entry.log, entry.index));
            }
            list.verdict(&terminal.good("VERIFIED"))
        }
        Err(rejection) => {
            let (why, next) = meaning(rejection.reason);
            list.fact("because", why);
            list.fact("next", next);
            list.verdict(&terminal.bad("REJECTED"))
        }
    }
}

/// The engine's checks, a line each.
pub(crate) fn engine_checks(list: &mut Checklist<'_>, report: &Report, explain: bool) {
    for check in report.checks() {
        push_check(list, check, explain);
        // Of the first failure, which decides, this is said at the end, where it is looked for.
        let decides = report.verified().is_err_and(|r| (r.check, &r.evidence) == (check.name, &check.source));
        if check.outcome == Outcome::Failed && !decides && (explain || check.consequence_of.is_none()) {
            list.detail("why", &why(check));
        }
    }
}

fn push_check(list: &mut Checklist<'_>, check: &Check, explain: bool) {
    let name = label(check.name);
    match check.outcome {
        Outcome::Passed => list.passed(name, &check.found),
        Outcome::NotApplicable => list.not_applicable(name, &check.found),
        Outcome::Failed if !explain && check.consequence_of.is_some() => list.followed(name, &why(check)),
        Outcome::Failed => {
            list.failed(name, check.reason.map_or("", Reason::code), "");
            list.detail("expected", &check.expected);
            list.detail("found", &check.found);
        }
    }
    if explain && check.outcome != Outcome::Failed {
        list.detail("expected", &check.expected);
    }
    if explain && !check.source.is_empty() {
        list.detail("from", &check.source);
    }
}

/// Why a failure matters, or from which other one it follows.
fn why(check: &Check) -> String {
    match (check.consequence_of, check.reason) {
        (Some(cause), _) => format!("follows from the {}", label(cause)),
        (None, Some(reason)) => meaning(reason).0.to_owned(),
        (None, None) => String::new(),
    }
}

/// The report as JSON: verified facts apart from what was only found.
pub(crate) fn report_json(artifact: &str, report: &Report) -> Value {
    let checks: Vec<Value> = report
        .checks()
        .iter()
        .map(|c| {
            json!({ "name": c.name.code(), "outcome": c.outcome.code(), "source": c.source,
                "expected": c.expected, "found": c.found, "reason": c.reason.map(Reason::code),
                "consequenceOf": c.consequence_of.map(CheckName::code) })
        })
        .collect();
    let verified = report.verified().ok().map(|v| {
        let times: Vec<Value> = v
            .times()
            .iter()
            .map(|t| json!({ "time": t.time.to_string(), "source": t.source.code(), "authority": t.authority }))
            .collect();
        let entries: Vec<Value> =
            v.entries().iter().map(|e| json!({ "log": e.log, "index": e.index })).collect();
        let fingerprint = encoding::hex_encode(&v.signer().public_key().fingerprint());
        json!({ "digest": v.digest().to_string(), "identity": v.signer().identity(), "issuer": v.signer().issuer(),
            "publicKeySha256": fingerprint, "times": times, "entries": entries, "witnesses": v.witnesses(),
            "predicateType": v.statement().map(|s| s.predicate_type.clone()) })
    });
    let reason = report.verified().err().map(|r| r.reason.code());
    let cause = report.verified().err().map(|r| json!({ "check": r.check.code(), "source": r.evidence }));
    json!({ "artifact": artifact, "verified": verified.is_some(), "exitCode": report.exit_code(), "reason": reason,
        "cause": cause, "result": verified, "checks": checks })
}
