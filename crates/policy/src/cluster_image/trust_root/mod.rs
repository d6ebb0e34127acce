//! `TrustRoot`: whom to trust, as an object of the cluster, in one of four forms. All of them come down to one trusted root.

mod repository;

use countersign_bundle::{CertificateAuthority, TrustedRoot};
use countersign_crypto::encoding::base64_decode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::header;
use super::schema::Metadata;
use crate::question::{CouldNot, CouldNotReason};
use crate::read::{ReadError, from_value};
use crate::trust::TrustSpec;
use repository::Mirror;

/// The name of the trusted root in a TUF repository.
const TARGET: &str = "trusted_root.json";
/// The folder of targets in a TUF repository.
const TARGETS: &str = "targets";

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
    #[serde(rename = "status", default)]
    _status: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    #[serde(default)]
    remote: Option<Remote>,
    #[serde(default)]
    repository: Option<Repository>,
    #[serde(default)]
    sigstore_keys: Option<SigstoreKeys>,
    #[serde(rename = "trustedRootJSON", default)]
    trusted_root_json: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Remote {
    root: String,
    mirror: String,
    #[serde(default)]
    targets: String,
    #[serde(default)]
    trusted_root_target: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Repository {
    root: String,
    #[serde(rename = "mirrorFS")]
    mirror_fs: String,
    #[serde(default)]
    targets: String,
    #[serde(default)]
    trusted_root_target: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SigstoreKeys {
    #[serde(default)]
    certificate_authorities: Vec<Authority>,
    #[serde(rename = "tLogs", default)]
    logs: Vec<Log>,
    #[serde(rename = "ctLogs", default)]
    ct_logs: Vec<Log>,
    #[serde(default)]
    timestamp_authorities: Vec<Authority>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Authority {
    subject: Subject,
    uri: String,
    cert_chain: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Subject {
    organization: String,
    common_name: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Log {
    #[serde(rename = "baseURL")]
    base_url: String,
    hash_algorithm: String,
    public_key: String,
}

/// A `TrustRoot`, read and checked as far as that needs no clock.
#[derive(Debug, Clone)]
pub struct TrustRootObject {
    name: String,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Here(Box<TrustedRoot>),
    Repository(Mirror),
    Remote(RemoteRepository),
}

/// A trusted root, and until when it may be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// The trusted root.
    pub root: TrustedRoot,
    /// When what vouches for it ends; for ever if nothing stands between the object and the trusted root.
    pub until: Option<Timestamp>,
}

/// A TUF repository elsewhere, which somebody has to fetch first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RemoteRepository {
    /// Its address.
    pub mirror: String,
    /// The root to begin with.
    pub root: Vec<u8>,
    /// The folder of its targets.
    pub targets: String,
    /// The name of the trusted root among them.
    pub target: String,
}

impl TrustRootObject {
    /// Reads an object.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(value: &Value) -> Result<Self, ReadError> {
        let document: Document = from_value(value)?;
        header(&document.api_version, &document.kind, "TrustRoot")?;
        if document.metadata.name.is_empty() {
            return Err(ReadError::new("metadata.name", "expected a name, found nothing"));
        }
        let spec = document.spec;
        let form = match (spec.remote, spec.repository, spec.sigstore_keys, spec.trusted_root_json) {
            (Some(remote), None, None, None) => remote.read("spec.remote")?,
            (None, Some(repository), None, None) => Form::Repository(repository.read("spec.repository")?),
            (None, None, Some(keys), None) => Form::Here(Box::new(keys.read("spec.sigstoreKeys")?)),
            (None, None, None, Some(json)) => {
                let path = "spec.trustedRootJSON";
                let bytes = json_bytes(&json, path)?;
                let root = TrustedRoot::from_json(&bytes).map_err(|e| ReadError::new(path, e.to_string()))?;
                Form::Here(Box::new(root))
            }
            _ => {
                let message =
                    "expected one of remote, repository, sigstoreKeys and trustedRootJSON, and only one";
                return Err(ReadError::new("spec", message));
            }
        };
        Ok(Self { name: document.metadata.name, form })
    }

    /// The name by which policies refer to it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The repository that has to be fetched first, if it is elsewhere.
    #[must_use]
    pub const fn remote(&self) -> Option<&RemoteRepository> {
        match &self.form {
            Form::Remote(remote) => Some(remote),
            Form::Here(_) | Form::Repository(_) => None,
        }
    }

    /// The trusted root. A repository is followed as of `now`, without a network. One that is elsewhere has been fetched
    /// and verified before, or cannot be had.
    ///
    /// # Errors
    /// [`CouldNot`].
    pub fn compile(&self, now: Timestamp, fetched: Option<&Compiled>) -> Result<Compiled, CouldNot> {
        let could_not =
            |reason, text: String| CouldNot::new(reason, format!("the TrustRoot {}: {text}", self.name));
        match (&self.form, fetched) {
            (Form::Here(root), _) => Ok(Compiled { root: (**root).clone(), until: None }),
            (Form::Repository(mirror), _) => {
                mirror.trusted_root(now).map_err(|e| could_not(CouldNotReason::Unusable, e))
            }
            (Form::Remote(remote), Some(fetched)) if fetched.until.is_some_and(|until| until <= now) => {
                let mirror = &remote.mirror;
                let until = fetched.until.unwrap_or(now);
                let text = format!(
                    "what was fetched from {mirror} was good until {until}, and nothing newer was had"
                );
                Err(could_not(CouldNotReason::Unreachable, text))
            }
            (Form::Remote(_), Some(fetched)) => Ok(fetched.clone()),
            (Form::Remote(remote), None) => Err(could_not(
                CouldNotReason::Unreachable,
                format!(
                    "expected the repository at {} to have been fetched; nothing is fetched while a request waits. Put its \
                     trusted root into trustedRootJSON, or the whole of it into repository.mirrorFS",
                    remote.mirror
                ),
            )),
        }
    }
}

impl Remote {
    fn read(self, path: &str) -> Result<Form, ReadError> {
        let fits = |url: &url::Url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
        if url::Url::parse(&self.mirror).ok().filter(fits).is_none() {
            let message = format!("expected an address such as https://…, found \"{}\"", self.mirror);
            return Err(ReadError::new(format!("{path}.mirror"), message));
        }
        let root = json_bytes(&self.root, &format!("{path}.root"))?;
        repository::check_root(&root).map_err(|e| ReadError::new(format!("{path}.root"), e))?;
        Ok(Form::Remote(RemoteRepository {
            mirror: self.mirror,
            root,
            targets: or(self.targets, TARGETS),
            target: or(self.trusted_root_target, TARGET),
        }))
    }
}

impl Repository {
    fn read(self, path: &str) -> Result<Mirror, ReadError> {
        let wrong = |field: &str, e: String| ReadError::new(format!("{path}.{field}"), e);
        let root = json_bytes(&self.root, &format!("{path}.root"))?;
        repository::check_root(&root).map_err(|e| wrong("root", e))?;
        let archive = base64(&self.mirror_fs, &format!("{path}.mirrorFS"))?;
        let (targets, target) = (or(self.targets, TARGETS), or(self.trusted_root_target, TARGET));
        Mirror::read(root, &archive, &targets, target).map_err(|e| wrong("mirrorFS", e))
    }
}

impl SigstoreKeys {
    fn read(self, path: &str) -> Result<TrustedRoot, ReadError> {
        if self.certificate_authorities.is_empty() && self.timestamp_authorities.is_empty() {
            let message = "expected certificateAuthorities or timestampAuthorities, found neither";
            return Err(ReadError::new(path, message));
        }
        let mut root = TrustedRoot::default();
        for (index, authority) in self.certificate_authorities.iter().enumerate() {
            let path = format!("{path}.certificateAuthorities[{index}]");
            let spec = |pem| TrustSpec { roots: Some(pem), ..TrustSpec::default() };
            let chains = authority.apply(&path, spec)?.certificate_authorities;
            root.certificate_authorities.extend(authority.describe(chains));
        }
        for (index, authority) in self.timestamp_authorities.iter().enumerate() {
            let path = format!("{path}.timestampAuthorities[{index}]");
            let spec = |pem| TrustSpec { timestamp_chain: Some(pem), ..TrustSpec::default() };
            let chains = authority.apply(&path, spec)?.timestamp_authorities;
            root.timestamp_authorities.extend(authority.describe(chains));
        }
        for (index, log) in self.logs.iter().enumerate() {
            root.tlogs.extend(log.read(&format!("{path}.tLogs[{index}]"))?.tlogs);
        }
        for (index, log) in self.ct_logs.iter().enumerate() {
            root.ctlogs.extend(log.read(&format!("{path}.ctLogs[{index}]"))?.tlogs);
        }
        Ok(root)
    }
}

impl Authority {
    /// A trusted root with nothing but this chain.
    fn apply(&self, path: &str, spec: impl FnOnce(String) -> TrustSpec) -> Result<TrustedRoot, ReadError> {
        for (field, text) in [
            ("subject.organization", &self.subject.organization),
            ("subject.commonName", &self.subject.common_name),
            ("uri", &self.uri),
        ] {
            if text.is_empty() {
                return Err(ReadError::new(format!("{path}.{field}"), "expected a text, found nothing"));
            }
        }
        let path = format!("{path}.certChain");
        let pem = pem(&self.cert_chain, &path)?;
        let mut root = TrustedRoot::default();
        spec(pem).apply(&mut root).map_err(|e| ReadError::new(path, e))?;
        Ok(root)
    }

    fn describe(&self, chains: Vec<CertificateAuthority>) -> impl Iterator<Item = CertificateAuthority> {
        chains.into_iter().map(|chain| CertificateAuthority {
            organization: self.subject.organization.clone(),
            common_name: self.subject.common_name.clone(),
            uri: self.uri.clone(),
            ..chain
        })
    }
}

impl Log {
    /// A trusted root with nothing but this log among its transparency logs.
    fn read(&self, path: &str) -> Result<TrustedRoot, ReadError> {
        let wrong = |field: &str, e: String| ReadError::new(format!("{path}.{field}"), e);
        if self.base_url.is_empty() {
            return Err(wrong("baseURL", "expected an address, found nothing".into()));
        }
        if !matches!(self.hash_algorithm.as_str(), "sha256" | "sha-256" | "SHA2_256") {
            let message = format!("expected sha256, found \"{}\"", self.hash_algorithm);
            return Err(wrong("hashAlgorithm", message));
        }
        let spec = TrustSpec {
            log_keys: Some(pem(&self.public_key, &format!("{path}.publicKey"))?),
            log_url: Some(self.base_url.clone()),
            ..TrustSpec::default()
        };
        let mut root = TrustedRoot::default();
        spec.apply(&mut root).map_err(|e| wrong("publicKey", e))?;
        Ok(root)
    }
}

fn or(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

/// Bytes in an object: base64, which may be broken into lines.
fn base64(text: &str, path: &str) -> Result<Vec<u8>, ReadError> {
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    match base64_decode(&text) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        Ok(_) => Err(ReadError::new(path, "expected bytes in base64, found nothing")),
        Err(error) => Err(ReadError::new(path, format!("expected bytes in base64: {error}"))),
    }
}

fn pem(text: &str, path: &str) -> Result<String, ReadError> {
    let bytes = base64(text, path)?;
    String::from_utf8(bytes).map_err(|_| ReadError::new(path, "expected PEM in base64, found other bytes"))
}

/// A JSON document: as it is, as the older objects had it, or in base64.
fn json_bytes(text: &str, path: &str) -> Result<Vec<u8>, ReadError> {
    if text.trim_start().starts_with('{') { Ok(text.as_bytes().to_vec()) } else { base64(text, path) }
}
