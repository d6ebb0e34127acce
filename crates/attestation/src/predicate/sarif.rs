//! SARIF logs as statements: what a tool found in the subjects. No specification has a predicate for this; the type is our
//! own, `https://countersign.dev/attestation/sarif/v2.1.0`, and the predicate is the log as it is.

use serde::Deserialize;

use super::read;
use crate::json::{Bounded, JsonError, null_is_default};

/// The type.
pub const TYPE: &str = "https://countersign.dev/attestation/sarif/v2.1.0";
/// The most runs of one log.
pub const MAX_RUNS: usize = 4096;
/// The most results of one run.
pub const MAX_RESULTS: usize = 200_000;

/// How bad a result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing follows from it.
    None,
    /// It could be better.
    Note,
    /// What a result is that does not say.
    #[default]
    Warning,
    /// It is wrong.
    Error,
}

/// One run of a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// The tool.
    pub tool: String,
    /// Its version.
    pub version: String,
    /// How many results it has that tell of something, by their level: none, note, warning, error. Those that say that
    /// something is well are not among them, nor those that were suppressed.
    pub results: [usize; 4],
    /// How many results were suppressed.
    pub suppressed: usize,
}

/// A log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sarif {
    /// The runs; at least one.
    pub runs: Vec<Run>,
}

impl Sarif {
    /// Reads a log.
    ///
    /// # Errors
    /// [`JsonError`]: another type, limits, another version, no run, a run without results, which is one that did not end, or one
    /// that says that it failed.
    pub fn from_json(predicate_type: &str, text: &str) -> Result<Self, JsonError> {
        if predicate_type != TYPE {
            return Err(JsonError::Shape(format!("expected {TYPE}, found {predicate_type}")));
        }
        let log: WireLog = read(text)?;
        if log.version != "2.1.0" {
            return Err(JsonError::Shape(format!("version: expected \"2.1.0\", found \"{}\"", log.version)));
        }
        if log.runs.0.is_empty() {
            return Err(JsonError::Shape("runs: expected at least one, found none".into()));
        }
        let run = |(index, run): (usize, WireRun)| {
            let missing = || JsonError::Shape(format!("runs[{index}].results: expected a list, found none"));
            if !run.invocations.0.iter().all(Invocation::ended_well) {
                return Err(JsonError::Shape(format!(
                    "runs[{index}].invocations: expected a run that succeeded"
                )));
            }
            let mut read =
                Run { tool: run.tool.driver.name, version: run.tool.driver.version, ..Run::default() };
            for result in run.results.ok_or_else(missing)?.0 {
                if !matches!(result.kind.as_deref(), None | Some("fail" | "open" | "review")) {
                    continue;
                }
                if result.suppressions.0.iter().any(WireSuppression::holds) {
                    read.suppressed += 1;
                } else if let Some(count) = read.results.get_mut(result.level as usize) {
                    *count += 1;
                }
            }
            Ok(read)
        };
        Ok(Self { runs: log.runs.0.into_iter().enumerate().map(run).collect::<Result<_, JsonError>>()? })
    }

    /// How many results of this level or a worse one there are.
    #[must_use]
    pub fn at_least(&self, level: Level) -> usize {
        self.runs.iter().flat_map(|run| run.results.iter().skip(level as usize)).sum()
    }
}

#[derive(Deserialize)]
struct WireLog {
    version: String,
    runs: Bounded<WireRun, MAX_RUNS>,
}

#[derive(Deserialize)]
struct WireRun {
    tool: WireTool,
    #[serde(default, deserialize_with = "null_is_default")]
    invocations: Bounded<Invocation, MAX_RUNS>,
    results: Option<Bounded<WireResult, MAX_RESULTS>>,
}

/// How a run of a tool went.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Invocation {
    execution_successful: Option<bool>,
}

impl Invocation {
    /// Whether it does not say that it failed: what was found until then is not all.
    pub(super) fn ended_well(&self) -> bool {
        self.execution_successful != Some(false)
    }
}

#[derive(Deserialize)]
struct WireTool {
    driver: WireDriver,
}

#[derive(Deserialize)]
struct WireDriver {
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    version: String,
}

#[derive(Deserialize)]
struct WireResult {
    kind: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    level: Level,
    #[serde(default, deserialize_with = "null_is_default")]
    suppressions: Bounded<WireSuppression, 64>,
}

#[derive(Deserialize)]
struct WireSuppression {
    status: Option<String>,
}

impl WireSuppression {
    /// Whether it counts: one that is still under review, or was refused, does not.
    fn holds(&self) -> bool {
        matches!(self.status.as_deref(), None | Some("accepted"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn log() -> Value {
        json!({ "version": "2.1.0", "runs": [{ "tool": { "driver": { "name": "lint", "version": "1" } }, "results": [
            { "level": "error" }, {}, { "kind": "pass", "level": "none" }, { "level": "error", "suppressions": [{ "kind": "external" }] },
            { "level": "error", "suppressions": [{ "kind": "external", "status": "rejected" }] } ] }] })
    }

    fn parse(value: &Value) -> Result<Sarif, String> {
        Sarif::from_json(TYPE, &value.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn results_are_counted_by_level() {
        let read = parse(&log()).unwrap();
        assert_eq!((read.runs[0].results, read.runs[0].suppressed), ([0, 0, 1, 2], 1));
        assert_eq!((read.at_least(Level::Error), read.at_least(Level::Note)), (2, 3));
    }

    #[test]
    fn a_log_that_did_not_end_or_holds_nothing_is_refused() {
        for (pointer, value) in [
            ("/version", json!("2.0.0")),
            ("/version", Value::Null),
            ("/runs", json!([])),
            ("/runs/0/results", Value::Null),
            ("/runs/0/tool", json!({})),
            ("/runs/0/invocations", json!([{ "executionSuccessful": false }])),
            ("/runs/0/results/0/level", json!("fatal")),
        ] {
            let mut changed = log();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            match changed.pointer_mut(parent).unwrap() {
                Value::Object(members) => drop(members.insert(name.to_owned(), value)),
                other => panic!("{pointer}: {other}"),
            }
            assert!(parse(&changed).is_err(), "{pointer}");
        }
        assert!(Sarif::from_json("https://example.com", &log().to_string()).is_err());
    }
}
