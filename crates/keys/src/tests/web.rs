//! Public keys on web servers.

use countersign_crypto::{KeyPair, KeyType, Signer as _};

use super::{Reply, Server, is_unavailable, no_password};
use crate::environment::Context;
use crate::load::{create, public_key, signer};
use crate::{KeyError, KeyRef};

fn ask(url: &str) -> Result<countersign_crypto::PublicKey, KeyError> {
    public_key(&Context::given(&[]), &KeyRef::parse(url).unwrap())
}

#[test]
fn a_public_key_is_fetched_and_a_private_one_never() {
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let pem = key.public_key().to_pem();
    let server = Server::start(move |_| Reply::text(200, &pem));
    assert_eq!(&ask(&server.url("/k.pub")).unwrap(), key.public_key());
    let (context, reference) = (Context::given(&[]), KeyRef::parse(&server.url("/k")).unwrap());
    let before = server.count();
    assert!(matches!(signer(&context, &reference, &no_password(), true), Err(KeyError::Unsupported { .. })));
    assert!(matches!(create(&context, &reference, None, &no_password()), Err(KeyError::Unsupported { .. })));
    assert_eq!(server.count(), before, "a private key is not even asked for");
}

#[test]
fn other_answers_are_refused() {
    let private = KeyPair::generate(KeyType::EcdsaP256).unwrap().to_pkcs8().unwrap();
    let private = countersign_crypto::encoding::pem_encode("PRIVATE KEY", &private);
    for (status, body) in
        [(404, String::new()), (200, "junk".into()), (200, private), (200, "x".repeat(1 << 20))]
    {
        let length = body.len();
        let server = Server::start(move |_| Reply::text(status, &body));
        assert!(ask(&server.url("/k.pub")).is_err(), "{status}, {length} bytes");
    }
    let other = Server::start(|_| Reply::text(200, ""));
    let elsewhere = other.url("/");
    let redirecting = Server::start(move |_| Reply::text(301, "").with("location", &elsewhere));
    assert!(ask(&redirecting.url("/k.pub")).unwrap_err().to_string().contains("redirect"));
    assert_eq!(other.count(), 0);
    assert!(is_unavailable(&ask("http://127.0.0.1:9/k.pub").unwrap_err()));
}
