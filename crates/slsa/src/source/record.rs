//! What is said of a revision: source provenance and tag provenance in the form of source-tool, and verification summaries.

use countersign_attestation::JsonError;
use countersign_attestation::json;
use countersign_attestation::predicate::levels::Word;
use countersign_attestation::predicate::resource::Resource;
use countersign_attestation::predicate::small::Predicate as _;
use countersign_attestation::predicate::vsa::{self, Vsa};
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
    pub levels: Vec<Word>,
    /// The branch, of provenance.
    pub branch: String,
}

#[derive(Deserialize)]
struct WireProvenance {
    #[serde(default)]
    branch: String,
    #[serde(default)]
    repo_uri: String,
    #[serde(default)]
    controls: json::Bounded<Held, MAX_CONTROLS>,
}

impl SourceRecord {
    /// Reads the predicate of a verified statement; `None` for a type that is none of these.
    ///
    /// # Errors
    /// [`JsonError`]: limits, members missing or of another type, a summary that did not pass.
    pub fn from_json(
        kind: &str,
        text: &str,
        signer: &str,
        statement: &str,
    ) -> Result<Option<Self>, JsonError> {
        let empty = Self {
            statement: statement.to_owned(),
            signer: signer.to_owned(),
            repository: String::new(),
            held: Vec::new(),
            levels: Vec::new(),
            branch: String::new(),
        };
        if SOURCE_TYPES.contains(&kind) {
            let wire: WireProvenance = json::from_slice(text.as_bytes(), MAX_LEN)?;
            let (held, branch) = (wire.controls.0, wire.branch);
            return Ok(Some(Self { repository: wire.repo_uri, held, branch, ..empty }));
        }
        if Vsa::TYPES.contains(&kind) {
            let summary = Vsa::from_json(kind, text)?;
            if summary.verification_result != vsa::Verdict::Passed {
                return Err(JsonError::Shape("verificationResult: expected PASSED, found FAILED".into()));
            }
            return Ok(Some(Self {
                repository: summary.resource_uri,
                levels: summary.verified_levels,
                ..empty
            }));
        }
        Ok(None)
    }

    /// Whether it says that a control holds, and since when, where it says that. A summary's level stands for all that it needs.
    #[must_use]
    pub fn since(&self, control: Control) -> Option<Option<Timestamp>> {
        if let Some(held) = self.held.iter().find(|held| held.name == control.name()) {
            return Some(Some(held.since));
        }
        let named = self.levels.contains(&Word::Property(control.name().to_owned()));
        (named || self.level() >= control.level()).then_some(None)
    }

    /// The level of the source track that a summary names; 0 for none.
    #[must_use]
    pub fn level(&self) -> u8 {
        let level = |word: &Word| match word {
            Word::Level { track, level } if track == "SOURCE" => Some(*level),
            _ => None,
        };
        self.levels.iter().find_map(level).unwrap_or(0)
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
///
/// # Errors
/// [`JsonError`] for empty texts.
pub fn summary_predicate(
    verifier: &str,
    repository: &str,
    policy: &str,
    levels: &[String],
    now: Timestamp,
) -> Result<Box<serde_json::value::RawValue>, JsonError> {
    let words: Result<Vec<Word>, String> = levels.iter().map(|level| Word::parse(level)).collect();
    let summary = Vsa {
        verifier: vsa::Verifier { id: verifier.to_owned(), ..vsa::Verifier::default() },
        time_verified: Timestamp::from_second(now.as_second()).ok(),
        resource_uri: repository.to_owned(),
        policy: Resource::at(policy),
        verification_result: vsa::Verdict::Passed,
        verified_levels: words.map_err(JsonError::Shape)?,
        slsa_version: crate::summary::SLSA_VERSION.to_owned(),
        ..Vsa::default()
    };
    summary.to_json()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, predicate: &str) -> Result<Option<SourceRecord>, JsonError> {
        SourceRecord::from_json(kind, predicate, "s", "00")
    }

    #[test]
    fn what_is_written_is_read() {
        let now = Timestamp::UNIX_EPOCH;
        let held = [Held { name: Control::History.name().into(), since: now }];
        let written =
            source_predicate("git+https://a/b", "refs/heads/main", "alice", "aa", &held, now).to_string();
        let record = read(SOURCE_TYPES[0], &written).unwrap().unwrap();
        assert_eq!((record.branch.as_str(), &record.held[..]), ("refs/heads/main", &held[..]));
        assert_eq!(record.since(Control::History), Some(Some(now)));
        assert_eq!(record.since(Control::Vsa), None);
        assert_eq!(read(SOURCE_TYPES[1], &written).unwrap().unwrap().held, record.held);

        let levels = ["SLSA_SOURCE_LEVEL_3".to_owned()];
        let summary = summary_predicate("https://v", "git+https://a/b", "https://p", &levels, now).unwrap();
        let record = read(vsa::V1, summary.get()).unwrap().unwrap();
        assert_eq!(record.level(), 3);
        assert_eq!(record.since(Control::ProtectedRefs), Some(None));
        assert_eq!(record.since(Control::TwoPartyReview), None);
        assert!(summary_predicate("", "r", "p", &levels, now).is_err());
        let failed = summary.get().replace("PASSED", "FAILED");
        assert!(read(vsa::V1, &failed).is_err());
    }

    #[test]
    fn what_is_another_thing_is_no_record() {
        assert_eq!(read("https://example.com/p", "{}").unwrap(), None);
        assert!(read(SOURCE_TYPES[0], "1").is_err());
        assert!(read(vsa::V1, "{}").is_err());
    }
}
