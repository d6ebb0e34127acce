//! In-toto statements: which artifacts, and what is said of them.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::dsse::MAX_ENVELOPE_LEN;
use crate::json::{self, Bounded, JsonError, UniqueMap, no_members};

/// The largest statement read, in bytes: in base64 it leaves a MiB of the largest envelope, and bundle, for the rest.
pub const MAX_STATEMENT_LEN: usize = (MAX_ENVELOPE_LEN - 1024 * 1024) / 4 * 3;
/// The longest list of subjects read, in bytes. An annotation may be any JSON, which takes many times its length in memory.
pub const MAX_SUBJECTS_LEN: usize = 2 * 1024 * 1024;
/// The most subjects of one statement.
pub const MAX_SUBJECTS: usize = 1024;
/// The most digests of one subject.
pub const MAX_DIGESTS: usize = 32;
/// The most annotations of one subject.
pub const MAX_ANNOTATIONS: usize = 256;

/// Which version of the format a statement is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StatementVersion {
    /// `https://in-toto.io/Statement/v0.1`.
    V0_1,
    /// `https://in-toto.io/Statement/v1`.
    V1,
}

impl StatementVersion {
    /// The URI in `_type`.
    #[must_use]
    pub const fn uri(self) -> &'static str {
        match self {
            Self::V0_1 => "https://in-toto.io/Statement/v0.1",
            Self::V1 => "https://in-toto.io/Statement/v1",
        }
    }
}

/// One artifact a statement is about.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Subject {
    /// A name, which says nothing about identity; may be empty.
    pub name: String,
    /// Digests by algorithm name (`sha256`), in hexadecimal.
    pub digest: BTreeMap<String, String>,
    /// Further facts about the artifact, such as cosign's `-a key=value`.
    pub annotations: BTreeMap<String, serde_json::Value>,
}

impl Subject {
    /// An artifact by its digest.
    #[must_use]
    pub fn of(name: impl Into<String>, digest: &countersign_crypto::Digest) -> Self {
        let digest = [(digest.algorithm().name().to_owned(), digest.to_hex())].into();
        Self { name: name.into(), digest, ..Self::default() }
    }

    /// Whether this subject names the digest: the same algorithm and the same bytes, hexadecimal of either case.
    #[must_use]
    pub fn matches(&self, digest: &countersign_crypto::Digest) -> bool {
        self.digest
            .get(digest.algorithm().name())
            .is_some_and(|found| found.eq_ignore_ascii_case(&digest.to_hex()))
    }
}

/// A statement. The predicate stays the text it was, so that nothing is lost to a second writer.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Version of the format.
    pub version: StatementVersion,
    /// What it is about.
    pub subjects: Vec<Subject>,
    /// The URI which says how to read the predicate.
    pub predicate_type: String,
    /// What is said, as JSON text; `None` when absent.
    pub predicate: Option<Box<RawValue>>,
}

impl Statement {
    /// A statement of the newer version, to be written.
    ///
    /// ```
    /// use countersign_attestation::predicate::provenance::{Builder, Provenance};
    /// use countersign_attestation::statement::{Statement, Subject};
    /// let digest = countersign_crypto::HashAlgorithm::Sha256.digest(b"an artifact");
    /// let said = Provenance {
    ///     builder: Builder { id: "https://example.com/builder".into(), ..Builder::default() },
    ///     build_type: "https://example.com/make".into(),
    ///     ..Provenance::default()
    /// };
    /// let kind = "https://slsa.dev/provenance/v1";
    /// let statement = Statement::new(vec![Subject::of("shop.tar", &digest)], kind, said.to_v1()?)?;
    /// assert!(Statement::from_json(&statement.to_json()?)?.subjects[0].matches(&digest));
    /// # Ok::<(), countersign_attestation::JsonError>(())
    /// ```
    ///
    /// # Errors
    /// [`JsonError`] when there is no subject, or one without a digest: it would be about nothing, or anything.
    pub fn new(
        subjects: Vec<Subject>,
        predicate_type: &str,
        predicate: Box<RawValue>,
    ) -> Result<Self, JsonError> {
        if subjects.is_empty() {
            return Err(JsonError::Shape("subject: expected at least one, found none".into()));
        }
        if let Some(at) = subjects.iter().position(|subject| subject.digest.is_empty()) {
            return Err(JsonError::Shape(format!("subject[{at}].digest: expected a digest, found none")));
        }
        let predicate_type = predicate_type.to_owned();
        Ok(Self { version: StatementVersion::V1, subjects, predicate_type, predicate: Some(predicate) })
    }

    /// Reads a statement from a DSSE payload.
    ///
    /// ```
    /// use countersign_attestation::Statement;
    /// let statement = Statement::from_json(br#"{
    ///   "_type": "https://in-toto.io/Statement/v1",
    ///   "subject": [{"name": "a.txt", "digest": {"sha256": "00"}}],
    ///   "predicateType": "https://example.com/p", "predicate": {"ok": true}}"#)?;
    /// assert_eq!(statement.subjects[0].name, "a.txt");
    /// # Ok::<(), countersign_attestation::JsonError>(())
    /// ```
    ///
    /// # Errors
    /// [`JsonError`]: limits, another `_type`, no predicate type, members given twice or of another type. A `null`
    /// among the subjects is a subject without digests, which matches nothing.
    pub fn from_json(bytes: &[u8]) -> Result<Self, JsonError> {
        let wire: WireStatement = json::from_slice(bytes, MAX_STATEMENT_LEN)?;
        let version = [StatementVersion::V0_1, StatementVersion::V1]
            .into_iter()
            .find(|v| v.uri() == wire.kind)
            .ok_or_else(|| {
                JsonError::Shape(format!(
                    "_type: expected \"{}\" or \"{}\", found \"{}\"",
                    StatementVersion::V1.uri(),
                    StatementVersion::V0_1.uri(),
                    wire.kind
                ))
            })?;
        if wire.predicate_type.is_empty() {
            return Err(JsonError::Shape("predicateType is empty".into()));
        }
        Ok(Self {
            version,
            subjects: wire.subject.0.into_iter().map(|s| s.unwrap_or_default().into()).collect(),
            predicate_type: wire.predicate_type,
            predicate: wire.predicate,
        })
    }

    /// Writes the statement without white space; members in the order of the specification.
    ///
    /// # Errors
    /// [`JsonError`] when it is over the limits of [`Statement::from_json`].
    pub fn to_json(&self) -> Result<Vec<u8>, JsonError> {
        let wire = WireStatement {
            kind: self.version.uri().to_owned(),
            subject: Bounded(self.subjects.iter().cloned().map(|s| Some(s.into())).collect()),
            predicate_type: self.predicate_type.clone(),
            predicate: self.predicate.clone(),
        };
        let bytes = serde_json::to_vec(&wire)?;
        Self::from_json(&bytes)?;
        Ok(bytes)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireStatement {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(default, deserialize_with = "subjects")]
    subject: Subjects,
    predicate_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    predicate: Option<Box<RawValue>>,
}

type Subjects = Bounded<Option<WireSubject>, MAX_SUBJECTS>;

/// Reads the subjects once their text is known to be short enough; `null` for none.
fn subjects<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Subjects, D::Error> {
    let text = Box::<RawValue>::deserialize(deserializer)?;
    let found = text.get().len();
    if found > MAX_SUBJECTS_LEN {
        let limit = MAX_SUBJECTS_LEN;
        return Err(D::Error::custom(format!("subject: {found} bytes, at most {limit} are read")));
    }
    let subjects: Option<Subjects> = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
    Ok(subjects.unwrap_or_default())
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct WireSubject {
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, deserialize_with = "json::null_is_default")]
    digest: UniqueMap<String, MAX_DIGESTS>,
    #[serde(default, deserialize_with = "json::null_is_default", skip_serializing_if = "no_members")]
    annotations: UniqueMap<serde_json::Value, MAX_ANNOTATIONS>,
}

impl From<WireSubject> for Subject {
    fn from(wire: WireSubject) -> Self {
        Self { name: wire.name, digest: wire.digest.0, annotations: wire.annotations.0 }
    }
}

impl From<Subject> for WireSubject {
    fn from(subject: Subject) -> Self {
        Self {
            name: subject.name,
            digest: UniqueMap(subject.digest),
            annotations: UniqueMap(subject.annotations),
        }
    }
}

#[cfg(test)]
mod tests {
    use countersign_crypto::HashAlgorithm;

    use super::*;
    use crate::dsse::{Envelope, IN_TOTO_PAYLOAD_TYPE, Signature};

    fn with_subject(subject: &str) -> String {
        format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":{subject},"predicateType":"t","predicate":{{}}}}"#
        )
    }

    #[test]
    fn v08_null_subjects_match_nothing_and_do_not_crash() {
        let digest = HashAlgorithm::Sha256.digest(b"");
        for subject in
            ["null", "[]", "[null]", "[{}]", r#"[{"digest":null}]"#, r#"[{"digest":{"sha256":""}}]"#]
        {
            let statement = Statement::from_json(with_subject(subject).as_bytes()).unwrap();
            assert!(!statement.subjects.iter().any(|s| s.matches(&digest)), "{subject}");
        }
    }

    #[test]
    fn v17_more_than_1024_subjects_are_refused() {
        let many = |n: usize| with_subject(&format!("[{}]", vec!["{}"; n].join(",")));
        assert!(Statement::from_json(many(MAX_SUBJECTS).as_bytes()).is_ok());
        assert!(Statement::from_json(many(MAX_SUBJECTS + 1).as_bytes()).is_err());
    }

    /// Two bytes of text for each number, and 32 in memory.
    #[test]
    fn v17_subjects_of_more_than_two_mib_are_refused_unread() {
        let numbers = |len: usize| {
            let list = vec!["0"; len / 2].join(",");
            with_subject(&format!(r#"[{{"annotations":{{"a":[{list}]}}}}]"#))
        };
        assert!(Statement::from_json(numbers(MAX_SUBJECTS_LEN - 100).as_bytes()).is_ok());
        let error = Statement::from_json(numbers(MAX_SUBJECTS_LEN).as_bytes()).unwrap_err().to_string();
        assert!(error.contains("at most 2097152 are read"), "{error}");
    }

    /// What can be signed can be read again: else the log would have an entry for a statement that nobody can verify.
    #[test]
    fn a_statement_of_the_largest_size_fits_an_envelope_and_a_larger_one_is_not_written() {
        let written = |len: usize| {
            let statement = Statement {
                version: StatementVersion::V1,
                subjects: vec![],
                predicate_type: "t".into(),
                predicate: Some(RawValue::from_string(format!("\"{}\"", "x".repeat(len))).unwrap()),
            };
            statement.to_json()
        };
        let around = written(0).unwrap().len();
        let payload = written(MAX_STATEMENT_LEN - around).unwrap();
        assert_eq!(payload.len(), MAX_STATEMENT_LEN);
        let signatures = vec![Signature { sig: vec![0; 512], keyid: String::new() }];
        let envelope = Envelope { payload_type: IN_TOTO_PAYLOAD_TYPE.into(), payload, signatures };
        assert!(envelope.to_json().len() <= MAX_ENVELOPE_LEN - 1024 * 1024 + 2048);
        assert!(matches!(written(MAX_STATEMENT_LEN - around + 1), Err(JsonError::TooLarge { .. })));
    }

    #[test]
    fn a_subject_matches_by_algorithm_and_value() {
        let digest = HashAlgorithm::Sha256.digest(b"x");
        let hex = digest.to_hex();
        let subject = |algorithm: &str, value: &str| Subject {
            digest: [(algorithm.to_owned(), value.to_owned())].into(),
            ..Subject::default()
        };
        assert!(subject("sha256", &hex).matches(&digest));
        assert!(subject("sha256", &hex.to_uppercase()).matches(&digest));
        assert!(!subject("sha512", &hex).matches(&digest));
        assert!(!subject("sha256", &hex[1..]).matches(&digest));
    }

    #[test]
    fn a_statement_about_nothing_is_not_written() {
        let nothing = || RawValue::from_string("{}".into()).unwrap();
        assert!(Statement::new(Vec::new(), "t", nothing()).unwrap_err().to_string().contains("found none"));
        let named = Subject { name: "a".into(), ..Subject::default() };
        let error = Statement::new(vec![named], "t", nothing()).unwrap_err().to_string();
        assert!(error.contains("subject[0].digest"), "{error}");
    }

    #[test]
    fn malformed_statements_are_refused() {
        let good = with_subject("[]");
        for (from, to) in [
            ("Statement/v1", "Statement/v2"),
            ("\"predicateType\":\"t\",", ""),
            ("\"predicateType\":\"t\"", "\"predicateType\":\"\""),
            ("\"predicateType\":\"t\"", "\"predicateType\":null"),
            ("\"predicateType\":\"t\"", "\"predicateType\":\"t\",\"predicateType\":\"u\""),
            ("\"subject\":[]", "\"subject\":[{\"digest\":{\"sha256\":1}}]"),
            ("\"subject\":[]", "\"subject\":[{\"digest\":{\"sha256\":\"00\",\"sha256\":\"01\"}}]"),
            ("\"subject\":[]", "\"subject\":{}"),
        ] {
            assert!(good.contains(from), "{from}");
            assert!(Statement::from_json(good.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
        }
        assert!(Statement::from_json(b"hello").is_err());
        assert!(Statement::from_json(b"null").is_err());
    }

    #[test]
    fn the_predicate_keeps_its_spelling() {
        let text = r#"{"b": 1.0, "a":  [ 1e2 ]}"#;
        let json = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v0.1","subject":[],"predicateType":"t","predicate":{text}}}"#
        );
        let statement = Statement::from_json(json.as_bytes()).unwrap();
        assert_eq!(statement.version, StatementVersion::V0_1);
        assert_eq!(statement.predicate.as_ref().unwrap().get(), text);
        assert_eq!(statement.to_json().unwrap(), json.as_bytes());
    }

    #[test]
    fn annotations_are_written_and_read() {
        let subject = Subject {
            digest: [("sha256".to_owned(), "00".to_owned())].into(),
            annotations: [("k".to_owned(), "v".into())].into(),
            ..Subject::default()
        };
        let statement = Statement {
            version: StatementVersion::V1,
            subjects: vec![subject.clone()],
            predicate_type: "https://sigstore.dev/cosign/sign/v1".into(),
            predicate: Some(RawValue::from_string("{}".into()).unwrap()),
        };
        let json = statement.to_json().unwrap();
        assert_eq!(
            String::from_utf8(json.clone()).unwrap(),
            concat!(
                r#"{"_type":"https://in-toto.io/Statement/v1","#,
                r#""subject":[{"digest":{"sha256":"00"},"annotations":{"k":"v"}}],"#,
                r#""predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}"#
            )
        );
        assert_eq!(Statement::from_json(&json).unwrap().subjects, [subject]);
    }
}
