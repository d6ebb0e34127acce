//! JMESPath as Kyverno speaks it: the language of jmespath.org, a missing key which is an error instead of null, and
//! Kyverno's functions.
//!
//! Expressions come from policies, and what they are evaluated on from strangers. So an expression has a length and a
//! depth, and an evaluation has a [`Budget`] which everything it makes is charged to before it is made. Nothing here
//! panics: what Kyverno stumbles over is an error.

mod budget;
mod functions;
mod interpret;
mod lexer;
mod parser;

use std::cell::RefCell;

use jiff::Timestamp;
use serde_json::Value;

pub use budget::Budget;
pub(super) use functions::kind_of;
pub(super) use interpret::equal;
pub use lexer::Piece;
pub(super) use lexer::text_of;

/// The longest expression, in characters.
pub const MAX_LENGTH: usize = 16 * 1024;
/// How deep an expression may be nested, chains of dots included.
pub const MAX_DEPTH: usize = 128;

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is no expression.
    #[error("expected a JMESPath expression, found a mistake at character {at}: {detail}")]
    Syntax {
        /// Where, in characters from the start.
        at: usize,
        /// What is wrong.
        detail: String,
    },
    /// It names a key which an object does not have.
    #[error("there is no \"{0}\"; write || and a default after it if that is expected")]
    UnknownKey(String),
    /// A function cannot work with what it was given.
    #[error("{function}(): {detail}")]
    Function {
        /// The function.
        function: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// A slice of step zero.
    #[error("expected a slice with a step other than 0")]
    ZeroStep,
    /// It takes more than an evaluation may.
    #[error("evaluating this takes more than {} MiB or two million steps; narrow it with a filter", Budget::LIMIT >> 20)]
    TooMuch,
}

/// An expression that was read.
#[derive(Debug, Clone)]
pub struct Expression(parser::Node);

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`Error::Syntax`]; that a function does not exist, or has another number of arguments, counts as that.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::from_pieces(&[Piece::Text(text)])
    }

    /// Reads an expression into which values were put. A value never becomes more than a text, a path or a number there,
    /// whatever stands in it.
    ///
    /// # Errors
    /// As [`Expression::parse`].
    pub fn from_pieces(pieces: &[Piece<'_>]) -> Result<Self, Error> {
        parser::parse(lexer::tokens(pieces)?).map(Self)
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn search(&self, data: &Value, now: Timestamp, budget: &Budget) -> Result<Value, Error> {
        let run = interpret::Run { now, budget, regexes: &RefCell::default() };
        run.own(run.evaluate(&self.0, data)?)
    }
}

#[cfg(test)]
mod tests;
