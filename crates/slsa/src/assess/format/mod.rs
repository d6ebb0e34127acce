//! The forms in which an assessment is written. What strangers wrote is text in each of them, and nothing else.

mod html;
mod json;
mod markdown;
mod sarif;

use super::Assessment;
use super::row::{Row, Table, Verdict};
use crate::workflow::Finding;

/// How many findings a page lists of one file; JSON and SARIF have them all.
const MAX_LISTED: usize = 500;

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The tables as people know them.
    Markdown,
    /// One document for programs.
    Json,
    /// For code scanning.
    Sarif,
    /// One page without scripts.
    Html,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Markdown, Self::Json, Self::Sarif, Self::Html];

    /// As it is named in arguments.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Markdown => "markdown",
            Self::Json => "json",
            Self::Sarif => "sarif",
            Self::Html => "html",
        }
    }

    /// Writes an assessment.
    ///
    /// # Errors
    /// When a value cannot be written as JSON, which what is in an assessment always can.
    pub fn write(self, assessment: &Assessment) -> Result<String, serde_json::Error> {
        Ok(match self {
            Self::Markdown => markdown::write(assessment),
            Self::Json => json::write(assessment)?,
            Self::Sarif => sarif::write(assessment)?,
            Self::Html => html::write(assessment),
        })
    }
}

/// The level of a table in words, and whether what is above it was looked at at all.
fn level(table: &Table, assessment: &Assessment) -> String {
    let (without, with) = (table.level(false), table.level(true));
    let own = table.level(assessment.count_asserted);
    let said = if with == without {
        format!("level {own}")
    } else if assessment.count_asserted {
        format!("level {own}, asserted rows counted; {without} without them")
    } else {
        format!("level {own}; {with} if asserted rows counted")
    };
    let above = own + 1;
    let rows = || table.rows.iter().filter(|row| !row.optional && row.levels.contains(&above));
    let unknown = rows().filter(|row| row.judgement.verdict == Verdict::NotAssessable).count();
    let refused = rows().filter(|row| row.judgement.verdict == Verdict::NotMet).count();
    match (refused, unknown) {
        (0, 1..) => format!(
            "{said}; of level {above} nothing is refuted, {unknown} rows are not assessable from what was given"
        ),
        _ => said,
    }
}

/// A verdict in words.
fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Met => "met".into(),
        Verdict::NotMet => "not met".into(),
        Verdict::Asserted { by, until } => format!("asserted by {by} until {until}"),
        Verdict::NotAssessable => "not assessable".into(),
    }
}

/// The levels of a row: `3`, or `2 to 4`.
fn levels(row: &Row) -> String {
    match row.levels {
        [] => String::new(),
        [one] => one.to_string(),
        [first, .., last] => format!("{first} to {last}"),
    }
}

/// How much work something is.
const fn effort(effort: u8) -> &'static str {
    match effort {
        0 | 1 => "an hour",
        2 => "a day",
        3 => "a week",
        _ => "more",
    }
}

/// What a project claims of a row beside what was found: the title, claimed levels, found signs, and what decides.
fn beside(assessment: &Assessment) -> Vec<[String; 4]> {
    let (Some(claims), Some(table)) = (&assessment.claims, assessment.tables.first()) else {
        return Vec::new();
    };
    let numbers = |levels: Vec<u8>| levels.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let mut out = Vec::new();
    for (_, title, cells) in table.lines() {
        let claimed = claims.of(title);
        if claimed.is_empty() {
            continue;
        }
        let found: Vec<String> =
            cells.iter().map(|(level, row)| format!("L{level} {}", row.judgement.verdict.sign())).collect();
        // The claim that is furthest from what was found.
        let wrong = cells
            .iter()
            .find(|(level, row)| claimed.contains(level) && row.judgement.verdict != Verdict::Met);
        let row = wrong.or_else(|| cells.iter().next()).map(|(_, row)| *row);
        let decides = row.map_or_else(String::new, |row| {
            let first = row.judgement.evidence.first().map(|proof| format!(" ({proof})"));
            format!("{}: {}{}", verdict(&row.judgement.verdict), row.judgement.why, first.unwrap_or_default())
        });
        out.push([title.to_owned(), numbers(claimed.to_vec()), found.join(", "), decides]);
    }
    out
}

/// The findings that a page lists, and how many more there are.
fn listed(findings: &[(String, Finding)]) -> (&[(String, Finding)], usize) {
    let (shown, rest) = findings.split_at(findings.len().min(MAX_LISTED));
    (shown, rest.len())
}
