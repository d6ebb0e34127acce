//! The controls: what each looks for, and how much it matters. Identifiers, scores and severities are Kubescape's where it has
//! such a control; `CS-` marks those it has not.

use serde::{Serialize, Serializer};

/// How much it matters that a control fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Scores 1 to 3.
    Low,
    /// Scores 4 to 6.
    Medium,
    /// Scores 7 and 8.
    High,
    /// Scores 9 and 10.
    Critical,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        }
    }

    /// Reads a name, whatever its case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name().eq_ignore_ascii_case(text))
    }
}

impl Serialize for Severity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Control {
    /// No image is of a registry that is forbidden.
    ForbiddenRegistries,
    /// Every image is of a registry that is allowed.
    AllowedRegistries,
    /// A trusted key or identity signed every image.
    SignatureVerifies,
    /// Every image has a signature, whoever made it.
    SignatureExists,
    /// Every image is named by its digest.
    PinnedToDigest,
    /// Every image has a bill of materials that is bound to its digest by a signature.
    Sbom,
    /// Every image has signed provenance.
    Provenance,
    /// The policies that are given pass every image.
    Policy,
}

impl Control {
    /// All of them, in the order of their identifiers.
    pub const ALL: [Self; 8] = [
        Self::ForbiddenRegistries,
        Self::AllowedRegistries,
        Self::SignatureVerifies,
        Self::SignatureExists,
        Self::PinnedToDigest,
        Self::Sbom,
        Self::Provenance,
        Self::Policy,
    ];

    /// The identifier.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::ForbiddenRegistries => "C-0001",
            Self::AllowedRegistries => "C-0078",
            Self::SignatureVerifies => "C-0236",
            Self::SignatureExists => "C-0237",
            Self::PinnedToDigest => "C-0306",
            Self::Sbom => "CS-0001",
            Self::Provenance => "CS-0002",
            Self::Policy => "CS-0003",
        }
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForbiddenRegistries => "Forbidden container registries",
            Self::AllowedRegistries => "Images from allowed registries",
            Self::SignatureVerifies => "Verify image signature",
            Self::SignatureExists => "Check if signature exists",
            Self::PinnedToDigest => "Images pinned to digest",
            Self::Sbom => "Bill of materials present and bound",
            Self::Provenance => "Signed provenance present",
            Self::Policy => "Image policies pass",
        }
    }

    /// How much it matters, from 1 to 10.
    #[must_use]
    pub const fn score(self) -> u8 {
        match self {
            Self::ForbiddenRegistries | Self::SignatureVerifies | Self::SignatureExists | Self::Policy => 7,
            Self::AllowedRegistries | Self::PinnedToDigest | Self::Provenance => 5,
            Self::Sbom => 4,
        }
    }

    /// How much it matters, in a word.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self.score() {
            9.. => Severity::Critical,
            7 | 8 => Severity::High,
            4..=6 => Severity::Medium,
            _ => Severity::Low,
        }
    }

    /// Reads an identifier, whatever its case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|control| control.id().eq_ignore_ascii_case(text))
    }

    /// Whether the registry has to be asked.
    #[must_use]
    pub const fn looks(self) -> bool {
        matches!(self, Self::SignatureVerifies | Self::SignatureExists | Self::Sbom | Self::Provenance)
    }
}

impl Serialize for Control {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_name_one_control_each() {
        for control in Control::ALL {
            assert_eq!(Control::parse(&control.id().to_lowercase()), Some(control));
        }
        assert_eq!(Control::parse("C-9999"), None);
        assert_eq!(Control::SignatureExists.severity(), Severity::High);
        assert_eq!(Control::AllowedRegistries.severity(), Severity::Medium);
    }
}
