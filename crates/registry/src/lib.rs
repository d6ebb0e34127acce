//! OCI distribution: images in registries, in layouts and in archives, and the evidence that lies beside them.
//!
//! - [`Reference`] names an image; [`Store`] is where it lies: a [`RemoteRepository`] of a [`Registry`], a [`Layout`]
//!   on disk, or an archive of `docker save`.
//! - A tag is resolved once, and the digest is carried from there on. Every byte that arrives is hashed, and nothing
//!   is handed on whose hash is not the one that was asked for.
//! - "There is none" and "could not look" are different: only [`RegistryError::NotFound`] is the first.
//! - A credential goes to the host it is for and to no other: not along a redirect, not to a token server elsewhere,
//!   not to the addresses inside a manifest, which are never asked.
//! - What strangers can make long (manifests, lists, pages, evidence) has a limit.
//!
//! The client speaks over `countersign-http` and has its own few types for manifests, because verification needs to
//! decide about every byte, every redirect and every credential.

mod archive;
pub mod auth;
mod blob;
mod client;
pub mod copy;
pub mod descriptor;
mod dry_run;
mod error;
pub mod evidence;
mod files;
mod layout;
pub mod manifest;
mod reference;
mod referrers;
mod remote;
mod shared;
mod store;
pub mod tar;

pub use archive::Archive;
pub use blob::{Blob, Content};
pub use client::{Registry, RegistryOptions};
pub use descriptor::Descriptor;
pub use dry_run::DryRun;
pub use error::RegistryError;
pub use layout::Layout;
pub use manifest::Manifest;
pub use reference::{Name, Reference, Repository, Tag, parse_digest};
pub use referrers::Written;
pub use remote::RemoteRepository;
pub use shared::Shared;
pub use store::{Linked, Pending, Referrers, ReferrersFrom, Store, Turn};
