//! Verifying an image: its evidence is fetched, the usual form first, and each piece is judged by the engine.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use countersign_attestation::{Envelope, Statement};
use countersign_bundle::{Bundle, KeyMaterial};
use countersign_crypto::Digest;
use countersign_registry::evidence::{Form, Found, Origin, Search, discover};
use countersign_registry::{Name, Store};
use countersign_verify::{
    Report, Requirements, SIGN_PREDICATE_TYPE, Subject, TrustMaterial, Verified, nearest, verify,
};
use jiff::Timestamp;

use super::bundle_of;
use crate::ClientError;

/// An image, and the stores where it and its evidence lie.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Where the image lies.
    pub image: &'a dyn Store,
    /// Where its evidence lies.
    pub evidence: &'a dyn Store,
    /// What the image is asked for by.
    pub name: &'a Name,
}

impl Place<'_> {
    /// The image's digest; a tag is resolved.
    ///
    /// # Errors
    /// [`ClientError::Registry`] when the image is not there.
    pub async fn digest(&self) -> Result<Digest, ClientError> {
        match self.name {
            Name::Digest(digest) => Ok(*digest),
            Name::Tag(_) => Ok(self.image.resolve(self.name).await?.digest),
        }
    }
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Signatures of the image itself.
    Signatures,
    /// Statements about it.
    Statements,
}

/// What an image is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Checks<'a> {
    /// What is looked for.
    pub wanted: Wanted,
    /// Whom to trust.
    pub trust: &'a TrustMaterial,
    /// What must hold.
    pub requirements: &'a Requirements,
    /// The signer's certificate, DER, for signatures that come without one.
    pub certificate: Option<&'a [u8]>,
    /// The types of statements that are asked for; none for any.
    pub predicate_types: &'a [String],
    /// The most pieces of evidence that are looked at.
    pub max_evidence: usize,
    /// The time of verification.
    pub now: Timestamp,
}

/// A piece of evidence and what the engine says of it.
#[derive(Debug)]
pub struct Piece {
    /// What it is.
    pub form: Form,
    /// Where it was.
    pub origin: Origin,
    /// The digest of its document.
    pub digest: Digest,
    /// The envelope of a statement.
    pub envelope: Option<Envelope>,
    /// The verdict.
    pub report: Report,
}

/// What was found for an image.
#[derive(Debug)]
pub struct ImageReport {
    /// The image.
    pub digest: Digest,
    /// What was judged, in the order in which it was found.
    pub pieces: Vec<Piece>,
    /// The types of statements that are there and were not asked for. Nobody vouches for these.
    pub passed_over: BTreeSet<String>,
}

impl ImageReport {
    /// The report that decides: of a piece that is verified, else of the one that came nearest, else that there is no
    /// signature.
    #[must_use]
    pub fn report(&self) -> Report {
        nearest(self.pieces.iter().map(|piece| &piece.report)).cloned().unwrap_or_else(Report::no_signature)
    }

    /// The pieces that are verified. None means no.
    pub fn verified(&self) -> impl Iterator<Item = (&Piece, &Verified)> {
        self.pieces.iter().filter_map(|piece| Some((piece, piece.report.verified().ok()?)))
    }
}

/// Verifies an image with all the evidence that its registry has. One piece that holds is enough, and then the older
/// forms are not looked for.
///
/// # Errors
/// [`ClientError::Registry`] when the image is not there, or the evidence could not be looked at and what could be
/// does not verify.
pub async fn verify_image(place: Place<'_>, checks: &Checks<'_>) -> Result<ImageReport, ClientError> {
    let digest = place.digest().await?;
    let mut all = ImageReport { digest, pieces: Vec::new(), passed_over: BTreeSet::new() };
    let subject = Subject::from_digest(digest);
    let forms = match checks.wanted {
        Wanted::Signatures => [Form::Bundle, Form::CosignSignature, Form::CosignSignature],
        Wanted::Statements => [Form::Bundle, Form::InToto, Form::CosignAttestation],
    };
    let wanted_types = match checks.wanted {
        Wanted::Signatures => BTreeSet::from([SIGN_PREDICATE_TYPE.to_owned()]),
        Wanted::Statements => checks.predicate_types.iter().cloned().collect(),
    };
    let referrers = [Origin::ReferrersApi, Origin::ReferrersTag];
    // First what is listed under the type that is asked for; when that is not enough, whatever it is listed under.
    let rounds = [
        (&referrers[..], wanted_types),
        (&[Origin::OlderTag], BTreeSet::new()),
        (&referrers, BTreeSet::new()),
    ];
    let mut failed = None;
    let mut judged = HashSet::new();
    for (origins, predicate_types) in rounds {
        // A registry may answer one question and not the other. What verifies is enough; if nothing does, the first
        // question that was not answered is the answer.
        let search = Search {
            origins: origins.iter().copied().collect(),
            predicate_types,
            max_count: checks.max_evidence,
            ..Search::of(forms)
        };
        match discover(place.evidence, &digest, &search).await {
            Ok(found) => checks.judge(&subject, found, &mut judged, &mut all),
            Err(error) => failed = failed.or(Some(error)),
        }
        if all.verified().next().is_some() {
            return Ok(all);
        }
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(all),
    }
}

impl Checks<'_> {
    /// Judges what was not judged before. In the older forms the signature is in the annotations, so that a document
    /// alone does not tell one piece from another: two keys sign the same payload.
    fn judge(
        &self,
        subject: &Subject<'_>,
        found: Vec<Found>,
        judged: &mut HashSet<(Digest, BTreeMap<String, String>)>,
        out: &mut ImageReport,
    ) {
        for piece in found {
            let bundle = bundle_of(&piece);
            if !judged.insert((piece.layer.digest, piece.annotations)) {
                continue;
            }
            let (report, envelope) = match bundle {
                None => continue,
                Some(Err(error)) => (Report::malformed(&error), None),
                Some(Ok(mut bundle)) => {
                    if let Some(other) = self.other_kind(&bundle) {
                        out.passed_over.extend(other);
                        continue;
                    }
                    let key = &mut bundle.verification_material.content;
                    if let (Some(der), KeyMaterial::PublicKeyHint(_)) = (self.certificate, &*key) {
                        *key = KeyMaterial::Certificate(der.to_vec());
                    }
                    let report = verify(subject, &bundle, self.trust, self.requirements, self.now);
                    (report, bundle.content.envelope().cloned())
                }
            };
            let (form, origin, digest) = (piece.form, piece.origin, piece.layer.digest);
            out.pieces.push(Piece { form, origin, digest, envelope, report });
        }
    }

    /// `Some` when a piece, by its own words, is not of the kind that is looked for; with the type it names. What does
    /// not say so is judged, and the engine checks the kind again on what was verified.
    fn other_kind(&self, bundle: &Bundle) -> Option<Option<String>> {
        let envelope = bundle.content.envelope();
        match (self.wanted, envelope) {
            (Wanted::Statements, None) => Some(None),
            (Wanted::Signatures, None) => None,
            (_, Some(envelope)) => {
                let kind = Statement::from_json(&envelope.payload).ok()?.predicate_type;
                let signature = kind == SIGN_PREDICATE_TYPE;
                match self.wanted {
                    Wanted::Signatures => (!signature).then_some(Some(kind)),
                    // A bare signature is no statement, unless it is what was asked for: the engine will tell.
                    Wanted::Statements => None,
                }
            }
        }
    }
}
