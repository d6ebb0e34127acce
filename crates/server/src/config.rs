//! `countersign.toml`, the configuration of an instance.

mod template;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use countersign_keys::KeyRef;
use countersign_log::storage::{Objects, PostgresAccess};
use serde::Deserialize;
use url::Url;

use crate::ServerError;
use crate::instance::InstanceKey;
use crate::witness::{AskedWitness, WitnessSection};
pub(crate) use template::{ISSUER_EXAMPLES, template};

/// The name of the configuration file in an instance's directory.
pub const FILE_NAME: &str = "countersign.toml";

/// A service of an instance. One process runs all of them, or some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// The certificate authority (Fulcio), with its CT log: no certificate leaves without an SCT.
    Ca,
    /// The transparency log: Rekor v2, and Rekor v1 where it is switched on.
    Log,
    /// The timestamp authority (RFC 3161).
    Tsa,
    /// The trust root: `trusted_root.json`, `signing_config.v0.2.json` and the TUF repository.
    Trust,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ca, Self::Log, Self::Tsa, Self::Trust];
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "ca" => Ok(Self::Ca),
            "log" => Ok(Self::Log),
            "tsa" => Ok(Self::Tsa),
            "trust" => Ok(Self::Trust),
            other => Err(format!("no role is named \"{other}\"; the roles are ca, log, tsa and trust")),
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ca => "ca",
            Self::Log => "log",
            Self::Tsa => "tsa",
            Self::Trust => "trust",
        })
    }
}

/// The whole file. Unknown keys are errors: a misspelt limit must not silently be no limit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who runs the instance; the organisation in its certificates.
    pub organization: String,
    /// The address clients use. Its host name is the log's name: it cannot change later without a new log.
    pub url: Url,
    /// The address the process listens on.
    pub listen: SocketAddr,
    /// The roles `serve` runs unless told otherwise.
    #[serde(default = "all_roles")]
    pub roles: BTreeSet<Role>,
    /// TLS, unless a proxy in front does it.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Where the passwords of the private keys come from.
    pub keys: Keys,
    /// The certificate authority.
    pub ca: CaSection,
    /// The transparency log.
    #[serde(default)]
    pub log: LogSection,
    /// Where the logs are, when not in files of the instance.
    #[serde(default)]
    pub store: Option<StoreSection>,
    /// The pages for people.
    #[serde(default)]
    pub web: Web,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
    /// Other logs that this instance witnesses.
    #[serde(default)]
    pub witness: Option<WitnessSection>,
}

fn all_roles() -> BTreeSet<Role> {
    Role::ALL.into()
}

/// TLS files, PEM. Relative paths start at the instance's directory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Where the private keys are, and where the password of those in files comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// A file holding the password. Without it, the environment variable `COUNTERSIGN_PASSWORD` is used.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The key that issues certificates, when it is not in `keys/`; the same for those below.
    #[serde(default, deserialize_with = "key_reference")]
    pub ca: Option<KeyRef>,
    /// The CT log's key.
    #[serde(default, deserialize_with = "key_reference")]
    pub ct: Option<KeyRef>,
    /// The transparency log's key.
    #[serde(default, deserialize_with = "key_reference")]
    pub log: Option<KeyRef>,
    /// The key of the log of Rekor v1.
    #[serde(default, deserialize_with = "key_reference")]
    pub log_v1: Option<KeyRef>,
    /// The timestamp authority's key.
    #[serde(default, deserialize_with = "key_reference")]
    pub tsa: Option<KeyRef>,
    /// The key of TUF's snapshot and timestamp.
    #[serde(default, deserialize_with = "key_reference")]
    pub tuf: Option<KeyRef>,
    /// The certificate authority's root key, for rotations.
    #[serde(default, deserialize_with = "key_reference")]
    pub ca_root: Option<KeyRef>,
    /// The timestamp authority's root key, for rotations.
    #[serde(default, deserialize_with = "key_reference")]
    pub tsa_root: Option<KeyRef>,
    /// The key of TUF's root and targets, for rotations.
    #[serde(default, deserialize_with = "key_reference")]
    pub tuf_root: Option<KeyRef>,
    /// The key of revocation lists.
    #[serde(default, deserialize_with = "key_reference")]
    pub revocation: Option<KeyRef>,
}

impl Keys {
    /// The reference of a key that does not lie in `keys/`.
    #[must_use]
    pub fn reference(&self, key: InstanceKey) -> Option<&KeyRef> {
        match key {
            InstanceKey::Ca => self.ca.as_ref(),
            InstanceKey::Ct => self.ct.as_ref(),
            InstanceKey::Log => self.log.as_ref(),
            InstanceKey::LogV1 => self.log_v1.as_ref(),
            InstanceKey::Tsa => self.tsa.as_ref(),
            InstanceKey::TufOnline => self.tuf.as_ref(),
            InstanceKey::CaRoot => self.ca_root.as_ref(),
            InstanceKey::TsaRoot => self.tsa_root.as_ref(),
            InstanceKey::TufRoot => self.tuf_root.as_ref(),
            InstanceKey::Revocation => self.revocation.as_ref(),
        }
    }
}

fn key_reference<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<KeyRef>, D::Error> {
    let text = String::deserialize(deserializer)?;
    KeyRef::parse(&text).map(Some).map_err(serde::de::Error::custom)
}

/// The certificate authority's part.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaSection {
    /// Whether SCTs carry the `leaf_index` extension of static-CT logs. sigstore-python before 4.2 refuses it.
    #[serde(default = "yes")]
    pub sct_leaf_index: bool,
    /// A file in the shape of Fulcio's own configuration (YAML or JSON) with further issuers.
    #[serde(default)]
    pub fulcio_config: Option<PathBuf>,
    /// Who may vouch for identities.
    #[serde(default)]
    pub issuers: Vec<countersign_ca::config::IssuerConfig>,
}

fn yes() -> bool {
    true
}

/// The longest wait for company that makes sense: clients give up after half a minute.
const LONGEST_LINGER_MS: u64 = 1000;

/// The transparency log's part.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// How long the log waits for company before it commits a batch, in milliseconds.
    pub batch_linger_ms: u64,
    /// Whether `dsseRequestV002`, which Rekor v2 dropped and sigstore-js still sends, is logged as a hashedrekord
    /// over its pre-authentication encoding. `false` refuses it, as Rekor does.
    pub accept_dsse_requests: bool,
    /// Whether there is a second log with the interface of Rekor v1, for clients that know no other. An instance gets
    /// one when it is made, or by `countersign rotate log-v1`.
    pub rekor_v1: bool,
    /// How many hours lie between two scrubs, which read every tile from disk again and check it; 0 for none.
    pub scrub_hours: u32,
    /// A directory, best on another disk, in which the newest checkpoint of each log is marked: an instance put back from
    /// an old copy is then not signed upon. Relative paths start at the instance's directory. Without it
    /// [`crate::marks::usual`]; an empty one for no marks.
    pub mark_directory: Option<PathBuf>,
    /// The search index.
    pub search: SearchSection,
    /// Witnesses who are shown each checkpoint, and cosign it.
    pub witnesses: Vec<AskedWitness>,
    /// How many of them must have cosigned before an entry is acknowledged; with 0 nobody waits for them.
    pub min_witnesses: usize,
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            batch_linger_ms: 5,
            accept_dsse_requests: true,
            rekor_v1: false,
            scrub_hours: 24,
            mark_directory: None,
            search: SearchSection::default(),
            witnesses: Vec::new(),
            min_witnesses: 0,
        }
    }
}

/// The transparency log's search index.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchSection {
    /// Whether there is one.
    pub enabled: bool,
    /// Whether checkpoints state its root, in an extension line, so that answers can be verified. `false` for clients
    /// that refuse such lines.
    pub commit: bool,
    /// Whether identities are in it, and in that of Rekor v1, as hashes under `keys/search.key`, so that nobody can read
    /// addresses out of an index.
    pub hide_identities: bool,
}

impl Default for SearchSection {
    fn default() -> Self {
        Self { enabled: true, commit: true, hide_identities: false }
    }
}

/// Logs past one machine: two addresses, the same for every process that serves them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSection {
    /// The database, `postgres://user@host1,host2/database`. The password comes from `PGPASSWORD`, or from a file.
    pub database: String,
    /// The bucket, `s3://bucket/prefix?endpoint=https://host`. Credentials come from `AWS_ACCESS_KEY_ID` and
    /// `AWS_SECRET_ACCESS_KEY`, from a file, or from the machine's role.
    pub objects: Url,
    /// A file holding the database's password.
    #[serde(default)]
    pub database_password_file: Option<PathBuf>,
    /// A file of the bucket's credentials, as AWS's tools write it.
    #[serde(default)]
    pub objects_credentials_file: Option<PathBuf>,
}

impl StoreSection {
    /// Checks the addresses, without the network.
    fn check(&self) -> Result<(), String> {
        PostgresAccess::parse(&self.database, None).map_err(|e| format!("store.database: {e}"))?;
        Objects::s3(&self.objects, None).map_err(|e| format!("store.objects: {e}"))?;
        Ok(())
    }
}

/// The pages for people.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Web {
    /// Whether there are any.
    pub pages: bool,
}

impl Default for Web {
    fn default() -> Self {
        Self { pages: true }
    }
}

/// Limits on what clients may do.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests that write or sign (POST), per second and client address on average; 0 for no limit. Reading is what
    /// tiles and documents are for, and they are made to be cached.
    pub requests_per_second: u32,
    /// Such requests at once and client address.
    pub burst: u32,
    /// Connections open at once, over all clients.
    pub max_connections: usize,
    /// Connections open at once and client address; 0 for no limit.
    pub connections_per_client: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests_per_second: 100, burst: 400, max_connections: 4096, connections_per_client: 1024 }
    }
}

impl Config {
    /// Reads and checks the file of an instance.
    ///
    /// # Errors
    /// [`ServerError::Config`], naming file, line and what was expected.
    pub fn read(directory: &Path) -> Result<Self, ServerError> {
        let path = directory.join(FILE_NAME);
        let text = std::fs::read_to_string(&path).map_err(|e| ServerError::Config {
            path: path.clone(),
            message: match e.kind() {
                std::io::ErrorKind::NotFound => format!(
                    "not found, so {} is no instance; make one with: countersign init {}",
                    directory.display(),
                    directory.display()
                ),
                _ => format!("cannot be read: {e}"),
            },
        })?;
        Self::parse(&text).map_err(|message| ServerError::Config { path, message })
    }

    /// Reads and checks the text of a configuration.
    ///
    /// # Errors
    /// A sentence saying what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        if !matches!(config.url.scheme(), "http" | "https") || config.url.host_str().is_none() {
            return Err(format!("url: expected http:// or https:// and a host name, found {}", config.url));
        }
        if !config.url.username().is_empty() || config.url.password().is_some() {
            return Err("url: expected no user and no password: everybody is told this address".into());
        }
        if config.log.batch_linger_ms > LONGEST_LINGER_MS {
            return Err(format!(
                "log.batch_linger_ms: expected at most {LONGEST_LINGER_MS}, found {}: every answer waits for it",
                config.log.batch_linger_ms
            ));
        }
        if config.url.path() != "/" || config.url.query().is_some() || config.url.fragment().is_some() {
            return Err(format!(
                "url: the certificate authority must sit at the root of its host, found the path {}",
                config.url.path()
            ));
        }
        if config.limits.max_connections == 0 {
            return Err("limits.max_connections: expected at least 1, found 0".into());
        }
        config.store.as_ref().map_or(Ok(()), StoreSection::check)?;
        if config.roles.is_empty() {
            return Err("roles: expected at least one of ca, log, tsa, trust".into());
        }
        Ok(config)
    }

    /// The base URL without a slash at its end.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }

    /// The log's name: the host of the URL, without port (the checkpoint's origin as every client expects it).
    #[must_use]
    pub fn origin(&self) -> String {
        self.url.host_str().unwrap_or_default().to_owned()
    }
}

/// The line of `[keys]` that says where a key lives.
pub(crate) fn key_line(key: InstanceKey, reference: &KeyRef) -> String {
    format!("{} = {}", key.name(), toml::Value::String(reference.to_string()))
}

/// Writes into a configuration where a key lives from now on, and leaves everything else as it is.
pub(crate) fn set_key(path: &Path, key: InstanceKey, reference: &KeyRef) -> Result<(), ServerError> {
    change(path, "keys", &key_line(key, reference), |text| with_key(text, key, reference))
}

/// Writes into a configuration that there is a log of Rekor v1, and leaves everything else as it is.
pub(crate) fn set_rekor_v1(path: &Path) -> Result<(), ServerError> {
    const LINE: &str = "rekor_v1 = true";
    change(path, "log", LINE, |text| {
        let changed = match with_line(text, "log", "rekor_v1", LINE) {
            Some(changed) => changed,
            None => format!("{}\n\n[log]\n{LINE}\n", text.trim_end()),
        };
        Config::parse(&changed).is_ok_and(|config| config.log.rekor_v1).then_some(changed)
    })
}

fn change(
    path: &Path,
    section: &str,
    line: &str,
    with: impl FnOnce(&str) -> Option<String>,
) -> Result<(), ServerError> {
    let failed = |message: String| ServerError::Config { path: path.to_owned(), message };
    let text = std::fs::read_to_string(path).map_err(|e| failed(format!("cannot be read: {e}")))?;
    let changed = with(&text)
        .ok_or_else(|| failed(format!("has no plain [{section}] section; write into it by hand: {line}")))?;
    crate::instance::write_public(path, changed.as_bytes())
}

/// The text with a setting's line replaced, or added at the head of its section; `None` without such a section.
fn with_line(text: &str, section: &str, name: &str, line: &str) -> Option<String> {
    let is_own = |l: &str| l.trim_start().strip_prefix(name).is_some_and(|r| r.trim_start().starts_with('='));
    let mut lines: Vec<&str> = text.lines().collect();
    let head = lines.iter().position(|l| l.trim() == format!("[{section}]"))?;
    let own =
        lines.iter().skip(head + 1).take_while(|l| !l.trim_start().starts_with('[')).position(|l| is_own(l));
    match own.and_then(|at| lines.get_mut(head + 1 + at)) {
        Some(own) => *own = line,
        None => lines.insert(head + 1, line),
    }
    Some(lines.join("\n") + "\n")
}

/// The text with the key's line, and with nothing else changed; `None` where that does not do.
fn with_key(text: &str, key: InstanceKey, reference: &KeyRef) -> Option<String> {
    let changed = with_line(text, "keys", key.name(), &key_line(key, reference))?;
    let (before, after) = (Config::parse(text).ok()?, Config::parse(&changed).ok()?);
    let as_meant = |k: InstanceKey| {
        let expected = if k == key { Some(reference) } else { before.keys.reference(k) };
        after.keys.reference(k) == expected
    };
    InstanceKey::ALL.into_iter().all(as_meant).then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> String {
        template(
            "Acme \"Labs\"",
            &"http://localhost:8411".parse().unwrap(),
            "127.0.0.1:8411".parse().unwrap(),
            Some("keys/password"),
            &[(InstanceKey::Ca, KeyRef::parse("pkcs11:token=a;object=ca").unwrap())].into(),
            ISSUER_EXAMPLES,
            100,
        )
    }

    #[test]
    fn the_file_written_for_a_new_instance_reads_back() {
        let config = Config::parse(&sample()).unwrap();
        assert_eq!(config.organization, "Acme \"Labs\"");
        assert_eq!(config.base_url(), "http://localhost:8411");
        assert_eq!(config.origin(), "localhost");
        assert_eq!(config.roles, Role::ALL.into());
        assert_eq!(config.keys.reference(InstanceKey::Ca).unwrap().to_string(), "pkcs11:token=a;object=ca");
        assert_eq!(InstanceKey::ALL.iter().filter(|k| config.keys.reference(**k).is_some()).count(), 1);
    }

    #[test]
    fn every_key_has_a_line_of_its_own() {
        let reference = |key: InstanceKey| KeyRef::parse(&format!("pkcs11:object={}", key.name())).unwrap();
        for key in InstanceKey::ALL {
            let text = sample().replace("[keys]", &format!("[keys]\n{}", key_line(key, &reference(key))));
            let text = if key == InstanceKey::Ca {
                text.replace("ca = \"pkcs11:token=a;object=ca\"\n", "")
            } else {
                text
            };
            let config = Config::parse(&text).unwrap();
            assert_eq!(config.keys.reference(key), Some(&reference(key)));
        }
    }

    #[test]
    fn a_keys_new_home_is_written_into_the_file_and_nothing_else_changes() {
        let reference = KeyRef::parse("pkcs11:token=b;object=new").unwrap();
        for key in InstanceKey::ALL {
            let changed = with_key(&sample(), key, &reference).unwrap();
            let config = Config::parse(&changed).unwrap();
            assert_eq!(config.keys.reference(key), Some(&reference));
            let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
            let differing = lines(&changed).iter().filter(|l| !lines(&sample()).contains(l)).count();
            assert_eq!(differing, 1, "{changed}");
            assert_eq!(with_key(&changed, key, &reference).unwrap(), changed);
        }
        assert_eq!(with_key("keys = {}", InstanceKey::Ca, &reference), None);
    }

    #[test]
    fn a_store_past_one_machine_is_two_addresses_without_secrets() {
        let with = |database: &str, objects: &str| {
            let section = format!("[store]\ndatabase = \"{database}\"\nobjects = \"{objects}\"\n\n[limits]");
            Config::parse(&sample().replace("[limits]", &section))
        };
        let (database, objects) = ("postgres://me@db1,db2/logs", "s3://bucket/a?endpoint=http://127.0.0.1:1");
        assert_eq!(with(database, objects).unwrap().store.unwrap().database, database);
        for (database, objects, expected) in [
            ("postgres://me:hunter2@db1/logs", objects, "store.database: expected no password"),
            ("db1", objects, "store.database: expected the address"),
            (database, "s3://id:hunter2@bucket/", "store.objects: expected no credentials"),
            (database, "https://bucket", "store.objects: expected the address of a bucket"),
        ] {
            let error = with(database, objects).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_log_of_rekor_v1_is_switched_on_in_the_file_whatever_it_says_of_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let on = sample();
        assert!(Config::parse(&on).unwrap().log.rekor_v1);
        let (before, _) = on.split_once("[log]").unwrap();
        for text in [
            on.replace("rekor_v1 = true\n", ""),
            on.replace("rekor_v1 = true", "rekor_v1 = false"),
            before.to_owned(),
        ] {
            assert!(!Config::parse(&text).unwrap().log.rekor_v1);
            std::fs::write(&path, &text).unwrap();
            set_rekor_v1(&path).unwrap();
            let config = Config::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
            assert!(config.log.rekor_v1);
            assert_eq!(config.log.batch_linger_ms, 5);
        }
        std::fs::write(&path, format!("log = {{}}\n{before}")).unwrap();
        assert!(set_rekor_v1(&path).unwrap_err().to_string().contains("by hand"));
    }

    #[test]
    fn every_mistake_is_named() {
        for (from, to, expected) in [
            ("batch_linger_ms", "batch_linger", "unknown field `batch_linger`"),
            ("http://localhost:8411", "ftp://localhost", "expected http:// or https://"),
            ("http://localhost:8411", "http://localhost/fulcio", "root of its host"),
            ("http://localhost:8411", "http://localhost/#x", "root of its host"),
            ("http://localhost:8411", "http://user:hunter2@localhost", "no user and no password"),
            ("batch_linger_ms = 5", "batch_linger_ms = 60000", "at most 1000"),
            ("pages = true", "page = true", "unknown field `page`"),
            ("max_connections = 4096", "max_connections = 0", "at least 1"),
            ("\"ca\", \"log\", \"tsa\", \"trust\"", "", "at least one"),
            ("token=a;object=ca", "token=a;colour=ca", "no attribute"),
            (
                "\"pkcs11:token=a;object=ca\"",
                "\"pkcs11:object=ca?pin-value=834719\"",
                "must not hold the PIN",
            ),
            ("\"tsa\"", "\"tsq\"", "unknown variant `tsq`"),
        ] {
            let text = sample().replace(from, to);
            let error = Config::parse(&text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{to}: {error}");
        }
    }
}
