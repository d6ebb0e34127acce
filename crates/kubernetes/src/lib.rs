//! Kubernetes: what comes in is judged before it runs, and what runs is judged again.
//!
//! - [`review`] reads and writes the API server's `AdmissionReview`.
//! - [`scan`] judges what is in files or runs already: controls, scores, reports.
//! - [`admit`] turns a review into a request for the policies, and their decision into an answer: admitted with images
//!   pinned, refused with words, or warned.
//! - [`api`] is the client of an API server: what policies ask of it, the policies in it.
//! - [`revocation`] takes lists of what is revoked, of the cluster, of files and of instances.
//! - [`policies`] puts policies into place, of files and of the cluster, as they change.
//! - [`webhook`] serves that to API servers, with the certificates of [`certificate`].

pub mod admit;
pub mod api;
pub mod certificate;
pub mod policies;
pub mod review;
pub mod revocation;
pub mod scan;
pub mod webhook;
