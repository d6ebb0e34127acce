//! Verification summaries: that somebody verified an artifact and how it came out, so that others need not verify it again.
//! Read by the seven steps of SLSA v1.2, "verification summary attestation", and written.

use countersign_attestation::dsse::IN_TOTO_PAYLOAD_TYPE;
use countersign_attestation::predicate::levels::Word;
use countersign_attestation::predicate::resource::Resource;
use countersign_attestation::predicate::small::Predicate as _;
use countersign_attestation::predicate::vsa::{self, Vsa};
use countersign_attestation::statement::Subject as Named;
use countersign_attestation::{JsonError, Statement};
use countersign_bundle::{Bundle, Content, KeyMaterial};
use countersign_crypto::{Digest, HashAlgorithm, KeyType, PublicKey, ecdsa};
use countersign_verify::{
    Identity, Payload, Reason, Requirements, RequirementsBuilder, RequirementsError, Subject, TrustMaterial,
    Verified, verify,
};
use jiff::Timestamp;

use crate::report::{Attempt, Build, CheckName, Recorder, Report, Signed, Verdict, signer_in_words};
use crate::wire::Piece;

/// The payload type of summaries since in-toto v1.2, beside the usual one.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto.vsa+json";
/// The version of SLSA whose levels are written.
pub const SLSA_VERSION: &str = "1.2";
/// The most digests that one question is asked with.
pub const MAX_DIGESTS: usize = 64;

/// Who may have signed.
#[derive(Debug, Clone)]
pub enum Signers {
    /// One of these keys.
    Keys(Vec<PublicKey>),
    /// One of these identities.
    Identities(Vec<Identity>),
}

/// What is expected of a summary.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Digests of the artifact, name and value, hexadecimal or whatever the name's values are: one subject has all of them.
    /// Never empty, or nothing verifies.
    pub digests: Vec<(String, String)>,
    /// Who verified. Whoever asks names it together with who may sign for it.
    pub verifier: String,
    /// What was verified.
    pub resource: String,
    /// Levels and properties, each at least.
    pub levels: Vec<Word>,
    /// Whether it is enough that the signature holds, and no log has it.
    pub allow_unlogged: bool,
    /// Whether certificates stand in no CT log.
    pub without_sct: bool,
}

/// A digest as it is written on a command line: `sha256:…`, `gce_image_id:…`.
///
/// # Errors
/// In words.
pub fn digest(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(format!("expected NAME:VALUE such as sha256:9f86…, found \"{text}\"")),
    }
}

/// A summary that holds. Only verification makes one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Summary {
    /// What it says.
    pub vsa: Vsa,
    /// What the engine verified.
    pub verified: Verified,
}

impl Summary {
    /// The signed bytes of the statement.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match self.verified.value() {
            Payload::Statement { bytes, .. } | Payload::Document { bytes } => bytes,
            _ => &[],
        }
    }
}

impl Verdict for Summary {
    fn height(&self) -> u8 {
        self.vsa.level("BUILD").unwrap_or(0)
    }
}

/// Verifies summaries: one that holds is enough.
///
/// # Errors
/// [`RequirementsError`]: nobody is named who may have signed.
pub fn verify_summary(
    pieces: &[Piece],
    signers: &Signers,
    expected: &Expected,
    material: &TrustMaterial,
    now: Timestamp,
) -> Result<Report<Summary>, RequirementsError> {
    let mut attempts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let mut out = Recorder::default();
        let place = piece.place.clone();
        attempts.push(match &piece.bundle {
            Err(error) => {
                let wanted = "a signed summary in a form that is read";
                out.fail(CheckName::Document, Reason::BundleMalformed, wanted, error.to_string());
                Attempt::new(place, None, out, None)
            }
            Ok(bundle) => {
                let bundle = in_der(bundle, signers);
                let payload = bundle.content.envelope().map_or(&[][..], |envelope| &envelope.payload);
                let known = known(&expected.digests);
                let is_known = !known.is_empty();
                // The statement itself is what is verified where the artifact has digests of other names only: they are
                // asked for below.
                let subject =
                    if is_known { Subject::from_digests(known) } else { Subject::from_bytes(payload) };
                let asked = Asked {
                    of_artifact: is_known,
                    allow_unlogged: expected.allow_unlogged,
                    without_sct: expected.without_sct,
                };
                let requirements = requirements(&bundle, signers, asked)?;
                let engine = verify(&subject, &bundle, material, &requirements, now);
                let (signed, verified) = Signed::of(engine);
                let found = verified.and_then(|verified| content(verified, expected, &mut out));
                Attempt::new(place, Some(signed), out, found)
            }
        });
    }
    Ok(Report::new(attempts))
}

/// The digests that the engine knows.
fn known(digests: &[(String, String)]) -> Vec<Digest> {
    let read = |(name, value): &(String, String)| {
        Digest::parse(&format!("{name}:{}", value.to_ascii_lowercase())).ok()
    };
    digests.iter().filter_map(read).collect()
}

/// What the engine is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// For a summary of the artifact, and not for any statement, whatever it is about.
    pub(crate) of_artifact: bool,
    /// As in [`Expected`].
    pub(crate) allow_unlogged: bool,
    /// As in [`Expected`].
    pub(crate) without_sct: bool,
}

pub(crate) fn requirements(
    bundle: &Bundle,
    signers: &Signers,
    asked: Asked,
) -> Result<Requirements, RequirementsError> {
    let nobody = || RequirementsError::Empty { what: "who may have signed" };
    match signers {
        Signers::Keys(keys) => {
            let (first, rest) = keys.split_first().ok_or_else(nobody)?;
            let builder = Requirements::builder().key(first.clone());
            let builder = rest.iter().fold(builder, |builder, key| builder.key(key.clone()));
            Ok(common(builder, bundle, asked)?.build())
        }
        Signers::Identities(identities) => {
            let (first, rest) = identities.split_first().ok_or_else(nobody)?;
            let builder = Requirements::builder().identity(first.clone());
            let builder = rest.iter().fold(builder, |builder, identity| builder.identity(identity.clone()));
            let builder = if asked.without_sct { builder.dangerous_without_sct() } else { builder };
            Ok(common(builder, bundle, asked)?.build())
        }
    }
}

fn common<State>(
    builder: RequirementsBuilder<State>,
    bundle: &Bundle,
    asked: Asked,
) -> Result<RequirementsBuilder<State>, RequirementsError> {
    let builder = if asked.of_artifact {
        Vsa::TYPES.iter().try_fold(builder, |builder, kind| builder.predicate_type(kind))?
    } else {
        let is_own = bundle.content.envelope().is_some_and(|envelope| envelope.payload_type == PAYLOAD_TYPE);
        builder.payload_type(if is_own { PAYLOAD_TYPE } else { IN_TOTO_PAYLOAD_TYPE })?
    };
    let unlogged = asked.allow_unlogged && bundle.verification_material.tlog_entries.is_empty();
    Ok(if unlogged { builder.dangerous_without_log() } else { builder })
}

/// The signature in DER, where it is two bare numbers, as DSSE's specification writes those of P-256. Told by its length and
/// its first bytes, before anything is verified; what a log has is left as it is.
pub(crate) fn in_der(bundle: &Bundle, signers: &Signers) -> Bundle {
    let mut bundle = bundle.clone();
    let is_p256 = |key: &PublicKey| key.key_type() == KeyType::EcdsaP256;
    let by_key = matches!(signers, Signers::Keys(keys) if keys.iter().any(is_p256))
        && matches!(bundle.verification_material.content, KeyMaterial::PublicKeyHint(_))
        && bundle.verification_material.tlog_entries.is_empty();
    if let (true, Content::Dsse(envelope)) = (by_key, &mut bundle.content) {
        for signature in &mut envelope.signatures {
            let is_der = signature.sig.starts_with(&[0x30, 62]);
            if signature.sig.len() == 64
                && !is_der
                && let Ok(der) = ecdsa::der_from_fixed(KeyType::EcdsaP256, &signature.sig)
            {
                signature.sig = der;
            }
        }
    }
    bundle
}

fn content(verified: Verified, expected: &Expected, out: &mut Recorder) -> Option<Summary> {
    out.pass(CheckName::Evidence, "a statement by somebody who may sign", signer_in_words(verified.signer()));
    let read;
    let statement = match verified.value() {
        Payload::Statement { statement, .. } => statement.as_ref(),
        Payload::Document { bytes } => match Statement::from_json(bytes) {
            Ok(statement) => {
                read = statement;
                &read
            }
            Err(error) => {
                let wanted = "an in-toto statement";
                out.fail(CheckName::Provenance, Reason::StatementMalformed, wanted, error.to_string());
                return None;
            }
        },
        _ => return None,
    };
    check_subject(statement, &expected.digests, out);
    let text = statement.predicate.as_deref().map_or("null", |text| text.get());
    if !Vsa::TYPES.contains(&statement.predicate_type.as_str()) {
        out.fail(
            CheckName::Provenance,
            Reason::PredicateTypeMismatch,
            vsa::V1,
            statement.predicate_type.clone(),
        );
        return None;
    }
    let vsa = match Vsa::from_json(&statement.predicate_type, text) {
        Ok(vsa) => vsa,
        Err(error) => {
            let wanted = "a verification summary";
            out.fail(CheckName::Provenance, Reason::SummaryMalformed, wanted, error.to_string());
            return None;
        }
    };
    out.pass(CheckName::Provenance, vsa::V1, statement.predicate_type.clone());
    let same = vsa.verifier.id == expected.verifier;
    out.settle(
        CheckName::Verifier,
        same,
        Reason::VerifierMismatch,
        expected.verifier.clone(),
        vsa.verifier.id.clone(),
    );
    let same = vsa.resource_uri == expected.resource;
    out.settle(
        CheckName::Resource,
        same,
        Reason::ResourceMismatch,
        expected.resource.clone(),
        vsa.resource_uri.clone(),
    );
    let passed = vsa.verification_result == vsa::Verdict::Passed;
    let found = if passed { "PASSED" } else { "FAILED" };
    out.settle(CheckName::Result, passed, Reason::SummaryFailed, "PASSED", found);
    check_levels(&vsa, &expected.levels, out);
    (!out.failed()).then(|| Summary { vsa, verified })
}

/// All digests are of one subject: two subjects are two artifacts.
fn check_subject(statement: &Statement, digests: &[(String, String)], out: &mut Recorder) {
    let words: Vec<String> = digests.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    let wanted = format!("one subject with {}", words.join(" and "));
    let has = |subject: &Named, (name, value): &(String, String)| {
        subject.digest.get(name).is_some_and(|found| {
            match HashAlgorithm::ALL.iter().any(|a| a.name() == name) {
                // Hexadecimal of either case; other names have values of their own.
                true => found.eq_ignore_ascii_case(value),
                false => found == value,
            }
        })
    };
    let of_one = |subject: &&Named| digests.iter().all(|digest| has(subject, digest));
    let asked = !digests.is_empty() && digests.len() <= MAX_DIGESTS;
    match statement.subjects.iter().find(of_one).filter(|_| asked) {
        Some(subject) => out.pass(CheckName::Subject, wanted, format!("subject \"{}\"", subject.name)),
        None => {
            let some =
                statement.subjects.iter().any(|subject| digests.iter().any(|digest| has(subject, digest)));
            let found = if some { "some of them, not all with one subject" } else { "other subjects" };
            out.fail(CheckName::Subject, Reason::SubjectMismatch, wanted, found);
        }
    }
}

fn check_levels(vsa: &Vsa, levels: &[Word], out: &mut Recorder) {
    let words: Vec<String> = vsa.verified_levels.iter().map(ToString::to_string).collect();
    let found = if words.is_empty() { "none".to_owned() } else { words.join(", ") };
    if levels.is_empty() {
        return out.skip(CheckName::Levels, format!("not asked for; {found}"));
    }
    for word in levels {
        out.settle(
            CheckName::Levels,
            vsa.has(word),
            Reason::LevelTooLow,
            format!("{word} or above"),
            found.clone(),
        );
    }
}

/// Who verifies, for what, and by what.
#[derive(Debug, Clone)]
pub struct Author {
    /// The URI of the verifier, which consumers take together with the key that signs.
    pub verifier: String,
    /// The version of this program.
    pub version: String,
    /// What was verified, as consumers name it.
    pub resource: String,
    /// By which policy: its address, and its digest if it is a file.
    pub policy: (String, Option<Digest>),
}

/// Writes the summary of a verification: of what was built, or that it was refused.
///
/// # Errors
/// [`JsonError`]: empty texts, and digests that are not known.
pub fn write_summary(
    subjects: Vec<Named>,
    build: Option<&Build>,
    author: &Author,
    now: Timestamp,
) -> Result<Statement, JsonError> {
    let digest_of = |digest: &Digest| [(digest.algorithm().name().to_owned(), digest.to_hex())].into();
    let inputs = build.and_then(|build| build.document.as_ref()).map(|document| Resource {
        digest: digest_of(&document.digest),
        ..Resource::at(document.uri.clone())
    });
    let verified_levels = match build {
        None => vec![Word::Failed],
        Some(build) => vec![Word::Level { track: "BUILD".into(), level: build.level }],
    };
    let version = [("countersign".to_owned(), author.version.clone())].into();
    let vsa = Vsa {
        verifier: vsa::Verifier { id: author.verifier.clone(), version },
        time_verified: Timestamp::from_second(now.as_second()).ok(),
        resource_uri: author.resource.clone(),
        policy: Resource {
            digest: author.policy.1.as_ref().map(digest_of).unwrap_or_default(),
            ..Resource::at(author.policy.0.clone())
        },
        input_attestations: inputs.into_iter().collect(),
        verification_result: if build.is_some() { vsa::Verdict::Passed } else { vsa::Verdict::Failed },
        verified_levels,
        dependency_levels: None,
        slsa_version: SLSA_VERSION.into(),
    };
    Statement::new(subjects, vsa::V1, vsa.to_json()?)
}
