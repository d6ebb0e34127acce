//! Writing evidence beside an image, and taking it away.

use std::collections::BTreeMap;

use countersign_crypto::Digest;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::discover::PREDICATE_TYPE;
use super::{Listed, OlderTag, Origin};
use crate::RegistryError;
use crate::blob::Content;
use crate::descriptor::{Descriptor, media_type};
use crate::manifest::{ImageManifest, Kind, Manifest};
use crate::reference::Name;
use crate::referrers::{
    Next, Written, push, put_referrer, remove_referrer, to_manifest, to_value, update_tag,
};
use crate::store::Store;

/// The annotations of cosign's older forms.
mod annotation {
    pub(super) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
    pub(super) const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
    pub(super) const CHAIN: &str = "dev.sigstore.cosign/chain";
    pub(super) const BUNDLE: &str = "dev.sigstore.cosign/bundle";
    pub(super) const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
}

/// What stands beside a signature in cosign's older forms. Empty for a key without a log.
#[derive(Debug, Clone, Default)]
pub struct Material {
    /// The certificate, PEM.
    pub certificate: Option<String>,
    /// The certificates above it, PEM.
    pub chain: Option<String>,
    /// The log entry: JSON with `SignedEntryTimestamp` and `Payload`.
    pub bundle: Option<String>,
    /// The timestamp: JSON with `SignedRFC3161Timestamp`.
    pub timestamp: Option<String>,
}

/// A signature in cosign's older form.
#[derive(Debug, Clone)]
pub struct SimpleSigned {
    /// The payload that was signed.
    pub payload: Vec<u8>,
    /// The signature, base64.
    pub signature: String,
    /// What stands beside it.
    pub material: Material,
}

/// An attestation in cosign's older form.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// The DSSE envelope.
    pub envelope: Vec<u8>,
    /// The type of the statement's predicate.
    pub predicate_type: String,
    /// What stands beside it.
    pub material: Material,
}

/// Writes a Sigstore bundle as a referrer of an image, as cosign v3 does. Where the registry keeps no list of
/// referrers, the index at the referrers tag gets an entry with artifact type and annotations.
///
/// # Errors
/// Every error of the store.
pub async fn attach_bundle(
    store: &dyn Store,
    image: &Descriptor,
    bundle: &[u8],
    predicate_type: &str,
    now: Timestamp,
) -> Result<Vec<Written>, RegistryError> {
    let layer = Descriptor::of(media_type::BUNDLE, bundle);
    let mut config = Descriptor::of(media_type::OCI_EMPTY, b"{}");
    config.artifact_type = Some(media_type::BUNDLE.into());
    let created = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let document = ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.into()),
        config: config.clone(),
        layers: vec![layer.clone()],
        annotations: BTreeMap::from([
            // Always this value, for signatures of messages too: it is what others look for.
            ("dev.sigstore.bundle.content".into(), "dsse-envelope".into()),
            (PREDICATE_TYPE.into(), predicate_type.into()),
            ("org.opencontainers.image.created".into(), created.to_string()),
        ]),
        subject: Some(image.bare()),
        artifact_type: Some(media_type::BUNDLE.into()),
    };
    let manifest = to_manifest("the referrer", media_type::OCI_MANIFEST, &document)?;
    let mut written = Vec::new();
    for (blob, bytes) in [(&layer, bundle), (&config, b"{}".as_slice())] {
        // The empty configuration is mostly there, a new bundle never.
        if bytes == bundle || !store.has(blob).await? {
            store.put_blob(blob, &Content::from(bytes.to_vec())).await?;
            written.push(Written::new(store, &Name::Digest(blob.digest), blob));
        }
    }
    written.extend(put_referrer(store, &manifest).await?);
    Ok(written)
}

/// Adds a signature to the older tag `sha256-<hex>.sig`.
///
/// # Errors
/// Every error of the store.
pub async fn attach_signature(
    store: &dyn Store,
    image: &Digest,
    signed: &SimpleSigned,
) -> Result<Vec<Written>, RegistryError> {
    let mut annotations = signed.material.annotations();
    annotations.insert(annotation::SIGNATURE.into(), signed.signature.clone());
    attach(store, image, OlderTag::Signature, media_type::SIMPLE_SIGNING, &signed.payload, annotations).await
}

/// Adds an attestation to the older tag `sha256-<hex>.att`.
///
/// # Errors
/// Every error of the store.
pub async fn attach_attestation(
    store: &dyn Store,
    image: &Digest,
    attested: &Envelope,
) -> Result<Vec<Written>, RegistryError> {
    let mut annotations = attested.material.annotations();
    // The signature is inside the envelope; cosign looks for the annotation all the same.
    annotations.insert(annotation::SIGNATURE.into(), String::new());
    annotations.insert("predicateType".into(), attested.predicate_type.clone());
    attach(store, image, OlderTag::Attestation, media_type::DSSE, &attested.envelope, annotations).await
}

/// Adds a bill of materials to the older tag `sha256-<hex>.sbom`.
///
/// # Errors
/// Every error of the store.
pub async fn attach_sbom(
    store: &dyn Store,
    image: &Digest,
    media_type: &str,
    document: &[u8],
) -> Result<Vec<Written>, RegistryError> {
    attach(store, image, OlderTag::Sbom, media_type, document, BTreeMap::new()).await
}

impl Material {
    fn annotations(&self) -> BTreeMap<String, String> {
        [
            (annotation::CERTIFICATE, &self.certificate),
            (annotation::CHAIN, &self.chain),
            (annotation::BUNDLE, &self.bundle),
            (annotation::TIMESTAMP, &self.timestamp),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)))
        .collect()
    }
}

async fn attach(
    store: &dyn Store,
    image: &Digest,
    tag: OlderTag,
    layer_type: &str,
    document: &[u8],
    annotations: BTreeMap<String, String>,
) -> Result<Vec<Written>, RegistryError> {
    let layer = Descriptor { annotations, ..Descriptor::of(layer_type, document) };
    store.put_blob(&layer, &Content::from(document.to_vec())).await?;
    let blob = Written::new(store, &Name::Digest(layer.digest), &layer);
    Ok(vec![blob, add_layers(store, image, tag, &[layer]).await?])
}

/// Adds layers whose blobs are there already to the document at an older tag.
pub(crate) async fn add_layers(
    store: &dyn Store,
    image: &Digest,
    tag: OlderTag,
    layers: &[Descriptor],
) -> Result<Written, RegistryError> {
    let tag = tag.of(image);
    let what = format!("the tag {tag} in {}", store.place());
    let written = update_tag(store, &tag, |present| next_version(&what, present, layers)).await?;
    written.ok_or_else(|| RegistryError::Usage(format!("nothing to write at {tag}")))
}

/// The document with these layers too; `None` when it has them.
fn next_version(
    what: &str,
    present: Option<&Manifest>,
    layers: &[Descriptor],
) -> Result<Option<Next>, RegistryError> {
    let malformed = |message: &str| RegistryError::malformed(what, message);
    let (mut document, mut all) = match present {
        None => {
            let empty = json!({
                "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": null, "layers": [],
            });
            (empty, Vec::new())
        }
        Some(Manifest { kind: Kind::Image(image), bytes, .. }) => {
            let document: Value = serde_json::from_slice(bytes).map_err(|e| malformed(&e.to_string()))?;
            (document, image.layers.clone())
        }
        Some(_) => return Err(malformed("expected an image manifest, found an index")),
    };
    let missing: Vec<&Descriptor> = layers.iter().filter(|layer| !all.contains(layer)).collect();
    if missing.is_empty() && present.is_some() {
        return Ok(None);
    }
    for layer in missing {
        push(&mut document, "layers", to_value(what, layer)?);
        all.push(layer.clone());
    }
    let config = config_for(&all);
    let descriptor = Descriptor::of(media_type::OCI_CONFIG, &config);
    if let Some(object) = document.as_object_mut() {
        object.insert("config".into(), to_value(what, &descriptor)?);
    }
    let said = present.map_or(media_type::OCI_MANIFEST, |present| present.descriptor.media_type.as_str());
    Ok(Some(Next { manifest: to_manifest(what, said, &document)?, blobs: vec![(descriptor, config)] }))
}

/// The configuration of an image with these layers and nothing else.
fn config_for(layers: &[Descriptor]) -> Vec<u8> {
    let never = "0001-01-01T00:00:00Z";
    let history: Vec<Value> = layers.iter().map(|_| json!({ "created": never })).collect();
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.digest.to_string()).collect();
    let config = json!({
        "architecture": "", "created": never, "history": history, "os": "",
        "rootfs": { "type": "layers", "diff_ids": diff_ids }, "config": {},
    });
    config.to_string().into_bytes()
}

/// Takes away the manifests that hold these pieces of evidence of an image, and their entries in the index of
/// referrers.
///
/// # Errors
/// Every error of the store.
pub async fn remove(
    store: &dyn Store,
    image: &Digest,
    pieces: &[Listed],
) -> Result<Vec<Written>, RegistryError> {
    let mut gone: Vec<Written> = Vec::new();
    for piece in pieces.iter().filter(|piece| piece.origin != Origin::ImageIndex) {
        let digest = Name::Digest(piece.manifest.digest);
        let older = OlderTag::ALL.into_iter().find(|tag| tag.form() == piece.form);
        let tag = older.filter(|_| piece.origin == Origin::OlderTag).map(|tag| Name::Tag(tag.of(image)));
        let written = Written::new(store, tag.as_ref().unwrap_or(&digest), &piece.manifest);
        if gone.contains(&written) {
            continue;
        }
        // The entry first: an index that names what is gone would be an error for every reader.
        if piece.origin == Origin::ReferrersTag {
            remove_referrer(store, image, &piece.manifest.digest).await?;
        }
        // The same document may lie at the tag of another image, so the tag is what goes. Not every registry can
        // do that; the document goes then.
        let mut result = store.delete(tag.as_ref().unwrap_or(&digest)).await;
        if tag.is_some() && matches!(result, Err(RegistryError::Malformed { .. })) {
            result = store.delete(&digest).await;
        }
        match result {
            Ok(()) | Err(RegistryError::NotFound { .. }) => gone.push(written),
            Err(error) => return Err(error),
        }
    }
    Ok(gone)
}

/// Whether a store keeps the list of referrers itself, as far as can be told by asking.
pub(crate) async fn keeps_list(store: &dyn Store, image: &Digest) -> Result<bool, RegistryError> {
    Ok(store.listed_referrers(image).await?.is_some())
}
