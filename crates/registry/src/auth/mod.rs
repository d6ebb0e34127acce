//! Who we are to a registry: challenges, credentials, tokens.
//!
//! A credential belongs to one host and is sent to that host only. The server that hands out tokens may be
//! another host, named by the registry itself; it gets the credential only if it is known or configured to be
//! the registry's (CVE-2020-15157 and its kind), else it is asked without.

mod challenge;
mod cloud;
mod credentials;
mod docker_config;
mod helper;
mod token;

use std::fmt;

use zeroize::Zeroizing;

pub use challenge::{Challenge, parse_challenges};
pub use cloud::Cloud;
pub use credentials::Credentials;
pub use docker_config::DockerConfig;
pub(crate) use token::{TokenServer, Tokens, basic};

/// What proves to a registry who asks. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user with a password, or with a token that takes its place.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Zeroizing<String>,
    },
    /// A token that is exchanged for others (Docker's `identitytoken`).
    Identity(Zeroizing<String>),
    /// A token that goes to the registry as it is (`registrytoken`).
    Token(Zeroizing<String>),
}

impl Credential {
    /// A user with a password.
    #[must_use]
    pub fn password(user: &str, password: &str) -> Self {
        Self::Password { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(…)",
            Self::Identity(_) => "Identity(…)",
            Self::Token(_) => "Token(…)",
        })
    }
}
