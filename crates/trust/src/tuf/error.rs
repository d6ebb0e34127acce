//! What can go wrong with TUF metadata, its transport, its cache and its signing.

use countersign_crypto::CryptoError;
use countersign_keys::KeyError;
use jiff::Timestamp;

/// What can go wrong with TUF metadata, its transport, its cache and its signing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TufError {
    /// Not JSON, or JSON that TUF does not know (a fraction, a doubled key).
    #[error("not TUF metadata: {0}")]
    Json(String),
    /// JSON which is not metadata of the role expected.
    #[error("malformed {role} metadata: {detail}")]
    Malformed {
        /// The role.
        role: String,
        /// What was expected and found.
        detail: String,
    },
    /// More bytes than allowed.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// Which file.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Too few distinct keys of the role have signed.
    #[error("{role} metadata is not signed as required: expected {required} of its keys, found {found}")]
    Threshold {
        /// The role, with the version of the root that was asked.
        role: String,
        /// Distinct keys required.
        required: u64,
        /// Distinct keys whose signatures verify.
        found: u64,
    },
    /// Older than what is trusted already.
    #[error("{role} metadata was rolled back: version {trusted} is trusted already, found {found}")]
    Rollback {
        /// The role or file.
        role: String,
        /// The version trusted.
        trusted: u64,
        /// The version found.
        found: u64,
    },
    /// A file that was listed before and is not any more.
    #[error("snapshot metadata no longer lists {file}, which the trusted snapshot lists")]
    Unlisted {
        /// The file.
        file: String,
    },
    /// Another version than the one asked for.
    #[error("{role} metadata has the wrong version: expected {expected}, found {found}")]
    Version {
        /// The role.
        role: String,
        /// The version expected.
        expected: u64,
        /// The version found.
        found: u64,
    },
    /// Past its date.
    #[error("{role} metadata expired at {expires} (the time is {now}): its publisher must sign it anew")]
    Expired {
        /// The role.
        role: String,
        /// Its date.
        expires: Timestamp,
        /// The time of the update.
        now: Timestamp,
    },
    /// Content that does not match its length or hash.
    #[error("{what} does not match its metadata: expected {expected}, found {found}")]
    Mismatch {
        /// Which file.
        what: String,
        /// Length or hash expected.
        expected: String,
        /// Length or hash found.
        found: String,
    },
    /// A role that does not exist, or exists but may not be asked for in this way.
    #[error("no delegated role {role}: {detail}")]
    UnknownRole {
        /// The role.
        role: String,
        /// Why.
        detail: &'static str,
    },
    /// No role that is trusted for it lists the target.
    #[error("the repository has no target {0}")]
    NoSuchTarget(String),
    /// A name that could leave its directory.
    #[error("unsafe name {name:?}: {detail}")]
    UnsafeName {
        /// The name, cut.
        name: String,
        /// Why.
        detail: &'static str,
    },
    /// More root versions than a client follows in one run.
    #[error("more than {limit} new root versions in one run: the repository does not end")]
    TooManyRotations {
        /// The limit.
        limit: usize,
    },
    /// A step out of its order.
    #[error("out of order: {0}")]
    Order(&'static str),
    /// The transport failed.
    #[error("cannot fetch {url}: {detail}")]
    Transport {
        /// The address.
        url: String,
        /// What the transport said.
        detail: String,
    },
    /// A file which the repository should have.
    #[error("not found: {0}")]
    NotFound(String),
    /// The keys at hand cannot sign for a role.
    #[error("cannot sign {role} metadata: expected {required} of its keys at hand, found {found}")]
    Signers {
        /// The role.
        role: String,
        /// Keys required.
        required: u64,
        /// Keys of the role at hand.
        found: u64,
    },
    /// A repository or request that makes no sense.
    #[error("{0}")]
    Repository(String),
    /// Files.
    #[error(transparent)]
    File(#[from] KeyError),
    /// Keys and signatures.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl TufError {
    pub(crate) fn malformed(role: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Malformed { role: role.into(), detail: detail.into() }
    }
}
