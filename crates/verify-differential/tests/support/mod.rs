//! Parts of the differential test.

pub(crate) mod judges;
pub(crate) mod mutate;
pub(crate) mod vectors;
