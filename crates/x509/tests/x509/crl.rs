//! Revocation lists as openssl writes them: read, checked against their issuer, asked.

use countersign_x509::crl::{self, RevocationList, Revoked};
use countersign_x509::{Certificate, X509Error};

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
