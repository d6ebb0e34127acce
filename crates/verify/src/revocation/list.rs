//! The list as a document: read strictly, written in one way.

use std::collections::BTreeSet;

use countersign_attestation::json::{self, Bounded, JsonError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::signed::MAX_SIGNED_LIST;
use super::target::{MAX_TEXT, Target};

/// The most entries that are read, those which were withdrawn too. What can be signed is bounded by [`MAX_SIGNED_LIST`], which
/// comes first: some 2,900 entries with a digest and a line of reason.
pub const MAX_ENTRIES: usize = 10_000;

/// Why a text is no revocation list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// Not JSON of the expected shape.
    #[error("the revocation list: {0}")]
    Json(#[from] JsonError),
    /// Something of the list as a whole.
    #[error("the revocation list: {0}")]
    List(String),
    /// Something of one entry.
    #[error("the revocation list, entry {id}: {detail}")]
    Entry {
        /// Its number.
        id: u32,
        /// What was expected and what was found.
        detail: String,
    },
}

/// One entry. It is never taken out again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// Its place in the list, from 1.
    pub id: u32,
    /// What is revoked; absent from an entry that withdraws another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke: Option<Revocation>,
    /// The entry that this one withdraws.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<u32>,
    /// Why.
    pub reason: String,
    /// Who decided it.
    pub by: String,
    /// When that was.
    #[serde(with = "time")]
    pub at: Timestamp,
}

/// What an entry revokes, and for when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Revocation {
    /// What.
    pub target: Target,
    /// Signatures from this time on do not count; without it none does.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::option")]
    pub since: Option<Timestamp>,
    /// Signatures under certificates issued from this time on count again.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::option")]
    pub until: Option<Timestamp>,
    /// From this time on the entry does not hold any more.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::option")]
    pub expires: Option<Timestamp>,
}

impl Revocation {
    /// Whether another revocation would add nothing to this: the same target, from the same time or a later one, no longer.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let from = |own: Timestamp| other.since.is_some_and(|since| own <= since);
        let to = |own: Option<Timestamp>, other: Option<Timestamp>| {
            own.is_none_or(|own| other.is_some_and(|other| other <= own))
        };
        self.target == other.target
            && self.since.is_none_or(from)
            && to(self.until, other.until)
            && to(self.expires, other.expires)
    }
}

/// How a list changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These entries are added to the end, under the numbers that come next, whatever numbers they have.
    Add(Vec<Entry>),
    /// Nothing but the dates, and the number, which becomes this one at least.
    Renew(u64),
}

/// What is revoked, all of it, as of one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// Grows with every list. A smaller one than was seen before is refused.
    pub number: u64,
    /// When the list was signed.
    pub issued_at: Timestamp,
    /// From this time on the list says nothing any more, and a newer one is needed.
    pub expires: Timestamp,
    /// The entries, in the order in which they were made.
    pub entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    number: u64,
    #[serde(with = "time")]
    issued_at: Timestamp,
    #[serde(with = "time")]
    expires: Timestamp,
    entries: Bounded<Entry, MAX_ENTRIES>,
}

impl RevocationList {
    /// Reads a list.
    ///
    /// # Errors
    /// [`ListError`]: limits, unknown members, and entries that say nothing, two things, or something impossible.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ListError> {
        let wire: Wire = json::from_slice(bytes, MAX_SIGNED_LIST)?;
        let Wire { number, issued_at, expires, entries } = wire;
        let list = Self { number, issued_at, expires, entries: entries.0 };
        list.check()?;
        Ok(list)
    }

    /// Writes the list.
    ///
    /// # Errors
    /// [`ListError`], as [`RevocationList::from_json`] would say of what is written.
    pub fn to_json(&self) -> Result<Vec<u8>, ListError> {
        self.check()?;
        let Self { number, issued_at, expires, ref entries } = *self;
        let wire = Wire { number, issued_at, expires, entries: Bounded(entries.clone()) };
        Ok(serde_json::to_vec(&wire).map_err(JsonError::from)?)
    }

    /// The entries that revoke something and were not withdrawn, expired or not.
    pub fn standing(&self) -> impl Iterator<Item = (&Entry, &Revocation)> {
        let undone: BTreeSet<u32> = self.entries.iter().filter_map(|entry| entry.undo).collect();
        self.entries
            .iter()
            .filter_map(|entry| Some((entry, entry.revoke.as_ref()?)))
            .filter(move |(entry, _)| !undone.contains(&entry.id))
    }

    /// The entry that revokes all of this already; see [`Revocation::covers`].
    #[must_use]
    pub fn already(&self, wanted: &Revocation) -> Option<&Entry> {
        self.standing().find(|(_, own)| own.covers(wanted)).map(|(entry, _)| entry)
    }

    /// The list after a change: the next number, and the entries of before with what is added.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn following(
        old: Option<&Self>,
        change: &Change,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<Self, ListError> {
        let mut entries = old.map(|old| old.entries.clone()).unwrap_or_default();
        let mut number = old.map_or(0, |old| old.number).saturating_add(1);
        match change {
            Change::Renew(at_least) => number = number.max(*at_least),
            Change::Add(new) => {
                for entry in new {
                    let id = u32::try_from(entries.len() + 1).unwrap_or(u32::MAX);
                    entries.push(Entry { id, at: second(entry.at), ..entry.clone() });
                }
            }
        }
        let list = Self { number, issued_at: second(now), expires: second(expires), entries };
        list.check()?;
        Ok(list)
    }

    fn check(&self) -> Result<(), ListError> {
        let list = |detail: &str| Err(ListError::List(detail.into()));
        if self.number == 0 {
            return list("number: expected at least 1, found 0");
        }
        if self.expires <= self.issued_at {
            return list("expires: expected a time after issuedAt");
        }
        if self.entries.len() > MAX_ENTRIES {
            return list(
                "expected at most 10000 entries; begin a new list without those that were withdrawn",
            );
        }
        let mut standing = BTreeSet::new();
        for (entry, place) in self.entries.iter().zip(1_u32..) {
            let wrong = |detail: String| Err(ListError::Entry { id: entry.id, detail });
            if entry.id != place {
                return wrong(format!("expected the number {place}, its place in the list"));
            }
            for (name, text) in [("reason", &entry.reason), ("by", &entry.by)] {
                if text.trim().is_empty() || text.len() > MAX_TEXT {
                    return wrong(format!("{name}: expected a text of at most {MAX_TEXT} bytes"));
                }
            }
            match (&entry.revoke, entry.undo) {
                (Some(revocation), None) => {
                    if let Err(detail) = revocation.check() {
                        return wrong(detail);
                    }
                    standing.insert(entry.id);
                }
                (None, Some(other)) => {
                    if !standing.remove(&other) {
                        return wrong(format!(
                            "undo: expected the number of an earlier entry that holds, found {other}"
                        ));
                    }
                }
                _ => return wrong("expected either \"revoke\" or \"undo\"".into()),
            }
        }
        Ok(())
    }
}

/// The whole second at or before a time: nobody needs to read nanoseconds at three in the morning.
fn second(time: Timestamp) -> Timestamp {
    let whole = time.as_second() - i64::from(time.subsec_nanosecond() < 0);
    Timestamp::from_second(whole).unwrap_or(time)
}

impl Revocation {
    /// # Errors
    /// In words, what was expected and what was found.
    fn check(&self) -> Result<(), String> {
        self.target.check()?;
        if let Some(until) = self.until {
            if !self.target.can_end() {
                return Err(format!(
                    "until: expected with an identity or a builder only, whose certificates tell when they were issued; \
                     found with a {}",
                    self.target.kind()
                ));
            }
            if self.since.is_some_and(|since| until <= since) {
                return Err(format!("until: expected a time after since, found {until}"));
            }
        }
        Ok(())
    }
}

/// Times as RFC 3339 has them.
mod time {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }

    pub(super) mod option {
        use jiff::Timestamp;
        use serde::{Deserializer, Serializer};

        #[expect(clippy::ref_option, reason = "the signature is serde's")]
        pub(in super::super) fn serialize<S: Serializer>(
            time: &Option<Timestamp>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// A member that is there has a time: `null` is none.
        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Timestamp>, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }
}
