//! The tables of SLSA v1.2: build track and source track.

use super::evidence::Evidence;
use super::matrix::{BUILDER, SOURCE, row};
use super::row::{Judgement, Table, Track};
use super::{build, origin, provenance};
use crate::source::Control;

pub(super) fn build(evidence: &Evidence) -> Table {
    const ALL: &[u8] = &[1, 2, 3];
    let platform = |level| {
        provenance::at_level(
            evidence,
            level,
            "the roots of trust give builder and signer at least this level",
        )
    };
    let producer = |name, levels, judgement, next| row("Producer", name, levels, judgement, next);
    let made = |name, levels, judgement, next| row("Provenance generation", name, levels, judgement, next);
    let apart = |name, levels, judgement, next| row("Isolation strength", name, levels, judgement, next);
    let rows = vec![
        producer(
            ("v1.2/platform-1", "Choose an appropriate build platform"),
            &[1],
            platform(1),
            (1, "name signer and builder in the roots of trust (--roots)"),
        ),
        producer(
            ("v1.2/platform-2", "Choose an appropriate build platform"),
            &[2],
            platform(2),
            (2, BUILDER),
        ),
        producer(
            ("v1.2/platform-3", "Choose an appropriate build platform"),
            &[3],
            platform(3),
            (3, BUILDER),
        ),
        producer(
            ("v1.2/consistent-process", "Follow a consistent build process"),
            ALL,
            provenance::consistent(evidence),
            (1, "build every release from the same entry point of the same source"),
        ),
        producer(
            ("v1.2/distribute", "Distribute provenance"),
            ALL,
            provenance::available(evidence),
            (1, "put the provenance beside the artifact, or give the one that is there (--provenance)"),
        ),
        made(("v1.2/exists", "Exists"), ALL, exists(evidence), (1, "make provenance, and sign it")),
        made(("v1.2/authentic", "Authentic"), &[2, 3], provenance::authenticated(evidence), (1, BUILDER)),
        made(("v1.2/unforgeable", "Unforgeable"), &[3], build::unforgeable(evidence), (3, BUILDER)),
        apart(("v1.2/hosted", "Hosted"), &[2, 3], build::service(evidence), (2, BUILDER)),
        apart(
            ("v1.2/isolated", "Isolated"),
            &[3],
            build::isolated(
                evidence,
                "level 3 in the roots of trust; no runner and no cache that outlives a run",
            ),
            (3, BUILDER),
        ),
    ];
    Table { track: Track::Build, rows }
}

/// The provenance names the artifact, its builder and how it was built.
fn exists(evidence: &Evidence) -> Judgement {
    let parts =
        [provenance::artifact(evidence), provenance::builder(evidence), provenance::instructions(evidence)];
    let worst = parts.iter().find(|part| part.verdict != super::Verdict::Met).cloned();
    let [all, ..] = parts;
    Judgement {
        rule: "it names the artifact by digest, the builder, the type of build and its parameters",
        ..worst.unwrap_or(all)
    }
}

/// The rows of the source track: the control, its name in reports, its title, how much work it is.
const CONTROLS: [(Control, &str, &str, &str, u8); 14] = [
    (Control::OrgScs, "v1.2/source-scs", "Organisation", "Choose an appropriate source control system", 1),
    (Control::OrgAccessControl, "v1.2/source-access-control", "Organisation", "Control access to it", 2),
    (
        Control::OrgSafeExpunge,
        "v1.2/source-safe-expunge",
        "Organisation",
        "Document how history is taken out",
        2,
    ),
    (
        Control::OrgContinuity,
        "v1.2/source-technical-controls",
        "Organisation",
        "Enforce own rules by technical controls",
        3,
    ),
    (
        Control::RepoId,
        "v1.2/source-repository-id",
        "Source control system",
        "Repositories are uniquely identifiable",
        1,
    ),
    (
        Control::RevisionId,
        "v1.2/source-revision-id",
        "Source control system",
        "Revisions are immutable and uniquely identifiable",
        1,
    ),
    (Control::DiffDisplay, "v1.2/source-diff", "Source control system", "Human-readable changes", 1),
    (Control::Vsa, "v1.2/source-vsa", "Source control system", "Source verification summaries", 2),
    (
        Control::History,
        "v1.2/source-history",
        "Source control system",
        "History: no force push, tags stay",
        2,
    ),
    (
        Control::Continuity,
        "v1.2/source-continuity",
        "Source control system",
        "Continuity since a revision",
        2,
    ),
    (Control::Identity, "v1.2/source-identity", "Source control system", "Identity management", 2),
    (Control::Provenance, "v1.2/source-provenance", "Source control system", "Source provenance", 2),
    (
        Control::ProtectedRefs,
        "v1.2/source-protected-refs",
        "Source control system",
        "Protected branches and tags",
        2,
    ),
    (Control::TwoPartyReview, "v1.2/source-two-party-review", "Source control system", "Two-party review", 3),
];

pub(super) fn source(evidence: &Evidence) -> Table {
    const FROM: [&[u8]; 5] = [&[], &[1, 2, 3, 4], &[2, 3, 4], &[3, 4], &[4]];
    let rows = CONTROLS.map(|(control, id, group, title, effort)| {
        let rule = "a verified statement of the source control system names the control";
        let next = if group == "Organisation" {
            "have whoever answers for it sign a self-assessment, or name it in the settings of the source hook"
        } else {
            SOURCE
        };
        let levels = FROM.get(usize::from(control.level())).copied().unwrap_or_default();
        row(group, (id, title), levels, origin::control(evidence, control, rule), (effort, next))
    });
    Table { track: Track::Source, rows: rows.into() }
}
