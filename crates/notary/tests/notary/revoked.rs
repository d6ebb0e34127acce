//! Signatures of the Notary Project obey revocation lists too, whatever the trust policy only logs.

use std::sync::Arc;

use countersign_crypto::encoding::hex_encode;
use countersign_crypto::{Signer as _, sha256};
use countersign_notary::{Format, Reason};
use countersign_verify::revocation::{Entry, Revocation, RevocationList, Revocations, Target, Text};

use crate::support::{KEYS, NOW, Signing, World, at, chain, statement, target};

fn revoking(target: Target, since: Option<i64>) -> Arc<Revocations> {
    let revocation = Revocation { target, since: since.map(at), until: None, expires: None };
    let entry = Entry {
        id: 1,
        revoke: Some(revocation),
        undo: None,
        reason: "stolen".into(),
        by: "bob".into(),
        at: at(NOW - 10),
    };
    let list =
        RevocationList { number: 1, issued_at: at(NOW - 10), expires: at(NOW + 10), entries: vec![entry] };
    Arc::new(Revocations::read(&list.to_json().unwrap(), "test").unwrap())
}

#[test]
fn each_kind_of_entry_alone_makes_the_answer_no() {
    let chain = chain();
    let print = |i: usize| hex_encode(&sha256(chain[i].der()));
    let named = |name: String| Target::Identity { name: Some(Text::Exact(name)), issuer: None };
    for (target, expected) in [
        (Target::Certificate(print(0)), true),
        (Target::Certificate(print(1)), true),
        (Target::Certificate(hex_encode(&[1; 32])), false),
        (Target::Key(hex_encode(&KEYS.leaf.public_key().fingerprint())), true),
        (Target::Key(hex_encode(&KEYS.other.public_key().fingerprint())), false),
        (Target::Digest(target().digest.to_string()), true),
        (named(chain[0].subject().to_string()), true),
        (named("O=somebody, CN=else".into()), false),
    ] {
        for format in [Format::Jws, Format::Cose] {
            let world = World::new().with(|w| w.revoked = vec![revoking(target.clone(), None)]);
            let report = world.verify(format, &Signing::new(format).envelope());
            let reason = report.rejection().map(|rejection| rejection.reason);
            assert_eq!(reason, expected.then_some(Reason::Revoked), "{target}");
        }
    }
}

#[test]
fn the_time_that_a_signer_claims_spares_nothing_and_a_policy_that_only_logs_obeys() {
    let key = Target::Key(hex_encode(&KEYS.leaf.public_key().fingerprint()));
    let world = World::new().with(|w| w.revoked = vec![revoking(key.clone(), Some(NOW + 5))]);
    assert_eq!(world.refused(&Signing::new(Format::Jws)), Reason::Revoked);
    let audit = World::new().with(|w| {
        w.statement = statement(r#"{"level":"audit"}"#, r#"["ca:acme"]"#, r#"["*"]"#);
        w.revoked = vec![revoking(key.clone(), None)];
    });
    assert_eq!(audit.refused(&Signing::new(Format::Jws)), Reason::Revoked);
}

#[test]
fn a_list_that_has_expired_is_a_refusal() {
    let nothing = Target::Key(hex_encode(&[1; 32]));
    let world = World::new().with(|w| w.revoked = vec![revoking(nothing, None)]);
    world.accepted(&Signing::new(Format::Jws));
    let late = world.with(|w| w.now = NOW + 10);
    assert_eq!(late.refused(&Signing::new(Format::Jws)), Reason::RevocationListExpired);
}
