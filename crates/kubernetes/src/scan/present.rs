//! What evidence is there, by its form alone: whether it reads as a signature or a statement about this image. Whoever made
//! it is not asked here.

use countersign_attestation::Statement;
use countersign_attestation::simple_signing::SimpleSigning;
use countersign_bundle::Content;
use countersign_crypto::Digest;
use countersign_notary::{Envelope, Format};
use countersign_policy::bundle_of;
use countersign_registry::evidence::{Form, Found};
use countersign_verify::SIGN_PREDICATE_TYPE;
use serde_json::Value;

/// What a piece of evidence is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Present {
    /// A signature of the image.
    Signature,
    /// A statement about it, signed by somebody.
    Statement(String),
    /// A document about it that nobody signed.
    Unsigned(String),
    /// It cannot be read, or is about something else.
    Useless(String),
}

/// What a piece of evidence beside an image is.
pub(super) fn present(piece: &Found, image: &Digest) -> Present {
    match piece.form {
        Form::Notary => notary(piece, image),
        Form::CosignSbom => Present::Unsigned(piece.layer.media_type.clone()),
        Form::Buildkit => unsigned(piece),
        Form::CosignSignature => match (bundle_of(piece), SimpleSigning::from_json(&piece.bytes)) {
            (Some(Ok(_)), Ok(payload)) if payload.digest == *image => Present::Signature,
            (Some(Ok(_)), Ok(payload)) => about_other(&payload.digest.to_string()),
            (Some(Err(error)), _) => Present::Useless(error.to_string()),
            (_, Err(error)) => Present::Useless(error.to_string()),
            (None, _) => Present::Useless("it carries no signature".into()),
        },
        _ => match bundle_of(piece) {
            None => unsigned(piece),
            Some(Err(error)) => Present::Useless(error.to_string()),
            Some(Ok(bundle)) => match &bundle.content {
                Content::Dsse(envelope) | Content::StoredDsse { envelope, .. } => {
                    statement(&envelope.payload, image)
                }
                Content::MessageSignature { digest: Some(digest), .. } if digest == image => {
                    Present::Signature
                }
                Content::MessageSignature { digest: Some(digest), .. } => about_other(&digest.to_string()),
                _ => Present::Useless("it does not say what it is about".into()),
            },
        },
    }
}

fn about_other(digest: &str) -> Present {
    Present::Useless(format!("it is about {digest}"))
}

fn statement(payload: &[u8], image: &Digest) -> Present {
    match Statement::from_json(payload) {
        Err(error) => Present::Useless(error.to_string()),
        Ok(statement) if !statement.subjects.iter().any(|subject| subject.matches(image)) => {
            Present::Useless("its statement is about something else".into())
        }
        Ok(statement) if statement.predicate_type == SIGN_PREDICATE_TYPE => Present::Signature,
        Ok(statement) => Present::Statement(statement.predicate_type),
    }
}

fn unsigned(piece: &Found) -> Present {
    match Statement::from_json(&piece.bytes) {
        Ok(statement) => Present::Unsigned(statement.predicate_type),
        Err(error) => Present::Useless(error.to_string()),
    }
}

/// A signature of the Notary Project, whose payload names the image.
fn notary(piece: &Found, image: &Digest) -> Present {
    let envelope = match Format::from_media_type(&piece.layer.media_type)
        .and_then(|format| Envelope::parse(format, &piece.bytes))
    {
        Ok(envelope) => envelope,
        Err(refusal) => return Present::Useless(refusal.to_string()),
    };
    let payload: Option<Value> = serde_json::from_slice(envelope.payload()).ok();
    match payload.as_ref().and_then(|p| p.pointer("/targetArtifact/digest")).and_then(Value::as_str) {
        Some(digest) if *digest == image.to_string() => Present::Signature,
        Some(digest) => about_other(digest),
        None => Present::Useless("its payload names no artifact".into()),
    }
}
