//! Statements of known signers whose subjects need be no digest of a file: commits, above all. What a statement is about, whoever
//! asks for it compares.

use countersign_attestation::Statement;
use countersign_crypto::HashAlgorithm;
use countersign_verify::{Payload, RequirementsError, Subject, TrustMaterial, verify};
use jiff::Timestamp;

use crate::report::signer_in_words;
use crate::summary::{Asked, Signers, in_der, requirements};
use crate::wire::Piece;

/// A statement that one of the signers signed.
#[derive(Debug, Clone)]
pub struct Signed {
    /// What is said.
    pub statement: Statement,
    /// Who signed, in words.
    pub signer: String,
    /// The SHA-256 of the statement, hexadecimal.
    pub sha256: String,
}

impl Signed {
    /// The predicate as text.
    #[must_use]
    pub fn predicate(&self) -> &str {
        self.statement.predicate.as_deref().map_or("null", |text| text.get())
    }

    /// Whether a subject has this digest, of this name.
    #[must_use]
    pub fn is_about(&self, name: &str, value: &str) -> bool {
        let has = |found: &String| found.eq_ignore_ascii_case(value);
        !value.is_empty()
            && self.statement.subjects.iter().any(|subject| subject.digest.get(name).is_some_and(has))
    }
}

/// How statements are looked at.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    /// Whose logs and authorities count.
    pub material: &'a TrustMaterial,
    /// Whether a statement without a log entry counts.
    pub allow_unlogged: bool,
    /// The time.
    pub now: Timestamp,
}

/// Verifies the signature of a statement.
///
/// # Errors
/// In words: what is malformed, and why the signature does not count.
pub fn signed_statement(piece: &Piece, signers: &Signers, how: How<'_>) -> Result<Signed, String> {
    let at = |what: &dyn std::fmt::Display| format!("{}: {what}", piece.place);
    let bundle = in_der(piece.bundle.as_ref().map_err(|e| at(e))?, signers);
    let payload = bundle.content.envelope().map_or(&[][..], |envelope| &envelope.payload);
    let asked = Asked { of_artifact: false, allow_unlogged: how.allow_unlogged, without_sct: false };
    let requirements = requirements(&bundle, signers, asked).map_err(|e: RequirementsError| at(&e))?;
    let report = verify(&Subject::from_bytes(payload), &bundle, how.material, &requirements, how.now);
    let verified = report.verified().map_err(|rejection| at(rejection))?;
    let Payload::Document { bytes } = verified.value() else { return Err(at(&"it is no statement")) };
    let statement = Statement::from_json(bytes).map_err(|e| at(&e))?;
    let sha256 = HashAlgorithm::Sha256.digest(bytes).to_hex();
    Ok(Signed { statement, signer: signer_in_words(verified.signer()), sha256 })
}
