//! Kyverno's policies.
//!
//! What all its kinds of policies share stands here: the expression language ([`jmespath`]), variables in texts
//! ([`variables`]), and conditions with their operators ([`conditions`]). `ClusterPolicy` and `Policy` are one
//! language ([`ClusterPolicy`]), with exceptions from it ([`PolicyException`]).

mod cluster;
pub mod conditions;
mod context;
mod exception;
mod image_validating;
pub mod jmespath;
mod match_conditions;
mod matching;
mod object;
mod selector;
pub(crate) mod units;
pub mod variables;

pub use cluster::ClusterPolicy;
pub(crate) use cluster::{Extractors, convert};
pub use conditions::{Conditions, Outcome};
pub use context::Context;
pub use exception::PolicyException;
pub use image_validating::ImageValidatingPolicy;
pub(crate) use image_validating::convert as convert_image_validating;
pub use selector::{Expression, LabelSelector, SelectorOperator};
pub use variables::{VariableError, substitute};
