//! The functions: JMESPath's own, and Kyverno's. What a function is given was checked against its signature, and what it
//! gives back is charged.

mod arithmetic;
mod collections;
mod data;
mod lists;
mod text;
mod time;

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use super::interpret::Run;
use super::parser::Node;
use super::{Budget, Error};

/// What a function takes in one place: one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Text,
    Number,
    Array,
    Texts,
    Numbers,
    Object,
    Reference,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Array => "a list",
            Self::Texts => "a list of texts",
            Self::Numbers => "a list of numbers",
            Self::Object => "an object",
            Self::Reference => "an expression such as &name",
        }
    }

    fn fits(self, argument: &Argument<'_>) -> bool {
        let value = match argument {
            Argument::Reference(_) => return self == Self::Reference,
            Argument::Value(value) => &**value,
        };
        match self {
            Self::Any => true,
            Self::Text => value.is_string(),
            Self::Number => value.is_number(),
            Self::Array => value.is_array(),
            Self::Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
            Self::Numbers => value.as_array().is_some_and(|items| items.iter().all(Value::is_number)),
            Self::Object => value.is_object(),
            Self::Reference => false,
        }
    }
}

/// A function.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) arguments: &'static [&'static [Kind]],
    /// Whether the last argument may come again.
    pub(super) variadic: bool,
    run: fn(&Call<'_>) -> Outcome,
}

/// What a function was given.
#[derive(Debug)]
pub(super) enum Argument<'a> {
    Value(Cow<'a, Value>),
    Reference(&'a Node),
}

/// A call of a function.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) function: &'static Function,
    pub(super) arguments: &'a [Argument<'a>],
    pub(super) run: Run<'a>,
}

type Outcome = Result<Value, Error>;

const fn function(
    name: &'static str,
    arguments: &'static [&'static [Kind]],
    run: fn(&Call<'_>) -> Outcome,
) -> Function {
    Function { name, arguments, variadic: false, run }
}

/// The function of a name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    let all = [
        arithmetic::FUNCTIONS,
        collections::FUNCTIONS,
        data::FUNCTIONS,
        lists::FUNCTIONS,
        text::FUNCTIONS,
        time::FUNCTIONS,
    ];
    all.into_iter().flatten().find(|function| function.name == name)
}

impl<'a> Call<'a> {
    pub(super) fn result(&self) -> Outcome {
        for (position, argument) in self.arguments.iter().enumerate() {
            let Some(kinds) = self.function.arguments.get(position).or(self.function.arguments.last()) else {
                continue;
            };
            if !kinds.iter().any(|kind| kind.fits(argument)) {
                let expected: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
                return Err(self.expected(position, &expected.join(" or ")));
            }
            if let Argument::Value(value) = argument {
                match &**value {
                    Value::String(text) => self.budget().bytes(text.len())?,
                    Value::Array(items) => self.budget().steps(items.len())?,
                    Value::Object(fields) => self.budget().steps(fields.len())?,
                    _ => {}
                }
            }
        }
        let result = (self.function.run)(self)?;
        self.budget().value(&result)?;
        Ok(result)
    }

    const fn budget(&self) -> &'a Budget {
        self.run.budget
    }

    fn error(&self, detail: impl Into<String>) -> Error {
        Error::Function { function: self.function.name, detail: detail.into() }
    }

    fn expected(&self, position: usize, expected: &str) -> Error {
        let found = match self.arguments.get(position) {
            Some(Argument::Value(value)) => kind_of(value),
            Some(Argument::Reference(_)) => "an expression",
            None => "nothing",
        };
        self.error(format!("expected {expected} as argument {}, found {found}", position + 1))
    }

    fn value(&self, position: usize) -> Result<&Value, Error> {
        match self.arguments.get(position) {
            Some(Argument::Value(value)) => Ok(value),
            _ => Err(self.expected(position, Kind::Any.name())),
        }
    }

    fn text(&self, position: usize) -> Result<&str, Error> {
        self.value(position)?.as_str().ok_or_else(|| self.expected(position, Kind::Text.name()))
    }

    /// A text, or a number as one.
    fn text_or_number(&self, position: usize) -> Result<Cow<'_, str>, Error> {
        match self.value(position)? {
            Value::String(text) => Ok(Cow::Borrowed(text)),
            Value::Number(number) => Ok(Cow::Owned(number.to_string())),
            _ => Err(self.expected(position, "a text or a number")),
        }
    }

    fn number(&self, position: usize) -> Result<f64, Error> {
        self.value(position)?.as_f64().ok_or_else(|| self.expected(position, Kind::Number.name()))
    }

    /// A whole number; of one with a fraction, Kyverno takes the whole part where it does not refuse it.
    fn whole(&self, position: usize) -> Result<i64, Error> {
        whole(self.number(position)?).ok_or_else(|| self.expected(position, "a whole number"))
    }

    fn list(&self, position: usize) -> Result<&Vec<Value>, Error> {
        self.value(position)?.as_array().ok_or_else(|| self.expected(position, Kind::Array.name()))
    }

    fn object(&self, position: usize) -> Result<&Map<String, Value>, Error> {
        self.value(position)?.as_object().ok_or_else(|| self.expected(position, Kind::Object.name()))
    }

    /// The value of the expression at this position for an item.
    fn referenced<'v>(&self, position: usize, item: &'v Value) -> Result<Cow<'v, Value>, Error> {
        match self.arguments.get(position) {
            Some(Argument::Reference(node)) => self.run.evaluate(node, item),
            _ => Err(self.expected(position, Kind::Reference.name())),
        }
    }

    /// A number as a value; one that is none is an error.
    fn numeric(&self, number: f64) -> Outcome {
        if let Some(whole) = whole(number) {
            return Ok(Value::from(whole));
        }
        Number::from_f64(number).map(Value::Number).ok_or_else(|| self.error("the result is not a number"))
    }
}

/// A number without a fraction, as long as such are exact.
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

/// What a value is, in words.
pub(in crate::kyverno) const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
