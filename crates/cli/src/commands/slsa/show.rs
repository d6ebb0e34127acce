//! A report on provenance, for people and as JSON.

use countersign_slsa::{Attempt, Build, Check, CheckName, Report, Verdict};
use countersign_verify::{Outcome, Reason};
use serde_json::{Value, json};

use crate::checklist::{Checklist, others};
use crate::out::Terminal;
use crate::view::{engine_checks, meaning};

const fn label(name: CheckName) -> &'static str {
    match name {
        CheckName::Document => "document",
        CheckName::Evidence => "signed statement",
        CheckName::Log => "transparency log",
        CheckName::Provenance => "says",
        CheckName::Builder => "builder",
        CheckName::Level => "level",
        CheckName::Agreement => "agreement",
        CheckName::Runner => "runner",
        CheckName::Source => "source",
        CheckName::Ref => "tag or branch",
        CheckName::BuildType => "build type",
        CheckName::Inputs => "inputs",
        CheckName::Parameters => "parameters",
        CheckName::Package => "package",
        CheckName::Subject => "subject",
        CheckName::Verifier => "verifier",
        CheckName::Resource => "resource",
        CheckName::Result => "result",
        CheckName::Levels => "levels",
        other => other.code(),
    }
}

/// Why a failed check matters, and what to do next. Never a weaker check.
const fn next(reason: Reason) -> &'static str {
    match reason {
        Reason::NoSignature => "ask the sender for its provenance",
        Reason::NoLogEntry => {
            "ask for provenance with its log entry (a bundle); whoever has the signer's key can make such a statement at any time"
        }
        Reason::BuilderUntrusted => {
            "if this signer speaks for this builder, write the two into a file for --roots, with the level (docs/slsa.md)"
        }
        Reason::Contradiction => {
            "do not use it, and tell whoever published it: somebody put the parts together by hand"
        }
        Reason::SourceMismatch | Reason::RefMismatch => {
            "compare with what the project publishes; a build of a fork or of another branch is another program"
        }
        Reason::ParameterUnknown => {
            "find out what it does to the build, then accept it with --parameter NAME=VALUE"
        }
        Reason::SelfHosted => {
            "whoever keeps that machine can change the build; trust it by name with selfHosted in --roots"
        }
        Reason::LevelTooLow => "ask for a build by a builder of that level",
        other => meaning(other).1,
    }
}

fn line<T: Verdict>(list: &mut Checklist<'_>, check: &Check, explain: bool, attempt: &Attempt<T>) {
    match (check.outcome, check.reason) {
        (Outcome::Passed, _) => list.passed(label(check.name), &check.found),
        (Outcome::NotApplicable, _) => list.not_applicable(label(check.name), &check.found),
        (Outcome::Failed, reason) => {
            list.failed(label(check.name), reason.unwrap_or(Reason::Internal).code(), "");
            list.detail("expected", &check.expected);
            list.detail("found", &check.found);
            return;
        }
    }
    if explain {
        list.detail("expected", &check.expected);
        list.detail("from", &attempt.place);
    }
}

/// The checklist of the attempt that decides, and the verdict in its last line.
pub(super) fn checklist<T: Verdict>(
    terminal: &Terminal,
    title: &str,
    report: &Report<T>,
    explain: bool,
    facts: impl Fn(&T, &mut Checklist<'_>) -> String,
) -> String {
    let mut list = Checklist::new(terminal, title);
    let Some(attempt) = report.deciding() else {
        list.failed("provenance", Reason::NoSignature.code(), "");
        list.detail("expected", "a signed statement");
        list.detail("found", "none");
        list.fact("next", next(Reason::NoSignature));
        return list.verdict(&terminal.bad("REJECTED"));
    };
    let refused = attempt.engine.as_ref().is_some_and(|engine| engine.verified().is_err());
    if let Some(engine) = attempt.engine.as_ref().filter(|_| explain || refused) {
        engine_checks(&mut list, engine, explain);
    }
    for check in &attempt.checks {
        line(&mut list, check, explain, attempt);
    }
    list.fact("statement", &attempt.place);
    match attempt.verified() {
        Ok(found) => {
            let verdict = facts(found, &mut list);
            list.verdict(&terminal.good(&verdict))
        }
        Err(refusal) => {
            let more = others(report.attempts().len().saturating_sub(1), "statement");
            if let Some(more) = more {
                list.fact("also", &more);
            }
            list.fact("next", next(refusal.reason));
            list.verdict(&terminal.bad(&format!("REJECTED: {}", refusal.reason)))
        }
    }
}

/// What is known of a build.
pub(super) fn build_facts(build: &Build, list: &mut Checklist<'_>) -> String {
    let facts = &build.facts;
    for (name, found) in [("source", &facts.repository), ("ref", &facts.reference), ("commit", &facts.commit)]
    {
        if let Some(found) = found {
            list.fact(name, found);
        }
    }
    list.fact("signed by", &build.signer());
    if let Some(time) = build.verified.times().first() {
        let vouched = if time.source.is_vouched() { "" } else { ", which nobody vouches for" };
        list.fact("signed at", &format!("{} ({}{vouched})", time.time, time.authority));
    }
    for note in &build.notes {
        list.fact("note", note);
    }
    match build.level {
        0 => "VERIFIED: who uploaded it; no build level".to_owned(),
        level => format!("VERIFIED: build level {level}"),
    }
}

/// The report as JSON.
pub(super) fn json<T: Verdict>(title: &str, report: &Report<T>, result: impl Fn(&T) -> Value) -> Value {
    let attempts: Vec<Value> = report.attempts().iter().map(attempt).collect();
    let verified = report.verified();
    json!({ "artifact": title, "verified": verified.is_ok(), "exitCode": report.exit_code(),
        "reason": verified.as_ref().err().map(|refusal| refusal.reason.code()),
        "decidedBy": report.deciding().map(|attempt| attempt.place.clone()),
        "result": verified.ok().map(result), "statements": attempts })
}

fn attempt<T: Verdict>(attempt: &Attempt<T>) -> Value {
    let check = |name: &str, outcome: Outcome, expected: &str, found: &str, reason: Option<Reason>| {
        json!({ "name": name, "outcome": outcome.code(), "expected": expected, "found": found,
            "reason": reason.map(Reason::code) })
    };
    let engine = attempt.engine.iter().flat_map(|engine| engine.checks());
    let of_engine = engine.map(|c| check(c.name.code(), c.outcome, &c.expected, &c.found, c.reason));
    let own = attempt.checks.iter().map(|c| check(c.name.code(), c.outcome, &c.expected, &c.found, c.reason));
    let refusal = attempt.verified().err();
    json!({ "place": attempt.place, "verified": refusal.is_none(), "reason": refusal.map(|r| r.reason.code()),
        "checks": of_engine.chain(own).collect::<Vec<_>>() })
}

/// A build as JSON.
pub(super) fn build_json(build: &Build) -> Value {
    let (facts, verified) = (&build.facts, &build.verified);
    let document = build.document.as_ref();
    json!({ "level": build.level, "builder": build.builder, "root": build.root, "isLogged": build.is_logged,
        "identity": verified.signer().identity(), "issuer": verified.signer().issuer(),
        "statementDigest": build.statement_digest.to_string(),
        "document": document.map(|document| json!({ "uri": document.uri, "digest": document.digest.to_string() })),
        "predicateType": build.statement().map(|statement| statement.predicate_type.clone()),
        "buildType": build.provenance.as_ref().map(|provenance| provenance.build_type.clone()),
        "source": facts.repository, "ref": facts.reference, "commit": facts.commit, "trigger": facts.trigger,
        "inputs": facts.inputs, "notes": build.notes,
        "times": verified.times().iter().map(|time| json!({ "time": time.time.to_string(), "source": time.source.code() }))
            .collect::<Vec<_>>() })
}
