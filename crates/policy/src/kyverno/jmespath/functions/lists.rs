//! Functions over lists: order, extremes, and what is in them.

use std::cmp::Ordering;

use serde_json::Value;

use super::Kind::{Any, Array, Number, Numbers, Object, Reference, Text, Texts};
use super::{Call, Error, Function, Outcome, function};
use crate::kyverno::jmespath::interpret::equal;

pub(super) const FUNCTIONS: &[Function] = &[
    function("contains", &[&[Text, Array], &[Any]], contains),
    function("length", &[&[Text, Array, Object]], length),
    function("map", &[&[Reference], &[Array]], map),
    function("max", &[&[Numbers, Texts]], |call| extreme(call, Ordering::Greater)),
    function("min", &[&[Numbers, Texts]], |call| extreme(call, Ordering::Less)),
    function("max_by", &[&[Array], &[Reference]], |call| extreme_by(call, Ordering::Greater)),
    function("min_by", &[&[Array], &[Reference]], |call| extreme_by(call, Ordering::Less)),
    function("sort", &[&[Texts, Numbers]], sort),
    function("sort_by", &[&[Array], &[Reference]], sort_by),
    function("avg", &[&[Numbers]], average),
    function("abs", &[&[Number]], |call| call.numeric(call.number(0)?.abs())),
    function("ceil", &[&[Number]], |call| call.numeric(call.number(0)?.ceil())),
    function("floor", &[&[Number]], |call| call.numeric(call.number(0)?.floor())),
];

fn contains(call: &Call<'_>) -> Outcome {
    let wanted = call.value(1)?;
    if let Value::String(text) = call.value(0)? {
        return Ok(Value::Bool(wanted.as_str().is_some_and(|wanted| text.contains(wanted))));
    }
    for item in call.list(0)? {
        if equal(item, wanted, call.budget())? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn length(call: &Call<'_>) -> Outcome {
    Ok(Value::from(match call.value(0)? {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        _ => call.object(0)?.len(),
    }))
}

fn map(call: &Call<'_>) -> Outcome {
    let mut mapped = Vec::new();
    for item in call.list(1)? {
        let found = match call.referenced(0, item) {
            Err(Error::UnknownKey(_)) => Value::Null,
            other => call.run.own(other?)?,
        };
        mapped.push(found);
    }
    Ok(Value::Array(mapped))
}

/// The order of two texts or two numbers.
fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

fn extreme(call: &Call<'_>, wanted: Ordering) -> Outcome {
    let mut best: Option<&Value> = None;
    for item in call.list(0)? {
        if best.is_none_or(|best| order(item, best) == Some(wanted)) {
            best = Some(item);
        }
    }
    best.map_or(Ok(Value::Null), |best| call.budget().copy(best))
}

/// The items of the first argument, each with its key: all texts or all numbers.
fn keyed<'c>(call: &'c Call<'_>) -> Result<Vec<(Value, &'c Value)>, Error> {
    let mut items = Vec::new();
    for item in call.list(0)? {
        let key = match call.referenced(1, item) {
            Err(Error::UnknownKey(_)) => Value::Null,
            other => call.run.own(other?)?,
        };
        let first = items.first().map_or(&key, |(first, _)| first);
        let alike = (first.is_string() && key.is_string()) || (first.is_number() && key.is_number());
        if !alike {
            return Err(call.error("expected a key that is a text, or a number, in every item"));
        }
        items.push((key, item));
    }
    Ok(items)
}

fn extreme_by(call: &Call<'_>, wanted: Ordering) -> Outcome {
    let mut best: Option<(Value, &Value)> = None;
    for (key, item) in keyed(call)? {
        if best.as_ref().is_none_or(|(best, _)| order(&key, best) == Some(wanted)) {
            best = Some((key, item));
        }
    }
    best.map_or(Ok(Value::Null), |(_, best)| call.budget().copy(best))
}

fn sort(call: &Call<'_>) -> Outcome {
    call.budget().value(call.value(0)?)?;
    let mut items = call.list(0)?.clone();
    items.sort_by(|left, right| order(left, right).unwrap_or(Ordering::Equal));
    Ok(Value::Array(items))
}

fn sort_by(call: &Call<'_>) -> Outcome {
    let mut items = keyed(call)?;
    items.sort_by(|(left, _), (right, _)| order(left, right).unwrap_or(Ordering::Equal));
    let sorted: Result<Vec<Value>, Error> = items.iter().map(|(_, item)| call.budget().copy(item)).collect();
    sorted.map(Value::Array)
}

fn average(call: &Call<'_>) -> Outcome {
    let items = call.list(0)?;
    if items.is_empty() {
        return Ok(Value::Null);
    }
    let sum: f64 = items.iter().filter_map(Value::as_f64).sum();
    #[expect(clippy::cast_precision_loss, reason = "fewer items than 2^53")]
    call.numeric(sum / items.len() as f64)
}
