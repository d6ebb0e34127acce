//! Rows of the adversarial table that belong to this crate and to no single module of it.

use countersign_crypto::HashAlgorithm;
use countersign_notary::{Format, MAX_ENVELOPE_LEN, Reason, Subject};

use crate::support::{BOTH, NOW, Signing, World, reasons, statement, target};

fn permissive() -> World {
    World::new().with(|w| w.statement = statement(r#"{"level":"permissive"}"#, r#"["ca:acme"]"#, r#"["*"]"#))
}

/// A tag is moved back to an image whose signature has expired: the lenient level only tells, and a switch refuses.
#[test]
fn v56_a_rollback_under_a_lenient_level_is_told_and_can_be_refused() {
    let old = Signing::new(Format::Cose).with(|s| {
        s.signing_time = NOW - 1000;
        s.expiry = Some(NOW - 500);
    });
    let told = permissive().accepted(&old);
    assert_eq!(reasons(told.logged()), [Reason::SignatureExpired]);
    let strict = permissive().with(|w| w.enforce_logged = true);
    assert_eq!(strict.refused(&old), Reason::SignatureExpired);
    // The switch takes nothing from what is good.
    strict.accepted(&Signing::new(Format::Cose));
}

/// The registry answers with another manifest than the one that was resolved: its descriptor is not the signed one.
#[test]
fn v54_a_signature_is_bound_to_the_descriptor_that_was_resolved() {
    for format in BOTH {
        let signing = Signing::new(format);
        let swapped = Subject::Manifest {
            media_type: target().media_type,
            digest: HashAlgorithm::Sha256.digest(b"what the registry sent instead"),
            size: target().size,
        };
        for world in [World::new(), permissive()] {
            assert_eq!(
                world.with(|w| w.subject = swapped.clone()).refused(&signing),
                Reason::ArtifactMismatch
            );
        }
    }
}

#[test]
fn v55_an_endless_envelope_is_refused_by_its_length() {
    for format in BOTH {
        let report = World::new().verify(format, &vec![0; 64 * MAX_ENVELOPE_LEN]);
        let rejection = report.rejection().unwrap();
        assert_eq!(rejection.reason, Reason::EnvelopeMalformed);
        assert!(rejection.expected.contains("at most"), "{rejection}");
    }
}

#[test]
fn texts_of_strangers_reach_a_report_without_what_a_terminal_obeys() {
    let mut envelope = String::from_utf8(Signing::new(Format::Jws).envelope()).unwrap();
    envelope.insert_str(1, "\"\\u001b[2J\":1,");
    let report = World::new().verify(Format::Jws, envelope.as_bytes());
    let rejection = report.rejection().unwrap();
    assert_eq!(rejection.reason, Reason::EnvelopeMalformed);
}
