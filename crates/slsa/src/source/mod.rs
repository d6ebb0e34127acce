//! A source control system of one's own, as SLSA's source track asks for it: which changes of refs are let in, and what is said of
//! those that were.
//!
//! | module | subject |
//! |---|---|
//! | [`control`] | the controls by name, and the level that a set of them makes |
//! | [`record`] | source provenance, tag provenance and summaries: written, and read into one form |
//! | [`review`] | statements of reviewers |
//! | [`push`] | whether a push is let in |
//!
//! Here is only judgement: what git says comes in as data.

pub mod control;
pub mod push;
pub mod record;
pub mod review;

pub use control::{Control, Held};
pub use push::{Change, Person, Push, Refusal, Rules};
pub use record::{SourceRecord, source_predicate, summary_predicate, tag_predicate};
pub use review::Review;
