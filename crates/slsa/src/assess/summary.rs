//! An assessment as a verification summary, for those who only ask for levels.

use std::collections::BTreeMap;

use countersign_attestation::predicate::levels::Word;
use countersign_attestation::predicate::resource::Resource;
use countersign_attestation::predicate::small::Predicate as _;
use countersign_attestation::predicate::vsa::{self, Vsa};
use countersign_attestation::statement::{StatementVersion, Subject};
use countersign_attestation::{JsonError, Statement};

use super::row::{Proof, Track};
use super::{Assessment, Evidence};
use crate::summary::SLSA_VERSION;

/// By what an assessment judges.
const POLICY: &str = "https://countersign.dev/slsa-assess/v1";

impl Assessment {
    /// A summary of the levels, for the artifact that was assessed. Without a level it says that it failed. The source track speaks of
    /// a revision and not of what was built from it, so it is left out.
    ///
    /// # Errors
    /// [`JsonError`]: no artifact, and empty texts.
    pub fn summary(
        &self,
        evidence: &Evidence,
        verifier: &str,
        resource: &str,
    ) -> Result<Statement, JsonError> {
        if evidence.digest.is_empty() {
            return Err(JsonError::Shape(
                "a summary is about an artifact, and only workflow files were given".into(),
            ));
        }
        let level = self.level(Track::Build);
        let passed = level > 0;
        let mut inputs: BTreeMap<&str, &str> = BTreeMap::new();
        for row in
            self.tables.iter().filter(|table| table.track == Track::Build).flat_map(|table| &table.rows)
        {
            for proof in &row.judgement.evidence {
                if let Proof::Statement { sha256, what } = proof {
                    inputs.insert(sha256, what);
                }
            }
        }
        let input = |(sha256, what): (&str, &str)| Resource {
            name: what.to_owned(),
            digest: [("sha256".to_owned(), sha256.to_owned())].into(),
            ..Resource::default()
        };
        let summary = Vsa {
            verifier: vsa::Verifier {
                id: verifier.to_owned(),
                version: [("countersign".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
            },
            time_verified: jiff::Timestamp::from_second(self.time.as_second()).ok(),
            resource_uri: resource.to_owned(),
            policy: Resource::at(POLICY),
            input_attestations: inputs.into_iter().map(input).collect(),
            verification_result: if passed { vsa::Verdict::Passed } else { vsa::Verdict::Failed },
            verified_levels: vec![if passed {
                Word::Level { track: "BUILD".into(), level }
            } else {
                Word::Failed
            }],
            slsa_version: SLSA_VERSION.to_owned(),
            ..Vsa::default()
        };
        Ok(Statement {
            version: StatementVersion::V1,
            subjects: vec![Subject {
                name: self.subject.clone(),
                digest: evidence.digest.clone(),
                annotations: BTreeMap::new(),
            }],
            predicate_type: vsa::V1.to_owned(),
            predicate: Some(summary.to_json()?),
        })
    }
}
