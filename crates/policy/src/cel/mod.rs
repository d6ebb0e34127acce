//! CEL, the Common Expression Language: conditions in our own policies, and the language of Kyverno's newer ones.
//!
//! The language of the specification without protocol buffers' messages; optional values; the macros; the functions on
//! texts, lists, sets, numbers and times that Kubernetes has. A function that does not exist is found when the
//! expression is read.
//!
//! Expressions come from policies, and what they are evaluated on from strangers. So an expression has a length and a
//! depth, and an evaluation has a [`Budget`] which everything it makes is charged to before it is made: a comprehension
//! in a comprehension ends, and so does a text which is doubled again and again. Nothing here panics, and nothing reads
//! a clock: the time comes with the [`Variables`].
//!
//! What only the outside can tell is asked through a `Host`, and ends the evaluation if it is not known yet.
//!
//! | file | subject |
//! |---|---|
//! | `lexer`, `parser` | the text; what it says |
//! | `value`, `operators` | values; comparing and calculating |
//! | `evaluate`, `macros` | the evaluation; what goes through lists and maps |
//! | `functions/` | functions |

mod evaluate;
mod functions;
mod lexer;
mod macros;
mod operators;
mod parser;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use self::evaluate::Run;
use self::parser::Node;
pub use self::value::{Key, Value};
use crate::ask::Stop;
use crate::kyverno::jmespath::Budget;

/// The longest expression, in characters.
pub const MAX_LENGTH: usize = 16 * 1024;
/// How deep an expression may be nested, chains of dots and operators included.
pub const MAX_DEPTH: usize = 128;

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CelError {
    /// It is no expression.
    #[error("expected a CEL expression, found a mistake at character {at}: {detail}")]
    Syntax {
        /// Where, in characters from the start.
        at: usize,
        /// What is wrong.
        detail: String,
    },
    /// It cannot be evaluated on this.
    #[error("{detail} (at character {at} of the expression)")]
    Evaluation {
        /// Where, in characters from the start.
        at: usize,
        /// What is wrong.
        detail: String,
    },
    /// It is a condition, and its value is neither true nor false.
    #[error("expected true or false, found {0}")]
    NotACondition(&'static str),
    /// It takes more than an evaluation may.
    #[error("the expression makes more than {} MiB; narrow it with a filter", Budget::LIMIT >> 20)]
    TooMuch,
}

/// Why an evaluation ends without a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// In words.
    Text(String),
    /// It takes more than an evaluation may.
    TooMuch,
    /// The outside has to be asked, or could not tell.
    Stop(Stop),
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Problem {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Stop> for Problem {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// A problem, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Halt {
    /// Where, in characters from the start.
    pub(crate) at: usize,
    /// What it is.
    pub(crate) problem: Problem,
}

impl Halt {
    /// Of two, the one to tell: what is open has to be answered before anything can be told.
    fn or(self, other: Self) -> Self {
        let rank = |halt: &Self| match halt.problem {
            Problem::TooMuch => 3,
            Problem::Stop(Stop::Open) => 2,
            Problem::Stop(_) => 1,
            Problem::Text(_) => 0,
        };
        if rank(&other) > rank(&self) { other } else { self }
    }
}

impl From<Halt> for CelError {
    fn from(halt: Halt) -> Self {
        match halt.problem {
            Problem::Text(detail) => Self::Evaluation { at: halt.at, detail },
            Problem::TooMuch => Self::TooMuch,
            Problem::Stop(stop) => Self::Evaluation { at: halt.at, detail: stop.to_string() },
        }
    }
}

/// Functions and names beside those of the language.
pub(crate) trait Host {
    /// The functions, with how many arguments they take (what stands before the dot counts).
    fn functions(&self) -> &'static [(&'static str, usize)];

    /// The value of one of these functions.
    ///
    /// # Errors
    /// [`Problem`].
    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, Problem>;

    /// The value behind `of.name`, when that is not a field of a variable: evaluated when it is asked for.
    ///
    /// # Errors
    /// [`Problem`].
    fn member(&self, of: &str, name: &str) -> Option<Result<Value, Problem>>;
}

/// Nothing beside the language.
pub(crate) struct Alone;

impl Host for Alone {
    fn functions(&self) -> &'static [(&'static str, usize)] {
        &[]
    }

    fn call(&self, name: &str, _: &[Value]) -> Result<Value, Problem> {
        Err(format!("there is no function {name}()").into())
    }

    fn member(&self, _: &str, _: &str) -> Option<Result<Value, Problem>> {
        None
    }
}

/// What an expression is evaluated on: values by name, and the time.
#[derive(Debug, Clone)]
pub struct Variables {
    values: BTreeMap<String, Value>,
    now: Timestamp,
}

impl Variables {
    /// None yet. `now` is what the function `now()` gives.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self { values: BTreeMap::new(), now }
    }

    /// The same with a value of JSON under a name.
    #[must_use]
    pub fn with(self, name: &str, value: &serde_json::Value) -> Self {
        self.with_value(name, Value::from_json(value))
    }

    /// The same with a value under a name.
    #[must_use]
    pub fn with_value(mut self, name: &str, value: Value) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }
}

/// An expression that was read.
#[derive(Debug, Clone)]
pub struct Program {
    text: String,
    root: Node,
}

impl Program {
    /// Reads an expression.
    ///
    /// ```
    /// use countersign_policy::cel::{Program, Variables};
    /// let condition = Program::compile("image.tag != 'latest' && size(image.labels) > 0")?;
    /// let image = serde_json::json!({"tag": "v1", "labels": {"team": "payments"}});
    /// let variables = Variables::new(jiff::Timestamp::UNIX_EPOCH).with("image", &image);
    /// assert!(condition.holds(&variables)?);
    /// # Ok::<(), countersign_policy::cel::CelError>(())
    /// ```
    ///
    /// # Errors
    /// [`CelError::Syntax`]; that a function does not exist, or has another number of arguments, counts as that.
    pub fn compile(text: &str) -> Result<Self, CelError> {
        Self::compile_for(text, &Alone)
    }

    /// Reads an expression that may use what a host has.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub(crate) fn compile_for(text: &str, host: &dyn Host) -> Result<Self, CelError> {
        let root = parser::parse(text, host.functions())?;
        Ok(Self { text: text.to_owned(), root })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names that it wants from outside itself.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&str> {
        self.root.free_names()
    }

    /// How deep it is, and so how much of the stack an evaluation takes.
    pub(crate) const fn depth(&self) -> usize {
        self.root.depth
    }

    /// Its value.
    ///
    /// # Errors
    /// [`CelError`].
    pub fn evaluate(&self, variables: &Variables) -> Result<serde_json::Value, CelError> {
        let budget = Budget::default();
        let value = self.run(variables, &Alone, &budget)?;
        value.to_json(&budget).map_err(|problem| Halt { at: 0, problem }.into())
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// [`CelError`]; anything but true or false is one.
    pub fn holds(&self, variables: &Variables) -> Result<bool, CelError> {
        match self.run(variables, &Alone, &Budget::default())? {
            Value::Bool(holds) => Ok(holds),
            other => Err(CelError::NotACondition(other.kind())),
        }
    }

    /// Its value, with the help of a host.
    ///
    /// # Errors
    /// [`Halt`].
    pub(crate) fn run(&self, variables: &Variables, host: &dyn Host, budget: &Budget) -> Result<Value, Halt> {
        Run::new(variables, host, budget).evaluate(&self.root, None)
    }
}

#[cfg(test)]
mod tests;
