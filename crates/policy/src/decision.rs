//! What comes out of an evaluation.

use std::collections::BTreeMap;
use std::fmt;

use countersign_crypto::Digest;
use jiff::Timestamp;

use crate::judge::Fact;
use crate::statements::{signed_at, signer};

/// The language and kind of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PolicyKind {
    /// Countersign's own.
    Countersign,
    /// Kyverno's `ClusterPolicy`.
    KyvernoClusterPolicy,
    /// Kyverno's `Policy`.
    KyvernoPolicy,
    /// Kyverno's `ImageValidatingPolicy`.
    ImageValidatingPolicy,
    /// Kyverno's `NamespacedImageValidatingPolicy`.
    NamespacedImageValidatingPolicy,
    /// policy-controller's `ClusterImagePolicy`.
    ClusterImagePolicy,
}

impl PolicyKind {
    /// The kind as it stands in the object.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Countersign => "ImagePolicy",
            Self::KyvernoClusterPolicy => "ClusterPolicy",
            Self::KyvernoPolicy => "Policy",
            Self::ImageValidatingPolicy => "ImageValidatingPolicy",
            Self::NamespacedImageValidatingPolicy => "NamespacedImageValidatingPolicy",
            Self::ClusterImagePolicy => "ClusterImagePolicy",
        }
    }
}

/// Which policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyName {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its namespace; empty for one of the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl PolicyName {
    /// Whether it is a policy of one namespace, and of another than this.
    pub(crate) fn is_elsewhere(&self, namespace: &str) -> bool {
        !self.namespace.is_empty() && self.namespace != namespace
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind.code(), self.name)
        } else {
            write!(f, "{} {}/{}", self.kind.code(), self.namespace, self.name)
        }
    }
}

/// What a policy does when its answer is no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// It is written down.
    Audit,
    /// Whoever asks is told, and may go on.
    Warn,
    /// It is refused.
    Deny,
}

/// How a rule ended. In the order of how much it takes to be the answer of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// The rule is not about this, or an exception holds.
    Skip,
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// It could not be checked.
    Error,
}

impl Status {
    /// `skip`, `pass`, `fail`, `error`, as reports spell it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Error => "error",
        }
    }
}

/// A statement or a signature that decided a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deciding {
    /// The digest of the document it is in.
    pub statement: Digest,
    /// Who signed it, for people.
    pub signer: String,
    /// When it was signed, in the word of a log or a timestamp authority.
    pub at: Option<Timestamp>,
}

impl Deciding {
    /// A fact that decides.
    #[must_use]
    pub fn of(fact: &Fact) -> Self {
        Self { statement: fact.evidence, signer: signer(fact), at: signed_at(fact) }
    }
}

impl fmt::Display for Deciding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.statement, self.signer)?;
        match self.at {
            Some(at) => write!(f, ", signed at {at}"),
            None => Ok(()),
        }
    }
}

/// What one rule says of one image, or of the object as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleResult {
    /// The policy.
    pub policy: PolicyName,
    /// The rule in it.
    pub rule: String,
    /// The image, as it is written in the object; `None` for the object as a whole.
    pub image: Option<String>,
    /// The digest that was judged.
    pub digest: Option<Digest>,
    /// How it ended.
    pub status: Status,
    /// What happens if it did not pass.
    pub action: Action,
    /// Whether an error counts like a failure (`failurePolicy: Fail`).
    pub fail_closed: bool,
    /// A stable code: a reason of the engine, or of the policy.
    pub reason: String,
    /// For people: what was expected, what was found, what to do.
    pub message: String,
    /// What the policy wants in reports: severity, category and the like.
    pub properties: BTreeMap<String, String>,
    /// The statements and signatures that decided it, where the policy's language tells.
    pub decided_by: Vec<Deciding>,
    /// The SLSA build level that was found, if the rule looked for one.
    pub level: Option<u8>,
}

impl RuleResult {
    /// Whether this result refuses the request.
    #[must_use]
    pub fn denies(&self) -> bool {
        match self.status {
            Status::Skip | Status::Pass => false,
            Status::Fail => self.action == Action::Deny,
            Status::Error => self.action == Action::Deny && self.fail_closed,
        }
    }

    /// Whether whoever asks is to be told of this result, though it does not refuse.
    #[must_use]
    pub fn warns(&self) -> bool {
        matches!(self.status, Status::Fail | Status::Error) && !self.denies() && self.action != Action::Audit
    }
}

/// An image that is to be pinned to the digest that was judged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    /// Where in the object: a JSON pointer.
    pub pointer: String,
    /// What is written there now.
    pub from: String,
    /// What is to be written there.
    pub to: String,
}

/// What comes out of an evaluation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// What each rule says.
    pub results: Vec<RuleResult>,
    /// The images to pin. Only images that a rule passed stand here.
    pub pins: Vec<Pin>,
}

impl Decision {
    /// Whether the request is admitted: no result refuses it.
    #[must_use]
    pub fn admits(&self) -> bool {
        !self.results.iter().any(RuleResult::denies)
    }
}
