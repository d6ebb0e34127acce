//! Images made by hand for tests.

use countersign_registry::descriptor::media_type;
use countersign_registry::{Content, Descriptor, Manifest, Name, Store, Tag};
use serde_json::json;

/// An image of one layer with this content, under a tag.
pub(crate) async fn image(store: &dyn Store, tag: &str, content: &str) -> Descriptor {
    let manifest = image_manifest(store, content).await;
    put(store, tag, &manifest).await;
    manifest.descriptor
}

/// An image for two platforms, under a tag: the index first.
pub(crate) async fn two_platforms(store: &dyn Store, tag: &str) -> Vec<Descriptor> {
    let mut all = Vec::new();
    let mut entries = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let manifest = image_manifest(store, architecture).await;
        let name = Name::Digest(manifest.descriptor.digest);
        store.put_manifest(&name, &manifest).await.unwrap();
        let mut entry = serde_json::to_value(&manifest.descriptor).unwrap();
        entry["platform"] = json!({ "architecture": architecture, "os": "linux" });
        entries.push(entry);
        all.push(manifest.descriptor);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries });
    let index = Manifest::parse("index", None, index.to_string().into_bytes()).unwrap();
    put(store, tag, &index).await;
    all.insert(0, index.descriptor);
    all
}

async fn image_manifest(store: &dyn Store, content: &str) -> Manifest {
    let config = blob(store, media_type::OCI_CONFIG, br#"{"os":"linux"}"#).await;
    let layer = blob(store, media_type::OCI_LAYER, content.as_bytes()).await;
    let document = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [layer],
    });
    Manifest::parse("image", None, document.to_string().into_bytes()).unwrap()
}

pub(crate) async fn blob(store: &dyn Store, media_type: &str, bytes: &[u8]) -> Descriptor {
    let descriptor = Descriptor::of(media_type, bytes);
    store.put_blob(&descriptor, &Content::from(bytes.to_vec())).await.unwrap();
    descriptor
}

pub(crate) async fn put(store: &dyn Store, tag: &str, manifest: &Manifest) {
    store.put_manifest(&tagged(tag), manifest).await.unwrap();
}

pub(crate) fn tagged(tag: &str) -> Name {
    Name::Tag(Tag::parse(tag).unwrap())
}
