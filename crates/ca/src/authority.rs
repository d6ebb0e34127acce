//! Issuing: from a request to a certificate with its place in a CT log.
//!
//! Precertificate, SCT, certificate (RFC 6962 section 3.1): the authority signs twice. Without an SCT that verifies
//! there is no certificate.

use std::sync::Arc;

use countersign_clock::{Clock, Timestamp};
use countersign_crypto::{CryptoError, PublicKey, Signer, random};
use countersign_x509::issue::{IssueError, LeafProfile, Precertificate};
use countersign_x509::sct::Sct;
use countersign_x509::{Certificate, oid};

use crate::challenge::IssueRequest;
use crate::identity::Principal;
use crate::oidc::{BoxFuture, TokenVerifier};
use crate::{CaError, oidc};

/// How long certificates are good, in seconds.
pub const CERTIFICATE_SECONDS: i64 = 600;

/// A CT log which takes in precertificates: the one in this process, or one elsewhere.
pub trait SctSource: Send + Sync + std::fmt::Debug {
    /// Submits a precertificate and gives the log's promise. `chain` is the authority's, issuing certificate first.
    ///
    /// The future's error is a text for the operator's log.
    fn submit<'a>(
        &'a self,
        precertificate: &'a Precertificate,
        chain: &'a [Certificate],
    ) -> BoxFuture<'a, Result<Sct, String>>;

    /// The key of the log, with which its promise is checked.
    fn log_key(&self) -> &PublicKey;
}

/// Why a certificate chain and a key do not make an authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// No certificate at all.
    #[error("expected the authority's certificates, issuing one first, found none")]
    Empty,
    /// The key is not the one in the issuing certificate.
    #[error("the key is not that of {0}, the issuing certificate")]
    OtherKey(String),
    /// A certificate was not issued by the next one.
    #[error("{certificate} was not issued by {next}, which follows it (expected issuing first, root last)")]
    Order {
        /// Which one.
        certificate: String,
        /// The one after it.
        next: String,
    },
    /// A certificate of the chain may not do what it is there for.
    #[error("{certificate}: expected {expected}")]
    Usage {
        /// Which one.
        certificate: String,
        /// What it must say.
        expected: &'static str,
    },
    /// A certificate is not valid now.
    #[error("{certificate} is valid from {not_before} to {not_after}, not at {now}")]
    NotValid {
        /// Which one.
        certificate: String,
        /// Its first valid second.
        not_before: Timestamp,
        /// Its last valid second.
        not_after: Timestamp,
        /// The time now.
        now: Timestamp,
    },
}

/// The certificate authority.
#[derive(Debug)]
pub struct Ca {
    inner: Arc<Issuing>,
    verifier: TokenVerifier,
    signer_blocks: bool,
}

/// What issuing needs besides the token verifier; shared with the threads that may block.
#[derive(Debug)]
struct Issuing {
    chain: Vec<Certificate>,
    signer: Arc<dyn Signer>,
    scts: Arc<dyn SctSource>,
    clock: Arc<dyn Clock>,
}

impl Ca {
    /// An authority with its chain, issuing certificate first and root last (one certificate may be both).
    ///
    /// # Errors
    /// [`AuthorityError`] unless the key belongs to the first certificate, each was issued by the next, the last by
    /// itself, all are authorities for code signing that may sign certificates with so many below them, each
    /// validity lies in that of its issuer, and all are valid now.
    pub fn new(
        chain: Vec<Certificate>,
        signer: Arc<dyn Signer>,
        scts: Arc<dyn SctSource>,
        verifier: TokenVerifier,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AuthorityError> {
        check_chain(&chain, signer.as_ref(), clock.now())?;
        let inner = Arc::new(Issuing { chain, signer, scts, clock });
        Ok(Self { inner, verifier, signer_blocks: false })
    }

    /// Says that the signer may block (an HSM, a network), so that it is called on threads which may. Without this
    /// it is called where the request runs: a key in memory takes less time than the way to another thread.
    #[must_use]
    pub fn with_blocking_signer(mut self) -> Self {
        self.signer_blocks = true;
        self
    }

    /// The authority's certificates, issuing one first, root last.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.inner.chain
    }

    /// The same in PEM, for `trustBundle` and `rootCert`.
    #[must_use]
    pub fn chain_pems(&self) -> Vec<String> {
        self.inner.chain.iter().map(Certificate::to_pem).collect()
    }

    /// The answer of `GET /api/v2/configuration`.
    #[must_use]
    pub fn configuration_json(&self) -> serde_json::Value {
        self.verifier.issuers().to_json()
    }

    /// The verifier of tokens.
    #[must_use]
    pub const fn verifier(&self) -> &TokenVerifier {
        &self.verifier
    }

    /// Issues a certificate: the chain in DER, the new certificate first, the root last.
    ///
    /// # Errors
    /// [`CaError`]; nothing was issued. The precertificate of a failed attempt may stand in the log, which is
    /// harmless and visible.
    pub async fn issue(&self, request: IssueRequest) -> Result<Vec<Vec<u8>>, CaError> {
        let result = self.try_issue(&request).await;
        match &result {
            Ok(_) => {}
            Err(error) if error.is_client_error() => {
                tracing::info!(reason = error.reason(), "a certificate was refused");
            }
            // Whoever keeps the key says so, once.
            Err(CaError::KeyUnavailable(reason)) => {
                tracing::debug!(reason, "a certificate could not be issued")
            }
            Err(error) => tracing::error!(reason = error.reason(), "a certificate could not be issued"),
        }
        result
    }

    async fn try_issue(&self, request: &IssueRequest) -> Result<Vec<Vec<u8>>, CaError> {
        if request.token.is_empty() {
            return Err(CaError::NoToken);
        }
        let token: oidc::VerifiedToken =
            self.verifier.verify(&request.token).await.map_err(CaError::Token)?;
        let principal = Principal::from_token(&token).map_err(CaError::Identity)?;
        let key = request.key.prove(&principal)?;
        let precertificate = self.signing(move |ca| ca.precertificate(key, &principal)).await?;
        let sct = self
            .inner
            .scts
            .submit(&precertificate, &self.inner.chain)
            .await
            .map_err(|reason| CaError::Backend(format!("the CT log gave no SCT: {reason}")))?;
        let certificate = self.signing(move |ca| ca.certificate(precertificate, sct)).await?;
        tracing::debug!(certificate = certificate.describe(), "issued");
        Ok(std::iter::once(&certificate).chain(&self.inner.chain).map(|c| c.der().to_vec()).collect())
    }

    async fn signing<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Issuing) -> Result<T, CaError> + Send + 'static,
    ) -> Result<T, CaError> {
        if self.signer_blocks {
            let inner = Arc::clone(&self.inner);
            tokio::task::spawn_blocking(move || work(&inner))
                .await
                .unwrap_or_else(|_| Err(failed("the signing thread failed")))
        } else {
            work(&self.inner)
        }
    }
}

fn failed(reason: impl std::fmt::Display) -> CaError {
    CaError::Backend(reason.to_string())
}

/// Tells a key that is away for now from one that refuses.
fn signing_failed(error: IssueError) -> CaError {
    match error {
        IssueError::Signing(CryptoError::KeyUnavailable(reason)) => CaError::KeyUnavailable(reason),
        other => failed(other),
    }
}

impl Issuing {
    fn precertificate(&self, key: PublicKey, principal: &Principal) -> Result<Precertificate, CaError> {
        let issuing = self.chain.first().ok_or_else(|| failed("no issuing certificate"))?;
        // Certificates count whole seconds.
        let now = self.clock.now().as_second();
        let until = (now + CERTIFICATE_SECONDS).min(issuing.not_after().as_second());
        let time = |seconds| Timestamp::from_second(seconds).map_err(failed);
        let mut serial = [0; 20];
        random(&mut serial).map_err(failed)?;
        let profile = LeafProfile {
            public_key: key,
            san: principal.san().clone(),
            fulcio: principal.extensions().clone(),
            not_before: time(now)?,
            not_after: time(until)?,
            serial,
        };
        Precertificate::build(&profile, issuing, self.signer.as_ref()).map_err(signing_failed)
    }

    fn certificate(&self, precertificate: Precertificate, sct: Sct) -> Result<Certificate, CaError> {
        let issuing = self.chain.first().ok_or_else(|| failed("no issuing certificate"))?;
        let der = precertificate.into_certificate(&[sct], self.signer.as_ref()).map_err(signing_failed)?;
        // Read back what will be handed over: the certificate as a client sees it, and the log's promise for it.
        let certificate = Certificate::from_der(&der).map_err(failed)?;
        let scts = certificate.scts().map_err(failed)?;
        let [sct] = scts.as_slice() else {
            return Err(failed(format_args!("expected one SCT in the certificate, found {}", scts.len())));
        };
        sct.verify(&certificate, issuing.public_key(), self.scts.log_key())
            .map_err(|e| failed(format_args!("the CT log's SCT: {e}")))?;
        Ok(certificate)
    }
}

fn check_chain(chain: &[Certificate], signer: &dyn Signer, now: Timestamp) -> Result<(), AuthorityError> {
    let (issuing, root) = chain.first().zip(chain.last()).ok_or(AuthorityError::Empty)?;
    if issuing.public_key() != signer.public_key() {
        return Err(AuthorityError::OtherKey(issuing.describe()));
    }
    for (below, certificate) in chain.iter().enumerate() {
        let usage = |expected| Err(AuthorityError::Usage { certificate: certificate.describe(), expected });
        if !certificate.is_ca() {
            return usage("a certificate authority (basic constraints)");
        }
        if !certificate.key_usage().is_some_and(|u| u.key_cert_sign()) {
            return usage("key usage with keyCertSign");
        }
        if certificate.extended_key_usage().is_some_and(|e| !e.lists(&oid::CODE_SIGNING)) {
            return usage("no extended key usage, or one with code signing");
        }
        let room = certificate.basic_constraints().and_then(|b| b.path_len);
        if room.is_some_and(|limit| usize::from(limit) < below) {
            return usage("a path length with room for the authorities below it");
        }
        if !certificate.unknown_critical_extensions().is_empty() {
            return usage("no critical extension of a kind not supported");
        }
        if !certificate.is_valid_at(now) {
            return Err(AuthorityError::NotValid {
                certificate: certificate.describe(),
                not_before: certificate.not_before(),
                not_after: certificate.not_after(),
                now,
            });
        }
        let issuer = chain.get(below + 1).unwrap_or(root);
        if certificate.issuer() != issuer.subject()
            || certificate.verify_signed_by(issuer.public_key()).is_err()
        {
            return Err(AuthorityError::Order {
                certificate: certificate.describe(),
                next: issuer.describe(),
            });
        }
        if certificate.not_before() < issuer.not_before() || certificate.not_after() > issuer.not_after() {
            return usage("a validity within that of its issuer");
        }
    }
    Ok(())
}
