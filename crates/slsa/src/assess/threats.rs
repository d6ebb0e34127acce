//! SLSA's threats, A to I: which of them the evidence covers.

use super::row::{Table, Verdict};

/// How far a threat is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// By everything that SLSA has against it.
    Covered,
    /// By some of it.
    Partly,
    /// By nothing that was found.
    Open,
    /// SLSA has nothing against it, and neither has an assessment of one artifact.
    Outside,
}

impl Cover {
    /// A word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Covered => "covered",
            Self::Partly => "partly",
            Self::Open => "open",
            Self::Outside => "outside",
        }
    }
}

/// A threat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threat {
    /// Its letter.
    pub letter: char,
    /// What it is.
    pub title: &'static str,
    /// How far it is covered.
    pub cover: Cover,
    /// The rows that stand against it, and what was found of each.
    pub rows: Vec<(&'static str, Verdict)>,
    /// More in words.
    pub note: &'static str,
}

/// The letter, the title, the rows against it, and a note.
const THREATS: [(char, &str, &[&str], &str); 9] = [
    ('A', "Producer", &[], "nothing in a build stops the one who produces; who that is, signatures tell"),
    (
        'B',
        "Authoring and reviewing",
        &["v1.2/source-two-party-review", "v1.2/source-identity"],
        "a change that nobody else has looked at",
    ),
    (
        'C',
        "Source code management",
        &["v1.2/source-history", "v1.2/source-protected-refs", "v1.2/source-provenance"],
        "a source that its system changes, or lets be changed",
    ),
    (
        'D',
        "External build parameters",
        &["v1.2/authentic", "v0.1/includes-parameters", "v0.1/parameterless"],
        "another ref, workflow or input than expected; slsa verify compares them",
    ),
    (
        'E',
        "Build process",
        &["v1.2/unforgeable", "v1.2/isolated", "v1.2/hosted"],
        "a build that another one, or its own steps, reach into",
    ),
    ('F', "Artifact publication", &["v1.2/authentic", "v1.2/exists"], "an artifact that is not of the build"),
    (
        'G',
        "Distribution channel",
        &["v1.2/authentic", "v0.1/identifies-artifact"],
        "an artifact that was replaced on its way; that it is not an old one, a policy on age tells",
    ),
    ('H', "Package selection", &[], "whether it is the one that was meant, a policy on names tells"),
    ('I', "Usage", &[], "what is done with it, admission and scans tell"),
];

pub(super) fn threats(tables: &[Table], count_asserted: bool) -> Vec<Threat> {
    let verdict = |id: &&'static str| {
        let row = tables.iter().find_map(|table| table.row(id));
        (*id, row.map_or(Verdict::NotAssessable, |row| row.judgement.verdict.clone()))
    };
    let threat = |(letter, title, rows, note): (char, &'static str, &[&'static str], &'static str)| {
        let rows: Vec<(&'static str, Verdict)> = rows.iter().map(verdict).collect();
        let held = rows.iter().filter(|(_, verdict)| verdict.counts(count_asserted)).count();
        let cover = match (rows.len(), held) {
            (0, _) => Cover::Outside,
            (_, 0) => Cover::Open,
            (all, held) if all == held => Cover::Covered,
            _ => Cover::Partly,
        };
        Threat { letter, title, cover, rows, note }
    };
    THREATS.into_iter().map(threat).collect()
}
