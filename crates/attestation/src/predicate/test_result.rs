//! Results of tests.

use serde::{Deserialize, Serialize};

use super::resource::{self, Resource};
use super::small::{self, Predicate};
use crate::json::JsonError;

/// How the tests came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TestVerdict {
    /// All passed.
    Passed,
    /// None failed, and something is to be looked at.
    Warned,
    /// Some failed.
    Failed,
}

/// A result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestResult {
    /// How they came out.
    pub result: TestVerdict,
    /// What was tested with which settings.
    #[serde(deserialize_with = "small::list")]
    pub configuration: Vec<Resource>,
    /// Where to read more.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// The tests that passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "small::list")]
    pub passed_tests: Vec<String>,
    /// The tests that warned.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "small::list")]
    pub warned_tests: Vec<String>,
    /// The tests that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "small::list")]
    pub failed_tests: Vec<String>,
}

impl Predicate for TestResult {
    const TYPES: &'static [&'static str] = &["https://in-toto.io/attestation/test-result/v0.1"];

    fn check(&self) -> Result<(), JsonError> {
        if self.result != TestVerdict::Failed && !self.failed_tests.is_empty() {
            let count = self.failed_tests.len();
            return Err(JsonError::Shape(format!("result: expected FAILED, as {count} of the tests did")));
        }
        if self.result == TestVerdict::Passed && !self.warned_tests.is_empty() {
            let count = self.warned_tests.len();
            return Err(JsonError::Shape(format!("result: expected WARNED, as {count} of the tests did")));
        }
        resource::check("configuration", &self.configuration)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::small::tests::refused;
    use super::*;

    #[test]
    fn a_result_is_read_and_each_defect_alone_refuses_it() {
        let good = json!({ "result": "PASSED", "configuration": [{ "uri": "ci.yml" }], "url": "https://ci/1",
            "passedTests": ["a"], "failedTests": [] });
        refused::<TestResult>(
            &good,
            &[
                ("/result", json!("OK"), "result"),
                ("/result", Value::Null, "result"),
                ("/configuration", Value::Null, "configuration"),
                ("/configuration/0", json!({}), "configuration[0]"),
                ("/failedTests", json!(["b"]), "expected FAILED"),
                ("/warnedTests", json!(["b"]), "expected WARNED"),
            ],
        );
    }
}
