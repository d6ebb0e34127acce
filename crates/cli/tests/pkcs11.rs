//! Keys on a token of SoftHSM2: every algorithm, and everything that goes wrong with tokens.
#![cfg(all(unix, feature = "pkcs11"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod softhsm;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use countersign_crypto::{CryptoError, HashAlgorithm, KeyType, Scheme, Signer as _};
use countersign_keys::pkcs11::{
    Pkcs11Signer, Pkcs11Uri, generate, list_keys, list_tokens, set_worker_program,
};
use countersign_keys::{KeyError, PasswordSource};

use softhsm::{PIN, SoftHsm, signal, until, workers};

/// The tokens of this process. One test at a time: they look for the workers of this process.
fn hsm() -> Option<(&'static SoftHsm, MutexGuard<'static, ()>)> {
    static HSM: OnceLock<Option<SoftHsm>> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let hsm = HSM.get_or_init(|| {
        let hsm = SoftHsm::find()?;
        std::fs::write(hsm.path("pin"), PIN).unwrap();
        // A worker gets the environment of the program; this one's is made here.
        let wrapper = hsm.path("worker");
        let text = format!(
            "#!/bin/sh\nSOFTHSM2_CONF='{}'\nexport SOFTHSM2_CONF\nexec '{}' \"$@\"\n",
            hsm.configuration().display(),
            env!("CARGO_BIN_EXE_countersign")
        );
        std::fs::write(&wrapper, text).unwrap();
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o700)).unwrap();
        set_worker_program(wrapper);
        Some(hsm)
    });
    Some((hsm.as_ref()?, turn))
}

fn uri(hsm: &SoftHsm, token: &str, object: &str) -> Pkcs11Uri {
    let (module, pin) = (hsm.module, hsm.path("pin"));
    let text =
        format!("pkcs11:token={token};object={object}?module-path={module}&pin-source={}", pin.display());
    Pkcs11Uri::parse(&text).unwrap()
}

fn nobody() -> PasswordSource {
    PasswordSource::FirstSet(Vec::new())
}

fn open(uri: &Pkcs11Uri) -> Result<Pkcs11Signer, KeyError> {
    Pkcs11Signer::open(uri, &nobody())
}

#[test]
fn keys_of_every_type_are_made_found_and_sign() {
    let Some((hsm, _turn)) = hsm() else { return };
    hsm.token("types");
    for (name, key_type, schemes) in [
        ("p256", KeyType::EcdsaP256, vec![Scheme::Ecdsa(HashAlgorithm::Sha256)]),
        ("p384", KeyType::EcdsaP384, vec![Scheme::Ecdsa(HashAlgorithm::Sha384)]),
        ("p521", KeyType::EcdsaP521, vec![Scheme::Ecdsa(HashAlgorithm::Sha512)]),
        ("ed25519", KeyType::Ed25519, vec![Scheme::Ed25519]),
        (
            "rsa",
            KeyType::Rsa { bits: 3072 },
            vec![
                Scheme::RsaPkcs1(HashAlgorithm::Sha256),
                Scheme::RsaPkcs1(HashAlgorithm::Sha512),
                Scheme::RsaPss(HashAlgorithm::Sha256),
                Scheme::RsaPss(HashAlgorithm::Sha384),
                Scheme::RsaPss(HashAlgorithm::Sha512),
            ],
        ),
    ] {
        let uri = uri(hsm, "types", name);
        assert!(matches!(open(&uri), Err(KeyError::NoSuchKey(_))), "{name}");
        let public = generate(&uri, key_type, &nobody()).unwrap();
        assert_eq!(public.key_type(), key_type);
        let error = generate(&uri, key_type, &nobody()).unwrap_err().to_string();
        assert!(error.contains("not replaced"), "{error}");
        for scheme in schemes {
            let signer = open(&uri).unwrap().with_scheme(scheme).unwrap();
            assert_eq!(signer.public_key(), &public);
            let signature = signer.sign(b"message").unwrap();
            public.verify(scheme, b"message", &signature).unwrap();
            match scheme.hash() {
                Some(hash) => {
                    let signature = signer.sign_digest(&hash.digest(b"message")).unwrap();
                    public.verify(scheme, b"message", &signature).unwrap();
                }
                None => assert!(signer.sign_digest(&HashAlgorithm::Sha512.digest(b"message")).is_err()),
            }
        }
    }
    let ed25519 = open(&uri(hsm, "types", "ed25519")).unwrap();
    ed25519.sign(&vec![7; 1 << 20]).unwrap();
    assert!(ed25519.clone().with_scheme(Scheme::Ed25519ph).is_err(), "tokens do not offer it");
    assert!(ed25519.with_scheme(Scheme::ECDSA_SHA256).is_err());

    let token = list_tokens(hsm.module).unwrap().into_iter().find(|token| token.label == "types").unwrap();
    let mut by_slot = uri(hsm, "types", "p256");
    by_slot.token.attributes.clear();
    by_slot.token.slot = Some(token.slot);
    open(&by_slot).unwrap();
    // Without the PIN's source in it, this process has no PIN.
    assert!(matches!(list_keys(hsm.module, token.slot, &nobody()), Err(KeyError::Pin(_))));
    let asked = PasswordSource::Prompt(std::sync::Arc::new(|_: &str| Ok(PIN.to_owned().into())));
    assert_eq!(list_keys(hsm.module, token.slot, &asked).unwrap().len(), 5);
}

#[test]
fn what_is_not_there_is_named() {
    let Some((hsm, _turn)) = hsm() else { return };
    hsm.token("twins");
    hsm.token("twins");
    std::fs::write(hsm.path("text.so"), "no library").unwrap();
    let with_module = |module: &str| {
        let mut uri = uri(hsm, "twins", "k");
        uri.module_path = Some(module.into());
        uri
    };
    for (uri, word) in [
        (with_module("/none/module.so"), "/none/module.so"),
        (with_module(&hsm.path("text.so").display().to_string()), "text.so"),
        // A library which is no PKCS #11 module: the program itself has no such entry, nor can it be loaded.
        (with_module(env!("CARGO_BIN_EXE_countersign")), "cannot be loaded"),
        (uri(hsm, "nobody", "k"), "the token is not there"),
        (uri(hsm, "twins", "k"), "2 tokens"),
    ] {
        let error = open(&uri).unwrap_err();
        assert!(matches!(error, KeyError::Crypto(CryptoError::KeyUnavailable(_))), "{error:?}");
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}

#[test]
fn r21_a_token_that_is_pulled_out_is_an_error_within_two_seconds_and_heals_within_five() {
    let Some((hsm, _turn)) = hsm() else { return };
    let token = hsm.token("pulled");
    let uri = uri(hsm, "pulled", "k");
    generate(&uri, KeyType::EcdsaP256, &nobody()).unwrap();
    let signer = open(&uri).unwrap();
    signer.sign(b"before").unwrap();

    hsm.pull(&token);
    let ((), away) = until(|| signer.sign(b"m").is_err().then_some(()));
    assert!(away < Duration::from_secs(2), "{away:?}");
    for _ in 0..5 {
        let started = Instant::now();
        assert!(matches!(signer.sign(b"m"), Err(CryptoError::KeyUnavailable(_))));
        assert!(started.elapsed() < Duration::from_secs(2));
    }
    hsm.put_back(&token);
    let (signature, healed) = until(|| signer.sign(b"after").ok());
    assert!(healed < Duration::from_secs(5), "{healed:?}");
    signer.public_key().verify(signer.scheme(), b"after", &signature).unwrap();
}

#[test]
fn r21_a_worker_that_hangs_or_is_killed_is_an_error_at_most_and_another_takes_its_place() {
    let Some((hsm, _turn)) = hsm() else { return };
    hsm.token("workers");
    let uri = uri(hsm, "workers", "k");
    generate(&uri, KeyType::EcdsaP256, &nobody()).unwrap();
    let signer = open(&uri).unwrap();
    let own = std::process::id();
    // Those of other tests end when their signers are gone.
    let one = || until(|| <[u32; 1]>::try_from(workers(own)).ok()).0[0];

    // Killed while idle: the next signature comes from another.
    let first = one();
    signal("-KILL", first);
    signer.sign(b"m").unwrap();
    let second = one();
    assert_ne!(first, second);

    // Hanging: an error in time, then another.
    signal("-STOP", second);
    let started = Instant::now();
    let error = signer.sign(b"m").unwrap_err();
    assert!(matches!(&error, CryptoError::KeyUnavailable(m) if m.contains("does not answer")), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let (_, healed) = until(|| signer.sign(b"m").ok());
    assert!(healed < Duration::from_secs(5), "{healed:?}");
    let third = one();
    assert_ne!(second, third, "the one that hung was ended");

    // Killed with a request inside: never a wrong answer.
    signal("-STOP", third);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| signer.sign(b"m"));
        signal("-KILL", third);
        match waiting.join().unwrap() {
            Ok(signature) => signer.public_key().verify(signer.scheme(), b"m", &signature).unwrap(),
            Err(error) => assert!(matches!(error, CryptoError::KeyUnavailable(_)), "{error}"),
        }
    });
    let (_, healed) = until(|| signer.sign(b"m").ok());
    assert!(healed < Duration::from_secs(5), "{healed:?}");

    drop(signer);
    until(|| workers(own).is_empty().then_some(()));
}

#[test]
fn many_threads_share_a_few_workers() {
    let Some((hsm, _turn)) = hsm() else { return };
    hsm.token("many");
    let uri = uri(hsm, "many", "k");
    generate(&uri, KeyType::EcdsaP256, &nobody()).unwrap();
    let signer = open(&uri).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..16_u8 {
            let signer = &signer;
            scope.spawn(move || (0..20).for_each(|i| drop(signer.sign(&[thread, i]).unwrap())));
        }
    });
    let running = workers(std::process::id()).len();
    assert!((1..=4).contains(&running), "{running}");
}

#[test]
fn r21_a_pin_that_was_refused_is_not_sent_again() {
    let Some((hsm, _turn)) = hsm() else { return };
    hsm.token("pins");
    let mut uri = uri(hsm, "pins", "k");
    generate(&uri, KeyType::EcdsaP256, &nobody()).unwrap();
    std::fs::write(hsm.path("wrong"), "111111").unwrap();
    uri.pin_source = Some(hsm.path("wrong"));
    let refused = |error: KeyError| {
        assert!(matches!(&error, KeyError::Pin(m) if m.contains("refuses the PIN")), "{error:?}");
        assert!(!format!("{error:?}").contains("111111"), "{error:?}");
    };
    refused(open(&uri).unwrap_err());
    // The token takes this PIN from now on; who asks it again would notice.
    let changed = Command::new("pkcs11-tool")
        .args(["--module", hsm.module, "--token-label", "pins", "--login", "--pin", PIN])
        .args(["--change-pin", "--new-pin", "111111"])
        .env("SOFTHSM2_CONF", hsm.configuration())
        .output();
    match changed {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(_) => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "opensc is not installed");
            eprintln!("skipped: opensc is not installed");
            return;
        }
    }
    refused(open(&uri).unwrap_err());
    std::fs::write(hsm.path("wrong"), "").unwrap();
    assert!(matches!(open(&uri), Err(KeyError::Pin(_))), "an empty file holds no PIN");
}

#[test]
fn the_worker_is_nothing_for_people() {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .arg("pkcs11-worker")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("started by itself only"));
}
