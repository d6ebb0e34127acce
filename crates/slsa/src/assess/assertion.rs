//! What no machine can look at, somebody answers for: with a name, from a day to a day.

use countersign_attestation::JsonError;
use countersign_attestation::json;
use jiff::Timestamp;
use serde::Deserialize;

/// The type of the predicate.
pub const ASSERTION_TYPE: &str = "https://countersign.dev/slsa-self-assessment/v1";
/// The largest predicate read, in bytes.
const MAX_LEN: usize = 256 * 1024;
/// The most rows of one statement.
const MAX_ROWS: usize = 256;

/// A statement of a person or an organisation on rows of the tables, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// Who signed it.
    pub by: String,
    /// The SHA-256 of the statement, hexadecimal.
    pub statement: String,
    /// The ids of the rows that hold.
    pub rows: Vec<String>,
    /// When it was made.
    pub made: Timestamp,
    /// From when it says nothing any more.
    pub until: Timestamp,
    /// Why, in words.
    pub text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    rows: json::Bounded<String, MAX_ROWS>,
    #[serde(with = "crate::time")]
    made: Timestamp,
    #[serde(with = "crate::time")]
    expires: Timestamp,
    #[serde(default)]
    text: String,
}

impl Assertion {
    /// Reads the predicate of a verified statement.
    ///
    /// ```
    /// use countersign_slsa::assess::Assertion;
    /// let text = r#"{"rows": ["v0.1/security"], "made": "2026-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z"}"#;
    /// let read = Assertion::from_json(text, "ciso@example.com", "00")?;
    /// assert_eq!(read.rows, ["v0.1/security"]);
    /// # Ok::<(), countersign_attestation::JsonError>(())
    /// ```
    ///
    /// # Errors
    /// [`JsonError`]: limits, members missing, no row, or an end before the beginning.
    pub fn from_json(text: &str, by: &str, statement: &str) -> Result<Self, JsonError> {
        let wire: Wire = json::from_slice(text.as_bytes(), MAX_LEN)?;
        if wire.rows.0.is_empty() {
            return Err(JsonError::Shape("rows: expected at least one, found none".into()));
        }
        if wire.expires <= wire.made {
            return Err(JsonError::Shape("expires: expected a time after made".into()));
        }
        Ok(Self {
            by: by.to_owned(),
            statement: statement.to_owned(),
            rows: wire.rows.0,
            made: wire.made,
            until: wire.expires,
            text: wire.text,
        })
    }

    /// Whether it says anything at this time.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.made <= now && now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_has_rows_and_an_end() {
        let good = r#"{"rows": ["a"], "made": "2026-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z"}"#;
        let read = Assertion::from_json(good, "x", "00").unwrap();
        let at = |text: &str| read.holds(text.parse().unwrap());
        assert!(at("2026-06-01T00:00:00Z"));
        assert!(!at("2027-01-01T00:00:00Z"), "over");
        assert!(!at("2025-12-31T00:00:00Z"), "not yet");
        for (from, to) in [
            ("[\"a\"]", "[]"),
            ("2027", "2025"),
            (", \"expires\": \"2027-01-01T00:00:00Z\"", ""),
            ("\"rows\"", "\"row\""),
        ] {
            assert!(Assertion::from_json(&good.replace(from, to), "x", "00").is_err(), "{to}");
        }
    }
}
