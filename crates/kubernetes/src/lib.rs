//! Kubernetes: what comes in is judged before it runs, and what runs is judged again.
//!
//! - [`review`] reads and writes the API server's `AdmissionReview`.
//! - [`admit`] turns a review into a request for the policies, and their decision into an answer: admitted with images
//!   pinned, refused with words, or warned.
//! - [`webhook`] serves that to API servers, with the certificates of [`certificate`].

pub mod admit;
pub mod certificate;
pub mod review;
pub mod webhook;
