//! The documents an instance hands out: trusted root and signing configuration, from a description of the
//! instance, and their rotation.
//!
//! A rotation adds what is new and closes the validity of what it replaces; nothing is ever taken out, so what was
//! signed before verifies after. Old and new overlap: publish first, then switch the services, then let the old
//! one's validity end.

use std::collections::BTreeSet;

use countersign_bundle::{
    BundleError, CertificateAuthority, LogKey, Selector, Service, ServiceConfiguration, SigningConfig,
    TransparencyLog, TrustedRoot, ValidFor,
};
use countersign_crypto::{HashAlgorithm, PublicKey, encoding, sha256};
use countersign_tlog::NoteVerifier;
use countersign_tlog::note::NoteError;
use countersign_x509::Certificate;
use jiff::Timestamp;
use url::Url;

use crate::instances::{SIGNING_CONFIG, TRUSTED_ROOT};
use crate::tuf::repository::TargetFile;

/// The API version that stands in signing configurations for certificate authorities, identity providers and
/// timestamp authorities. It is 1 although the path of the first is `/api/v2`.
const API_V1: u32 = 1;
/// The API version of the transparency log.
const API_V2: u32 = 2;

/// What makes no document.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Not an address of a service.
    #[error("{what}: expected an http or https address with a host, found {found:?}")]
    Address {
        /// Of which service.
        what: &'static str,
        /// What was given.
        found: String,
    },
    /// A log whose name clients would not expect.
    #[error(
        "the log's origin must be the host name in its address, without port, since clients derive it: \
         expected {expected:?}, found {found:?}"
    )]
    Origin {
        /// The host name.
        expected: String,
        /// The origin.
        found: String,
    },
    /// Certificates that are no chain.
    #[error("the chain of the {what}: {detail}")]
    Chain {
        /// Of which authority.
        what: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// A key no client would read.
    #[error("the key of the {what} is an {found} key, which clients do not read")]
    Key {
        /// Of which log.
        what: &'static str,
        /// Its type.
        found: String,
    },
    /// A window that ends before it begins.
    #[error(
        "the old one must serve until the new one starts: expected an end after {starts}, found {retires}"
    )]
    Window {
        /// When the new one starts.
        starts: Timestamp,
        /// When the old one ends.
        retires: Timestamp,
    },
    /// A log that changes its name and keeps its key.
    #[error(
        "the transparency log moves from {from} to {to}: clients derive the name in old checkpoints from the \
         address, so a log with another host name needs a new key"
    )]
    Renamed {
        /// The old host name.
        from: String,
        /// The new one.
        to: String,
    },
    /// A retired key that is to serve again.
    #[error(
        "the {what} was retired on {retired}: clients know a key by one validity only, so make a new key"
    )]
    Retired {
        /// Which service.
        what: &'static str,
        /// When its validity ended.
        retired: Timestamp,
    },
    /// The log's key id.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Writing.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// An authority: where it is and its chain.
#[derive(Debug, Clone)]
pub struct AuthorityDescription {
    /// Its address; of a timestamp authority the full one, to which requests are posted.
    pub url: String,
    /// Its own certificate first, the self-signed root last.
    pub chain: Vec<Certificate>,
}

/// A log: where it is and its key.
#[derive(Debug, Clone)]
pub struct LogDescription {
    /// Its base address.
    pub url: String,
    /// Its key.
    pub key: PublicKey,
}

/// What an instance's services are now.
#[derive(Debug, Clone)]
pub struct InstanceDescription {
    /// Who runs it; clients use one service of each kind per operator.
    pub operator: String,
    /// The certificate authority.
    pub ca: AuthorityDescription,
    /// The log of its certificates.
    pub ct_log: LogDescription,
    /// The transparency log, Rekor v2's API.
    pub log: LogDescription,
    /// The log with Rekor v1's API, when there is one. Its id is the digest of its key.
    pub log_v1: Option<LogDescription>,
    /// The name in the transparency log's checkpoints.
    pub origin: String,
    /// The timestamp authority.
    pub tsa: AuthorityDescription,
    /// Identity providers, the preferred one first.
    pub oidc_issuers: Vec<String>,
}

/// When the new takes over from the old: both are valid in between, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From when on the new one may sign.
    pub starts: Timestamp,
    /// Until when the old one may.
    pub retires: Timestamp,
}

impl Window {
    /// In whole seconds, never shorter.
    fn check(self) -> Result<Self, DocumentError> {
        let Self { starts, retires } = self;
        if retires < starts {
            return Err(DocumentError::Window { starts, retires });
        }
        let floor = second(retires);
        let ceiling =
            if floor == retires { Ok(floor) } else { Timestamp::from_second(floor.as_second() + 1) };
        Ok(Self { starts: second(starts), retires: ceiling.unwrap_or(retires) })
    }
}

/// The trusted root of a new instance, valid from `start` on.
///
/// # Errors
/// [`DocumentError`].
pub fn trusted_root(instance: &InstanceDescription, start: Timestamp) -> Result<TrustedRoot, DocumentError> {
    let valid_for = ValidFor { start: second(start), end: None };
    let host = host("the transparency log", &instance.log.url)?;
    if host != instance.origin {
        return Err(DocumentError::Origin { expected: host, found: instance.origin.clone() });
    }
    let log_id = NoteVerifier::rekor_v2(&instance.origin, instance.log.key.clone())?.key_id;
    check_addresses(instance)?;
    let mut tlogs = vec![log("transparency log", &instance.log, log_id, valid_for)?];
    if let Some(v1) = &instance.log_v1 {
        tlogs.push(log("log of Rekor v1", v1, v1.key.fingerprint(), valid_for)?);
    }
    Ok(TrustedRoot {
        tlogs,
        certificate_authorities: vec![authority("certificate authority", &instance.ca, valid_for)?],
        ctlogs: vec![log("CT log", &instance.ct_log, instance.ct_log.key.fingerprint(), valid_for)?],
        timestamp_authorities: vec![authority("timestamp authority", &instance.tsa, valid_for)?],
    })
}

/// The trusted root after a rotation: whatever differs between the root's entries in use and the instance as
/// it is now is added, and the entry it replaces is closed. An entry is known by its certificates or by the log's
/// id; what is known stays as it is, but for its address.
///
/// # Errors
/// [`DocumentError::Window`], [`DocumentError::Retired`], [`DocumentError::Renamed`] and those of [`trusted_root`].
pub fn rotate_trusted_root(
    old: &TrustedRoot,
    instance: &InstanceDescription,
    window: Window,
) -> Result<TrustedRoot, DocumentError> {
    let window = window.check()?;
    let mut new = trusted_root(instance, window.starts)?;
    let mut root = old.clone();
    let known = |log: &TransparencyLog| old.tlogs.iter().find(|old| old.is(log));
    // Of two logs, one is replaced after the other: until its turn comes, a log keeps the name that its checkpoints have.
    let replacing = new.tlogs.iter().any(|log| known(log).is_none());
    for log in &mut new.tlogs {
        let Some(before) = known(log) else { continue };
        let (from, to) = (host("the old log", &before.base_url)?, host("the new log", &log.base_url)?);
        if from != to {
            if !replacing {
                return Err(DocumentError::Renamed { from, to });
            }
            log.base_url.clone_from(&before.base_url);
        }
    }
    replace("transparency log", &mut root.tlogs, new.tlogs, window)?;
    replace("CT log", &mut root.ctlogs, new.ctlogs, window)?;
    replace("certificate authority", &mut root.certificate_authorities, new.certificate_authorities, window)?;
    replace("timestamp authority", &mut root.timestamp_authorities, new.timestamp_authorities, window)?;
    Ok(root)
}

/// The signing configuration of a new instance: one service of each kind suffices.
///
/// # Errors
/// [`DocumentError::Address`].
pub fn signing_config(
    instance: &InstanceDescription,
    start: Timestamp,
) -> Result<SigningConfig, DocumentError> {
    check_addresses(instance)?;
    let service = |url: &str, major_api_version: u32| Service {
        url: url.to_owned(),
        major_api_version,
        valid_for: ValidFor { start: second(start), end: None },
        operator: instance.operator.clone(),
    };
    let any = ServiceConfiguration { selector: Selector::Any };
    Ok(SigningConfig {
        ca_urls: vec![service(&instance.ca.url, API_V1)],
        oidc_urls: instance.oidc_issuers.iter().map(|url| service(url, API_V1)).collect(),
        // The highest version first; who speaks it, uses it.
        rekor_tlog_urls: [(Some(&instance.log), API_V2), (instance.log_v1.as_ref(), API_V1)]
            .into_iter()
            .filter_map(|(log, version)| Some(service(&log?.url, version)))
            .collect(),
        rekor_tlog_config: any,
        tsa_urls: vec![service(&instance.tsa.url, API_V1)],
        tsa_config: any,
    })
}

/// The signing configuration after a rotation: services at new addresses come first, those they replace are
/// closed. A new key at the same address changes nothing here.
///
/// # Errors
/// [`DocumentError::Window`], [`DocumentError::Address`].
pub fn rotate_signing_config(
    old: &SigningConfig,
    instance: &InstanceDescription,
    window: Window,
) -> Result<SigningConfig, DocumentError> {
    let window = window.check()?;
    let new = signing_config(instance, window.starts)?;
    let mut config = old.clone();
    for (old, new) in [
        (&mut config.ca_urls, new.ca_urls),
        (&mut config.oidc_urls, new.oidc_urls),
        (&mut config.rekor_tlog_urls, new.rekor_tlog_urls),
        (&mut config.tsa_urls, new.tsa_urls),
    ] {
        let same = |a: &Service, b: &Service| {
            a.url == b.url && a.major_api_version == b.major_api_version && a.valid_for.end.is_none()
        };
        for service in old.iter_mut().filter(|s| s.valid_for.end.is_none()) {
            if !new.iter().any(|n| same(service, n)) {
                service.valid_for.end = Some(window.retires.max(service.valid_for.start));
            }
        }
        // In the order of the new list, with the dates of those that stay; then what is retired, newest first.
        let (open, closed): (Vec<Service>, Vec<Service>) =
            old.drain(..).partition(|s| s.valid_for.end.is_none());
        old.extend(
            new.into_iter()
                .map(|n| open.iter().find(|s| same(s, &n)).cloned().unwrap_or_else(|| beside(n, &open))),
        );
        old.extend(closed);
    }
    Ok(config)
}

/// A service that comes as another interface of one that is there begins no later in the configuration: sigstore-js takes
/// the newest, whatever its version. From when on its keys count is for the trusted root to say.
fn beside(mut new: Service, open: &[Service]) -> Service {
    let sibling = open.iter().find(|s| s.url == new.url && s.major_api_version > new.major_api_version);
    if let Some(sibling) = sibling {
        new.valid_for.start = new.valid_for.start.min(sibling.valid_for.start);
    }
    new
}

/// Every file for the TUF repository: both documents, and what clients older than them look for.
///
/// # Errors
/// [`DocumentError::Bundle`].
pub fn targets(root: &TrustedRoot, config: &SigningConfig) -> Result<Vec<TargetFile>, DocumentError> {
    let mut files = vec![
        TargetFile::new(TRUSTED_ROOT, root.to_json()?),
        TargetFile::new(SIGNING_CONFIG, config.to_json()?),
    ];
    files.extend(legacy_targets(root));
    Ok(files)
}

/// Keys and certificates as single files with `custom.sigstore` metadata, for clients that do not read
/// `trusted_root.json` (cosign 1 and 2, policy-controller, Kyverno). What is in use has the plain names; what is
/// retired has its fingerprint in the name and is marked so.
#[must_use]
pub fn legacy_targets(root: &TrustedRoot) -> Vec<TargetFile> {
    let mut files: Vec<(&str, bool, TargetFile)> = Vec::new();
    for (logs, usage, stem) in [(&root.tlogs, "Rekor", "rekor"), (&root.ctlogs, "CTFE", "ctfe")] {
        let in_use = |log: &TransparencyLog| log.public_key.valid_for.end.is_none();
        let v1 = logs.iter().any(|log| in_use(log) && is_named_by_key(log));
        for log in logs {
            let key = &log.public_key;
            let active = in_use(log);
            // Those clients speak Rekor v1 only, so the plain name is that log's where there is one.
            let stem = if v1 && !is_named_by_key(log) { "rekor_v2" } else { stem };
            let name = legacy_name(stem, "pub", &key.raw_bytes, active);
            let pem = encoding::pem_encode("PUBLIC KEY", &key.raw_bytes);
            let file = TargetFile::new(&name, pem).with_usage(usage, active, &log.base_url);
            files.push((usage, active, file));
        }
    }
    for ca in &root.certificate_authorities {
        let active = ca.valid_for.end.is_none();
        for (i, der) in ca.certificates.iter().enumerate() {
            let last = i + 1 == ca.certificates.len();
            let stem = match (last, i) {
                (true, _) => "fulcio_v1".to_owned(),
                (false, 0) => "fulcio_intermediate_v1".to_owned(),
                (false, _) => format!("fulcio_intermediate_{i}_v1"),
            };
            let name = legacy_name(&stem, "crt.pem", der, active);
            let pem = encoding::pem_encode("CERTIFICATE", der);
            files.push(("Fulcio", active, TargetFile::new(&name, pem).with_usage("Fulcio", active, &ca.uri)));
        }
    }
    for tsa in &root.timestamp_authorities {
        let active = tsa.valid_for.end.is_none();
        for (i, der) in tsa.certificates.iter().enumerate() {
            let last = i + 1 == tsa.certificates.len();
            let stem = match (i, last) {
                (0, _) => "tsa_leaf".to_owned(),
                (_, true) => "tsa_root".to_owned(),
                _ => format!("tsa_intermediate_{}", i - 1),
            };
            let name = legacy_name(&stem, "crt.pem", der, active);
            let pem = encoding::pem_encode("CERTIFICATE", der);
            files.push(("TSA", active, TargetFile::new(&name, pem).with_usage("TSA", active, &tsa.uri)));
        }
    }
    // Two chains may share a root: what one in use has is not retired.
    let in_use: BTreeSet<(&str, Vec<u8>)> = files
        .iter()
        .filter(|(_, active, _)| *active)
        .map(|(usage, _, file)| (*usage, file.content.clone()))
        .collect();
    let mut files: Vec<TargetFile> = files
        .into_iter()
        .filter(|(usage, active, file)| *active || !in_use.contains(&(*usage, file.content.clone())))
        .map(|(_, _, file)| file)
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files.dedup_by(|a, b| a.name == b.name);
    files
}

fn legacy_name(stem: &str, extension: &str, der: &[u8], active: bool) -> String {
    if active {
        return format!("{stem}.{extension}");
    }
    let fingerprint = encoding::hex_encode(&sha256(der));
    format!("{stem}_{}.{extension}", fingerprint.get(..16).unwrap_or_default())
}

/// An entry of the trusted root.
trait Entry {
    /// Whether both are the same log or authority, wherever it is.
    fn is(&self, other: &Self) -> bool;
    /// Whether a new one takes the place of an old one.
    fn replaces(&self, old: &Self) -> bool;
    fn address(&mut self) -> &mut String;
    fn validity(&self) -> ValidFor;
    fn set_validity(&mut self, validity: ValidFor);
}

impl Entry for TransparencyLog {
    fn is(&self, other: &Self) -> bool {
        self.log_id == other.log_id
    }
    /// Rekor v1 and v2 are two logs side by side.
    fn replaces(&self, old: &Self) -> bool {
        is_named_by_key(self) == is_named_by_key(old)
    }
    fn address(&mut self) -> &mut String {
        &mut self.base_url
    }
    fn validity(&self) -> ValidFor {
        self.public_key.valid_for
    }
    fn set_validity(&mut self, validity: ValidFor) {
        self.public_key.valid_for = validity;
    }
}

impl Entry for CertificateAuthority {
    fn is(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
    fn replaces(&self, _old: &Self) -> bool {
        true
    }
    fn address(&mut self) -> &mut String {
        &mut self.uri
    }
    fn validity(&self) -> ValidFor {
        self.valid_for
    }
    fn set_validity(&mut self, validity: ValidFor) {
        self.valid_for = validity;
    }
}

/// Whether a log's id is the digest of its key, as of Rekor v1 and CT. In Rekor v2, where a log's key is Ed25519, its name is
/// in there too.
fn is_named_by_key(log: &TransparencyLog) -> bool {
    log.log_id == sha256(&log.public_key.raw_bytes)
}

/// Adds what is new to a list and closes what it replaces.
fn replace<T: Entry>(
    what: &'static str,
    list: &mut Vec<T>,
    new: Vec<T>,
    window: Window,
) -> Result<(), DocumentError> {
    for mut entry in new {
        if let Some(known) = list.iter_mut().find(|old| old.is(&entry)) {
            match known.validity().end {
                None => {
                    std::mem::swap(known.address(), entry.address());
                    continue;
                }
                Some(retired) => return Err(DocumentError::Retired { what, retired }),
            }
        }
        for old in list.iter_mut().filter(|old| entry.replaces(old)) {
            let ValidFor { start, end } = old.validity();
            if end.is_none() {
                old.set_validity(ValidFor { start, end: Some(window.retires.max(start)) });
            }
        }
        list.push(entry);
    }
    list.sort_by_key(|entry| entry.validity().start);
    Ok(())
}

/// The whole second at or before a time. Timestamps and certificates count whole seconds: one made in the second an
/// instance begins must not lie before its beginning.
fn second(time: Timestamp) -> Timestamp {
    let whole = time.as_second() - i64::from(time.subsec_nanosecond() < 0);
    Timestamp::from_second(whole).unwrap_or(time)
}

fn log(
    what: &'static str,
    log: &LogDescription,
    log_id: [u8; 32],
    valid_for: ValidFor,
) -> Result<TransparencyLog, DocumentError> {
    let details = log
        .key
        .key_details()
        .name()
        .ok_or_else(|| DocumentError::Key { what, found: log.key.key_type().to_string() })?;
    Ok(TransparencyLog {
        base_url: log.url.clone(),
        hash_algorithm: HashAlgorithm::Sha256,
        public_key: LogKey {
            raw_bytes: log.key.spki_der().to_vec(),
            key_details: details.to_owned(),
            valid_for,
        },
        log_id: log_id.to_vec(),
        checkpoint_key_id: None,
        operator: None,
    })
}

fn authority(
    what: &'static str,
    authority: &AuthorityDescription,
    valid_for: ValidFor,
) -> Result<CertificateAuthority, DocumentError> {
    let wrong = |detail: String| DocumentError::Chain { what, detail };
    let root = authority.chain.last().ok_or_else(|| wrong("it has no certificate".into()))?;
    for pair in authority.chain.windows(2) {
        if let [certificate, issuer] = pair {
            certificate.verify_signed_by(issuer.public_key()).map_err(|e| {
                wrong(format!("{} is not signed by {}: {e}", certificate.describe(), issuer.describe()))
            })?;
        }
    }
    if !root.is_self_signed() {
        return Err(wrong(format!("expected a self-signed root last, found {}", root.describe())));
    }
    Ok(CertificateAuthority {
        organization: root.subject().organization.clone().unwrap_or_default(),
        common_name: root.subject().common_name.clone().unwrap_or_default(),
        uri: authority.url.clone(),
        certificates: authority.chain.iter().map(|c| c.der().to_vec()).collect(),
        valid_for,
        operator: None,
    })
}

/// Checks the address of every service.
fn check_addresses(instance: &InstanceDescription) -> Result<(), DocumentError> {
    host("the certificate authority", &instance.ca.url)?;
    host("the CT log", &instance.ct_log.url)?;
    host("the transparency log", &instance.log.url)?;
    instance.log_v1.iter().try_for_each(|log| host("the log of Rekor v1", &log.url).map(drop))?;
    host("the timestamp authority", &instance.tsa.url)?;
    instance.oidc_issuers.iter().try_for_each(|url| host("the identity provider", url).map(drop))
}

/// The host name in an address, without port and, for IPv6, without brackets: what clients take for the name of a
/// log.
fn host(what: &'static str, address: &str) -> Result<String, DocumentError> {
    let refused = || DocumentError::Address { what, found: address.chars().take(200).collect() };
    let url = Url::parse(address).map_err(|_| refused())?;
    let host = url.host_str().ok_or_else(refused)?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(refused());
    }
    Ok(host.trim_start_matches('[').trim_end_matches(']').to_owned())
}
