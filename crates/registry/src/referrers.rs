//! Documents at tags which many may write: the index of referrers, and cosign's older tags.
//!
//! Registries have no compare-and-swap. So a writer reads, adds its entry, writes, waits as long as another writer
//! may have been between its own reading and writing, and reads again; whoever then misses its entry adds it anew.

use std::time::{Duration, Instant};

use countersign_crypto::Digest;
use serde_json::{Value, json};

use crate::RegistryError;
use crate::blob::Content;
use crate::descriptor::{Descriptor, media_type};
use crate::error::optional;
use crate::manifest::{ImageIndex, Kind, Manifest};
use crate::reference::{Name, Tag};
use crate::store::{Linked, Store};

/// How often an entry is added before giving up.
const ATTEMPTS: u32 = 16;

/// What was written, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The repository or the directory.
    pub place: String,
    /// The tag, or the digest of what has no tag.
    pub name: String,
    /// What is there now.
    pub descriptor: Descriptor,
}

impl Written {
    pub(crate) fn new(store: &dyn Store, name: &Name, descriptor: &Descriptor) -> Self {
        Self { place: store.place(), name: name.to_string(), descriptor: descriptor.clone() }
    }
}

/// The next version of a document at a tag, and the blobs that it needs.
pub(crate) struct Next {
    pub(crate) manifest: Manifest,
    pub(crate) blobs: Vec<(Descriptor, Vec<u8>)>,
}

/// Changes the document at a tag, so that nothing of other writers is lost. `change` makes the next version from the
/// present one, and `None` when there is nothing to change. Gives what lies there in the end, if something does.
///
/// Writers in this process go one after another, so that what is measured below is the registry and not their crowd.
pub(crate) async fn update_tag(
    store: &dyn Store,
    tag: &Tag,
    change: impl Fn(Option<&Manifest>) -> Result<Option<Next>, RegistryError>,
) -> Result<Option<Written>, RegistryError> {
    let name = Name::Tag(tag.clone());
    let _turn = store.turn(tag).await?;
    for attempt in 1..=ATTEMPTS {
        let started = Instant::now();
        let present = optional(store.fetch(&name).await)?;
        let Some(next) = change(present.as_ref())? else {
            return Ok(present.map(|present| Written::new(store, &name, &present.descriptor)));
        };
        for (blob, bytes) in next.blobs {
            store.put_blob(&blob, &Content::from(bytes)).await?;
        }
        store.put_manifest(&name, &next.manifest).await?;
        tokio::time::sleep(settle(started.elapsed(), attempt)).await;
    }
    Err(RegistryError::Unreachable {
        what: format!("the tag {tag} in {}", store.place()),
        message: format!("others overwrote it {ATTEMPTS} times while it was written; try again"),
    })
}

/// How long another writer may take between reading and writing: as long as we did, twice that for good measure,
/// and a random part so that writers come out of step.
fn settle(own: Duration, attempt: u32) -> Duration {
    let mut random = [0_u8; 2];
    // Without randomness the waits are alike, which is slower and not wrong.
    let _ = countersign_crypto::random(&mut random);
    let spread = own.saturating_add(Duration::from_millis(5)).saturating_mul(attempt);
    own * 2 + spread.mul_f64(f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX))
}

/// Puts a manifest that has a subject, and keeps the index of referrers where the store does not.
pub(crate) async fn put_referrer(
    store: &dyn Store,
    manifest: &Manifest,
) -> Result<Vec<Written>, RegistryError> {
    let name = Name::Digest(manifest.descriptor.digest);
    let linked = store.put_manifest(&name, manifest).await?;
    let mut written = vec![Written::new(store, &name, &manifest.descriptor)];
    if let (Linked::No, Some(subject)) = (linked, manifest.subject()) {
        let tag = Tag::of_evidence(&subject.digest, "");
        let entry = manifest.as_referrer();
        written.extend(update_tag(store, &tag, |present| add_referrer(&tag, present, &entry)).await?);
    }
    Ok(written)
}

/// The index with one more entry. What others wrote stays as it is, fields unknown here included.
fn add_referrer(
    tag: &Tag,
    present: Option<&Manifest>,
    entry: &Descriptor,
) -> Result<Option<Next>, RegistryError> {
    let what = format!("the index of referrers at {tag}");
    let mut document = match present {
        None => to_value(&what, &ImageIndex::empty())?,
        Some(Manifest { kind: Kind::Index(index), bytes, .. }) => {
            if index.manifests.iter().any(|d| d.digest == entry.digest) {
                return Ok(None);
            }
            serde_json::from_slice(bytes).map_err(|e| RegistryError::malformed(&what, e.to_string()))?
        }
        Some(_) => return Err(RegistryError::malformed(what, "expected an index, found an image")),
    };
    push(&mut document, "manifests", to_value(&what, entry)?);
    let said = present.map_or(media_type::OCI_INDEX, |present| present.descriptor.media_type.as_str());
    Ok(Some(Next { manifest: to_manifest(&what, said, &document)?, blobs: Vec::new() }))
}

/// Takes an entry out of the index of referrers.
pub(crate) async fn remove_referrer(
    store: &dyn Store,
    image: &Digest,
    manifest: &Digest,
) -> Result<(), RegistryError> {
    let tag = Tag::of_evidence(image, "");
    let what = format!("the index of referrers at {tag}");
    let without = |present: Option<&Manifest>| {
        let Some(Manifest { kind: Kind::Index(index), bytes, descriptor }) = present else { return Ok(None) };
        if !index.manifests.iter().any(|d| d.digest == *manifest) {
            return Ok(None);
        }
        let mut document: Value =
            serde_json::from_slice(bytes).map_err(|e| RegistryError::malformed(&what, e.to_string()))?;
        let gone = manifest.to_string();
        if let Some(list) = document.get_mut("manifests").and_then(Value::as_array_mut) {
            list.retain(|entry| entry.get("digest").and_then(Value::as_str) != Some(&gone));
        }
        let manifest = to_manifest(&what, &descriptor.media_type, &document)?;
        Ok(Some(Next { manifest, blobs: Vec::new() }))
    };
    update_tag(store, &tag, without).await.map(drop)
}

/// Adds an entry to a list in a JSON object, which is made when it is missing or `null`.
pub(crate) fn push(document: &mut Value, list: &str, entry: Value) {
    if let Some(object) = document.as_object_mut() {
        let list = object.entry(list).or_insert_with(|| json!([]));
        if list.is_null() {
            *list = json!([]);
        }
        if let Some(list) = list.as_array_mut() {
            list.push(entry);
        }
    }
}

pub(crate) fn to_value(what: &str, document: &impl serde::Serialize) -> Result<Value, RegistryError> {
    serde_json::to_value(document).map_err(|e| RegistryError::malformed(what, e.to_string()))
}

/// A manifest made here, read back as everybody will read it.
pub(crate) fn to_manifest(
    what: &str,
    media_type: &str,
    document: &impl serde::Serialize,
) -> Result<Manifest, RegistryError> {
    let bytes = serde_json::to_vec(document).map_err(|e| RegistryError::malformed(what, e.to_string()))?;
    Manifest::parse(what, Some(media_type), bytes)
}
