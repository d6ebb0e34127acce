//! Private keys behind one [`Signer`](countersign_crypto::Signer), wherever they live.
//!
//! A [`KeyRef`] names a key in the way cosign names it: a path, `env://VAR`, and (in later builds) the homes
//! listed in [`mod@reference`]. [`load_signer`] turns a reference into something that signs. Key files are
//! cosign's encrypted form ([`encrypted`]) or plain PEM; they are written atomically, mode 0600, and never over
//! an existing file ([`mod@file`]).
//!
//! Passwords and keys are wiped from memory when dropped and never appear in `Debug` output or errors.
//!
//! ```
//! use countersign_crypto::{KeyType, Signer};
//! use countersign_keys::{KeyRef, PasswordSource, create_key_pair, load_public_key, load_signer};
//! let dir = tempfile::tempdir()?;
//! let password = PasswordSource::literal("correct horse");
//! let files = create_key_pair(&dir.path().join("release"), KeyType::EcdsaP256, &password)?;
//! let signer = load_signer(&KeyRef::File(files.private), &password)?;
//! let signature = signer.sign(b"hello")?;
//! let public = load_public_key(&KeyRef::File(files.public))?;
//! public.verify(signer.scheme(), b"hello", &signature)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod encrypted;
mod error;
pub mod file;
mod load;
mod password;
pub mod pkcs11;
pub mod reference;

pub use error::KeyError;
pub use load::{
    Created, KeyFiles, create_key, create_key_pair, key_pair_from_pem, load_artifact_signer, load_key_pair,
    load_public_key, load_signer, save_encrypted,
};
pub use password::{PASSWORD_VARIABLE, PasswordSource, PromptFn};
pub use reference::KeyRef;
