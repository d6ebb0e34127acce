//! What surrounds the program: the variables and files in which the official tools of each home keep what is
//! needed to reach it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign_http::{Http, HttpOptions};
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::{KeyError, file};

/// The largest file with credentials or settings, in bytes.
pub(crate) const MAX_SETTINGS: usize = 1 << 20;

/// The variables of the process, or some given ones.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    given: Option<Arc<BTreeMap<String, String>>>,
}

impl Environment {
    /// A variable's value. One that is set to nothing counts as not set, as the official tools have it.
    pub(crate) fn get(&self, name: &str) -> Option<Zeroizing<String>> {
        let value = match &self.given {
            Some(given) => given.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        value.map(Zeroizing::new).filter(|value| !value.is_empty())
    }

    /// The first of these variables that is set.
    pub(crate) fn first(&self, names: &[&str]) -> Option<Zeroizing<String>> {
        names.iter().find_map(|name| self.get(name))
    }

    /// A variable's value as text without secrets.
    pub(crate) fn plain(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| value.to_string())
    }

    /// A variable's value as a path, else a path below the user's home directory.
    pub(crate) fn path_or_home(&self, name: &str, below_home: &str) -> Option<PathBuf> {
        self.plain(name).map(PathBuf::from).or_else(|| self.below_home(below_home))
    }

    /// A path below the user's home directory.
    pub(crate) fn below_home(&self, path: &str) -> Option<PathBuf> {
        self.first(&["HOME", "USERPROFILE"]).map(|home| Path::new(home.as_str()).join(path))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.given.is_some() { "Environment(given)" } else { "Environment(process)" })
    }
}

/// Reads a file with a token or settings in it, without the white space around.
pub(crate) fn read_settings(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let text = file::read_public(path, MAX_SETTINGS)?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// As [`read_settings`], for a file that may be missing.
pub(crate) fn read_optional(path: Option<PathBuf>) -> Result<Option<Zeroizing<String>>, KeyError> {
    match path {
        Some(path) if path.exists() => read_settings(&path).map(Some),
        _ => Ok(None),
    }
}

/// Whether an address is on the machine's own link, where clouds have their metadata services.
pub(crate) fn is_link_local(url: &Url) -> bool {
    matches!(url.host(), Some(Host::Ipv4(ip)) if ip.is_link_local())
}

/// With what homes are reached.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) environment: Environment,
    pub(crate) options: HttpOptions,
    /// The longest that one question to a home may take, with all its requests and attempts.
    pub(crate) patience: Duration,
    /// Where Kubernetes puts a workload's own credentials.
    pub(crate) service_account: PathBuf,
}

impl Context {
    /// The process's own environment.
    pub(crate) fn process() -> Self {
        Self {
            environment: Environment::default(),
            options: HttpOptions {
                timeout: Duration::from_secs(10),
                longest_wait: Duration::from_secs(2),
                ..HttpOptions::default()
            },
            patience: Duration::from_secs(30),
            service_account: "/var/run/secrets/kubernetes.io/serviceaccount".into(),
        }
    }

    /// A client for a service on the network.
    pub(crate) fn http(&self) -> Http {
        Http::new(self.options.clone())
    }

    /// A client for the machine's own metadata service: plain http to a link-local address, without a proxy, and
    /// quick to give up, for it answers at once or is not there.
    pub(crate) fn metadata_http(&self) -> Http {
        Http::new(HttpOptions {
            timeout: self.options.timeout.min(Duration::from_secs(3)),
            attempts: self.options.attempts.min(2),
            allow_plain_http: true,
            no_proxy: true,
            ..self.options.clone()
        })
    }
}

#[cfg(test)]
impl Context {
    /// These variables and no others, and little patience.
    pub(crate) fn given(variables: &[(&str, &str)]) -> Self {
        let given = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let process = Self::process();
        Self {
            environment: Environment { given: Some(Arc::new(given)) },
            options: HttpOptions {
                timeout: Duration::from_secs(2),
                attempts: 2,
                backoff: Duration::ZERO,
                longest_wait: Duration::ZERO,
                ..process.options.clone()
            },
            patience: Duration::from_secs(20),
            service_account: "/nonexistent".into(),
        }
    }
}
