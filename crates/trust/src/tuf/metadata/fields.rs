//! Reading the members of an object, with errors that name the role and the member.

use crate::tuf::TufError;
use crate::tuf::json::{Json, Object};

/// The members of an object, read with errors that name the role and the member.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    pub(super) role: &'static str,
    pub(super) members: &'a Object,
}

impl<'a> Fields<'a> {
    pub(super) fn wrong(&self, member: &str, expected: &str) -> TufError {
        TufError::malformed(self.role, format!("{}: expected {expected}", short(member)))
    }

    pub(super) fn get(&self, name: &str) -> Result<&'a Json, TufError> {
        self.members.get(name).ok_or_else(|| self.wrong(name, "it, found nothing"))
    }

    pub(super) fn nested(&self, json: &'a Json, name: &str) -> Result<Self, TufError> {
        match json {
            Json::Object(members) => Ok(Self { role: self.role, members }),
            _ => Err(self.wrong(name, "an object")),
        }
    }

    pub(super) fn object(&self, name: &str) -> Result<Self, TufError> {
        self.nested(self.get(name)?, name)
    }

    pub(super) fn array(&self, name: &str) -> Result<&'a [Json], TufError> {
        match self.get(name)? {
            Json::Array(items) => Ok(items),
            _ => Err(self.wrong(name, "an array")),
        }
    }

    pub(super) fn string(&self, name: &str) -> Result<&'a str, TufError> {
        match self.get(name)? {
            Json::String(text) => Ok(text),
            _ => Err(self.wrong(name, "a string")),
        }
    }

    pub(super) fn strings(&self, name: &str) -> Result<Vec<String>, TufError> {
        self.array(name)?
            .iter()
            .map(|item| match item {
                Json::String(text) => Ok(text.clone()),
                _ => Err(self.wrong(name, "strings")),
            })
            .collect()
    }

    pub(super) fn number(&self, name: &str) -> Result<u64, TufError> {
        match self.get(name)? {
            Json::Integer(number) => {
                u64::try_from(*number).map_err(|_| self.wrong(name, "no negative number"))
            }
            _ => Err(self.wrong(name, "a number")),
        }
    }

    pub(super) fn boolean(&self, name: &str) -> Result<bool, TufError> {
        match self.get(name)? {
            Json::Bool(value) => Ok(*value),
            _ => Err(self.wrong(name, "true or false")),
        }
    }

    /// A member that may be absent. `null` is not absent.
    pub(super) fn optional<V>(
        &self,
        name: &str,
        read: impl FnOnce(&Self, &str) -> Result<V, TufError>,
    ) -> Result<Option<V>, TufError> {
        if self.members.contains_key(name) { read(self, name).map(Some) } else { Ok(None) }
    }
}

/// A name out of untrusted metadata, cut and freed of control characters, for an error message.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
