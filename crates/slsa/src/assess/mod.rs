//! An assessment: every row of SLSA's tables with a verdict, the evidence for it, and the rule that decides.
//!
//! | module | subject |
//! |---|---|
//! | [`evidence`] | what is known, verified or read before |
//! | [`row`] | rows, verdicts, tables and their levels |
//! | `build`, `provenance`, `origin` | the rules: of the build, of its provenance, of its source |
//! | `matrix`, `tracks` | the tables of v0.1 and of v1.2 |
//! | [`assertion`] | what somebody answers for, where no machine can look |
//! | `threats` | SLSA's threats A to I: covered by what |
//! | `summary` | a verification summary of it |
//! | [`claims`] | what a project claims, beside what was found |
//! | [`mod@format`] | Markdown, HTML, JSON, SARIF |
//!
//! A level is the highest of which all rows hold. Nothing that is missing, unsigned or unreadable makes a row hold, and an assertion
//! never makes one hold that was found not to.

pub mod assertion;
mod build;
pub mod claims;
pub mod evidence;
pub mod format;
mod matrix;
mod origin;
mod provenance;
pub mod row;
mod summary;
mod threats;
mod tracks;

pub use assertion::{ASSERTION_TYPE, Assertion};
pub use claims::Claims;
pub use evidence::{Attested, CloneFacts, Evidence, Locked, Rules, Sought};
pub use format::Format;
pub use row::{Judgement, Proof, Row, Table, Track, Verdict};
pub use threats::{Cover, Threat};

use crate::workflow::Finding;

/// What to do next for a higher level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The table.
    pub track: Track,
    /// The level that it leads to.
    pub level: u8,
    /// The row.
    pub row: &'static str,
    /// What to do.
    pub text: &'static str,
    /// How much work it is: 1 for an hour, 2 for a day, 3 for a week, 4 for more.
    pub effort: u8,
}

/// An assessment.
#[derive(Debug, Clone)]
pub struct Assessment {
    /// What was assessed.
    pub subject: String,
    /// When.
    pub time: jiff::Timestamp,
    /// Whether what somebody only answers for counts.
    pub count_asserted: bool,
    /// The tables.
    pub tables: Vec<Table>,
    /// What stands in the workflow files: the file, and the finding.
    pub findings: Vec<(String, Finding)>,
    /// The threats.
    pub threats: Vec<Threat>,
    /// What to do next, by table and by effort.
    pub next: Vec<Next>,
    /// What the project claims, if that was given.
    pub claims: Option<Claims>,
}

impl Assessment {
    /// Judges everything.
    #[must_use]
    pub fn of(evidence: &Evidence, rules: &Rules) -> Self {
        let mut tables = vec![matrix::table(evidence), tracks::build(evidence), tracks::source(evidence)];
        for row in tables.iter_mut().flat_map(|table| &mut table.rows) {
            row.assert(&evidence.assertions, rules.now);
        }
        let findings = evidence.workflows.iter().flat_map(|workflow| {
            workflow.findings().iter().map(|finding| (workflow.path.clone(), finding.clone()))
        });
        let next = tables.iter().flat_map(|table| next(table, rules.count_asserted)).collect();
        Self {
            subject: evidence.subject.clone(),
            time: rules.now,
            count_asserted: rules.count_asserted,
            threats: threats::threats(&tables, rules.count_asserted),
            findings: findings.collect(),
            tables,
            next,
            claims: None,
        }
    }

    /// The same, beside what a project claims.
    ///
    /// # Errors
    /// In words, when a claim is about no row of v0.1's table.
    pub fn beside(self, claims: Claims) -> Result<Self, String> {
        let titles =
            || self.tables.iter().filter(|table| table.track == Track::V0_1).flat_map(|table| &table.rows);
        match claims.rows.iter().find(|(title, _)| !titles().any(|row| row.title == title)) {
            Some((title, _)) => Err(format!("expected rows of {}, found \"{title}\"", Track::V0_1.title())),
            None => Ok(Self { claims: Some(claims), ..self }),
        }
    }

    /// The level in a table.
    #[must_use]
    pub fn level(&self, track: Track) -> u8 {
        self.tables
            .iter()
            .find(|table| table.track == track)
            .map_or(0, |table| table.level(self.count_asserted))
    }
}

/// What is between a table's level and the next one, the least work first.
fn next(table: &Table, count_asserted: bool) -> Vec<Next> {
    let level = table.level(count_asserted) + 1;
    let open = table.rows.iter().filter(|row| {
        row.levels.contains(&level) && !row.optional && !row.judgement.verdict.counts(count_asserted)
    });
    let mut steps: Vec<Next> = open
        .map(|row| Next { track: table.track, level, row: row.id, text: row.next, effort: row.effort })
        .collect();
    steps.sort_by_key(|step| step.effort);
    steps
}

#[cfg(test)]
mod tests;
