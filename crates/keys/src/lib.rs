//! Private keys behind one [`Signer`](countersign_crypto::Signer), wherever they live.
//!
//! A [`KeyRef`] names a key in the way cosign names it; its homes are listed in [`mod@reference`]. [`load_signer`],
//! [`load_artifact_signer`], [`load_public_key`] and [`create_key`] are the doors to all of them. Key files are
//! cosign's encrypted form ([`encrypted`]) or plain PEM; they are written atomically, mode 0600, and never over
//! an existing file ([`mod@file`]).
//!
//! A key in a service never leaves it. Every signature from there is checked against the public key before it is
//! handed out. A service that cannot be reached is the error
//! [`KeyUnavailable`](countersign_crypto::CryptoError::KeyUnavailable), and nothing takes its place. Credentials come
//! from where the service's own tools have them, and go to that service only.
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

mod aws_credentials;
mod aws_kms;
mod aws_signature;
mod azure_credentials;
mod azure_kms;
mod command;
pub mod encrypted;
mod environment;
mod error;
pub mod file;
mod gcp_credentials;
mod gcp_kms;
mod github;
mod gitlab;
mod hashivault;
mod kubeconfig;
mod kubernetes;
mod load;
mod once;
mod password;
pub mod pkcs11;
mod plugin;
pub mod reference;
mod sealed_box;
mod secret_store;
mod service;
#[cfg(test)]
mod tests;
mod token;
mod web;

pub use error::KeyError;
pub use kubeconfig::Kubeconfig;
pub use load::{
    Created, KeyFiles, change_password, create_key, create_key_pair, key_pair_from_pem, load_artifact_signer,
    load_key_pair, load_public_key, load_signer, save_encrypted,
};
pub use once::OnePassword;
pub use password::{PASSWORD_VARIABLE, PasswordSource, PromptFn};
pub use plugin::PluginAnswer;
pub use reference::KeyRef;
