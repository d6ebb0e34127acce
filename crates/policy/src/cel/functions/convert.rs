//! Types, optional values, numbers.

use std::cmp::Ordering;
use std::sync::Arc;

use countersign_crypto::encoding::{base64_decode, base64_encode};

use crate::cel::Problem;
use crate::cel::evaluate::Run;
use crate::cel::operators::{compare, length, whole};
use crate::cel::value::{Value, seconds};

pub(super) fn call(run: &Run<'_>, name: &str, arguments: &[Value]) -> Option<Result<Value, Problem>> {
    let optional = |value: Option<Value>| Value::Optional(value.map(Arc::new));
    Some(Ok(match (name, arguments) {
        ("dyn", [value]) => value.clone(),
        ("type", [value]) => Value::Type(value.type_name()),
        ("bool", [Value::Bool(value)]) => Value::Bool(*value),
        ("bool", [Value::Text(text)]) => return Some(truth(text)),
        ("int", [value]) => return integer(value),
        ("uint", [value]) => return unsigned(value),
        ("double", [value]) => return double(value),
        ("string", [value]) => return string(run, value),
        ("bytes", [Value::Bytes(bytes)]) => Value::Bytes(bytes.clone()),
        ("bytes", [Value::Text(text)]) => {
            return Some(run.bytes(text.len()).map(|()| Value::Bytes(text.as_bytes().into())));
        }
        ("base64.encode", [Value::Bytes(bytes)]) => return Some(encode(run, bytes)),
        ("base64.encode", [Value::Text(text)]) => return Some(encode(run, text.as_bytes())),
        ("base64.decode", [Value::Text(text)]) => return Some(decode(run, text)),
        ("optional.none", []) => optional(None),
        ("optional.of", [value]) => optional(Some(value.clone())),
        ("optional.ofNonZeroValue", [value]) => optional(Some(value.clone()).filter(|value| !is_zero(value))),
        ("hasValue", [Value::Optional(value)]) => Value::Bool(value.is_some()),
        ("value", [Value::Optional(Some(value))]) => (**value).clone(),
        ("value", [Value::Optional(None)]) => return Some(Err("an optional value is not there".into())),
        ("or", [Value::Optional(value), Value::Optional(other)]) => {
            Value::Optional(value.clone().or_else(|| other.clone()))
        }
        ("orValue", [Value::Optional(value), other]) => {
            value.as_ref().map_or_else(|| other.clone(), |value| (**value).clone())
        }
        ("math.greatest", [Value::List(values)]) => return Some(extreme(run, values, Ordering::Greater)),
        ("math.least", [Value::List(values)]) => return Some(extreme(run, values, Ordering::Less)),
        ("math.greatest", values) => return Some(extreme(run, values, Ordering::Greater)),
        ("math.least", values) => return Some(extreme(run, values, Ordering::Less)),
        ("math.abs", [Value::Int(value)]) => {
            return Some(value.checked_abs().map(Value::Int).ok_or_else(|| "the number is too large".into()));
        }
        ("math.abs", [Value::Double(value)]) => Value::Double(value.abs()),
        ("math.ceil", [Value::Double(value)]) => Value::Double(value.ceil()),
        ("math.floor", [Value::Double(value)]) => Value::Double(value.floor()),
        ("math.round", [Value::Double(value)]) => Value::Double(value.round()),
        _ => return None,
    }))
}

fn truth(text: &str) -> Result<Value, Problem> {
    match text {
        "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
        other => Err(format!("expected true or false, found \"{other}\"").into()),
    }
}

fn integer(value: &Value) -> Option<Result<Value, Problem>> {
    let made = match value {
        Value::Int(value) => Some(*value),
        Value::Uint(value) => i64::try_from(*value).ok(),
        #[expect(clippy::cast_possible_truncation, reason = "it is cut on purpose, and in range")]
        Value::Double(value) => (value.abs() < 9.2e18).then_some(*value as i64),
        Value::Text(text) => text.parse().ok(),
        Value::Time(time) => Some(time.as_second()),
        Value::Duration(duration) => i64::try_from(duration.as_nanos()).ok(),
        _ => return None,
    };
    Some(made.map(Value::Int).ok_or_else(|| "expected a whole number of 64 bits".into()))
}

fn unsigned(value: &Value) -> Option<Result<Value, Problem>> {
    let made = match value {
        Value::Int(value) => u64::try_from(*value).ok(),
        Value::Uint(value) => Some(*value),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is cut on purpose, and in range"
        )]
        Value::Double(value) => (*value >= 0.0 && *value < 1.8e19).then_some(*value as u64),
        Value::Text(text) => text.parse().ok(),
        _ => return None,
    };
    Some(
        made.map(Value::Uint).ok_or_else(|| "expected a whole number of 64 bits that is not negative".into()),
    )
}

#[expect(clippy::cast_precision_loss, reason = "as the language says")]
fn double(value: &Value) -> Option<Result<Value, Problem>> {
    let made = match value {
        Value::Double(value) => Some(*value),
        Value::Int(value) => Some(*value as f64),
        Value::Uint(value) => Some(*value as f64),
        Value::Text(text) => text.parse().ok(),
        _ => return None,
    };
    Some(made.map(Value::Double).ok_or_else(|| "expected a number".into()))
}

fn string(run: &Run<'_>, value: &Value) -> Option<Result<Value, Problem>> {
    let text = match value {
        Value::Text(_) => return Some(Ok(value.clone())),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Time(time) => time.to_string(),
        Value::Duration(duration) => seconds(duration),
        Value::Bytes(bytes) => {
            let text = std::str::from_utf8(bytes).map_err(|_| "expected bytes of a text in UTF-8".into());
            return Some(text.and_then(|text| run.bytes(text.len()).map(|()| Value::text(text))));
        }
        _ => return None,
    };
    Some(Ok(Value::text(&text)))
}

fn encode(run: &Run<'_>, bytes: &[u8]) -> Result<Value, Problem> {
    run.bytes(bytes.len().saturating_mul(2))?;
    Ok(Value::text(&base64_encode(bytes)))
}

fn decode(run: &Run<'_>, text: &str) -> Result<Value, Problem> {
    run.bytes(text.len())?;
    base64_decode(text).map(|bytes| Value::Bytes(bytes.into())).map_err(|e| e.to_string().into())
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) | Value::Optional(None) => true,
        Value::Double(value) => *value == 0.0,
        Value::Text(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(fields) => fields.is_empty(),
        Value::Duration(duration) => duration.is_zero(),
        other => whole(other) == Some(0),
    }
}

/// The greatest or the least.
pub(super) fn extreme(run: &Run<'_>, values: &[Value], wanted: Ordering) -> Result<Value, Problem> {
    let mut found: Option<&Value> = None;
    for value in values {
        run.bytes(length(value))?;
        let further = match found {
            Some(found) => compare(value, found)? == Some(wanted),
            None => true,
        };
        if further {
            found = Some(value);
        }
    }
    found.cloned().ok_or_else(|| "expected at least one value".into())
}
