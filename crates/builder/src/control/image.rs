//! A root file system from an image in a registry, by digest: its layers one on the other.

use std::io::{Seek as _, Write as _};

use countersign_attestation::predicate::provenance::Resource;
use countersign_registry::manifest::Kind;
use countersign_registry::{Name, Reference, Registry, Store as _};
use url::Url;

use super::archive::{Members, Unpacking, unpack};
use super::store::Store;
use super::tree::Tree;
use crate::BuildError;
use crate::signer::resource;

/// Unpacks an image from a place that is configured for it; gives what it is. No other registry is asked: which there are, and what whoever
/// builds may read there, is not for a recipe to choose.
pub(super) async fn unpack_image(
    registry: &Registry,
    places: &Store,
    name: &str,
    into: &mut Tree,
) -> Result<Resource, BuildError> {
    let fails = |message: String| BuildError::Input { name: name.to_owned(), message };
    let reference = Reference::parse(name).map_err(|e| fails(e.to_string()))?;
    let digest = *reference.digest().ok_or_else(|| {
        fails("expected an image by digest (name@sha256:…): a tag is whatever it is today".into())
    })?;
    let place =
        Url::parse(&format!("oci://{}/", reference.repository())).map_err(|e| fails(e.to_string()))?;
    places.place(name, &place)?;
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
        for members in [Members::Gone, Members::Left] {
            spooled.rewind().map_err(|e| fails(e.to_string()))?;
            unpack(&spooled, into, Unpacking { strip: None, members })
                .map_err(|e| fails(format!("layer {}: {e}", layer.digest)))?;
        }
    }
    Ok(Resource { uri: format!("oci://{}", reference.at(digest)), ..resource("rootfs", &digest) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use countersign_crypto::HashAlgorithm;
    use countersign_http::{Http, HttpOptions};
    use countersign_registry::RegistryOptions;
    use serde_json::json;

    use super::super::store::Place;
    use super::super::tree::Links;
    use super::*;

    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

    fn layer(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// A registry with an image of these layers; gives the image's name by digest. What a blob's digest names may be other bytes.
    fn image(layers: &[Vec<u8>], served: impl Fn(&[u8]) -> Vec<u8>) -> (Registry, String) {
        let mut paths = BTreeMap::new();
        let mut blob = |kind: &str, bytes: &[u8]| {
            let digest = HashAlgorithm::Sha256.digest(bytes).to_string();
            paths.insert(format!("/v2/a/blobs/{digest}"), (kind.to_owned(), served(bytes)));
            json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
        };
        let config = blob("application/vnd.oci.image.config.v1+json", b"{}");
        let layers: Vec<_> = layers.iter().map(|bytes| blob(LAYER, bytes)).collect();
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers })
                .to_string();
        let digest = HashAlgorithm::Sha256.digest(manifest.as_bytes());
        let place = format!("/v2/a/manifests/{digest}");
        paths.insert(place, (MANIFEST.into(), manifest.into_bytes()));
        paths.insert("/v2/".into(), (String::new(), Vec::new()));
        let address = super::super::server::serve(paths);
        (Registry::new(RegistryOptions::default()), format!("{address}/a@{digest}"))
    }

    /// A store in a directory that takes images from this place only.
    fn store(directory: &std::path::Path, place: &str) -> Store {
        let places = vec![Place::parse(place).unwrap()];
        Store::new(directory.join("store"), places, Http::new(HttpOptions::default())).unwrap()
    }

    fn place_of(name: &str) -> String {
        format!("oci://{}/", name.split('@').next().unwrap())
    }

    #[tokio::test]
    async fn only_registries_that_are_configured_are_asked() {
        let (registry, name) = image(&[layer(&[("a", "1")])], <[u8]>::to_vec);
        let place = tempfile::tempdir().unwrap();
        for (allowed, good) in [
            (place_of(&name), true),
            (place_of(&name).replace("/a/", "/"), true),
            (place_of(&name).replace("/a/", "/b/"), false),
            ("oci://registry.example/".into(), false),
            (place_of(&name).replace("oci:", "http:"), false),
        ] {
            let mut tree = Tree::new(&place.path().join("top"), Links::Within, 0).unwrap();
            let ended = unpack_image(&registry, &store(place.path(), &allowed), &name, &mut tree).await;
            match ended {
                Ok(_) => assert!(good, "{allowed}"),
                Err(e) => {
                    assert!(!good && e.to_string().contains("no place is configured"), "{allowed}: {e}")
                }
            }
        }
    }

    #[tokio::test]
    async fn layers_lie_one_on_the_other_and_the_image_is_named_by_its_digest() {
        let layers =
            [layer(&[("d/one", "1"), ("d/two", "2")]), layer(&[("d/.wh.one", ""), ("d/two", "new")])];
        let (registry, name) = image(&layers, <[u8]>::to_vec);
        let place = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(&place.path().join("top"), Links::Within, 0).unwrap();
        let found =
            unpack_image(&registry, &store(place.path(), &place_of(&name)), &name, &mut tree).await.unwrap();
        assert!(!place.path().join("top/d/one").exists());
        assert_eq!(fs::read(place.path().join("top/d/two")).unwrap(), b"new");
        assert!(name.ends_with(&found.digest["sha256"]) && found.uri == format!("oci://{name}"));
    }

    #[tokio::test]
    async fn a_tag_and_a_layer_of_other_bytes_are_refused() {
        let (registry, name) = image(&[layer(&[("a", "1")])], |bytes| vec![b'x'; bytes.len()]);
        let place = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(&place.path().join("top"), Links::Within, 0).unwrap();
        assert!(
            unpack_image(&registry, &store(place.path(), &place_of(&name)), &name, &mut tree).await.is_err()
        );
        assert!(!place.path().join("top/a").exists());
        let tag = name.split('@').next().unwrap().to_owned() + ":latest";
        let error = unpack_image(&registry, &store(place.path(), &place_of(&name)), &tag, &mut tree)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("by digest"), "{error}");
    }
}
