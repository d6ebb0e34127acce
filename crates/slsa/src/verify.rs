//! The one function: an artifact, provenance as it was found, roots of trust and expectations in, a report out.
//!
//! The steps are those of SLSA v1.2, "verifying artifacts": signature, subject and type of the statement (the engine of
//! `countersign-verify`), signer and builder together, the level, then what is expected.

use countersign_attestation::predicate::provenance::{self, Provenance};
use countersign_bundle::{Bundle, KeyMaterial};
use countersign_crypto::HashAlgorithm;
use countersign_verify::{
    Payload, Reason, Requirements, RequirementsBuilder, RequirementsError, Signer, Subject, TrustMaterial,
    Verified, verify,
};
use countersign_x509::is_hosted_runner;
use jiff::Timestamp;

use crate::certificate::{self, Vouched};
use crate::expect::{Expectations, is_builder};
use crate::git::{branch_reference, is_version, same_repository, tag_reference};
use crate::report::{Attempt, Build, CheckName, Recorder, Report, Signed, signer_in_words};
use crate::roots::{PYPI_PUBLISH, Root, TrustedBuilders};
use crate::wire::Piece;
use crate::{Facts, package};

/// What witness calls v1 by mistake.
const MISTAKEN: &str = "https://slsa.dev/provenance/v1.0";
/// What it means.
const MEANT: &str = "https://slsa.dev/provenance/v1";
/// Whose mistake it is.
const WITNESS: &str = "https://witness.dev/";

/// Verifies many artifacts by the same roots and expectations.
#[derive(Debug)]
pub struct Verifier<'a> {
    builders: &'a TrustedBuilders,
    material: &'a TrustMaterial,
    expectations: &'a Expectations,
    /// With a log entry and without one; `None` where no root names an identity.
    identities: Option<[Requirements; 2]>,
    /// Likewise for keys.
    keys: Option<[Requirements; 2]>,
}

impl<'a> Verifier<'a> {
    /// Makes ready. `without_sct` is for authorities whose certificates stand in no CT log, as GitHub's own.
    ///
    /// # Errors
    /// [`RequirementsError`].
    pub fn new(
        builders: &'a TrustedBuilders,
        material: &'a TrustMaterial,
        expectations: &'a Expectations,
        without_sct: bool,
    ) -> Result<Self, RequirementsError> {
        let identities = match builders.identities().split_first() {
            None => None,
            Some((first, rest)) => {
                let make = || {
                    let builder = Requirements::builder().identity(first.clone());
                    let builder =
                        rest.iter().fold(builder, |builder, identity| builder.identity(identity.clone()));
                    if without_sct { builder.dangerous_without_sct() } else { builder }
                };
                // Where no log is asked, nobody but the certificate may say when it was signed.
                let without = make().dangerous_without_log().dangerous_certificate_as_time();
                Some([typed(make())?.build(), typed(without)?.build()])
            }
        };
        let keys = match builders.keys().next() {
            None => None,
            Some(first) => {
                let make = || {
                    let builder = Requirements::builder().key(first.clone());
                    builders.keys().skip(1).fold(builder, |builder, key| builder.key(key.clone()))
                };
                Some([typed(make())?.build(), typed(make().dangerous_without_log())?.build()])
            }
        };
        Ok(Self { builders, material, expectations, identities, keys })
    }

    /// Verifies one artifact by all that was found for it. One statement that holds is enough: leaving out another never
    /// turns a refusal into an acceptance.
    #[must_use]
    pub fn verify(&self, subject: &Subject<'_>, pieces: &[Piece], now: Timestamp) -> Report {
        Report::new(pieces.iter().map(|piece| self.attempt(subject, piece, now)).collect())
    }

    fn attempt(&self, subject: &Subject<'_>, piece: &Piece, now: Timestamp) -> Attempt {
        let mut out = Recorder::default();
        let place = piece.place.clone();
        let bundle = match &piece.bundle {
            Ok(bundle) => bundle,
            Err(error) => {
                let expected = "a signed statement in a form that is read";
                out.fail(CheckName::Document, Reason::BundleMalformed, expected, error.to_string());
                return Attempt::new(place, None, out, None);
            }
        };
        let Some(requirements) = self.requirements(bundle, &mut out) else {
            return Attempt::new(place, None, out, None);
        };
        let (signed, verified) = Signed::of(verify(subject, bundle, self.material, requirements, now));
        let build = match verified {
            None => None,
            Some(verified) => {
                out.pass(
                    CheckName::Evidence,
                    "a statement about this artifact, signed by somebody known",
                    signer_in_words(verified.signer()),
                );
                self.content(verified, piece, &mut out)
            }
        };
        Attempt::new(place, Some(signed), out, build)
    }

    /// What the engine is asked for: keys or identities, whichever this is signed with. Without a log entry where one may be
    /// missing; which roots that is good for is asked later.
    fn requirements(&self, bundle: &Bundle, out: &mut Recorder) -> Option<&Requirements> {
        let unlogged = bundle.verification_material.tlog_entries.is_empty()
            && (self.expectations.allow_unlogged || self.builders.roots().any(|root| root.unlogged));
        let (all, kind) = match bundle.verification_material.content {
            KeyMaterial::PublicKeyHint(_) => (&self.keys, "key"),
            _ => (&self.identities, "identity"),
        };
        let Some([logged, without]) = all else {
            let expected = "a signature by somebody of the roots of trust";
            let found = format!("one by {kind}, and the roots name no {kind}");
            out.fail(CheckName::Builder, Reason::BuilderUntrusted, expected, found);
            return None;
        };
        Some(if unlogged { without } else { logged })
    }

    /// The checks of what is said. The signature, the subject and the type hold.
    fn content(&self, verified: Verified, piece: &Piece, out: &mut Recorder) -> Option<Build> {
        let Payload::Statement { statement, bytes, subject } = verified.value() else {
            out.fail(
                CheckName::Provenance,
                Reason::ProvenanceMalformed,
                "a statement",
                "another thing that was signed",
            );
            return None;
        };
        let mut notes = Vec::new();
        let is_publish = statement.predicate_type == PYPI_PUBLISH;
        let provenance = if is_publish {
            self.check_publish(statement.predicate.as_deref().map(|text| text.get()), out);
            None
        } else {
            Some(self.read(statement, &mut notes, out)?)
        };
        let builder =
            provenance.as_ref().map_or(PYPI_PUBLISH, |provenance| provenance.builder.id.as_str()).to_owned();
        let facts = provenance.as_ref().map(Facts::of).unwrap_or_default();
        let is_logged = !verified.entries().is_empty();
        let vouched = match verified.signer() {
            Signer::Certificate(leaf) => Vouched::of(leaf),
            _ => Vouched::default(),
        };
        let self_hosted =
            [&vouched.runner, &facts.runner].into_iter().flatten().any(|runner| !is_hosted_runner(runner));
        let trusted = Trusted { builder: &builder, is_provenance: !is_publish, is_logged, self_hosted };
        let (level, root) = self.trust(verified.signer(), &trusted, out)?;
        self.check_log(is_logged, root, out);
        self.check_runner(&vouched, &facts, &builder, root, out);
        match verified.signer() {
            Signer::Certificate(leaf) => certificate::check(leaf, provenance.as_ref(), &facts, out),
            _ => out.skip(CheckName::Agreement, "a key says nothing of a build"),
        }
        if let Some(contradiction) = &facts.contradiction {
            out.fail(
                CheckName::Agreement,
                Reason::Contradiction,
                "provenance that does not contradict itself",
                contradiction,
            );
        }
        self.check_source(&vouched, &facts, out);
        self.check_ref(&vouched, &facts, out);
        self.check_build_type(provenance.as_ref(), out);
        self.check_inputs(&facts, &mut notes, out);
        self.check_parameters(provenance.as_ref(), &facts, out);
        let named = statement.subjects.get(*subject).map_or("", |subject| subject.name.as_str());
        package::check(self.expectations.package.as_ref(), named, statement.subjects.len(), is_publish, out);
        if out.failed() {
            return None;
        }
        let statement_digest = HashAlgorithm::Sha256.digest(bytes);
        Some(Build {
            statement_digest,
            document: piece.document.clone(),
            verified,
            provenance,
            facts,
            builder,
            level,
            root: root.map(|root| root.from.clone()),
            is_logged,
            notes,
        })
    }

    fn read(
        &self,
        statement: &countersign_attestation::Statement,
        notes: &mut Vec<String>,
        out: &mut Recorder,
    ) -> Option<Provenance> {
        let name = CheckName::Provenance;
        let Some(predicate) = statement.predicate.as_deref() else {
            out.fail(name, Reason::ProvenanceMalformed, "provenance", "a statement that says nothing");
            return None;
        };
        let mistaken = statement.predicate_type == MISTAKEN;
        let kind = if mistaken { MEANT } else { statement.predicate_type.as_str() };
        match Provenance::from_json(kind, predicate.get()) {
            Ok(read) if mistaken && !read.builder.id.starts_with(WITNESS) => {
                let expected = format!("provenance of type {MEANT}");
                out.fail(
                    name,
                    Reason::PredicateTypeMismatch,
                    expected,
                    format!("{MISTAKEN}, which only witness writes"),
                );
                None
            }
            Ok(read) => {
                if mistaken {
                    notes.push(format!(
                        "its type is {MISTAKEN}, which does not exist; it was read as {MEANT}"
                    ));
                }
                out.pass(name, "provenance that can be read", statement.predicate_type.clone());
                Some(read)
            }
            Err(error) => {
                out.fail(name, Reason::ProvenanceMalformed, "provenance that can be read", error.to_string());
                None
            }
        }
    }

    /// A publish attestation says nothing beyond its type.
    fn check_publish(&self, predicate: Option<&str>, out: &mut Recorder) {
        let empty = predicate.is_none_or(|text| ["null", "{}"].contains(&text.trim()));
        let expected = "a publish attestation, which says nothing more";
        let found = if empty { "one" } else { "one that says more" };
        out.settle(CheckName::Provenance, empty, Reason::ProvenanceMalformed, expected, found);
    }

    /// The level of signer and builder together, and the root that says so.
    fn trust(&self, signer: &Signer, of: &Trusted<'_>, out: &mut Recorder) -> Option<(u8, Option<&'a Root>)> {
        if let Some(expected) = &self.expectations.builder
            && !is_builder(expected, of.builder)
        {
            out.fail(CheckName::Builder, Reason::BuilderMismatch, expected.clone(), of.builder);
        }
        let named: Vec<&'a Root> = self.builders.of_pair(signer, of.builder).collect();
        let suits = |root: &&Root| {
            (of.is_logged || root.unlogged || self.expectations.allow_unlogged)
                && (!of.self_hosted || root.self_hosted)
        };
        let highest = |roots: &mut dyn Iterator<Item = &'a Root>| roots.max_by_key(|root| root.level);
        // One that asks for more than there is decides only where there is no other: the checks below say what is missing.
        let best =
            highest(&mut named.iter().copied().filter(suits)).or_else(|| highest(&mut named.iter().copied()));
        let known = self.builders.of_signer(signer).next().is_some();
        let (level, root) = match best {
            Some(root) => (if of.is_provenance { root.level } else { 0 }, Some(root)),
            // "Defaulting to level 1", as the specification has it, for who asks for no more.
            None if known && of.is_provenance && !of.self_hosted && self.takes_level_1(of.builder) => {
                (1, None)
            }
            None => {
                let expected = "signer and builder to stand in the roots of trust together";
                let found = format!("{} signed for the builder {}", signer_in_words(signer), of.builder);
                out.fail(CheckName::Builder, Reason::BuilderUntrusted, expected, found);
                return None;
            }
        };
        let from = root.map_or("none: level 1 by default", |root| root.from.as_str());
        out.pass(
            CheckName::Builder,
            "a builder that the signer may speak for",
            format!("{} ({from})", of.builder),
        );
        let wanted = self.expectations.level.unwrap_or(1);
        let (expected, found) = (format!("build level {wanted} or above"), format!("build level {level}"));
        out.settle(CheckName::Level, level >= wanted, Reason::LevelTooLow, expected, found);
        Some((level, root))
    }

    /// Whether whoever asks takes the default of the specification for a builder that stands in no root. One that stands in
    /// another signer's is claimed by somebody who may not speak for it; and who asks for a builder by its name asks for
    /// more than that somebody says it.
    fn takes_level_1(&self, builder: &str) -> bool {
        let asked =
            self.expectations.level.is_some_and(|level| level <= 1) && self.expectations.builder.is_none();
        asked && !self.builders.know(builder)
    }

    fn check_log(&self, is_logged: bool, root: Option<&Root>, out: &mut Recorder) {
        let expected = "an entry of a transparency log";
        match (is_logged, root.is_some_and(|root| root.unlogged), self.expectations.allow_unlogged) {
            (true, ..) => out.pass(CheckName::Log, expected, "one"),
            (false, true, _) => out.skip(CheckName::Log, "no entry; the root of trust asks for none"),
            (false, false, true) => out.skip(CheckName::Log, "no entry; you accept that"),
            (false, false, false) => out.fail(CheckName::Log, Reason::NoLogEntry, expected, "none"),
        }
    }

    fn check_runner(
        &self,
        vouched: &Vouched,
        facts: &Facts,
        builder: &str,
        root: Option<&Root>,
        out: &mut Recorder,
    ) {
        let said: Vec<&String> = [&vouched.runner, &facts.runner].into_iter().flatten().collect();
        let expected = "a machine of the platform";
        match said.iter().find(|runner| !is_hosted_runner(runner)) {
            Some(other) if !root.is_some_and(|root| root.self_hosted) => {
                out.fail(CheckName::Runner, Reason::SelfHosted, expected, other.as_str());
            }
            Some(other) => out.skip(CheckName::Runner, format!("{other}; the root of trust accepts that")),
            None => match said.first() {
                None => out.skip(CheckName::Runner, format!("nobody but the builder says: {builder}")),
                Some(runner) => out.pass(CheckName::Runner, expected, runner.as_str()),
            },
        }
    }

    fn check_source(&self, vouched: &Vouched, facts: &Facts, out: &mut Recorder) {
        let said: Vec<&String> = [&vouched.repository, &facts.repository].into_iter().flatten().collect();
        let Some(expected) = &self.expectations.source else {
            let found = said.first().map_or("none is said", |found| found.as_str());
            return out.skip(CheckName::Source, format!("not asked for; {found}"));
        };
        let other = said.iter().find(|found| !same_repository(expected, found));
        let found = other.or(said.first()).map_or("none", |found| found.as_str());
        let holds = other.is_none() && !said.is_empty();
        out.settle(CheckName::Source, holds, Reason::SourceMismatch, expected.clone(), found);
    }

    fn check_ref(&self, vouched: &Vouched, facts: &Facts, out: &mut Recorder) {
        let wanted = self.expectations;
        // Where a delegated build is of a commit made on the way, the ref that started it is what there is.
        let said = vouched.reference.as_ref().or(facts.reference.as_ref());
        let found = || said.map_or_else(|| "none".to_owned(), Clone::clone);
        let mut asked = false;
        if let Some(tag) = &wanted.tag {
            asked = true;
            let expected = tag_reference(tag);
            let holds = said == Some(&expected);
            out.settle(CheckName::Ref, holds, Reason::RefMismatch, expected, found());
        }
        if let Some(version) = &wanted.versioned_tag {
            asked = true;
            let holds = said.is_some_and(|said| is_version(said, version) == Ok(true));
            out.settle(
                CheckName::Ref,
                holds,
                Reason::RefMismatch,
                format!("a tag of version {version}"),
                found(),
            );
        }
        if let Some(branch) = &wanted.branch {
            asked = true;
            let expected = branch_reference(branch);
            let own = said.filter(|said| said.starts_with("refs/heads/")).or(facts.branch.as_ref());
            let holds = own == Some(&expected);
            let found = own.map_or_else(found, Clone::clone);
            out.settle(CheckName::Ref, holds, Reason::RefMismatch, expected, found);
        }
        if !asked {
            out.skip(CheckName::Ref, format!("not asked for; {}", found()));
        }
    }

    fn check_build_type(&self, provenance: Option<&Provenance>, out: &mut Recorder) {
        let found = provenance.map_or("none", |provenance| provenance.build_type.as_str());
        match &self.expectations.build_type {
            None => out.skip(CheckName::BuildType, format!("not asked for; {found}")),
            Some(expected) => {
                let holds = provenance.is_some() && expected == found;
                out.settle(CheckName::BuildType, holds, Reason::BuildTypeMismatch, expected.clone(), found);
            }
        }
    }

    fn check_inputs(&self, facts: &Facts, notes: &mut Vec<String>, out: &mut Recorder) {
        let wanted = &self.expectations.inputs;
        let said = facts.inputs.as_ref();
        let others: Vec<&str> = said
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .filter(|name| !wanted.contains_key(*name))
            .collect();
        if !others.is_empty() {
            notes
                .push(format!("it was started with inputs that were not asked about: {}", others.join(", ")));
        }
        if wanted.is_empty() {
            return out.skip(CheckName::Inputs, "not asked for");
        }
        let Some(said) = said else {
            let expected = "a build that somebody started by hand, with inputs";
            return out.fail(CheckName::Inputs, Reason::InputMismatch, expected, "no inputs");
        };
        for (name, value) in wanted {
            let found = said.get(name).map_or_else(|| "none".to_owned(), |found| format!("{name}={found}"));
            let holds = said.get(name) == Some(value);
            out.settle(CheckName::Inputs, holds, Reason::InputMismatch, format!("{name}={value}"), found);
        }
    }

    fn check_parameters(&self, provenance: Option<&Provenance>, facts: &Facts, out: &mut Recorder) {
        let name = CheckName::Parameters;
        let Some(provenance) = provenance else { return out.skip(name, "no provenance") };
        let accepted = &self.expectations.parameters;
        for (parameter, value) in accepted {
            let Some(value) = value else { continue };
            let found = provenance.parameters.get(parameter).map(|found| match found.as_str() {
                Some(text) => text.to_owned(),
                None => found.to_string(),
            });
            let holds = found.as_ref() == Some(value);
            let found = found.map_or_else(|| "none".to_owned(), |found| format!("{parameter}={found}"));
            out.settle(name, holds, Reason::InputMismatch, format!("{parameter}={value}"), found);
        }
        let unknown: Vec<&str> = facts
            .unknown_parameters
            .iter()
            .map(String::as_str)
            .filter(|parameter| !accepted.contains_key(*parameter))
            .collect();
        let expected = if facts.is_known_type {
            format!("only the external parameters of {}", provenance.build_type)
        } else {
            format!(
                "external parameters that are accepted by name, for the build type {} is not known",
                provenance.build_type
            )
        };
        let found = if unknown.is_empty() { "no others".to_owned() } else { unknown.join(", ") };
        out.settle(name, unknown.is_empty(), Reason::ParameterUnknown, expected, found);
    }
}

/// What the roots are asked about.
struct Trusted<'b> {
    builder: &'b str,
    /// Whether it is provenance at all: what is none has no level, whatever a root says.
    is_provenance: bool,
    is_logged: bool,
    self_hosted: bool,
}

/// With the types of statements that are read.
fn typed<State>(
    builder: RequirementsBuilder<State>,
) -> Result<RequirementsBuilder<State>, RequirementsError> {
    let mut types = provenance::types().to_vec();
    types.extend([MISTAKEN, PYPI_PUBLISH]);
    types.into_iter().try_fold(builder, RequirementsBuilder::predicate_type)
}
