//! Writing evidence and finding it again, on both kinds of registry and in layouts.

use std::collections::BTreeSet;

use axum::http::Method;
use countersign_registry::descriptor::media_type;
use countersign_registry::evidence::{
    Envelope, Form, Material, OlderTag, Origin, Search, SimpleSigned, attach_attestation, attach_bundle,
    attach_sbom, attach_signature, discover, list, remove,
};
use countersign_registry::{Descriptor, DryRun, Layout, Name, RegistryError, Store};
use serde_json::{Value, json};

use crate::images::{image, tagged};
use crate::support::{Fake, answer, client};

pub(crate) const PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

pub(crate) fn now() -> jiff::Timestamp {
    "2026-11-26T12:00:00.123Z".parse().unwrap()
}

pub(crate) fn signed(signature: &str) -> SimpleSigned {
    let material =
        Material { certificate: Some("PEM".into()), bundle: Some("{}".into()), ..Material::default() };
    SimpleSigned { payload: b"{\"critical\":{}}".to_vec(), signature: signature.into(), material }
}

pub(crate) async fn attach_all(store: &dyn Store, image: &Descriptor) {
    attach_bundle(store, image, b"{\"bundle\":1}", PREDICATE, now()).await.unwrap();
    let payload = image.digest.to_string().into_bytes();
    attach_signature(store, &image.digest, &SimpleSigned { payload, ..signed("c2ln") }).await.unwrap();
    let predicate_type = "https://slsa.dev/provenance/v1".into();
    let attested = Envelope {
        envelope: image.digest.to_string().into_bytes(),
        predicate_type,
        material: Material::default(),
    };
    attach_attestation(store, &image.digest, &attested).await.unwrap();
    let sbom = format!("of {}", image.digest);
    attach_sbom(store, &image.digest, "text/spdx+json", sbom.as_bytes()).await.unwrap();
}

async fn stores(directory: &std::path::Path) -> Vec<Box<dyn Store>> {
    vec![
        Box::new(Fake::start().await.app()),
        Box::new(Fake::old().await.app()),
        Box::new(Layout::create(directory).unwrap()),
    ]
}

#[tokio::test]
async fn what_is_attached_is_found_and_labelled_everywhere() {
    let directory = tempfile::tempdir().unwrap();
    let origins = [Origin::ReferrersApi, Origin::ReferrersTag, Origin::ReferrersApi];
    for (store, origin) in stores(directory.path()).await.iter().zip(origins) {
        let store = store.as_ref();
        let image = image(store, "v1", "content").await;
        assert_eq!(store.resolve(&tagged("v1")).await.unwrap().digest, image.digest);
        assert!(discover(store, &image.digest, &Search::default()).await.unwrap().is_empty());
        attach_all(store, &image).await;
        let found = discover(store, &image.digest, &Search::default()).await.unwrap();
        let labels: BTreeSet<_> = found.iter().map(|piece| (piece.form, piece.origin)).collect();
        let expected = [
            (Form::Bundle, origin),
            (Form::CosignSignature, Origin::OlderTag),
            (Form::CosignAttestation, Origin::OlderTag),
            (Form::CosignSbom, Origin::OlderTag),
        ];
        assert_eq!(labels, expected.into());
        let of = |form| found.iter().find(|piece| piece.form == form).unwrap();
        assert_eq!(of(Form::Bundle).bytes, b"{\"bundle\":1}");
        assert_eq!(of(Form::Bundle).annotations["dev.sigstore.bundle.predicateType"], PREDICATE);
        assert_eq!(of(Form::CosignSignature).annotations["dev.cosignproject.cosign/signature"], "c2ln");
        assert_eq!(of(Form::CosignSignature).annotations["dev.sigstore.cosign/certificate"], "PEM");
        assert_eq!(
            of(Form::CosignAttestation).annotations["predicateType"],
            "https://slsa.dev/provenance/v1"
        );
    }
}

#[tokio::test]
async fn a_bundle_referrer_is_written_byte_for_byte_as_cosign_writes_it() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    let written = attach_bundle(&store, &image, b"{}", PREDICATE, now()).await.unwrap();
    let name = written.last().unwrap().name.clone();
    let manifest = store.fetch(&Name::Digest(name.parse_digest())).await.unwrap();
    let empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let bundle = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let expected = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"{empty}","artifactType":"{bundle}"}},"layers":[{{"mediaType":"{bundle}","size":2,"digest":"{empty}"}}],"annotations":{{"dev.sigstore.bundle.content":"dsse-envelope","dev.sigstore.bundle.predicateType":"{PREDICATE}","org.opencontainers.image.created":"2026-11-26T12:00:00Z"}},"subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":{},"digest":"{}"}},"artifactType":"{bundle}"}}"#,
        image.size, image.digest
    );
    assert_eq!(String::from_utf8(manifest.bytes).unwrap(), expected);
    assert!(!fake.has("app", &format!("sha256-{}", image.digest.to_hex())), "no index beside the API");
}

trait ParseDigest {
    fn parse_digest(&self) -> countersign_crypto::Digest;
}

impl ParseDigest for String {
    fn parse_digest(&self) -> countersign_crypto::Digest {
        countersign_registry::parse_digest(self).unwrap()
    }
}

#[tokio::test]
async fn the_index_at_the_referrers_tag_keeps_what_others_wrote() {
    let fake = Fake::old().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    let tag = format!("sha256-{}", image.digest.to_hex());
    let foreign = json!({
        "mediaType": media_type::OCI_MANIFEST, "digest": format!("sha256:{}", "ab".repeat(32)), "size": 7,
        "artifactType": "application/x", "data": "e30=", "future": {"kept": true},
    });
    let index =
        json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [foreign], "more": 1 });
    fake.put_document("app", &tag, media_type::OCI_INDEX, index.to_string());
    attach_bundle(&store, &image, b"one", PREDICATE, now()).await.unwrap();
    attach_bundle(&store, &image, b"two", PREDICATE, now()).await.unwrap();
    // The same once more changes nothing.
    attach_bundle(&store, &image, b"two", PREDICATE, now()).await.unwrap();
    let document = fake.document("app", &tag);
    let entries = document["manifests"].as_array().unwrap();
    assert_eq!((entries.len(), &entries[0], &document["more"]), (3, &foreign, &json!(1)));
    for entry in &entries[1..] {
        assert_eq!(entry["artifactType"], media_type::BUNDLE);
        assert_eq!(entry["annotations"]["dev.sigstore.bundle.predicateType"], PREDICATE);
    }
    // What is no evidence is not even asked for.
    fake.seen();
    assert_eq!(discover(&store, &image.digest, &Search::of([Form::Bundle])).await.unwrap().len(), 2);
    assert!(fake.seen().iter().all(|seen| !seen.path.contains("abab")));
}

#[tokio::test]
async fn concurrent_writers_lose_no_entry() {
    let fake = Fake::old().await;
    let image = image(&fake.app(), "v1", "content").await;
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..8 {
        // A client for each, as eight programs would have.
        let (store, image) = (fake.app(), image.clone());
        writers.spawn(async move {
            let bundle = format!("bundle {n}");
            attach_bundle(&store, &image, bundle.as_bytes(), PREDICATE, now()).await.unwrap();
            attach_signature(&store, &image.digest, &signed(&bundle)).await.unwrap();
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let found = discover(&fake.app(), &image.digest, &Search::default()).await.unwrap();
    for form in [Form::Bundle, Form::CosignSignature] {
        assert_eq!(found.iter().filter(|piece| piece.form == form).count(), 8, "{form:?}");
    }
}

#[tokio::test]
async fn writers_of_one_program_change_an_index_one_after_the_other() {
    let fake = Fake::old().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    fake.seen();
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..8 {
        let (store, image) = (store.clone(), image.clone());
        writers.spawn(async move {
            let bundle = format!("bundle {n}");
            attach_bundle(&store, &image, bundle.as_bytes(), PREDICATE, now()).await.unwrap();
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let tag = format!("/sha256-{}", image.digest.to_hex());
    let at_tag = fake.seen().into_iter().filter(|seen| seen.path.ends_with(&tag));
    let methods: Vec<String> = at_tag.map(|seen| seen.method.to_string()).collect();
    // Each reads, writes and reads again, and nobody between.
    assert_eq!(methods, ["GET", "PUT", "GET"].repeat(8));
    assert_eq!(fake.document("app", &tag[1..])["manifests"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn an_entry_that_a_slower_writer_puts_back_is_taken_out_again() {
    let fake = Fake::old().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    attach_bundle(&store, &image, b"one", PREDICATE, now()).await.unwrap();
    let tag = format!("sha256-{}", image.digest.to_hex());
    let stale = fake.document("app", &tag).to_string();
    let listed = list(&store, &image.digest, &Search::of([Form::Bundle])).await.unwrap();
    // Right after the entry went, somebody writes what had been read before.
    let (reads, path) = (std::sync::atomic::AtomicUsize::new(0), format!("/{tag}"));
    fake.lie(move |seen| {
        let ours = seen.is(&Method::GET, &path);
        let second = ours && reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1;
        second.then(|| answer(200, &[("content-type", media_type::OCI_INDEX)], stale.clone()))
    });
    fake.seen();
    remove(&store, &image.digest, &listed).await.unwrap();
    let puts = fake.seen().iter().filter(|s| s.method == Method::PUT && s.path.ends_with(&tag)).count();
    assert_eq!(puts, 2, "taken out, put back by another, and taken out again");
    assert!(list(&store, &image.digest, &Search::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_same_signature_is_kept_once_and_another_beside_it() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    for signature in ["one", "two", "one"] {
        attach_signature(&store, &image.digest, &signed(signature)).await.unwrap();
    }
    let document = fake.document("app", OlderTag::Signature.of(&image.digest).as_str());
    assert_eq!(document["layers"].as_array().unwrap().len(), 2);
    let config = document["config"]["digest"].as_str().unwrap().to_owned().parse_digest();
    let mut descriptor = Descriptor::of(media_type::OCI_CONFIG, b"");
    (descriptor.digest, descriptor.size) = (config, document["config"]["size"].as_u64().unwrap());
    let config: Value = serde_json::from_slice(&store.blob(&descriptor, 1 << 20).await.unwrap()).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn one_form_costs_three_requests() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    attach_all(&store, &image).await;
    fake.seen();
    let found = discover(&store, &image.digest, &Search::of([Form::Bundle])).await.unwrap();
    let paths: Vec<String> = fake.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!((found.len(), paths.len()), (1, 3), "{paths:?}");
}

#[tokio::test]
async fn buildkit_attestations_are_found_and_said_to_be_unsigned() {
    let fake = Fake::start().await;
    let store = fake.app();
    let platform = image(&store, "amd64", "content").await;
    let statement = crate::images::blob(&store, media_type::IN_TOTO, b"{\"_type\":1}").await;
    let mut layer = serde_json::to_value(&statement).unwrap();
    layer["annotations"] = json!({ "in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2" });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "layers": [layer],
        "config": { "mediaType": media_type::OCI_CONFIG, "size": statement.size, "digest": statement.digest.to_string() },
    });
    let manifest =
        countersign_registry::Manifest::parse("it", None, manifest.to_string().into_bytes()).unwrap();
    store.put_manifest(&Name::Digest(manifest.descriptor.digest), &manifest).await.unwrap();
    let mut entry = serde_json::to_value(&manifest.descriptor).unwrap();
    entry["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": platform.digest.to_string(),
    });
    let index = json!({ "schemaVersion": 2, "manifests": [platform, entry] });
    let index = countersign_registry::Manifest::parse("it", None, index.to_string().into_bytes()).unwrap();
    crate::images::put(&store, "v1", &index).await;
    let found = discover(&store, &index.descriptor.digest, &Search::default()).await.unwrap();
    assert_eq!((found.len(), found[0].form, found[0].origin), (1, Form::Buildkit, Origin::ImageIndex));
    assert!(!found[0].form.is_signed());
    assert_eq!(found[0].annotations["vnd.docker.reference.digest"], platform.digest.to_string());
    assert_eq!(found[0].bytes, b"{\"_type\":1}");
}

#[tokio::test]
async fn a_dry_run_tells_what_would_be_written_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for store in stores(directory.path()).await {
        let store = store.as_ref();
        let image = image(store, "v1", "content").await;
        let dry = DryRun::new(store);
        let told = attach_bundle(&dry, &image, b"{}", PREDICATE, now()).await.unwrap();
        let told_older = attach_signature(&dry, &image.digest, &signed("s")).await.unwrap();
        assert!(list(store, &image.digest, &Search::default()).await.unwrap().is_empty());
        assert_eq!(attach_bundle(store, &image, b"{}", PREDICATE, now()).await.unwrap(), told);
        assert_eq!(attach_signature(store, &image.digest, &signed("s")).await.unwrap(), told_older);
    }
}

#[tokio::test]
async fn what_is_removed_is_gone_and_the_rest_stays() {
    let directory = tempfile::tempdir().unwrap();
    for store in stores(directory.path()).await {
        let store = store.as_ref();
        let image = image(store, "v1", "content").await;
        attach_all(store, &image).await;
        attach_bundle(store, &image, b"another", PREDICATE, now()).await.unwrap();
        let found = discover(store, &image.digest, &Search::default()).await.unwrap();
        let listed = list(store, &image.digest, &Search::default()).await.unwrap();
        let chosen: Vec<_> = listed
            .into_iter()
            .zip(found)
            .filter(|(_, f)| f.form == Form::CosignSignature || f.bytes == b"another")
            .map(|(l, _)| l)
            .collect();
        assert_eq!(remove(store, &image.digest, &chosen).await.unwrap().len(), 2);
        let left = discover(store, &image.digest, &Search::default()).await.unwrap();
        let forms: Vec<Form> = left.iter().map(|piece| piece.form).collect();
        assert_eq!(forms, [Form::Bundle, Form::CosignAttestation, Form::CosignSbom]);
        assert_eq!(left[0].bytes, b"{\"bundle\":1}");
    }
}

#[tokio::test]
async fn tags_are_listed_page_by_page() {
    let fake = Fake::start().await;
    let store = fake.app();
    for tag in ["v1", "v2", "v3"] {
        image(&store, tag, tag).await;
    }
    let tags: Vec<String> = store.tags().await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(tags, ["v1", "v2", "v3"]);
    let missing = client().repository(&fake.repository("none"));
    fake.lie(|seen| (seen.is(&Method::GET, "/none/")).then(|| answer(404, &[], "{\"errors\":[]}")));
    assert!(matches!(missing.tags().await.unwrap_err(), RegistryError::NotFound { .. }));
}

#[tokio::test]
async fn a_search_asks_only_where_and_for_what_it_is_told() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    attach_all(&store, &image).await;
    fake.seen();
    let older = Search { origins: [Origin::OlderTag].into(), ..Search::default() };
    let found = discover(&store, &image.digest, &older).await.unwrap();
    assert_eq!(found.len(), 3);
    assert!(fake.seen().iter().all(|seen| !seen.is(&Method::GET, "/referrers/")));
    // What the registry did not list itself is not from its list.
    let old = Fake::old().await.app();
    attach_all(&old, &crate::images::image(&old, "v1", "content").await).await;
    for (origin, expected) in [(Origin::ReferrersApi, 0), (Origin::ReferrersTag, 1)] {
        let search = Search { origins: [origin].into(), ..Search::default() };
        assert_eq!(discover(&old, &image.digest, &search).await.unwrap().len(), expected, "{origin:?}");
    }
    for (kind, expected) in [(PREDICATE, (1, 3)), ("https://example.com/other", (0, 1))] {
        let search = Search { predicate_types: [kind.to_owned()].into(), ..Search::of([Form::Bundle]) };
        let found = discover(&store, &image.digest, &search).await.unwrap();
        assert_eq!((found.len(), fake.seen().len()), expected, "what names another type is not read");
    }
}
