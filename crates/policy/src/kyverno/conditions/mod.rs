//! Conditions: a key, an operator, a value; and lists of them of which any or all must hold.

mod membership;
mod operators;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Context;
use super::jmespath::{Budget, text_of};
use super::variables::{Reason, Run, VariableError, check, has_variables};
pub use operators::Operator;
use operators::{Sides, holds};

/// The longest value in a message, in characters.
const SHOWN: usize = 200;

/// Conditions as they stand in a policy. There is at least one.
///
/// Three forms are read: `{any: […], all: […]}`, a list of such, all of which must hold, and the older list of single
/// conditions.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditions(Vec<Block>);

/// A block: one of `any`, and everything in `all`.
#[derive(Debug, Clone, PartialEq)]
struct Block {
    any: Vec<Condition>,
    all: Vec<Condition>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    key: Value,
    operator: Operator,
    value: Value,
    #[serde(default)]
    message: String,
}

/// Whether conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether they do.
    pub holds: bool,
    /// The conditions that made it so, each with its message, or in words with the values that were found.
    pub because: Vec<String>,
}

impl Conditions {
    /// Evaluates them.
    ///
    /// # Errors
    /// [`VariableError`], if a variable has no value. That is never "they do not hold".
    pub fn hold(&self, context: &Context) -> Result<Outcome, VariableError> {
        let run = Run { context, budget: &Budget::default() };
        let mut because = Vec::new();
        for (index, block) in self.0.iter().enumerate() {
            let path = if self.0.len() == 1 { String::new() } else { format!("[{index}]") };
            let outcome = block.hold(&run).map_err(|error| error.within(&path))?;
            if !outcome.holds {
                return Ok(outcome);
            }
            because.extend(outcome.because);
        }
        Ok(Outcome { holds: true, because })
    }

    /// Checks their variables as far as that can be done without evaluating them.
    ///
    /// # Errors
    /// [`VariableError`].
    pub fn check(&self) -> Result<(), VariableError> {
        for block in &self.0 {
            for (name, conditions) in [("any", &block.any), ("all", &block.all)] {
                for (index, condition) in conditions.iter().enumerate() {
                    let within =
                        |field| move |error: VariableError| error.within(&format!("{name}[{index}].{field}"));
                    check(&condition.key).map_err(within("key"))?;
                    check(&condition.value).map_err(within("value"))?;
                }
            }
        }
        Ok(())
    }
}

impl Block {
    /// As Kyverno does: `any` up to the first that holds, `all` up to the first that does not.
    fn hold(&self, run: &Run<'_>) -> Result<Outcome, VariableError> {
        let (mut held, mut failed) = (Vec::new(), Vec::new());
        let mut any = self.any.is_empty();
        for (index, condition) in self.any.iter().enumerate() {
            let (holds, words) =
                condition.hold(run).map_err(|error| error.within(&format!("any[{index}]")))?;
            if holds {
                any = true;
                held.push(words);
                break;
            }
            failed.push(words);
        }
        let mut all = true;
        for (index, condition) in self.all.iter().enumerate() {
            let (holds, words) =
                condition.hold(run).map_err(|error| error.within(&format!("all[{index}]")))?;
            if !holds {
                all = false;
                failed.push(words);
                break;
            }
            held.push(words);
        }
        let holds = any && all;
        Ok(Outcome { holds, because: if holds { held } else { failed } })
    }
}

impl Condition {
    fn hold(&self, run: &Run<'_>) -> Result<(bool, String), VariableError> {
        let key = run.document(&self.key, "key", 0)?;
        let value = run.document(&self.value, "value", 0)?;
        let sides = Sides::new(has_variables(&self.key), has_variables(&self.value), run.budget);
        let holds = holds(self.operator, &key, &value, sides)
            .map_err(|detail| VariableError::at("", Reason::Condition(detail)))?;
        run.budget.bytes(1).map_err(|error| VariableError::at("", Reason::Condition(error.to_string())))?;
        let words = if self.message.is_empty() {
            let negation = if holds { "" } else { "not: " };
            format!("{negation}{} {} {}", shown(&key), self.operator.name(), shown(&value))
        } else {
            match run.document(&Value::String(self.message.clone()), "message", 0)? {
                Value::String(message) => message,
                other => text_of(&other),
            }
        };
        Ok((holds, words))
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnyAll {
    any: Option<Vec<Condition>>,
    all: Option<Vec<Condition>>,
}

impl AnyAll {
    /// Nothing, and an empty list, are refused: they hold for everybody, or for nobody.
    fn block(self) -> Result<Block, &'static str> {
        const EMPTY: &str = "expected at least one condition in \"any\" or \"all\", found none";
        if self.any.is_none() && self.all.is_none()
            || self.any.as_ref().is_some_and(Vec::is_empty)
            || self.all.as_ref().is_some_and(Vec::is_empty)
        {
            return Err(EMPTY);
        }
        Ok(Block { any: self.any.unwrap_or_default(), all: self.all.unwrap_or_default() })
    }
}

impl<'de> Deserialize<'de> for Conditions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let read = |value: Value| {
            AnyAll::deserialize(value).map_err(D::Error::custom)?.block().map_err(D::Error::custom)
        };
        match Value::deserialize(deserializer)? {
            Value::Array(items) if items.is_empty() => {
                Err(D::Error::custom("expected at least one condition, found none; leave the field out"))
            }
            Value::Array(items) if items.iter().all(|item| item.get("key").is_some()) => {
                let all: Result<_, _> = items.into_iter().map(Condition::deserialize).collect();
                Ok(Self(vec![Block { any: Vec::new(), all: all.map_err(D::Error::custom)? }]))
            }
            Value::Array(items) => {
                let mut blocks = Vec::new();
                for (index, item) in items.into_iter().enumerate() {
                    blocks.push(read(item).map_err(|error| D::Error::custom(format!("[{index}]: {error}")))?);
                }
                Ok(Self(blocks))
            }
            object @ Value::Object(_) => Ok(Self(vec![read(object)?])),
            _ => Err(D::Error::custom("expected conditions, as a list or as \"any\" and \"all\"")),
        }
    }
}

#[cfg(test)]
mod tests;
