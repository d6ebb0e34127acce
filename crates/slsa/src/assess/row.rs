//! Rows of a table, the verdict on each, and the level that a table comes to.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::assertion::Assertion;

/// A table of requirements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Track {
    /// SLSA v0.1: four levels over source, build, provenance and the rest.
    V0_1,
    /// SLSA v1.2, build track.
    Build,
    /// SLSA v1.2, source track.
    Source,
}

impl Track {
    /// Its title.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::V0_1 => "SLSA v0.1",
            Self::Build => "SLSA v1.2, build track",
            Self::Source => "SLSA v1.2, source track",
        }
    }

    /// Its name in documents for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V0_1 => "v0.1",
            Self::Build => "v1.2-build",
            Self::Source => "v1.2-source",
        }
    }

    /// The highest level.
    #[must_use]
    pub const fn highest(self) -> u8 {
        match self {
            Self::V0_1 | Self::Source => 4,
            Self::Build => 3,
        }
    }
}

/// What was found of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Met,
    /// It does not.
    NotMet,
    /// Somebody answers for it.
    Asserted {
        /// Who.
        by: String,
        /// Until when.
        until: Timestamp,
    },
    /// What is known does not tell.
    NotAssessable,
}

impl Verdict {
    /// A word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "not_met",
            Self::Asserted { .. } => "asserted",
            Self::NotAssessable => "not_assessable",
        }
    }

    /// The sign in a table.
    #[must_use]
    pub const fn sign(&self) -> &'static str {
        match self {
            Self::Met => "Y",
            Self::NotMet => "N",
            Self::Asserted { .. } => "A",
            Self::NotAssessable => "?",
        }
    }

    /// Whether it counts towards a level.
    #[must_use]
    pub const fn counts(&self, count_asserted: bool) -> bool {
        match self {
            Self::Met => true,
            Self::Asserted { .. } => count_asserted,
            Self::NotMet | Self::NotAssessable => false,
        }
    }
}

/// A piece of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A line of a file.
    Line {
        /// The file.
        path: String,
        /// The line.
        line: u64,
        /// What stands there.
        text: String,
    },
    /// A signed statement.
    Statement {
        /// Its SHA-256, hexadecimal.
        sha256: String,
        /// What it is, and who signed it.
        what: String,
    },
    /// A commit in a clone.
    Commit {
        /// The clone.
        path: String,
        /// The commit.
        commit: String,
    },
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line { path, line, text } => write!(f, "{path}:{line}: {text}"),
            Self::Statement { sha256, what } => write!(f, "sha256:{sha256}: {what}"),
            Self::Commit { path, commit } => write!(f, "{path}: commit {commit}"),
        }
    }
}

/// A verdict, why, by which rule, and on which evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in words.
    pub why: String,
    /// The rule that decides, in words.
    pub rule: &'static str,
    /// The evidence.
    pub evidence: Vec<Proof>,
}

impl Judgement {
    /// It holds. For what rests on nothing that can be shown there is no such judgement.
    #[must_use]
    pub(super) fn met(rule: &'static str, why: impl Into<String>, evidence: Vec<Proof>) -> Self {
        if evidence.is_empty() {
            return Self::unknown(rule, why);
        }
        Self { verdict: Verdict::Met, why: why.into(), rule, evidence }
    }

    /// It does not hold.
    #[must_use]
    pub(super) fn not_met(rule: &'static str, why: impl Into<String>, evidence: Vec<Proof>) -> Self {
        Self { verdict: Verdict::NotMet, why: why.into(), rule, evidence }
    }

    /// Nothing tells.
    #[must_use]
    pub(super) fn unknown(rule: &'static str, why: impl Into<String>) -> Self {
        Self { verdict: Verdict::NotAssessable, why: why.into(), rule, evidence: Vec::new() }
    }

    /// It holds, or not.
    #[must_use]
    pub(super) fn holds_if(
        holds: bool,
        rule: &'static str,
        why: impl Into<String>,
        evidence: Vec<Proof>,
    ) -> Self {
        if holds { Self::met(rule, why, evidence) } else { Self::not_met(rule, why, evidence) }
    }
}

/// A row.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name in assertions and documents.
    pub id: &'static str,
    /// The part of the table.
    pub group: &'static str,
    /// Its title, which rows of other levels may share.
    pub title: &'static str,
    /// The levels that ask for it.
    pub levels: &'static [u8],
    /// Whether a level can be had without it.
    pub optional: bool,
    /// What was found.
    pub judgement: Judgement,
    /// What to do where it does not hold.
    pub next: &'static str,
    /// How much work that is, from 1 to 4.
    pub effort: u8,
}

impl Row {
    /// Takes the word of somebody where nothing else tells. What was found not to hold stays so.
    pub(super) fn assert(&mut self, assertions: &[Assertion], now: Timestamp) {
        if self.judgement.verdict != Verdict::NotAssessable {
            return;
        }
        let mut ours = assertions.iter().filter(|one| one.rows.iter().any(|row| row == self.id));
        match ours.clone().filter(|one| one.holds(now)).max_by_key(|one| one.until) {
            Some(one) => {
                self.judgement.verdict = Verdict::Asserted { by: one.by.clone(), until: one.until };
                if !one.text.is_empty() {
                    self.judgement.why = format!("asserted: {}", one.text);
                }
                let what = format!("self-assessment by {}", one.by);
                self.judgement.evidence.push(Proof::Statement { sha256: one.statement.clone(), what });
            }
            None => {
                if let Some(over) = ours.next() {
                    let (made, until) = (over.made, over.until);
                    let why = &mut self.judgement.why;
                    why.push_str(&format!(
                        "; what {} asserted says something from {made} to {until} only",
                        over.by
                    ));
                }
            }
        }
    }
}

/// A table with what was found.
#[derive(Debug, Clone)]
pub struct Table {
    /// Which.
    pub track: Track,
    /// Its rows.
    pub rows: Vec<Row>,
}

impl Table {
    /// The highest level of which all rows hold, and of all below it. A level without rows is none.
    #[must_use]
    pub fn level(&self, count_asserted: bool) -> u8 {
        let holds = |level: &u8| {
            let mut asked =
                self.rows.iter().filter(|row| !row.optional && row.levels.contains(level)).peekable();
            asked.peek().is_some() && asked.all(|row| row.judgement.verdict.counts(count_asserted))
        };
        let reached = (1..=self.track.highest()).take_while(holds).count();
        u8::try_from(reached).unwrap_or(0)
    }

    /// A row.
    #[must_use]
    pub fn row(&self, id: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// The rows as people know them: one for each title, with what was found at each level.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, &'static str, BTreeMap<u8, &Row>)> {
        let mut lines: Vec<(&str, &str, BTreeMap<u8, &Row>)> = Vec::new();
        for row in &self.rows {
            let cells = row.levels.iter().map(|level| (*level, row));
            match lines.iter_mut().find(|(group, title, _)| *group == row.group && *title == row.title) {
                Some((_, _, found)) => found.extend(cells),
                None => lines.push((row.group, row.title, cells.collect())),
            }
        }
        lines
    }
}
