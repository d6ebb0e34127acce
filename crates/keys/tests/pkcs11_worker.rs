//! What a worker may do wrong, played by a script: each is an error in good time, and nothing worse.
#![cfg(all(unix, feature = "pkcs11"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use countersign_crypto::CryptoError;
use countersign_keys::pkcs11::{Pkcs11Signer, Pkcs11Uri, list_tokens, set_worker_program};
use countersign_keys::{KeyError, PasswordSource};

/// A worker that does what a file beside it says.
fn script(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("worker");
    // Standard input is the socket, both ways.
    let text = r#"#!/bin/sh
hello() { printf '\000\000\000\030{"hello":{"protocol":1}}' >&0; }
case $(cat "$(dirname "$0")/mode") in
    dies) exit 1 ;;
    dies-later) hello; exit 1 ;;
    junk) printf 'Usage: program [OPTIONS] and much more of it\n' >&0; sleep 60 & wait ;;
    large) printf '\377\377\377\377' >&0; exec sleep 60 ;;
    other-version) printf '\000\000\000\030{"hello":{"protocol":9}}' >&0; exec sleep 60 ;;
    unasked) hello; hello; exec sleep 60 ;;
    silent) exec sleep 60 ;;
    hangs) hello; exec sleep 60 ;;
esac
"#;
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

#[test]
fn r21_whatever_a_worker_does_is_an_error_in_good_time() {
    let directory = tempfile::tempdir().unwrap();
    set_worker_program(script(directory.path()));
    let nobody = PasswordSource::FirstSet(Vec::new());
    for (mode, word) in [
        ("dies", "ended"),
        ("dies-later", "ended"),
        ("junk", "ended"),
        ("large", "ended"),
        ("other-version", "version"),
        ("unasked", "something else"),
        ("silent", "does not answer"),
        ("hangs", "does not answer"),
    ] {
        std::fs::write(directory.path().join("mode"), mode).unwrap();
        // Another token for each, so that none waits for the pause after the failure of the one before.
        let uri = Pkcs11Uri::parse(&format!("pkcs11:token={mode};object=k?module-path=/none.so")).unwrap();
        let started = Instant::now();
        let error = Pkcs11Signer::open(&uri, &nobody).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(10), "{mode}");
        let KeyError::Crypto(CryptoError::KeyUnavailable(message)) = error else { panic!("{mode}: {error}") };
        assert!(message.contains(word), "{mode}: {message}");
    }
    std::fs::write(directory.path().join("mode"), "dies-later").unwrap();
    assert!(matches!(list_tokens("/none.so"), Err(KeyError::Crypto(CryptoError::KeyUnavailable(_)))));
}
