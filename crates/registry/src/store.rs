//! What registries, layouts and archives have in common: a store of manifests and blobs, each named by its digest.

use std::future::Future;
use std::pin::Pin;

use countersign_crypto::Digest;
use tokio::sync::OwnedMutexGuard;

use crate::blob::{Blob, Content};
use crate::error::optional;
use crate::manifest::{Kind, Manifest};
use crate::reference::{Name, Tag};
use crate::{Descriptor, RegistryError};

/// An answer that is waited for.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, RegistryError>> + Send + 'a>>;

/// What refers to an image, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrers {
    /// The manifests, with artifact type and annotations as far as the list names them. Nobody vouches for these.
    pub descriptors: Vec<Descriptor>,
    /// Who said so.
    pub from: ReferrersFrom,
}

/// Where a list of referrers comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReferrersFrom {
    /// The registry keeps it (OCI 1.1), or the layout.
    Api,
    /// An index at the tag `sha256-<hex>`, kept by those who write referrers.
    Tag,
}

/// What happened to a manifest that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linked {
    /// The store lists the manifest among the referrers of its subject, or it has none.
    Yes,
    /// The store keeps no such list: the writer must keep the index at the referrers tag.
    No,
}

/// The right to change what lies at a tag, until dropped.
#[derive(Debug)]
pub struct Turn {
    pub(crate) _held: Option<OwnedMutexGuard<()>>,
}

/// A store of manifests and blobs.
///
/// Everything that comes out was checked: manifests against the digest they were asked for by, blobs while they are
/// read. [`RegistryError::NotFound`] alone means that something is not there.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Where this is, for messages: a repository or a path.
    fn place(&self) -> String;

    /// A manifest by tag or digest.
    fn fetch<'a>(&'a self, name: &'a Name) -> Pending<'a, Manifest>;

    /// Opens a blob. Its bytes are checked while they are read.
    fn open<'a>(&'a self, blob: &'a Descriptor) -> Pending<'a, Blob>;

    /// Whether a blob is there.
    fn has<'a>(&'a self, blob: &'a Descriptor) -> Pending<'a, bool>;

    /// The referrers which the store itself knows; `None` when it keeps no list.
    fn listed_referrers<'a>(&'a self, image: &'a Digest) -> Pending<'a, Option<Vec<Descriptor>>>;

    /// Puts a blob, whether or not it is there.
    fn put_blob<'a>(&'a self, blob: &'a Descriptor, content: &'a Content) -> Pending<'a, ()>;

    /// Puts a manifest under its digest, or under a tag too.
    fn put_manifest<'a>(&'a self, name: &'a Name, manifest: &'a Manifest) -> Pending<'a, Linked>;

    /// Takes a tag or a manifest away.
    fn delete<'a>(&'a self, name: &'a Name) -> Pending<'a, ()>;

    /// The tags, sorted.
    fn tags(&self) -> Pending<'_, Vec<Tag>>;

    /// Waits until nobody else in this process changes what lies at a tag. Programs elsewhere are not kept out.
    fn turn<'a>(&'a self, tag: &'a Tag) -> Pending<'a, Turn> {
        let _ = tag;
        Box::pin(async { Ok(Turn { _held: None }) })
    }

    /// What a tag or a digest names. Done once: the digest is what is carried from there on.
    fn resolve<'a>(&'a self, name: &'a Name) -> Pending<'a, Descriptor> {
        Box::pin(async move { Ok(self.fetch(name).await?.descriptor) })
    }

    /// A blob's bytes, at most `limit` of them.
    fn blob<'a>(&'a self, blob: &'a Descriptor, limit: u64) -> Pending<'a, Vec<u8>> {
        Box::pin(async move {
            if blob.size > limit {
                let what = format!("{} in {}", blob.digest, self.place());
                return Err(RegistryError::too_large(what, format!("{limit} bytes")));
            }
            self.open(blob).await?.whole().await
        })
    }

    /// What refers to an image: as the store knows, or else as the index at the referrers tag says.
    fn referrers<'a>(&'a self, image: &'a Digest) -> Pending<'a, Referrers> {
        Box::pin(async move {
            if let Some(descriptors) = self.listed_referrers(image).await? {
                return Ok(Referrers { descriptors, from: ReferrersFrom::Api });
            }
            let tag = Name::Tag(Tag::of_evidence(image, ""));
            let descriptors = match optional(self.fetch(&tag).await)? {
                None => Vec::new(),
                Some(Manifest { kind: Kind::Index(index), .. }) => index.manifests,
                Some(_) => {
                    let what = format!("the tag {tag} in {}", self.place());
                    return Err(RegistryError::malformed(
                        what,
                        "expected an index of referrers, found an image",
                    ));
                }
            };
            Ok(Referrers { descriptors, from: ReferrersFrom::Tag })
        })
    }
}
