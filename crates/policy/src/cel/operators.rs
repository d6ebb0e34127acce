//! Comparing and calculating. Numbers are compared by what they are, whatever their types; calculations are in one type,
//! and one that leaves it is an error.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Problem;
use super::value::{Key, Value};
use crate::kyverno::jmespath::Budget;

/// A whole number, whatever its type.
pub(super) fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    }
}

/// How long a value is to look through, in bytes.
pub(super) fn length(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}

/// Takes what comparing two values needs.
fn pay(left: &Value, right: &Value, budget: &Budget) -> Result<(), Problem> {
    budget.bytes(length(left).min(length(right))).map_err(|_| Problem::TooMuch)
}

/// How two values are ordered; `None` for values that have no order, and for what is no number.
///
/// # Errors
/// [`Problem`]: values of these kinds cannot be compared.
pub(super) fn compare(left: &Value, right: &Value) -> Result<Option<Ordering>, Problem> {
    Ok(match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        (Value::Bytes(left), Value::Bytes(right)) => Some(left.cmp(right)),
        (Value::Time(left), Value::Time(right)) => Some(left.cmp(right)),
        (Value::Duration(left), Value::Duration(right)) => Some(left.cmp(right)),
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Double(left), right) if whole(right).is_some() => {
            whole(right).and_then(|right| with_whole(*left, right))
        }
        (left, Value::Double(right)) if whole(left).is_some() => {
            whole(left).and_then(|left| with_whole(*right, left)).map(Ordering::reverse)
        }
        (left, right) => match (whole(left), whole(right)) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => return Err(format!("{} cannot be compared with {}", left.kind(), right.kind()).into()),
        },
    })
}

/// How a number with a fraction stands to a whole one.
fn with_whole(left: f64, right: i128) -> Option<Ordering> {
    if left.is_nan() {
        return None;
    }
    if left.abs() >= 1e30 {
        return Some(if left > 0.0 { Ordering::Greater } else { Ordering::Less });
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the fraction is looked at afterwards, and it is in range"
    )]
    let of_whole = (left.trunc() as i128).cmp(&right);
    Some(of_whole.then_with(|| left.fract().partial_cmp(&0.0).unwrap_or(Ordering::Equal)))
}

/// Whether two values are equal. Values of different kinds are not.
///
/// # Errors
/// [`Problem::TooMuch`].
pub(super) fn equal(left: &Value, right: &Value, budget: &Budget) -> Result<bool, Problem> {
    budget.steps(1).map_err(|_| Problem::TooMuch)?;
    match (left, right) {
        (Value::Null, Value::Null) | (Value::Optional(None), Value::Optional(None)) => Ok(true),
        (Value::Type(left), Value::Type(right)) => Ok(left == right),
        (Value::Optional(Some(left)), Value::Optional(Some(right))) => equal(left, right, budget),
        (Value::List(left), Value::List(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right.iter()) {
                if !equal(left, right, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Map(left), Value::Map(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for ((left_key, left), (right_key, right)) in left.iter().zip(right.iter()) {
                if left_key != right_key || !equal(left, right, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => {
            pay(left, right, budget)?;
            Ok(matches!(compare(left, right), Ok(Some(Ordering::Equal))))
        }
    }
}

/// `!` and `-`.
pub(super) fn unary(sign: &str, of: &Value) -> Result<Value, Problem> {
    match (sign, of) {
        ("!", Value::Bool(value)) => Ok(Value::Bool(!value)),
        ("-", Value::Int(value)) => value.checked_neg().map(Value::Int).ok_or_else(overflow),
        ("-", Value::Double(value)) => Ok(Value::Double(-value)),
        _ => Err(format!("there is no {sign} of {}", of.kind()).into()),
    }
}

fn overflow() -> Problem {
    "the result is larger than a number can be".into()
}

/// An operator between two values.
pub(super) fn binary(sign: &str, left: &Value, right: &Value, budget: &Budget) -> Result<Value, Problem> {
    let ordered = |wanted: fn(Ordering) -> bool| {
        pay(left, right, budget)?;
        compare(left, right).map(|found| Value::Bool(found.is_some_and(wanted)))
    };
    match sign {
        "==" => equal(left, right, budget).map(Value::Bool),
        "!=" => equal(left, right, budget).map(|equal| Value::Bool(!equal)),
        "<" => ordered(Ordering::is_lt),
        "<=" => ordered(Ordering::is_le),
        ">" => ordered(Ordering::is_gt),
        ">=" => ordered(Ordering::is_ge),
        "in" => contains(right, left, budget).map(Value::Bool),
        _ => calculate(sign, left, right, budget),
    }
}

/// Whether a list has a value, or a map a key.
pub(super) fn contains(all: &Value, wanted: &Value, budget: &Budget) -> Result<bool, Problem> {
    match all {
        Value::List(items) => {
            for item in items.iter() {
                if equal(item, wanted, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(fields) => {
            pay(wanted, wanted, budget)?;
            Ok(Key::of(wanted).is_some_and(|key| fields.contains_key(&key)))
        }
        other => Err(format!("expected a list or a map after in, found {}", other.kind()).into()),
    }
}

fn calculate(sign: &str, left: &Value, right: &Value, budget: &Budget) -> Result<Value, Problem> {
    let paid = |count: usize| budget.bytes(count).map_err(|_| Problem::TooMuch);
    let made = match (left, right) {
        (Value::Int(left), Value::Int(right)) => {
            let made = match sign {
                "+" => left.checked_add(*right),
                "-" => left.checked_sub(*right),
                "*" => left.checked_mul(*right),
                _ if *right == 0 => return Err("a number is divided by zero".into()),
                "/" => left.checked_div(*right),
                _ => left.checked_rem(*right),
            };
            made.map(Value::Int)
        }
        (Value::Uint(left), Value::Uint(right)) => {
            let made = match sign {
                "+" => left.checked_add(*right),
                "-" => left.checked_sub(*right),
                "*" => left.checked_mul(*right),
                _ if *right == 0 => return Err("a number is divided by zero".into()),
                "/" => left.checked_div(*right),
                _ => left.checked_rem(*right),
            };
            made.map(Value::Uint)
        }
        (Value::Double(left), Value::Double(right)) if sign != "%" => Some(Value::Double(match sign {
            "+" => left + right,
            "-" => left - right,
            "*" => left * right,
            _ => left / right,
        })),
        (Value::Text(left), Value::Text(right)) if sign == "+" => {
            paid(left.len() + right.len())?;
            Some(Value::Text(format!("{left}{right}").into()))
        }
        (Value::Bytes(left), Value::Bytes(right)) if sign == "+" => {
            paid(left.len() + right.len())?;
            Some(Value::Bytes([&**left, &**right].concat().into()))
        }
        (Value::List(left), Value::List(right)) if sign == "+" => {
            budget.steps(left.len() + right.len()).map_err(|_| Problem::TooMuch)?;
            Some(Value::List(Arc::from([&**left, &**right].concat())))
        }
        (Value::Time(left), Value::Time(right)) if sign == "-" => {
            Some(Value::Duration(left.duration_since(*right)))
        }
        (Value::Time(time), Value::Duration(by)) if sign == "+" => {
            time.checked_add(*by).ok().map(Value::Time)
        }
        (Value::Duration(by), Value::Time(time)) if sign == "+" => {
            time.checked_add(*by).ok().map(Value::Time)
        }
        (Value::Time(time), Value::Duration(by)) if sign == "-" => {
            time.checked_sub(*by).ok().map(Value::Time)
        }
        (Value::Duration(left), Value::Duration(right)) if sign == "+" => {
            left.checked_add(*right).map(Value::Duration)
        }
        (Value::Duration(left), Value::Duration(right)) if sign == "-" => {
            left.checked_sub(*right).map(Value::Duration)
        }
        _ => return Err(format!("there is no {} {sign} {}", left.kind(), right.kind()).into()),
    };
    made.ok_or_else(overflow)
}
