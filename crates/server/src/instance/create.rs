//! `countersign init`: a new instance, complete or not there at all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_bundle::rekor::BodyV1;
use countersign_ca::ct::CtLog;
use countersign_clock::{Clock, SystemClock, Timestamp};
use countersign_crypto::encoding::base64url_encode;
use countersign_crypto::{HashAlgorithm, Signer, random, sha256};
use countersign_keys::{KeyRef, PasswordSource, file};
use countersign_log::{Format, Leaf, LogParams};
use countersign_trust::documents;
use countersign_trust::tuf::repository::{Lifetimes, Repository, Role, Roles};
use countersign_x509::chain::Purpose;
use countersign_x509::issue::{AuthorityProfile, intermediate_ca, root_ca, tsa_leaf};
use countersign_x509::{Certificate, Name};
use jiff::SignedDuration;
use url::Url;
use zeroize::Zeroizing;

use super::{FILE_NAME, Instance, InstanceKey, KeyOrigin, paths, write_public};
use crate::ServerError;
use crate::config;
use crate::revoke;
use crate::store::Store;

/// Lifetimes of the long-lived certificates, in days: a root outlives what it signs.
const ROOT_DAYS: i64 = 3650;
const ISSUING_DAYS: i64 = 3 * 365;

/// What a new instance is to be.
#[derive(Debug)]
pub struct InitOptions {
    /// Who runs it; the organisation in its certificates.
    pub organization: String,
    /// The address clients use.
    pub url: Url,
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The password of its keys. Without one, a random password is made and put into `keys/password`.
    pub password: Option<Zeroizing<String>>,
    /// An OpenID Connect issuer whose users get certificates in their e-mail address's name.
    pub oidc_issuer: Option<String>,
    /// Requests per second and client address; 0 for no limit.
    pub requests_per_second: u32,
    /// Keys that are to live elsewhere than in files: in hardware tokens, say. One that is not there yet is made.
    pub keys: BTreeMap<InstanceKey, KeyRef>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl Default for InitOptions {
    /// An instance for trying, on loopback.
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8411));
        #[expect(clippy::expect_used, reason = "a constant, parsed in every test")]
        let url = Url::parse("http://localhost:8411").expect("a constant URL");
        Self {
            organization: "countersign".into(),
            url,
            listen,
            password: None,
            oidc_issuer: None,
            requests_per_second: 100,
            keys: BTreeMap::new(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitReport {
    /// The instance's directory.
    pub directory: PathBuf,
    /// The address clients use.
    pub url: String,
    /// The file with the password, when one was made.
    pub password_file: Option<PathBuf>,
    /// Key files which are needed for rotations only, and should be moved away.
    pub offline_keys: Vec<PathBuf>,
    /// Keys that live elsewhere, with their references, and whether they were made or found there.
    pub elsewhere: Vec<(InstanceKey, KeyRef, KeyOrigin)>,
    /// SHA-256 of the TUF root, for comparing on the clients.
    pub root_fingerprint: String,
}

/// Makes an instance. Everything is made in a directory beside and moved into place at the end, so that a failure
/// leaves nothing behind that looks like an instance.
///
/// # Errors
/// [`ServerError::File`] when the directory is there and not empty or cannot be written, and whatever goes wrong with
/// keys, certificates, logs and the TUF repository.
pub fn init(directory: &Path, options: &InitOptions) -> Result<InitReport, ServerError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |e: std::io::Error| ServerError::File { path, message: e.to_string() }
    };
    if std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(ServerError::File {
            path: directory.to_owned(),
            message: "is there and not empty; choose another directory, or remove it if it is not needed"
                .into(),
        });
    }
    let name = directory.file_name().ok_or_else(|| ServerError::File {
        path: directory.to_owned(),
        message: "is not the name of a directory that can be made".into(),
    })?;
    let mut draft_name = std::ffi::OsString::from(".");
    draft_name.push(name);
    draft_name.push(format!(".draft-{}", std::process::id()));
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    std::fs::create_dir_all(&parent).map_err(failed(&parent))?;
    let draft = parent.join(draft_name);
    let made = create(&draft, options).and_then(|fingerprint| {
        // An empty directory may be there already; rename replaces it.
        std::fs::rename(&draft, directory).map_err(failed(directory))?;
        Ok(fingerprint)
    });
    let (root_fingerprint, origins) = match made {
        Ok(made) => made,
        Err(e) => {
            // Ours, made a moment ago; the error that matters is the first one.
            let _ = std::fs::remove_dir_all(&draft);
            return Err(e);
        }
    };
    Ok(InitReport {
        directory: directory.to_owned(),
        url: options.url.as_str().trim_end_matches('/').to_owned(),
        password_file: options.password.is_none().then(|| directory.join(paths::PASSWORD)),
        offline_keys: InstanceKey::ALL
            .into_iter()
            .filter(|k| k.is_offline() && !options.keys.contains_key(k))
            .map(|k| k.private(directory))
            .collect(),
        elsewhere: origins
            .into_iter()
            .filter_map(|(key, origin)| Some((key, options.keys.get(&key)?.clone(), origin)))
            .collect(),
        root_fingerprint,
    })
}

fn create(
    draft: &Path,
    options: &InitOptions,
) -> Result<(String, Vec<(InstanceKey, KeyOrigin)>), ServerError> {
    for sub in ["", "keys", "keys/offline", "certificates"] {
        file::create_private_dir(&draft.join(sub))
            .map_err(|e| ServerError::File { path: draft.join(sub), message: e.to_string() })?;
    }
    let password = match &options.password {
        Some(password) => password.clone(),
        None => {
            let mut bytes = Zeroizing::new([0; 32]);
            random(bytes.as_mut()).map_err(|e| ServerError::Trust(e.to_string()))?;
            let password = Zeroizing::new(base64url_encode(bytes.as_ref()));
            let path = draft.join(paths::PASSWORD);
            file::write_new(&path, password.as_bytes(), file::PRIVATE)
                .map_err(|e| ServerError::File { path, message: e.to_string() })?;
            password
        }
    };
    let issuers = match &options.oidc_issuer {
        Some(issuer) => {
            let quoted = toml::Value::String(issuer.clone()).to_string();
            format!(
                "# Who may vouch for identities: one table for each OpenID Connect issuer.\n\
                 [[ca.issuers]]\nurl = {quoted}\ntype = \"email\"\nclient_id = \"sigstore\"\n"
            )
        }
        None => config::ISSUER_EXAMPLES.to_owned(),
    };
    let text = config::template(
        &options.organization,
        &options.url,
        options.listen,
        options.password.is_none().then_some(paths::PASSWORD),
        &options.keys,
        &issuers,
        options.requests_per_second,
    );
    let path = draft.join(FILE_NAME);
    config::Config::parse(&text)
        .map_err(|message| ServerError::Config { path: PathBuf::from(FILE_NAME), message })?;
    write_public(&path, text.as_bytes())?;

    let now = options.clock.now();
    let source = PasswordSource::Literal(password).once();
    let instance = Instance::open(draft)?;
    let origins = make_keys(&instance, &source)?;
    make_certificates(&instance, &source, now)?;
    make_logs(&instance, &source, now)?;
    let fingerprint = make_repository(&instance, &source, now)?;
    // Nothing is revoked, and that is said too: else who keeps the list from somebody would keep all of it.
    revoke::begin(&instance, &source, now)?;
    Ok((fingerprint, origins))
}

/// Each key takes a tenth of a second of key derivation on purpose, so they are made side by side.
fn make_keys(
    instance: &Instance,
    password: &PasswordSource,
) -> Result<Vec<(InstanceKey, KeyOrigin)>, ServerError> {
    std::thread::scope(|scope| {
        let tasks: Vec<_> = InstanceKey::ALL
            .map(|key| scope.spawn(move || Ok((key, instance.create_key(key, password)?))))
            .into_iter()
            .collect();
        tasks
            .into_iter()
            .map(|task| task.join().unwrap_or_else(|_| Err(ServerError::Trust("making a key failed".into()))))
            .collect()
    })
}

pub(crate) fn days(now: Timestamp, days: i64) -> Result<Timestamp, ServerError> {
    now.checked_add(SignedDuration::from_hours(24 * days)).map_err(|e| ServerError::Trust(e.to_string()))
}

pub(crate) fn profile(
    organization: &str,
    common_name: &str,
    now: Timestamp,
    lifetime_days: i64,
) -> Result<AuthorityProfile, ServerError> {
    let mut serial = [0; 20];
    random(&mut serial).map_err(|e| ServerError::Trust(e.to_string()))?;
    // A serial number is positive and not zero.
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    // Whole seconds, a minute back: the clocks of clients differ.
    let not_before =
        Timestamp::from_second(now.as_second() - 60).map_err(|e| ServerError::Trust(e.to_string()))?;
    Ok(AuthorityProfile {
        subject: Name::new(Some(organization), Some(common_name)),
        not_before,
        not_after: days(not_before, lifetime_days)?,
        serial,
    })
}

fn parse(der: &[u8]) -> Result<Certificate, ServerError> {
    Certificate::from_der(der)
        .map_err(|e| ServerError::Trust(format!("a new certificate cannot be read: {e}")))
}

fn unmade(error: &countersign_x509::issue::IssueError) -> ServerError {
    ServerError::Trust(format!("no certificate was made: {error}"))
}

fn new_root(
    organization: &str,
    name: &str,
    path_len: u8,
    signer: &dyn Signer,
    now: Timestamp,
) -> Result<Certificate, ServerError> {
    let profile = profile(organization, name, now, ROOT_DAYS)?;
    parse(&root_ca(&profile, Some(path_len), signer).map_err(|e| unmade(&e))?)
}

/// The profile of what a root issues: valid no longer than the root itself.
fn below(
    root: &Certificate,
    organization: &str,
    name: &str,
    now: Timestamp,
) -> Result<AuthorityProfile, ServerError> {
    let mut own = profile(organization, name, now, ISSUING_DAYS)?;
    own.not_before = own.not_before.max(root.not_before());
    own.not_after = own.not_after.min(root.not_after());
    Ok(own)
}

fn write_chain(path: &Path, issued: &[u8], root: &Certificate) -> Result<(), ServerError> {
    write_public(path, (parse(issued)?.to_pem() + &root.to_pem()).as_bytes())
}

/// Writes the chain of the certificate authority: intermediate, then root.
pub(crate) fn make_ca_chain(
    directory: &Path,
    organization: &str,
    root_signer: &dyn Signer,
    now: Timestamp,
    old_root: Option<Certificate>,
) -> Result<(), ServerError> {
    let root = match old_root {
        Some(root) => root,
        None => new_root(organization, "root", 1, root_signer, now)?,
    };
    let key = InstanceKey::Ca.load_public(directory)?;
    let own = below(&root, organization, "intermediate", now)?;
    let issued =
        intermediate_ca(&own, &key, Purpose::CodeSigning, &root, root_signer).map_err(|e| unmade(&e))?;
    write_chain(&directory.join(paths::CA_CHAIN), &issued, &root)
}

/// Writes the chain of the timestamp authority: its own certificate, then the root.
pub(crate) fn make_tsa_chain(
    directory: &Path,
    organization: &str,
    root_signer: &dyn Signer,
    now: Timestamp,
    old_root: Option<Certificate>,
) -> Result<(), ServerError> {
    let root = match old_root {
        Some(root) => root,
        None => new_root(organization, "timestamp root", 0, root_signer, now)?,
    };
    let key = InstanceKey::Tsa.load_public(directory)?;
    let own = below(&root, organization, "timestamp authority", now)?;
    let issued = tsa_leaf(&own, &key, &root, root_signer).map_err(|e| unmade(&e))?;
    write_chain(&directory.join(paths::TSA_CHAIN), &issued, &root)
}

fn make_certificates(
    instance: &Instance,
    password: &PasswordSource,
    now: Timestamp,
) -> Result<(), ServerError> {
    let (directory, organization) = (&instance.directory, &instance.config.organization);
    let ca_root = instance.load_key(InstanceKey::CaRoot, password)?;
    make_ca_chain(directory, organization, ca_root.as_ref(), now, None)?;
    let tsa_root = instance.load_key(InstanceKey::TsaRoot, password)?;
    make_tsa_chain(directory, organization, tsa_root.as_ref(), now, None)
}

/// The first entry of a transparency log: a note that it began, so that nobody is given index 0, which clients
/// written in Go drop from their JSON and others then miss.
pub(crate) fn log_params(origin: &str, now: Timestamp) -> LogParams {
    let body = serde_json::json!({
        "apiVersion": "0.0.1",
        "kind": "countersign.genesis",
        "spec": {"origin": origin, "began": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()},
    })
    .to_string()
    .into_bytes();
    LogParams {
        origin: origin.to_owned(),
        format: Format::Rekor,
        genesis: Leaf { merkle_leaf: body.clone(), stored: body },
    }
}

fn make_logs(instance: &Instance, password: &PasswordSource, now: Timestamp) -> Result<(), ServerError> {
    make_transparency_log(instance, now)?;
    make_log_v1(instance, password, now)?;
    make_ct_log(instance, now)
}

pub(crate) fn make_transparency_log(instance: &Instance, now: Timestamp) -> Result<(), ServerError> {
    Store::of(instance)?
        .create(paths::LOG, &log_params(&instance.config.origin(), now))
        .map_err(|e| ServerError::Log { log: "transparency", message: e.to_string() })
}

/// The log of Rekor v1. Who reads all of it expects entries of kinds that are known, so the first one is one: the log's own
/// signature over its name and the time it began.
pub(crate) fn make_log_v1(
    instance: &Instance,
    password: &PasswordSource,
    now: Timestamp,
) -> Result<(), ServerError> {
    let bad = |message: String| ServerError::Log { log: "Rekor v1", message };
    let mut number = [0; 8];
    random(&mut number).map_err(|e| bad(e.to_string()))?;
    // Above zero, and within what others keep in a signed number.
    let tree_id = (u64::from_be_bytes(number) >> 1).max(1);
    let origin = format!("{} - {tree_id}", instance.config.origin());
    let digest = HashAlgorithm::Sha256.digest(format!("{origin} began at {now}\n").as_bytes());
    let signer = instance.load_key(InstanceKey::LogV1, password)?;
    let signature = signer.sign_digest(&digest).map_err(|e| bad(e.to_string()))?;
    let verifier_pem = signer.public_key().to_pem();
    let body = BodyV1::HashedRekord { digest, signature, verifier_pem }.canonical_body();
    let genesis = Leaf::v1(u64::try_from(now.as_second()).unwrap_or_default(), body);
    let params = LogParams { origin, format: Format::RekorV1, genesis };
    Store::of(instance)?.create(paths::LOG_V1, &params).map_err(|e| bad(e.to_string()))
}

pub(crate) fn make_ct_log(instance: &Instance, now: Timestamp) -> Result<(), ServerError> {
    let bad = |message: String| ServerError::Log { log: "CT", message };
    let chain = instance.chain(paths::CA_CHAIN)?;
    let root = chain.last().ok_or_else(|| bad("there is no root certificate".into()))?;
    let params = CtLog::params(&instance.ct_origin(), root, now).map_err(|e| bad(e.to_string()))?;
    Store::of(instance)?.create(paths::CT, &params).map_err(|e| bad(e.to_string()))
}

fn make_repository(
    instance: &Instance,
    password: &PasswordSource,
    now: Timestamp,
) -> Result<String, ServerError> {
    let bad = |e: &dyn std::fmt::Display| ServerError::Trust(e.to_string());
    let description = instance.description()?;
    // Valid from a minute ago: the clocks of clients differ.
    let start = Timestamp::from_second(now.as_second() - 60).map_err(|e| bad(&e))?;
    let root = documents::trusted_root(&description, start).map_err(|e| bad(&e))?;
    let signing = documents::signing_config(&description, start).map_err(|e| bad(&e))?;
    let mut targets = documents::targets(&root, &signing).map_err(|e| bad(&e))?;
    targets.push(revoke::authority_target(instance)?);
    let offline = instance.load_key(InstanceKey::TufRoot, password)?;
    let online = instance.load_key(InstanceKey::TufOnline, password)?;
    let roles = Roles::offline_and_online(Role::single(offline.public_key()), online.public_key());
    let repository = Repository::create(
        &instance.directory.join(paths::TUF),
        &roles,
        Lifetimes::default(),
        &[offline, online],
        &targets,
        now,
    )
    .map_err(|e| bad(&e))?;
    let root_json = repository.root_json(now).map_err(|e| bad(&e))?;
    Ok(countersign_crypto::encoding::hex_encode(&sha256(&root_json)))
}
