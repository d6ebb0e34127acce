//! Verifying an image: its evidence is fetched, the usual form first, and each piece is judged by the engine.

use std::collections::BTreeSet;

use countersign_attestation::Statement;
use countersign_bundle::Bundle;
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

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Signatures of the image itself.
    Signatures,
    /// Statements about it.
    Statements,
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
pub async fn verify_image(
    place: Place<'_>,
    wanted: Wanted,
    trust: &TrustMaterial,
    requirements: &Requirements,
    now: Timestamp,
) -> Result<ImageReport, ClientError> {
    let digest = match place.name {
        Name::Digest(digest) => *digest,
        Name::Tag(_) => place.image.resolve(place.name).await?.digest,
    };
    let mut all = ImageReport { digest, pieces: Vec::new(), passed_over: BTreeSet::new() };
    let judge = Judge { subject: Subject::from_digest(digest), wanted, trust, requirements, now };
    let rounds = match wanted {
        Wanted::Signatures => [&[Form::Bundle][..], &[Form::CosignSignature]],
        Wanted::Statements => [&[Form::Bundle, Form::InToto][..], &[Form::CosignAttestation]],
    };
    let mut failed = None;
    for forms in rounds {
        // A registry may answer one question and not the other. What verifies is enough; if nothing does, the first
        // question that was not answered is the answer.
        match discover(place.evidence, &digest, &Search::of(forms.iter().copied())).await {
            Ok(found) => judge.all(&found, &mut all),
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

struct Judge<'a> {
    subject: Subject<'static>,
    wanted: Wanted,
    trust: &'a TrustMaterial,
    requirements: &'a Requirements,
    now: Timestamp,
}

impl Judge<'_> {
    fn all(&self, found: &[Found], out: &mut ImageReport) {
        for piece in found {
            let report = match bundle_of(piece) {
                None => continue,
                Some(Err(error)) => Report::malformed(&error),
                Some(Ok(bundle)) => {
                    if let Some(other) = self.other_kind(&bundle) {
                        out.passed_over.extend(other);
                        continue;
                    }
                    verify(&self.subject, &bundle, self.trust, self.requirements, self.now)
                }
            };
            let (form, origin, digest) = (piece.form, piece.origin, piece.layer.digest);
            out.pieces.push(Piece { form, origin, digest, report });
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
