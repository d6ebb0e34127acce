//! Judging the evidence of an image by an authority: the one place where a policy meets the engines.

use std::collections::BTreeSet;
use std::sync::Arc;

use countersign_crypto::encoding::pem_decode;
use countersign_crypto::{Digest, PublicKey};
use countersign_registry::evidence::{Form, Found};
use countersign_registry::{Reference, Repository};
use countersign_verify::{
    Identities, Identity, Keys, Rejection, Report, Requirements, RequirementsBuilder, SIGN_PREDICATE_TYPE,
    SigningKey, Subject, Verified, nearest, verify,
};
use countersign_x509::Certificate;
use jiff::Timestamp;

use crate::access::Access;
use crate::ask::{Ask, Stop};
use crate::authority::{Authority, Forms, IdentityRule, KeySource, Who};
use crate::evidence::bundle_of;
use crate::memo::JudgementKey;
use crate::pattern::PatternError;
use crate::question::{CouldNot, CouldNotReason, Evidence, EvidenceQuestion};
use crate::statements::Target;
use crate::trust::Material;

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum What {
    /// A signature of the image itself.
    Signature,
    /// A statement about it of one of these types; of any type when there are none.
    Statement(Vec<String>),
}

/// A piece of evidence that holds.
#[derive(Debug, Clone)]
pub struct Fact {
    /// What the engine says of it: who signed, when, and what.
    pub verified: Arc<Verified>,
    /// The digest of the document it is in.
    pub evidence: Digest,
}

/// What came of the evidence of one image by one authority.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The image.
    pub image: Digest,
    /// What holds. None means no.
    pub facts: Vec<Fact>,
    /// Where nothing holds, the report of what came nearest, or that there is no signature.
    pub refusal: Option<Report>,
    /// The types of statements that lie there and were not asked for. Nobody vouches for these.
    pub passed_over: BTreeSet<String>,
}

impl Judgement {
    /// Whether something holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.facts.is_empty()
    }

    /// Why nothing holds.
    pub(crate) fn rejection(&self) -> Option<&Rejection> {
        self.refusal.as_ref()?.verified().err()
    }
}

impl Ask<'_> {
    /// Judges the evidence beside an image. For a signature, what holds is enough, and then the older forms are not asked
    /// for; of statements all are there that lie in any form. Where something holds, what could not be looked at is passed over.
    ///
    /// # Errors
    /// [`Stop`]: something is not known yet or cannot be had. The policy itself being unusable is one of these.
    pub fn judge(
        &self,
        image: &Reference,
        authority: &Authority,
        what: &What,
    ) -> Result<Arc<Judgement>, Stop> {
        let digest = self.digest(image)?;
        self.judge_target(&Target::image(image, digest), authority, what)
    }

    /// The same for what is known by its digest: an image, or a file.
    ///
    /// # Errors
    /// As [`Self::judge`].
    pub fn judge_target(
        &self,
        target: &Target,
        authority: &Authority,
        what: &What,
    ) -> Result<Arc<Judgement>, Stop> {
        match self.judged(target, authority, what)? {
            (judgement, Some(stop)) if !judgement.holds() => Err(stop.into()),
            (judgement, _) => Ok(judgement),
        }
    }

    /// The same where all that is there counts, or the newest of it: what could not be looked at may be what matters, so that
    /// nothing that holds is enough beside it.
    ///
    /// # Errors
    /// As [`Self::judge`].
    pub fn judge_all(
        &self,
        target: &Target,
        authority: &Authority,
        what: &What,
    ) -> Result<Arc<Judgement>, Stop> {
        match self.judged(target, authority, what)? {
            (_, Some(stop)) => Err(stop.into()),
            (judgement, None) => Ok(judgement),
        }
    }

    /// What holds of what could be looked at, and the first question that was not answered.
    fn judged(
        &self,
        target: &Target,
        authority: &Authority,
        what: &What,
    ) -> Result<(Arc<Judgement>, Option<CouldNot>), Stop> {
        let digest = *target.digest();
        // All that is open is asked for at once.
        let material = if authority.stands_alone() {
            authority.trust.material_if_any(self)
        } else {
            authority.trust.material(self)
        };
        let requirements = self.requirements(authority, what);
        // Evidence elsewhere is of images; that of a file is at hand.
        let repository = target.repository().map(|own| authority.repository.as_ref().unwrap_or(own));
        let of = Of { digest, repository, authority, what };
        let mut rounds = Vec::new();
        let mut stopped = None;
        for round in of.rounds() {
            // A registry may answer one question and not the other.
            let evidence = match of.question(&round) {
                Some(question) => self.evidence(question),
                None => self.evidence_of_file(digest),
            };
            match (evidence, &material, &requirements) {
                (Ok(evidence), Ok(material), Ok(requirements)) => {
                    rounds.push(self.judge_evidence(&of, &evidence, material, requirements));
                }
                (Err(Stop::CouldNot(stop)), Ok(_), Ok(_)) => stopped = stopped.or(Some(stop)),
                (Err(stop), ..) => return Err(stop),
                (_, Err(stop), _) | (_, _, Err(stop)) => return Err(stop.clone()),
            }
            let holds = rounds.iter().any(|judgement| judgement.holds());
            if holds && (round.last || *what == What::Signature) {
                break;
            }
        }
        Ok((merged(digest, &rounds), stopped))
    }

    fn judge_evidence(
        &self,
        of: &Of<'_>,
        evidence: &Evidence,
        material: &Material,
        requirements: &Requirements,
    ) -> Arc<Judgement> {
        let judge = || judge(of, evidence, material, requirements, self.now());
        match (self.memo(), &of.authority.who) {
            // What a reference to a key names may change while the reference does not.
            (None, _) | (_, Who::Key(KeySource::Reference(_))) => Arc::new(judge()),
            (Some(memo), _) => {
                let key = JudgementKey {
                    image: of.digest,
                    evidence: *evidence.id(),
                    trust: material.base_id,
                    authority: memo.shared(of.authority),
                    what: of.what.clone(),
                };
                memo.judgement(key, self.now(), judge)
            }
        }
    }

    fn requirements(&self, authority: &Authority, what: &What) -> Result<Requirements, Stop> {
        let requirements = match &authority.who {
            Who::Key(source) => {
                let keys = self.public_keys(source)?;
                let over = |key: PublicKey| match authority.forms.hash {
                    Some(hash) => SigningKey::new(key).over(hash),
                    None => SigningKey::new(key),
                };
                let mut keys = keys.into_iter().map(over);
                let first = keys.next().ok_or_else(|| unusable(authority, "no key is named"))?;
                let builder = keys.fold(Requirements::builder().key(first), RequirementsBuilder::<Keys>::key);
                common(builder, authority, what)?.build()
            }
            Who::Identities(rules) => {
                let mut identities = Vec::new();
                for rule in rules {
                    identities.push(identity(rule).map_err(|e| unusable(authority, e))?);
                }
                let mut identities = identities.into_iter();
                let first = identities.next().ok_or_else(|| unusable(authority, "no identity is named"))?;
                let builder = identities.fold(
                    Requirements::builder().identity(first),
                    RequirementsBuilder::<Identities>::identity,
                );
                with_certificate(builder, authority, what)?
            }
            Who::AnyIdentity => {
                with_certificate(Requirements::builder().dangerous_any_identity(), authority, what)?
            }
            Who::Notary { .. } => {
                return Err(unusable(
                    authority,
                    "a signer of the Notary Project, asked for as one of Sigstore",
                ));
            }
        };
        Ok(requirements)
    }

    /// The keys of a source; at least one.
    fn public_keys(&self, source: &KeySource) -> Result<Vec<PublicKey>, Stop> {
        match source {
            KeySource::Reference(reference) => Ok(self.keys(reference)?.to_vec()),
            KeySource::Pem(pem) => keys_from_pem(pem).map_err(|e| {
                CouldNot::new(CouldNotReason::Unusable, format!("the public key in the policy: {e}")).into()
            }),
        }
    }
}

/// What is judged by what.
struct Of<'a> {
    digest: Digest,
    /// Where the evidence of an image lies.
    repository: Option<&'a Repository>,
    authority: &'a Authority,
    what: &'a What,
}

/// A part of the evidence that is asked for by itself.
struct Round {
    forms: BTreeSet<Form>,
    predicate_types: BTreeSet<String>,
    /// After this one, what holds is enough.
    last: bool,
}

impl Of<'_> {
    /// First bundles which are listed under the type that is asked for; then the older forms; then, if nothing holds,
    /// bundles whatever they are listed under.
    fn rounds(&self) -> Vec<Round> {
        let (older, types) = match self.what {
            What::Signature => {
                ([Form::CosignSignature].as_slice(), BTreeSet::from([SIGN_PREDICATE_TYPE.to_owned()]))
            }
            What::Statement(types) => {
                ([Form::InToto, Form::CosignAttestation].as_slice(), types.iter().cloned().collect())
            }
        };
        if self.repository.is_none() {
            let forms = BTreeSet::from([Form::Bundle]);
            return vec![Round { forms, predicate_types: types, last: true }];
        }
        let Forms { bundles, older: reads_older, .. } = self.authority.forms;
        let bundle = || BTreeSet::from([Form::Bundle]);
        let mut rounds = Vec::new();
        if bundles {
            rounds.push(Round { forms: bundle(), predicate_types: types.clone(), last: !reads_older });
        }
        if reads_older {
            rounds.push(Round {
                forms: older.iter().copied().collect(),
                predicate_types: BTreeSet::new(),
                last: true,
            });
        }
        if bundles && !types.is_empty() {
            rounds.push(Round { forms: bundle(), predicate_types: BTreeSet::new(), last: true });
        }
        rounds
    }

    /// What to ask a registry; nothing for a file.
    fn question(&self, round: &Round) -> Option<EvidenceQuestion> {
        Some(EvidenceQuestion {
            image: self.digest,
            repository: self.repository?.clone(),
            forms: round.forms.clone(),
            predicate_types: round.predicate_types.clone(),
            tag_prefix: self.authority.forms.tag_prefix.clone(),
            access: Arc::new(Access::default()),
        })
    }
}

/// The evidence of one question, judged. Pure: the same answer at any time at which the same windows of validity are open.
fn judge(
    of: &Of<'_>,
    evidence: &Evidence,
    material: &Material,
    requirements: &Requirements,
    now: Timestamp,
) -> Judgement {
    let subject = Subject::from_digest(of.digest);
    let mut judged: Vec<(&Found, Report)> = Vec::new();
    let mut passed_over = BTreeSet::new();
    for piece in evidence.found() {
        let seen = judged.iter().any(|(other, _)| is_same(other, piece));
        if seen || other_kind(piece, of.what, &mut passed_over) {
            continue;
        }
        let report = match bundle_of(piece) {
            None => continue,
            Some(Err(error)) => Report::malformed(&error),
            Some(Ok(bundle)) => verify(&subject, &bundle, &material.trust, requirements, now),
        };
        judged.push((piece, report));
    }
    let (mut facts, mut refused) = (Vec::new(), Vec::new());
    for (piece, report) in judged {
        if report.verified().is_err() {
            refused.push(report);
        } else if let Ok(verified) = report.into_verified() {
            facts.push(Fact { verified: Arc::new(verified), evidence: piece.layer.digest });
        }
    }
    facts.shrink_to_fit();
    let refusal = refusal(&facts, &refused);
    Judgement { image: of.digest, facts, refusal, passed_over }
}

/// What came nearest of what was refused, where nothing holds.
fn refusal<'r>(facts: &[Fact], refused: impl IntoIterator<Item = &'r Report>) -> Option<Report> {
    facts.is_empty().then(|| nearest(refused).cloned().unwrap_or_else(Report::no_signature))
}

/// Whether two pieces are the same. A bundle is whole by itself; of the older forms several signers sign the same payload,
/// and the signature is in the annotations.
fn is_same(one: &Found, other: &Found) -> bool {
    one.layer.digest == other.layer.digest
        && one.form == other.form
        && (one.form == Form::Bundle || one.annotations == other.annotations)
}

/// Several judgements of one image as one. Each round is of other documents, or comes after rounds in which nothing held.
fn merged(image: Digest, judgements: &[Arc<Judgement>]) -> Arc<Judgement> {
    if let [only] = judgements {
        return only.clone();
    }
    let mut all = Judgement { image, facts: Vec::new(), refusal: None, passed_over: BTreeSet::new() };
    for judgement in judgements {
        all.facts.extend(judgement.facts.iter().cloned());
        all.passed_over.extend(judgement.passed_over.iter().cloned());
    }
    all.refusal = refusal(&all.facts, judgements.iter().filter_map(|judgement| judgement.refusal.as_ref()));
    Arc::new(all)
}

/// The keys in a PEM text: of public keys and of certificates.
///
/// # Errors
/// In words, what cannot be read. A text without a key is an error.
pub(crate) fn keys_from_pem(pem: &str) -> Result<Vec<PublicKey>, String> {
    let blocks = pem_decode(pem).map_err(|e| e.to_string())?;
    let read = |block: &countersign_crypto::encoding::PemBlock| match block.label.as_str() {
        "PUBLIC KEY" => PublicKey::from_spki_der(&block.der).map_err(|e| e.to_string()),
        "CERTIFICATE" => {
            Certificate::from_der(&block.der).map(|c| c.public_key().clone()).map_err(|e| e.to_string())
        }
        other => Err(format!("expected a PEM block \"PUBLIC KEY\" or \"CERTIFICATE\", found \"{other}\"")),
    };
    blocks.iter().map(read).collect()
}

fn unusable(authority: &Authority, detail: impl std::fmt::Display) -> Stop {
    CouldNot::new(CouldNotReason::Unusable, format!("\"{}\": {detail}", authority.name)).into()
}

pub(crate) fn identity(rule: &IdentityRule) -> Result<Identity, PatternError> {
    let mut issuers = Vec::new();
    for pattern in &rule.issuer {
        issuers.push(pattern.compile()?);
    }
    let issuer = issuers.into_iter().reduce(countersign_verify::Matcher::and).ok_or(PatternError::Empty)?;
    let mut identity = Identity::new(rule.subject.compile()?, issuer);
    for (name, pattern) in &rule.extensions {
        identity = identity
            .extension(name, pattern.compile()?)
            .map_err(|e| PatternError::Malformed { pattern: name.clone(), detail: e.to_string() })?;
    }
    Ok(identity)
}

fn with_certificate(
    builder: RequirementsBuilder<Identities>,
    authority: &Authority,
    what: &What,
) -> Result<Requirements, Stop> {
    let builder = common(builder, authority, what)?;
    Ok(if authority.demands.sct { builder } else { builder.dangerous_without_sct() }.build())
}

/// What is required whoever signs.
fn common<State>(
    mut builder: RequirementsBuilder<State>,
    authority: &Authority,
    what: &What,
) -> Result<RequirementsBuilder<State>, Stop> {
    let wrong = |e: countersign_verify::RequirementsError| unusable(authority, e);
    if !authority.demands.log {
        builder = builder.dangerous_without_log();
    }
    if authority.demands.timestamp {
        builder = builder.timestamps(1).map_err(wrong)?;
    }
    match what {
        What::Signature => builder = builder.signature_of_artifact(),
        What::Statement(types) => {
            for uri in types {
                builder = builder.predicate_type(uri).map_err(wrong)?;
            }
        }
    }
    for (key, value) in &authority.annotations {
        builder = builder.annotation(key, value).map_err(wrong)?;
    }
    Ok(builder)
}

/// Whether a piece, by its own words, is a statement of a type that is not asked for. What does not say so is judged,
/// and the engine checks the type again on what was verified.
fn other_kind(piece: &Found, what: &What, passed_over: &mut BTreeSet<String>) -> bool {
    let Some(Ok(bundle)) = bundle_of(piece) else { return false };
    let Some(envelope) = bundle.content.envelope() else { return matches!(what, What::Statement(_)) };
    let Ok(statement) = countersign_attestation::Statement::from_json(&envelope.payload) else {
        return false;
    };
    let kind = statement.predicate_type;
    let other = match what {
        What::Signature => kind != SIGN_PREDICATE_TYPE,
        What::Statement(types) => !types.is_empty() && !types.contains(&kind),
    };
    if other {
        passed_over.insert(kind);
    }
    other
}
