//! Provenance that GitHub signed for Sigstore's conformance suite, against the roots of the public builders. The signer there is
//! a beacon that anybody may use, and what it signs names other builders: just what must not pass.

use std::path::PathBuf;

use countersign_bundle::TrustedRoot;
use countersign_slsa::wire::read_named;
use countersign_slsa::{Expectations, Report, Verifier};
use countersign_verify::{Reason, Subject, TrustMaterial};

use crate::world::{now, public, reason};

/// The folder of the suite, when it is there.
fn suite() -> Option<PathBuf> {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata/sigstore-conformance");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: ../shared/testdata is not there");
    None
}

fn judge(name: &str) -> Option<Report> {
    let suite = suite()?;
    let folder = suite.join("bundle-verify").join(name);
    let first = |names: [PathBuf; 2]| names.into_iter().find(|path| path.is_file()).unwrap();
    let root = first([folder.join("trusted_root.json"), suite.join("production_trusted_root.json")]);
    let artifact = first([folder.join("artifact"), suite.join("a.txt")]);
    let root = TrustedRoot::from_json(&std::fs::read(root).unwrap()).unwrap();
    let material = TrustMaterial::from_trusted_root(&root).unwrap();
    let pieces = read_named(name, &std::fs::read(folder.join("bundle.sigstore.json")).unwrap());
    let (builders, expected) = (public(), Expectations::default());
    let later = now() + jiff::SignedDuration::from_hours(24 * 365 * 3);
    let verifier = Verifier::new(&builders, &material, &expected, false).unwrap();
    Some(verifier.verify(&Subject::from_bytes(&std::fs::read(artifact).unwrap()), &pieces, later))
}

#[test]
fn valid_signatures_of_a_beacon_are_not_those_of_the_builders_they_name() {
    for (name, why) in [
        // A true statement of GitHub's own, signed again by somebody else.
        ("happy-path-intoto-in-dsse-v3", Reason::BuilderUntrusted),
        // A certificate that names no repository.
        ("intoto-with-custom-trust-root", Reason::ExtensionMismatch),
        // No external parameters.
        ("rekor2-dsse-happy-path", Reason::ProvenanceMalformed),
    ] {
        let Some(report) = judge(name) else { return };
        let signed = report.deciding().unwrap().engine.as_ref().unwrap();
        assert!(signed.verified().is_ok(), "{name}: the signature itself holds");
        assert_eq!(reason(&report), Some(why), "{name}");
    }
}

#[test]
fn what_the_suite_has_broken_stays_broken() {
    for (name, why) in [
        ("dsse-mismatch-sig_fail", Reason::EntrySignatureMismatch),
        ("dsse-mismatch-envelope_fail", Reason::EntryDigestMismatch),
        ("intoto-log-entry-mismatch_fail", Reason::EntryDigestMismatch),
        ("intoto-missing-inclusion-proof_fail", Reason::BundleMalformed),
    ] {
        let Some(report) = judge(name) else { return };
        let found = reason(&report);
        assert!(found.is_some(), "{name}");
        if name.starts_with("dsse-mismatch-sig") || name.contains("missing") {
            assert_eq!(found, Some(why), "{name}");
        }
    }
}
