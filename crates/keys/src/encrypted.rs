//! cosign's encrypted key file: PEM around JSON around a NaCl secretbox.
//!
//! The PEM body is a JSON object naming scrypt (RFC 7914) with its parameters and salt, the cipher
//! `nacl/secretbox` (XSalsa20-Poly1305) with its nonce, and the ciphertext of a PKCS#8 key. The format comes
//! from go-securesystemslib's `encrypted` package; only the parameter sets that package ever wrote are read,
//! so that a hostile file cannot ask for more than 128 MiB of memory.

use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use countersign_crypto::{encoding, random};
use countersign_http::text::printable;

use crate::KeyError;

/// The PEM label cosign writes now.
pub const LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// The PEM label cosign wrote before version 1.13; read, never written.
pub const LEGACY_LABEL: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// The largest file read, in bytes. An RSA 4096 key needs about 4 KiB.
pub const MAX_FILE: usize = 64 * 1024;

const KDF: &str = "scrypt";
const CIPHER: &str = "nacl/secretbox";
/// The cost that is written; 2^17 and 2^15 are read as well.
const COST: u32 = 65_536;
pub(crate) const SALT_LEN: usize = 32;
const NONCE_LEN: usize = 24;
/// Poly1305's tag: no ciphertext is shorter.
const TAG_LEN: usize = 16;

#[derive(Serialize, Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct Params {
    #[serde(rename = "N")]
    n: u32,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Encrypts a DER PKCS#8 key under a password, which may be empty. Gives the PEM text of a key file.
///
/// ```
/// use countersign_crypto::{KeyPair, KeyType};
/// use countersign_keys::encrypted::{decrypt, encrypt};
/// let pkcs8 = KeyPair::generate(KeyType::EcdsaP256)?.to_pkcs8()?;
/// let file = encrypt(&pkcs8, b"secret")?;
/// assert_eq!(decrypt(&file, b"secret")?, pkcs8);
/// assert!(decrypt(&file, b"other").is_err());
/// # Ok::<(), countersign_keys::KeyError>(())
/// ```
///
/// # Errors
/// [`KeyError::Crypto`] when the system has no randomness.
pub fn encrypt(pkcs8: &[u8], password: &[u8]) -> Result<String, KeyError> {
    let mut salt = [0; SALT_LEN];
    random(&mut salt)?;
    encrypt_with(pkcs8, &salt, |salt, n| derive(password, salt, n))
}

/// The same, with a salt and a derivation of the caller's. The nonce is new for each file, so files under one salt
/// share a key and no keystream.
pub(crate) fn encrypt_with(
    pkcs8: &[u8],
    salt: &[u8; SALT_LEN],
    derive: impl FnOnce(&[u8], u32) -> Result<DerivedKey, KeyError>,
) -> Result<String, KeyError> {
    let mut nonce = [0; NONCE_LEN];
    random(&mut nonce)?;
    let key = derive(salt, COST)?;
    let ciphertext = XSalsa20Poly1305::new(key.as_slice().into())
        .encrypt(Nonce::from_slice(&nonce), pkcs8)
        .map_err(|_| KeyError::Malformed("the key is too large to encrypt".into()))?;
    let sealed = Sealed {
        kdf: Kdf {
            name: KDF.into(),
            params: Params { n: COST, r: 8, p: 1 },
            salt: encoding::base64_encode(salt),
        },
        cipher: Cipher { name: CIPHER.into(), nonce: encoding::base64_encode(&nonce) },
        ciphertext: encoding::base64_encode(&ciphertext),
    };
    let json = serde_json::to_vec(&sealed).map_err(|e| KeyError::Malformed(e.to_string()))?;
    Ok(encoding::pem_encode(LABEL, &json))
}

/// Decrypts a key file and gives the DER PKCS#8 key in it.
///
/// # Errors
/// [`KeyError::Malformed`] for anything but a file of this form, found before the costly key derivation runs;
/// [`KeyError::WrongPassword`] when the box does not open.
pub fn decrypt(pem: &str, password: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if pem.len() > MAX_FILE {
        return Err(KeyError::TooLarge { what: "the key file".into(), limit: MAX_FILE });
    }
    match encoding::pem_decode(pem)?.as_slice() {
        [block] if block.label == LABEL || block.label == LEGACY_LABEL => {
            decrypt_with(&block.der, |salt, n| derive(password, salt, n))
        }
        [block] => Err(KeyError::Malformed(format!(
            "expected a PEM block \"{LABEL}\", found \"{}\"",
            printable(&block.label)
        ))),
        _ => Err(KeyError::Malformed("expected one PEM block, found several".into())),
    }
}

/// The same for the content of the PEM block, with a derivation of the caller's.
pub(crate) fn decrypt_with(
    json: &[u8],
    derive: impl FnOnce(&[u8], u32) -> Result<DerivedKey, KeyError>,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let sealed: Sealed =
        serde_json::from_slice(json).map_err(|e| KeyError::Malformed(format!("encrypted key: {e}")))?;
    let Params { n, r, p } = sealed.kdf.params;
    if sealed.kdf.name != KDF || !matches!(n, 32_768 | 65_536 | 131_072) || r != 8 || p != 1 {
        return Err(KeyError::Malformed(format!(
            "expected key derivation {KDF} with N 32768, 65536 or 131072, r 8, p 1; \
             found \"{}\" with N {n}, r {r}, p {p}",
            printable(&sealed.kdf.name)
        )));
    }
    if sealed.cipher.name != CIPHER {
        return Err(KeyError::Malformed(format!(
            "expected cipher {CIPHER}, found \"{}\"",
            printable(&sealed.cipher.name)
        )));
    }
    let salt = encoding::base64_decode(&sealed.kdf.salt)?;
    let nonce = encoding::base64_decode(&sealed.cipher.nonce)?;
    let ciphertext = encoding::base64_decode(&sealed.ciphertext)?;
    if salt.len() != SALT_LEN || nonce.len() != NONCE_LEN || ciphertext.len() < TAG_LEN {
        return Err(KeyError::Malformed(format!(
            "expected a salt of {SALT_LEN} bytes, a nonce of {NONCE_LEN} and a ciphertext of at least {TAG_LEN}; \
             found {}, {} and {}",
            salt.len(),
            nonce.len(),
            ciphertext.len()
        )));
    }
    let key = derive(&salt, n)?;
    XSalsa20Poly1305::new(key.as_slice().into())
        .decrypt(Nonce::from_slice(&nonce), ciphertext.as_slice())
        .map(Zeroizing::new)
        .map_err(|_| KeyError::WrongPassword)
}

/// What scrypt makes of a password: a key for the box.
pub(crate) type DerivedKey = Zeroizing<[u8; 32]>;

/// Derives the key of a box. Takes a tenth of a second and 64 MiB, on purpose.
pub(crate) fn derive(password: &[u8], salt: &[u8], n: u32) -> Result<DerivedKey, KeyError> {
    let failed = || KeyError::Malformed("scrypt refuses the parameters".into());
    // Only powers of two come here, so the logarithm is exact.
    let log_n = u8::try_from(n.ilog2()).map_err(|_| failed())?;
    let params = scrypt::Params::new(log_n, 8, 1).map_err(|_| failed())?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(password, salt, &params, key.as_mut_slice()).map_err(|_| failed())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_crypto::{KeyPair, KeyType};
    use proptest::prelude::*;

    /// Written by cosign, empty password, N 65536.
    const COSIGN_EMPTY: &str = include_str!("../tests/data/cosign_empty_password.key");
    /// Written by older tools, N 32768, password `123`.
    const LEGACY_EC: &str = include_str!("../tests/data/legacy_ecdsa.key");
    const LEGACY_ED25519: &str = include_str!("../tests/data/n32768_ed25519.key");

    fn with_json(edit: impl FnOnce(&mut serde_json::Value)) -> String {
        let block = encoding::pem_decode(COSIGN_EMPTY).unwrap().remove(0);
        let mut json: serde_json::Value = serde_json::from_slice(&block.der).unwrap();
        edit(&mut json);
        encoding::pem_encode(LABEL, json.to_string().as_bytes())
    }

    #[test]
    fn a_key_written_by_cosign_with_an_empty_password_opens() {
        let pkcs8 = decrypt(COSIGN_EMPTY, b"").unwrap();
        assert_eq!(KeyPair::from_pkcs8(&pkcs8).unwrap().public_key_type(), KeyType::EcdsaP256);
        assert!(matches!(decrypt(COSIGN_EMPTY, b"x"), Err(KeyError::WrongPassword)));
    }

    #[test]
    fn older_labels_and_costs_open() {
        for (file, key_type) in [(LEGACY_EC, KeyType::EcdsaP256), (LEGACY_ED25519, KeyType::Ed25519)] {
            let pkcs8 = decrypt(file, b"123").unwrap();
            assert_eq!(KeyPair::from_pkcs8(&pkcs8).unwrap().public_key_type(), key_type);
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_is_used_twice() {
        let pkcs8 = KeyPair::generate(KeyType::Ed25519).unwrap().to_pkcs8().unwrap();
        let first = encrypt(&pkcs8, b"").unwrap();
        let second = encrypt(&pkcs8, b"").unwrap();
        assert_ne!(first, second, "salt and nonce are fresh");
        assert!(first.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"));
        assert_eq!(decrypt(&first, b"").unwrap(), pkcs8);
    }

    /// A cost outside the list must be refused before scrypt runs: N 2^30 would need 1 TiB.
    #[test]
    fn hostile_parameters_are_refused_before_the_work() {
        for (pointer, value) in [
            ("/kdf/params/N", serde_json::json!(1_u32 << 30)),
            ("/kdf/params/N", serde_json::json!(0)),
            ("/kdf/params/N", serde_json::json!(65_535)),
            ("/kdf/params/N", serde_json::json!(16_384)),
            ("/kdf/params/N", serde_json::json!(-1)),
            ("/kdf/params/r", serde_json::json!(8_000)),
            ("/kdf/params/p", serde_json::json!(1_000_000)),
            ("/kdf/name", serde_json::json!("pbkdf2")),
            ("/kdf/salt", serde_json::json!("")),
            ("/kdf/salt", serde_json::json!("AAAA")),
            ("/cipher/name", serde_json::json!("none")),
            ("/cipher/nonce", serde_json::json!("AAAA")),
            ("/ciphertext", serde_json::json!("AAAA")),
            ("/ciphertext", serde_json::json!("!")),
            ("/kdf", serde_json::Value::Null),
        ] {
            let file = with_json(|json| *json.pointer_mut(pointer).unwrap() = value.clone());
            match decrypt(&file, b"") {
                Err(KeyError::Malformed(_) | KeyError::Crypto(_)) => {}
                other => panic!("{pointer} = {value}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_file_of_another_kind_is_named() {
        let pem = KeyPair::generate(KeyType::EcdsaP256).unwrap().to_public_pem();
        let error = decrypt(&pem, b"").unwrap_err().to_string();
        assert!(error.contains("PUBLIC KEY"), "{error}");
        assert!(matches!(decrypt(&" ".repeat(MAX_FILE + 1), b""), Err(KeyError::TooLarge { .. })));
    }

    trait Shorthand {
        fn public_key_type(&self) -> KeyType;
        fn to_public_pem(&self) -> String;
    }
    impl Shorthand for KeyPair {
        fn public_key_type(&self) -> KeyType {
            countersign_crypto::Signer::public_key(self).key_type()
        }
        fn to_public_pem(&self) -> String {
            countersign_crypto::Signer::public_key(self).to_pem()
        }
    }

    proptest! {
        /// Noise in the JSON never panics and never opens.
        #[test]
        fn noise_is_refused(json in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decrypt_with(&json, |salt, n| derive(b"", salt, n)).is_err());
        }
    }
}
