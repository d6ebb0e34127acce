//! Signing: an image or a file, a key with its certificates, perhaps a timestamp; what was made is verified before anyone
//! gets to see it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use countersign_crypto::Signer;
use countersign_http::Http;
use countersign_notary::{
    Algorithm, Envelope, Format, SignError, SignRequest, SigningScheme, TargetArtifact, annotations, sign,
};
use countersign_registry::evidence::attach_notary;
use countersign_registry::{Descriptor, Name, Store, Written};
use countersign_x509::Certificate;
use countersign_x509::timestamp::{Authority, TimestampToken};
use jiff::Timestamp;
use url::Url;

use crate::artifact::hash_file_aside;
use crate::{ClientError, tsa};

/// Who is asked for timestamps, and whose are accepted.
#[derive(Debug)]
pub struct TimestampSource {
    /// The whole address.
    pub url: Url,
    /// The root of the authority.
    pub root: Certificate,
    /// The way there.
    pub http: Http,
}

/// With what to sign.
#[derive(Debug)]
pub struct Signing {
    /// The form of the envelope.
    pub format: Format,
    /// The key; its scheme must be the one that goes with it here ([`Algorithm::scheme`]).
    pub signer: Arc<dyn Signer>,
    /// The signer's certificate first, the root last.
    pub chain: Vec<Certificate>,
    /// Metadata to sign along.
    pub metadata: BTreeMap<String, String>,
    /// From when on the artifact should not be used.
    pub expiry: Option<Timestamp>,
    /// A timestamp authority.
    pub timestamp: Option<TimestampSource>,
    /// The time of signing.
    pub now: Timestamp,
}

impl From<SignError> for ClientError {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Crypto(error) => Self::Crypto(error),
            error => Self::Usage(countersign_http::text::printable(&error.to_string())),
        }
    }
}

impl Signing {
    async fn envelope(&self, target: TargetArtifact) -> Result<(Vec<u8>, Envelope), ClientError> {
        let (format, expiry, now) = (self.format, self.expiry, self.now);
        let (chain, signer) = (self.chain.clone(), Arc::clone(&self.signer));
        // A key may be slow, or far away.
        let draft = tokio::task::spawn_blocking(move || {
            sign(&SignRequest {
                format,
                scheme: SigningScheme::X509,
                target: &target,
                signing_time: now,
                expiry,
                agent: Some(concat!("countersign/", env!("CARGO_PKG_VERSION"))),
                chain: &chain,
                signer: &*signer,
            })
        })
        .await
        .map_err(|e| ClientError::Usage(format!("signing was interrupted: {e}")))??;
        let token = match &self.timestamp {
            None => None,
            Some(source) => {
                let authority = Authority::from_chain(std::slice::from_ref(&source.root))
                    .map_err(|e| ClientError::Trust(format!("the timestamp authority's root: {e}")))?;
                let response =
                    tsa::timestamp(&source.http, &source.url, draft.signature(), &[authority]).await?;
                let token = TimestampToken::token_of(&response)
                    .map_err(|e| ClientError::malformed("the timestamp", e))?;
                Some(token)
            }
        };
        draft.finish(token.as_deref()).map_err(|e| ClientError::SelfCheck(e.to_string()))
    }

    /// The hash that goes with the key, by which files are digested.
    fn algorithm(&self) -> Result<Algorithm, ClientError> {
        let key = self.signer.public_key().key_type();
        Algorithm::of_key(key).ok_or_else(|| {
            ClientError::Usage(format!(
                "the Notary Project has no signatures by {key} keys; expected RSA or ECDSA on P-256, P-384 or P-521"
            ))
        })
    }
}

/// Signs an image and puts the signature into `evidence`, mostly the place of the image, as notation does. Give a store
/// that only notes what would be written for a dry run.
///
/// # Errors
/// Any [`ClientError`].
pub async fn sign_image(
    home: &dyn Store,
    evidence: &dyn Store,
    name: &Name,
    signing: &Signing,
) -> Result<(Descriptor, Vec<Written>), ClientError> {
    let image = home.resolve(name).await?;
    let target = TargetArtifact {
        media_type: image.media_type.clone(),
        digest: image.digest,
        size: image.size,
        annotations: signing.metadata.clone(),
    };
    let (bytes, envelope) = signing.envelope(target).await?;
    let media_type = signing.format.media_type();
    let written = attach_notary(evidence, &image, media_type, &bytes, annotations(&envelope)).await;
    Ok((image, written?))
}

/// Signs a file, and gives the envelope.
///
/// # Errors
/// Any [`ClientError`].
pub async fn sign_blob(file: &Path, media_type: &str, signing: &Signing) -> Result<Vec<u8>, ClientError> {
    let hash = signing.algorithm()?.hash();
    let found = hash_file_aside(file.to_owned(), vec![hash]).await?;
    let digest = *found.get(hash).ok_or_else(|| ClientError::Usage("no digest was made".into()))?;
    let target = TargetArtifact {
        media_type: media_type.to_owned(),
        digest,
        size: found.length,
        annotations: signing.metadata.clone(),
    };
    Ok(signing.envelope(target).await?.0)
}
