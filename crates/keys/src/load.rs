//! From a reference to a key that signs, and from nothing to a new pair of key files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_crypto::{KeyPair, KeyType, PublicKey, Scheme, Signer, encoding};
use countersign_http::text::printable;
use zeroize::Zeroizing;

use crate::aws_kms::AwsKms;
use crate::azure_kms::AzureKms;
use crate::encrypted::{self, MAX_FILE};
use crate::environment::Context;
use crate::gcp_kms::GcpKms;
use crate::github::Secrets;
use crate::gitlab::Variables;
use crate::hashivault::HashiVault;
use crate::kubernetes::Secret;
#[cfg(all(unix, feature = "pkcs11"))]
use crate::pkcs11::Pkcs11Signer;
use crate::plugin::{self, Plugin};
use crate::secret_store::NewPair;
use crate::service::Remote;
use crate::{KeyError, KeyRef, PasswordSource, file, web};

/// Loads a private key as something that signs. The password is asked for only if the key is encrypted.
///
/// # Errors
/// [`KeyError`], naming the file, the variable or the form that was expected, or what the key's home says.
pub fn load_signer(reference: &KeyRef, password: &PasswordSource) -> Result<Arc<dyn Signer>, KeyError> {
    signer(&Context::process(), reference, password, false)
}

/// As [`load_signer`], for artifacts, which may be too large for memory: an Ed25519 key then signs their digest
/// (Ed25519ph), as cosign's do.
///
/// # Errors
/// As [`load_signer`].
pub fn load_artifact_signer(
    reference: &KeyRef,
    password: &PasswordSource,
) -> Result<Arc<dyn Signer>, KeyError> {
    signer(&Context::process(), reference, password, true)
}

pub(crate) fn signer(
    context: &Context,
    reference: &KeyRef,
    password: &PasswordSource,
    for_artifacts: bool,
) -> Result<Arc<dyn Signer>, KeyError> {
    #[cfg(all(unix, feature = "pkcs11"))]
    if let KeyRef::Pkcs11(uri) = reference {
        let key = Pkcs11Signer::open(uri, password)?;
        let prehash = for_artifacts && key.scheme() == Scheme::Ed25519;
        return Ok(Arc::new(if prehash { key.with_scheme(Scheme::Ed25519ph)? } else { key }));
    }
    if let Some(remote) = remote(context, reference)? {
        return remote.signer(for_artifacts);
    }
    let key = key_pair(context, reference, password)?;
    let prehash = for_artifacts && key.scheme() == Scheme::Ed25519;
    Ok(Arc::new(if prehash { key.with_scheme(Scheme::Ed25519ph)? } else { key }))
}

/// The key behind a reference, if its home signs with it and keeps it.
fn remote(context: &Context, reference: &KeyRef) -> Result<Option<Remote>, KeyError> {
    let (name, patience) = (reference.to_string(), context.patience);
    Ok(Some(match reference {
        KeyRef::AwsKms { endpoint, key } => {
            Remote::new(AwsKms::open(context, endpoint.as_deref(), key)?, name, patience)
        }
        KeyRef::GcpKms { .. } => match GcpKms::open(context, reference)? {
            Some(service) => Remote::new(service, name, patience),
            None => return Ok(None),
        },
        KeyRef::AzureKms { vault, key, version } => {
            Remote::new(AzureKms::open(context, vault, key, version.as_deref())?, name, patience)
        }
        KeyRef::HashiVault { key } => Remote::new(HashiVault::open(context, key)?, name, patience),
        KeyRef::Plugin { scheme, resource } => Remote::new(Plugin::open(scheme, resource), name, patience),
        _ => return Ok(None),
    }))
}

/// Loads a private key into memory, for uses which need the key itself (a change of scheme, an export).
///
/// # Errors
/// As [`load_signer`], and [`KeyError::Unsupported`] for a home that gives no private key away.
pub fn load_key_pair(reference: &KeyRef, password: &PasswordSource) -> Result<KeyPair, KeyError> {
    key_pair(&Context::process(), reference, password)
}

pub(crate) fn key_pair(
    context: &Context,
    reference: &KeyRef,
    password: &PasswordSource,
) -> Result<KeyPair, KeyError> {
    let name = reference.to_string();
    let stored = match reference {
        KeyRef::File(path) => {
            return key_pair_from_pem(&file::read_private(path, MAX_FILE)?, &name, password);
        }
        KeyRef::Env(variable_name) => {
            return key_pair_from_pem(&variable(context, variable_name)?, &name, password);
        }
        KeyRef::Kubernetes { namespace, secret } => Secret::open(context, namespace, secret)?.private()?,
        KeyRef::GitLab { project } => Variables::open(context, project)?.private()?,
        other => return Err(unsupported(other, no_private_key(other))),
    };
    let beside = stored.password.map(|bytes| PasswordSource::from_bytes(&bytes)).transpose()?;
    key_pair_from_pem(&stored.private, &name, beside.as_ref().unwrap_or(password))
}

fn no_private_key(reference: &KeyRef) -> &'static str {
    match reference {
        KeyRef::Https(_) => {
            "is on a web server, where only public keys are; private keys are not fetched from the network"
        }
        KeyRef::GitHub { .. } => {
            "is in GitHub's secrets, which nobody can read back; in a workflow, pass the secret in a variable and use \
             env://COSIGN_PRIVATE_KEY"
        }
        #[cfg(all(unix, feature = "pkcs11"))]
        KeyRef::Pkcs11(_) => "is in a hardware module, which signs with it and does not give it away",
        #[cfg(not(all(unix, feature = "pkcs11")))]
        KeyRef::Pkcs11(_) => "is in a hardware module, which this build does not reach",
        _ => "is kept by a service which signs with it and does not give it away",
    }
}

fn unsupported(reference: &KeyRef, detail: &'static str) -> KeyError {
    KeyError::Unsupported { reference: reference.to_string(), detail }
}

/// Loads a public key: a PEM block `PUBLIC KEY`, or what the key's home says it is.
///
/// # Errors
/// [`KeyError`], naming the file, the variable or the form that was expected, or what the key's home says.
pub fn load_public_key(reference: &KeyRef) -> Result<PublicKey, KeyError> {
    public_key(&Context::process(), reference)
}

pub(crate) fn public_key(context: &Context, reference: &KeyRef) -> Result<PublicKey, KeyError> {
    if let Some(remote) = remote(context, reference)? {
        return remote.public_key();
    }
    let text = match reference {
        KeyRef::File(path) => file::read_public(path, MAX_FILE)?,
        KeyRef::Env(name) => variable(context, name)?,
        KeyRef::Https(url) => return web::public_key(context, url),
        #[cfg(all(unix, feature = "pkcs11"))]
        KeyRef::Pkcs11(uri) => {
            let nobody = PasswordSource::FirstSet(Vec::new());
            return Ok(Pkcs11Signer::open(uri, &nobody)?.public_key().clone());
        }
        KeyRef::Kubernetes { namespace, secret } => {
            Zeroizing::new(Secret::open(context, namespace, secret)?.public()?)
        }
        KeyRef::GitLab { project } => Zeroizing::new(Variables::open(context, project)?.public()?),
        other => return Err(unsupported(other, no_private_key(other))),
    };
    Ok(PublicKey::from_pem(&text)?)
}

/// What [`create_key`] found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The public key.
    pub public: PublicKey,
    /// Whether it is new; a service's key which was there already is not made again.
    pub is_new: bool,
}

/// Makes a key in a home of its own: a key service, a plugin, or a store of secrets, where the password is kept
/// beside the key as cosign does. Without a type it is ECDSA P-256, or what a plugin takes itself.
///
/// # Errors
/// [`KeyError`], and [`KeyError::Unsupported`] for a home that makes no keys. Secrets which are there are left alone.
pub fn create_key(
    reference: &KeyRef,
    key_type: Option<KeyType>,
    password: &PasswordSource,
) -> Result<Created, KeyError> {
    create(&Context::process(), reference, key_type, password)
}

pub(crate) fn create(
    context: &Context,
    reference: &KeyRef,
    key_type: Option<KeyType>,
    password: &PasswordSource,
) -> Result<Created, KeyError> {
    if let KeyRef::Plugin { scheme, resource } = reference {
        if key_type.is_some() {
            return Err(unsupported(reference, "is made by a plugin, which chooses the algorithm itself"));
        }
        let public = plugin::create(Plugin::open(scheme, resource), context.patience)?;
        return Ok(Created { public, is_new: true });
    }
    if let Some(remote) = remote(context, reference)? {
        let (public, is_new) = remote.create(key_type)?;
        return Ok(Created { public, is_new });
    }
    #[cfg(all(unix, feature = "pkcs11"))]
    if let KeyRef::Pkcs11(uri) = reference {
        let (public, is_new) = crate::pkcs11::find_or_generate(uri, key_type, password)?;
        return Ok(Created { public, is_new });
    }
    let make = || NewPair::make(key_type.unwrap_or(KeyType::EcdsaP256), password, &reference.to_string());
    let pair = match reference {
        KeyRef::Kubernetes { namespace, secret } => {
            Secret::open(context, namespace, secret)?.store(make()?)?
        }
        KeyRef::GitLab { project } => Variables::open(context, project)?.store(make()?)?,
        KeyRef::GitHub { owner, repository } => {
            Secrets::open(context, owner, repository.as_deref())?.store(make()?)?
        }
        other => return Err(unsupported(other, "is in a home where no key is made")),
    };
    Ok(Created { public: pair.public, is_new: true })
}

/// Encrypts a key file anew under another password, in its place. After a crash the file has the one password or
/// the other.
///
/// # Errors
/// As [`load_signer`] for a file; [`KeyError::Io`], [`KeyError::Password`].
pub fn change_password(path: &Path, old: &PasswordSource, new: &PasswordSource) -> Result<(), KeyError> {
    let name = path.display().to_string();
    // What a link leads to is the key's file: with the link replaced, the key would stay there under the old password.
    let place = path.canonicalize().map_err(KeyError::io("open", path))?;
    let pair = key_pair_from_pem(&file::read_private(&place, MAX_FILE)?, &name, old)?;
    let pem = new.encrypt(&name, &pair.to_pkcs8()?)?;
    file::replace(&place, pem.as_bytes(), file::PRIVATE)
}

fn variable(context: &Context, name: &str) -> Result<Zeroizing<String>, KeyError> {
    let text = context.environment.get(name).ok_or_else(|| KeyError::Variable(name.to_owned()))?;
    if text.len() > MAX_FILE {
        return Err(KeyError::TooLarge { what: format!("the variable {name}"), limit: MAX_FILE });
    }
    Ok(text)
}

/// Reads a private key from PEM: cosign's encrypted form, PKCS#8 (`PRIVATE KEY`), SEC 1 (`EC PRIVATE KEY`) or
/// PKCS#1 (`RSA PRIVATE KEY`). `name` says in the password prompt which key it is.
///
/// # Errors
/// [`KeyError::Malformed`] for another form, [`KeyError::WrongPassword`], [`KeyError::Password`],
/// [`KeyError::Crypto`] when the key in it is not usable.
pub fn key_pair_from_pem(text: &str, name: &str, password: &PasswordSource) -> Result<KeyPair, KeyError> {
    let mut blocks = encoding::pem_decode(text)?;
    // OpenSSL writes the curve's name before an EC key.
    blocks.retain(|block| block.label != "EC PARAMETERS");
    let mut blocks = blocks.into_iter();
    let (Some(block), None) = (blocks.next(), blocks.next()) else {
        return Err(KeyError::Malformed("expected exactly one private key in the file".into()));
    };
    let der = Zeroizing::new(block.der);
    match block.label.as_str() {
        encrypted::LABEL | encrypted::LEGACY_LABEL => {
            Ok(KeyPair::from_pkcs8(&password.decrypt(name, &der)?)?)
        }
        "PRIVATE KEY" => Ok(KeyPair::from_pkcs8(&der)?),
        "EC PRIVATE KEY" | "RSA PRIVATE KEY" => Ok(KeyPair::from_traditional_der(&der)?),
        "ENCRYPTED PRIVATE KEY" => Err(KeyError::Malformed(
            "this is PKCS#8 encrypted by OpenSSL; expected cosign's encrypted form: \
             `cosign import-key-pair` makes it from the decrypted key"
                .into(),
        )),
        "PUBLIC KEY" => Err(KeyError::Malformed("this is a public key; expected the private one".into())),
        other => Err(KeyError::Malformed(format!(
            "expected a PEM block \"{}\", \"PRIVATE KEY\", \"EC PRIVATE KEY\" or \"RSA PRIVATE KEY\", found \"{}\"",
            encrypted::LABEL,
            printable(other)
        ))),
    }
}

/// The two files of a new key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFiles {
    /// The encrypted private key, mode 0600.
    pub private: PathBuf,
    /// The public key.
    pub public: PathBuf,
}

/// Makes a key pair and writes `<prefix>.key` (encrypted) and `<prefix>.pub`. Neither may exist.
///
/// # Errors
/// [`KeyError::Exists`], [`KeyError::Io`], [`KeyError::Password`], [`KeyError::Crypto`].
pub fn create_key_pair(
    prefix: &Path,
    key_type: KeyType,
    password: &PasswordSource,
) -> Result<KeyFiles, KeyError> {
    let with_extension = |extension: &str| {
        let mut name = prefix.as_os_str().to_owned();
        name.push(extension);
        PathBuf::from(name)
    };
    let files = KeyFiles { private: with_extension(".key"), public: with_extension(".pub") };
    // Asked before the work and the password; write_new decides in the end.
    for path in [&files.private, &files.public] {
        if path.symlink_metadata().is_ok() {
            return Err(KeyError::Exists { path: path.clone() });
        }
    }
    let pair = KeyPair::generate(key_type)?;
    save_encrypted(&files.private, &pair, password)?;
    if let Err(error) = file::write_new(&files.public, pair.public_key().to_pem().as_bytes(), file::PUBLIC) {
        // A private key nobody knows the public half of is of no use; it is ours, made a moment ago.
        std::fs::remove_file(&files.private).map_err(KeyError::io("remove", &files.private))?;
        return Err(error);
    }
    Ok(files)
}

/// Writes a key in cosign's encrypted form to a new file, mode 0600.
///
/// # Errors
/// [`KeyError::Exists`], [`KeyError::Io`], [`KeyError::Password`], [`KeyError::Crypto`].
pub fn save_encrypted(path: &Path, key: &KeyPair, password: &PasswordSource) -> Result<(), KeyError> {
    let pem = password.encrypt(&path.display().to_string(), &key.to_pkcs8()?)?;
    file::write_new(path, pem.as_bytes(), file::PRIVATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> PasswordSource {
        PasswordSource::FirstSet(vec![])
    }

    #[test]
    fn a_new_pair_signs_and_verifies_through_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let password = PasswordSource::literal("pw");
        let files = create_key_pair(&dir.path().join("a.b"), KeyType::EcdsaP256, &password).unwrap();
        assert_eq!(files.private.file_name().unwrap(), "a.b.key");
        let signer = load_signer(&KeyRef::File(files.private.clone()), &password).unwrap();
        let public = load_public_key(&KeyRef::File(files.public)).unwrap();
        public.verify(signer.scheme(), b"m", &signer.sign(b"m").unwrap()).unwrap();
        let wrong = load_signer(&KeyRef::File(files.private), &PasswordSource::literal("other"));
        assert!(matches!(wrong, Err(KeyError::WrongPassword)));
    }

    #[test]
    fn a_key_under_another_password_is_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (PasswordSource::literal("old"), PasswordSource::literal(""));
        let files = create_key_pair(&dir.path().join("k"), KeyType::EcdsaP256, &old).unwrap();
        let reference = KeyRef::File(files.private.clone());
        let before = std::fs::read(&files.private).unwrap();
        assert!(matches!(change_password(&files.private, &new, &old), Err(KeyError::WrongPassword)));
        assert!(matches!(change_password(&files.private, &old, &none()), Err(KeyError::Password(_))));
        assert_eq!(std::fs::read(&files.private).unwrap(), before, "a failure leaves the file as it was");
        change_password(&files.private, &old, &new).unwrap();
        assert!(matches!(load_key_pair(&reference, &old), Err(KeyError::WrongPassword)));
        let key = load_key_pair(&reference, &new).unwrap();
        assert_eq!(key.public_key(), &load_public_key(&KeyRef::File(files.public)).unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn the_password_of_a_key_behind_a_link_changes_where_the_key_is() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (PasswordSource::literal("old"), PasswordSource::literal("new"));
        let files = create_key_pair(&dir.path().join("k"), KeyType::EcdsaP256, &old).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&files.private, &link).unwrap();
        change_password(&link, &old, &new).unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        let real = KeyRef::File(files.private);
        assert!(matches!(load_key_pair(&real, &old), Err(KeyError::WrongPassword)));
        load_key_pair(&real, &new).unwrap();
    }

    #[test]
    fn neither_file_of_a_pair_is_ever_overwritten() {
        for taken in ["k.key", "k.pub"] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(taken), "mine").unwrap();
            let result =
                create_key_pair(&dir.path().join("k"), KeyType::Ed25519, &PasswordSource::literal(""));
            assert!(matches!(result, Err(KeyError::Exists { .. })));
            assert_eq!(std::fs::read(dir.path().join(taken)).unwrap(), b"mine");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn plain_forms_load_without_a_password() {
        let pair = KeyPair::generate(KeyType::EcdsaP384).unwrap();
        let pem = encoding::pem_encode("PRIVATE KEY", &pair.to_pkcs8().unwrap());
        assert_eq!(key_pair_from_pem(&pem, "k", &none()).unwrap().public_key(), pair.public_key());
        for (file, key_type) in [
            (include_str!("../tests/data/sec1_p256.pem"), KeyType::EcdsaP256),
            (include_str!("../tests/data/pkcs1_rsa3072.pem"), KeyType::Rsa { bits: 3072 }),
        ] {
            assert_eq!(key_pair_from_pem(file, "k", &none()).unwrap().public_key().key_type(), key_type);
        }
    }

    #[test]
    fn an_encrypted_key_without_a_password_says_where_one_is_looked_for() {
        let file = include_str!("../tests/data/cosign_empty_password.key");
        let error = key_pair_from_pem(file, "k", &none()).unwrap_err().to_string();
        assert!(error.contains("COSIGN_PASSWORD"), "{error}");
    }

    #[test]
    fn other_pem_is_named() {
        let pair = KeyPair::generate(KeyType::Ed25519).unwrap();
        let private = encoding::pem_encode("PRIVATE KEY", &pair.to_pkcs8().unwrap());
        for (text, word) in [
            (pair.public_key().to_pem(), "public key"),
            (encoding::pem_encode("ENCRYPTED PRIVATE KEY", b"x"), "import-key-pair"),
            (encoding::pem_encode("OPENSSH PRIVATE KEY", b"x"), "OPENSSH"),
            (format!("{private}{private}"), "exactly one"),
            (encoding::pem_encode("PRIVATE KEY", b"x"), "PKCS#8"),
            ("no key".into(), "PEM"),
        ] {
            let error = key_pair_from_pem(&text, "k", &none()).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    /// cargo sets this variable for every test; its value is no key, and no error may print a value.
    #[test]
    fn a_variable_is_read_and_its_value_never_printed() {
        let error = load_signer(&KeyRef::Env("CARGO_MANIFEST_DIR".into()), &none()).unwrap_err().to_string();
        assert!(error.contains("PEM") && !error.contains(env!("CARGO_MANIFEST_DIR")), "{error}");
        let error = load_public_key(&KeyRef::Env("COUNTERSIGN_NO_SUCH".into())).unwrap_err();
        assert!(matches!(error, KeyError::Variable(name) if name == "COUNTERSIGN_NO_SUCH"));
    }
}
