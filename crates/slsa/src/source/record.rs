//! What is said of a revision: source provenance and tag provenance in the form of source-tool, and verification summaries.

use countersign_attestation::JsonError;
use countersign_attestation::json;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::control::{Control, Held};

/// The types of source provenance: as it is written, and as it was before.
pub const SOURCE_TYPES: [&str; 2] = [
    "https://github.com/slsa-framework/source-tool/source-provenance/v1",
    "https://github.com/slsa-framework/slsa-source-poc/source-provenance/v1-draft",
];
/// The types of tag provenance.
pub const TAG_TYPES: [&str; 2] = [
    "https://github.com/slsa-framework/source-tool/tag-provenance/v1",
    "https://github.com/slsa-framework/slsa-source-poc/tag-provenance/v1-draft",
];
/// The type of summaries.
pub const SUMMARY_TYPE: &str = "https://slsa.dev/verification_summary/v1";
/// The largest predicate read, in bytes.
const MAX_LEN: usize = 256 * 1024;
/// The most controls of one record.
const MAX_CONTROLS: usize = 256;

/// What a verified statement says of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRecord {
    /// The SHA-256 of the statement, hexadecimal.
    pub statement: String,
    /// Who signed.
    pub signer: String,
    /// The repository, as the statement names it.
    pub repository: String,
    /// The controls with their times, of provenance.
    pub held: Vec<Held>,
    /// The level and the properties, of a summary.
    pub levels: Vec<String>,
    /// The revision before, of provenance.
    pub previous: String,
}

#[derive(Deserialize)]
struct WireProvenance {
    #[serde(default)]
    prev_commit: String,
    #[serde(default)]
    repo_uri: String,
    #[serde(default)]
    controls: json::Bounded<Held, MAX_CONTROLS>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSummary {
    resource_uri: String,
    verification_result: String,
    #[serde(default)]
    verified_levels: json::Bounded<String, MAX_CONTROLS>,
}

impl SourceRecord {
    /// Reads the predicate of a verified statement; `None` for a type that is none of these.
    ///
    /// # Errors
    /// [`JsonError`]: limits, members missing or of another type, a summary that did not pass.
    pub fn from_json(kind: &str, text: &str, signer: &str, statement: &str) -> Result<Option<Self>, JsonError> {
        let empty = Self {
            statement: statement.to_owned(),
            signer: signer.to_owned(),
            repository: String::new(),
            held: Vec::new(),
            levels: Vec::new(),
            previous: String::new(),
        };
        if SOURCE_TYPES.contains(&kind) {
            let wire: WireProvenance = json::from_slice(text.as_bytes(), MAX_LEN)?;
            let (held, previous) = (wire.controls.0, wire.prev_commit);
            return Ok(Some(Self { repository: wire.repo_uri, held, previous, ..empty }));
        }
        if kind == SUMMARY_TYPE {
            let wire: WireSummary = json::from_slice(text.as_bytes(), MAX_LEN)?;
            if wire.verification_result != "PASSED" {
                let found = wire.verification_result;
                return Err(JsonError::Shape(format!("verificationResult: expected PASSED, found {found}")));
            }
            return Ok(Some(Self { repository: wire.resource_uri, levels: wire.verified_levels.0, ..empty }));
        }
        Ok(None)
    }

    /// Whether it says that a control holds, and since when, where it says that. A summary's level stands for all that it needs.
    #[must_use]
    pub fn since(&self, control: Control) -> Option<Option<Timestamp>> {
        if let Some(held) = self.held.iter().find(|held| held.name == control.name()) {
            return Some(Some(held.since));
        }
        let named = self.levels.iter().any(|level| level == control.name());
        (named || self.level() >= control.level()).then_some(None)
    }

    /// The level of the source track that a summary names; 0 for none.
    #[must_use]
    pub fn level(&self) -> u8 {
        let number = |level: &String| level.strip_prefix("SLSA_SOURCE_LEVEL_")?.parse().ok().filter(|n| *n <= 4);
        self.levels.iter().filter_map(number).max().unwrap_or(0)
    }
}

/// The predicate of source provenance.
#[must_use]
pub fn source_predicate(
    repository: &str,
    branch: &str,
    actor: &str,
    previous: &str,
    held: &[Held],
    now: Timestamp,
) -> Value {
    json!({ "prev_commit": previous, "repo_uri": repository, "activity_type": "PUSH", "actor": actor, "branch": branch,
        "created_on": now.to_string(), "controls": held })
}

/// The predicate of tag provenance: the levels that the commit has.
#[must_use]
pub fn tag_predicate(
    repository: &str,
    tag: &str,
    actor: &str,
    levels: &[String],
    held: &[Held],
    now: Timestamp,
) -> Value {
    json!({ "repo_uri": repository, "actor": actor, "tag": tag, "created_on": now.to_string(), "controls": held,
        "vsa_summaries": [{ "source_refs": [tag], "verifiedLevels": levels }] })
}

/// The predicate of a summary of a revision.
#[must_use]
pub fn summary_predicate(verifier: &str, repository: &str, policy: &str, levels: &[String], now: Timestamp) -> Value {
    json!({ "verifier": { "id": verifier }, "timeVerified": now.to_string(), "resourceUri": repository,
        "policy": { "uri": policy }, "verificationResult": "PASSED", "verifiedLevels": levels, "slsaVersion": "1.2" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, predicate: &Value) -> Result<Option<SourceRecord>, JsonError> {
        SourceRecord::from_json(kind, &predicate.to_string(), "s", "00")
    }

    #[test]
    fn what_is_written_is_read() {
        let now = Timestamp::UNIX_EPOCH;
        let held = [Held { name: Control::History.name().into(), since: now }];
        let written = source_predicate("git+https://a/b", "refs/heads/main", "alice", "aa", &held, now);
        let record = read(SOURCE_TYPES[0], &written).unwrap().unwrap();
        assert_eq!((record.previous.as_str(), &record.held[..]), ("aa", &held[..]));
        assert_eq!(record.since(Control::History), Some(Some(now)));
        assert_eq!(record.since(Control::Vsa), None);
        assert_eq!(read(SOURCE_TYPES[1], &written).unwrap().unwrap().held, record.held);

        let summary = summary_predicate("v", "git+https://a/b", "p", &["SLSA_SOURCE_LEVEL_3".into()], now);
        let record = read(SUMMARY_TYPE, &summary).unwrap().unwrap();
        assert_eq!(record.level(), 3);
        assert_eq!(record.since(Control::ProtectedRefs), Some(None));
        assert_eq!(record.since(Control::TwoPartyReview), None);
    }

    #[test]
    fn what_failed_and_what_is_another_thing_is_no_record() {
        let mut summary = summary_predicate("v", "r", "p", &[], Timestamp::UNIX_EPOCH);
        summary["verificationResult"] = "FAILED".into();
        assert!(read(SUMMARY_TYPE, &summary).is_err());
        assert_eq!(read("https://example.com/p", &json!({})).unwrap(), None);
        assert!(read(SOURCE_TYPES[0], &json!([])).is_err());
        let five = summary_predicate("v", "r", "p", &["SLSA_SOURCE_LEVEL_5".into()], Timestamp::UNIX_EPOCH);
        assert_eq!(read(SUMMARY_TYPE, &five).unwrap().unwrap().level(), 0, "there is no such level");
    }
}
