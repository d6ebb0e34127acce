//! Finding evidence.

use std::collections::BTreeMap;

use countersign_crypto::Digest;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{Form, Found, Listed, OlderTag, Origin, Search};
use crate::descriptor::media_type;
use crate::error::{listed, optional};
use crate::manifest::{ImageManifest, Kind};
use crate::reference::Name;
use crate::store::{ReferrersFrom, Store};
use crate::{Descriptor, RegistryError};

/// How many requests of one search are under way at once; the client's own limit stands beside it.
const AT_ONCE: usize = 8;

/// The most bytes of annotations: each piece has its manifest's, so that a few bytes of a manifest can be many here.
const MAX_ANNOTATIONS: usize = 64 << 20;

/// The annotation with which the type of a bundle's statement is named.
pub(super) const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";

/// The annotation with which BuildKit marks its attestations in an index.
const BUILDKIT_TYPE: &str = "vnd.docker.reference.type";

/// Finds the evidence of an image, with its bytes.
///
/// # Errors
/// Every error of the store; [`RegistryError::TooLarge`] when there is more than the search takes.
pub async fn discover(
    store: &dyn Store,
    image: &Digest,
    search: &Search,
) -> Result<Vec<Found>, RegistryError> {
    let pieces = list(store, image, search).await?;
    let mut left = search.max_bytes;
    for piece in &pieces {
        left = left.checked_sub(piece.layer.size).ok_or_else(|| {
            let what = format!("the evidence of {image} in {}", store.place());
            RegistryError::too_large(what, format!("{} bytes", search.max_bytes))
        })?;
    }
    let read = |piece: Listed| async move {
        let bytes = listed(store.blob(&piece.layer, search.max_bytes).await)?;
        let Listed { form, origin, manifest, layer, annotations } = piece;
        Ok(Found { form, origin, manifest, layer, annotations, bytes })
    };
    stream::iter(pieces.into_iter().map(read)).buffered(AT_ONCE).try_collect().await
}

/// Finds the evidence of an image, without reading it.
///
/// # Errors
/// As [`discover`].
pub async fn list(store: &dyn Store, image: &Digest, search: &Search) -> Result<Vec<Listed>, RegistryError> {
    let mut places = vec![Where::Referrers, Where::Index];
    places.extend(OlderTag::ALL.map(Where::Older));
    let parts: Vec<Vec<Listed>> =
        stream::iter(places.into_iter().filter(|place| place.is_wanted(search)).map(|place| async move {
            match place {
                Where::Referrers => referrers(store, image, search).await,
                Where::Older(tag) => older(store, image, tag, search).await,
                Where::Index => buildkit(store, image, search).await,
            }
        }))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let wanted =
        |piece: &Listed| search.forms.contains(&piece.form) && search.origins.contains(&piece.origin);
    let found: Vec<Listed> = parts.into_iter().flatten().filter(wanted).collect();
    check_count(store, image, found.len(), search)?;
    Ok(found)
}

/// Where evidence may be.
#[derive(Clone, Copy)]
enum Where {
    Referrers,
    Older(OlderTag),
    Index,
}

impl Where {
    fn is_wanted(self, search: &Search) -> bool {
        let form = |form: &Form| search.forms.contains(form);
        let origin = |origin: &Origin| search.origins.contains(origin);
        match self {
            Self::Referrers => {
                [Form::Bundle, Form::InToto, Form::Notary, Form::CosignSignature].iter().any(form)
                    && [Origin::ReferrersApi, Origin::ReferrersTag].iter().any(origin)
            }
            Self::Older(tag) => form(&tag.form()) && origin(&Origin::OlderTag),
            Self::Index => form(&Form::Buildkit) && origin(&Origin::ImageIndex),
        }
    }
}

fn check_count(
    store: &dyn Store,
    image: &Digest,
    count: usize,
    search: &Search,
) -> Result<(), RegistryError> {
    if count <= search.max_count {
        return Ok(());
    }
    let what = format!("the evidence of {image} in {}", store.place());
    Err(RegistryError::too_large(what, format!("{} pieces", search.max_count)))
}

/// Adds the pieces of one manifest, which share its annotations, as long as all stays within bounds.
fn add_pieces(
    store: &dyn Store,
    image: &Digest,
    search: &Search,
    found: &mut Vec<Listed>,
    shared: &BTreeMap<String, String>,
    layers: Vec<Descriptor>,
    piece: impl Fn(Descriptor) -> Listed,
) -> Result<(), RegistryError> {
    check_count(store, image, found.len() + layers.len(), search)?;
    let bytes = |a: &BTreeMap<String, String>| a.iter().map(|(name, value)| name.len() + value.len()).sum();
    let kept: usize = found.iter().map(|piece| bytes(&piece.annotations)).sum();
    let more: usize = bytes(shared);
    if kept.saturating_add(more.saturating_mul(layers.len())) > MAX_ANNOTATIONS {
        let what = format!("the annotations of the evidence of {image} in {}", store.place());
        return Err(RegistryError::too_large(what, "64 MiB"));
    }
    found.extend(layers.into_iter().map(piece));
    Ok(())
}

/// What a referrer is, by its artifact type; `None` for what is no evidence.
fn form_of(artifact_type: &str) -> Option<Form> {
    match artifact_type {
        t if t.starts_with(media_type::BUNDLE_PREFIX) => Some(Form::Bundle),
        media_type::COSIGN_SIGNATURE => Some(Form::CosignSignature),
        media_type::IN_TOTO | media_type::DSSE => Some(Form::InToto),
        media_type::NOTARY_SIGNATURE => Some(Form::Notary),
        _ => None,
    }
}

/// Whether a list's entry may be evidence that is wanted. Lists by older programs leave the artifact type out, or
/// name the type of the configuration; then the manifest tells.
fn may_be_wanted(entry: &Descriptor, search: &Search) -> bool {
    let says_other =
        |said: &String| !search.predicate_types.is_empty() && !search.predicate_types.contains(said);
    if entry.annotations.get(PREDICATE_TYPE).is_some_and(says_other) {
        return false;
    }
    match entry.artifact_type.as_deref().unwrap_or_default() {
        "" | media_type::OCI_EMPTY | media_type::OCI_CONFIG => true,
        named => form_of(named).is_some_and(|form| search.forms.contains(&form)),
    }
}

async fn referrers(store: &dyn Store, image: &Digest, search: &Search) -> Result<Vec<Listed>, RegistryError> {
    let list = store.referrers(image).await?;
    let origin = match list.from {
        ReferrersFrom::Api => Origin::ReferrersApi,
        ReferrersFrom::Tag => Origin::ReferrersTag,
    };
    let wanted: Vec<Descriptor> =
        list.descriptors.into_iter().filter(|entry| may_be_wanted(entry, search)).collect();
    check_count(store, image, wanted.len(), search)?;
    let read = |entry: Descriptor| async move {
        let manifest = listed(store.fetch(&Name::Digest(entry.digest)).await)?;
        if manifest.subject().map(|subject| subject.digest) != Some(*image) {
            let what = format!("{} in {}", entry.digest, store.place());
            let message = format!("it is listed as a referrer of {image} and refers to something else");
            return Err(RegistryError::malformed(what, message));
        }
        Ok(manifest)
    };
    let mut read = stream::iter(wanted.into_iter().map(read)).buffered(AT_ONCE);
    let mut found = Vec::new();
    while let Some(manifest) = read.try_next().await? {
        let Some((form, document)) = evidence_in(manifest.kind, search) else { continue };
        let piece = |layer: Descriptor| Listed {
            form,
            origin,
            manifest: manifest.descriptor.clone(),
            annotations: if form == Form::CosignSignature {
                layer.annotations.clone()
            } else {
                document.annotations.clone()
            },
            layer,
        };
        add_pieces(store, image, search, &mut found, &document.annotations, document.layers, piece)?;
    }
    Ok(found)
}

/// What evidence a referrer is, if it is any that is wanted.
fn evidence_in(kind: Kind, search: &Search) -> Option<(Form, Box<ImageManifest>)> {
    let Kind::Image(image) = kind else { return None };
    let one_bundle = |image: &ImageManifest| matches!(image.layers.as_slice(), [only] if only.media_type.starts_with(media_type::BUNDLE_PREFIX));
    // A bundle is known by its layer, whatever the manifest calls itself.
    let form = if one_bundle(&image) { Some(Form::Bundle) } else { form_of(image.artifact_type()) };
    let form = form.filter(|form| search.forms.contains(form))?;
    (form != Form::Bundle || one_bundle(&image)).then_some((form, image))
}

/// What lies at one of cosign's older tags.
async fn older(
    store: &dyn Store,
    image: &Digest,
    tag: OlderTag,
    search: &Search,
) -> Result<Vec<Listed>, RegistryError> {
    let name = Name::Tag(tag.with_prefix(&search.tag_prefix, image)?);
    let Some(manifest) = optional(store.fetch(&name).await)? else { return Ok(Vec::new()) };
    let Kind::Image(document) = manifest.kind else {
        let what = format!("the tag {name} in {}", store.place());
        return Err(RegistryError::malformed(what, "expected an image manifest, found an index"));
    };
    let piece = |layer: Descriptor| Listed {
        form: tag.form(),
        origin: Origin::OlderTag,
        manifest: manifest.descriptor.clone(),
        annotations: layer.annotations.clone(),
        layer,
    };
    Ok(document.layers.into_iter().map(piece).collect())
}

/// The attestations which BuildKit put into the image's index.
async fn buildkit(store: &dyn Store, image: &Digest, search: &Search) -> Result<Vec<Listed>, RegistryError> {
    // Evidence may lie in another repository than the image; there is no index in that one.
    let Some(manifest) = optional(store.fetch(&Name::Digest(*image)).await)? else { return Ok(Vec::new()) };
    let Kind::Index(index) = manifest.kind else { return Ok(Vec::new()) };
    let marked =
        |d: &Descriptor| d.annotations.get(BUILDKIT_TYPE).is_some_and(|kind| kind == "attestation-manifest");
    let entries: Vec<Descriptor> = index.manifests.into_iter().filter(marked).collect();
    check_count(store, image, entries.len(), search)?;
    let mut found = Vec::new();
    for entry in entries {
        let manifest = listed(store.fetch(&Name::Digest(entry.digest)).await)?;
        let Kind::Image(document) = manifest.kind else { continue };
        let (layers, manifest) = (document.layers, manifest.descriptor);
        let layers = layers.into_iter().filter(|layer| layer.media_type == media_type::IN_TOTO).collect();
        let piece = |layer: Descriptor| {
            let mut annotations = entry.annotations.clone();
            annotations.extend(layer.annotations.clone());
            Listed {
                form: Form::Buildkit,
                origin: Origin::ImageIndex,
                manifest: manifest.clone(),
                layer,
                annotations,
            }
        };
        add_pieces(store, image, search, &mut found, &entry.annotations, layers, piece)?;
    }
    Ok(found)
}
