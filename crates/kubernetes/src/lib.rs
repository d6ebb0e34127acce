//! Kubernetes: what comes in is judged before it runs, and what runs is judged again.
//!
//! - [`review`] reads and writes the API server's `AdmissionReview`.
//! - [`admit`] turns a review into a request for the policies, and their decision into an answer: admitted with images
//!   pinned, refused with words, or warned.
//! - [`policies`] puts policies into place, of files and of the cluster, as they change.
//! - [`webhook`] serves that to API servers, with the certificates of [`certificate`].

pub mod admit;
pub mod certificate;
pub mod policies;
pub mod review;
pub mod webhook;
