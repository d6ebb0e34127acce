//! The certificate authority: identity tokens in, short-lived certificates out, each one in a certificate
//! transparency log before it is handed over.
//!
//! ```text
//! token ─► oidc ─► VerifiedToken ─► identity ─► Principal ─┐
//!          (config: who is believed)                       ├─► authority ─► precertificate ─► ct ─► SCT ─► certificate
//! request ─► challenge ─► a key, possession proved ────────┘
//! ```
//!
//! | module | subject |
//! |---|---|
//! | [`config`] | issuers, CI providers and their claim templates; the instance's TOML and Fulcio's own file |
//! | [`oidc`] | tokens checked: form, issuer, keys, signature, audience, times |
//! | [`identity`] | what a checked token says about its holder, as Fulcio writes it into certificates |
//! | [`challenge`] | what clients send, and the proof that they hold the key |
//! | [`authority`] | issuing |
//! | [`ct`] | the CT log: submission and SCTs over a static-ct log |
//! | [`dev_idp`] | an identity provider for development, on loopback |
//!
//! A certificate exists only behind a [`identity::Principal`], a principal only behind a [`oidc::VerifiedToken`],
//! and that only behind [`oidc::TokenVerifier::verify`]: there is no other way round.
//!
//! The crate speaks no HTTP. Requests to issuers go through [`oidc::Transport`]; its own API is served elsewhere.

pub mod authority;
pub mod challenge;
pub mod config;
pub mod ct;
pub mod dev_idp;
mod error;
pub mod identity;
mod json;
pub mod oidc;
mod weak_key;

pub use authority::{Ca, SctSource};
pub use challenge::{IssueRequest, KeyRequest};
pub use error::CaError;
