//! The signature operations without which a bundle cannot be verified, and nothing else: the limit for a verifier.
//!
//! Each is of the kind and over as many bytes as the bundle's, with a key made here and read beforehand.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use countersign_bundle::{Bundle, Content, KeyMaterial, TrustedRoot};
use countersign_crypto::{KeyPair, KeyType, PublicKey, Scheme, Signer as _};
use countersign_tlog::note::Note;
use countersign_x509::Certificate;
use countersign_x509::timestamp::{Authority, Imprinted, TimestampToken};

/// One verification.
struct Operation {
    key: PublicKey,
    scheme: Scheme,
    message: Vec<u8>,
    signature: Vec<u8>,
}

/// All of a bundle.
pub(crate) struct RawOperations(Vec<Operation>);

impl RawOperations {
    /// Counts the operations of a bundle whose signer has a certificate, and makes their like.
    pub(crate) fn of(bundle: &Bundle, root: &TrustedRoot) -> Result<Self> {
        let mut own = Self(Vec::new());
        let leaf = match &bundle.verification_material.content {
            KeyMaterial::Certificate(der) => Certificate::from_der(der)?,
            KeyMaterial::CertificateChain(chain) => {
                Certificate::from_der(chain.first().context("no certificate")?)?
            }
            KeyMaterial::PublicKeyHint(_) => anyhow::bail!("the bundle has no certificate"),
        };
        // The signature itself.
        let signed = match &bundle.content {
            Content::Dsse(envelope) | Content::StoredDsse { envelope, .. } => envelope.pae().len(),
            Content::SimpleSigning { payload, .. } => payload.len(),
            Content::MessageSignature { .. } => 64,
        };
        own.add(leaf.public_key().key_type(), signed)?;
        // The certificate. What stands above it is in the trust root and needs no second look.
        own.add(issuer_of(&leaf, root)?, leaf.tbs_der().len())?;
        for sct in leaf.scts()? {
            if let Some(log) = root.ctlogs.iter().find(|l| l.log_id == sct.log_id) {
                own.add(key_type(&log.public_key.raw_bytes)?, leaf.tbs_for_sct()?.len())?;
            }
        }
        for token in &bundle.verification_material.rfc3161_timestamps {
            own.timestamp(token, bundle.content.signature(), root)?;
        }
        for entry in &bundle.verification_material.tlog_entries {
            let log = root.tlogs.iter().find(|l| l.log_id == entry.log_id).context("an unknown log")?;
            let log = key_type(&log.public_key.raw_bytes)?;
            if let Some(proof) = entry.inclusion_proof.as_ref().filter(|p| !p.checkpoint.is_empty()) {
                own.add(log, Note::parse(proof.checkpoint.as_bytes())?.text().len())?;
            }
            if entry.inclusion_promise.is_some() {
                own.add(log, entry.canonicalized_body.len() * 4 / 3 + 150)?;
            }
        }
        ensure!(own.all_verify(), "an operation which was just made does not verify");
        Ok(own)
    }

    fn timestamp(&mut self, token: &[u8], signature: &[u8], root: &TrustedRoot) -> Result<()> {
        let token = TimestampToken::parse(token)?;
        for authority in &root.timestamp_authorities {
            let chain = authority.certificates.iter().map(|der| Certificate::from_der(der));
            let authority = Authority::from_chain(&chain.collect::<Result<Vec<_>, _>>()?)?;
            let Ok(verified) = token.verify(Imprinted::Bytes(signature), None, &authority) else { continue };
            let signer = verified.chain().leaf();
            // The signed attributes have about as many bytes everywhere.
            self.add(signer.public_key().key_type(), 150)?;
            if authority.leaf().is_none() {
                self.add(verified.chain().issuer().public_key().key_type(), signer.tbs_der().len())?;
            }
            return Ok(());
        }
        anyhow::bail!("no authority of the trust root made the timestamp")
    }

    fn add(&mut self, key_type: KeyType, length: usize) -> Result<()> {
        let key = KeyPair::generate(key_type).with_context(|| format!("making a key of type {key_type}"))?;
        let message = vec![7; length];
        let signature = key.sign(&message)?;
        let (key, scheme) = (key.public_key().clone(), key.scheme());
        self.0.push(Operation { key, scheme, message, signature });
        Ok(())
    }

    /// Does them all.
    pub(crate) fn all_verify(&self) -> bool {
        self.0.iter().all(|o| o.key.verify(o.scheme, &o.message, &o.signature).is_ok())
    }

    /// How many of which kind.
    pub(crate) fn describe(&self) -> String {
        let mut kinds = BTreeMap::new();
        for operation in &self.0 {
            *kinds.entry(operation.key.key_type().to_string()).or_insert(0_u32) += 1;
        }
        kinds.iter().map(|(kind, count)| format!("{count} × {kind}")).collect::<Vec<_>>().join(", ")
    }
}

/// The type of the key which signed a certificate.
fn issuer_of(leaf: &Certificate, root: &TrustedRoot) -> Result<KeyType> {
    for der in root.certificate_authorities.iter().flat_map(|a| &a.certificates) {
        let authority = Certificate::from_der(der)?;
        if leaf.verify_signed_by(authority.public_key()).is_ok() {
            return Ok(authority.public_key().key_type());
        }
    }
    anyhow::bail!("no authority of the trust root issued the certificate")
}

fn key_type(spki: &[u8]) -> Result<KeyType> {
    Ok(PublicKey::from_spki_der(spki)?.key_type())
}
