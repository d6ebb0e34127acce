//! Writing a Notary Project signature beside an image, as notation does.

use std::collections::BTreeMap;

use crate::RegistryError;
use crate::blob::Content;
use crate::descriptor::{Descriptor, media_type};
use crate::manifest::ImageManifest;
use crate::reference::Name;
use crate::referrers::{Written, put_referrer, to_manifest};
use crate::store::Store;

/// Writes an envelope of this media type as a referrer of an image: artifact type and an empty configuration, the
/// envelope as the only layer, the annotations on the manifest.
///
/// # Errors
/// Every error of the store.
pub async fn attach_notary(
    store: &dyn Store,
    image: &Descriptor,
    envelope_type: &str,
    envelope: &[u8],
    annotations: BTreeMap<String, String>,
) -> Result<Vec<Written>, RegistryError> {
    let layer = Descriptor::of(envelope_type, envelope);
    let config = Descriptor::of(media_type::OCI_EMPTY, b"{}");
    let document = ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.into()),
        config: config.clone(),
        layers: vec![layer.clone()],
        annotations,
        subject: Some(image.bare()),
        artifact_type: Some(media_type::NOTARY_SIGNATURE.into()),
    };
    let manifest = to_manifest("the signature's manifest", media_type::OCI_MANIFEST, &document)?;
    store.put_blob(&layer, &Content::from(envelope.to_vec())).await?;
    let mut written = vec![Written::new(store, &Name::Digest(layer.digest), &layer)];
    if !store.has(&config).await? {
        store.put_blob(&config, &Content::from(b"{}".to_vec())).await?;
        written.push(Written::new(store, &Name::Digest(config.digest), &config));
    }
    written.extend(put_referrer(store, &manifest).await?);
    Ok(written)
}
