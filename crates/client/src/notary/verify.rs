//! Verifying: every signature found beside an artifact is judged, and one that is accepted is enough.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use countersign_crypto::{Digest, HashAlgorithm};
use countersign_notary::policy::Statement;
use countersign_notary::{CheckName, Format, MAX_ENVELOPE_LEN, Report, Request, Subject, TrustStore, verify};
use countersign_registry::evidence::{Form, Found, Search, discover};
use countersign_registry::{Descriptor, Name, Store};
use countersign_verify::revocation::Revocations;
use countersign_x509::crl::RevocationList;
use jiff::Timestamp;

use super::format_of_file;
use crate::ClientError;
use crate::artifact::{hash_file, read_limited};

/// What a signature is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The statement of the trust policy that is for the artifact.
    pub statement: &'a Statement,
    /// The trust stores it names.
    pub store: &'a TrustStore,
    /// Revocation lists of certificate authorities.
    pub revocation: &'a [RevocationList],
    /// What was revoked by whoever may.
    pub revoked: &'a [Arc<Revocations>],
    /// Metadata that must be in the signature.
    pub metadata: &'a BTreeMap<String, String>,
    /// Whether what the policy only logs is enforced.
    pub enforce_logged: bool,
    /// How many signatures are looked at, at most; more is an error.
    pub max_signatures: usize,
    /// Now.
    pub now: Timestamp,
}

impl Asked<'_> {
    fn judge(&self, subject: &Subject, format: Format, envelope: &[u8]) -> Report {
        verify(&Request {
            subject,
            format,
            envelope,
            statement: self.statement,
            store: self.store,
            revocation: self.revocation,
            revoked: self.revoked,
            metadata: self.metadata,
            enforce_logged: self.enforce_logged,
            now: self.now,
        })
    }
}

/// One signature and what came of it.
#[derive(Debug)]
pub struct Piece {
    /// The digest of its manifest.
    pub manifest: Digest,
    /// What came of it.
    pub report: Report,
}

/// What came of an image.
#[derive(Debug)]
pub struct ImageVerification {
    /// The image, by the one digest which was resolved and compared.
    pub image: Descriptor,
    /// Its signatures.
    pub pieces: Vec<Piece>,
}

impl ImageVerification {
    /// The report that decides: of the first signature that was accepted; else of the first one; else that there is
    /// none.
    #[must_use]
    pub fn report(&self) -> Report {
        let accepted = self.pieces.iter().find(|piece| piece.report.rejection().is_none());
        accepted
            .or_else(|| self.pieces.first())
            .map_or_else(Report::no_signature, |piece| piece.report.clone())
    }
}

/// Verifies an image where it lies, with the signatures that lie in `evidence`, mostly the same place. The tag is
/// resolved once; from there on its digest is used. A policy that skips verification is obeyed before any signature is
/// looked for.
///
/// # Errors
/// [`ClientError::Registry`] when the image or its signatures cannot be fetched, which is never taken for "unsigned".
pub async fn verify_image(
    home: &dyn Store,
    evidence: &dyn Store,
    name: &Name,
    asked: &Asked<'_>,
) -> Result<ImageVerification, ClientError> {
    let image = home.resolve(name).await?;
    let subject =
        Subject::Manifest { media_type: image.media_type.clone(), digest: image.digest, size: image.size };
    if asked.statement.rules.is_none() {
        let report = asked.judge(&subject, Format::Jws, &[]);
        return Ok(ImageVerification { pieces: vec![Piece { manifest: image.digest, report }], image });
    }
    let search = Search { max_count: asked.max_signatures, ..Search::of([Form::Notary]) };
    let found = discover(evidence, &image.digest, &search).await?;
    let pieces = found.iter().map(|piece| judge_found(piece, &found, &subject, asked)).collect();
    Ok(ImageVerification { image, pieces })
}

fn judge_found(piece: &Found, all: &[Found], subject: &Subject, asked: &Asked<'_>) -> Piece {
    let manifest = piece.manifest.digest;
    let layers = all.iter().filter(|other| other.manifest.digest == manifest).count();
    let report = match Format::from_media_type(&piece.layer.media_type) {
        _ if layers != 1 => {
            let refusal = countersign_notary::Refusal {
                reason: countersign_notary::Reason::EnvelopeMalformed,
                expected: "one envelope in the signature's manifest".into(),
                found: layers.to_string(),
            };
            Report::of_refusal(CheckName::Envelope, &refusal)
        }
        Ok(format) => asked.judge(subject, format, &piece.bytes),
        Err(refusal) => Report::of_refusal(CheckName::Envelope, &refusal),
    };
    Piece { manifest, report }
}

/// Verifies a file against the signature in another. `media_type` is what the file must be said to be.
///
/// # Errors
/// [`ClientError::File`], [`ClientError::Usage`] for a signature's file whose name does not tell its form.
pub fn verify_blob(
    file: &Path,
    signature: &Path,
    media_type: Option<&str>,
    asked: &Asked<'_>,
) -> Result<Report, ClientError> {
    let format = format_of_file(signature)?;
    // One more than the engine reads, so that it is the one to say what is wrong.
    let envelope = read_limited(signature, MAX_ENVELOPE_LEN + 1)?;
    // All algorithms in one reading: the signer's key decides which one is needed.
    let found = hash_file(file, &HashAlgorithm::ALL)?;
    let subject = Subject::Blob {
        digests: found.digests,
        size: found.length,
        media_type: media_type.map(str::to_owned),
    };
    Ok(asked.judge(&subject, format, &envelope))
}
