//! A root file system from an image in a registry, by digest: its layers one on the other.

use std::io::{Seek as _, SeekFrom, Write as _};

use countersign_attestation::predicate::provenance::Resource;
use countersign_registry::manifest::Kind;
use countersign_registry::{Name, Reference, Registry, Store as _};

use super::archive::{Unpacking, unpack};
use super::tree::Tree;
use crate::BuildError;
use crate::signer::resource;

/// Unpacks an image; gives what it is.
pub(super) async fn unpack_image(
    registry: &Registry,
    name: &str,
    into: &mut Tree,
) -> Result<Resource, BuildError> {
    let fails = |message: String| BuildError::Input { name: name.to_owned(), message };
    let reference = Reference::parse(name).map_err(|e| fails(e.to_string()))?;
    let digest = *reference.digest().ok_or_else(|| {
        fails("expected an image by digest (name@sha256:…): a tag is whatever it is today".into())
    })?;
    let store = registry.repository(reference.repository());
    let manifest = store.fetch(&Name::Digest(digest)).await.map_err(|e| fails(e.to_string()))?;
    let Kind::Image(image) = &manifest.kind else {
        return Err(fails(
            "expected the image of one platform, found a list of several; name one by its digest".into(),
        ));
    };
    for layer in &image.layers {
        // Checked whole before anything of it is unpacked.
        let mut spooled = tempfile::tempfile().map_err(|e| fails(e.to_string()))?;
        let mut blob = store.open(layer).await.map_err(|e| fails(e.to_string()))?;
        while let Some(piece) = blob.next().await.map_err(|e| fails(e.to_string()))? {
            spooled.write_all(&piece).map_err(|e| fails(e.to_string()))?;
        }
        spooled.seek(SeekFrom::Start(0)).map_err(|e| fails(e.to_string()))?;
        unpack(spooled, into, Unpacking { strip: None, layer: true })
            .map_err(|e| fails(format!("layer {}: {e}", layer.digest)))?;
    }
    Ok(Resource { uri: format!("oci://{}", reference.at(digest)), ..resource("rootfs", &digest) })
}
