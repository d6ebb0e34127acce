//! The expressions of a policy, each read once, and what they may speak of.

use std::collections::BTreeMap;

use crate::cel::{Host, Problem, Program, Value};
use crate::read::ReadError;

/// The functions beside those of the language. What stands before the dot is the first argument.
pub(super) const FUNCTIONS: [(&str, usize); 12] = [
    ("verifyImageSignatures", 2),
    ("verifyAttestationSignatures", 3),
    ("getImageData", 1),
    ("extractPayload", 2),
    ("image", 1),
    ("isImage", 1),
    ("registry", 1),
    ("repository", 1),
    ("identifier", 1),
    ("tag", 1),
    ("digest", 1),
    ("containsDigest", 1),
];

/// Where an expression stands, which says what it may speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The request alone.
    Request,
    /// The request and variables.
    Variables,
    /// The name of an image.
    Image,
    /// Everything.
    Anywhere,
}

impl Place {
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Request => &["object", "oldObject", "request", "namespaceObject"],
            Self::Variables => &["object", "oldObject", "request", "namespaceObject", "variables"],
            Self::Image => &["ref", "image"],
            Self::Anywhere => &[
                "object",
                "oldObject",
                "request",
                "namespaceObject",
                "variables",
                "images",
                "attestors",
                "attestations",
            ],
        }
    }
}

/// What is known when expressions are read.
struct Declared;

impl Host for Declared {
    fn functions(&self) -> &'static [(&'static str, usize)] {
        &FUNCTIONS
    }

    fn call(&self, name: &str, _: &[Value]) -> Result<Value, Problem> {
        Err(format!("{name}() has no value here").into())
    }

    fn member(&self, _: &str, _: &str) -> Option<Result<Value, Problem>> {
        None
    }
}

/// Reads an expression.
///
/// # Errors
/// [`ReadError`]: it is none, or speaks of what is not there.
pub(super) fn compile(text: &str, path: &str, place: Place) -> Result<Program, ReadError> {
    let program = Program::compile_for(text, &Declared).map_err(|e| ReadError::new(path, e.to_string()))?;
    let allowed = place.names();
    if let Some(other) = program.names().into_iter().find(|name| !allowed.contains(name)) {
        let outside = ["http", "resource", "globalContext", "imageData", "generator"].contains(&other);
        let hint = if outside { ": policies ask nobody but registries" } else { "" };
        let message = format!("expected one of {}, found \"{other}\"{hint}", allowed.join(", "));
        return Err(ReadError::new(path, message));
    }
    Ok(program)
}

/// Expressions by their text.
#[derive(Debug, Default)]
pub(super) struct Programs(BTreeMap<String, Program>);

impl Programs {
    /// Reads an expression, which is found by its text afterwards.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn add(&mut self, text: &str, path: &str, place: Place) -> Result<(), ReadError> {
        let program = compile(text, path, place)?;
        self.0.insert(text.to_owned(), program);
        Ok(())
    }

    /// The expression of this text.
    pub(super) fn get(&self, text: &str) -> Option<&Program> {
        self.0.get(text)
    }
}
