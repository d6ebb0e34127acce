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
    /// Every image has a bill of materials that is bound to its digest by a trusted signature, parses, and is not empty.
    Sbom,
    /// Every image has signed provenance.
    Provenance,
    /// The policies that are given pass every image.
    Policy,
    /// Somebody trusted scanned every image for vulnerabilities not long ago.
    ScanFresh,
    /// No image has a vulnerability of some severity that no trusted VEX statement clears.
    Vulnerabilities,
    /// Every image was built at some SLSA level, by who signed and which builder.
    ProvenanceLevel,
}

impl Control {
    /// All of them, in the order of their identifiers.
    pub const ALL: [Self; 11] = [
        Self::ForbiddenRegistries,
        Self::AllowedRegistries,
        Self::SignatureVerifies,
        Self::SignatureExists,
        Self::PinnedToDigest,
        Self::Sbom,
        Self::Provenance,
        Self::Policy,
        Self::ScanFresh,
        Self::Vulnerabilities,
        Self::ProvenanceLevel,
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
            Self::ScanFresh => "CS-0004",
            Self::Vulnerabilities => "CS-0005",
            Self::ProvenanceLevel => "CS-0006",
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
            Self::ScanFresh => "Vulnerability scan fresh",
            Self::Vulnerabilities => "No severe vulnerabilities after VEX",
            Self::ProvenanceLevel => "Provenance level",
        }
    }

    /// How much it matters, from 1 to 10.
    #[must_use]
    pub const fn score(self) -> u8 {
        match self {
            Self::Vulnerabilities => 8,
            Self::ForbiddenRegistries
            | Self::SignatureVerifies
            | Self::SignatureExists
            | Self::Policy
            | Self::ProvenanceLevel => 7,
            Self::AllowedRegistries | Self::PinnedToDigest | Self::Provenance | Self::ScanFresh => 5,
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

    /// What to do about a failure.
    #[must_use]
    pub const fn remediation(self) -> &'static str {
        match self {
            Self::ForbiddenRegistries => {
                "Copy the image to a registry that is not forbidden, and name it there."
            }
            Self::AllowedRegistries => "Copy the image to a registry that is allowed, and name it there.",
            Self::SignatureVerifies => {
                "Have somebody sign the image whom the settings name, or name whoever signed it if they are to be trusted."
            }
            Self::SignatureExists => "Sign the image: countersign sign.",
            Self::PinnedToDigest => {
                "Name the image by its digest: countersign triangulate --type digest prints it."
            }
            Self::Sbom => {
                "Make a bill of materials of the image, and sign it as a statement: countersign attest --type spdxjson or cyclonedx."
            }
            Self::Provenance => {
                "Have the builder sign provenance: countersign attest --type slsaprovenance1."
            }
            Self::Policy => {
                "Do what the policy's message says; countersign policy explain tells what it asks for."
            }
            Self::ScanFresh => "Scan the image anew, and sign the result: countersign attest --type vuln.",
            Self::Vulnerabilities => {
                "Build the image anew with the versions in which the vulnerabilities are mended; of those that do no harm \
                 there, have somebody trusted say so: countersign attest --type openvex."
            }
            Self::ProvenanceLevel => {
                "Build on a platform of the level that is asked for. If signer and builder are to be trusted, add the pair \
                 to provenance.roots of the settings."
            }
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
        self.verifies() || matches!(self, Self::SignatureExists)
    }

    /// Whether signatures are verified, and somebody is to be named whose they may be.
    #[must_use]
    pub const fn verifies(self) -> bool {
        matches!(
            self,
            Self::SignatureVerifies
                | Self::Sbom
                | Self::Provenance
                | Self::ScanFresh
                | Self::Vulnerabilities
                | Self::ProvenanceLevel
        )
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
