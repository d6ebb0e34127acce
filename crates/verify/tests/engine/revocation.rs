//! Revocation: every kind of entry alone makes the answer no, its borders in time, and lists that do not count.

use std::sync::Arc;

use countersign_bundle::{Bundle, Content, KeyMaterial};
use countersign_crypto::encoding::hex_encode;
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer as _, sha256};
use countersign_verify::revocation::{
    Entry, ListError, MAX_SIGNED_LIST, Memory, MemoryError, OpenError, PAYLOAD_TYPE, Revocation,
    RevocationAuthority, RevocationList, Revocations, Target, Text, open, seal,
};
use countersign_verify::{
    CheckName, Identity, Outcome, Reason, Report, Requirements, Subject, TrustMaterial, verify,
};
use proptest::prelude::*;

use crate::common::{ARTIFACT, ISSUER, NAME, T, World, alice, at, reason, subject};

fn list(entries: Vec<Entry>) -> RevocationList {
    RevocationList { number: 7, issued_at: at(T + 100), expires: at(T + 10_000), entries }
}

fn entry(id: u32, target: Target) -> Entry {
    let revocation = Revocation { target, since: None, until: None, expires: None };
    Entry {
        id,
        revoke: Some(revocation),
        undo: None,
        reason: "the laptop was stolen".into(),
        by: "bob@example.com".into(),
        at: at(T + 50),
    }
}

fn undo(id: u32, other: u32) -> Entry {
    Entry { revoke: None, undo: Some(other), ..entry(id, Target::Key(String::new())) }
}

fn exact(text: &str) -> Text {
    Text::Exact(text.into())
}

fn named(name: &str) -> Target {
    Target::Identity { name: Some(exact(name)), issuer: None }
}

fn ready(list: &RevocationList) -> Arc<Revocations> {
    Arc::new(Revocations::read(&list.to_json().unwrap(), "test").unwrap())
}

fn judge_at(world: &World, bundle: &Bundle, who: &Requirements, list: &RevocationList, now: i64) -> Report {
    let material = world.material().with_revocations(ready(list));
    verify(&Subject::from_bytes(ARTIFACT), bundle, &material, who, at(now))
}

fn judge(world: &World, bundle: &Bundle, list: &RevocationList) -> Option<Reason> {
    reason(&judge_at(world, bundle, &alice().build(), list, T + 3600))
}

fn one(change: impl Fn(&mut Revocation)) -> RevocationList {
    let mut entry = entry(1, named(NAME));
    change(entry.revoke.as_mut().unwrap());
    list(vec![entry])
}

#[test]
fn each_kind_of_entry_alone_makes_the_answer_no() {
    let world = World::new();
    let bundle = world.signed();
    let leaf = bundle.verification_material.content.leaf().unwrap();
    let identity = |name: Option<&str>, issuer: Option<&str>| Target::Identity {
        name: name.map(exact),
        issuer: issuer.map(exact),
    };
    let key = hex_encode(&world.signing.public_key().fingerprint());
    let pattern = |text: &str| Target::Identity { name: Some(Text::Pattern(text.into())), issuer: None };
    let authority = &world.root.certificate_authorities[0].certificates[0];
    for (target, expected) in [
        (identity(Some(NAME), None), true),
        (identity(Some(NAME), Some(ISSUER)), true),
        (identity(Some(NAME), Some("https://other.example")), false),
        (identity(None, Some(ISSUER)), true),
        (identity(Some("alice@example.co"), None), false),
        (pattern(".*@example\\.com"), true),
        (pattern("alice"), false),
        // An e-mail address is one in whatever case it is written; who vouched for it is not an address.
        (identity(Some("ALICE@Example.com"), None), true),
        (identity(Some("ALICE@Example.com"), Some(ISSUER)), true),
        (identity(Some(NAME), Some(&ISSUER.to_uppercase())), false),
        (pattern("A.*@EXAMPLE\\.com"), true),
        (pattern("[^A]lice@.*"), true),
        (Target::Key(key), true),
        (Target::Key(hex_encode(&[7; 32])), false),
        (Target::Certificate(hex_encode(&sha256(leaf))), true),
        (Target::Certificate(hex_encode(&sha256(authority))), true),
        (Target::Certificate(hex_encode(&[7; 32])), false),
        (Target::Digest(HashAlgorithm::Sha256.digest(ARTIFACT).to_string()), true),
        (Target::Digest(HashAlgorithm::Sha256.digest(b"another").to_string()), false),
        (Target::Builder(exact("https://git.example/a")), false),
    ] {
        let found = judge(&world, &bundle, &list(vec![entry(1, target.clone())]));
        assert_eq!(found, expected.then_some(Reason::Revoked), "{target}");
    }
}

#[test]
fn a_refusal_says_what_since_when_by_whom_and_why() {
    let world = World::new();
    let report =
        judge_at(&world, &world.signed(), &alice().build(), &one(|r| r.since = Some(at(T))), T + 3600);
    let rejection = report.verified().unwrap_err();
    assert_eq!((rejection.check, report.exit_code()), (CheckName::Revocation, 2));
    for part in
        [NAME, "bob@example.com", "the laptop was stolen", "since 2023-11-14T22:13:20Z", "entry 1 of list 7"]
    {
        assert!(rejection.found.contains(part), "{part}: {}", rejection.found);
    }
    let without = world.judge(&world.signed(), &alice().build());
    let check = without.checks().last().unwrap();
    assert_eq!((check.name, check.outcome), (CheckName::Revocation, Outcome::NotApplicable));
}

#[test]
fn a_builder_is_known_by_the_provenance_it_signs() {
    let world = World::new();
    let provenance = |kind: &str, predicate: &str| {
        let payload = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":{},"predicateType":"{kind}","predicate":{predicate}}}"#,
            subject()
        );
        world.enveloped("application/vnd.in-toto+json", payload.as_bytes())
    };
    let revoked = list(vec![entry(1, Target::Builder(exact("https://b.example/1")))]);
    let v1 = r#"{"runDetails":{"builder":{"id":"https://b.example/1"}}}"#;
    let v02 = r#"{"builder":{"id":"https://b.example/1"}}"#;
    let both =
        r#"{"runDetails":{"builder":{"id":"https://b.example/2"}},"builder":{"id":"https://b.example/1"}}"#;
    let twice = r#"{"builder":{"id":"https://b.example/1"},"builder":{"id":"https://b.example/2"}}"#;
    for (kind, predicate, expected) in [
        ("https://slsa.dev/provenance/v1", v1, Some(Reason::Revoked)),
        ("https://slsa.dev/provenance/v0.2", v02, Some(Reason::Revoked)),
        ("https://in-toto.io/Provenance/v0.1", v02, Some(Reason::Revoked)),
        ("https://slsa.dev/provenance/v1", &v1.replace("/1\"", "/2\""), None),
        // Another builder in the form of another version hides none; which one counts is for whoever reads it to say.
        ("https://slsa.dev/provenance/v0.2", both, Some(Reason::Revoked)),
        ("https://slsa.dev/provenance/v1", both, Some(Reason::Revoked)),
        (
            "https://slsa.dev/provenance/v0.2",
            &both.replace("\"https://b.example/2\"", "2"),
            Some(Reason::Revoked),
        ),
        (
            "https://slsa.dev/provenance/v0.2",
            r#"[["https://b.example/1"],"https://b.example/type"]"#,
            Some(Reason::Revoked),
        ),
        ("https://slsa.dev/provenance/v0.2", twice, Some(Reason::StatementMalformed)),
        ("https://example.com/other", v1, None),
    ] {
        assert_eq!(judge(&world, &provenance(kind, predicate), &revoked), expected, "{kind} {predicate}");
    }
}

#[test]
fn since_spares_what_was_verifiably_signed_before_and_not_what_was_signed_in_that_second() {
    let world = World::new();
    let bundle = world.signed();
    assert_eq!(judge(&world, &bundle, &one(|r| r.since = Some(at(T + 1)))), None);
    assert_eq!(judge(&world, &bundle, &one(|r| r.since = Some(at(T)))), Some(Reason::Revoked));
    assert_eq!(judge(&world, &bundle, &one(|r| r.since = Some(at(T - 1)))), Some(Reason::Revoked));

    // A second timestamp, later: the certificate's time of use is not known to be the earlier one.
    let mut later = world.signed();
    later.verification_material.rfc3161_timestamps.push(world.tsa[1].stamp(later.content.signature(), T + 9));
    assert_eq!(judge(&world, &later, &one(|r| r.since = Some(at(T + 5)))), Some(Reason::Revoked));
    assert_eq!(judge(&world, &later, &one(|r| r.since = Some(at(T + 10)))), None);
}

#[test]
fn a_signature_that_nobody_dates_is_refused_whatever_since_says() {
    let world = World::new();
    let mut bundle = world.signed_by_key();
    bundle.verification_material.rfc3161_timestamps.clear();
    let who = Requirements::builder().key(world.signing.public_key().clone()).build();
    let key = Target::Key(hex_encode(&world.signing.public_key().fingerprint()));
    let mut revoked = entry(1, key);
    revoked.revoke.as_mut().unwrap().since = Some(at(T + 3000));
    let list = list(vec![revoked]);
    let report = judge_at(&world, &bundle, &who, &list, T + 3600);
    assert_eq!(reason(&report), Some(Reason::Revoked));
    assert!(report.verified().unwrap_err().found.contains("nobody says when"), "{:?}", report.verified());
    assert_eq!(reason(&judge_at(&world, &world.signed_by_key(), &who, &list, T + 3600)), None, "dated");

    // The time of verification stands in for the time of signing, and is nobody's word.
    let mut undated = world.signed();
    undated.verification_material.rfc3161_timestamps.clear();
    let lenient = alice().dangerous_now_as_time().build();
    let later = one(|r| r.since = Some(at(T + 3000)));
    assert_eq!(reason(&judge_at(&world, &undated, &lenient, &later, T + 200)), Some(Reason::Revoked));
}

#[test]
fn until_spares_what_a_later_certificate_signed() {
    let world = World::new();
    // The certificate is from T - 60 on.
    let bundle = world.signed();
    assert_eq!(judge(&world, &bundle, &one(|r| r.until = Some(at(T - 60)))), None);
    assert_eq!(judge(&world, &bundle, &one(|r| r.until = Some(at(T - 59)))), Some(Reason::Revoked));
    for target in [
        Target::Key(hex_encode(&[1; 32])),
        Target::Certificate(hex_encode(&[1; 32])),
        Target::Digest(HashAlgorithm::Sha256.digest(b"x").to_string()),
    ] {
        let mut entry = entry(1, target);
        entry.revoke.as_mut().unwrap().until = Some(at(T));
        assert!(list(vec![entry]).to_json().unwrap_err().to_string().contains("until"));
    }
}

#[test]
fn an_entry_ends_when_it_expires_and_when_it_is_withdrawn() {
    let world = World::new();
    let bundle = world.signed();
    let until = one(|r| r.expires = Some(at(T + 3600)));
    let judged = |now| reason(&judge_at(&world, &bundle, &alice().build(), &until, now));
    assert_eq!((judged(T + 3599), judged(T + 3600)), (Some(Reason::Revoked), None));

    let withdrawn = list(vec![entry(1, named(NAME)), undo(2, 1)]);
    assert_eq!(judge(&world, &bundle, &withdrawn), None);
    let again = list(vec![entry(1, named(NAME)), undo(2, 1), entry(3, named(NAME))]);
    assert_eq!(judge(&world, &bundle, &again), Some(Reason::Revoked));
}

#[test]
fn a_list_that_has_expired_is_a_refusal_of_its_own_and_never_silence() {
    let world = World::new();
    let empty = list(Vec::new());
    let judged = |now| reason(&judge_at(&world, &world.signed(), &alice().build(), &empty, now));
    assert_eq!(judged(T + 9_999), None);
    assert_eq!(judged(T + 10_000), Some(Reason::RevocationListExpired));
    assert_eq!(Reason::RevocationListExpired.exit_code(), 5);
}

#[test]
fn of_several_lists_each_is_obeyed() {
    let world = World::new();
    for lists in [[one(|_| {}), list(Vec::new())], [list(Vec::new()), one(|_| {})]] {
        let material = lists.iter().fold(world.material(), |m, list| m.with_revocations(ready(list)));
        let report = verify(
            &Subject::from_bytes(ARTIFACT),
            &world.signed(),
            &material,
            &alice().build(),
            at(T + 3600),
        );
        assert_eq!(reason(&report), Some(Reason::Revoked));
    }
}

#[test]
fn an_artifact_whose_digest_cannot_be_had_is_not_one_that_is_not_revoked() {
    let world = World::new();
    let revoked = list(vec![entry(1, Target::Digest(HashAlgorithm::Sha256.digest(b"x").to_string()))]);
    let material = world.material().with_revocations(ready(&revoked));
    let subject = Subject::from_digest(HashAlgorithm::Sha512.digest(ARTIFACT));
    let report = verify(&subject, &world.signed(), &material, &alice().build(), at(T + 3600));
    assert_eq!(report.checks().last().unwrap().reason, Some(Reason::DigestUnavailable));
}

fn p256() -> KeyPair {
    KeyPair::generate(KeyType::EcdsaP256).unwrap()
}

fn opened(bytes: &[u8], authority: &RevocationAuthority, material: &TrustMaterial) -> Result<(), OpenError> {
    open(bytes, authority, material, "test", at(T + 3600)).map(drop)
}

#[test]
fn only_a_list_signed_by_who_may_revoke_is_opened() {
    let (key, other) = (p256(), p256());
    let authority = RevocationAuthority::new(&[key.public_key().clone()], &[]).unwrap();
    let nobody = TrustMaterial::empty();
    let sealed = seal(&one(|_| {}), &key).unwrap();
    let read = open(&sealed, &authority, &nobody, "test", at(T)).unwrap();
    assert_eq!(*read.list(), one(|_| {}));

    let by_other = seal(&one(|_| {}), &other).unwrap();
    assert!(matches!(opened(&by_other, &authority, &nobody), Err(OpenError::Rejected(_))));
    let mut bundle = Bundle::from_json(&sealed).unwrap();
    let Content::Dsse(envelope) = &mut bundle.content else { panic!() };
    envelope.payload = list(Vec::new()).to_json().unwrap();
    let changed = bundle.to_json().unwrap();
    assert!(matches!(opened(&changed, &authority, &nobody), Err(OpenError::Rejected(_))));
    assert!(opened(b"{}", &authority, &nobody).is_err());
    assert!(opened(&vec![b' '; 1 << 20], &authority, &nobody).is_err());
    // The list itself, without a signature.
    assert!(opened(&one(|_| {}).to_json().unwrap(), &authority, &nobody).is_err());
    // Something else by the same key.
    let world = World::new();
    let signing = RevocationAuthority::new(&[world.signing.public_key().clone()], &[]).unwrap();
    let statement = world.attested(&subject()).to_json().unwrap();
    assert!(matches!(opened(&statement, &signing, &world.material()), Err(OpenError::Other(_))));
}

#[test]
fn a_list_may_be_signed_by_an_identity_as_every_signature_is() {
    let world = World::new();
    let payload = one(|_| {}).to_json().unwrap();
    let bundle = world.enveloped(PAYLOAD_TYPE, &payload);
    let json = bundle.to_json().unwrap();
    let of = |name: &str| RevocationAuthority::new(&[], &[(exact(name), exact(ISSUER))]).unwrap();
    opened(&json, &of(NAME), &world.material()).unwrap();
    assert!(opened(&json, &of("bob@example.com"), &world.material()).is_err());
    assert!(opened(&json, &of(NAME), &TrustMaterial::empty()).is_err());
    // Whom an older list names may still revoke: else whoever is named could never be replaced.
    let material = world.material().with_revocations(ready(&one(|_| {})));
    opened(&json, &of(NAME), &material).unwrap();
    let mut unlogged = bundle;
    unlogged.verification_material.tlog_entries.clear();
    assert!(opened(&unlogged.to_json().unwrap(), &of(NAME), &world.material()).is_err());
    // Beside a key that may revoke too, both sorts are known.
    let both =
        RevocationAuthority::new(&[p256().public_key().clone()], &[(exact(NAME), exact(ISSUER))]).unwrap();
    opened(&json, &both, &world.material()).unwrap();
}

#[test]
fn a_document_in_an_envelope_is_verified_only_when_it_is_asked_for() {
    let world = World::new();
    let bundle = world.enveloped("application/x-other", ARTIFACT);
    assert_eq!(reason(&world.judge(&bundle, &alice().build())), Some(Reason::PayloadType));
    let asked = alice().payload_type("application/x-other").unwrap().build();
    assert_eq!(reason(&world.judge(&bundle, &asked)), None);
    let another = alice().payload_type("application/x-another").unwrap().build();
    assert_eq!(reason(&world.judge(&bundle, &another)), Some(Reason::PayloadType));
    let elsewhere = world.enveloped("application/x-other", b"another document");
    assert_eq!(reason(&world.judge(&elsewhere, &asked)), Some(Reason::SubjectMismatch));
    assert_eq!(reason(&world.judge(&world.signed(), &asked)), Some(Reason::PredicateTypeMismatch));
}

#[test]
fn an_older_list_and_another_one_under_the_same_number_are_refused() {
    let of = |number: u64, entries| ready(&RevocationList { number, ..list(entries) });
    let memory = Memory::of(&of(7, Vec::new()));
    assert_eq!(Memory::parse(&memory.to_string()).unwrap(), memory);
    memory.check(&of(7, Vec::new())).unwrap();
    memory.check(&of(8, Vec::new())).unwrap();
    assert_eq!(memory.check(&of(6, Vec::new())), Err(MemoryError::Older { seen: 7, found: 6 }));
    let forked = memory.check(&of(7, vec![entry(1, named(NAME))]));
    assert_eq!(forked, Err(MemoryError::Forked(7)));
    for wrong in ["", "7", "x sha256:00", "7 sha256:00", "-1 sha256:"] {
        assert!(Memory::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_list_that_says_nothing_two_things_or_something_impossible_is_refused() {
    type Change = fn(&mut RevocationList);
    let changes: [(&str, Change); 12] = [
        ("number", |l| l.number = 0),
        ("expires", |l| l.expires = l.issued_at),
        ("place in the list", |l| l.entries[0].id = 2),
        ("reason", |l| l.entries[0].reason = " ".into()),
        ("by", |l| l.entries[0].by.clear()),
        ("either", |l| l.entries[0].undo = Some(1)),
        ("either", |l| l.entries[0].revoke = None),
        ("undo", |l| l.entries.push(undo(2, 2))),
        ("undo", |l| l.entries.extend([undo(2, 1), undo(3, 1)])),
        ("neither", |l| {
            l.entries[0].revoke.as_mut().unwrap().target = Target::Identity { name: None, issuer: None };
        }),
        ("regular expression", |l| {
            l.entries[0].revoke.as_mut().unwrap().target = Target::Builder(Text::Pattern("(".into()));
        }),
        ("after since", |l| {
            let revocation = l.entries[0].revoke.as_mut().unwrap();
            (revocation.since, revocation.until) = (Some(at(T)), Some(at(T)));
        }),
    ];
    one(|_| {}).to_json().unwrap();
    for (part, change) in changes {
        let mut wrong = one(|_| {});
        change(&mut wrong);
        let error = wrong.to_json().unwrap_err();
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let good = String::from_utf8(one(|_| {}).to_json().unwrap()).unwrap();
    let read = |text: String| RevocationList::from_json(text.as_bytes());
    read(good.clone()).unwrap();
    for (from, to) in [
        ("\"number\"", "\"numbre\""),
        ("\"number\":7,", "\"number\":7,\"more\":1,"),
        ("\"target\"", "\"since\":null,\"target\""),
        ("\"exact\"", "\"glob\""),
        ("\"identity\"", "\"person\""),
    ] {
        assert!(good.contains(from));
        assert!(matches!(read(good.replace(from, to)), Err(ListError::Json(_))), "{from} {to}");
    }
}

#[test]
fn a_list_grows_to_the_size_of_an_object_of_a_cluster_and_no_further() {
    let key = p256();
    let authority = RevocationAuthority::new(&[key.public_key().clone()], &[]).unwrap();
    let of = |count: u32| {
        let digest = |id: u32| HashAlgorithm::Sha256.digest(&id.to_be_bytes()).to_string();
        list((1..=count).map(|id| entry(id, Target::Digest(digest(id)))).collect())
    };
    let sealed = seal(&of(2900), &key).unwrap();
    let read = open(&sealed, &authority, &TrustMaterial::empty(), "test", at(T)).unwrap();
    assert_eq!(*read.list(), of(2900));
    let full = seal(&of(3000), &key).unwrap_err();
    assert!(matches!(full, OpenError::Full(size) if size > MAX_SIGNED_LIST), "{full}");
    assert!(full.to_string().contains("in the place of"), "{full}");
}

#[test]
fn who_may_revoke_is_somebody() {
    assert!(RevocationAuthority::new(&[], &[]).is_err());
    for wrong in [
        "{}",
        r#"{"keys":[]}"#,
        r#"{"keys":["x"]}"#,
        r#"{"keyz":[]}"#,
        r#"{"identities":[{"name":{"exact":"a"}}]}"#,
    ] {
        assert!(RevocationAuthority::from_json(wrong.as_bytes()).is_err(), "{wrong}");
    }
    let key = p256();
    let authority =
        RevocationAuthority::new(&[key.public_key().clone()], &[(exact("a"), exact("b"))]).unwrap();
    let again = RevocationAuthority::from_json(&authority.to_json().unwrap()).unwrap();
    assert_eq!((again.keys(), again.identities().len()), (authority.keys(), 1));
    let hint = seal(&list(Vec::new()), &key).unwrap();
    let bundle = Bundle::from_json(&hint).unwrap();
    assert!(matches!(bundle.verification_material.content, KeyMaterial::PublicKeyHint(_)));
    let _ = Identity::exact("a", "b").unwrap();
}

fn any_text() -> impl Strategy<Value = Text> {
    prop_oneof!["\\PC{1,20}".prop_map(Text::Exact), "[a-z.]{1,9}".prop_map(Text::Pattern)]
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        (any_text(), proptest::option::of(any_text()))
            .prop_map(|(name, issuer)| Target::Identity { name: Some(name), issuer }),
        any::<[u8; 32]>().prop_map(|print| Target::Key(hex_encode(&print))),
        any::<[u8; 32]>().prop_map(|print| Target::Certificate(hex_encode(&print))),
        any::<[u8; 4]>().prop_map(|bytes| Target::Digest(HashAlgorithm::Sha256.digest(&bytes).to_string())),
        any_text().prop_map(Target::Builder),
    ]
}

proptest! {
    #[test]
    fn a_list_that_is_written_is_read_as_it_was(
        targets in proptest::collection::vec((any_target(), proptest::option::of(0_i64..4_000_000_000), "\\PC{1,40}"), 0..12),
        number in 1_u64..,
        undone in any::<bool>(),
    ) {
        let mut entries: Vec<Entry> = Vec::new();
        for (target, since, text) in targets {
            let mut new = entry(u32::try_from(entries.len()).unwrap() + 1, target);
            new.reason = format!("because {text}");
            new.revoke.as_mut().unwrap().since = since.map(at);
            entries.push(new);
        }
        if undone && !entries.is_empty() {
            entries.push(undo(u32::try_from(entries.len()).unwrap() + 1, 1));
        }
        let list = RevocationList { number, ..list(entries) };
        let json = list.to_json().unwrap();
        prop_assert_eq!(&RevocationList::from_json(&json).unwrap(), &list);
    }

    #[test]
    fn junk_is_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(RevocationList::from_json(&bytes).is_err());
        prop_assert!(RevocationAuthority::from_json(&bytes).is_err());
    }
}
