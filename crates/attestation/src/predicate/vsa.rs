//! Summaries of verification (VSA): that somebody verified an artifact by a policy, and at which levels it came out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::levels::Word;
use super::resource::Resource;
use super::small::{self, Predicate, filled, rename, whenever, with_digests};
use crate::json::JsonError;

/// The type that is written.
pub const V1: &str = "https://slsa.dev/verification_summary/v1";
/// The type before it, which has other names for its members.
pub const V0_2: &str = "https://slsa.dev/verification_summary/v0.2";

/// Who verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    /// Its URI.
    pub id: String,
    /// The versions of its parts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub version: BTreeMap<String, String>,
}

/// How it came out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// The policy is satisfied.
    Passed,
    /// It is not.
    #[default]
    Failed,
}

/// A summary.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vsa {
    /// Who verified. A consumer takes it together with the key that signed.
    pub verifier: Verifier,
    /// When.
    #[serde(default, with = "whenever", skip_serializing_if = "Option::is_none")]
    pub time_verified: Option<Timestamp>,
    /// What was verified, as whoever asks for it names it.
    pub resource_uri: String,
    /// By which policy.
    pub policy: Resource,
    /// What was looked at: if anything is named, then all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "small::list")]
    pub input_attestations: Vec<Resource>,
    /// How it came out.
    pub verification_result: Verdict,
    /// The levels and properties that it has; see [`Vsa::has`].
    #[serde(deserialize_with = "small::list")]
    pub verified_levels: Vec<Word>,
    /// How many dependencies have which level; `None` says nothing of them, empty that there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependency_levels: Option<BTreeMap<Word, u64>>,
    /// The version of SLSA whose levels these are.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub slsa_version: String,
}

impl Vsa {
    /// Whether the artifact passed and has a level or a property: the word itself, or a higher level of the same track.
    #[must_use]
    pub fn has(&self, word: &Word) -> bool {
        self.verification_result == Verdict::Passed && self.verified_levels.iter().any(|own| own.covers(word))
    }

    /// The level of a track (`BUILD`) at which the artifact passed; `None` for one that nothing is said of.
    #[must_use]
    pub fn level(&self, track: &str) -> Option<u8> {
        let of = |word: &Word| match word {
            Word::Level { track: own, level } if own == track => Some(*level),
            _ => None,
        };
        self.verified_levels.iter().find_map(of).filter(|_| self.verification_result == Verdict::Passed)
    }
}

impl Predicate for Vsa {
    const TYPES: &'static [&'static str] = &[V1, V0_2];

    fn check(&self) -> Result<(), JsonError> {
        filled("verifier.id", &self.verifier.id)?;
        filled("resourceUri", &self.resource_uri)?;
        filled("policy.uri", &self.policy.uri)?;
        with_digests("inputAttestations", &self.input_attestations)?;
        let wrong = |why: String| Err(JsonError::Shape(format!("verifiedLevels: {why}")));
        for (index, word) in self.verified_levels.iter().enumerate() {
            let same =
                |other: &Word| other == word || (word.track().is_some() && other.track() == word.track());
            if self.verified_levels.iter().take(index).any(same) {
                return wrong(format!("expected one level of each track, found {word} beside another"));
            }
        }
        let failed = self.verified_levels.contains(&Word::Failed);
        if failed && self.verification_result == Verdict::Passed {
            return wrong("expected no FAILED where verificationResult is PASSED".to_owned());
        }
        Ok(())
    }

    fn renewed(predicate_type: &str, mut members: Map<String, Value>) -> Map<String, Value> {
        if predicate_type != V0_2 {
            return members;
        }
        for (old, new) in [
            ("time_verified", "timeVerified"),
            ("resource_uri", "resourceUri"),
            ("input_attestations", "inputAttestations"),
            ("verification_result", "verificationResult"),
            ("dependency_levels", "dependencyLevels"),
        ] {
            rename(&mut members, old, new);
        }
        if let Some(level) = members.remove("policy_level") {
            members.entry("verifiedLevels").or_insert_with(|| vec![level].into());
        }
        members
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::small::tests::refused;
    use super::*;

    fn summary() -> Value {
        json!({ "verifier": { "id": "https://example.com/verifier", "version": { "v": "1" } },
            "timeVerified": "2026-01-01T00:00:00Z", "resourceUri": "pkg:oci/shop", "policy": { "uri": "https://example.com/p" },
            "inputAttestations": [{ "uri": "u", "digest": { "sha256": "00" } }], "verificationResult": "PASSED",
            "verifiedLevels": ["SLSA_BUILD_LEVEL_3", "SLSA_SOURCE_LEVEL_4", "SLSA_BUILD_REPRODUCED", "SLSA_DEPENDENCY_LEVEL_UNEVALUATED"],
            "dependencyLevels": { "SLSA_BUILD_LEVEL_1": 5 }, "slsaVersion": "1.2" })
    }

    fn read(kind: &str, value: &Value) -> Vsa {
        Vsa::from_json(kind, &value.to_string()).unwrap()
    }

    #[test]
    fn a_summary_is_read_and_each_defect_alone_refuses_it() {
        refused::<Vsa>(
            &summary(),
            &[
                ("/verifier", json!({}), "id"),
                ("/verifier/id", json!(" "), "verifier.id"),
                ("/resourceUri", Value::Null, "resourceUri"),
                ("/resourceUri", json!(""), "resourceUri"),
                ("/policy", json!({}), "policy.uri"),
                ("/inputAttestations/0", json!({ "uri": "u" }), "inputAttestations[0].digest"),
                ("/verificationResult", json!("passed"), "verificationResult"),
                ("/verificationResult", Value::Null, "verificationResult"),
                ("/verifiedLevels", Value::Null, "verifiedLevels"),
                ("/verifiedLevels/1", json!("SLSA_BUILD_LEVEL_2"), "one level of each track"),
                ("/verifiedLevels/1", json!("SLSA_BUILD_LEVEL_UNEVALUATED"), "one level of each track"),
                ("/verifiedLevels/1", json!("FAILED"), "no FAILED"),
                ("/verifiedLevels/1", json!("SLSA_SOURCE_LEVEL_9"), "0 to 4"),
                ("/dependencyLevels", json!({ "SLSA_BUILD_LEVEL_9": 1 }), "dependencyLevels"),
                ("/timeVerified", json!("yesterday"), "timeVerified"),
            ],
        );
    }

    #[test]
    fn levels_are_read_and_a_failed_summary_has_none() {
        let own = read(V1, &summary());
        let word = |text| Word::parse(text).unwrap();
        assert_eq!(
            (own.level("BUILD"), own.level("SOURCE"), own.level("DEPENDENCY")),
            (Some(3), Some(4), None)
        );
        assert!(own.has(&word("SLSA_BUILD_LEVEL_2")) && own.has(&word("SLSA_BUILD_REPRODUCED")));
        assert!(!own.has(&word("SLSA_DEPENDENCY_LEVEL_0")));
        let failed = Vsa { verification_result: Verdict::Failed, ..own };
        assert_eq!((failed.level("BUILD"), failed.has(&word("SLSA_BUILD_LEVEL_1"))), (None, false));
        let mut none = summary();
        none["dependencyLevels"] = Value::Null;
        assert_eq!(read(V1, &none).dependency_levels, None);
        none["dependencyLevels"] = json!({});
        assert_eq!(
            read(V1, &none).dependency_levels,
            Some(BTreeMap::new()),
            "there are none, which is another claim"
        );
    }

    #[test]
    fn the_older_spelling_is_read_under_its_own_type_alone() {
        let old = json!({ "verifier": { "id": "v" }, "time_verified": "2026-01-01T00:00:00Z", "resource_uri": "r",
            "policy": { "uri": "p" }, "input_attestations": [], "verification_result": "PASSED",
            "policy_level": "SLSA_LEVEL_3", "dependency_levels": { "SLSA_LEVEL_0": 1 } });
        let own = read(V0_2, &old);
        assert_eq!((own.level("BUILD"), own.verified_levels), (None, [Word::Untracked(3)].into()));
        assert!(Vsa::from_json(V1, &old.to_string()).is_err());
    }
}
