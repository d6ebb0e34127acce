//! Docker's `config.json`, which podman's `auth.json` and Kubernetes' pull secrets share.

use std::collections::BTreeMap;
use std::path::Path;

use countersign_crypto::encoding::base64_decode;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Credential;
use crate::reference::{DOCKER_HUB, Repository};
use crate::{RegistryError, files};

/// The largest configuration that is read, in bytes.
const MAX_CONFIG_LEN: usize = 1 << 20;

/// What a configuration says about credentials.
#[derive(Clone, Default)]
pub struct DockerConfig {
    entries: Vec<Entry>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

#[derive(Clone)]
struct Entry {
    host: String,
    path: String,
    credential: Credential,
}

/// Where a configuration says the credential for a repository is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the file itself.
    Here(Credential),
    /// With this helper.
    Helper(String),
    /// Nowhere.
    Nowhere,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: Option<Zeroizing<String>>,
    username: Option<String>,
    password: Option<Zeroizing<String>>,
    identitytoken: Option<Zeroizing<String>>,
    registrytoken: Option<Zeroizing<String>>,
}

#[derive(Deserialize)]
struct Secret {
    data: BTreeMap<String, Zeroizing<String>>,
}

impl DockerConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`RegistryError::Usage`], which does not show what the file holds.
    pub fn parse(bytes: &[u8]) -> Result<Self, RegistryError> {
        if bytes.len() > MAX_CONFIG_LEN {
            return Err(RegistryError::too_large("the registry credentials", "1 MiB"));
        }
        let file: File = serde_json::from_slice(bytes).map_err(|e| unreadable(&e))?;
        Self::build(file)
    }

    /// Reads a file of the older form (`.dockercfg`), which holds nothing but the credentials.
    ///
    /// # Errors
    /// As [`DockerConfig::parse`].
    pub fn parse_old(bytes: &[u8]) -> Result<Self, RegistryError> {
        if bytes.len() > MAX_CONFIG_LEN {
            return Err(RegistryError::too_large("the registry credentials", "1 MiB"));
        }
        let auths = serde_json::from_slice(bytes).map_err(|e| unreadable(&e))?;
        Self::build(File { auths, cred_helpers: BTreeMap::new(), creds_store: None })
    }

    /// Reads a file of this form; `None` when there is none.
    ///
    /// # Errors
    /// [`RegistryError::File`], and as [`DockerConfig::parse`].
    pub fn read(path: &Path) -> Result<Option<Self>, RegistryError> {
        match files::read_small(path, MAX_CONFIG_LEN)? {
            Some(bytes) => Self::parse(&Zeroizing::new(bytes)).map(Some),
            None => Ok(None),
        }
    }

    /// Reads a Kubernetes secret (as JSON) of the types `kubernetes.io/dockerconfigjson` and
    /// `kubernetes.io/dockercfg`.
    ///
    /// # Errors
    /// As [`DockerConfig::parse`].
    pub fn from_pull_secret(bytes: &[u8]) -> Result<Self, RegistryError> {
        if bytes.len() > 2 * MAX_CONFIG_LEN {
            return Err(RegistryError::too_large("the pull secret", "2 MiB"));
        }
        let secret: Secret = serde_json::from_slice(bytes).map_err(|e| unreadable(&e))?;
        let decoded = |text: &Zeroizing<String>| {
            base64_decode(text)
                .map(Zeroizing::new)
                .map_err(|_| RegistryError::Usage("the pull secret's data is not base64".into()))
        };
        if let Some(text) = secret.data.get(".dockerconfigjson") {
            return Self::parse(&decoded(text)?);
        }
        if let Some(text) = secret.data.get(".dockercfg") {
            return Self::parse_old(&decoded(text)?);
        }
        Err(RegistryError::Usage("expected a secret with .dockerconfigjson or .dockercfg".into()))
    }

    /// What is said by whom no program may be run for: credentials alone, as Kubernetes reads pull secrets.
    #[must_use]
    pub fn without_helpers(self) -> Self {
        Self { helpers: BTreeMap::new(), store: None, ..self }
    }

    fn build(file: File) -> Result<Self, RegistryError> {
        let mut entries = Vec::new();
        for (key, auth) in file.auths {
            if let Some(credential) = auth.credential()? {
                let (host, path) = host_and_path(&key);
                entries.push(Entry { host, path, credential });
            }
        }
        let mut helpers = BTreeMap::new();
        for (key, name) in file.cred_helpers {
            helpers.insert(host_and_path(&key).0, name);
        }
        Ok(Self { entries, helpers, store: file.creds_store.filter(|name| !name.is_empty()) })
    }

    /// Where the credential for a repository is. The host is the same, byte for byte; a path in the key must
    /// hold the repository, and the longest such key decides.
    pub(super) fn find(&self, repository: &Repository) -> Place {
        if let Some(name) = self.helpers.get(repository.registry()) {
            return Place::Helper(name.clone());
        }
        let holds = |entry: &&Entry| {
            let rest = repository.path().strip_prefix(entry.path.as_str());
            entry.host == repository.registry()
                && rest.is_some_and(|rest| entry.path.is_empty() || rest.is_empty() || rest.starts_with('/'))
        };
        if let Some(entry) = self.entries.iter().filter(holds).max_by_key(|entry| entry.path.len()) {
            return Place::Here(entry.credential.clone());
        }
        self.store.clone().map_or(Place::Nowhere, Place::Helper)
    }
}

impl std::fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hosts: Vec<&str> = self.entries.iter().map(|entry| entry.host.as_str()).collect();
        f.debug_struct("DockerConfig").field("hosts", &hosts).field("helpers", &self.helpers).finish()
    }
}

impl Auth {
    fn credential(self) -> Result<Option<Credential>, RegistryError> {
        let given = |token: Option<Zeroizing<String>>| token.filter(|token| !token.is_empty());
        if let Some(token) = given(self.registrytoken) {
            return Ok(Some(Credential::Token(token)));
        }
        if let Some(token) = given(self.identitytoken) {
            return Ok(Some(Credential::Identity(token)));
        }
        if let (Some(user), Some(password)) = (self.username, given(self.password)) {
            return Ok(Some(Credential::Password { user, password }));
        }
        let Some(auth) = given(self.auth) else { return Ok(None) };
        let wrong = || {
            RegistryError::Usage(
                "the registry credentials hold an auth which is not base64 of user:password".into(),
            )
        };
        let decoded = Zeroizing::new(base64_decode(&auth).map_err(|_| wrong())?);
        let text = std::str::from_utf8(&decoded).map_err(|_| wrong())?;
        let (user, password) = text.trim_end_matches('\0').split_once(':').ok_or_else(wrong)?;
        Ok(Some(Credential::password(user, password)))
    }
}

/// The host and the path of a key. Docker writes its Hub as `https://index.docker.io/v1/`.
fn host_and_path(key: &str) -> (String, String) {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let host = match host.to_ascii_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        host => host.to_owned(),
    };
    let path = path.trim_end_matches('/');
    let path = if matches!(path, "v1" | "v2") { "" } else { path };
    (host, path.to_owned())
}

/// An error of JSON, without the text around it: it may hold a password.
fn unreadable(error: &serde_json::Error) -> RegistryError {
    RegistryError::Usage(format!(
        "the registry credentials cannot be read: line {}, column {}: expected the JSON of Docker's config.json",
        error.line(),
        error.column()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_crypto::encoding::base64_encode;

    fn config(text: &str) -> DockerConfig {
        DockerConfig::parse(text.as_bytes()).unwrap()
    }

    fn find(config: &DockerConfig, repository: &str) -> Place {
        config.find(&Repository::parse(repository).unwrap())
    }

    #[test]
    fn v27_a_credential_is_for_one_host_and_no_other() {
        let config = config(r#"{"auths":{"https://example.com":{"username":"u","password":"p"}}}"#);
        assert_eq!(find(&config, "example.com/a"), Place::Here(Credential::password("u", "p")));
        for other in [
            "ample.com/a",
            "example.com.evil/a",
            "notexample.com/a",
            "example.com:443/a",
            "example.co/m",
            "evil.io/example.com",
            "sub.example.com/a",
        ] {
            assert_eq!(find(&config, other), Place::Nowhere, "{other}");
        }
    }

    #[test]
    fn a_key_with_a_path_is_for_what_lies_under_it() {
        let config = config(
            r#"{"auths":{"r.example/acme":{"auth":"YTpi"},"r.example/acme/app":{"auth":"Yzpk"},"r.example":{}}}"#,
        );
        assert_eq!(find(&config, "r.example/acme/web"), Place::Here(Credential::password("a", "b")));
        assert_eq!(find(&config, "r.example/acme/app"), Place::Here(Credential::password("c", "d")));
        assert_eq!(find(&config, "r.example/acmeevil/app"), Place::Nowhere);
    }

    #[test]
    fn docker_hub_has_many_names() {
        let config = config(r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpiOmM="}}}"#);
        assert_eq!(find(&config, "alpine"), Place::Here(Credential::password("a", "b:c")));
    }

    #[test]
    fn helpers_are_for_their_host_and_a_store_for_the_rest() {
        let config = config(r#"{"credHelpers":{"x.azurecr.io":"acr"},"credsStore":"desktop"}"#);
        assert_eq!(find(&config, "x.azurecr.io/a"), Place::Helper("acr".into()));
        assert_eq!(find(&config, "evil.io/a"), Place::Helper("desktop".into()));
    }

    #[test]
    fn a_pull_secret_runs_no_program() {
        let text = r#"{"auths":{"r.example":{"auth":"YTpi"}},"credHelpers":{"x.azurecr.io":"acr"},"credsStore":"desktop"}"#;
        let config = config(text).without_helpers();
        assert_eq!(find(&config, "r.example/a"), Place::Here(Credential::password("a", "b")));
        assert_eq!(find(&config, "x.azurecr.io/a"), Place::Nowhere);
        assert_eq!(find(&config, "evil.io/a"), Place::Nowhere);
    }

    #[test]
    fn v59_a_cloud_helper_is_not_asked_for_a_foreign_registry() {
        let config = config(r#"{"credHelpers":{"x.azurecr.io":"acr"}}"#);
        assert_eq!(find(&config, "evil.io/x"), Place::Nowhere);
        assert_eq!(find(&config, "x.azurecr.io.evil.io/x"), Place::Nowhere);
    }

    #[test]
    fn tokens_are_told_apart() {
        let config =
            config(r#"{"auths":{"a.io":{"auth":"YTo=","identitytoken":"i"},"b.io":{"registrytoken":"r"}}}"#);
        assert_eq!(find(&config, "a.io/x"), Place::Here(Credential::Identity("i".to_owned().into())));
        assert_eq!(find(&config, "b.io/x"), Place::Here(Credential::Token("r".to_owned().into())));
    }

    #[test]
    fn pull_secrets_of_both_types_are_read() {
        let new = base64_encode(br#"{"auths":{"r.example":{"auth":"YTpi"}}}"#);
        let old = base64_encode(br#"{"r.example":{"auth":"YTpi"}}"#);
        for secret in [
            format!(r#"{{"kind":"Secret","data":{{".dockerconfigjson":"{new}"}}}}"#),
            format!(r#"{{"kind":"Secret","data":{{".dockercfg":"{old}"}}}}"#),
        ] {
            let config = DockerConfig::from_pull_secret(secret.as_bytes()).unwrap();
            assert_eq!(find(&config, "r.example/x"), Place::Here(Credential::password("a", "b")));
        }
        assert!(DockerConfig::from_pull_secret(br#"{"data":{"password":"eA=="}}"#).is_err());
    }

    #[test]
    fn errors_and_debug_output_hold_no_secret() {
        let error = DockerConfig::parse(br#"{"auths":{"a.io":{"password":["hunter2"]}}}"#).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let config = config(r#"{"auths":{"a.io":{"username":"u","password":"hunter2"}}}"#);
        assert!(!format!("{config:?}{:?}", find(&config, "a.io/x")).contains("hunter2"));
        assert!(DockerConfig::parse(br#"{"auths":{"a.io":{"auth":"!!"}}}"#).is_err());
        assert!(DockerConfig::parse(&vec![b' '; MAX_CONFIG_LEN + 1]).is_err());
    }
}
