//! Waiting for a home: from anywhere, and never for ever.

use std::time::Duration;

use countersign_crypto::{KeyType, Signer as _};

use super::{Reply, Server, is_unavailable};
use crate::KeyError;
use crate::service::wait;

const LONG: Duration = Duration::from_secs(20);

#[test]
fn what_takes_too_long_or_breaks_is_a_key_that_cannot_be_reached() {
    let never = wait("the vault", Duration::from_millis(50), std::future::pending::<Result<(), KeyError>>());
    let never = never.unwrap_err();
    assert!(is_unavailable(&never) && never.to_string().contains("the vault: no answer"), "{never}");
    let broken = wait("x", LONG, async { if true { panic!("a fault") } else { Ok(()) } });
    assert!(is_unavailable(&broken.unwrap_err()));
    assert_eq!(wait("x", LONG, async { Ok(7) }).unwrap(), 7, "the thread lives on");
}

#[test]
fn many_threads_wait_at_once() {
    let all: Vec<_> =
        (0..16).map(|n| std::thread::spawn(move || wait("x", LONG, async move { Ok(n) }).unwrap())).collect();
    let found: Vec<i32> = all.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(found, (0..16).collect::<Vec<i32>>());
}

/// As the services do it: opened, called and dropped inside a runtime, on a thread which may block.
#[tokio::test]
async fn a_signer_is_made_used_and_dropped_inside_async_code() {
    let key = countersign_crypto::KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let public = key.public_key().to_pem();
    let server = Server::start(move |_| Reply::text(200, &public));
    let url = url::Url::parse(&server.url("/k.pub")).unwrap();
    let context = crate::environment::Context::given(&[]);
    let asked = tokio::task::spawn_blocking(move || crate::web::public_key(&context, &url));
    assert_eq!(&asked.await.unwrap().unwrap(), key.public_key());
}
