//! What the smaller predicates have in common: they are read whole, checked against their specification, and written in one
//! form, that of their newest version.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::resource::Resource;
use crate::json::{self, Bounded, JsonError, UniqueValue};

/// The largest of them, in bytes.
pub const MAX_LEN: usize = 4 << 20;
/// The most items of one list in them.
pub const MAX_ITEMS: usize = 50_000;

/// A predicate of a type of its own.
pub trait Predicate: Serialize + DeserializeOwned {
    /// The types that are read, of which the first is the one written.
    const TYPES: &'static [&'static str];

    /// Whether it says what its specification demands, beyond the types of its members.
    ///
    /// # Errors
    /// [`JsonError`] with the member and what was expected there.
    fn check(&self) -> Result<(), JsonError>;

    /// The members of an older version under the names of the newest.
    fn renewed(_predicate_type: &str, members: Map<String, Value>) -> Map<String, Value> {
        members
    }

    /// Reads a predicate of one of [`Predicate::TYPES`]. An unknown member is left out, `null` is absent.
    ///
    /// # Errors
    /// [`JsonError`]: another type, limits, a member twice, missing or of another type, and what [`Predicate::check`] finds.
    fn from_json(predicate_type: &str, text: &str) -> Result<Self, JsonError> {
        if !Self::TYPES.contains(&predicate_type) {
            let known = Self::TYPES.join(", ");
            return Err(JsonError::Shape(format!("expected {known}, found {predicate_type}")));
        }
        let mut value: UniqueValue = json::from_slice(text.as_bytes(), MAX_LEN)?;
        without_nulls(&mut value.0);
        let Value::Object(members) = value.0 else {
            return Err(JsonError::Shape("expected an object as predicate".into()));
        };
        let members = Value::Object(Self::renewed(predicate_type, members));
        let read: Self = serde_path_to_error::deserialize(members)
            .map_err(|e| JsonError::Shape(format!("{}: {}", e.path(), e.inner())))?;
        read.check()?;
        Ok(read)
    }

    /// Writes the predicate in its newest version, whose type is the first of [`Predicate::TYPES`].
    ///
    /// # Errors
    /// [`JsonError`]: what [`Predicate::check`] finds, limits.
    fn to_json(&self) -> Result<Box<RawValue>, JsonError> {
        self.check()?;
        let written = serde_json::value::to_raw_value(self)?;
        json::check(written.get().as_bytes(), MAX_LEN)?;
        Ok(written)
    }
}

/// Takes the members away that are there and say nothing.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// Gives a member its newer name, where that is not taken.
pub(super) fn rename(members: &mut Map<String, Value>, old: &str, new: &str) {
    if let Some(value) = members.remove(old) {
        members.entry(new).or_insert(value);
    }
}

/// That a text says something.
pub(super) fn filled(path: &str, text: &str) -> Result<(), JsonError> {
    if text.trim().is_empty() {
        return Err(JsonError::Shape(format!("{path}: expected something, found none")));
    }
    Ok(())
}

/// That a list has something in it.
pub(super) fn some<T>(path: &str, list: &[T]) -> Result<(), JsonError> {
    if list.is_empty() {
        return Err(JsonError::Shape(format!("{path}: expected at least one, found none")));
    }
    Ok(())
}

/// That each of a list has a digest.
pub(super) fn with_digests(path: &str, resources: &[Resource]) -> Result<(), JsonError> {
    match resources.iter().position(|resource| resource.digest.is_empty()) {
        None => Ok(()),
        Some(at) => Err(JsonError::Shape(format!("{path}[{at}].digest: expected a digest, found none"))),
    }
}

/// A list of at most [`MAX_ITEMS`].
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Bounded::<T, MAX_ITEMS>::deserialize(deserializer)?.0)
}

/// A time as text.
pub(super) mod when {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};
    use serde::de::Error as _;

    pub(crate) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        super::read_time(&String::deserialize(deserializer)?)?
            .ok_or_else(|| D::Error::custom("expected a time, found the zero time"))
    }
}

/// A time as text, which may be absent.
pub(super) mod whenever {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(time),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        super::read_time(&String::deserialize(deserializer)?)
    }
}

fn read_time<E: serde::de::Error>(text: &str) -> Result<Option<Timestamp>, E> {
    super::time("time", text).map_err(E::custom)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// That each change of a good predicate alone makes it one that is refused, with a word of why.
    pub(crate) fn refused<P: Predicate>(good: &Value, changes: &[(&str, Value, &str)]) {
        let kind = P::TYPES[0];
        let read = |value: &Value| P::from_json(kind, &value.to_string()).map_err(|e| e.to_string());
        let own = read(good).map_err(|e| panic!("{e}")).unwrap();
        let text = own.to_json().unwrap();
        assert!(P::from_json(kind, text.get()).is_ok(), "what is written is read: {text}");
        assert!(P::from_json("https://example.com/other", text.get()).is_err());
        for (pointer, value, says) in changes {
            let mut changed = good.clone();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            match changed.pointer_mut(parent).unwrap() {
                Value::Object(members) => drop(members.insert((*name).to_owned(), value.clone())),
                Value::Array(items) => items[name.parse::<usize>().unwrap()] = value.clone(),
                other => panic!("{pointer}: {other}"),
            }
            let Err(error) = read(&changed) else { panic!("{pointer} as {value} was taken") };
            assert!(error.contains(says), "{pointer}: {error}");
        }
        for bad in ["", "[]", "null", "\"text\"", "{} {}", "{\"a\":1,\"a\":1}", "{\"a\":{\"b\":1,\"b\":1}}"] {
            assert!(P::from_json(kind, bad).is_err(), "{bad}");
        }
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_LEN));
        assert!(matches!(P::from_json(kind, &large), Err(JsonError::TooLarge { .. })));
    }
}
