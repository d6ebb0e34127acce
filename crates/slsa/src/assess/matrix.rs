//! The table of SLSA v0.1.

use super::evidence::Evidence;
use super::row::{Judgement, Row, Table, Track};
use super::{build, origin, provenance};
use crate::source::Control;

const ALL: &[u8] = &[1, 2, 3, 4];
const FROM_2: &[u8] = &[2, 3, 4];
const FROM_3: &[u8] = &[3, 4];
const ONLY_4: &[u8] = &[4];

/// What to do where no provenance of enough weight is there.
pub(super) const BUILDER: &str = "build with a service that signs provenance itself, and name signer, builder and level in the roots of trust";
pub(super) const SOURCE: &str = "have the source control system say it: countersign source hook on a server of one's own (docs/assessment.md)";
const ANSWER: &str = "have whoever answers for it sign a self-assessment with an end (docs/assessment.md)";

/// A row that a level cannot be had without.
pub(super) fn row(
    group: &'static str,
    (id, title): (&'static str, &'static str),
    levels: &'static [u8],
    judgement: Judgement,
    (effort, next): (u8, &'static str),
) -> Row {
    Row { id, group, title, levels, optional: false, judgement, next, effort }
}

pub(super) fn table(evidence: &Evidence) -> Table {
    let rows =
        [source(evidence), build(evidence), of_provenance(evidence), content(evidence), common()].concat();
    Table { track: Track::V0_1, rows }
}

fn source(evidence: &Evidence) -> Vec<Row> {
    let of = |name, levels, judgement, next| row("Source", name, levels, judgement, next);
    let by = |controls: &[Control]| {
        origin::by_controls(
            evidence,
            controls,
            "a verified statement of the source control system names the controls",
        )
    };
    vec![
        of(
            ("v0.1/version-controlled", "Version controlled"),
            FROM_2,
            origin::version_controlled(evidence),
            (1, BUILDER),
        ),
        of(
            ("v0.1/verified-history", "Verified history"),
            FROM_3,
            by(&[Control::History, Control::Identity]),
            (3, SOURCE),
        ),
        of(
            ("v0.1/retained-18-months", "Retained indefinitely"),
            &[3],
            by(&[Control::History, Control::Continuity]),
            (3, SOURCE),
        ),
        of(
            ("v0.1/retained", "Retained indefinitely"),
            ONLY_4,
            by(&[Control::History, Control::Continuity, Control::OrgSafeExpunge]),
            (3, SOURCE),
        ),
        of(
            ("v0.1/two-person-reviewed", "Two-person reviewed"),
            ONLY_4,
            by(&[Control::TwoPartyReview]),
            (3, SOURCE),
        ),
    ]
}

fn build(evidence: &Evidence) -> Vec<Row> {
    let of = |name, levels, judgement, next| row("Build", name, levels, judgement, next);
    let apart = |rule| build::isolated(evidence, rule);
    let mut rows = vec![
        of(
            ("v0.1/scripted-build", "Scripted build"),
            ALL,
            build::scripted(evidence),
            (1, "write the build down as a file of the source, and give it here"),
        ),
        of(("v0.1/build-service", "Build service"), FROM_2, build::service(evidence), (2, BUILDER)),
        of(
            ("v0.1/build-as-code", "Build as code"),
            FROM_3,
            build::as_code(evidence),
            (
                1,
                "give a clone of the source (--clone), in which the entry point of the provenance is looked for",
            ),
        ),
        of(
            ("v0.1/ephemeral-environment", "Ephemeral environment"),
            FROM_3,
            apart("level 3 in the roots of trust, no runner and no cache that outlives a run"),
            (2, BUILDER),
        ),
        of(
            ("v0.1/isolated", "Isolated"),
            FROM_3,
            apart("level 3 in the roots of trust, nothing of other runs comes in"),
            (2, BUILDER),
        ),
        of(
            ("v0.1/parameterless", "Parameterless"),
            ONLY_4,
            build::parameterless(evidence),
            (
                2,
                "take the inputs out of the workflow that builds releases, and what else its provenance lists",
            ),
        ),
        of(
            ("v0.1/hermetic", "Hermetic"),
            ONLY_4,
            build::hermetic(evidence),
            (
                4,
                "name every action by commit and every image by digest, fetch before the build, and build without a network (countersign build)",
            ),
        ),
    ];
    let reproducible = of(
        ("v0.1/reproducible", "Reproducible"),
        ONLY_4,
        build::reproducible(evidence),
        (4, "build twice, on two machines, and compare"),
    );
    rows.push(Row { optional: true, ..reproducible });
    rows
}

fn of_provenance(evidence: &Evidence) -> Vec<Row> {
    let of = |name, levels, judgement, next| row("Provenance", name, levels, judgement, next);
    vec![
        of(
            ("v0.1/available", "Available"),
            ALL,
            provenance::available(evidence),
            (
                1,
                "make provenance, sign it and put it beside the artifact, or give the one that is there (--provenance)",
            ),
        ),
        of(
            ("v0.1/authenticated", "Authenticated"),
            FROM_2,
            provenance::authenticated(evidence),
            (1, BUILDER),
        ),
        of(
            ("v0.1/service-generated", "Service generated"),
            FROM_2,
            provenance::service_generated(evidence),
            (2, BUILDER),
        ),
        of(
            ("v0.1/non-falsifiable", "Non-falsifiable"),
            FROM_3,
            provenance::non_falsifiable(evidence),
            (3, BUILDER),
        ),
        of(
            ("v0.1/dependencies-complete", "Dependencies complete"),
            ONLY_4,
            provenance::dependencies(evidence),
            (
                3,
                "list every dependency with its digest in the provenance, and give the lock files (--lock-file)",
            ),
        ),
    ]
}

fn content(evidence: &Evidence) -> Vec<Row> {
    const MORE: (u8, &str) = (1, "take a builder whose provenance says it");
    let of = |name, levels, judgement| row("Provenance content", name, levels, judgement, MORE);
    let metadata = of(("v0.1/includes-metadata", "Includes metadata"), ALL, provenance::metadata(evidence));
    vec![
        of(("v0.1/identifies-artifact", "Identifies artifact"), ALL, provenance::artifact(evidence)),
        of(("v0.1/identifies-builder", "Identifies builder"), ALL, provenance::builder(evidence)),
        of(
            ("v0.1/identifies-instructions", "Identifies build instructions"),
            ALL,
            provenance::instructions(evidence),
        ),
        of(("v0.1/identifies-source", "Identifies source code"), &[2], provenance::source(evidence)),
        of(
            ("v0.1/identifies-source-authentic", "Identifies source code"),
            &[3],
            provenance::source_at(evidence, 2),
        ),
        of(
            ("v0.1/identifies-source-complete", "Identifies source code"),
            ONLY_4,
            provenance::source_at(evidence, 3),
        ),
        of(
            ("v0.1/identifies-entry-point", "Identifies entry point"),
            FROM_3,
            provenance::entry_point(evidence),
        ),
        of(
            ("v0.1/includes-parameters", "Includes all build parameters"),
            &[3],
            provenance::parameters(evidence),
        ),
        of(
            ("v0.1/includes-no-parameters", "Includes all build parameters"),
            ONLY_4,
            build::parameterless(evidence),
        ),
        of(
            ("v0.1/includes-dependencies", "Includes all transitive dependencies"),
            ONLY_4,
            provenance::dependencies(evidence),
        ),
        of(
            ("v0.1/includes-reproducible", "Includes reproducible info"),
            ONLY_4,
            provenance::reproducible_info(evidence),
        ),
        Row { optional: true, ..metadata },
    ]
}

/// What no artifact shows.
fn common() -> Vec<Row> {
    let of = |name| {
        let rule = "no artifact shows it: a signed self-assessment, with who, when and until when";
        row("Common", name, ONLY_4, Judgement::unknown(rule, "nobody answers for it"), (2, ANSWER))
    };
    vec![
        of(("v0.1/security", "Security")),
        of(("v0.1/access", "Access")),
        of(("v0.1/superusers", "Superusers")),
    ]
}
