//! Values of CEL, and what becomes of JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_crypto::encoding::base64_encode;
use jiff::{SignedDuration, Timestamp};

use super::Problem;
use crate::kyverno::jmespath::Budget;

/// A value. Copies are cheap.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that is not negative.
    Uint(u64),
    /// A number with a fraction.
    Double(f64),
    /// A text.
    Text(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// Values in order.
    List(Arc<[Value]>),
    /// Values by key.
    Map(Arc<BTreeMap<Key, Value>>),
    /// A point in time.
    Time(Timestamp),
    /// A length of time.
    Duration(SignedDuration),
    /// A type.
    Type(&'static str),
    /// A value, or none.
    Optional(Option<Arc<Value>>),
}

/// A key of a map. A whole number is the same key whatever its type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Number(i128),
    /// A text.
    Text(Arc<str>),
}

impl Key {
    /// A value as a key, if it can be one.
    pub(super) fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Number(i128::from(*value)),
            Value::Uint(value) => Self::Number(i128::from(*value)),
            #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 9e18 => {
                Self::Number(*value as i128)
            }
            Value::Text(value) => Self::Text(value.clone()),
            _ => return None,
        })
    }

    /// The key as a value.
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(value) => i64::try_from(*value)
                .map_or_else(|_| Value::Uint(u64::try_from(*value).unwrap_or(u64::MAX)), Value::Int),
            Self::Text(value) => Value::Text(value.clone()),
        }
    }
}

impl Value {
    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// A map with texts as keys.
    pub(crate) fn map<'a>(fields: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Map(Arc::new(fields.into_iter().map(|(name, value)| (Key::Text(name.into()), value)).collect()))
    }

    /// A list.
    pub(crate) fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::List(items.into_iter().collect())
    }

    /// The field of a map.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(fields) => fields.get(&Key::Text(name.into())),
            _ => None,
        }
    }

    /// What kind of value it is, in words.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Uint(_) | Self::Double(_) => "a number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Time(_) => "a timestamp",
            Self::Duration(_) => "a duration",
            Self::Type(_) => "a type",
            Self::Optional(_) => "an optional value",
        }
    }

    /// The name of its type in CEL.
    pub(super) const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Time(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
        }
    }

    /// From JSON, which whoever read it kept from being nested without end.
    #[must_use]
    pub fn from_json(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => number
                .as_i64()
                .map(Self::Int)
                .or_else(|| number.as_u64().map(Self::Uint))
                .unwrap_or_else(|| Self::Double(number.as_f64().unwrap_or(f64::NAN))),
            serde_json::Value::String(text) => Self::text(text),
            serde_json::Value::Array(items) => Self::list(items.iter().map(Self::from_json)),
            serde_json::Value::Object(fields) => {
                Self::map(fields.iter().map(|(name, field)| (name.as_str(), Self::from_json(field))))
            }
        }
    }

    /// As JSON.
    pub(crate) fn to_json(&self, budget: &Budget) -> Result<serde_json::Value, Problem> {
        budget.steps(1).map_err(|_| Problem::TooMuch)?;
        let text = |text: &str| {
            budget.bytes(text.len()).map_err(|_| Problem::TooMuch)?;
            Ok(serde_json::Value::String(text.to_owned()))
        };
        match self {
            Self::Null | Self::Optional(None) => Ok(serde_json::Value::Null),
            Self::Bool(value) => Ok((*value).into()),
            Self::Int(value) => Ok((*value).into()),
            Self::Uint(value) => Ok((*value).into()),
            Self::Double(value) => serde_json::Number::from_f64(*value)
                .map(serde_json::Value::Number)
                .ok_or_else(|| format!("JSON has no number {value}").into()),
            Self::Text(value) => text(value),
            Self::Bytes(value) => text(&base64_encode(value)),
            Self::List(items) => items.iter().map(|item| item.to_json(budget)).collect(),
            Self::Map(fields) => {
                let mut object = serde_json::Map::new();
                for (key, field) in fields.iter() {
                    let key = match key {
                        Key::Bool(key) => key.to_string(),
                        Key::Number(key) => key.to_string(),
                        Key::Text(key) => key.to_string(),
                    };
                    budget.bytes(key.len()).map_err(|_| Problem::TooMuch)?;
                    object.insert(key, field.to_json(budget)?);
                }
                Ok(object.into())
            }
            Self::Time(time) => text(&time.to_string()),
            Self::Duration(duration) => text(&seconds(duration)),
            Self::Type(name) => text(name),
            Self::Optional(Some(value)) => value.to_json(budget),
        }
    }
}

/// A length of time as CEL writes it: `1.5s`.
pub(super) fn seconds(duration: &SignedDuration) -> String {
    let sign = if duration.is_negative() { "-" } else { "" };
    let nanoseconds = duration.as_nanos().unsigned_abs();
    let (whole, part) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    let fraction = format!(".{part:09}");
    format!("{sign}{whole}{}s", fraction.trim_end_matches('0').trim_end_matches('.'))
}
