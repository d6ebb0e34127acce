//! How a registry is to be asked: whose credentials may be used.

use std::collections::BTreeSet;
use std::fmt;

/// An object of a cluster, by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A cloud whose own credential helper may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provider {
    /// The machine's own configuration of Docker.
    Default,
    /// Google's registries.
    Google,
    /// Azure's.
    Azure,
    /// Amazon's.
    Amazon,
    /// GitHub's.
    Github,
}

/// The credentials that may be used for the registries of one request, each for its own host alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Access {
    /// Pull secrets. One without a namespace is in the namespace that whoever answers runs in.
    pub secrets: BTreeSet<ObjectName>,
    /// Service accounts, whose pull secrets count.
    pub service_accounts: BTreeSet<ObjectName>,
    /// Cloud credential helpers.
    pub providers: BTreeSet<Provider>,
    /// Whether plain HTTP, and certificates that nobody vouches for, are accepted.
    pub insecure: bool,
}

impl Access {
    /// Adds what another may use.
    pub fn extend(&mut self, other: &Self) {
        self.secrets.extend(other.secrets.iter().cloned());
        self.service_accounts.extend(other.service_accounts.iter().cloned());
        self.providers.extend(other.providers.iter().copied());
        self.insecure |= other.insecure;
    }
}
