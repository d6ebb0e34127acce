//! Kubernetes: what comes in is judged before it runs, and what runs is judged again.
//!
//! - [`review`] reads and writes the API server's `AdmissionReview`.
//! - [`scan`] judges what is in files or runs already: controls, scores, reports.
//! - [`admit`] turns a review into a request for the policies, and their decision into an answer: admitted with images
//!   pinned, refused with words, or warned.

pub mod admit;
pub mod review;
pub mod scan;
