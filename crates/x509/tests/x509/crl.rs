//! Revocation lists, as openssl writes them and with any fault one likes: read, checked against their issuer, asked.

use countersign_crypto::{KeyPair, Signer as _};
use countersign_x509::crl::{self, RevocationList, Revoked};
use countersign_x509::{Certificate, Name, X509Error};

use crate::support::{Spec, key, tlv};

const ROOT: &str = include_str!("../../../notary/tests/data/notation-root.pem");
const LIST: &[u8] = include_bytes!("../../../../fuzz/seeds/x509_crl/openssl");
const PEM: &[u8] = include_bytes!("../../../../fuzz/seeds/x509_crl/pem");

#[test]
fn a_list_says_who_was_revoked_since_when_and_why() {
    let list = RevocationList::from_der(LIST).unwrap();
    let root = Certificate::from_pem(ROOT).unwrap();
    list.verify(&root).unwrap();
    let at = "2026-11-26T13:00:00Z".parse().unwrap();
    assert_eq!(list.entries_of(&[0x10, 0x00]), Ok(vec![Revoked { at, reason: 1, invalid_since: None }]));
    assert_eq!(list.entries_of(&[0x10, 0x01]), Ok(vec![]));
    assert!(list.next_update().is_some_and(|next| next > list.this_update()));
    assert!(!list.is_addition() && !list.has_addition());
    assert_eq!(list.covers(&root), Ok(true));
    for file in [PEM, LIST] {
        assert_eq!(crl::from_file(file).unwrap(), std::slice::from_ref(&list));
    }
}

#[test]
fn a_changed_list_and_one_of_another_authority_are_refused() {
    let root = Certificate::from_pem(ROOT).unwrap();
    let mut changed = LIST.to_vec();
    let place = changed.windows(2).position(|w| w == [0x10, 0x00]).unwrap();
    changed[place + 1] = 1;
    let list = RevocationList::from_der(&changed).unwrap();
    assert!(matches!(list.verify(&root), Err(X509Error::Crypto { .. })));
    let stranger = Certificate::chain_from_pem(include_str!("../data/tsa_chain.pem")).unwrap().pop().unwrap();
    assert!(matches!(
        RevocationList::from_der(LIST).unwrap().verify(&stranger),
        Err(X509Error::Malformed { .. })
    ));
}

#[test]
fn v26_loose_lists_are_refused() {
    assert!(RevocationList::from_der(&[LIST, &[0]].concat()).is_err(), "bytes behind the end");
    assert!(RevocationList::from_der(&LIST[..LIST.len() - 1]).is_err(), "cut off");
    assert!(RevocationList::from_der(&vec![0x30; crl::MAX_CRL_LEN + 1]).is_err(), "too long");
    assert!(crl::from_file(ROOT.as_bytes()).is_err(), "a certificate");
    assert!(crl::from_file(b"").is_err());
}

const NUMBER: &[u8] = &[0x55, 0x1d, 20];
const ADDS_TO: &[u8] = &[0x55, 0x1d, 27];
const SCOPE: &[u8] = &[0x55, 0x1d, 28];
const POINTS: &[u8] = &[0x55, 0x1d, 31];
const HERE: &[u8] = b"http://ca.example/here.crl";
const THERE: &[u8] = b"http://ca.example/there.crl";

fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    tlv(0x30, &[&tlv(0x06, &[oid]), critical, &tlv(0x04, &[value])])
}

/// A list of the authority "ca" with these entries and extensions.
fn list(signer: &KeyPair, entries: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let algorithm = signer.scheme().x509_algorithm().unwrap();
    let tbs = tlv(
        0x30,
        &[
            &[2, 1, 1],
            &algorithm,
            &Name::new(None, Some("ca")).der,
            &tlv(0x18, &[b"20260101000000Z"]),
            &tlv(0x18, &[b"20270101000000Z"]),
            entries,
            &tlv(0xa0, &[&tlv(0x30, &[&extensions.concat()])]),
        ],
    );
    tlv(0x30, &[&tbs, &algorithm, &tlv(0x03, &[&[0], &signer.sign(&tbs).unwrap()])])
}

fn read(der: &[u8]) -> RevocationList {
    RevocationList::from_der(der).unwrap()
}

/// `DistributionPointName` with the full name.
fn full_name(names: &[u8]) -> Vec<u8> {
    tlv(0xa0, &[&tlv(0xa0, &[names])])
}

fn address(text: &[u8]) -> Vec<u8> {
    tlv(0x86, &[text])
}

#[test]
fn a_list_covers_the_certificates_of_its_scope_and_no_others() {
    let ca_key = key();
    let points = tlv(0x30, &[&tlv(0x30, &[&full_name(&address(HERE))])]);
    let leaf = Spec::leaf("leaf").with(|s| s.more.push((POINTS.into(), false, points)));
    let leaf = leaf.issue(&key(), "ca", &ca_key);
    let authority = Spec::ca("sub").issue(&key(), "ca", &ca_key);
    assert_eq!(crl::distribution_points(&leaf).unwrap().unwrap(), [String::from_utf8_lossy(HERE)]);

    let directory = tlv(0xa4, &[&Name::new(None, Some("part 7")).der]);
    let relative = tlv(0xa0, &[&tlv(0xa1, &[])]);
    for (what, scope, covers_leaf, covers_authority) in [
        ("nothing said", vec![], true, true),
        ("its place", full_name(&address(HERE)), true, false),
        ("its place among others", full_name(&[address(THERE), address(HERE)].concat()), true, false),
        ("another place", full_name(&address(THERE)), false, false),
        ("a place by a directory's name", full_name(&directory), false, false),
        ("a place by a relative name", relative, false, false),
        ("users only", vec![0x81, 1, 0xff], true, false),
        ("authorities only", vec![0x82, 1, 0xff], false, true),
        ("some reasons only", vec![0x83, 2, 1, 0x06], false, false),
        ("of other issuers too", vec![0x84, 1, 0xff], false, false),
        ("attribute certificates only", vec![0x85, 1, 0xff], false, false),
    ] {
        let list = read(&list(&ca_key, &[], &[extension(SCOPE, true, &tlv(0x30, &[&scope]))]));
        assert_eq!(list.covers(&leaf), Ok(covers_leaf), "{what}");
        assert_eq!(list.covers(&authority), Ok(covers_authority), "{what}");
    }
    for bad in [
        full_name(&address(b"")),
        full_name(&address(&[0xff])),
        tlv(0xa0, &[]),
        vec![0x86, 1, 0xff],
        vec![0x84, 1, 1],
        vec![0x84, 0],
    ] {
        let scope = extension(SCOPE, true, &tlv(0x30, &[&bad]));
        assert!(RevocationList::from_der(&list(&ca_key, &[], &[scope])).is_err(), "{bad:02x?}");
    }
}

#[test]
fn only_an_authority_that_may_sign_lists_signs_them_and_nothing_critical_is_passed_over() {
    let ca_key = key();
    let ca = |usage: Option<u8>| Spec::ca("ca").with(|s| s.usage = usage).issue(&ca_key, "ca", &ca_key);
    let good = read(&list(&ca_key, &[], &[]));
    assert_eq!(good.verify(&ca(Some(0x02))), Ok(()));
    assert_eq!(good.verify(&ca(None)), Ok(()));
    assert!(matches!(good.verify(&ca(Some(0x04))), Err(X509Error::Malformed { .. })), "keyCertSign only");
    let forged = read(&list(&key(), &[], &[]));
    assert!(matches!(forged.verify(&ca(Some(0x02))), Err(X509Error::Crypto { .. })));
    for (critical, is_ok) in [(false, true), (true, false)] {
        let list = read(&list(&ca_key, &[], &[extension(&[0x2a, 3], critical, &[5, 0])]));
        assert_eq!(list.verify(&ca(Some(0x02))).is_ok(), is_ok);
    }
}

#[test]
fn an_addition_belongs_to_the_lists_which_it_reaches_back_to() {
    let ca_key = key();
    let number = |n: u8| extension(NUMBER, false, &[2, 1, n]);
    let reach = |n: u8| extension(ADDS_TO, true, &[2, 1, n]);
    let base = read(&list(&ca_key, &[], &[number(5)]));
    assert!(!base.is_addition());
    for (what, extensions, adds) in [
        ("reaches back to it", vec![number(7), reach(5)], true),
        ("reaches back further", vec![number(7), reach(3)], true),
        ("reaches back not far enough", vec![number(7), reach(6)], false),
        ("is not newer", vec![number(5), reach(5)], false),
        ("has no number", vec![reach(5)], false),
        (
            "is about other certificates",
            { vec![number(7), reach(5), extension(SCOPE, true, &[0x30, 3, 0x81, 1, 0xff])] },
            false,
        ),
    ] {
        let addition = read(&list(&ca_key, &[], &extensions));
        assert!(addition.is_addition());
        assert_eq!(addition.adds_to(&base), adds, "{what}");
        assert!(!base.adds_to(&addition));
    }
}

#[test]
fn an_entry_with_something_critical_and_unknown_is_an_error_and_no_silence() {
    let ca_key = key();
    let time = tlv(0x18, &[b"20260101000000Z"]);
    let entry = |serial: u8, extensions: &[u8]| tlv(0x30, &[&[2, 1, serial], &time, extensions]);
    let with = |oid: &[u8], critical, value: &[u8]| tlv(0x30, &[&extension(oid, critical, value)]);
    let entries = [
        entry(1, &with(&[0x55, 0x1d, 21], false, &[0x0a, 1, 6])),
        entry(1, &with(&[0x55, 0x1d, 21], false, &[0x0a, 1, 8])),
        entry(2, &with(&[0x55, 0x1d, 24], false, &tlv(0x18, &[b"20250101000000Z"]))),
        entry(3, &with(&[0x2a, 3], true, &[5, 0])),
        entry(4, &with(&[0x2a, 3], false, &[5, 0])),
    ];
    let list = read(&list(&ca_key, &tlv(0x30, &[&entries.concat()]), &[]));
    let reasons = |serial: u8| list.entries_of(&[serial]).map(|all| all.iter().map(|e| e.reason).collect());
    assert_eq!(reasons(1), Ok(vec![Revoked::HOLD, Revoked::REMOVED]));
    let since = "2025-01-01T00:00:00Z".parse().ok();
    assert_eq!(list.entries_of(&[2]).unwrap()[0].invalid_since, since);
    assert!(matches!(reasons(3), Err(X509Error::Unsupported { .. })));
    assert_eq!(reasons(4), Ok(vec![0]));
    assert_eq!(reasons(5), Ok(vec![]));
}
