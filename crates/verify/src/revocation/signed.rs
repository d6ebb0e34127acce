//! The list as it travels: a Sigstore bundle around an envelope whose payload is the list.

use countersign_attestation::dsse::{Envelope, Signature};
use countersign_bundle::{Bundle, BundleError, BundleVersion, Content, KeyMaterial, VerificationMaterial};
use countersign_crypto::{CryptoError, Signer, encoding};
use jiff::Timestamp;

use super::authority::RevocationAuthority;
use super::list::{ListError, RevocationList};
use super::question::Revocations;
use crate::{Payload, Rejection, Requirements, RequirementsError, Subject, TrustMaterial, verify};

/// The payload type of a revocation list.
pub const PAYLOAD_TYPE: &str = "application/vnd.countersign.revocations.v1+json";
/// The largest signed list, in bytes: small enough for an object of a cluster.
pub const MAX_SIGNED_LIST: usize = 768 * 1024;

/// Why a file is no revocation list that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Larger than is read.
    #[error("the revocation list: expected at most {MAX_SIGNED_LIST} bytes, found {0}")]
    TooLarge(usize),
    /// A list with more entries than can be signed as one.
    #[error(
        "the revocation list is full: expected at most {MAX_SIGNED_LIST} bytes when it is signed, found {0}; revoke a key, an \
         identity or a builder in the place of single artifacts, or begin a new list without those that were withdrawn"
    )]
    Full(usize),
    /// Not a bundle.
    #[error("the revocation list: {0}")]
    Bundle(#[from] BundleError),
    /// A bundle with something else in it.
    #[error("the revocation list: expected a bundle whose payload is of type {PAYLOAD_TYPE}, found {0}")]
    Other(String),
    /// It is not signed by somebody who may revoke.
    #[error("the revocation list is not signed by anybody who may revoke: {0}")]
    Rejected(Rejection),
    /// Who may revoke cannot be put into requirements.
    #[error("who may revoke: {0}")]
    Requirements(#[from] RequirementsError),
    /// Nobody may revoke.
    #[error("who may revoke: nobody")]
    Nobody,
    /// The list itself.
    #[error(transparent)]
    List(#[from] ListError),
    /// The signature could not be made.
    #[error("the revocation list could not be signed: {0}")]
    Signing(#[from] CryptoError),
}

/// Reads a signed list: its signature must be of somebody who may revoke. One by a key needs nobody else's word; one by an
/// identity needs what every signature by an identity needs. `from` says in a word or two where it came from.
///
/// That it has not expired is asked when it is used; that it is not an older one is asked of [`super::Memory`].
///
/// # Errors
/// [`OpenError`].
pub fn open(
    bytes: &[u8],
    authority: &RevocationAuthority,
    material: &TrustMaterial,
    from: &str,
    now: Timestamp,
) -> Result<Revocations, OpenError> {
    if bytes.len() > MAX_SIGNED_LIST {
        return Err(OpenError::TooLarge(bytes.len()));
    }
    let bundle = Bundle::from_json(bytes)?;
    let payload = match bundle.content.envelope() {
        Some(envelope) if envelope.payload_type == PAYLOAD_TYPE => &envelope.payload,
        Some(envelope) => return Err(OpenError::Other(envelope.payload_type.clone())),
        None => return Err(OpenError::Other("no payload at all".into())),
    };
    // What was revoked before has no say over who may revoke.
    let material = &material.clone().without_revocations();
    let report = verify(&Subject::from_bytes(payload), &bundle, material, &signers(&bundle, authority)?, now);
    match report.into_verified() {
        Ok(verified) => match verified.value() {
            Payload::Document { bytes } => Ok(Revocations::read(bytes, from)?),
            _ => Err(OpenError::Other("another kind of payload".into())),
        },
        Err(rejection) => Err(OpenError::Rejected(rejection)),
    }
}

/// What must hold of the signature, by what sort it is.
fn signers(bundle: &Bundle, authority: &RevocationAuthority) -> Result<Requirements, OpenError> {
    let by_key = matches!(bundle.verification_material.content, KeyMaterial::PublicKeyHint(_));
    match (authority.keys(), authority.identities()) {
        ([first, rest @ ..], identities) if by_key || identities.is_empty() => {
            let builder = rest
                .iter()
                .fold(Requirements::builder().key(first.clone()), |builder, key| builder.key(key.clone()));
            Ok(builder.dangerous_without_log().payload_type(PAYLOAD_TYPE)?.build())
        }
        (_, [first, rest @ ..]) => {
            let builder =
                rest.iter().fold(Requirements::builder().identity(first.clone()), |builder, identity| {
                    builder.identity(identity.clone())
                });
            Ok(builder.payload_type(PAYLOAD_TYPE)?.build())
        }
        // There is no such authority.
        _ => Err(OpenError::Nobody),
    }
}

/// Signs a list with a key.
///
/// # Errors
/// [`OpenError`]: the list says something impossible, or the key cannot sign.
pub fn seal(list: &RevocationList, signer: &dyn Signer) -> Result<Vec<u8>, OpenError> {
    let payload = list.to_json()?;
    let mut envelope = Envelope { payload_type: PAYLOAD_TYPE.into(), payload, signatures: Vec::new() };
    let sig = signer.sign(&envelope.pae())?;
    envelope.signatures.push(Signature { sig, keyid: String::new() });
    let bundle = Bundle {
        version: BundleVersion::V0_3,
        verification_material: VerificationMaterial {
            content: KeyMaterial::PublicKeyHint(encoding::base64_encode(&signer.public_key().fingerprint())),
            tlog_entries: Vec::new(),
            rfc3161_timestamps: Vec::new(),
        },
        content: Content::Dsse(envelope),
    };
    let json = bundle.to_json()?;
    if json.len() > MAX_SIGNED_LIST { Err(OpenError::Full(json.len())) } else { Ok(json) }
}
