//! Plugins: a program of a few lines which speaks the protocol, and what becomes of programs that do not.
#![cfg(unix)]

use std::path::PathBuf;
use std::time::Duration;

use countersign_crypto::encoding::base64_encode;
use countersign_crypto::{CryptoError, KeyPair, KeyType, Signer as _};

use super::{is_unavailable, no_password};
use crate::environment::Context;
use crate::load::{create, key_pair, public_key, signer};
use crate::plugin::Plugin;
use crate::service::Remote;
use crate::{KeyError, KeyRef};

/// A plugin in a folder of its own, named by its path: tests run side by side and share one PATH.
fn remote(dir: &tempfile::TempDir, script: &str, patience: Duration) -> Remote {
    Remote::new(Plugin::at(&program(dir, script), "key-1"), "test://key-1".into(), patience)
}

fn program(dir: &tempfile::TempDir, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = dir.path().join("sigstore-kms-test");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

const LONG: Duration = Duration::from_secs(20);

/// Answers `publicKey` and `createKey` with this key, and `signMessage` with what `sign` prints.
fn speaking(key: &KeyPair, sign: &str) -> String {
    let pem = base64_encode(key.public_key().to_pem().as_bytes());
    format!(
        "[ \"$1\" = v1 ] || exit 1\n\
         case \"$2\" in *'\"keyResourceID\":\"key-1\"'*) ;; *) exit 1 ;; esac\n\
         case \"$2\" in\n\
         *'\"methodName\":\"publicKey\"'*) echo '{{\"publicKey\":{{\"publicKeyPEM\":\"{pem}\"}}}}' ;;\n\
         *'\"methodName\":\"defaultAlgorithm\"'*) echo '{{\"defaultAlgorithm\":{{\"defaultAlgorithm\":\"own\"}}}}' ;;\n\
         *'\"algorithm\":\"own\"'*) echo '{{\"createKey\":{{\"publicKeyPEM\":\"{pem}\"}}}}' ;;\n\
         *'\"methodName\":\"signMessage\"'*) {sign} ;;\n\
         esac\nexit 3"
    )
}

#[test]
fn a_plugin_signs_by_the_protocol_whatever_its_exit_code() {
    let (dir, key) = (tempfile::tempdir().unwrap(), KeyPair::generate(KeyType::EcdsaP384).unwrap());
    let signature = base64_encode(&key.sign(b"message").unwrap());
    let digest = base64_encode(countersign_crypto::HashAlgorithm::Sha384.digest(b"message").as_bytes());
    let sign = format!(
        "case \"$2\" in *'\"digest\":\"{digest}\"'*'\"hashFunc\":6'*) \
         echo '{{\"signMessage\":{{\"signature\":\"{signature}\"}}}}' ;; \
         *) echo '{{\"errorMessage\":\"another digest\"}}' ;; esac"
    );
    let remote = remote(&dir, &speaking(&key, &sign), LONG);
    assert_eq!(&remote.public_key().unwrap(), key.public_key());
    let signer = remote.signer(true).unwrap();
    assert_eq!(
        key.public_key().verify(signer.scheme(), b"message", &signer.sign(b"message").unwrap()),
        Ok(())
    );
    let error = signer.sign(b"other").unwrap_err().to_string();
    assert!(error.contains("another digest"), "{error}");
    let made = crate::plugin::create(Plugin::at(&program(&dir, &speaking(&key, "")), "key-1"), LONG).unwrap();
    assert_eq!(&made, key.public_key());
}

#[test]
fn an_ed25519_plugin_gets_the_message_on_standard_input() {
    let (dir, key) = (tempfile::tempdir().unwrap(), KeyPair::generate(KeyType::Ed25519).unwrap());
    let signature = base64_encode(&key.sign(b"message").unwrap());
    let sign =
        format!("[ \"$(cat)\" = message ] && echo '{{\"signMessage\":{{\"signature\":\"{signature}\"}}}}'");
    let signer = remote(&dir, &speaking(&key, &sign), LONG).signer(false).unwrap();
    signer.sign(b"message").unwrap();
    assert!(matches!(signer.sign(b"other"), Err(CryptoError::KeyUnavailable(_))), "it said nothing");
}

#[test]
fn what_a_plugin_says_is_not_believed_without_a_signature_that_verifies() {
    let (dir, key) = (tempfile::tempdir().unwrap(), KeyPair::generate(KeyType::EcdsaP256).unwrap());
    for answer in [
        r#"{"signMessage":{"signature":"AAAA"}}"#,
        r#"{"signMessage":{}}"#,
        r#"{}"#,
        r#"{"signMessage":{"signature":"AAAA"}} and more"#,
        r#"{"errorMessage":"no"}"#,
    ] {
        let signer = remote(&dir, &speaking(&key, &format!("echo '{answer}'")), LONG).signer(true).unwrap();
        assert!(matches!(signer.sign(b"m"), Err(CryptoError::Signing(_))), "{answer}");
    }
}

#[test]
fn a_plugin_that_hangs_crashes_floods_or_is_not_there() {
    let (dir, key) = (tempfile::tempdir().unwrap(), KeyPair::generate(KeyType::EcdsaP256).unwrap());
    // Killed after its time; `exec` so that it is the program itself which hangs.
    let hanging =
        remote(&dir, &speaking(&key, "exec sleep 600"), Duration::from_secs(2)).signer(true).unwrap();
    assert!(matches!(hanging.sign(b"m"), Err(CryptoError::KeyUnavailable(_))));
    let crashing = remote(&dir, &speaking(&key, "kill -9 $$"), LONG).signer(true).unwrap();
    assert!(matches!(crashing.sign(b"m"), Err(CryptoError::KeyUnavailable(_))));
    let flooding = remote(&dir, "yes", LONG).public_key().unwrap_err();
    assert!(flooding.to_string().contains("longer than") && !is_unavailable(&flooding), "{flooding}");
    let context = Context::given(&[]);
    let reference = KeyRef::parse("no-such-plugin://x").unwrap();
    let error = public_key(&context, &reference).unwrap_err().to_string();
    assert!(error.contains("sigstore-kms-no-such-plugin"), "{error}");
    assert!(signer(&context, &reference, &no_password(), true).is_err());
    assert!(matches!(key_pair(&context, &reference, &no_password()), Err(KeyError::Unsupported { .. })));
    let error = create(&context, &reference, Some(KeyType::Ed25519), &no_password()).unwrap_err();
    assert!(error.to_string().contains("chooses the algorithm itself"), "{error}");
}
