//! The certificate transparency log of the authority: RFC 6962's submission, C2SP `static-ct-api`'s storage.
//!
//! It takes certificates of its own authorities only, for code signing only. Certificates live for ten minutes, so
//! their age is no reason to refuse them.

use std::collections::HashMap;
use std::sync::Arc;

use countersign_clock::{Clock, Timestamp};
use countersign_crypto::encoding::{base64_decode, base64_encode, hex_encode};
use countersign_crypto::{CryptoError, KeyType, PublicKey, Signer, sha256};
use countersign_log::{AppendError, Format, Leaf, Log, LogParams, NewEntry, Options};
use countersign_tlog::static_ct::{CtEntry, StaticCtError, TileLeaf, leaf_index_extension};
use countersign_x509::issue::Precertificate;
use countersign_x509::sct::{Sct, digitally_signed};
use countersign_x509::{Certificate, X509Error, oid};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::authority::SctSource;
use crate::oidc::BoxFuture;

/// The most certificates of a submitted chain.
const MAX_CHAIN: usize = 8;
/// The longest body of a submission, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// Why a submission got no SCT, or why there is no log. `Display` is the text for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CtError {
    /// The body is not JSON of the form `{"chain": […]}` with certificates in base64.
    #[error("failed to parse add-chain body: {0}")]
    Body(String),
    /// The list of certificates is empty.
    #[error("cert chain was empty")]
    EmptyChain,
    /// The certificates are not such as this log takes.
    #[error("failed to verify add-chain contents: {0}")]
    Chain(String),
    /// The log cannot take anything just now.
    #[error("the log cannot take the entry: {0}")]
    Append(#[from] AppendError),
    /// The entry cannot be written, or the SCT cannot be signed.
    #[error("no SCT could be made: {0}")]
    Sct(String),
    /// The key is not of a type that CT logs use.
    #[error("expected an ECDSA P-256 or RSA key for the CT log, found {0}")]
    Key(KeyType),
    /// There is no authority whose certificates the log could take.
    #[error("expected at least one chain of certificates that ends in a root")]
    NoRoots,
}

impl CtError {
    /// Whether the client has to change something; if not, the same submission may succeed later.
    #[must_use]
    pub const fn is_client_error(&self) -> bool {
        matches!(self, Self::Body(_) | Self::EmptyChain | Self::Chain(_))
    }
}

impl From<StaticCtError> for CtError {
    fn from(error: StaticCtError) -> Self {
        Self::Sct(error.to_string())
    }
}

impl From<X509Error> for CtError {
    fn from(error: X509Error) -> Self {
        Self::Sct(error.to_string())
    }
}

impl From<CryptoError> for CtError {
    fn from(error: CryptoError) -> Self {
        Self::Sct(error.to_string())
    }
}

/// A certificate whose issued certificates are taken, and its way to the root.
#[derive(Debug)]
struct Authority {
    certificate: Certificate,
    /// SHA-256 of this certificate and those above it, as entries name their issuers.
    path: Vec<[u8; 32]>,
}

/// The log.
#[derive(Debug)]
pub struct CtLog {
    log: Log,
    signer: Arc<dyn Signer>,
    clock: Arc<dyn Clock>,
    /// By SHA-256 of the certificate.
    authorities: HashMap<[u8; 32], Authority>,
    roots: Vec<Certificate>,
    leaf_index: bool,
    signer_blocks: bool,
}

#[derive(Deserialize)]
struct Submission {
    #[serde(default)]
    chain: Option<Vec<String>>,
}

impl CtLog {
    /// The parameters of a new log. Its first entry is the root itself, so that no certificate has index 0, which
    /// some clients take for "none".
    ///
    /// # Errors
    /// [`CtError::Sct`] when the root is too large for an entry.
    pub fn params(origin: &str, root: &Certificate, now: Timestamp) -> Result<LogParams, CtError> {
        let leaf = TileLeaf {
            timestamp_ms: milliseconds(now),
            entry: CtEntry::X509 { certificate: root.der().to_vec() },
            extensions: leaf_index_extension(0)?.to_vec(),
            chain: Vec::new(),
        };
        let genesis = Leaf { merkle_leaf: leaf.merkle_leaf()?, stored: leaf.encode()? };
        Ok(LogParams { origin: origin.to_owned(), format: Format::StaticCt, genesis })
    }

    /// The options of a log, with the way to make a lost index of duplicates anew.
    #[must_use]
    pub fn options(mut options: Options) -> Options {
        let key_of = |stored: &[u8]| match TileLeaf::parse(stored) {
            Ok((leaf, [])) => dedup_key(&leaf.entry),
            _ => sha256(stored),
        };
        options.key_of = Some(Arc::new(key_of));
        options
    }

    /// A CT log over an open log of [`Format::StaticCt`].
    ///
    /// `chains` are the authorities' certificates, issuing ones first and roots last; also those of authorities of
    /// the past. `leaf_index` says whether SCTs carry the position in the log, as `static-ct-api` asks for;
    /// sigstore-python before 4.2 cannot read such SCTs.
    ///
    /// # Errors
    /// [`CtError::Key`] and [`CtError::NoRoots`].
    pub fn new(
        log: Log,
        signer: Arc<dyn Signer>,
        chains: &[Vec<Certificate>],
        leaf_index: bool,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CtError> {
        let key_type = signer.public_key().key_type();
        if !matches!(key_type, KeyType::EcdsaP256 | KeyType::Rsa { .. }) {
            return Err(CtError::Key(key_type));
        }
        let mut authorities = HashMap::new();
        let mut roots: Vec<Certificate> = Vec::new();
        for chain in chains {
            let root = chain.last().filter(|root| root.is_self_signed()).ok_or(CtError::NoRoots)?;
            if !roots.iter().any(|known| known.der() == root.der()) {
                roots.push(root.clone());
            }
            let hashes: Vec<[u8; 32]> = chain.iter().map(|c| sha256(c.der())).collect();
            for (i, certificate) in chain.iter().enumerate() {
                let path: Vec<_> = hashes.iter().skip(i).copied().collect();
                if let Some(own) = path.first() {
                    authorities.insert(*own, Authority { certificate: certificate.clone(), path });
                }
            }
        }
        if roots.is_empty() {
            return Err(CtError::NoRoots);
        }
        Ok(Self { log, signer, clock, authorities, roots, leaf_index, signer_blocks: false })
    }

    /// Says that the signer may block (an HSM, a network), so that SCTs are signed on threads which may. Checkpoints are
    /// signed on the log's own thread in any case.
    #[must_use]
    pub fn with_blocking_signer(mut self) -> Self {
        self.signer_blocks = true;
        self
    }

    async fn sign(&self, message: Vec<u8>) -> Result<Vec<u8>, CtError> {
        if !self.signer_blocks {
            return Ok(self.signer.sign(&message)?);
        }
        let signer = Arc::clone(&self.signer);
        tokio::task::spawn_blocking(move || signer.sign(&message))
            .await
            .unwrap_or_else(|_| Err(CryptoError::Signing("the signing thread failed".into())))
            .map_err(CtError::from)
    }

    /// The log underneath, for reading tiles and checkpoints.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The log's id: SHA-256 of its `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn log_id(&self) -> [u8; 32] {
        self.signer.public_key().fingerprint()
    }

    /// Answers `POST /ct/v1/add-pre-chain`.
    ///
    /// # Errors
    /// [`CtError`].
    pub async fn add_pre_chain(&self, body: &[u8]) -> Result<Value, CtError> {
        self.add(body, true).await
    }

    /// Answers `POST /ct/v1/add-chain`.
    ///
    /// # Errors
    /// [`CtError`].
    pub async fn add_chain(&self, body: &[u8]) -> Result<Value, CtError> {
        self.add(body, false).await
    }

    /// Answers `GET /ct/v1/get-roots`.
    #[must_use]
    pub fn get_roots(&self) -> Value {
        let roots: Vec<String> = self.roots.iter().map(|root| base64_encode(root.der())).collect();
        json!({"certificates": roots})
    }

    /// Answers `GET /issuer/{sha256}`: the certificate with this fingerprint in lower-case hexadecimal.
    #[must_use]
    pub fn issuer(&self, fingerprint: &str) -> Option<Vec<u8>> {
        let (_, authority) = self.authorities.iter().find(|(hash, _)| hex_encode(*hash) == fingerprint)?;
        Some(authority.certificate.der().to_vec())
    }

    async fn add(&self, body: &[u8], precertificate: bool) -> Result<Value, CtError> {
        let chain = parse_submission(body)?;
        let (leaf, above) = chain.split_first().ok_or(CtError::EmptyChain)?;
        let authority = self.check(leaf, above, precertificate)?;
        let entry = if precertificate {
            CtEntry::Precert {
                issuer_key_hash: authority.certificate.public_key().fingerprint(),
                tbs_certificate: leaf.tbs_for_sct().map_err(|e| CtError::Chain(e.to_string()))?,
                pre_certificate: leaf.der().to_vec(),
            }
        } else {
            CtEntry::X509 { certificate: leaf.der().to_vec() }
        };
        let sct = self.append(entry, authority).await?;
        Ok(json!({
            "sct_version": 0,
            "id": base64_encode(&sct.log_id),
            "timestamp": sct.timestamp_ms,
            "extensions": base64_encode(&sct.extensions),
            "signature": base64_encode(&digitally_signed(sct.scheme, &sct.signature)?),
        }))
    }

    /// Checks a submitted chain and finds the authority which issued its first certificate.
    fn check(
        &self,
        leaf: &Certificate,
        above: &[Certificate],
        precertificate: bool,
    ) -> Result<&Authority, CtError> {
        let refuse = |what: &str| Err(CtError::Chain(what.to_owned()));
        if leaf.is_precertificate() != precertificate {
            return refuse("cert / precert mismatch");
        }
        if leaf.is_ca() {
            return refuse("expected a certificate of a signer, found one of an authority");
        }
        if !leaf.extended_key_usage().is_some_and(|usage| usage.lists(&oid::CODE_SIGNING)) {
            return refuse("expected extended key usage code signing");
        }
        let issued = |authority: &&Authority| {
            leaf.issuer() == authority.certificate.subject()
                && leaf.verify_signed_by(authority.certificate.public_key()).is_ok()
        };
        let authority = match above.first() {
            // The root may be left out, and with it the whole chain of a certificate it issued itself.
            None => {
                self.roots.iter().filter_map(|root| self.authorities.get(&sha256(root.der()))).find(issued)
            }
            Some(issuer) => self.authorities.get(&sha256(issuer.der())).filter(issued),
        };
        let Some(authority) = authority else {
            return refuse("it was not issued by an authority of this log");
        };
        let named = above.iter().map(|c| sha256(c.der()));
        if above.len() > authority.path.len() || !named.zip(&authority.path).all(|(a, b)| a == *b) {
            return refuse("the certificates do not lead to a root of this log in order");
        }
        Ok(authority)
    }

    /// Puts an entry into the log, or finds it there, and signs the promise.
    async fn append(&self, entry: CtEntry, authority: &Authority) -> Result<Sct, CtError> {
        let mut leaf = TileLeaf {
            timestamp_ms: milliseconds(self.clock.now()),
            entry,
            extensions: Vec::new(),
            chain: authority.path.clone(),
        };
        let dedup_key = dedup_key(&leaf.entry);
        let with_index = self.leaf_index;
        let make = move |index: u64| {
            // A leaf that cannot be written becomes an empty one, which the log refuses.
            if with_index {
                match leaf_index_extension(index) {
                    Ok(extension) => leaf.extensions = extension.into(),
                    Err(_) => return Leaf { merkle_leaf: Vec::new(), stored: Vec::new() },
                }
            }
            Leaf {
                merkle_leaf: leaf.merkle_leaf().unwrap_or_default(),
                stored: leaf.encode().unwrap_or_default(),
            }
        };
        let receipt = self.log.append(NewEntry { dedup_key, leaf: Box::new(make) }).await?;
        // What stands in the log is what is promised: for an entry sent twice, the first one's time and index.
        let (stored, _) = TileLeaf::parse(&receipt.leaf)?;
        // The tree's leaf and the bytes under an SCT are the same (RFC 6962 sections 3.2 and 3.4).
        let signature = self.sign(stored.merkle_leaf()?).await?;
        Ok(Sct {
            log_id: self.log_id(),
            timestamp_ms: stored.timestamp_ms,
            extensions: stored.extensions,
            scheme: self.signer.scheme(),
            signature,
        })
    }
}

impl SctSource for CtLog {
    /// The way of the authority in the same process: what it has just signed itself is not checked again.
    fn submit<'a>(
        &'a self,
        precertificate: &'a Precertificate,
        chain: &'a [Certificate],
    ) -> BoxFuture<'a, Result<Sct, String>> {
        Box::pin(async move {
            let authority = chain
                .first()
                .and_then(|issuing| self.authorities.get(&sha256(issuing.der())))
                .ok_or("the issuing certificate is not one of this CT log's authorities")?;
            let entry = CtEntry::Precert {
                issuer_key_hash: precertificate.issuer_key_hash(),
                tbs_certificate: precertificate.tbs_for_sct().to_vec(),
                pre_certificate: precertificate.der().to_vec(),
            };
            self.append(entry, authority).await.map_err(|e| e.to_string())
        })
    }

    fn log_key(&self) -> &PublicKey {
        self.signer.public_key()
    }
}

/// Reads the body of a submission into certificates.
///
/// # Errors
/// [`CtError::Body`], [`CtError::EmptyChain`] or [`CtError::Chain`].
pub fn parse_submission(body: &[u8]) -> Result<Vec<Certificate>, CtError> {
    if body.len() > MAX_BODY {
        return Err(CtError::Body(format!("expected at most {MAX_BODY} bytes, found {}", body.len())));
    }
    let submission: Submission = serde_json::from_slice(body).map_err(|e| CtError::Body(e.to_string()))?;
    let chain = submission.chain.unwrap_or_default();
    if chain.is_empty() {
        return Err(CtError::EmptyChain);
    }
    if chain.len() > MAX_CHAIN {
        return Err(CtError::Chain(format!(
            "expected at most {MAX_CHAIN} certificates, found {}",
            chain.len()
        )));
    }
    chain
        .iter()
        .map(|text| {
            let der = base64_decode(text).map_err(|e| CtError::Body(e.to_string()))?;
            Certificate::from_der(&der).map_err(|e| CtError::Chain(e.to_string()))
        })
        .collect()
}

/// What makes two submissions the same: for a precertificate what will be in the certificate, not its signature.
fn dedup_key(entry: &CtEntry) -> [u8; 32] {
    match entry {
        CtEntry::X509 { certificate } => sha256(&[&[0], certificate.as_slice()].concat()),
        CtEntry::Precert { issuer_key_hash, tbs_certificate, .. } => {
            sha256(&[&[1], issuer_key_hash.as_slice(), tbs_certificate].concat())
        }
    }
}

fn milliseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or_default()
}
