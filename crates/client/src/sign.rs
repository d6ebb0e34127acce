//! Signing: artifacts in, bundles out, with one login and one certificate for all of them.
//!
//! For each artifact: its digest is signed, the timestamp authorities and the transparency logs are asked at the
//! same time, and the finished bundle is verified with the engine, against the same trust root as everyone else's,
//! before anyone gets to see it.

use std::path::Path;
use std::sync::Arc;

use countersign_attestation::SimpleSigning;
use countersign_attestation::dsse::{Envelope, Signature};
use countersign_bundle::legacy::{self, Annotations};
use countersign_bundle::{Bundle, BundleVersion, Content, KeyMaterial, TlogEntry, VerificationMaterial};
use countersign_clock::Clock;
use countersign_crypto::{Digest, HashAlgorithm, KeyDetails, KeyPair, KeyType, PublicKey, Signer, encoding};
use countersign_x509::Certificate;
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::artifact::hash_file_aside;
use crate::fulcio::{Fulcio, IssuedCertificate};
use crate::oidc::Login;
use crate::rekor::{Holder, Proposal, RekorVersion};
use crate::services::Services;
use crate::trust::Trust;
use crate::verify::OwnSigner;
use crate::{ClientError, tsa, verify};
use countersign_http::Http;

/// A certificate with fewer seconds left than this is renewed before the next signature: the slowest log and
/// timestamp authority must still answer within its life.
const MARGIN: i64 = 120;

/// With what to sign.
#[derive(Debug)]
pub enum Identity {
    /// With an identity: a key made for this run, and a certificate for it.
    Keyless {
        /// Where the identity comes from.
        login: Box<Login>,
        /// The type of the key.
        key_type: KeyType,
    },
    /// With a key that is held; its scheme must sign digests.
    Key(Arc<dyn Signer>),
    /// With a key that is held and a certificate of one's own authority for it.
    Certified {
        /// The key.
        key: Arc<dyn Signer>,
        /// The certificate, and those above it.
        certificate: Box<IssuedCertificate>,
    },
}

/// A finished signature.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The bundle.
    pub bundle: Bundle,
    /// The bundle as it is written.
    pub json: Vec<u8>,
    /// The digest that was signed.
    pub digest: Digest,
    /// The certificate, when an identity signed.
    pub certificate: Option<Certificate>,
    /// The certificate with those above it.
    issued: Option<IssuedCertificate>,
    public_key: PublicKey,
}

/// A signature in cosign's older form: what lies at an image's `.sig` or `.att` tag.
#[derive(Debug, Clone)]
pub struct Older {
    /// The document: the payload, or the envelope of a statement.
    pub document: Vec<u8>,
    /// The evidence beside it.
    pub annotations: Annotations,
}

/// A key made for a run, with its certificate.
type Certified = (Arc<dyn Signer>, IssuedCertificate);

/// One run of signing: of one thing after the other, or of several at once.
#[derive(Debug)]
pub struct Session<'a> {
    http: &'a Http,
    trust: &'a Trust,
    services: Services,
    identity: Identity,
    clock: Arc<dyn Clock>,
    /// The certificate in use, or why nobody logged in. Held while one is asked for: signatures made at once have one
    /// login, and one that failed is not tried again for each of them.
    current: Mutex<Option<Result<Certified, String>>>,
}

impl<'a> Session<'a> {
    /// Begins a run. Asks nobody yet.
    ///
    /// # Errors
    /// [`ClientError::Trust`] when these services cannot make a signature that will verify: an identity needs a
    /// certificate authority and someone who says when.
    pub fn new(
        http: &'a Http,
        trust: &'a Trust,
        services: Services,
        identity: Identity,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        if matches!(identity, Identity::Keyless { .. }) {
            if services.ca.is_none() {
                return Err(ClientError::Trust(
                    "the signing configuration names no certificate authority, so no identity can sign; sign with \
                     --key, or use another instance"
                        .into(),
                ));
            }
            let dated = services.logs.iter().any(|log| log.version == RekorVersion::V1);
            if !dated && services.timestamps.is_empty() {
                return Err(ClientError::Trust(
                    "the signing configuration names no timestamp authority; without one nobody can tell later that \
                     the ten minutes of the certificate had not passed"
                        .into(),
                ));
            }
        }
        Ok(Self { http, trust, services, identity, clock, current: Mutex::default() })
    }

    /// Logs in and has a certificate made, where an identity signs: what fails here fails for all that is to be signed,
    /// and is better told once.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn prepare(&self) -> Result<(), ClientError> {
        self.key().await.map(drop)
    }

    /// The key to sign with now, with its certificate if an identity signs.
    async fn key(&self) -> Result<(Arc<dyn Signer>, Option<IssuedCertificate>), ClientError> {
        let (login, key_type) = match &self.identity {
            Identity::Key(key) => return Ok((Arc::clone(key), None)),
            Identity::Certified { key, certificate } => {
                return Ok((Arc::clone(key), Some(IssuedCertificate::clone(certificate))));
            }
            Identity::Keyless { login, key_type } => (login, *key_type),
        };
        let mut current = self.current.lock().await;
        // Another signature may have waited for a login, for minutes.
        let now = self.clock.now();
        match &*current {
            Some(Ok((key, issued))) if issued.is_fresh(now, MARGIN) => {
                return Ok((Arc::clone(key), Some(issued.clone())));
            }
            Some(Err(why)) => return Err(ClientError::Identity(why.clone())),
            _ => {}
        }
        let base =
            self.services.ca.clone().ok_or_else(|| ClientError::Trust("no certificate authority".into()))?;
        let token = match login.token(self.http, now).await {
            Ok(token) => token,
            Err(error) => {
                *current = Some(Err(match &error {
                    ClientError::Identity(why) => why.clone(),
                    other => other.to_string(),
                }));
                return Err(error);
            }
        };
        let key: Arc<dyn Signer> = Arc::new(KeyPair::generate(key_type)?);
        let (anchors, between) = self.trust.authorities(now)?;
        if anchors.is_empty() {
            return Err(ClientError::Trust(format!(
                "{} lists no certificate authority that issues now",
                self.trust.from
            )));
        }
        // A login may have taken minutes.
        let now = self.clock.now();
        let issued = Fulcio::new(base).certificate(self.http, &token, &*key, &anchors, &between, now).await?;
        *current = Some(Ok((Arc::clone(&key), issued.clone())));
        Ok((key, Some(issued)))
    }

    /// The hash that the next signature will be over.
    fn hash(&self) -> Result<HashAlgorithm, ClientError> {
        let scheme = match &self.identity {
            Identity::Key(key) | Identity::Certified { key, .. } => key.scheme(),
            Identity::Keyless { key_type, .. } => key_type.default_scheme(),
        };
        scheme
            .hash()
            .ok_or_else(|| ClientError::Usage(format!("{scheme} cannot sign files; it needs them whole")))
    }

    /// Signs a file, read once and as a stream; `-` is standard input.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn sign_file(&self, path: &Path) -> Result<Signed, ClientError> {
        let algorithm = self.hash()?;
        let found = hash_file_aside(path.to_owned(), vec![algorithm]).await?;
        let digest = *found.get(algorithm).ok_or_else(|| ClientError::Usage("no digest was made".into()))?;
        self.sign_digest(&digest).await
    }

    /// Signs an artifact's digest.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn sign_digest(&self, digest: &Digest) -> Result<Signed, ClientError> {
        let (key, issued) = self.key().await?;
        let signing = Arc::clone(&key);
        let input = *digest;
        let signature = aside(move || signing.sign_digest(&input)).await??;
        let content = Content::MessageSignature { digest: Some(*digest), signature };
        let (bundle, issued) = self.finish(&*key, issued, content, digest).await?;
        self.signed(bundle, issued, key.public_key(), digest)
    }

    /// Signs a statement: a payload of this type, in a DSSE envelope.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn sign_payload(&self, payload_type: &str, payload: Vec<u8>) -> Result<Signed, ClientError> {
        let (key, issued) = self.key().await?;
        let mut envelope =
            Envelope { payload_type: payload_type.to_owned(), payload, signatures: Vec::new() };
        let digest = self.hash()?.digest(&envelope.pae());
        let signing = Arc::clone(&key);
        let sig = aside(move || signing.sign_digest(&digest)).await??;
        envelope.signatures.push(Signature { sig, keyid: String::new() });
        let (bundle, issued) = self.finish(&*key, issued, Content::Dsse(envelope), &digest).await?;
        self.signed(bundle, issued, key.public_key(), &digest)
    }

    /// Signs an image's digest in cosign's older form.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn sign_older(&self, payload: &SimpleSigning) -> Result<Older, ClientError> {
        let document = payload.to_json().map_err(|e| ClientError::Usage(e.to_string()))?;
        let (key, issued) = self.key().await?;
        let digest = self.hash()?.digest(&document);
        let signing = Arc::clone(&key);
        let signature = aside(move || signing.sign_digest(&digest)).await??;
        let content = Content::SimpleSigning { payload: document.clone(), signature };
        let (bundle, issued) = self.finish(&*key, issued, content, &digest).await?;
        let annotations = legacy::to_annotations(&bundle, &chain_of(issued.as_ref()));
        let written = legacy::from_signature_layer(&document, &annotations)
            .map_err(|e| ClientError::SelfCheck(e.to_string()))?;
        self.check(&written, issued.as_ref(), key.public_key(), &payload.digest)?;
        Ok(Older { document, annotations })
    }

    /// A statement that was signed, in cosign's older form. Its timestamps are made anew: there they are over the
    /// whole envelope.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn attest_older(&self, signed: &Signed) -> Result<Older, ClientError> {
        let envelope = signed.bundle.content.envelope().ok_or_else(|| {
            ClientError::Usage("expected a signed statement, found another signature".into())
        })?;
        let document = envelope.to_json();
        let mut bundle = signed.bundle.clone();
        bundle.verification_material.rfc3161_timestamps = self.stamp(&document, self.clock.now()).await?;
        let annotations = legacy::to_annotations(&bundle, &chain_of(signed.issued.as_ref()));
        let written = legacy::from_attestation_layer(&document, &annotations)
            .map_err(|e| ClientError::SelfCheck(e.to_string()))?;
        self.check(&written, signed.issued.as_ref(), &signed.public_key, &signed.digest)?;
        Ok(Older { document, annotations })
    }

    /// The bundle as it is written, verified as it is written.
    fn signed(
        &self,
        bundle: Bundle,
        issued: Option<IssuedCertificate>,
        public_key: &PublicKey,
        digest: &Digest,
    ) -> Result<Signed, ClientError> {
        let json = bundle.to_json().map_err(|e| ClientError::SelfCheck(e.to_string()))?;
        let written = Bundle::from_json(&json).map_err(|e| ClientError::SelfCheck(e.to_string()))?;
        self.check(&written, issued.as_ref(), public_key, digest)?;
        let certificate = issued.as_ref().map(|issued| issued.leaf.clone());
        Ok(Signed { bundle, json, digest: *digest, certificate, issued, public_key: public_key.clone() })
    }

    fn check(
        &self,
        written: &Bundle,
        issued: Option<&IssuedCertificate>,
        public_key: &PublicKey,
        digest: &Digest,
    ) -> Result<(), ClientError> {
        let who = match (issued, &self.identity) {
            (None, _) => OwnSigner::Key(public_key),
            (Some(issued), Identity::Certified { .. }) => OwnSigner::OwnAuthority(issued),
            (Some(issued), _) => OwnSigner::Identity(&issued.leaf),
        };
        verify::check_own(written, digest, self.trust, &who, self.clock.now())
    }

    /// Collects the evidence for a signature and puts the bundle together.
    async fn finish(
        &self,
        key: &dyn Signer,
        issued: Option<IssuedCertificate>,
        content: Content,
        digest: &Digest,
    ) -> Result<(Bundle, Option<IssuedCertificate>), ClientError> {
        let now = self.clock.now();
        let public = key.public_key();
        let (holder, material) = match &issued {
            Some(issued) => {
                let der = issued.leaf.der().to_vec();
                (Holder::Certificate(der.clone()), KeyMaterial::Certificate(der))
            }
            None => {
                let hint = encoding::base64_encode(&public.fingerprint());
                (Holder::PublicKey(public.clone()), KeyMaterial::PublicKeyHint(hint))
            }
        };
        let proposal = Proposal {
            digest,
            signature: content.signature(),
            holder: &holder,
            key_details: KeyDetails { key_type: public.key_type(), scheme: key.scheme() },
            envelope: content.envelope(),
        };
        let (tlog_entries, rfc3161_timestamps) =
            tokio::try_join!(self.log(&proposal), self.stamp(proposal.signature, now))?;
        let bundle = Bundle {
            version: BundleVersion::V0_3,
            verification_material: VerificationMaterial {
                content: material,
                tlog_entries,
                rfc3161_timestamps,
            },
            content,
        };
        Ok((bundle, issued))
    }

    async fn log(&self, proposal: &Proposal<'_>) -> Result<Vec<TlogEntry>, ClientError> {
        let mut entries = Vec::with_capacity(self.services.logs.len());
        for log in &self.services.logs {
            // A log the trust root does not know would make entries nobody can check.
            let key = self.trust.log_key(&log.base, log.version)?;
            entries.push(log.submit(self.http, proposal, Some(&key)).await?);
        }
        Ok(entries)
    }

    async fn stamp(&self, signature: &[u8], now: Timestamp) -> Result<Vec<Vec<u8>>, ClientError> {
        let mut timestamps = Vec::with_capacity(self.services.timestamps.len());
        let authorities = self.trust.timestamp_authorities(now)?;
        for url in &self.services.timestamps {
            if authorities.is_empty() {
                return Err(ClientError::Trust(format!(
                    "{} lists no timestamp authority in use",
                    self.trust.from
                )));
            }
            timestamps.push(tsa::timestamp(self.http, url, signature, &authorities).await?);
        }
        Ok(timestamps)
    }
}

fn chain_of(issued: Option<&IssuedCertificate>) -> Vec<Vec<u8>> {
    issued.map(|i| i.others.iter().map(|c| c.der().to_vec()).collect()).unwrap_or_default()
}

/// Runs something slow (RSA, a large payload) away from the threads that serve the network.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ClientError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| ClientError::Usage(format!("signing was interrupted: {e}")))
}
