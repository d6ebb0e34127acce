//! Whom a policy trusts, as data; and as the engine takes it.

use std::sync::Arc;

use countersign_bundle::{CertificateAuthority, LogKey, TransparencyLog, TrustedRoot, ValidFor};
use countersign_crypto::encoding::pem_decode;
use countersign_crypto::{HashAlgorithm, PublicKey, sha256};
use countersign_tlog::NoteVerifier;
use countersign_verify::TrustMaterial;
use countersign_x509::Certificate;
use jiff::Timestamp;

use crate::ask::{Ask, Stop};
use crate::question::{CouldNot, CouldNotReason, TrustRoot};

/// Where trust begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum TrustBase {
    /// What the installation trusts.
    #[default]
    Installation,
    /// A named one: a `TrustRoot` object, or an instance.
    Named(String),
    /// A `trusted_root.json` that stands in the policy.
    Document(String),
}

/// Whom a policy trusts. What is given takes the place of the same kind in the base.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TrustSpec {
    /// Where trust begins.
    pub base: TrustBase,
    /// Certificate authorities: PEM, issuing certificates first, roots last.
    pub roots: Option<String>,
    /// A reference to the same, such as `k8s://namespace/secret`.
    pub roots_at: Option<String>,
    /// Keys of transparency logs: PEM.
    pub log_keys: Option<String>,
    /// Keys of CT logs: PEM.
    pub ct_keys: Option<String>,
    /// Chain of a timestamp authority: PEM.
    pub timestamp_chain: Option<String>,
    /// Only the transparency logs at this address count.
    pub log_url: Option<String>,
    /// The named trust root whose transparency logs are meant, if not those of the base.
    pub logs_of: Option<String>,
    /// The named trust root whose timestamp authorities are meant, if not those of the base.
    pub timestamps_of: Option<String>,
}

/// Trust as the engine takes it.
#[derive(Debug)]
pub struct Material {
    /// For the engine.
    pub trust: TrustMaterial,
    /// What it was made from; zeros for nothing but what the policy says.
    pub(crate) base_id: [u8; 32],
}

impl TrustSpec {
    /// As the engine takes it, and what tells it from other trust.
    ///
    /// # Errors
    /// [`Stop`]: the base is not known yet, cannot be had, or something in it cannot be read. A trust root that
    /// cannot be read is never an empty one.
    pub fn material(&self, ask: &Ask<'_>) -> Result<Arc<Material>, Stop> {
        // All that is open is asked for at once.
        let base = match &self.base {
            TrustBase::Installation if self.is_whole() => None,
            TrustBase::Installation => Some(ask.trust(None)),
            TrustBase::Named(name) => Some(ask.trust(Some(name))),
            TrustBase::Document(_) => None,
        };
        let other = |name: &Option<String>| name.as_deref().map(|name| ask.trust(Some(name)));
        let (logs, timestamps) = (other(&self.logs_of), other(&self.timestamps_of));
        let roots = self.roots_at.as_deref().map(|reference| ask.certificates(reference)).transpose();
        let (base, logs, timestamps) = (base.transpose()?, logs.transpose()?, timestamps.transpose()?);
        let roots = roots?;
        let from = From {
            base: base.as_deref(),
            logs: logs.as_deref(),
            timestamps: timestamps.as_deref(),
            roots: roots.as_ref().map(|pem| pem.as_str()),
        };
        let id = from.id();
        match ask.memo() {
            Some(memo) => memo.material(self, id, || self.build(&from, id)),
            None => self.build(&from, id).map(Arc::new),
        }
        .map_err(|text| CouldNot::new(CouldNotReason::Unusable, text).into())
    }

    /// The same for who needs nobody's word: when nothing is said of whom the installation trusts, that is nobody.
    pub(crate) fn material_if_any(&self, ask: &Ask<'_>) -> Result<Arc<Material>, Stop> {
        match self.material(ask) {
            Err(Stop::CouldNot(missing))
                if self.base == TrustBase::Installation
                    && self.logs_of.is_none()
                    && self.timestamps_of.is_none()
                    && self.roots_at.is_none()
                    && missing.reason == CouldNotReason::NotFound =>
            {
                let from = From { base: None, logs: None, timestamps: None, roots: None };
                let nobody = self.build(&from, [0; 32]).map(Arc::new);
                nobody.map_err(|text| CouldNot::new(CouldNotReason::Unusable, text).into())
            }
            material => material,
        }
    }

    fn build(&self, from: &From<'_>, base_id: [u8; 32]) -> Result<Material, String> {
        let mut root = match (&self.base, from.base) {
            (TrustBase::Document(text), _) => {
                TrustedRoot::from_json(text.as_bytes()).map_err(|e| format!("the trust root: {e}"))?
            }
            (_, Some(base)) => base.document().clone(),
            (_, None) => TrustedRoot::default(),
        };
        if let Some(other) = from.logs {
            root.tlogs.clone_from(&other.document().tlogs);
        }
        if let Some(other) = from.timestamps {
            root.timestamp_authorities.clone_from(&other.document().timestamp_authorities);
        }
        match from.roots {
            Some(pem) => TrustSpec { roots: Some(pem.to_owned()), ..self.clone() }.apply(&mut root)?,
            None => self.apply(&mut root)?,
        }
        let trust = TrustMaterial::from_trusted_root(&root).map_err(|e| e.to_string())?;
        Ok(Material { trust, base_id })
    }

    /// Whether nothing of the base is left.
    const fn is_whole(&self) -> bool {
        self.roots.is_some()
            && self.log_keys.is_some()
            && self.ct_keys.is_some()
            && self.timestamp_chain.is_some()
    }

    /// Puts what the policy gives into the place of what the base has.
    ///
    /// # Errors
    /// In words, what cannot be read.
    pub fn apply(&self, root: &mut TrustedRoot) -> Result<(), String> {
        if let Some(pem) = &self.roots {
            root.certificate_authorities = authorities(pem).map_err(|e| format!("roots: {e}"))?;
        }
        if let Some(pem) = &self.log_keys {
            let url = self.log_url.as_deref().unwrap_or_default();
            root.tlogs = logs(pem, url).map_err(|e| format!("key of the transparency log: {e}"))?;
        } else if let Some(url) = &self.log_url {
            root.tlogs.retain(|log| same_place(&log.base_url, url));
            if root.tlogs.is_empty() {
                return Err(format!(
                    "the policy wants the transparency log at {url}, and the trust root has none there; add it to the \
                     trust root, or give its public key in the policy"
                ));
            }
        }
        if let Some(pem) = &self.ct_keys {
            root.ctlogs = logs(pem, "").map_err(|e| format!("key of the CT log: {e}"))?;
        }
        if let Some(pem) = &self.timestamp_chain {
            root.timestamp_authorities =
                authorities(pem).map_err(|e| format!("chain of the timestamp authority: {e}"))?;
        }
        Ok(())
    }
}

/// The trust roots that trust is made from.
struct From<'a> {
    base: Option<&'a TrustRoot>,
    logs: Option<&'a TrustRoot>,
    timestamps: Option<&'a TrustRoot>,
    /// PEM of certificate authorities from elsewhere.
    roots: Option<&'a str>,
}

impl From<'_> {
    /// Tells these from others: the base's own id where there is nothing else.
    fn id(&self) -> [u8; 32] {
        let id = |root: Option<&TrustRoot>| root.map_or([0; 32], |root| *root.id());
        let roots = self.roots.map_or([0; 32], |pem| sha256(pem.as_bytes()));
        match (self.logs, self.timestamps, self.roots) {
            (None, None, None) => id(self.base),
            _ => sha256(&[id(self.base), id(self.logs), id(self.timestamps), roots].concat()),
        }
    }
}

/// Whether two addresses are of one log: the same but for scheme, case of the host and a slash at the end.
fn same_place(a: &str, b: &str) -> bool {
    let bare = |url: &str| {
        let url = url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/');
        let (host, path) = url.split_once('/').unwrap_or((url, ""));
        (host.to_ascii_lowercase(), path.to_owned())
    };
    bare(a) == bare(b)
}

const ALWAYS: ValidFor = ValidFor { start: Timestamp::UNIX_EPOCH, end: None };

/// Authorities from PEM: each chain ends at a certificate that is its own issuer, or at the end.
fn authorities(pem: &str) -> Result<Vec<CertificateAuthority>, String> {
    let certificates = Certificate::chain_from_pem(pem).map_err(|e| e.to_string())?;
    let mut chains: Vec<Vec<Vec<u8>>> = vec![Vec::new()];
    for certificate in &certificates {
        if let Some(chain) = chains.last_mut() {
            chain.push(certificate.der().to_vec());
        }
        if certificate.is_self_signed() {
            chains.push(Vec::new());
        }
    }
    Ok(chains
        .into_iter()
        .filter(|chain| !chain.is_empty())
        .map(|certificates| CertificateAuthority {
            organization: String::new(),
            common_name: "authority of the policy".into(),
            uri: String::new(),
            certificates,
            valid_for: ALWAYS,
            operator: None,
        })
        .collect())
}

/// Logs from PEM of their public keys. A log of either generation may stand behind a key, and each names itself by its
/// own kind of id; the engine counts keys, so that two ids are one log.
fn logs(pem: &str, url: &str) -> Result<Vec<TransparencyLog>, String> {
    let mut logs = Vec::new();
    for block in pem_decode(pem).map_err(|e| e.to_string())? {
        if block.label != "PUBLIC KEY" {
            return Err(format!("expected PEM blocks \"PUBLIC KEY\", found \"{}\"", block.label));
        }
        let key = PublicKey::from_spki_der(&block.der).map_err(|e| e.to_string())?;
        let details =
            key.key_details().name().ok_or_else(|| format!("no log has a key of type {}", key.key_type()))?;
        let mut ids = vec![key.fingerprint().to_vec()];
        if let Ok(verifier) = NoteVerifier::rekor_v2(host(url), key.clone()) {
            ids.push(verifier.key_id.to_vec());
        }
        logs.extend(ids.into_iter().map(|log_id| TransparencyLog {
            base_url: url.to_owned(),
            hash_algorithm: HashAlgorithm::Sha256,
            public_key: LogKey {
                raw_bytes: key.spki_der().to_vec(),
                key_details: details.to_owned(),
                valid_for: ALWAYS,
            },
            log_id,
            checkpoint_key_id: None,
            operator: None,
        }));
    }
    Ok(logs)
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_the_same_whatever_stands_around_its_address() {
        assert!(same_place("https://Log.example/", "http://log.example"));
        assert!(same_place("https://log.example/api", "https://log.example/api/"));
        assert!(!same_place("https://log.example", "https://log.example.evil"));
        assert!(!same_place("https://log.example/a", "https://log.example/b"));
    }

    #[test]
    fn a_log_that_the_trust_root_does_not_have_is_an_error_and_not_no_log() {
        let spec = TrustSpec { log_url: Some("https://log.example".into()), ..TrustSpec::default() };
        assert!(spec.apply(&mut TrustedRoot::default()).unwrap_err().contains("log.example"));
    }

    #[test]
    fn nothing_in_the_place_of_something_is_an_error() {
        for spec in [
            TrustSpec { roots: Some(String::new()), ..TrustSpec::default() },
            TrustSpec { log_keys: Some(String::new()), ..TrustSpec::default() },
            TrustSpec { ct_keys: Some(String::new()), ..TrustSpec::default() },
            TrustSpec { timestamp_chain: Some(String::new()), ..TrustSpec::default() },
        ] {
            assert!(spec.apply(&mut TrustedRoot::default()).is_err(), "{spec:?}");
        }
    }
}
