//! Looking at one image: its evidence is asked for once, and each control reads its answer from it. Written as a policy, so
//! that the driver of policies finds the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use countersign_crypto::Digest;
use countersign_http::text::printable;
use countersign_policy::{
    Access, Action, Ask, Authority, CouldNot, EvidenceQuestion, Fact, Forms, Pin, Policy, PolicyKind,
    PolicyName, Request, RuleResult, Status, Stop, TrustSpec, What, Who,
};
use countersign_registry::evidence::{Form, Found};
use countersign_registry::{Reference, Repository};
use serde_json::Value;

use super::control::Control;
use super::present::{Present, present};
use super::settings::Settings;

/// How the types of bills of materials begin: SPDX's and CycloneDX's.
const SBOM: [&str; 2] = ["https://spdx.dev/Document", "https://cyclonedx.org/bom"];
/// How the types of provenance begin.
const PROVENANCE: [&str; 1] = ["https://slsa.dev/provenance/"];
/// The most types of statements that one message lists.
const MAX_LISTED: usize = 5;

/// How a look ended: what stands in a result but for its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) status: Status,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Outcome {
    pub(super) fn pass(message: impl Into<String>) -> Self {
        Self { status: Status::Pass, reason: "passed".into(), message: message.into() }
    }

    pub(super) fn fail(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: Status::Fail, reason: reason.into(), message: message.into() }
    }

    pub(super) fn could_not(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: Status::Error, reason: reason.into(), message: message.into() }
    }
}

impl From<CouldNot> for Outcome {
    fn from(could_not: CouldNot) -> Self {
        Self::could_not(could_not.reason.code(), could_not.text)
    }
}

/// Resolves a tag.
#[derive(Debug)]
pub(super) struct Resolve(pub(super) Reference);

impl Policy for Resolve {
    fn name(&self) -> PolicyName {
        name()
    }

    fn evaluate(&self, _: &Request, ask: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
        let digest = ask.digest(&self.0)?;
        let mut found = result("", Outcome::pass(""));
        found.digest = Some(digest);
        Ok((vec![found], Vec::new()))
    }
}

/// Finds what stands in the index that a tag names: the digest of the index, and those of its images as properties.
#[derive(Debug)]
pub(super) struct Index(pub(super) Reference);

impl Policy for Index {
    fn name(&self) -> PolicyName {
        name()
    }

    fn evaluate(&self, _: &Request, ask: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
        let index = ask.image(&self.0)?;
        let mut found = result("", Outcome::pass(""));
        found.digest = Some(index.descriptor.digest);
        let entries = index.manifest.get("manifests").and_then(Value::as_array).into_iter().flatten();
        let digests = entries.filter_map(|entry| entry.get("digest")?.as_str());
        found.properties = digests.map(|digest| (digest.to_owned(), String::new())).collect();
        Ok((vec![found], Vec::new()))
    }
}

/// Looks at an image.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// The image by its digest.
    pub(super) image: Reference,
    pub(super) digest: Digest,
    /// Whether the registry has said that the image is there.
    pub(super) is_there: bool,
    pub(super) controls: Vec<Control>,
    pub(super) settings: Arc<Settings>,
    /// Where evidence lies, if not beside its image.
    pub(super) repository: Option<Repository>,
}

fn name() -> PolicyName {
    PolicyName { kind: PolicyKind::Countersign, namespace: String::new(), name: "scan".into() }
}

fn result(rule: &str, outcome: Outcome) -> RuleResult {
    RuleResult {
        policy: name(),
        rule: rule.into(),
        image: None,
        digest: None,
        status: outcome.status,
        // A scan refuses nothing; what it found is what it found.
        action: Action::Audit,
        fail_closed: false,
        reason: outcome.reason,
        message: outcome.message,
        properties: BTreeMap::new(),
    }
}

impl Policy for Look {
    fn name(&self) -> PolicyName {
        name()
    }

    fn evaluate(&self, _: &Request, ask: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
        let mut outcomes = self.outcomes(ask)?;
        let mut failed = outcomes.values_mut().filter(|outcome| outcome.status == Status::Fail).peekable();
        if !self.is_there && failed.peek().is_some() {
            // What is not there has no evidence beside it, and is not unsigned for that.
            match ask.image(&self.image) {
                Ok(_) => {}
                Err(Stop::CouldNot(why)) => failed.for_each(|outcome| *outcome = why.clone().into()),
                Err(Stop::Open) => return Err(Stop::Open),
            }
        }
        let results = outcomes.into_iter().map(|(control, outcome)| result(control.id(), outcome));
        Ok((results.collect(), Vec::new()))
    }
}

impl Look {
    fn outcomes(&self, ask: &Ask<'_>) -> Result<BTreeMap<Control, Outcome>, Stop> {
        let needs = |controls: &[Control]| controls.iter().any(|control| self.controls.contains(control));
        let mut forms = BTreeSet::new();
        if needs(&[Control::SignatureExists]) {
            forms.extend([Form::Bundle, Form::CosignSignature, Form::Notary]);
        }
        if needs(&[Control::Sbom, Control::Provenance]) {
            forms.extend([
                Form::Bundle,
                Form::CosignAttestation,
                Form::InToto,
                Form::CosignSbom,
                Form::Buildkit,
            ]);
        }
        let evidence = (!forms.is_empty()).then(|| self.present(forms, ask));
        let mut open = false;
        let mut outcomes = BTreeMap::new();
        for control in &self.controls {
            let outcome = match (control, &evidence) {
                (Control::SignatureVerifies, _) => self.verifies(&What::Signature, ask),
                (_, Some(Err(stop))) => Err(stop.clone()),
                (Control::SignatureExists, Some(Ok(there))) => Ok(signed(there)),
                (Control::Sbom, Some(Ok(there))) => self.states(there, &SBOM, "bill of materials", ask),
                (Control::Provenance, Some(Ok(there))) => self.states(there, &PROVENANCE, "provenance", ask),
                _ => continue,
            };
            match outcome {
                Ok(outcome) => drop(outcomes.insert(*control, outcome)),
                Err(Stop::CouldNot(could_not)) => drop(outcomes.insert(*control, could_not.into())),
                Err(Stop::Open) => open = true,
            }
        }
        if open { Err(Stop::Open) } else { Ok(outcomes) }
    }

    /// What lies beside an image.
    fn present(&self, forms: BTreeSet<Form>, ask: &Ask<'_>) -> Result<Vec<(Form, Present)>, Stop> {
        let evidence = ask.evidence(EvidenceQuestion {
            image: self.digest,
            repository: self.repository.clone().unwrap_or_else(|| self.image.repository().clone()),
            forms,
            predicate_types: BTreeSet::new(),
            tag_prefix: String::new(),
            access: Arc::new(Access::default()),
        })?;
        Ok(evidence.found().iter().map(|piece: &Found| (piece.form, present(piece, &self.digest))).collect())
    }

    /// Whether one whom the settings name signed.
    fn verifies(&self, what: &What, ask: &Ask<'_>) -> Result<Outcome, Stop> {
        let mut stopped = None;
        let mut nearest = None;
        for authority in self.authorities() {
            match ask.judge(&self.image, &authority, what) {
                Ok(judgement) => match judgement.facts.first() {
                    Some(fact) => return Ok(Outcome::pass(format!("signed by {}", signer(fact)))),
                    None => {
                        nearest = Some(nearest.map_or_else(
                            || judgement.report.clone(),
                            |kept| closest(kept, &judgement.report),
                        ))
                    }
                },
                Err(Stop::CouldNot(why)) => stopped = stopped.or(Some(Stop::CouldNot(why))),
                // An open question goes before one that has no answer: it may be the one that holds.
                Err(Stop::Open) => stopped = Some(Stop::Open),
            }
        }
        if let Some(stop) = stopped {
            return Err(stop);
        }
        Ok(match nearest.as_ref().map(countersign_verify::Report::verified) {
            Some(Err(rejection)) => Outcome::fail(
                rejection.reason.code(),
                format!(
                    "nobody who is trusted signed it: expected {}, found {}",
                    printable(&rejection.expected),
                    printable(&rejection.found)
                ),
            ),
            _ => Outcome::could_not("not_configured", "nobody is named who may have signed"),
        })
    }

    /// Each of whom the settings name; one is enough.
    fn authorities(&self) -> Vec<Authority> {
        let settings = &self.settings;
        let mut who: Vec<Who> = settings.keys.iter().cloned().map(Who::Key).collect();
        if !settings.identities.is_empty() {
            who.push(Who::Identities(settings.identities.clone()));
        }
        let authority = |(index, who)| Authority {
            name: format!("signer {}", index + 1),
            who,
            trust: TrustSpec::default(),
            demands: settings.demands,
            annotations: BTreeMap::new(),
            repository: self.repository.clone(),
            forms: Forms::default(),
        };
        who.into_iter().enumerate().map(authority).collect()
    }

    /// Whether there is a signed statement of a type; by one whom the settings name, when they name somebody.
    fn states(
        &self,
        there: &[(Form, Present)],
        kinds: &[&str],
        what: &str,
        ask: &Ask<'_>,
    ) -> Result<Outcome, Stop> {
        let is_kind = |kind: &String| kinds.iter().any(|wanted| kind.starts_with(wanted));
        let types: BTreeSet<String> = there
            .iter()
            .filter_map(|(_, present)| match present {
                Present::Statement(kind) if is_kind(kind) => Some(kind.clone()),
                _ => None,
            })
            .collect();
        if types.is_empty() {
            let bare = there.iter().any(|(form, present)| match present {
                Present::Unsigned(kind) => is_kind(kind) || (*form == Form::CosignSbom && kinds == SBOM),
                _ => false,
            });
            return Ok(if bare {
                Outcome::fail(
                    "not_signed",
                    format!("its {what} is signed by nobody, so nothing binds it to the image"),
                )
            } else {
                Outcome::fail("no_statement", format!("there is no {what} about it{}", useless(there)))
            });
        }
        let listed = types.iter().map(|kind| printable(kind)).collect::<Vec<_>>().join(", ");
        if !self.settings.names_signers() {
            return Ok(Outcome::pass(format!(
                "{listed}; nobody is named whose signature would be asked for"
            )));
        }
        let what = What::Statement(types.into_iter().collect());
        let outcome = self.verifies(&what, ask)?;
        Ok(if outcome.status == Status::Pass {
            Outcome::pass(format!("{listed}, {}", outcome.message))
        } else {
            outcome
        })
    }
}

/// The report that tells more.
fn closest(
    kept: countersign_verify::Report,
    other: &countersign_verify::Report,
) -> countersign_verify::Report {
    countersign_verify::nearest([&kept, other]).cloned().unwrap_or(kept)
}

fn signer(fact: &Fact) -> String {
    let signer = fact.verified.signer();
    match (signer.identity(), signer.issuer()) {
        (Some(name), Some(issuer)) => format!("{} (issuer {})", printable(name), printable(issuer)),
        (Some(name), None) => printable(name),
        (None, _) => "a trusted key".to_owned(),
    }
}

/// Whether something there is a signature of the image.
fn signed(there: &[(Form, Present)]) -> Outcome {
    let forms: BTreeSet<&str> = there
        .iter()
        .filter(|(_, present)| *present == Present::Signature)
        .map(|(form, _)| form.name())
        .collect();
    if !forms.is_empty() {
        return Outcome::pass(forms.into_iter().collect::<Vec<_>>().join(", "));
    }
    let statements: BTreeSet<&str> = there
        .iter()
        .filter_map(|(_, present)| match present {
            Present::Statement(kind) => Some(kind.as_str()),
            _ => None,
        })
        .take(MAX_LISTED)
        .collect();
    if statements.is_empty() {
        return Outcome::fail("no_signature", format!("it is not signed{}", useless(there)));
    }
    let listed = printable(&statements.into_iter().collect::<Vec<_>>().join(", "));
    Outcome::fail("no_signature", format!("it is not signed; there are statements about it only: {listed}"))
}

/// What else is there, and why it does not count.
fn useless(there: &[(Form, Present)]) -> String {
    let first = there.iter().find_map(|(form, present)| match present {
        Present::Useless(why) => Some((form, why)),
        _ => None,
    });
    match first {
        Some((form, why)) => format!("; a {} there does not count: {}", form.name(), printable(why)),
        None => String::new(),
    }
}
