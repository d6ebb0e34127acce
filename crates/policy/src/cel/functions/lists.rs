//! Lists, maps as far as they are like lists, and lists as sets.

use std::cmp::Ordering;

use super::convert::extreme;
use crate::cel::Problem;
use crate::cel::evaluate::Run;
use crate::cel::operators::{binary, compare, length};
use crate::cel::value::Value;

pub(super) fn call(run: &Run<'_>, name: &str, arguments: &[Value]) -> Option<Result<Value, Problem>> {
    match (name, arguments) {
        ("size", [Value::Map(fields)]) => Some(Ok(number(fields.len()))),
        ("size", [Value::Bytes(bytes)]) => Some(Ok(number(bytes.len()))),
        (_, [Value::List(items), rest @ ..]) => of_list(run, name, items, rest).transpose(),
        _ => None,
    }
}

fn of_list(run: &Run<'_>, name: &str, items: &[Value], rest: &[Value]) -> Result<Option<Value>, Problem> {
    run.steps(items.len())?;
    Ok(Some(match (name, rest) {
        ("size", []) => number(items.len()),
        ("join", by) => return join(run, items, by).map(Some),
        ("first", []) => optional(items.first()),
        ("last", []) => optional(items.last()),
        ("reverse", []) => Value::list(items.iter().rev().cloned()),
        ("slice", [Value::Int(from), Value::Int(to)]) => {
            let range = usize::try_from(*from).ok().zip(usize::try_from(*to).ok());
            let part = range.and_then(|(from, to)| items.get(from..to));
            Value::list(part.ok_or("expected a part that is in the list")?.iter().cloned())
        }
        ("flatten", []) => {
            let mut flat: Vec<Value> = Vec::new();
            for item in items {
                match item {
                    Value::List(inner) => {
                        run.steps(inner.len())?;
                        flat.extend(inner.iter().cloned());
                    }
                    other => flat.push(other.clone()),
                }
            }
            Value::list(flat)
        }
        ("min", []) => extreme(run, items, Ordering::Less)?,
        ("max", []) => extreme(run, items, Ordering::Greater)?,
        ("sum", []) => {
            let [first, rest @ ..] = items else { return Ok(Some(Value::Int(0))) };
            rest.iter().try_fold(first.clone(), |sum, item| binary("+", &sum, item, run.budget()))?
        }
        ("isSorted", []) => {
            for pair in items.windows(2) {
                let [first, second] = pair else { continue };
                run.bytes(length(first))?;
                if compare(first, second)? == Some(Ordering::Greater) {
                    return Ok(Some(Value::Bool(false)));
                }
            }
            Value::Bool(true)
        }
        ("sort", []) => sorted(run, items)?,
        ("distinct", []) => {
            let mut distinct: Vec<Value> = Vec::new();
            for item in items {
                if !has(run, &distinct, item)? {
                    distinct.push(item.clone());
                }
            }
            Value::list(distinct)
        }
        ("indexOf", [wanted]) => position(run, items.iter(), wanted)?.map_or(Value::Int(-1), number),
        ("lastIndexOf", [wanted]) => match position(run, items.iter().rev(), wanted)? {
            Some(from_the_end) => number(items.len() - 1 - from_the_end),
            None => Value::Int(-1),
        },
        ("sets.contains", [Value::List(wanted)]) => Value::Bool(has_all(run, items, wanted)?),
        ("sets.equivalent", [Value::List(other)]) => {
            Value::Bool(has_all(run, items, other)? && has_all(run, other, items)?)
        }
        ("sets.intersects", [Value::List(other)]) => {
            for item in other.iter() {
                if has(run, items, item)? {
                    return Ok(Some(Value::Bool(true)));
                }
            }
            Value::Bool(false)
        }
        _ => return Ok(None),
    }))
}

fn number(count: usize) -> Value {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

fn optional(value: Option<&Value>) -> Value {
    Value::Optional(value.map(|value| std::sync::Arc::new(value.clone())))
}

fn position<'a>(
    run: &Run<'_>,
    items: impl Iterator<Item = &'a Value>,
    wanted: &Value,
) -> Result<Option<usize>, Problem> {
    for (index, item) in items.enumerate() {
        if run.equal(item, wanted)? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

fn has(run: &Run<'_>, items: &[Value], wanted: &Value) -> Result<bool, Problem> {
    position(run, items.iter(), wanted).map(|found| found.is_some())
}

fn has_all(run: &Run<'_>, items: &[Value], wanted: &[Value]) -> Result<bool, Problem> {
    for item in wanted {
        if !has(run, items, item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn join(run: &Run<'_>, items: &[Value], by: &[Value]) -> Result<Value, Problem> {
    let by = match by {
        [] => "",
        [Value::Text(by)] => by,
        _ => return Err("expected a text to join with".into()),
    };
    let mut joined = String::new();
    for (index, item) in items.iter().enumerate() {
        let Value::Text(text) = item else {
            return Err(format!("expected texts to join, found {}", item.kind()).into());
        };
        run.bytes(by.len() + text.len())?;
        if index > 0 {
            joined.push_str(by);
        }
        joined.push_str(text);
    }
    Ok(Value::text(&joined))
}

fn sorted(run: &Run<'_>, items: &[Value]) -> Result<Value, Problem> {
    run.steps(items.len().saturating_mul(16))?;
    // Each is compared about so many times.
    let times = items.len().checked_ilog2().unwrap_or(0) as usize + 1;
    for item in items {
        run.bytes(length(item).saturating_mul(times))?;
        // What cannot be compared with the first one cannot be sorted, nor what is no number.
        if let Some(first) = items.first()
            && compare(first, item)?.is_none()
        {
            return Err("expected values that have an order".into());
        }
    }
    let mut sorted = items.to_vec();
    sorted.sort_by(|left, right| compare(left, right).ok().flatten().unwrap_or(Ordering::Equal));
    Ok(Value::list(sorted))
}
