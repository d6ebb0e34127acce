//! Policies over images: which images, who must have signed them, what must be said of them, and what happens if not.
//!
//! Four languages are read: Countersign's own, Kyverno's two, and policy-controller's. All of them come down to the same
//! few things: the images of a resource ([`images`]), an [`Authority`] who must have signed, the verified facts that
//! [`judge`](Ask::judge) finds by it, and a [`Decision`].
//!
//! Evaluation is pure: no network, no files, no clock. What only the outside can tell is asked as data, a [`Question`].
//! [`PolicySet::evaluate`] either decides or gives the questions that are still open; whoever drives it answers them,
//! keeps the answers in a [`Known`], and evaluates again. So every condition is evaluated anew each time, on answers
//! which may be cached, and the same code runs in the webhook, the scanner, the command line and a test.
//!
//! "Could not be checked" ([`Status::Error`]) is an answer of its own: never "unsigned", never a pass.

mod access;
mod ask;
mod authority;
pub mod cel;
pub mod cluster_image;
mod convert;
mod decision;
mod evaluate;
mod evidence;
mod finding;
pub mod images;
mod judge;
mod judge_notary;
pub mod kyverno;
mod lint;
mod list;
mod load;
mod memo;
pub mod own;
mod pattern;
mod question;
mod read;
mod request;
mod spelling;
pub mod statements;
mod trust;

pub use access::{Access, ObjectName, Provider};
pub use ask::{Ask, Stop};
pub use authority::{Authority, Demands, Forms, IdentityRule, KeySource, Who};
pub use convert::{Converted, convert};
pub use decision::{Action, Deciding, Decision, Pin, PolicyKind, PolicyName, RuleResult, Status};
pub use evaluate::{Policy, PolicySet};
pub use evidence::bundle_of;
pub use images::{ContainerKind, ImageUse};
pub use judge::{Fact, Judgement, What};
pub use judge_notary::{NotaryDocument, NotaryJudgement};
pub use lint::Lint;
pub use list::objects_of;
pub use load::{Document, Loaded, load, read_documents};
pub use memo::Memo;
pub use own::duration;
pub use pattern::{Glob, Pattern, PatternError};
pub use question::{
    Answer, AttachedQuestion, CouldNot, CouldNotReason, Evidence, EvidenceQuestion, ImageData, Known,
    Question, TrustRoot,
};
pub use read::{ReadError, from_value};
pub use request::{Artifact, CustomObject, GroupVersionKind, Operation, Request, User};
pub use trust::{Material, TrustBase, TrustSpec};
