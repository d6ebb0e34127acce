//! Writing a signature: an artifact, a key with its certificates and a time in, an envelope out.
//!
//! It goes in two steps, because a timestamp is of the finished signature: [`sign`] makes it, and [`Draft::finish`] puts
//! the envelope together, with the token if one was fetched in between. What comes out was read back and verified.

use countersign_crypto::{CryptoError, Signer};
use countersign_x509::Certificate;
use jiff::Timestamp;

use crate::envelope::Unsigned;
use crate::{
    Algorithm, Attributes, Envelope, Format, Payload, Refusal, SigningScheme, TargetArtifact, chain,
};

/// Why a signature cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The artifact, the certificates or the times are such that no verifier would accept the signature.
    #[error("nobody would accept this signature: {0}")]
    Refused(#[from] Refusal),
    /// The key is not the one in the first certificate.
    #[error("the key is not that of {certificate}")]
    OtherKey {
        /// The first certificate.
        certificate: String,
    },
    /// The key signs by another scheme than the one that goes with it here.
    #[error("the key must sign with {expected}, and signs with {found}")]
    Scheme {
        /// What the specification asks for.
        expected: String,
        /// What the signer does.
        found: String,
    },
    /// The signing itself.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// What to sign, and with what.
#[derive(Debug, Clone, Copy)]
pub struct SignRequest<'a> {
    /// The form of the envelope.
    pub format: Format,
    /// The signing scheme.
    pub scheme: SigningScheme,
    /// The artifact.
    pub target: &'a TargetArtifact,
    /// Now.
    pub signing_time: Timestamp,
    /// From when on the artifact should not be used; after the time of signing.
    pub expiry: Option<Timestamp>,
    /// The name of the program, for people who look for mistakes.
    pub agent: Option<&'a str>,
    /// The signer's certificate first, the root last.
    pub chain: &'a [Certificate],
    /// The key; its scheme must be [`Algorithm::scheme`].
    pub signer: &'a dyn Signer,
}

/// A signature that was made, before its envelope is written.
#[derive(Debug, Clone)]
pub struct Draft {
    format: Format,
    algorithm: Algorithm,
    attributes: Attributes,
    payload: Payload,
    chain: Vec<Certificate>,
    agent: Option<String>,
    protected: Vec<u8>,
    signature: Vec<u8>,
}

/// Makes a signature.
///
/// # Errors
/// [`SignError`]; everything is checked before the key is asked.
pub fn sign(request: &SignRequest<'_>) -> Result<Draft, SignError> {
    let whole_seconds = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time);
    chain::check_code_signing(request.chain)?;
    let signing_time = whole_seconds(request.signing_time);
    chain::check_valid(request.chain, signing_time)?;
    // The rules for certificates let no empty chain and no other key through.
    let (leaf, algorithm) = request
        .chain
        .first()
        .and_then(|leaf| Some((leaf, Algorithm::of_key(leaf.public_key().key_type())?)))
        .ok_or_else(|| SignError::OtherKey { certificate: "no certificate".into() })?;
    if request.signer.public_key() != leaf.public_key() {
        return Err(SignError::OtherKey { certificate: leaf.describe() });
    }
    if request.signer.scheme() != algorithm.scheme() {
        let (expected, found) = (algorithm.scheme().to_string(), request.signer.scheme().to_string());
        return Err(SignError::Scheme { expected, found });
    }
    let mut draft = Draft {
        format: request.format,
        algorithm,
        attributes: Attributes {
            scheme: request.scheme,
            signing_time,
            expiry: request.expiry.map(whole_seconds),
        },
        payload: Payload::of(request.target)?,
        chain: request.chain.to_vec(),
        agent: request.agent.map(str::to_owned),
        protected: Vec::new(),
        signature: Vec::new(),
    };
    let (protected, to_be_signed) = draft.unsigned().to_be_signed()?;
    draft.protected = protected;
    draft.signature = algorithm.sign(request.signer, &to_be_signed)?;
    // Whatever a verifier would not take (an expiry in the past of the signing time, say) is told now.
    draft.finish(None)?;
    Ok(draft)
}

impl Draft {
    fn unsigned(&self) -> Unsigned<'_> {
        Unsigned {
            format: self.format,
            algorithm: self.algorithm,
            attributes: self.attributes.clone(),
            payload: self.payload.bytes(),
            chain: &self.chain,
            agent: self.agent.as_deref(),
        }
    }

    /// What a timestamp must be of.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Which hash a timestamp should be by.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The finished envelope, and the same as it reads back. `timestamp` is a DER `TimeStampToken` over
    /// [`Draft::signature`].
    ///
    /// # Errors
    /// [`Refusal`] when what was written does not verify.
    pub fn finish(&self, timestamp: Option<&[u8]>) -> Result<(Vec<u8>, Envelope), Refusal> {
        let bytes = self.unsigned().encode(&self.protected, &self.signature, timestamp)?;
        let envelope = Envelope::parse(self.format, &bytes)?;
        envelope.verify_signature()?;
        Ok((bytes, envelope))
    }
}
