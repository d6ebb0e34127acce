//! Named instances: added from a repository or a file, refreshed, exported, and never half there.

use std::sync::Arc;

use crate::common::{BASE, Files, NoNetwork, at};
use countersign_crypto::{KeyPair, KeyType, Signer};
use countersign_trust::instances::{FetchedRoot, InstanceError, Instances};
use countersign_trust::tuf::TufError;
use countersign_trust::tuf::repository::{Lifetimes, Repository, Role, Roles, TargetFile};
use jiff::Timestamp;

const ROOT: &str = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[]}"#;
const CONFIG: &str = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","caUrls":[]}"#;

struct Publisher {
    dir: tempfile::TempDir,
    ring: [Arc<dyn Signer>; 2],
    files: Files,
    repository: Repository,
}

impl Publisher {
    fn new(targets: &[(&str, &str)]) -> Self {
        let key = || -> Arc<dyn Signer> { Arc::new(KeyPair::generate(KeyType::EcdsaP256).unwrap()) };
        let ring = [key(), key()];
        let dir = tempfile::tempdir().unwrap();
        let roles = Roles::offline_and_online(Role::single(ring[0].public_key()), ring[1].public_key());
        let targets: Vec<TargetFile> = targets.iter().map(|(n, c)| TargetFile::new(n, *c)).collect();
        let repository =
            Repository::create(dir.path(), &roles, Lifetimes::default(), &ring, &targets, now()).unwrap();
        let publisher = Self { dir, ring, files: Files::default(), repository };
        publisher.serve();
        publisher
    }

    fn both() -> Self {
        Self::new(&[("trusted_root.json", ROOT), ("signing_config.v0.2.json", CONFIG)])
    }

    fn serve(&self) {
        self.files.load(self.dir.path());
    }
}

fn now() -> Timestamp {
    at("2026-01-01T00:00:00Z")
}

fn empty() -> (tempfile::TempDir, Instances) {
    let dir = tempfile::tempdir().unwrap();
    let instances = Instances::at(&dir.path().join("instances"));
    (dir, instances)
}

#[tokio::test]
async fn an_instance_is_added_refreshed_and_removed() {
    let publisher = Publisher::both();
    let (_dir, instances) = empty();
    let root = FetchedRoot::fetch(&publisher.files, BASE).await.unwrap();
    let fingerprint = root.fingerprint();
    let added = instances.add("prod", &root, Some(&fingerprint), &publisher.files, now()).await.unwrap();
    assert_eq!(added.trusted_root().unwrap(), ROOT.as_bytes());
    assert_eq!(added.signing_config().unwrap().unwrap(), CONFIG.as_bytes());
    assert_eq!(added.description.fingerprint, fingerprint);
    assert_eq!(instances.list().unwrap(), std::slice::from_ref(&added));
    assert_eq!(instances.default_instance().unwrap().unwrap().name, "prod", "the only one");

    let newer = ROOT.replace("[]", "[ ]");
    let put = [TargetFile::new("trusted_root.json", newer.as_str())];
    publisher.repository.publish(&put, &["signing_config.v0.2.json"], &publisher.ring, now()).unwrap();
    publisher.serve();
    let later = at("2026-01-02T00:00:00Z");
    let updated = instances.update("prod", &publisher.files, later).await.unwrap();
    assert_eq!(updated.trusted_root().unwrap(), newer.as_bytes());
    assert_eq!(updated.signing_config().unwrap(), None, "withdrawn there, gone here");
    assert_eq!(updated.description.updated, "2026-01-02T00:00:00Z");

    instances.remove("prod").unwrap();
    assert!(matches!(instances.get("prod"), Err(InstanceError::Unknown { known, .. }) if known == "none"));
}

#[tokio::test]
async fn the_repository_is_found_below_the_address_of_the_service() {
    let publisher = Publisher::both();
    let files = Files::default();
    for entry in std::fs::read_dir(publisher.dir.path()).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            let name = entry.file_name().into_string().unwrap();
            files.put(&format!("tuf/{name}"), std::fs::read(entry.path()).unwrap());
        }
    }
    for entry in std::fs::read_dir(publisher.dir.path().join("targets")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        files.put(&format!("tuf/targets/{name}"), std::fs::read(entry.path()).unwrap());
    }
    // A copy of the root lies at the address itself, too.
    files.put("root.json", publisher.files.read("root.json"));
    let (_dir, instances) = empty();
    let root = FetchedRoot::fetch(&files, &format!("{BASE}/")).await.unwrap();
    let added = instances.add("x", &root, None, &files, now()).await.unwrap();
    assert_eq!(added.description.url.unwrap(), BASE);
    assert_eq!(added.description.tuf_url.unwrap(), format!("{BASE}/tuf"));
}

#[tokio::test]
async fn another_root_than_the_expected_one_is_not_trusted() {
    let publisher = Publisher::both();
    let (_dir, instances) = empty();
    let root = FetchedRoot::fetch(&publisher.files, BASE).await.unwrap();
    let wrong = "0".repeat(64);
    let result = instances.add("x", &root, Some(&wrong), &publisher.files, now()).await;
    assert!(matches!(result, Err(InstanceError::Fingerprint { found, .. }) if found == root.fingerprint()));
    assert!(instances.list().unwrap().is_empty());
    root.check(&format!("sha256:{}", root.fingerprint().to_uppercase())).unwrap();
}

#[tokio::test]
async fn an_instance_that_cannot_be_completed_leaves_nothing_behind() {
    for targets in [
        vec![],
        vec![("signing_config.v0.2.json", CONFIG)],
        vec![("trusted_root.json", CONFIG)],
        vec![("trusted_root.json", "not json")],
        vec![("trusted_root.json", ROOT), ("signing_config.v0.2.json", ROOT)],
    ] {
        let publisher = Publisher::new(&targets);
        let (dir, instances) = empty();
        let root = FetchedRoot::fetch(&publisher.files, BASE).await.unwrap();
        assert!(instances.add("x", &root, None, &publisher.files, now()).await.is_err(), "{targets:?}");
        assert_eq!(std::fs::read_dir(dir.path().join("instances")).unwrap().count(), 0, "{targets:?}");
    }
}

#[tokio::test]
async fn a_refresh_that_fails_changes_nothing() {
    let publisher = Publisher::both();
    let (_dir, instances) = empty();
    let root = FetchedRoot::fetch(&publisher.files, BASE).await.unwrap();
    let added = instances.add("x", &root, None, &publisher.files, now()).await.unwrap();
    let stale = at("2026-02-01T00:00:00Z");
    let error = instances.update("x", &publisher.files, stale).await.unwrap_err();
    assert!(matches!(error, InstanceError::Tuf(TufError::Expired { .. })), "{error}");
    let error = instances.update("x", &NoNetwork, now()).await.unwrap_err();
    assert!(matches!(error, InstanceError::Tuf(TufError::Transport { .. })), "{error}");
    assert_eq!(instances.get("x").unwrap(), added);
    assert_eq!(added.trusted_root().unwrap(), ROOT.as_bytes());
}

#[tokio::test]
async fn an_address_without_a_root_says_what_was_looked_for() {
    let error = FetchedRoot::fetch(&Files::default(), BASE).await.unwrap_err();
    assert!(error.to_string().contains("tuf/root.json"), "{error}");
    let files = Files::default();
    files.put("root.json", "{}");
    assert!(matches!(FetchedRoot::fetch(&files, BASE).await, Err(InstanceError::Tuf(_))));
}

#[tokio::test]
async fn an_exported_instance_is_added_on_a_machine_without_network() {
    let publisher = Publisher::both();
    let (_a, here) = empty();
    let root = FetchedRoot::fetch(&publisher.files, BASE).await.unwrap();
    here.add("prod", &root, None, &publisher.files, now()).await.unwrap();
    let exported = here.export("prod").unwrap();
    let text = String::from_utf8(exported.clone()).unwrap();
    assert!(text.starts_with(
        r#"{"mediaType":"application/vnd.dev.sigstore.clienttrustconfig.v0.1+json","trustedRoot":{"#
    ));

    let (_b, there) = empty();
    let added = there.add_file("prod", &exported, now()).unwrap();
    assert_eq!(added.trusted_root().unwrap(), ROOT.as_bytes());
    assert_eq!(added.signing_config().unwrap().unwrap(), CONFIG.as_bytes());
    assert!(matches!(there.update("prod", &NoNetwork, now()).await, Err(InstanceError::NoAddress(_))));
    assert_eq!(there.export("prod").unwrap(), exported);

    let bare = there.add_file("bare", ROOT.as_bytes(), now()).unwrap();
    assert_eq!(bare.signing_config().unwrap(), None);
    assert!(matches!(there.add_file("bare", ROOT.as_bytes(), now()), Err(InstanceError::Exists(_))));
    for bad in ["", "{}", CONFIG, "[]"] {
        assert!(matches!(there.add_file("bad", bad.as_bytes(), now()), Err(InstanceError::Document { .. })));
    }
}

#[test]
fn the_default_is_the_chosen_one_and_goes_with_it() {
    let (_dir, instances) = empty();
    assert_eq!(instances.default_instance().unwrap(), None);
    for name in ["a", "b"] {
        instances.add_file(name, ROOT.as_bytes(), now()).unwrap();
    }
    assert_eq!(instances.default_instance().unwrap(), None, "two, and none chosen");
    assert!(matches!(
        instances.set_default("c"),
        Err(InstanceError::Unknown { known, .. }) if known == "a, b"
    ));
    instances.set_default("b").unwrap();
    assert_eq!(instances.default_instance().unwrap().unwrap().name, "b");
    assert_eq!(instances.list().unwrap().iter().map(|i| i.is_default).collect::<Vec<_>>(), [false, true]);
    instances.remove("b").unwrap();
    assert_eq!(instances.default_instance().unwrap().unwrap().name, "a");
}

#[tokio::test]
async fn names_are_never_paths() {
    let (dir, instances) = empty();
    std::fs::create_dir_all(dir.path().join("instances")).unwrap();
    for name in ["../x", "a/b", "/abs", "..", "", "default"] {
        assert!(matches!(instances.add_file(name, ROOT.as_bytes(), now()), Err(InstanceError::Name(_))));
        assert!(matches!(instances.get(name), Err(InstanceError::Name(_))));
        assert!(matches!(instances.remove(name), Err(InstanceError::Name(_))));
        assert!(matches!(instances.export(name), Err(InstanceError::Name(_))));
        assert!(matches!(instances.update(name, &NoNetwork, now()).await, Err(InstanceError::Name(_))));
    }
}
