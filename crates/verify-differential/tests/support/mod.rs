//! Parts of the differential test.

pub(crate) mod judges;
pub(crate) mod mutate;
#[path = "../../../verify/tests/support/vectors.rs"]
pub(crate) mod vectors;
