//! What can go wrong with the named trust roots of a machine.

use countersign_keys::KeyError;

use crate::tuf::TufError;

/// What can go wrong with a named instance.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstanceError {
    /// A name that is not a plain file name.
    #[error(
        "not an instance name: expected 1 to 64 small letters, digits, \".\", \"_\" and \"-\", beginning with a \
         letter or digit, found {0:?}"
    )]
    Name(String),
    /// A name that is taken.
    #[error("there is an instance {0} already; remove it first if it is to be trusted anew")]
    Exists(String),
    /// A name that is not known.
    #[error("no instance {name}; known are: {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Those there are.
        known: String,
    },
    /// A root other than the one expected.
    #[error("the root is not the expected one: expected sha256:{expected}, found sha256:{found}")]
    Fingerprint {
        /// What the user gave.
        expected: String,
        /// What was fetched.
        found: String,
    },
    /// No root under the address.
    #[error("no trust root at {url}: expected root.json or tuf/root.json there")]
    NoRoot {
        /// The address.
        url: String,
    },
    /// An instance added from a file, which has nowhere to refresh from.
    #[error("instance {0} was added from a file: add a newer file under another name, or remove it first")]
    NoAddress(String),
    /// A document that is not what its name says.
    #[error("{name} is not usable: {detail}")]
    Document {
        /// Which document.
        name: &'static str,
        /// What was expected and found.
        detail: String,
    },
    /// An instance with somebody who may revoke, whose list was never fetched.
    #[error(
        "instance {0} publishes what it revokes, and its list was never fetched, so nobody knows what is revoked: \
         countersign trust update {0}"
    )]
    NoRevocations(String),
    /// A revocation list that does not count.
    #[error("the revocation list of instance {name}: {detail}")]
    Revocations {
        /// The instance.
        name: String,
        /// What was expected and found.
        detail: String,
    },
    /// A revocation list that cannot be fetched.
    #[error("no revocation list from {url}: {detail}")]
    RevocationsAway {
        /// Where it was expected.
        url: String,
        /// What happened.
        detail: String,
    },
    /// No place for configuration.
    #[error("no directory for configuration: set XDG_CONFIG_HOME or HOME to an absolute path")]
    NoHome,
    /// TUF.
    #[error(transparent)]
    Tuf(#[from] TufError),
    /// Files.
    #[error(transparent)]
    File(#[from] KeyError),
}
