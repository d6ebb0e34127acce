//! What controls need to be told. One without it is skipped, never passed.

use super::control::Control;
use super::scanner::ScanOptions;

/// What a control says that needs signers of Sigstore's kind.
const SIGNERS: &str = "it needs to be told who may have signed: trustedCosignPublicKeys or trustedIdentities in --controls-config";
/// What the control of policies needs.
pub(super) const NO_POLICIES: &str = "it needs policies: --policy";

/// Why a control cannot be checked with these options.
pub(super) fn unconfigured(control: Control, options: &ScanOptions) -> Option<&'static str> {
    let settings = &options.settings;
    let (missing, why) = match control {
        Control::SignatureVerifies => (
            !settings.names_signers() && settings.notary.is_none(),
            "it needs to be told who may have signed: trustedCosignPublicKeys, trustedIdentities or notary in --controls-config",
        ),
        Control::Sbom => (!settings.names_signers(), SIGNERS),
        Control::ScanFresh | Control::Vulnerabilities => (
            !settings.names_signers() && settings.scanners.is_empty(),
            "it needs to be told whose scans count: vulnerabilityScan.signers, trustedCosignPublicKeys or trustedIdentities \
             in --controls-config",
        ),
        Control::ProvenanceLevel => (
            settings.provenance.roots.is_empty(),
            "it needs to be told who builds at which level: provenance.level and provenance.roots in --controls-config",
        ),
        Control::AllowedRegistries => {
            (settings.allowed.is_empty(), "it needs imageRepositoryAllowList in --controls-config")
        }
        Control::ForbiddenRegistries => (
            settings.forbidden.is_empty(),
            "it needs publicRegistries or untrustedRegistries in --controls-config",
        ),
        Control::Policy => (options.policies.iter().next().is_none(), NO_POLICIES),
        Control::SignatureExists | Control::PinnedToDigest | Control::Provenance => return None,
    };
    missing.then_some(why)
}
