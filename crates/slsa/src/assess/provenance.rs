//! The rules on provenance: that it is there, who made it, and what it tells.

use serde_json::Value;

use super::evidence::{Attested, Evidence, Sought};
use super::row::{Judgement, Proof};

/// Who makes provenance for files and images that other jobs made.
const GENERATOR: &str = "slsa-framework/slsa-github-generator/";

/// A statement as evidence.
pub(super) fn proof(attested: &Attested) -> Proof {
    let what = format!(
        "provenance signed by {}, builder {}, {}",
        attested.signer,
        attested.provenance.builder.id,
        match attested.level {
            Some(level) => format!("build level {level} by the roots of trust"),
            None => "a pair that the roots of trust do not name".to_owned(),
        }
    );
    Proof::Statement { sha256: attested.statement.clone(), what }
}

/// A judgement on the provenance that says most, or why there is none.
pub(super) fn of_best(
    evidence: &Evidence,
    rule: &'static str,
    judge: impl FnOnce(&Attested, Vec<Proof>) -> Judgement,
) -> Judgement {
    match (evidence.best(), &evidence.provenance) {
        (Some(best), _) => judge(best, vec![proof(best)]),
        (None, Sought::Not) => Judgement::unknown(rule, absent(evidence)),
        (None, Sought::Found { refused, .. }) if refused.is_empty() => {
            Judgement::not_met(rule, "there is no provenance of it", Vec::new())
        }
        (None, Sought::Found { refused, .. }) => Judgement::not_met(
            rule,
            format!("no provenance of it verifies: {}", refused.join("; ")),
            Vec::new(),
        ),
    }
}

/// Why nothing can be said where no provenance was looked for.
fn absent(evidence: &Evidence) -> String {
    let calls = evidence.workflows.iter().find_map(|workflow| {
        let job = workflow
            .jobs
            .iter()
            .find_map(|job| job.uses.as_ref().filter(|at| at.text.starts_with(GENERATOR)))?;
        Some(format!(
            "; {}:{} calls slsa-github-generator, whose provenance comes with a release",
            workflow.path, job.line
        ))
    });
    format!("no provenance was given{}", calls.unwrap_or_default())
}

/// Something that a field of the provenance either says or does not.
fn says(
    evidence: &Evidence,
    rule: &'static str,
    what: impl FnOnce(&Attested) -> Result<String, String>,
) -> Judgement {
    of_best(evidence, rule, |best, proofs| match what(best) {
        Ok(why) => Judgement::met(rule, why, proofs),
        Err(why) => Judgement::not_met(rule, why, proofs),
    })
}

pub(super) fn available(evidence: &Evidence) -> Judgement {
    let rule = "provenance of this digest is found and can be read";
    says(evidence, rule, |best| {
        Ok(format!("provenance {} by {}", best.provenance.version, best.provenance.builder.id))
    })
}

pub(super) fn authenticated(evidence: &Evidence) -> Judgement {
    let rule = "its signature verifies, and the roots of trust name signer and builder together";
    says(evidence, rule, |best| match best.level {
        Some(_) => Ok(format!("signed by {}", best.signer)),
        None => Err(format!(
            "signed by {}, whom the roots of trust do not name with {}",
            best.signer, best.provenance.builder.id
        )),
    })
}

/// The level of the pair is at least this one.
pub(super) fn at_level(evidence: &Evidence, level: u8, rule: &'static str) -> Judgement {
    says(evidence, rule, |best| {
        let found = best.level.unwrap_or(0);
        let builder = &best.provenance.builder.id;
        if found >= level {
            Ok(format!("the roots of trust give {builder} with this signer level {found}"))
        } else {
            Err(format!(
                "expected level {level} or above for {builder} with this signer, found {found} in the roots of trust"
            ))
        }
    })
}

pub(super) fn service_generated(evidence: &Evidence) -> Judgement {
    at_level(
        evidence,
        2,
        "the build service fills and signs the provenance: level 2 or above in the roots of trust",
    )
}

pub(super) fn non_falsifiable(evidence: &Evidence) -> Judgement {
    let rule = "level 3 in the roots of trust, and the signer is not a workflow of the source itself";
    let level = at_level(evidence, 3, rule);
    let Some(best) = evidence.best().filter(|_| level.verdict == super::Verdict::Met) else { return level };
    let source = best.provenance.source.as_ref().and_then(|source| crate::Source::parse(&source.uri));
    let home = source.map(|source| source.repository).unwrap_or_default();
    if !home.is_empty() && best.signer.strip_prefix(home.as_str()).is_some_and(|rest| rest.starts_with('/')) {
        let why = format!(
            "{} signed, which is a workflow of the source itself: who changes the source changes it",
            best.signer
        );
        return Judgement::not_met(rule, why, level.evidence);
    }
    level
}

pub(super) fn artifact(evidence: &Evidence) -> Judgement {
    let rule = "a subject of the statement has the artifact's digest";
    says(evidence, rule, |_| {
        let digests: Vec<String> =
            evidence.digest.iter().map(|(name, hex)| format!("{name}:{hex}")).collect();
        if digests.is_empty() {
            Err("the artifact's digest is not known".into())
        } else {
            Ok(digests.join(", "))
        }
    })
}

pub(super) fn builder(evidence: &Evidence) -> Judgement {
    says(evidence, "builder.id is there", |best| Ok(best.provenance.builder.id.clone()))
}

pub(super) fn instructions(evidence: &Evidence) -> Judgement {
    says(evidence, "buildType is there, and the entry point or the parameters of the build", |best| {
        let own = &best.provenance;
        let given = !own.entry_point.is_empty()
            || own.parameters.as_object().is_some_and(|fields| !fields.is_empty());
        match (own.build_type.is_empty(), given) {
            (true, _) => Err("it names no buildType".into()),
            (_, false) => Err("it names neither an entry point nor parameters".into()),
            _ => Ok(format!("{} {}", own.build_type, own.entry_point)),
        }
    })
}

pub(super) fn source(evidence: &Evidence) -> Judgement {
    says(evidence, "the source is named with a digest", |best| match &best.provenance.source {
        None => Err("it names no source".into()),
        Some(source) if source.digest.is_empty() => Err(format!("{} is named without a digest", source.uri)),
        Some(source) => Ok(source.uri.clone()),
    })
}

/// The source, by whom it cannot be changed: the level of the builder that names it.
pub(super) fn source_at(evidence: &Evidence, level: u8) -> Judgement {
    let named = source(evidence);
    if named.verdict != super::Verdict::Met {
        return named;
    }
    at_level(evidence, level, "the source is named with a digest, by a builder whose word counts")
}

pub(super) fn entry_point(evidence: &Evidence) -> Judgement {
    says(evidence, "the entry point is named", |best| match best.provenance.entry_point.as_str() {
        "" => Err("it names no entry point".into()),
        entry => Ok(entry.to_owned()),
    })
}

/// All that whoever started the build could choose is listed.
pub(super) fn parameters(evidence: &Evidence) -> Judgement {
    let rule = "v1 lists externalParameters; v0.x claims completeness.parameters";
    says(evidence, rule, |best| {
        let own = &best.provenance;
        let listed = own.version == countersign_attestation::predicate::provenance::Version::V1;
        if listed || own.completeness.parameters {
            Ok("they are listed".into())
        } else {
            Err("it does not claim to list all of them (completeness.parameters)".into())
        }
    })
}

/// The parameters beside source and entry point.
pub(super) fn extra_parameters(attested: &Attested) -> Vec<String> {
    const OWN: [&str; 7] = [
        "workflow",
        "source",
        "sourceToBuild",
        "buildConfigSource",
        "entryPoint",
        "configPath",
        "repository",
    ];
    let own = &attested.provenance;
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    let Some(fields) = own.parameters.as_object() else {
        return if empty(&own.parameters) { Vec::new() } else { vec!["parameters".to_owned()] };
    };
    let extra = |(name, value): &(&String, &Value)| !OWN.contains(&name.as_str()) && !empty(value);
    fields.iter().filter(extra).map(|(name, _)| name.clone()).collect()
}

/// Everything that lock files name is among the dependencies, by digest.
pub(super) fn dependencies(evidence: &Evidence) -> Judgement {
    let rule = "all that the lock files name is in the provenance by digest";
    of_best(evidence, rule, |best, proofs| {
        let Some(locked) = &evidence.locked else {
            return Judgement::unknown(rule, "no lock file was given to compare with");
        };
        if locked.pinned.is_empty() && locked.loose.is_empty() {
            return Judgement::unknown(rule, format!("{} name no dependency", locked.files.join(", ")));
        }
        let has = |digests: &std::collections::BTreeMap<String, String>| {
            best.provenance.dependencies.iter().any(|own| {
                digests.iter().any(|(name, hex)| {
                    own.digest.get(name).is_some_and(|found| found.eq_ignore_ascii_case(hex))
                })
            })
        };
        let mut missing: Vec<&str> = locked
            .pinned
            .iter()
            .filter(|(_, digests)| !has(digests))
            .map(|(name, _)| name.as_str())
            .collect();
        missing.extend(locked.loose.iter().map(String::as_str));
        if missing.is_empty() {
            return Judgement::met(rule, format!("all {} are there", locked.pinned.len()), proofs);
        }
        let shown: Vec<&str> = missing.iter().take(5).copied().collect();
        let more = if missing.len() > shown.len() {
            format!(" and {} more", missing.len() - shown.len())
        } else {
            String::new()
        };
        Judgement::not_met(rule, format!("missing: {}{more}", shown.join(", ")), proofs)
    })
}

pub(super) fn reproducible_info(evidence: &Evidence) -> Judgement {
    says(evidence, "it claims that another build gives the same bytes", |best| {
        if best.provenance.reproducible {
            Ok("reproducible: true".into())
        } else {
            Err("it makes no such claim".into())
        }
    })
}

pub(super) fn metadata(evidence: &Evidence) -> Judgement {
    says(evidence, "the run is named, with its times", |best| {
        let own = &best.provenance;
        match (own.invocation.is_empty(), own.started.or(own.finished)) {
            (false, Some(_)) => Ok(own.invocation.clone()),
            (true, _) => Err("the run has no name".into()),
            (_, None) => Err("it names neither a beginning nor an end".into()),
        }
    })
}

/// Whether an expectation can be made from it: the type of build, the source and the entry point.
pub(super) fn consistent(evidence: &Evidence) -> Judgement {
    let rule = "buildType, source and entry point are named, so that an expectation of them can be checked";
    says(evidence, rule, |best| {
        let own = &best.provenance;
        if own.build_type.is_empty() || own.source.is_none() || own.entry_point.is_empty() {
            return Err("it does not name all of buildType, source and entry point".into());
        }
        Ok("whether other releases keep to them, the provenance of this one alone does not tell".into())
    })
}
