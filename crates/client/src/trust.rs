//! What a signer or verifier goes by: the trusted root and the signing configuration, from files or from a named
//! instance, read once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign_bundle::{
    CertificateAuthority, ClientTrustConfig, SigningConfig, TransparencyLog, TrustedRoot, ValidFor,
};
use countersign_crypto::{PublicKey, sha256};
use countersign_tlog::{NoteKind, NoteVerifier};
use countersign_trust::instances::{Instance, InstanceError, Instances};
use countersign_trust::tuf::{Transport, TransportError};
use countersign_verify::revocation::{RevocationAuthority, Revocations};
use countersign_x509::Certificate;
use countersign_x509::timestamp::Authority;
use jiff::{SignedDuration, Timestamp};
use url::{Host, Url};

use crate::ClientError;
use crate::artifact::read_limited;
use crate::rekor::RekorVersion;
use countersign_http::{Http, HttpError, HttpOptions, Request};

/// The largest trust document, in bytes.
const MAX_DOCUMENT: usize = 16 << 20;

/// The variable that names the instance to use.
pub const INSTANCE_VARIABLE: &str = "COUNTERSIGN_INSTANCE";

/// Where trust comes from. What is given by file wins over the instance's part of the same kind.
#[derive(Debug, Clone, Default)]
pub struct TrustFrom {
    /// A file with the trusted root.
    pub trusted_root: Option<PathBuf>,
    /// A file with the signing configuration.
    pub signing_config: Option<PathBuf>,
    /// A file with both.
    pub trust_config: Option<PathBuf>,
    /// A named instance.
    pub instance: Option<String>,
}

/// The trusted root and the signing configuration.
#[derive(Debug, Clone)]
pub struct Trust {
    /// What to trust.
    pub root: TrustedRoot,
    /// What to sign with; absent when only a trusted root was given.
    pub signing: Option<SigningConfig>,
    /// What was revoked, as far as whoever is trusted says so.
    pub revocations: Vec<Arc<Revocations>>,
    /// Where the trusted root came from, for messages.
    pub from: String,
    /// The arguments by which another person names the same trust, for the line to send on.
    pub arguments: String,
}

impl From<InstanceError> for ClientError {
    fn from(error: InstanceError) -> Self {
        match error {
            InstanceError::Tuf(countersign_trust::tuf::TufError::Transport { url, detail }) => {
                let message = countersign_http::text::printable(&detail);
                HttpError::Network { service: "the TUF repository", url, message }.into()
            }
            InstanceError::RevocationsAway { url, detail } => {
                let message = countersign_http::text::printable(&detail);
                HttpError::Network { service: "the revocation list", url, message }.into()
            }
            other => Self::Trust(other.to_string()),
        }
    }
}

/// An authority of one's own as a part of a trust root: its certificates, issuing one first, root last, trusted at any
/// time at which they are valid themselves.
#[must_use]
pub fn own_authority(certificates: &[Certificate]) -> CertificateAuthority {
    CertificateAuthority {
        organization: String::new(),
        common_name: "your own authority".into(),
        uri: String::new(),
        certificates: certificates.iter().map(|c| c.der().to_vec()).collect(),
        valid_for: ValidFor { start: Timestamp::UNIX_EPOCH, end: None },
        operator: None,
    }
}

impl Trust {
    /// Trusts nobody: enough for a signature by key that no log and no authority takes part in.
    #[must_use]
    pub fn nobody() -> Self {
        Self {
            root: TrustedRoot {
                tlogs: Vec::new(),
                certificate_authorities: Vec::new(),
                ctlogs: Vec::new(),
                timestamp_authorities: Vec::new(),
            },
            signing: None,
            revocations: Vec::new(),
            from: "nobody".into(),
            arguments: String::new(),
        }
    }

    /// Reads it. Without a file or a name, the variable `COUNTERSIGN_INSTANCE` and then the default instance decide.
    ///
    /// # Errors
    /// [`ClientError::Trust`] when there is none or it is malformed, [`ClientError::File`].
    pub fn load(from: &TrustFrom) -> Result<Self, ClientError> {
        let mut root = None;
        let mut signing = None;
        let mut revocations = Vec::new();
        if let Some(path) = &from.trust_config {
            let config = ClientTrustConfig::from_json(&read_limited(path, MAX_DOCUMENT)?)
                .map_err(|e| unusable(path, &e))?;
            root = Some((config.trusted_root, path.display().to_string(), argument("--trust-config", path)));
            signing = Some(config.signing_config);
        }
        if let Some(path) = &from.trusted_root {
            let read =
                TrustedRoot::from_json(&read_limited(path, MAX_DOCUMENT)?).map_err(|e| unusable(path, &e))?;
            root = Some((read, path.display().to_string(), argument("--trusted-root", path)));
        }
        if let Some(path) = &from.signing_config {
            let read = SigningConfig::from_json(&read_limited(path, MAX_DOCUMENT)?)
                .map_err(|e| unusable(path, &e))?;
            signing = Some(read);
        }
        if root.is_none() {
            let instance = find_instance(from.instance.as_deref())?;
            let read = |bytes: &[u8]| {
                TrustedRoot::from_json(bytes)
                    .map_err(|e| unusable(&instance.dir.join("trusted_root.json"), &e))
            };
            let name = instance.name.clone();
            let arguments = if instance.is_default { String::new() } else { format!(" --instance {name}") };
            root = Some((read(&instance.trusted_root()?)?, format!("instance {name}"), arguments));
            // When the list was signed is of no account; that it has not expired is asked when it is used.
            revocations.extend(instance.revocations(Timestamp::MAX)?);
            if signing.is_none()
                && let Some(bytes) = instance.signing_config()?
            {
                let path = instance.dir.join("signing_config.v0.2.json");
                signing = Some(SigningConfig::from_json(&bytes).map_err(|e| unusable(&path, &e))?);
            }
        } else if from.instance.is_some() {
            return Err(ClientError::Usage(
                "both a trust root file and --instance were given; one of them decides whom to trust".into(),
            ));
        }
        let (root, from, arguments) = root.ok_or_else(none)?;
        Ok(Self { root, signing, revocations, from, arguments })
    }

    /// The anchors of all certificate authorities that may issue at this time, and what stands between.
    ///
    /// # Errors
    /// [`ClientError::Trust`] for a certificate that cannot be read.
    pub fn authorities(&self, now: Timestamp) -> Result<(Vec<Certificate>, Vec<Certificate>), ClientError> {
        let (mut anchors, mut between) = (Vec::new(), Vec::new());
        for authority in self.root.certificate_authorities.iter().filter(|a| a.valid_for.contains(now)) {
            let mut chain = certificates(&authority.certificates)?;
            anchors.extend(chain.pop());
            between.extend(chain);
        }
        Ok((anchors, between))
    }

    /// The timestamp authorities in use at this time.
    ///
    /// # Errors
    /// [`ClientError::Trust`] for a certificate that cannot be read.
    pub fn timestamp_authorities(&self, now: Timestamp) -> Result<Vec<Authority>, ClientError> {
        let in_use = self.root.timestamp_authorities.iter().filter(|a| a.valid_for.contains(now));
        in_use
            .map(|a| {
                Authority::from_chain(&certificates(&a.certificates)?)
                    .map_err(|e| ClientError::Trust(format!("timestamp authority {}: {e}", a.uri)))
            })
            .collect()
    }

    /// The newest log that can be read as tiles.
    ///
    /// # Errors
    /// [`ClientError::Trust`] when the trust root has no log.
    pub fn newest_log(&self) -> Result<&TransparencyLog, ClientError> {
        let newest = self.root.tlogs.iter().max_by_key(|log| newest_of(RekorVersion::V2, log));
        newest.ok_or_else(|| ClientError::Trust(format!("{} lists no log", self.from)))
    }

    /// The key with which the log at an address signs its checkpoints. Of two logs at one address it is the one with
    /// this interface.
    ///
    /// # Errors
    /// [`ClientError::Trust`] when the trust root has no such log.
    pub fn log_key(&self, base: &Url, version: RekorVersion) -> Result<NoteVerifier, ClientError> {
        let log = self.logs_at(base)?.into_iter().max_by_key(|log| newest_of(version, log));
        verifier_of(log.ok_or_else(|| self.no_log_at(base))?)
    }

    /// The newest log with the interface of Rekor v1, at this address if one is given.
    ///
    /// # Errors
    /// [`ClientError::Usage`] when the trust root has none.
    pub fn newest_v1(&self, base: Option<&Url>) -> Result<(Url, NoteVerifier), ClientError> {
        let all = self.logs(base, Timestamp::MAX)?.into_iter();
        let newest = all.filter(|log| log.verifier.kind == NoteKind::RekorV1).max_by_key(|log| log.begins);
        newest.map(|log| (log.base, log.verifier)).ok_or_else(|| {
            let place = base.map_or_else(String::new, |base| format!(" at {}", countersign_http::shown(base)));
            ClientError::Usage(format!(
                "{} lists no log of Rekor v1{place}, whose key would not be Ed25519; leave --rekor-v1 out, or give --log, \
                 --log-key and --origin",
                self.from
            ))
        })
    }

    /// The newest log of certificates, at this address if one is given; its name is its address without scheme and port.
    ///
    /// # Errors
    /// [`ClientError::Trust`] when the trust root has none, or it cannot be read.
    pub fn newest_ct(&self, base: Option<&Url>) -> Result<(Url, NoteVerifier), ClientError> {
        let at = |log: &&TransparencyLog| base.is_none_or(|base| is_at(log, base));
        let newest = self.root.ctlogs.iter().filter(at).max_by_key(|log| log.public_key.valid_for.start);
        let log = newest.ok_or_else(|| {
            let place =
                base.map_or_else(String::new, |base| format!(" at {}", countersign_http::shown(base)));
            ClientError::Trust(format!("{} lists no log of certificates{place}", self.from))
        })?;
        let wrong = |e: &dyn std::fmt::Display| ClientError::Trust(format!("the log {}: {e}", log.base_url));
        let key = PublicKey::from_spki_der(&log.public_key.raw_bytes).map_err(|e| wrong(&e))?;
        let url = Url::parse(&log.base_url).map_err(|e| wrong(&e))?;
        let host = url.host_str().ok_or_else(|| wrong(&"its address has no host"))?;
        let name = format!("{host}{}", url.path().trim_end_matches('/'));
        let verifier = NoteVerifier::rfc6962(&name, key).map_err(|e| wrong(&e))?;
        Ok((url, verifier))
    }

    /// All logs, or those at this address, in the order of the trust root, as they are at a time.
    ///
    /// # Errors
    /// [`ClientError::Trust`] when there is none, or an entry cannot be read.
    pub fn logs(&self, base: Option<&Url>, now: Timestamp) -> Result<Vec<NamedLog>, ClientError> {
        let all = match base {
            Some(base) => self.logs_at(base)?,
            None => self.root.tlogs.iter().collect(),
        };
        if all.is_empty() {
            return Err(ClientError::Trust(format!("{} lists no log", self.from)));
        }
        let named = |log: &TransparencyLog| {
            let base = Url::parse(&log.base_url)
                .map_err(|e| ClientError::Trust(format!("the log {}: {e}", log.base_url)))?;
            let ValidFor { start: begins, end } = log.public_key.valid_for;
            let is_closed = end.is_some_and(|end| end <= now);
            let verifier = verifier_of(log)?;
            let verifier = match verifier.kind {
                // Of the same id is a log of Rekor v2 with such a key, which is rare: see `LogPlace`.
                NoteKind::Ecdsa => NoteVerifier::rekor_v1(&verifier.name, verifier.key)
                    .map_err(|e| ClientError::Trust(format!("the log {}: {e}", log.base_url)))?,
                _ => verifier,
            };
            Ok(NamedLog { base, verifier, begins, is_closed })
        };
        all.into_iter().map(named).collect()
    }

    fn logs_at(&self, base: &Url) -> Result<Vec<&TransparencyLog>, ClientError> {
        let all: Vec<_> = self.root.tlogs.iter().filter(|log| is_at(log, base)).collect();
        if all.is_empty() { Err(self.no_log_at(base)) } else { Ok(all) }
    }

    fn no_log_at(&self, base: &Url) -> ClientError {
        ClientError::Trust(format!("{} lists no log at {}", self.from, countersign_http::shown(base)))
    }
}

/// A log as the trust root names it.
#[derive(Debug, Clone)]
pub struct NamedLog {
    /// Where it is.
    pub base: Url,
    /// Who verifies its checkpoints; its kind says by which interface it is read. One with an ECDSA key is taken for one of
    /// Rekor v1.
    pub verifier: NoteVerifier,
    /// From when on its key is in use.
    pub begins: Timestamp,
    /// Whether nothing is added to it any more.
    pub is_closed: bool,
}

/// Whether a log is at an address.
fn is_at(log: &TransparencyLog, base: &Url) -> bool {
    let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
    Url::parse(&log.base_url).is_ok_and(|url| is_same_server(&url, base) && path(&url) == path(base))
}

/// Whether two addresses are of one server.
pub(crate) fn is_same_server(one: &Url, other: &Url) -> bool {
    one.host() == other.host() && one.port_or_known_default() == other.port_or_known_default()
}

/// By what the newest log with an interface is the greatest. Rekor v1 names its logs by their keys; a log of Rekor v2 whose
/// key is not Ed25519 does too, and is taken where there is no other.
fn newest_of(version: RekorVersion, log: &TransparencyLog) -> (bool, Timestamp) {
    let by_key = log.log_id == sha256(&log.public_key.raw_bytes);
    ((version == RekorVersion::V1) == by_key, log.public_key.valid_for.start)
}

/// The key of a log's checkpoints, under the log's name. Rekor v1's logs are those whose id is the plain digest of
/// their key and whose key is not Ed25519.
///
/// # Errors
/// [`ClientError::Trust`].
pub fn verifier_of(log: &TransparencyLog) -> Result<NoteVerifier, ClientError> {
    let wrong = |e: &dyn std::fmt::Display| ClientError::Trust(format!("the log {}: {e}", log.base_url));
    let key = PublicKey::from_spki_der(&log.public_key.raw_bytes).map_err(|e| wrong(&e))?;
    let url = Url::parse(&log.base_url).map_err(|e| wrong(&e))?;
    let name = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        None => return Err(wrong(&"its address has no host")),
    };
    let v2 = NoteVerifier::rekor_v2(&name, key.clone()).map_err(|e| wrong(&e))?;
    if v2.key_id.as_slice() == log.log_id {
        return Ok(v2);
    }
    NoteVerifier::rekor_v1(&name, key).map_err(|e| wrong(&e))
}

fn certificates(ders: &[Vec<u8>]) -> Result<Vec<Certificate>, ClientError> {
    ders.iter()
        .map(|der| {
            Certificate::from_der(der).map_err(|e| ClientError::Trust(format!("a certificate in it: {e}")))
        })
        .collect()
}

fn argument(flag: &str, path: &Path) -> String {
    format!(" {flag} {}", path.display())
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> ClientError {
    ClientError::Trust(format!(
        "{}: {}",
        path.display(),
        countersign_http::text::printable(&error.to_string())
    ))
}

fn none() -> ClientError {
    ClientError::Trust(
        "there is none on this machine. Trust an instance with `countersign trust add URL`, or give the file with \
         --trusted-root"
            .into(),
    )
}

/// How long the revocation list of an instance is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Fetches the revocation list of the instance that is meant, when there is one to be had and the kept one is older than
/// this. When nobody answers, the kept one goes on, and what is to be told about that is given.
///
/// # Errors
/// [`ClientError::Trust`] when what is served does not count: an older list than the kept one, or one that nobody signed
/// who may.
pub async fn refresh_revocations(
    from: &TrustFrom,
    fresh_for: SignedDuration,
    now: Timestamp,
) -> Result<Option<String>, ClientError> {
    if from.trusted_root.is_some() || from.trust_config.is_some() {
        return Ok(None);
    }
    // That there is no instance, or not the one that is meant, is told by whoever needs it.
    let Ok(instance) = find_instance(from.instance.as_deref()) else { return Ok(None) };
    if !instance.revocations_due(now, fresh_for)? {
        return Ok(None);
    }
    // Whoever trusts the address of an instance has said how it is reached; and the list is signed.
    let options =
        HttpOptions { allow_plain_http: true, timeout: PATIENCE, attempts: 1, ..HttpOptions::default() };
    let http = Http::new(options);
    match Instances::for_user()?.update_revocations(&instance.name, &HttpTransport(&http), now).await {
        Ok(_) => Ok(None),
        Err(error @ InstanceError::RevocationsAway { .. }) => {
            let kept = instance.description.revocations_checked.as_deref().unwrap_or("never");
            let error = countersign_http::text::printable(&error.to_string());
            Ok(Some(format!(
                "{error}; the one that was fetched last is used (fetched: {kept}; with --offline nobody is asked)"
            )))
        }
        Err(error) => Err(error.into()),
    }
}

/// Where the revocation list of the instance that is meant comes from, for who follows it by himself.
#[derive(Debug)]
pub struct RevocationsOf {
    /// Who may sign it.
    pub authority: RevocationAuthority,
    /// The list that was kept last.
    pub kept: PathBuf,
    /// Where it is served, unless the instance came from a file.
    pub url: Option<String>,
}

/// Where the revocation list of the instance that is meant comes from; `None` for a trust root in a file, and an instance
/// that has nobody who may revoke.
///
/// # Errors
/// [`ClientError::Trust`].
pub fn revocations_of(from: &TrustFrom) -> Result<Option<RevocationsOf>, ClientError> {
    if from.trusted_root.is_some() || from.trust_config.is_some() {
        return Ok(None);
    }
    let Ok(instance) = find_instance(from.instance.as_deref()) else { return Ok(None) };
    let url = instance.revocations_url();
    let kept = instance.dir.join(countersign_trust::revocations::REVOCATIONS);
    Ok(instance.revocation_authority()?.map(|authority| RevocationsOf { authority, kept, url }))
}

/// The named instance, that of `COUNTERSIGN_INSTANCE`, or the default one.
fn find_instance(name: Option<&str>) -> Result<Instance, ClientError> {
    let instances = Instances::for_user()?;
    let variable = std::env::var(INSTANCE_VARIABLE).ok().filter(|v| !v.is_empty());
    match name.map(str::to_owned).or(variable) {
        Some(name) => Ok(instances.get(&name)?),
        None => match instances.default_instance()? {
            Some(instance) => Ok(instance),
            None if instances.list()?.is_empty() => Err(none()),
            None => Err(ClientError::Trust(
                "several instances are trusted and none is the default; name one with --instance, or choose one \
                 with `countersign trust default NAME`"
                    .into(),
            )),
        },
    }
}

/// HTTP as the TUF client wants it.
#[derive(Debug)]
pub struct HttpTransport<'a>(pub &'a Http);

impl Transport for HttpTransport<'_> {
    async fn get(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>, TransportError> {
        // The address is named by whoever reports this.
        let failed = |e: &HttpError| {
            TransportError::Failed(match e {
                HttpError::Network { message, .. } => message.clone(),
                other => other.to_string(),
            })
        };
        let url = countersign_http::parse_url(url).map_err(|e| failed(&e))?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let request = Request::get("the TUF repository", &url).limit(limit);
        let response = match self.0.send(request).await {
            Ok(response) => response,
            Err(HttpError::TooLong { .. }) => return Err(TransportError::TooLarge),
            Err(error) => return Err(failed(&error)),
        };
        match response.status {
            200 => Ok(Some(response.body)),
            403 | 404 => Ok(None),
            _ => Err(failed(&response.into_error())),
        }
    }
}
