//! What the operators say of a key and a value, with Kyverno's readings of texts: a length of time first, then a
//! quantity, a number, a version, a pattern.

use std::cmp::Ordering;

use serde::Deserialize;
use serde_json::Value;

use super::membership::{self, Membership};
use crate::kyverno::jmespath::{Budget, equal};
use crate::kyverno::units::{Duration, Quantity, version, wildcard};

/// An operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Operator {
    /// The same.
    #[serde(alias = "Equal")]
    Equals,
    /// Not the same.
    #[serde(alias = "NotEqual")]
    NotEquals,
    /// Everything in the key is in the value. Older form of `AllIn`, which reads texts as patterns in fewer places.
    In,
    /// Something in the key is in the value.
    AnyIn,
    /// Everything in the key is in the value.
    AllIn,
    /// Something in the key is not in the value. Older form of `AnyNotIn`.
    NotIn,
    /// Something in the key is not in the value.
    AnyNotIn,
    /// Nothing in the key is in the value.
    AllNotIn,
    /// More.
    GreaterThan,
    /// As much, or more.
    GreaterThanOrEquals,
    /// Less.
    LessThan,
    /// As much, or less.
    LessThanOrEquals,
    /// Longer.
    DurationGreaterThan,
    /// As long, or longer.
    DurationGreaterThanOrEquals,
    /// Shorter.
    DurationLessThan,
    /// As long, or shorter.
    DurationLessThanOrEquals,
}

impl Operator {
    /// As it is written in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Equals => "Equals",
            Self::NotEquals => "NotEquals",
            Self::In => "In",
            Self::AnyIn => "AnyIn",
            Self::AllIn => "AllIn",
            Self::NotIn => "NotIn",
            Self::AnyNotIn => "AnyNotIn",
            Self::AllNotIn => "AllNotIn",
            Self::GreaterThan => "GreaterThan",
            Self::GreaterThanOrEquals => "GreaterThanOrEquals",
            Self::LessThan => "LessThan",
            Self::LessThanOrEquals => "LessThanOrEquals",
            Self::DurationGreaterThan => "DurationGreaterThan",
            Self::DurationGreaterThanOrEquals => "DurationGreaterThanOrEquals",
            Self::DurationLessThan => "DurationLessThan",
            Self::DurationLessThanOrEquals => "DurationLessThanOrEquals",
        }
    }
}

/// Which sides of a condition may hold patterns: those that the policy wrote. A text from a request or a predicate is
/// itself, also with a `*` in it, unless the other side comes from there as well.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides<'a> {
    key: bool,
    value: bool,
    budget: &'a Budget,
}

impl<'a> Sides<'a> {
    pub(super) const fn new(key_is_data: bool, value_is_data: bool, budget: &'a Budget) -> Self {
        Self { key: !key_is_data, value: !value_is_data || key_is_data, budget }
    }

    /// Whether two texts match, where the value alone may be a pattern. Once the budget is spent everything does, so that
    /// what is left is over soon; the answer is thrown away then.
    pub(super) fn value_matches(self, key: &str, value: &str) -> bool {
        key == value || (self.value && wildcard(value, key, self.budget)) || self.budget.steps(1).is_err()
    }

    /// Whether two texts match, where either may be a pattern.
    pub(super) fn either_matches(self, key: &str, value: &str) -> bool {
        self.value_matches(key, value) || (self.key && wildcard(key, value, self.budget))
    }
}

/// Whether a condition holds. A value of a kind that an operator knows nothing to do with makes it false, as in Kyverno,
/// but for what Kyverno falls over, which is an error.
pub(super) fn holds(
    operator: Operator,
    key: &Value,
    value: &Value,
    sides: Sides<'_>,
) -> Result<bool, String> {
    let is_longer: fn(Ordering) -> bool = match operator {
        Operator::Equals => return Ok(equals(key, value, sides)),
        // Kyverno knows no "not equal" for a key that is null.
        Operator::NotEquals => return Ok(!key.is_null() && !equals(key, value, sides)),
        Operator::In => return membership::older(key, value, sides, false),
        Operator::NotIn => return membership::older(key, value, sides, true),
        Operator::AnyIn => return Ok(membership::holds(Membership::Any, key, value, sides)),
        Operator::AllIn => return Ok(membership::holds(Membership::All, key, value, sides)),
        Operator::AnyNotIn => return Ok(membership::holds(Membership::AnyNot, key, value, sides)),
        Operator::AllNotIn => return Ok(membership::holds(Membership::AllNot, key, value, sides)),
        Operator::GreaterThan | Operator::DurationGreaterThan => Ordering::is_gt,
        Operator::GreaterThanOrEquals | Operator::DurationGreaterThanOrEquals => Ordering::is_ge,
        Operator::LessThan | Operator::DurationLessThan => Ordering::is_lt,
        Operator::LessThanOrEquals | Operator::DurationLessThanOrEquals => Ordering::is_le,
    };
    let order = match operator {
        Operator::DurationGreaterThan
        | Operator::DurationGreaterThanOrEquals
        | Operator::DurationLessThan
        | Operator::DurationLessThanOrEquals => {
            length(key).zip(length(value)).map(|(key, value)| key.cmp(&value))
        }
        _ => order(key, value),
    };
    Ok(order.is_some_and(is_longer))
}

/// A length of time; a number counts seconds.
fn length(value: &Value) -> Option<Duration> {
    match value {
        Value::String(text) => Duration::parse(text),
        Value::Number(seconds) => Duration::of_seconds(seconds.as_f64()?),
        _ => None,
    }
}

/// Both as lengths of time, if one of them is written as one. A bare `0` is a number.
fn lengths(key: &Value, value: &Value) -> Option<(Duration, Duration)> {
    let written =
        |value: &Value| value.as_str().is_some_and(|text| text != "0" && Duration::parse(text).is_some());
    let either = written(key) || written(value);
    let usable = |value: &Value| if value.is_string() && !written(value) { None } else { length(value) };
    either.then(|| usable(key).zip(usable(value))).flatten()
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A number, or a text that is one.
fn numeric(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => number(text),
        _ => None,
    }
}

/// Whether a key equals a value. A number equals a text with that number in it, if it is the key.
fn equals(key: &Value, value: &Value, sides: Sides<'_>) -> bool {
    match key {
        Value::Null => false,
        Value::Bool(key) => value.as_bool() == Some(*key),
        Value::Number(_) => numeric(key).zip(numeric(value)).is_some_and(|(key, value)| key == value),
        Value::String(text) => text_equals(key, text, value, sides),
        // No answer means that the budget is spent, which whoever asks looks at.
        Value::Array(_) | Value::Object(_) => equal(key, value, sides.budget).unwrap_or(false),
    }
}

fn text_equals(key: &Value, text: &str, value: &Value, sides: Sides<'_>) -> bool {
    if let Some((key, value)) = lengths(key, value) {
        return key == value;
    }
    let Value::String(value) = value else { return false };
    if let (Some(key), false) = (Quantity::parse(text), value.is_empty()) {
        return Quantity::parse(value).is_some_and(|value| value.nanos == key.nanos);
    }
    sides.value_matches(text, value)
}

/// The order of two amounts: as lengths of time, as quantities, as numbers, as versions.
fn order(key: &Value, value: &Value) -> Option<Ordering> {
    if let Some((key, value)) = lengths(key, value) {
        return Some(key.cmp(&value));
    }
    match key {
        Value::Number(_) => numeric(key)?.partial_cmp(&numeric(value)?),
        Value::String(text) => {
            let quantities =
                value.as_str().and_then(|value| Quantity::parse(text).zip(Quantity::parse(value)));
            if let Some((key, value)) = quantities {
                return Some(key.nanos.cmp(&value.nanos));
            }
            if let Some(key) = number(text) {
                return key.partial_cmp(&numeric(value)?);
            }
            Some(version(text)?.cmp_precedence(&version(value.as_str()?)?))
        }
        _ => None,
    }
}
