//! Looking at one image: its evidence is asked for once, and each control reads its answer from it. Written as a policy, so
//! that the driver of policies finds the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use countersign_attestation::Statement;
use countersign_attestation::predicate::provenance::{self, Provenance};
use countersign_attestation::predicate::sbom;
use countersign_crypto::Digest;
use countersign_http::text::printable;
use countersign_policy::statements::{
    BillRule, LevelRule, Origin, Root, ScanRule, SeverityRule, Target, Verdict, Vulnerability, signer,
};
use countersign_policy::{
    Access, Action, Ask, Authority, CouldNot, Evidence, EvidenceQuestion, Forms, Pin, Policy, PolicyKind,
    PolicyName, Request, RuleResult, Status, Stop, TrustSpec, What, Who, bundle_of,
};
use countersign_registry::evidence::{Form, Found};
use countersign_registry::{Reference, Repository};
use countersign_slsa::roots;
use serde_json::Value;

use super::control::Control;
use super::present::{Present, present};
use super::settings::Settings;

/// The most types of statements that one message lists.
const MAX_LISTED: usize = 5;

/// How a look ended: what stands in a result but for its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) status: Status,
    pub(super) reason: String,
    pub(super) message: String,
    /// The vulnerabilities that it rests on.
    pub(super) vulnerabilities: Arc<[Vulnerability]>,
}

impl Outcome {
    pub(super) fn new(status: Status, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), message: message.into(), vulnerabilities: Arc::default() }
    }

    pub(super) fn pass(message: impl Into<String>) -> Self {
        Self::new(Status::Pass, "passed", message)
    }

    pub(super) fn fail(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Status::Fail, reason, message)
    }

    pub(super) fn could_not(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Status::Error, reason, message)
    }
}

/// What lies beside an image, and what each piece is by its form.
pub(super) struct There {
    pub(super) evidence: Arc<Evidence>,
    pieces: Vec<(Form, Digest, Present)>,
}

impl There {
    /// The types of signed statements about the image, whoever signed them, and the documents they are in.
    pub(super) fn statements(&self) -> impl Iterator<Item = (&str, &Digest)> {
        self.pieces.iter().filter_map(|(_, digest, present)| match present {
            Present::Statement(kind) => Some((kind.as_str(), digest)),
            _ => None,
        })
    }

    /// The builders that provenance names, whoever signed it.
    fn builders(&self) -> BTreeSet<String> {
        let types = provenance::types();
        let builder = |piece| {
            let bundle = bundle_of(piece)?.ok()?;
            let statement = Statement::from_json(&bundle.content.envelope()?.payload).ok()?;
            let kind = types.iter().find(|kind| **kind == statement.predicate_type)?;
            Some(Provenance::from_json(kind, statement.predicate?.get()).ok()?.builder.id)
        };
        self.evidence.found().iter().filter_map(builder).collect()
    }

    /// That there is no signed statement of a kind. `bare` says what is one that nobody signed.
    pub(super) fn without(&self, what: &str, bare: impl Fn(Form, &Present) -> bool) -> Outcome {
        if self.pieces.iter().any(|(form, _, present)| bare(*form, present)) {
            return Outcome::fail(
                "not_signed",
                format!("its {what} is signed by nobody, so nothing binds it to the image"),
            );
        }
        Outcome::fail("no_statement", format!("there is no {what} about it{}", useless(self)))
    }
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        let status = if verdict.holds { Status::Pass } else { Status::Fail };
        let Verdict { reason, message, vulnerabilities, .. } = verdict;
        Self { status, reason: reason.to_owned(), message, vulnerabilities }
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
    /// The vulnerabilities of each control, for which there is no place in a policy's results.
    pub(super) listed: Arc<Mutex<BTreeMap<Control, Arc<[Vulnerability]>>>>,
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
        decided_by: Vec::new(),
        level: None,
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
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.clear();
        let results = outcomes.into_iter().map(|(control, outcome)| {
            listed.insert(control, outcome.vulnerabilities.clone());
            result(control.id(), outcome)
        });
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
        if needs(&[Control::Sbom, Control::Provenance, Control::Vulnerabilities, Control::ProvenanceLevel]) {
            forms.extend([
                Form::Bundle,
                Form::CosignAttestation,
                Form::InToto,
                Form::CosignSbom,
                Form::Buildkit,
            ]);
        }
        if !forms.is_empty() {
            // What is verified stands in the same answer, so that nothing is asked for twice.
            if needs(&[Control::SignatureVerifies]) {
                forms.extend([Form::Bundle, Form::CosignSignature]);
                forms.extend(self.settings.notary.is_some().then_some(Form::Notary));
            }
            if self
                .controls
                .iter()
                .any(|control| control.verifies() && *control != Control::SignatureVerifies)
            {
                forms.extend([Form::Bundle, Form::CosignAttestation, Form::InToto]);
            }
        }
        let evidence = (!forms.is_empty()).then(|| self.present(forms, ask));
        if let Some(Err(Stop::Open)) = evidence {
            return Err(Stop::Open);
        }
        let mut open = false;
        let mut outcomes = BTreeMap::new();
        for control in &self.controls {
            let outcome = match (control, &evidence) {
                (Control::SignatureVerifies, _) => self.verifies(ask),
                (Control::ScanFresh, _) => self.scan_rule().fresh(&self.target(), ask).map(Into::into),
                (_, Some(Err(stop))) => Err(stop.clone()),
                (Control::SignatureExists, Some(Ok(there))) => Ok(signed(there)),
                (Control::Sbom, Some(Ok(there))) => self.bill(there, ask),
                (Control::Provenance, Some(Ok(there))) => self.provenance(there, ask),
                (Control::Vulnerabilities, Some(Ok(there))) => self.severe(there, ask),
                (Control::ProvenanceLevel, Some(Ok(there))) => {
                    self.level_rule().judge(&self.target(), ask, &|| there.builders()).map(Into::into)
                }
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
    fn present(&self, forms: BTreeSet<Form>, ask: &Ask<'_>) -> Result<There, Stop> {
        let evidence = ask.evidence(EvidenceQuestion {
            image: self.digest,
            repository: self.repository.clone().unwrap_or_else(|| self.image.repository().clone()),
            forms,
            predicate_types: BTreeSet::new(),
            tag_prefix: String::new(),
            access: Arc::new(Access::default()),
        })?;
        let piece = |piece: &Found| (piece.form, piece.layer.digest, present(piece, &self.digest));
        let pieces = evidence.found().iter().map(piece).collect();
        Ok(There { evidence, pieces })
    }

    /// Whether one whom the settings name signed: with Sigstore, or with the Notary Project's tools.
    fn verifies(&self, ask: &Ask<'_>) -> Result<Outcome, Stop> {
        let mut stopped = None;
        let mut refused = Vec::new();
        let mut note = |stop: Stop| match stop {
            // An open question goes before one that has no answer: it may be the one that holds.
            Stop::Open => stopped = Some(Stop::Open),
            stop => stopped = stopped.take().or(Some(stop)),
        };
        for (index, who) in self.settings.signers().into_iter().enumerate() {
            match ask.judge(&self.image, &self.authority(who, index), &What::Signature) {
                Ok(judgement) => match judgement.facts.first() {
                    Some(fact) => return Ok(Outcome::pass(format!("signed by {}", signer(fact)))),
                    None => refused.extend(judgement.refusal.clone()),
                },
                Err(stop) => note(stop),
            }
        }
        let mut noted = None;
        if let Some(trust) = &self.settings.notary {
            match ask.judge_notary(&self.image, &self.authority(trust.who(), 0)) {
                Ok(judgement) => match trust.first_named(&judgement.accepted) {
                    Ok(signer) => return Ok(Outcome::pass(format!("signed by {signer} (Notary Project)"))),
                    Err(why) => noted = why.or_else(|| notary_why(&judgement.report)),
                },
                Err(stop) => note(stop),
            }
        }
        if let Some(stop) = stopped {
            return Err(stop);
        }
        let rejection = countersign_verify::nearest(&refused).and_then(|report| report.verified().err());
        let mut why: Vec<String> = Vec::new();
        why.extend(rejection.map(|rejection| {
            format!("expected {}, found {}", printable(&rejection.expected), printable(&rejection.found))
        }));
        why.extend(noted.map(|why| format!("for a signature of the Notary Project, {why}")));
        let reason = rejection.map(|rejection| rejection.reason.code());
        Ok(match reason {
            _ if why.is_empty() => {
                Outcome::could_not("not_configured", "nobody is named who may have signed")
            }
            reason => Outcome::fail(
                reason.unwrap_or("no_signature"),
                format!("nobody who is trusted signed it: {}", why.join("; ")),
            ),
        })
    }

    fn target(&self) -> Target {
        Target::image(&self.image, self.digest)
    }

    /// One of whom the settings name, as somebody who must have signed.
    fn authority(&self, who: Who, index: usize) -> Authority {
        Authority {
            name: format!("signer {}", index + 1),
            who,
            trust: TrustSpec::default(),
            demands: self.settings.demands,
            annotations: BTreeMap::new(),
            repository: self.repository.clone(),
            forms: Forms::default(),
        }
    }

    fn authorities(&self, who: Vec<Who>) -> Vec<Authority> {
        who.into_iter().enumerate().map(|(index, who)| self.authority(who, index)).collect()
    }

    fn scan_rule(&self) -> ScanRule {
        ScanRule {
            by: self.authorities(self.settings.scan_signers()),
            scanners: Vec::new(),
            max_age: Some(self.settings.scan_max_age),
            database_max_age: None,
            trusted_time: self.settings.demands.log || self.settings.demands.timestamp,
        }
    }

    fn level_rule(&self) -> LevelRule {
        let table = &self.settings.provenance;
        let by = |index, root: &roots::Root| self.authority(Who::of_root(&root.signer), index);
        let roots = table.roots.iter().enumerate();
        LevelRule {
            level: table.level,
            roots: roots.filter_map(|(index, root)| Root::of(root, by(index, root))).collect(),
            origin: Origin::default(),
            max_age: None,
        }
    }

    /// Whether a vulnerability counts that is as severe as the settings say.
    fn severe(&self, there: &There, ask: &Ask<'_>) -> Result<Outcome, Stop> {
        let severity = SeverityRule {
            least: self.settings.least_severity,
            unknown: self.settings.unknown_severity,
            vex: self.authorities(self.settings.vex_signers()),
            vex_max_age: None,
        };
        let statements: Vec<_> = there.statements().collect();
        self.scan_rule().below(&severity, &self.target(), &statements, ask).map(Into::into)
    }

    /// Whether there is a bill of materials that holds.
    fn bill(&self, there: &There, ask: &Ask<'_>) -> Result<Outcome, Stop> {
        let types: BTreeSet<&str> =
            there.statements().map(|(kind, _)| kind).filter(|kind| sbom::is_type(kind)).collect();
        if types.is_empty() {
            let bare = |form: Form, present: &Present| match present {
                Present::Unsigned(kind) => sbom::is_type(kind) || form == Form::CosignSbom,
                _ => false,
            };
            return Ok(there.without("bill of materials", bare));
        }
        let rule = BillRule {
            by: self.authorities(self.settings.signers()),
            types: types.into_iter().map(str::to_owned).collect(),
            ntia: false,
            max_age: None,
        };
        rule.judge(&self.target(), ask).map(Into::into)
    }

    /// Whether there is signed provenance; by one whom the settings name, when they name somebody.
    fn provenance(&self, there: &There, ask: &Ask<'_>) -> Result<Outcome, Stop> {
        let is_kind = |kind: &str| provenance::types().contains(&kind);
        let types: BTreeSet<&str> =
            there.statements().map(|(kind, _)| kind).filter(|kind| is_kind(kind)).collect();
        if types.is_empty() {
            let bare = |_, present: &Present| matches!(present, Present::Unsigned(kind) if is_kind(kind));
            return Ok(there.without("provenance", bare));
        }
        let listed = types.iter().map(|kind| printable(kind)).collect::<Vec<_>>().join(", ");
        if !self.settings.names_signers() {
            return Ok(Outcome::pass(format!(
                "{listed}; nobody is named whose signature would be asked for"
            )));
        }
        let types: Vec<String> = types.into_iter().map(str::to_owned).collect();
        let trusted = ask.statements(&self.target(), &self.authorities(self.settings.signers()), &types)?;
        Ok(match trusted.facts.first() {
            Some(fact) => Outcome::pass(format!("{listed}, signed by {}", signer(fact))),
            None => Outcome::fail(
                "not_trusted",
                format!("nobody who is trusted signed its provenance{}", trusted.why_none()),
            ),
        })
    }
}

/// Why a signature of the Notary Project does not hold.
fn notary_why(report: &countersign_notary::Report) -> Option<String> {
    let failed = report.checks().iter().find(|check| check.outcome == countersign_notary::Outcome::Failed)?;
    Some(format!("expected {}, found {}", printable(&failed.expected), printable(&failed.found)))
}

/// Whether something there is a signature of the image.
fn signed(there: &There) -> Outcome {
    let signatures = there.pieces.iter().filter(|(_, _, present)| *present == Present::Signature);
    let forms: BTreeSet<&str> = signatures.map(|(form, ..)| form.name()).collect();
    if !forms.is_empty() {
        return Outcome::pass(forms.into_iter().collect::<Vec<_>>().join(", "));
    }
    let statements: BTreeSet<&str> = there.statements().map(|(kind, _)| kind).take(MAX_LISTED).collect();
    if statements.is_empty() {
        return Outcome::fail("no_signature", format!("it is not signed{}", useless(there)));
    }
    let listed = printable(&statements.into_iter().collect::<Vec<_>>().join(", "));
    Outcome::fail("no_signature", format!("it is not signed; there are statements about it only: {listed}"))
}

/// What else is there, and why it does not count.
fn useless(there: &There) -> String {
    let first = there.pieces.iter().find_map(|(form, _, present)| match present {
        Present::Useless(why) => Some((form, why)),
        _ => None,
    });
    match first {
        Some((form, why)) => format!("; a {} there does not count: {}", form.name(), printable(why)),
        None => String::new(),
    }
}
