//! Results of tests: whether all that somebody trusted ran have passed.

use std::collections::BTreeSet;

use countersign_attestation::predicate::small::Predicate as _;
use countersign_attestation::predicate::test_result::{TestResult, TestVerdict};
use countersign_http::text::printable;
use jiff::SignedDuration;

use super::{Target, Verdict, deciding, predicate, signer};
use crate::ask::{Ask, Stop};
use crate::authority::Authority;
use crate::judge::Fact;
use crate::pattern::Glob;

/// How many tests one message names.
const MAX_NAMED: usize = 5;

/// What the results of tests must be.
#[derive(Debug, Clone)]
pub struct TestRule {
    /// Whose count.
    pub by: Vec<Authority>,
    /// How old they may be.
    pub max_age: Option<SignedDuration>,
    /// Patterns of tests, for each of which at least one must have passed.
    pub passed: Vec<Glob>,
}

impl TestRule {
    /// Whether there are results, and the newest of each signer are that nothing failed.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn judge(&self, target: &Target, ask: &Ask<'_>) -> Result<Verdict, Stop> {
        let types: Vec<String> = TestResult::TYPES.iter().map(|kind| (*kind).to_owned()).collect();
        let trusted = ask.statements(target, &self.by, &types)?;
        let current = match trusted.current("results of tests", self.max_age, ask.now(), |_| ()) {
            Ok(current) => current,
            Err(verdict) => return Ok(verdict),
        };
        let mut passed: BTreeSet<String> = BTreeSet::new();
        for fact in &current {
            match results(fact) {
                Ok(names) => passed.extend(names),
                Err((reason, text)) => return Ok(Verdict::fail(reason, text, deciding([*fact]))),
            }
        }
        let missing = self.passed.iter().find(|glob| !passed.iter().any(|name| glob.matches(name)));
        if let Some(missing) = missing {
            let text =
                format!("expected a test that matches {} to have passed, found none", missing.as_str());
            return Ok(Verdict::fail("test_missing", text, deciding(current)));
        }
        let by: BTreeSet<String> = current.iter().map(|fact| signer(fact)).collect();
        let text = format!("tests passed, signed by {}", by.into_iter().collect::<Vec<_>>().join(" and "));
        Ok(Verdict::pass(text, deciding(current)))
    }
}

/// The tests that passed, where none failed.
///
/// # Errors
/// The reason, and in words why not.
fn results(fact: &Fact) -> Result<Vec<String>, (&'static str, String)> {
    let by = signer(fact);
    let read = predicate(fact)
        .and_then(|(kind, text)| TestResult::from_json(kind, text).map_err(|e| e.to_string()))
        .map_err(|why| {
            ("unreadable_results", format!("the results signed by {by} cannot be read: {}", printable(&why)))
        })?;
    if read.result == TestVerdict::Passed {
        return Ok(read.passed_tests);
    }
    let told = [&read.failed_tests, &read.warned_tests];
    let names: Vec<String> = told.into_iter().flatten().take(MAX_NAMED).map(|name| printable(name)).collect();
    let which = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    let found = if read.result == TestVerdict::Failed { "failed" } else { "warned" };
    Err((
        "tests_failed",
        format!("expected tests that passed, found that they {found}{which}, signed by {by}"),
    ))
}
