//! Functions over objects, and between kinds of values.

use serde_json::{Map, Value};

use super::Kind::{Any, Array, Number, Object, Text};
use super::{Call, Function, Outcome, function};
use crate::kyverno::jmespath::lexer::text_of;

pub(super) const FUNCTIONS: &[Function] = &[
    function("keys", &[&[Object]], |call| {
        call.budget().value(call.value(0)?)?;
        Ok(call.object(0)?.keys().map(|key| Value::from(key.as_str())).collect())
    }),
    function("values", &[&[Object]], |call| {
        call.budget().value(call.value(0)?)?;
        Ok(call.object(0)?.values().cloned().collect())
    }),
    Function { name: "merge", arguments: &[&[Object]], variadic: true, run: merge },
    Function { name: "not_null", arguments: &[&[Any]], variadic: true, run: not_null },
    function("to_array", &[&[Any]], to_array),
    function("to_number", &[&[Any]], to_number),
    function("type", &[&[Any]], type_of),
    function("lookup", &[&[Object, Array], &[Text, Number]], lookup),
    function("items", &[&[Object, Array], &[Text], &[Text]], items),
    function("object_from_lists", &[&[Array], &[Array]], object_from_lists),
];

fn merge(call: &Call<'_>) -> Outcome {
    let mut merged = Map::new();
    for position in 0..call.arguments.len() {
        call.budget().value(call.value(position)?)?;
        merged.extend(call.object(position)?.clone());
    }
    Ok(Value::Object(merged))
}

fn not_null(call: &Call<'_>) -> Outcome {
    for position in 0..call.arguments.len() {
        let value = call.value(position)?;
        if !value.is_null() {
            return call.budget().copy(value);
        }
    }
    Ok(Value::Null)
}

fn to_array(call: &Call<'_>) -> Outcome {
    let value = call.budget().copy(call.value(0)?)?;
    Ok(if value.is_array() { value } else { Value::Array(vec![value]) })
}

/// The number in a text, or a number itself; null for anything else.
fn to_number(call: &Call<'_>) -> Outcome {
    match call.value(0)? {
        Value::Number(number) => Ok(Value::Number(number.clone())),
        Value::String(text) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => call.numeric(number),
            _ => Ok(Value::Null),
        },
        _ => Ok(Value::Null),
    }
}

fn type_of(call: &Call<'_>) -> Outcome {
    Ok(Value::from(match call.value(0)? {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }))
}

/// `lookup(object, key)` and `lookup(list, index)`; null for what is not there.
fn lookup(call: &Call<'_>) -> Outcome {
    let found = match call.value(0)? {
        Value::Object(fields) => fields.get(call.text(1)?),
        _ => usize::try_from(call.whole(1)?).ok().and_then(|at| call.list(0).ok()?.get(at)),
    };
    found.map_or(Ok(Value::Null), |found| call.budget().copy(found))
}

/// `items(object, name of key, name of value)`: an object for each pair, in the order of the keys.
fn items(call: &Call<'_>) -> Outcome {
    let (key_name, value_name) = (call.text(1)?, call.text(2)?);
    let pair = |key: Value, value: &Value| {
        call.budget().bytes(key_name.len().saturating_add(value_name.len()))?;
        let value = call.budget().copy(value)?;
        Ok(Value::Object(Map::from_iter([(key_name.to_owned(), key), (value_name.to_owned(), value)])))
    };
    match call.value(0)? {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            sorted.into_iter().map(|(key, value)| pair(Value::from(key.as_str()), value)).collect()
        }
        _ => call.list(0)?.iter().enumerate().map(|(index, value)| pair(Value::from(index), value)).collect(),
    }
}

/// `object_from_lists(keys, values)`; keys beyond the values have null.
fn object_from_lists(call: &Call<'_>) -> Outcome {
    let values = call.list(1)?;
    let mut object = Map::new();
    for (index, key) in call.list(0)?.iter().enumerate() {
        if !matches!(key, Value::String(_) | Value::Number(_) | Value::Bool(_)) {
            return Err(call.expected(0, "a list of texts"));
        }
        let key = text_of(key);
        call.budget().bytes(key.len())?;
        let value = values.get(index).map_or(Ok(Value::Null), |value| call.budget().copy(value))?;
        object.insert(key, value);
    }
    Ok(Value::Object(object))
}
