//! Archives of `docker save` and layouts, good and hostile. Hostile ones end in an error, soon, and touch nothing.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use countersign_crypto::HashAlgorithm;
use countersign_registry::descriptor::media_type;
use countersign_registry::evidence::{Form, Search, list};
use countersign_registry::manifest::Kind;
use countersign_registry::{Archive, Layout, Name, RegistryError, Store};
use serde_json::json;

use crate::images::{image, tagged};
use crate::tarball::{archive, header, member, sum};

fn written(directory: &Path, bytes: &[u8]) -> PathBuf {
    let path = directory.join("image.tar");
    fs::write(&path, bytes).unwrap();
    path
}

fn sha256(bytes: &[u8]) -> String {
    HashAlgorithm::Sha256.digest(bytes).to_string()
}

/// The older form: two layers, the second a link to the first, as Docker writes equal layers.
fn docker_save(layer: &[u8], diff_id: &str) -> Vec<u8> {
    let config =
        json!({ "os": "linux", "rootfs": { "type": "layers", "diff_ids": [diff_id, diff_id] } }).to_string();
    let list = json!([{ "Config": "c.json", "RepoTags": ["acme/app:v1"], "Layers": ["a/layer.tar", "b/layer.tar"] }]);
    let mut all = member("a/", b'5', "", b"");
    all.extend(member("a/layer.tar", b'0', "", layer));
    all.extend(member("b/layer.tar", b'2', "../a/layer.tar", b""));
    all.extend(archive(&[("c.json", config.as_bytes()), ("manifest.json", list.to_string().as_bytes())]));
    all
}

#[tokio::test]
async fn the_older_form_of_docker_save_is_read_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let layer = b"layer".repeat(1000);
    let archive = Archive::open(&written(directory.path(), &docker_save(&layer, &sha256(&layer)))).unwrap();
    let manifest = archive.fetch(&tagged("v1")).await.unwrap();
    assert_eq!(archive.image().unwrap(), Name::Digest(manifest.descriptor.digest));
    let Kind::Image(document) = &manifest.kind else { panic!("an index") };
    assert_eq!(document.layers.len(), 2);
    assert_eq!(archive.blob(&document.layers[1], 1 << 20).await.unwrap(), layer);
    assert!(archive.has(&document.config).await.unwrap());
    assert!(matches!(archive.fetch(&tagged("v2")).await.unwrap_err(), RegistryError::NotFound { .. }));
    assert_eq!(archive.tags().await.unwrap().len(), 1);
    let error = archive.put_manifest(&tagged("v1"), &manifest).await.unwrap_err();
    assert!(error.to_string().contains("only read"), "{error}");
}

#[test]
fn layers_that_are_not_the_image_s_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let error =
        Archive::open(&written(directory.path(), &docker_save(b"evil", &sha256(b"good")))).unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
}

#[tokio::test]
async fn a_layout_in_a_tar_file_is_a_layout() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(&directory.path().join("layout")).unwrap();
    let image = image(&layout, "v1", "content").await;
    let mut files = Vec::new();
    collect(layout.directory(), "", &mut files);
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    let archive = Archive::open(&written(directory.path(), &archive(&files))).unwrap();
    let manifest = archive.fetch(&tagged("v1")).await.unwrap();
    assert_eq!(manifest.descriptor.digest, image.digest);
    assert_eq!(archive.image().unwrap(), Name::Digest(image.digest));
    let Kind::Image(document) = &manifest.kind else { panic!("an index") };
    assert_eq!(archive.blob(&document.layers[0], 100).await.unwrap(), b"content");
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            collect(&path, &format!("{name}/"), files);
        } else {
            files.push((name, fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn g06_hostile_archives_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let long = vec![b'a'; 70 << 10];
    let mut broken = header("x", b'0', "", "00000000000\0");
    broken[0] = b'y';
    let mut binary = header("x", b'0', "", "");
    binary[124..136].fill(0xff);
    sum(&mut binary);
    for (what, bytes, words) in [
        ("traversal", member("../x", b'0', "", b"x"), "leads out"),
        ("inner traversal", member("a/../../x", b'0', "", b"x"), "leads out"),
        ("absolute", member("/etc/passwd", b'0', "", b"x"), "leads out"),
        ("symlink out", member("x", b'2', "../../etc/passwd", b""), "leads out"),
        ("absolute symlink", member("x", b'2', "/etc/passwd", b""), "leads out"),
        ("hard link out", member("x", b'1', "../y", b""), "leads out"),
        ("device", member("x", b'3', "", b""), "no file"),
        ("fifo", member("x", b'6', "", b""), "no file"),
        ("sparse", member("x", b'S', "", b""), "no file"),
        ("bomb of a size", header("x", b'0', "", "77777777777\0"), "beyond the end"),
        ("endless binary size", binary, "no number"),
        ("no number", header("x", b'0', "", "zz\0"), "no number"),
        ("wrong sum", broken, "no tar archive"),
        ("not a tar", b"PK\x03\x04".repeat(200), "no tar archive"),
        ("truncated", header("x", b'0', "", "00000000000\0")[..100].to_vec(), "within a header"),
        ("long name", member("x", b'L', "", &long), "64 KiB"),
        ("pax without end", member("x", b'x', "", b"999999 path=a\n"), "cannot be read"),
        ("pax of nothing", member("x", b'x', "", b"0 "), "cannot be read"),
        ("twice", [member("x", b'0', "", b"1"), member("x", b'0', "", b"2")].concat(), "two members"),
        ("file and link", [member("x", b'0', "", b"1"), member("x", b'2', "y", b"")].concat(), "two members"),
        ("two links", [member("x", b'2', "y", b""), member("x", b'2', "z", b"")].concat(), "two members"),
        ("16 MiB of names", long_names(), "16 MiB"),
        ("empty", Vec::new(), "manifest.json"),
        ("link in a circle", member("manifest.json", b'2', "manifest.json", b""), "manifest.json"),
        ("a bomb of a document", member("manifest.json", b'0', "", &vec![b'['; 5 << 20]), "4 MiB"),
        ("deep", member("manifest.json", b'0', "", &vec![b'['; 1 << 20]), "manifest.json"),
        ("both forms of list", archive(&[("manifest.json", b"{}")]), "manifest.json"),
    ] {
        let error = Archive::open(&written(directory.path(), &bytes)).unwrap_err();
        assert!(error.to_string().contains(words), "{what}: {error}");
    }
    // Names from a header for the next member are checked like all others.
    let sneaky = [member("x", b'x', "", b"16 path=../../x\n"), member("y", b'0', "", b"")].concat();
    let error = Archive::open(&written(directory.path(), &sneaky)).unwrap_err();
    assert!(
        error.to_string().contains("leads out") || error.to_string().contains("cannot be read"),
        "{error}"
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing was unpacked");
}

#[test]
fn g06_one_layer_named_ten_thousand_times_is_hashed_once_and_configurations_add_up() {
    let directory = tempfile::tempdir().unwrap();
    let many = |layers: usize, images: usize, padding: usize| {
        // Hashed again for each name this would be twenty gigabytes.
        let layer = vec![7; 2 << 20];
        let diff_ids = vec![sha256(&layer); layers];
        let config =
            json!({ "x": "a".repeat(padding), "rootfs": { "type": "layers", "diff_ids": diff_ids } });
        let image = json!({ "Config": "c.json", "Layers": vec!["layer.tar"; layers] });
        let list = json!(vec![image; images]).to_string();
        let config = config.to_string();
        let files: [(&str, &[u8]); 3] =
            [("layer.tar", &layer), ("c.json", config.as_bytes()), ("manifest.json", list.as_bytes())];
        Archive::open(&written(directory.path(), &archive(&files)))
    };
    assert!(many(10_000, 1, 0).is_ok());
    assert!(many(1, 10, 1 << 20).is_ok());
    let error = many(1, 70, 1 << 20).unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
}

/// Three hundred empty files whose names are as long as a header may make them.
fn long_names() -> Vec<u8> {
    let names = (0..300).map(|n| format!("{n}{}", "a".repeat(60_000)));
    let one = |name: String| [member("x", b'L', "", name.as_bytes()), member("y", b'0', "", b"")].concat();
    names.flat_map(one).collect()
}

#[test]
fn g06_a_hundred_thousand_members_are_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    let mut file = std::io::BufWriter::new(fs::File::create(&path).unwrap());
    for n in 0..100_001 {
        file.write_all(&header(&n.to_string(), b'0', "", "00000000000\0")).unwrap();
    }
    file.into_inner().unwrap();
    let error = Archive::open(&path).unwrap_err();
    assert!(error.to_string().contains("100000 members"), "{error}");
}

async fn layout(directory: &Path) -> (Layout, countersign_registry::Descriptor) {
    let layout = Layout::create(directory).unwrap();
    let image = image(&layout, "v1", "content").await;
    (layout, image)
}

#[tokio::test]
async fn g06_blobs_that_are_not_their_digest_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (layout, image) = layout(directory.path()).await;
    let path = directory.path().join("blobs/sha256").join(image.digest.to_hex());
    let mut bytes = fs::read(&path).unwrap();
    bytes.push(b' ');
    fs::write(&path, bytes).unwrap();
    for name in [tagged("v1"), Name::Digest(image.digest)] {
        let error = layout.fetch(&name).await.unwrap_err();
        assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
    }
    let content = countersign_registry::Descriptor::of("x", b"content");
    fs::write(directory.path().join("blobs/sha256").join(content.digest.to_hex()), b"CONTENT").unwrap();
    let error = layout.blob(&content, 100).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
}

#[tokio::test]
async fn g06_links_and_devices_in_a_layout_are_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (layout, image) = layout(directory.path()).await;
    let path = directory.path().join("blobs/sha256").join(image.digest.to_hex());
    let elsewhere = directory.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    for target in [elsewhere.as_path(), Path::new("/dev/zero"), Path::new("/etc/passwd")] {
        symlink(target, &path).unwrap();
        let error = layout.fetch(&tagged("v1")).await.unwrap_err();
        assert!(error.to_string().contains("found a link"), "{error}");
        fs::remove_file(&path).unwrap();
    }
    // A write does not go through a link either.
    let outside = tempfile::tempdir().unwrap();
    fs::remove_dir_all(directory.path().join("blobs/sha256")).unwrap();
    symlink(outside.path(), directory.path().join("blobs/sha256")).unwrap();
    assert!(Layout::open(directory.path()).is_err());
    let blob = countersign_registry::Descriptor::of("x", b"x");
    assert!(layout.put_blob(&blob, &b"x".to_vec().into()).await.is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn g06_a_huge_index_meets_the_limit_first() {
    let directory = tempfile::tempdir().unwrap();
    let (layout, _) = layout(directory.path()).await;
    // Ten gigabytes which take no room on disk.
    let index = fs::OpenOptions::new().write(true).open(directory.path().join("index.json")).unwrap();
    index.set_len(10 << 30).unwrap();
    let error = layout.fetch(&tagged("v1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    fs::remove_file(directory.path().join("index.json")).unwrap();
    symlink("/etc/passwd", directory.path().join("index.json")).unwrap();
    assert!(layout.tags().await.unwrap_err().to_string().contains("found a link"));
}

#[tokio::test]
async fn a_layout_is_not_made_over_other_files() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("mine"), b"x").unwrap();
    assert!(matches!(Layout::create(directory.path()).unwrap_err(), RegistryError::Usage(_)));
    assert!(matches!(Layout::open(directory.path()).unwrap_err(), RegistryError::NotFound { .. }));
    fs::write(directory.path().join("oci-layout"), br#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    assert!(matches!(Layout::open(directory.path()).unwrap_err(), RegistryError::Malformed { .. }));
}

#[tokio::test]
async fn what_cosign_saved_is_found_by_its_kind() {
    let directory = tempfile::tempdir().unwrap();
    let (layout, image) = layout(directory.path()).await;
    crate::evidence::attach_all(&layout, &image).await;
    // cosign writes kinds and no names.
    let path = directory.path().join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let entries = index["manifests"].as_array_mut().unwrap();
    entries.retain(|entry| entry["annotations"].get("kind").is_some());
    for entry in entries.iter_mut() {
        entry["annotations"].as_object_mut().unwrap().remove("org.opencontainers.image.ref.name");
    }
    assert_eq!(entries.len(), 3);
    fs::write(&path, index.to_string()).unwrap();
    assert_eq!(layout.image().unwrap(), Name::Digest(image.digest));
    let tag = countersign_registry::evidence::OlderTag::Signature.of(&image.digest);
    assert!(layout.fetch(&Name::Tag(tag)).await.is_ok());
    // It is the evidence of that image and of no other.
    let other = HashAlgorithm::Sha256.digest(b"other");
    let tag = countersign_registry::evidence::OlderTag::Signature.of(&other);
    assert!(matches!(layout.fetch(&Name::Tag(tag)).await.unwrap_err(), RegistryError::NotFound { .. }));
}

#[tokio::test]
async fn referrers_that_other_programs_list_in_a_layout_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let (layout, image) = layout(directory.path()).await;
    crate::evidence::attach_all(&layout, &image).await;
    // Others write bare entries: no artifact type, no annotations, no name for the image.
    let path = directory.path().join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let entries = index["manifests"].as_array_mut().unwrap();
    entries.retain(|entry| !entry.to_string().contains("sha256-"));
    for entry in entries.iter_mut() {
        entry.as_object_mut().unwrap().remove("annotations");
        entry.as_object_mut().unwrap().remove("artifactType");
    }
    assert_eq!(entries.len(), 2);
    fs::write(&path, index.to_string()).unwrap();
    assert_eq!(layout.image().unwrap(), Name::Digest(image.digest));
    let referrers = layout.referrers(&image.digest).await.unwrap();
    assert_eq!(referrers.descriptors[0].artifact_type.as_deref(), Some(media_type::BUNDLE));
    assert!(layout.referrers(&HashAlgorithm::Sha256.digest(b"x")).await.unwrap().descriptors.is_empty());
}

#[tokio::test]
async fn evidence_that_is_listed_and_not_there_is_an_error_and_not_its_absence() {
    let directory = tempfile::tempdir().unwrap();
    let (layout, image) = layout(&directory.path().join("layout")).await;
    crate::evidence::attach_all(&layout, &image).await;
    let all = Search::default();
    let whole = list(&layout, &image.digest, &all).await.unwrap();
    assert_eq!(whole.len(), 4);
    for piece in whole {
        let blob = format!("blobs/sha256/{}", piece.manifest.digest.to_hex());
        let kept = fs::read(layout.directory().join(&blob)).unwrap();
        fs::remove_file(layout.directory().join(&blob)).unwrap();
        // In an archive only the older tags are looked up.
        let mut files = Vec::new();
        collect(layout.directory(), "", &mut files);
        let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
        let archive = Archive::open(&written(directory.path(), &archive(&files))).unwrap();
        let stores: [(&dyn Store, bool); 2] = [(&layout, true), (&archive, piece.form != Form::Bundle)];
        for (store, looks) in stores {
            let found = list(store, &image.digest, &Search::of([piece.form])).await;
            let told = matches!(&found, Err(RegistryError::Malformed { message, .. }) if message.contains("is listed"));
            assert_eq!(told, looks, "{:?}: {found:?}", piece.form);
        }
        fs::write(layout.directory().join(&blob), kept).unwrap();
    }
}

#[tokio::test]
async fn one_referrer_listed_a_thousand_times_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let (layout, image) = layout(directory.path()).await;
    crate::evidence::attach_all(&layout, &image).await;
    let path = directory.path().join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let entries = index["manifests"].as_array_mut().unwrap();
    let referrer = entries.iter().find(|e| e["annotations"].get("kind").is_none()).unwrap().clone();
    entries.extend(vec![referrer; 1000]);
    fs::write(&path, index.to_string()).unwrap();
    assert_eq!(layout.referrers(&image.digest).await.unwrap().descriptors.len(), 1);
}

#[tokio::test]
async fn half_of_a_blob_that_is_left_of_a_broken_copy_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let (layout, _) = layout(directory.path()).await;
    let blob = crate::images::blob(&layout, "x", b"whole").await;
    fs::write(directory.path().join("blobs/sha256").join(blob.digest.to_hex()), b"wh").unwrap();
    assert!(!layout.has(&blob).await.unwrap());
    layout.put_blob(&blob, &b"whole".to_vec().into()).await.unwrap();
    assert_eq!(layout.blob(&blob, 100).await.unwrap(), b"whole");
}
