//! Texts. Positions are in characters.

use std::cell::RefCell;
use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use crate::cel::Problem;
use crate::cel::evaluate::Run;
use crate::cel::value::Value;

/// The longest regular expression, and the most memory that a compiled one takes.
const MAX_PATTERN: usize = 4096;
const MAX_COMPILED: usize = 1 << 20;
/// What compiling counts, in steps.
const COMPILING: usize = 2000;
/// The most compiled expressions that are kept in an evaluation.
const KEPT: usize = 64;

/// The regular expressions of an evaluation.
#[derive(Debug, Default)]
pub(in crate::cel) struct Patterns(RefCell<BTreeMap<String, Regex>>);

impl Patterns {
    fn get(&self, run: &Run<'_>, pattern: &str) -> Result<Regex, Problem> {
        if let Some(known) = self.0.borrow().get(pattern) {
            return Ok(known.clone());
        }
        if pattern.len() > MAX_PATTERN {
            return Err(format!("expected a regular expression of at most {MAX_PATTERN} bytes").into());
        }
        run.steps(COMPILING)?;
        let compiled = RegexBuilder::new(pattern).size_limit(MAX_COMPILED).build();
        let compiled = compiled.map_err(|_| format!("expected a regular expression, found \"{pattern}\""))?;
        let mut kept = self.0.borrow_mut();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(pattern.to_owned(), compiled.clone());
        Ok(compiled)
    }
}

pub(super) fn call(run: &Run<'_>, name: &str, arguments: &[Value]) -> Option<Result<Value, Problem>> {
    let [Value::Text(text), rest @ ..] = arguments else { return None };
    of_text(run, name, text, rest).transpose()
}

fn of_text(run: &Run<'_>, name: &str, text: &str, rest: &[Value]) -> Result<Option<Value>, Problem> {
    // Each goes through the text once at least, and most make one of its length.
    run.bytes(text.len())?;
    Ok(Some(match (name, rest) {
        ("size", []) => length(text),
        ("contains", [Value::Text(part)]) => Value::Bool(text.contains(&**part)),
        ("startsWith", [Value::Text(part)]) => Value::Bool(text.starts_with(&**part)),
        ("endsWith", [Value::Text(part)]) => Value::Bool(text.ends_with(&**part)),
        ("matches", [Value::Text(pattern)]) => Value::Bool(matcher(run, pattern, text)?.is_match(text)),
        ("find", [Value::Text(pattern)]) => {
            Value::text(matcher(run, pattern, text)?.find(text).map_or("", |found| found.as_str()))
        }
        ("findAll", [Value::Text(pattern), limit @ ..]) => {
            let most = limit_of(limit)?;
            let pattern = matcher(run, pattern, text)?;
            let mut found = Vec::new();
            for part in pattern.find_iter(text).take(most) {
                run.steps(1 + text.len() / 64)?;
                found.push(Value::text(part.as_str()));
            }
            Value::list(found)
        }
        ("lowerAscii", []) => Value::text(&text.to_ascii_lowercase()),
        ("upperAscii", []) => Value::text(&text.to_ascii_uppercase()),
        ("trim", []) => Value::text(text.trim()),
        ("reverse", []) => Value::text(&text.chars().rev().collect::<String>()),
        ("charAt", [Value::Int(at)]) => {
            let at = position(*at, text)?;
            Value::text(&text.chars().skip(at).take(1).collect::<String>())
        }
        ("substring", [Value::Int(from), to @ ..]) => {
            let from = position(*from, text)?;
            let to = match to {
                [Value::Int(to)] => position(*to, text)?,
                [] => text.chars().count(),
                _ => return Ok(None),
            };
            if from > to {
                return Err("expected a part of a text that ends after it begins".into());
            }
            Value::text(&text.chars().skip(from).take(to - from).collect::<String>())
        }
        ("indexOf", [Value::Text(part), from @ ..]) => {
            let from = match from {
                [Value::Int(from)] => byte_at(position(*from, text)?, text),
                _ => 0,
            };
            let found = text.get(from..).and_then(|rest| rest.find(&**part)).map(|at| from + at);
            found.map_or(Value::Int(-1), |at| length(text.get(..at).unwrap_or_default()))
        }
        ("lastIndexOf", [Value::Text(part), to @ ..]) => {
            let until = match to {
                [Value::Int(to)] => (byte_at(position(*to, text)?, text) + part.len()).min(text.len()),
                _ => text.len(),
            };
            let found = text.get(..until).and_then(|rest| rest.rfind(&**part));
            found.map_or(Value::Int(-1), |at| length(text.get(..at).unwrap_or_default()))
        }
        ("replace", [Value::Text(from), Value::Text(to), limit @ ..]) => {
            let most = limit_of(limit)?;
            let places =
                if from.is_empty() { text.len() + 1 } else { text.matches(&**from).take(most).count() };
            run.bytes(places.saturating_mul(to.len()))?;
            Value::text(&text.replacen(&**from, to, most))
        }
        ("split", [Value::Text(by), limit @ ..]) => {
            let most = limit_of(limit)?;
            run.steps(if by.is_empty() { text.len() + 1 } else { text.matches(&**by).count() + 1 })?;
            if most == 0 {
                return Ok(Some(Value::list([])));
            }
            if by.is_empty() {
                // A text by nothing is its characters.
                return Ok(Some(Value::list(text.chars().map(|c| Value::text(c.encode_utf8(&mut [0; 4]))))));
            }
            Value::list(text.splitn(most, &**by).map(Value::text))
        }
        _ => return Ok(None),
    }))
}

/// A compiled expression, with the time that looking through this text takes paid for.
fn matcher(run: &Run<'_>, pattern: &str, text: &str) -> Result<Regex, Problem> {
    run.bytes(text.len().saturating_mul(1 + pattern.len() / 16))?;
    run.patterns().get(run, pattern)
}

/// The most of something; a negative number is no limit.
fn limit_of(limit: &[Value]) -> Result<usize, Problem> {
    match limit {
        [] => Ok(usize::MAX),
        [Value::Int(limit)] => Ok(usize::try_from(*limit).unwrap_or(usize::MAX)),
        _ => Err("expected a number as the limit".into()),
    }
}

fn length(text: &str) -> Value {
    Value::Int(i64::try_from(text.chars().count()).unwrap_or(i64::MAX))
}

fn position(at: i64, text: &str) -> Result<usize, Problem> {
    let found = usize::try_from(at).ok().filter(|at| *at <= text.chars().count());
    found.ok_or_else(|| format!("there is no character {at} in the text").into())
}

fn byte_at(position: usize, text: &str) -> usize {
    text.char_indices().nth(position).map_or(text.len(), |(at, _)| at)
}
