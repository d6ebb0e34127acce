//! The operators that ask whether what is in a key is in a value.
//!
//! A value is a list, a text, a text that holds a list in JSON, or a range such as `10-20`.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::operators::Sides;
use crate::kyverno::jmespath::text_of;
use crate::kyverno::units::{Duration, Quantity};

/// What is asked of the items of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    /// One is in the value.
    Any,
    /// All are.
    All,
    /// One is not.
    AnyNot,
    /// None is.
    AllNot,
}

/// What a value offers.
enum Offer {
    /// These texts.
    Texts(Vec<String>),
    /// Everything between two amounts.
    Range(String, String),
}

/// Whether the membership holds; a key or value of another kind makes it false.
pub(super) fn holds(membership: Membership, key: &Value, value: &Value, sides: Sides<'_>) -> bool {
    let negative = matches!(membership, Membership::AnyNot | Membership::AllNot);
    match key {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => {
            single(&text_of(key), value, sides).is_some_and(|found| found != negative)
        }
        Value::Array(keys) => {
            let keys: Vec<String> = keys.iter().map(text_of).collect();
            several(membership, &keys, value, sides).unwrap_or(false)
        }
        Value::Null | Value::Object(_) => false,
    }
}

/// Whether a single key is in a value.
fn single(key: &str, value: &Value, sides: Sides<'_>) -> Option<bool> {
    match value {
        Value::Array(items) => Some(items.iter().any(|item| sides.either_matches(key, &text_of(item)))),
        Value::String(text) if sides.value_matches(key, text) => Some(true),
        Value::String(text) => Some(match offer(text)? {
            Offer::Range(low, high) => within(key, &low, &high) == Some(true),
            Offer::Texts(texts) => texts.iter().any(|text| key == text),
        }),
        _ => None,
    }
}

fn several(membership: Membership, keys: &[String], value: &Value, sides: Sides<'_>) -> Option<bool> {
    let offer = match value {
        Value::Array(items) => Offer::Texts(items.iter().map(text_of).collect()),
        Value::String(text) if keys.len() == 1 && keys.first() == Some(text) => {
            Offer::Texts(vec![text.clone()])
        }
        Value::String(text) => offer(text)?,
        // A bare value is a list of one for the operators with "any".
        Value::Number(_) | Value::Bool(_) if matches!(membership, Membership::Any | Membership::AnyNot) => {
            Offer::Texts(vec![text_of(value)])
        }
        _ => return None,
    };
    let inside = |key: &String| match &offer {
        Offer::Range(low, high) => within(key, low, high),
        Offer::Texts(texts) => Some(texts.iter().any(|text| sides.either_matches(key, text))),
    };
    Some(match membership {
        Membership::Any => keys.iter().any(|key| inside(key) == Some(true)),
        Membership::All => keys.iter().all(|key| inside(key) == Some(true)),
        // What is no amount is neither within a range nor outside of it.
        Membership::AnyNot => keys.iter().any(|key| inside(key) == Some(false)),
        Membership::AllNot => keys.iter().all(|key| inside(key) != Some(true)),
    })
}

/// What a text offers; nothing if it is JSON, and not a list of texts.
fn offer(text: &str) -> Option<Offer> {
    static RANGE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^([-+]?\d+(?:\.\d+)?[A-Za-z]*)-([-+]?\d+(?:\.\d+)?[A-Za-z]*)$").ok());
    if let Some(ends) = RANGE.as_ref().and_then(|range| range.captures(text)) {
        return Some(Offer::Range(ends.get(1)?.as_str().to_owned(), ends.get(2)?.as_str().to_owned()));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(list) => serde_json::from_value(list).ok().map(Offer::Texts),
        Err(_) => Some(Offer::Texts(vec![text.to_owned()])),
    }
}

/// Whether an amount lies between two others, ends included. Nothing if it cannot be compared.
fn within(key: &str, low: &str, high: &str) -> Option<bool> {
    Some(order(key, low)?.is_ge() && order(key, high)?.is_le())
}

fn order(left: &str, right: &str) -> Option<Ordering> {
    if let Some((left, right)) = Duration::parse(left).zip(Duration::parse(right)) {
        return Some(left.cmp(&right));
    }
    let (left, right) = Quantity::parse(left).zip(Quantity::parse(right))?;
    Some(left.nanos.cmp(&right.nanos))
}

/// `In` and `NotIn`. Lists are compared as they are, without patterns; a list of anything else than texts is an error,
/// where Kyverno falls over. For a text against a list, patterns count.
pub(super) fn older(key: &Value, value: &Value, sides: Sides<'_>, negative: bool) -> Result<bool, String> {
    let keys = match key {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => {
            let key = text_of(key);
            let found = match value {
                Value::Array(items) => items.iter().any(|item| sides.either_matches(&key, &text_of(item))),
                Value::String(text) if sides.value_matches(&key, text) => true,
                Value::String(text) => match serde_json::from_str::<Vec<String>>(text) {
                    Ok(texts) => texts.contains(&key),
                    Err(_) => return Ok(false),
                },
                _ => return Ok(false),
            };
            return Ok(found != negative);
        }
        Value::Array(keys) => keys,
        Value::Null | Value::Object(_) => return Ok(false),
    };
    let keys: Option<Vec<&str>> = keys.iter().map(Value::as_str).collect();
    let keys = keys.ok_or_else(|| {
        let other = if negative { "AnyNotIn or AllNotIn" } else { "AnyIn or AllIn" };
        format!("expected a list of texts as the key, found something else in it; write {other}, which takes any values")
    })?;
    let texts: BTreeSet<String> = match value {
        Value::Array(items) => match items.iter().map(|item| item.as_str().map(str::to_owned)).collect() {
            Some(texts) => texts,
            None => return Ok(false),
        },
        Value::String(text) if keys == [text.as_str()] => BTreeSet::from([text.clone()]),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(texts) => texts,
            Err(_) => return Ok(false),
        },
        _ => return Ok(false),
    };
    let inside = keys.iter().all(|key| texts.contains(*key));
    Ok(inside != negative)
}
