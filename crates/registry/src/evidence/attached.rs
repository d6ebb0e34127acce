//! Documents that are attached to an image as referrers, whatever they are: a report, a bill of materials. Nobody signed
//! one by attaching it; who did is said by evidence of its own, beside the document's manifest.

use countersign_crypto::Digest;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::descriptor::media_type;
use crate::error::listed;
use crate::manifest::Kind;
use crate::reference::Name;
use crate::store::Store;
use crate::{Descriptor, RegistryError};

/// How many requests are under way at once.
const AT_ONCE: usize = 8;
/// The most documents of one type.
const MAX_COUNT: usize = 50;
/// The most bytes of all documents together.
const MAX_BYTES: u64 = 32 << 20;

/// A document that is attached to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Its manifest: what a signature of the document is over.
    pub manifest: Descriptor,
    /// The document in the manifest.
    pub layer: Descriptor,
    /// The document, which has the digest of its layer.
    pub bytes: Vec<u8>,
}

/// The documents of an artifact type that are attached to an image. One whose manifest holds several is an error: nobody
/// could tell which is meant.
///
/// # Errors
/// Every error of the store; [`RegistryError::TooLarge`] for more or larger documents than are read.
pub async fn attached(
    store: &dyn Store,
    image: &Digest,
    artifact_type: &str,
) -> Result<Vec<Attached>, RegistryError> {
    let what = || format!("the documents of type {artifact_type} attached to {image} in {}", store.place());
    // Lists by older programs leave the type out, or name that of the configuration; then the manifest tells.
    let may_be = |entry: &Descriptor| {
        let said = entry.artifact_type.as_deref().unwrap_or_default();
        [artifact_type, "", media_type::OCI_EMPTY, media_type::OCI_CONFIG].contains(&said)
    };
    let list = store.referrers(image).await?;
    let entries: Vec<Descriptor> = list.descriptors.into_iter().filter(may_be).collect();
    if entries.len() > MAX_COUNT {
        return Err(RegistryError::too_large(what(), format!("{MAX_COUNT} documents")));
    }
    let read = |entry: Descriptor| async move {
        let manifest = listed(store.fetch(&Name::Digest(entry.digest)).await)?;
        let subject = manifest.subject().map(|subject| subject.digest);
        let Kind::Image(document) = manifest.kind else { return Ok(None) };
        if document.artifact_type() != artifact_type {
            return Ok(None);
        }
        let wrong = |message: &str| {
            RegistryError::malformed(format!("{} in {}", entry.digest, store.place()), message)
        };
        if subject != Some(*image) {
            return Err(wrong("it is listed as attached to an image, and refers to something else"));
        }
        let [layer] = document.layers.as_slice() else {
            return Err(wrong("expected one document in the manifest, found none or several"));
        };
        Ok(Some((manifest.descriptor, layer.clone())))
    };
    let found: Vec<Option<(Descriptor, Descriptor)>> =
        stream::iter(entries.into_iter().map(read)).buffered(AT_ONCE).try_collect().await?;
    let found: Vec<(Descriptor, Descriptor)> = found.into_iter().flatten().collect();
    let mut left = MAX_BYTES;
    for (_, layer) in &found {
        left = left
            .checked_sub(layer.size)
            .ok_or_else(|| RegistryError::too_large(what(), format!("{MAX_BYTES} bytes")))?;
    }
    let read = |(manifest, layer): (Descriptor, Descriptor)| async move {
        let bytes = listed(store.blob(&layer, MAX_BYTES).await)?;
        Ok(Attached { manifest, layer, bytes })
    };
    stream::iter(found.into_iter().map(read)).buffered(AT_ONCE).try_collect().await
}
