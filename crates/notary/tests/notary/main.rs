//! The crate's tests, as one program.

mod adversarial;
mod certificates;
mod envelopes;
mod policies;
mod support;
mod timestamps;
mod vectors;
mod verification;
