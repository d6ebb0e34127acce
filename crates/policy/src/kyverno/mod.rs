//! Kyverno's policies.
//!
//! What all its kinds of policies share stands here: the expression language ([`jmespath`]), variables in texts
//! ([`variables`]), and conditions with their operators ([`conditions`]).

pub mod conditions;
mod context;
pub mod jmespath;
mod units;
pub mod variables;

pub use conditions::{Conditions, Outcome};
pub use context::Context;
pub use variables::{VariableError, substitute};
