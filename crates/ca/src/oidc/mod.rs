//! Identity tokens: OpenID Connect ID tokens in compact JWS form (RFC 7515, OpenID Connect Core section 3.1.3.7).
//!
//! [`TokenVerifier::verify`] is the only way to a [`VerifiedToken`]. Nothing is fetched for a token whose issuer is
//! not configured, and nothing is fetched from a URL which the token or its header names.

mod discovery;
mod jwk;
mod jws;
mod key_store;
mod transport;
mod verifier;

pub use jwk::{JwkSet, MAX_KEYS};
pub use jws::{MAX_TOKEN_BYTES, parse_unverified};
pub use transport::{BoxFuture, FetchRequest, FetchResponse, Transport, TransportError, is_public_address};
pub use verifier::{FUTURE_LEEWAY_SECONDS, TokenError, TokenVerifier, VerifiedToken};

pub(crate) use jws::Algorithm;

/// A text from a stranger made fit for a log line: escaped, and cut at 200 characters.
pub(crate) fn for_log(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_default).collect()
}
