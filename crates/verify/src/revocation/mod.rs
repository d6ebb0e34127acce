//! Revocation: what no longer counts although its signature is good.
//!
//! A [`RevocationList`] names identities, keys, certificates, artifacts and builders, each with a reason, by whom and since
//! when. It is a document of its own, signed as a Sigstore bundle by somebody whom the verifier was told to trust for this
//! ([`RevocationAuthority`]), never by a key that the list itself brings. [`open`] checks that, [`Memory`] that the list is
//! not an older one, and [`Revocations`] is what the engines ask: trust material carries it, so that whoever asks an engine
//! obeys.
//!
//! The rules:
//! - A signature counts as older than an entry's `since` only if every time at which it is known to exist is, and each of
//!   those is vouched for by a log or a timestamp authority. One that nobody dates is refused.
//! - It counts as newer than `until` only if its certificate was issued then: when a bare key signed, nobody knows.
//! - An entry is withdrawn by another one, which stays in the list.
//! - A list that has expired says nothing any more: every signature is refused until there is a newer one.

mod authority;
mod list;
mod memory;
mod question;
mod signed;
mod target;

pub use authority::{AuthorityError, RevocationAuthority};
pub use list::{Change, Entry, ListError, MAX_ENTRIES, Revocation, RevocationList};
pub use memory::{Memory, MemoryError};
pub use question::{Against, Revocations, Signature};
pub use signed::{MAX_SIGNED_LIST, OpenError, PAYLOAD_TYPE, open, seal};
pub use target::{Target, Text};
