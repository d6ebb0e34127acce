//! What an evaluation may take, in memory and in steps.

use std::cell::Cell;

use serde_json::Value;

use super::Error;

/// What is left of an evaluation's allowance, in bytes; a step counts as some. Everything is charged before it is made,
/// so that a small expression on a small document cannot make a large value.
#[derive(Debug)]
pub struct Budget(Cell<usize>);

/// What a value takes beside its texts, and what a step counts.
const UNIT: usize = 32;
/// How deep a value may be nested to be copied. JSON that is read is at most 128 deep.
const DEEPEST: usize = 512;

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(Self::LIMIT))
    }
}

impl Budget {
    /// The whole allowance: 64 MiB, or about two million steps.
    pub const LIMIT: usize = 64 << 20;

    /// Takes some bytes.
    ///
    /// # Errors
    /// [`Error::TooMuch`], if they are not there any more.
    pub fn bytes(&self, count: usize) -> Result<(), Error> {
        let left = self.0.get().checked_sub(count);
        self.0.set(left.unwrap_or(0));
        left.map(|_| ()).ok_or(Error::TooMuch)
    }

    /// Takes some steps.
    ///
    /// # Errors
    /// As [`Budget::bytes`].
    pub fn steps(&self, count: usize) -> Result<(), Error> {
        self.bytes(count.saturating_mul(UNIT))
    }

    /// Takes what a copy of a value needs.
    ///
    /// # Errors
    /// As [`Budget::bytes`]; also for one that is nested deeper than a copy should have to go.
    pub fn value(&self, value: &Value) -> Result<(), Error> {
        self.value_at(value, 0)
    }

    fn value_at(&self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(Error::TooMuch);
        }
        self.steps(1)?;
        match value {
            Value::String(text) => self.bytes(text.len()),
            Value::Array(items) => items.iter().try_for_each(|item| self.value_at(item, depth + 1)),
            Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
                self.bytes(UNIT + name.len())?;
                self.value_at(field, depth + 1)
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    /// Copies a value.
    ///
    /// # Errors
    /// As [`Budget::bytes`].
    pub fn copy(&self, value: &Value) -> Result<Value, Error> {
        self.value(value)?;
        Ok(value.clone())
    }
}
