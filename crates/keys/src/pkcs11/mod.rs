//! Keys on hardware tokens, through PKCS #11.
//!
//! The vendor's module never runs in this process. It is loaded by a child: the same program under a hidden command
//! ([`WORKER_COMMAND`]), with one logged-in session, asked over a socket ([`frame`]). A module that crashes or hangs
//! is thus an error of one signature: the child is ended, and the next use starts another one. There is no other way
//! to sign when the token is away.
//!
//! - [`mod@uri`]: the references, RFC 7512.
//! - [`Pkcs11Signer`]: a key that signs; [`generate`], [`list_tokens`] and [`list_keys`] beside it.
//! - [`run_worker`]: the child. A program which uses this library calls it when its first argument is
//!   [`WORKER_COMMAND`], or names one that does with [`set_worker_program`].

pub mod uri;

#[cfg(all(unix, feature = "pkcs11"))]
mod child;
#[cfg(all(unix, feature = "pkcs11"))]
pub mod frame;
#[cfg(all(unix, feature = "pkcs11"))]
mod pool;
#[cfg(all(unix, feature = "pkcs11"))]
mod public;
#[cfg(all(unix, feature = "pkcs11"))]
mod signer;
#[cfg(all(unix, feature = "pkcs11"))]
mod token;
#[cfg(all(unix, feature = "pkcs11"))]
mod worker;

#[cfg(all(unix, feature = "pkcs11"))]
pub use child::{WORKER_COMMAND, set_worker_program};
#[cfg(all(unix, feature = "pkcs11"))]
pub use signer::{
    MODULE_VARIABLES, PIN_VARIABLES, Pkcs11Signer, default_module, find_or_generate, generate, list_keys,
    list_tokens,
};
pub use uri::Pkcs11Uri;
#[cfg(all(unix, feature = "pkcs11"))]
pub use worker::run_worker;
