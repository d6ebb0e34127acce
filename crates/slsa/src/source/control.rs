//! The controls of a source control system by the names that source-tool gave them, and which of them a level needs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Control {
    /// The organisation has chosen a source control system.
    OrgScs,
    /// The organisation says who may do what.
    OrgAccessControl,
    /// The organisation says how something is taken out of the history, and by whom.
    OrgSafeExpunge,
    /// The organisation's own controls are enforced by technical means.
    OrgContinuity,
    /// The repository has a name for good.
    RepoId,
    /// Each revision has a name for good.
    RevisionId,
    /// Changes can be looked at.
    DiffDisplay,
    /// There are verification summaries.
    Vsa,
    /// Nothing of the history is lost.
    History,
    /// The controls hold without a gap since a revision.
    Continuity,
    /// Who did what is known.
    Identity,
    /// There is source provenance.
    Provenance,
    /// Branches and tags are protected.
    ProtectedRefs,
    /// Two persons agree to each change.
    TwoPartyReview,
}

impl Control {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::OrgScs,
        Self::OrgAccessControl,
        Self::OrgSafeExpunge,
        Self::OrgContinuity,
        Self::RepoId,
        Self::RevisionId,
        Self::DiffDisplay,
        Self::Vsa,
        Self::History,
        Self::Continuity,
        Self::Identity,
        Self::Provenance,
        Self::ProtectedRefs,
        Self::TwoPartyReview,
    ];

    /// Its name in statements.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OrgScs => "SLSA_SOURCE_ORG_SCS",
            Self::OrgAccessControl => "SLSA_SOURCE_ORG_ACCESS_CONTROL",
            Self::OrgSafeExpunge => "SLSA_SOURCE_ORG_SAFE_EXPUNGE",
            Self::OrgContinuity => "SLSA_SOURCE_ORG_CONTINUITY",
            Self::RepoId => "SLSA_SOURCE_SCS_REPO_ID",
            Self::RevisionId => "SLSA_SOURCE_SCS_REVISION_ID",
            Self::DiffDisplay => "SLSA_SOURCE_SCS_DIFF_DISPLAY",
            Self::Vsa => "SLSA_SOURCE_SCS_VSA",
            Self::History => "SLSA_SOURCE_SCS_HISTORY",
            Self::Continuity => "SLSA_SOURCE_SCS_CONTINUITY",
            Self::Identity => "SLSA_SOURCE_SCS_IDENTITY",
            Self::Provenance => "SLSA_SOURCE_SCS_PROVENANCE",
            Self::ProtectedRefs => "SLSA_SOURCE_SCS_PROTECTED_REFS",
            Self::TwoPartyReview => "SLSA_SOURCE_SCS_TWO_PARTY_REVIEW",
        }
    }

    /// The control of a name; `None` for names that are none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|control| control.name() == name)
    }

    /// Whether the organisation answers for it, and not the source control system.
    #[must_use]
    pub const fn is_of_organisation(self) -> bool {
        matches!(self, Self::OrgScs | Self::OrgAccessControl | Self::OrgSafeExpunge | Self::OrgContinuity)
    }

    /// The lowest level of the source track that needs it.
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::OrgScs | Self::RepoId | Self::RevisionId | Self::DiffDisplay | Self::Vsa => 1,
            Self::OrgAccessControl
            | Self::OrgSafeExpunge
            | Self::History
            | Self::Continuity
            | Self::Identity
            | Self::Provenance => 2,
            Self::OrgContinuity | Self::ProtectedRefs => 3,
            Self::TwoPartyReview => 4,
        }
    }
}

/// A control that holds, since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The control's name.
    pub name: String,
    /// Since when.
    #[serde(with = "crate::time")]
    pub since: Timestamp,
}

/// The level that controls make: the highest of which all are there.
///
/// ```
/// use countersign_slsa::source::control::{Control, level};
/// assert_eq!(level(|_| true), 4);
/// assert_eq!(level(|control| control != Control::TwoPartyReview), 3);
/// assert_eq!(level(|control| control != Control::Vsa), 0);
/// ```
#[must_use]
pub fn level(holds: impl Fn(Control) -> bool) -> u8 {
    let missing = Control::ALL.into_iter().filter(|control| !holds(*control)).map(Control::level).min();
    missing.map_or(4, |level| level - 1)
}

/// The controls that hold now, each since the time that the record of the revision before says, if that has it, or since now. A gap
/// of one revision starts the time anew.
#[must_use]
pub fn carried(now_hold: &[Control], before: &[Held], now: Timestamp) -> Vec<Held> {
    let since =
        |name: &str| before.iter().find(|held| held.name == name && held.since <= now).map(|held| held.since);
    let held = |control: &Control| {
        let name = control.name();
        Held { name: name.to_owned(), since: since(name).unwrap_or(now) }
    };
    now_hold.iter().map(held).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_one_control_each() {
        for control in Control::ALL {
            assert_eq!(Control::named(control.name()), Some(control));
        }
        assert_eq!(Control::named("SLSA_SOURCE_SCS"), None);
    }

    #[test]
    fn a_gap_starts_the_time_anew_and_the_future_is_no_beginning() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (old, now) = (at("2026-01-01T00:00:00Z"), at("2026-06-01T00:00:00Z"));
        let before = [
            Held { name: Control::History.name().into(), since: old },
            Held { name: Control::Vsa.name().into(), since: at("2030-01-01T00:00:00Z") },
        ];
        let held = carried(&[Control::History, Control::Identity, Control::Vsa], &before, now);
        assert_eq!(held.iter().map(|one| one.since).collect::<Vec<_>>(), [old, now, now]);
        assert_eq!(carried(&[Control::History], &[], now)[0].since, now);
    }
}
