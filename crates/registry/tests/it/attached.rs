//! Documents that are attached to an image: found by their type, and within bounds.

use countersign_registry::descriptor::media_type;
use countersign_registry::evidence::attached;
use countersign_registry::{Content, Descriptor, Manifest, Name, RegistryError, Store};
use serde_json::json;

use crate::images::image;
use crate::support::Fake;

const SCAN: &str = "application/vnd.example.scan+json";

/// Attaches a manifest of a type with these documents to an image.
async fn attach(store: &dyn Store, to: &Descriptor, kind: &str, documents: &[&[u8]]) -> Descriptor {
    let mut layers = Vec::new();
    for bytes in documents {
        let layer = Descriptor::of("application/json", bytes);
        store.put_blob(&layer, &Content::from(bytes.to_vec())).await.unwrap();
        layers.push(layer);
    }
    let config = Descriptor::of(media_type::OCI_EMPTY, b"{}");
    store.put_blob(&config, &Content::from(b"{}".to_vec())).await.unwrap();
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": kind,
        "config": config, "layers": layers, "subject": to.bare()});
    let manifest =
        Manifest::parse("it", Some(media_type::OCI_MANIFEST), manifest.to_string().into_bytes()).unwrap();
    store.put_manifest(&Name::Digest(manifest.descriptor.digest), &manifest).await.unwrap();
    manifest.descriptor
}

#[tokio::test]
async fn documents_are_found_by_their_type_with_what_a_signature_of_them_is_over() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    assert!(attached(&store, &image.digest, SCAN).await.unwrap().is_empty());
    let scan = attach(&store, &image, SCAN, &[b"{\"critical\":0}"]).await;
    attach(&store, &image, "application/vnd.example.other", &[b"{}"]).await;
    let found = attached(&store, &image.digest, SCAN).await.unwrap();
    let [document] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((document.manifest.digest, document.manifest.size), (scan.digest, scan.size));
    assert_eq!(document.bytes, b"{\"critical\":0}");
}

#[tokio::test]
async fn cve_2023_42813_documents_without_end_of_another_image_or_without_one_of_their_own_are_errors() {
    let fake = Fake::start().await;
    let store = fake.app();
    let first = image(&store, "v1", "content").await;
    for number in 0..51 {
        attach(&store, &first, SCAN, &[number.to_string().as_bytes()]).await;
    }
    let many = attached(&store, &first.digest, SCAN).await.unwrap_err();
    assert!(matches!(many, RegistryError::TooLarge { .. }), "{many}");
    let second = image(&store, "v2", "other").await;
    attach(&store, &second, SCAN, &[b"1", b"2"]).await;
    let several = attached(&store, &second.digest, SCAN).await.unwrap_err();
    assert!(several.to_string().contains("one document"), "{several}");
    let third = image(&store, "v3", "third").await;
    // Two of 17 MiB are more than all may have together.
    for byte in [b'a', b'b'] {
        attach(&store, &third, SCAN, &[&vec![byte; 17 << 20]]).await;
    }
    let large = attached(&store, &third.digest, SCAN).await.unwrap_err();
    assert!(matches!(large, RegistryError::TooLarge { .. }), "{large}");
    // A list that names what is attached to another image.
    let fourth = image(&store, "v4", "fourth").await;
    let other = attach(&store, &second, SCAN, &[b"3"]).await;
    let entry = Descriptor { artifact_type: Some(SCAN.into()), ..other };
    let list =
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry]}).to_string();
    fake.lie(move |seen| {
        let headers = [("content-type", media_type::OCI_INDEX)];
        seen.path.contains("/referrers/").then(|| crate::support::answer(200, &headers, list.clone()))
    });
    let foreign = attached(&store, &fourth.digest, SCAN).await.unwrap_err();
    assert!(foreign.to_string().contains("something else"), "{foreign}");
}
