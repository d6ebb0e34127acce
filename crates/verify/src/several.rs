//! Several pieces of evidence for one artifact, such as all the signatures attached to an image. Each is verified by
//! itself: who signed, what is said and every annotation must hold in one and the same piece.

use countersign_bundle::Bundle;
use jiff::Timestamp;

use crate::{Outcome, Report, Requirements, Subject, TrustMaterial, verify};

/// Verifies each piece by itself, in the given order. The artifact is verified when one of the reports is.
#[must_use]
pub fn verify_each(
    subject: &Subject<'_>,
    evidence: &[Bundle],
    material: &TrustMaterial,
    requirements: &Requirements,
    now: Timestamp,
) -> Vec<Report> {
    evidence.iter().map(|bundle| verify(subject, bundle, material, requirements, now)).collect()
}

/// The report that tells most: the first that is verified, else the one that came nearest, which is the one whose
/// first failed check stands last. `None` when there is no report: then nothing is signed.
#[must_use]
pub fn nearest<'r>(reports: impl IntoIterator<Item = &'r Report>) -> Option<&'r Report> {
    let reports: Vec<&Report> = reports.into_iter().collect();
    if let Some(verified) = reports.iter().copied().find(|report| report.verified().is_ok()) {
        return Some(verified);
    }
    let reached = |report: &Report| {
        report.checks().iter().find(|check| check.outcome == Outcome::Failed).map(|check| check.name)
    };
    // Of equal ones the first, as `max_by_key` would give the last.
    reports.into_iter().rev().max_by_key(|report| reached(report))
}
