//! The public vectors of sigstore-conformance: 42 acceptances and 98 refusals, each for the right reason.

#![allow(clippy::unwrap_used, clippy::panic, reason = "code of tests")]

#[path = "support/vectors.rs"]
mod vectors;

use std::fs::{read, read_to_string};

use countersign_bundle::{Bundle, TrustedRoot};
use countersign_crypto::{HashAlgorithm, PublicKey};
use countersign_verify::{Identity, Reason, Report, Requirements, Subject, TrustMaterial, verify};
use jiff::Timestamp;
use vectors::{Case, load};

/// After all vectors were made; nothing else depends on it.
const NOW: &str = "2026-06-01T00:00:00Z";

/// For each folder that must be refused, the reasons which are right. A folder may spoil several things at once.
const REFUSALS: &[(&str, &[Reason])] = {
    use Reason::{
        AuthorityNotValid, BundleMalformed, CertificateExpected, CertificateNotValid, CertificateUntrusted,
        CheckpointInvalid, CheckpointMalformed, CheckpointMismatch, CheckpointOrigin, CheckpointUntrusted,
        DigestMismatch, EntryDigestMismatch, EntryKeyMismatch, EntrySignatureMismatch, InclusionProofInvalid,
        LogEntryMalformed, LogUntrusted, NoTime, PromiseInvalid, RootCertificateIncluded, SctInvalid,
        SctUntrusted, SignatureInvalid, SubjectMismatch, TimestampInvalid, TimestampMismatch,
        TimestampOutsideValidity, TimestampUntrusted, TrustRootMalformed, WrongKey,
    };
    &[
        ("bundle-empty-certificate-chain_fail", &[BundleMalformed]),
        ("bundle-from-wrong-instance_fail", &[CertificateUntrusted, LogUntrusted]),
        ("bundle-invalid-base64-signature_fail", &[BundleMalformed]),
        ("bundle-malformed-json_fail", &[BundleMalformed]),
        ("bundle-negative-log-index_fail", &[BundleMalformed]),
        ("bundle-unknown-version_fail", &[BundleMalformed]),
        ("bundle-with-root-cert_fail", &[RootCertificateIncluded]),
        ("checkpoint-bad-keyhint_fail", &[CheckpointUntrusted]),
        ("checkpoint-wrong-roothash_fail", &[CheckpointMismatch]),
        ("dsse-invalid-sig_fail", &[SignatureInvalid, EntrySignatureMismatch]),
        ("dsse-mismatch-envelope_fail", &[EntryDigestMismatch, EntrySignatureMismatch, SubjectMismatch]),
        ("dsse-mismatch-sig_fail", &[EntrySignatureMismatch]),
        ("inclusion-proof-corrupted-hash_fail", &[InclusionProofInvalid]),
        ("incorrect-public-key_fail", &[PromiseInvalid, EntryKeyMismatch]),
        ("integrated-time-in-future_fail", &[CertificateNotValid]),
        ("intoto-expired-certificate_fail", &[AuthorityNotValid, CertificateNotValid]),
        ("intoto-log-entry-mismatch_fail", &[LogEntryMalformed]),
        ("intoto-missing-inclusion-proof_fail", &[BundleMalformed]),
        ("intoto-set-outside-signing-cert-validity_fail", &[CertificateNotValid]),
        ("intoto-tsa-timestamp-outside-cert-validity_fail", &[CertificateNotValid]),
        ("invalid-checkpoint-signature_fail", &[CheckpointInvalid, CheckpointUntrusted]),
        ("invalid-ct-key_fail", &[SctInvalid, SctUntrusted]),
        ("invalid-inclusion-proof_fail", &[BundleMalformed]),
        ("managed-key-no-key_fail", &[CertificateExpected]),
        ("managed-key-wrong-key_fail", &[WrongKey]),
        ("message-digest-mismatch_fail", &[DigestMismatch]),
        ("set-invalid-signature_fail", &[PromiseInvalid]),
        ("signature-mismatch_fail", &[SignatureInvalid, EntrySignatureMismatch, PromiseInvalid]),
        ("trust-root-tlog-missing-validity-start_fail", &[TrustRootMalformed]),
        ("wrong-hashedrekord-artifact_fail", &[EntrySignatureMismatch]),
        ("wrong-hashedrekord-cert-and-sig_fail", &[EntrySignatureMismatch]),
        ("wrong-hashedrekord-entry_fail", &[EntryDigestMismatch, EntrySignatureMismatch]),
        ("wrong-material_fail", &[DigestMismatch]),
        ("rekor2-checkpoint-missing-log-signature_fail", &[CheckpointMalformed]),
        ("rekor2-checkpoint-missing-origin_fail", &[CheckpointMalformed]),
        ("rekor2-checkpoint-missing-root-hash_fail", &[CheckpointMalformed]),
        ("rekor2-checkpoint-missing-size_fail", &[CheckpointMalformed]),
        ("rekor2-checkpoint-no-matching-signature_fail", &[CheckpointUntrusted, CheckpointOrigin]),
        ("rekor2-dsse-invalid-sig_fail", &[SignatureInvalid, EntrySignatureMismatch]),
        ("rekor2-dsse-mismatch-envelope_fail", &[EntryDigestMismatch, EntrySignatureMismatch]),
        ("rekor2-dsse-mismatch-sig_fail", &[EntrySignatureMismatch]),
        ("rekor2-no-inclusion-proof_fail", &[BundleMalformed]),
        ("rekor2-no-timestamp_fail", &[NoTime]),
        ("rekor2-timestamp-outside-trust-root-tsa-validity_fail", &[TimestampOutsideValidity]),
        ("rekor2-timestamp-outside-tsa-cert-validity_fail", &[TimestampOutsideValidity]),
        ("rekor2-timestamp-payload-mismatch_fail", &[TimestampMismatch]),
        ("rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail", &[TimestampUntrusted, TimestampInvalid]),
        (
            "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail",
            &[TimestampUntrusted, TimestampInvalid],
        ),
        ("rekor2-timestamp-with-incorrect-time_fail", &[CertificateNotValid]),
    ]
};

/// What a case comes to: the code of the reason, or `None` when it is accepted.
fn judge(case: &Case, by_digest: bool) -> (Option<Reason>, Option<Report>) {
    let Ok(root) = TrustedRoot::from_json(&read(&case.trusted_root).unwrap()) else {
        return (Some(Reason::TrustRootMalformed), None);
    };
    let material = match TrustMaterial::from_trusted_root(&root) {
        Ok(material) => material,
        Err(error) => return (Some(error.reason()), None),
    };
    let artifact = read(&case.artifact).unwrap();
    let subject = if by_digest {
        Subject::from_digest(HashAlgorithm::Sha256.digest(&artifact))
    } else {
        Subject::from_bytes(&artifact)
    };
    let requirements = match &case.key {
        Some(key) => match PublicKey::from_pem(&read_to_string(key).unwrap()) {
            Ok(key) => Requirements::builder().key(key).build(),
            // The wrong key of `managed-key-wrong-key_fail` is no key: its base64 has stray bits at its end.
            Err(_) => return (Some(Reason::WrongKey), None),
        },
        None => {
            Requirements::builder().identity(Identity::exact(&case.identity, &case.issuer).unwrap()).build()
        }
    };
    let now: Timestamp = NOW.parse().unwrap();
    let report = match Bundle::from_json(&read(&case.bundle).unwrap()) {
        Ok(bundle) => verify(&subject, &bundle, &material, &requirements, now),
        Err(error) => Report::malformed(&error),
    };
    (report.verified().err().map(|r| r.reason), Some(report))
}

#[test]
fn forty_two_are_accepted_and_ninety_eight_refused_for_the_right_reason() {
    let Some(cases) = load() else { return };
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for case in cases {
        let name = &case.name;
        for by_digest in [false, true] {
            let (reason, report) = judge(&case, by_digest);
            let expected = REFUSALS.iter().find(|(n, _)| n == name).map(|(_, reasons)| *reasons);
            assert_eq!(expected.is_none(), case.must_pass(), "{name}");
            let right = match (reason, expected) {
                (None, None) => true,
                (Some(reason), Some(expected)) => expected.contains(&reason),
                _ => false,
            };
            if !right {
                let why = report.and_then(|r| r.into_verified().err());
                wrong.push(format!("{name} by_digest={by_digest}: {reason:?} {why:?}"));
            }
            match reason {
                None => accepted += 1,
                Some(_) => refused += 1,
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((accepted, refused), (42, 98));
}
