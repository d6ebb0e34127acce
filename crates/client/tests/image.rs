//! Images and their evidence: every signature is looked at, and no index makes the work endless.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::future::IntoFuture as _;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse as _;
use countersign_client::image::{
    Checks, Forms, Images, Place, Signing, Target, Wanted, sign, targets, verify_image,
};
use countersign_client::services::Services;
use countersign_client::sign::{Identity, Session};
use countersign_client::trust::Trust;
use countersign_client::verify::{Expectations, Who, material};
use countersign_clock::SystemClock;
use countersign_crypto::{KeyPair, KeyType, PublicKey, Signer as _};
use countersign_http::{Http, HttpOptions};
use countersign_registry::descriptor::media_type;
use countersign_registry::{
    Content, Descriptor, Layout, Manifest, Name, Reference, Registry, RegistryOptions, Store as _, Tag,
};
use jiff::Timestamp;
use serde_json::json;

fn image_manifest(content: &str) -> Manifest {
    let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
    let layer = Descriptor::of(media_type::OCI_LAYER, content.as_bytes());
    let document = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [layer],
    });
    Manifest::parse("image", None, document.to_string().into_bytes()).unwrap()
}

/// An image in a layout of its own, signed in the older form with each of these keys.
async fn signed_with(folder: &std::path::Path, keys: &[&Arc<KeyPair>]) -> (Layout, Name) {
    let store = Layout::create(folder).unwrap();
    for bytes in [&b"{}"[..], b"content"] {
        let blob = Descriptor::of(media_type::OCI_LAYER, bytes);
        store.put_blob(&blob, &Content::from(bytes.to_vec())).await.unwrap();
    }
    let manifest = image_manifest("content");
    let name = Name::Tag(Tag::parse("v1").unwrap());
    store.put_manifest(&name, &manifest).await.unwrap();
    let target = Target {
        reference: Reference::parse("registry.example/r:v1").unwrap(),
        descriptor: manifest.descriptor,
        platform: None,
    };
    let signing =
        Signing { annotations: Vec::new(), forms: Forms { bundle: false, older: true }, identity: None };
    let (http, trust) = (Http::new(HttpOptions::default()), Trust::nobody());
    for key in keys {
        let identity = Identity::Key(Arc::clone(key) as _);
        let clock = Arc::new(SystemClock);
        let session = Session::new(&http, &trust, Services::default(), identity, clock).unwrap();
        sign(&session, Some(&store), &target, &signing, Timestamp::UNIX_EPOCH).await.unwrap();
    }
    (store, name)
}

async fn accepts(store: &Layout, name: &Name, key: &PublicKey) -> bool {
    let trust = material(&Trust::nobody()).unwrap();
    let mut expected = Expectations::of(Who::Keys(vec![key.clone()]));
    expected.logs = 0;
    let checks = Checks {
        wanted: Wanted::Signatures,
        trust: &trust,
        requirements: &expected.requirements().unwrap(),
        certificate: None,
        predicate_types: &[],
        max_evidence: 100,
        now: Timestamp::UNIX_EPOCH,
    };
    let place = Place { image: store, evidence: store, name };
    verify_image(place, &checks).await.unwrap().verified().next().is_some()
}

/// The payload of the older form is the same for every key, so one document has several signatures.
#[tokio::test]
async fn each_of_several_signatures_over_one_payload_is_looked_at() {
    let keys: Vec<Arc<KeyPair>> =
        (0..3).map(|_| Arc::new(KeyPair::generate(KeyType::EcdsaP256).unwrap())).collect();
    let folder = tempfile::tempdir().unwrap();
    let (store, name) = signed_with(folder.path(), &[&keys[0], &keys[1]]).await;
    assert!(accepts(&store, &name, keys[0].public_key()).await, "the first");
    assert!(accepts(&store, &name, keys[1].public_key()).await, "the second");
    assert!(!accepts(&store, &name, keys[2].public_key()).await, "a stranger");
}

/// Each index is small and none stands deep; there are many of them.
#[tokio::test]
async fn an_index_of_indexes_is_signed_up_to_a_number_of_manifests() {
    let mut served: BTreeMap<String, (String, Vec<u8>)> = BTreeMap::new();
    let mut serve = |manifest: &Manifest| {
        let kind = manifest.descriptor.media_type.clone();
        served.insert(manifest.descriptor.digest.to_string(), (kind, manifest.bytes.to_vec()));
        manifest.descriptor.clone()
    };
    let index = |entries: &[Descriptor]| {
        let document =
            json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries });
        Manifest::parse("index", None, document.to_string().into_bytes()).unwrap()
    };
    let mut inner = Vec::new();
    for outer in 0..40 {
        let images: Vec<Descriptor> =
            (0..40).map(|n| serve(&image_manifest(&format!("{outer}.{n}")))).collect();
        inner.push(serve(&index(&images)));
    }
    let (all, few) = (serve(&index(&inner)).digest, serve(&index(&inner[..2])).digest);
    let router = Router::new().fallback(move |uri: Uri| {
        let found = uri.path().rsplit('/').next().and_then(|digest| served.get(digest).cloned());
        async move {
            match found {
                Some((kind, bytes)) => ([(header::CONTENT_TYPE, kind)], bytes).into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            }
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    let images = Images::new(Registry::new(RegistryOptions::default()), None);
    let reference = |digest| Reference::parse(&format!("{host}/r@{digest}")).unwrap();
    assert_eq!(targets(&images, &[reference(few)], true).await.unwrap().len(), 83);
    assert_eq!(targets(&images, &[reference(all)], false).await.unwrap().len(), 1);
    let error = targets(&images, &[reference(all)], true).await.unwrap_err();
    assert!(error.to_string().contains("more than 1000 manifests"), "{error}");
}
