//! Kubernetes: what comes in is judged before it runs, and what runs is judged again.
//!
//! - [`review`] reads and writes the API server's `AdmissionReview`.
//! - [`scan`] judges what is in files or runs already: controls, scores, reports.
//! - [`admit`] turns a review into a request for the policies, and their decision into an answer: admitted with images
//!   pinned, refused with words, or warned.
//! - [`telling`] makes events of what was refused or warned about.
//! - [`api`] is the client of an API server: what policies ask of it, the policies in it.
//! - [`continuous`] verifies what runs again and again, and tells what changed.
//! - [`load`] bounds what is taken at once.
//! - [`plan`] tells beforehand what would be refused of what a cluster runs.
//! - [`policies`] puts policies into place, of files and of the cluster, as they change.
//! - [`policy_report`] is the form of reports that clusters keep.
//! - [`webhook`] serves that to API servers, with the certificates of [`certificate`].

pub mod admit;
pub mod api;
pub mod certificate;
pub mod continuous;
pub mod load;
pub mod plan;
pub mod policies;
pub mod policy_report;
pub mod review;
pub mod scan;
pub mod telling;
pub mod webhook;
