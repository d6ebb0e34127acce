//! Our repository read by our client: through rotations of every key, by clients that come often, seldom or
//! once, and at the edges of every date.

use std::sync::Arc;

use crate::common::{self, BASE, Files, World, at};
use countersign_crypto::{KeyPair, KeyType, Signer};
use countersign_trust::tuf::repository::{Lifetimes, Repository, Role, Roles, TargetFile};
use countersign_trust::tuf::{TufError, Updater};
use jiff::{SignedDuration, Timestamp};

fn key(key_type: KeyType) -> Arc<dyn Signer> {
    Arc::new(KeyPair::generate(key_type).unwrap())
}

fn later(time: Timestamp, days: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_hours(24 * days)).unwrap()
}

fn client(files: &Files, cache: &tempfile::TempDir, root: &[u8]) -> Updater<Files> {
    Updater::new(files.clone(), BASE, cache.path(), root.to_vec()).unwrap()
}

#[tokio::test]
async fn every_key_is_rotated_and_every_client_follows() {
    let dir = tempfile::tempdir().unwrap();
    let mut now = at("2026-01-01T00:00:00Z");
    let (mut offline, mut online) = (key(KeyType::EcdsaP256), key(KeyType::EcdsaP256));
    let roles = Roles::offline_and_online(Role::single(offline.public_key()), online.public_key());
    let ring = [offline.clone(), online.clone()];
    let first = [TargetFile::new("trusted_root.json", "epoch 0")];
    let repository =
        Repository::create(dir.path(), &roles, Lifetimes::default(), &ring, &first, now).unwrap();
    let files = Files::default();
    files.load(dir.path());
    let first_root = files.read("1.root.json");

    // One client refreshes in each epoch, one only at the end, one begins in the middle.
    let (often, seldom, middle) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    client(&files, &seldom, &first_root).refresh(now).await.unwrap();
    let mut middle_root = Vec::new();
    for epoch in 1..=12 {
        now = later(now, 30);
        let key_type = if epoch % 2 == 0 { KeyType::EcdsaP256 } else { KeyType::Ed25519 };
        let mut ring = vec![offline.clone(), online.clone()];
        // In turn: the root and targets key, the online key, both.
        if epoch % 3 != 1 {
            offline = key(key_type);
        }
        if epoch % 3 != 0 {
            online = key(key_type);
        }
        ring.extend([offline.clone(), online.clone()]);
        let roles = Roles::offline_and_online(Role::single(offline.public_key()), online.public_key());
        repository.update_root(&roles, &ring, now).unwrap();
        let content = format!("epoch {epoch}");
        let put = [TargetFile::new("trusted_root.json", content.as_str())];
        repository.publish(&put, &[], &[offline.clone(), online.clone()], now).unwrap();
        repository.refresh(std::slice::from_ref(&online), now).unwrap();
        files.load(dir.path());

        let mut updater = client(&files, &often, &first_root);
        updater.refresh(now).await.unwrap();
        assert_eq!(updater.target("trusted_root.json").await.unwrap(), content.as_bytes());
        assert_eq!(updater.trusted().unwrap().root().version, 1 + epoch);
        if epoch == 6 {
            middle_root = repository.root_json(now).unwrap();
        }
    }
    for (cache, root) in [(&seldom, &first_root), (&middle, &middle_root), (&middle, &middle_root)] {
        let mut updater = client(&files, cache, root);
        updater.refresh(now).await.unwrap();
        assert_eq!(updater.target("trusted_root.json").await.unwrap(), b"epoch 12");
    }
}

#[tokio::test]
async fn each_role_past_its_date_is_refused_by_name() {
    let (offline, online) = (key(KeyType::EcdsaP256), key(KeyType::EcdsaP256));
    let roles = Roles::offline_and_online(Role::single(offline.public_key()), online.public_key());
    let ring = [offline, online];
    let now = at("2026-01-01T00:00:00Z");
    let days = |n: i64| SignedDuration::from_hours(24 * n);
    let long = Lifetimes { root: days(99), targets: days(99), snapshot: days(99), timestamp: days(99) };
    for (role, lifetimes) in [
        ("root", Lifetimes { root: days(10), ..long }),
        ("targets", Lifetimes { targets: days(10), ..long }),
        ("snapshot", Lifetimes { snapshot: days(10), ..long }),
        ("timestamp", Lifetimes { timestamp: days(10), ..long }),
    ] {
        let dir = tempfile::tempdir().unwrap();
        Repository::create(dir.path(), &roles, lifetimes, &ring, &[], now).unwrap();
        let files = Files::default();
        files.load(dir.path());
        let cache = tempfile::tempdir().unwrap();
        let root = files.read("1.root.json");
        let end = later(now, 10);
        let before = end.checked_sub(SignedDuration::from_secs(1)).unwrap();
        client(&files, &cache, &root).refresh(before).await.unwrap();
        // The very second of the date is past it, also for metadata that is in the cache.
        match client(&files, &cache, &root).refresh(end).await {
            Err(TufError::Expired { role: found, expires, .. }) => {
                assert_eq!((found.as_str(), expires), (role, end))
            }
            other => panic!("{role}: {other:?}"),
        }
        // Without network the date is noted and the rest verified.
        let mut offline = client(&files, &cache, &root);
        files.asked();
        offline.load_cache(end).unwrap();
        assert_eq!(files.asked(), Vec::<String>::new());
        assert_eq!(offline.trusted().unwrap().expired().iter().collect::<Vec<_>>(), [role]);
    }
}

/// After an attacker with the online key has pushed versions far ahead, new keys let every client back.
#[tokio::test]
async fn new_online_keys_recover_clients_from_versions_pushed_ahead() {
    let world = World::new();
    world.snapshot(1_000_000, &[("targets.json", 1)]);
    world.timestamp(1_000_000, 1_000_000);
    world.client().refresh(common::now()).await.unwrap();

    let new = common::key();
    let mut json = common::root(2, &[&world.root_key], 1, &new);
    *common::member(&mut json, &["roles", "targets"]) = common::role(&[&world.online], 1);
    common::object(common::member(&mut json, &["keys"]))
        .insert(world.online.id.clone(), world.online.json.clone());
    world.root(2, &json, &[&world.root_key]);
    let files = &world.files;
    files.put("2.snapshot.json", common::sign(&common::snapshot(2, &[("targets.json", 1)]), &[&new]));
    files.put("timestamp.json", common::sign(&common::timestamp(2, 2), &[&new]));
    let mut updater = world.client();
    updater.refresh(common::now()).await.unwrap();
    assert_eq!(updater.trusted().unwrap().snapshot().unwrap().version, 2);
}

#[tokio::test]
async fn a_current_client_asks_for_the_next_root_and_the_timestamp_only() {
    let world = World::new();
    let mut updater = world.client();
    updater.refresh(common::now()).await.unwrap();
    updater.target("file.txt").await.unwrap();
    world.files.asked();
    let mut updater = world.client();
    updater.refresh(common::now()).await.unwrap();
    updater.target("file.txt").await.unwrap();
    assert_eq!(world.files.asked(), ["2.root.json", "timestamp.json"]);
}

#[tokio::test]
async fn a_repository_without_consistent_snapshots_is_read_too() {
    let world = World::new();
    let mut json = common::root(2, &[&world.root_key], 1, &world.online);
    common::object(&mut json).remove("consistent_snapshot");
    world.root(2, &json, &[&world.root_key]);
    let files = &world.files;
    for name in ["snapshot.json", "targets.json"] {
        files.put(name, files.read(&format!("1.{name}")));
        files.remove(&format!("1.{name}"));
    }
    files.put("targets/file.txt", "content");
    let mut updater = world.client();
    updater.refresh(common::now()).await.unwrap();
    assert_eq!(updater.target("file.txt").await.unwrap(), b"content");
}

/// The public Sigstore repository as of August 2026: fifteen roots in three forms of keys, delegations included.
#[tokio::test]
async fn the_public_sigstore_repository_verifies_from_its_first_root() {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sigstore");
    let files = Files::default();
    files.load(&data);
    let npm = "160677eb6e1c7083c89b166b20f8fe4e837fb71181506aff1991b80b89184f7d.keys.json";
    let npm = format!("targets/registry.npmjs.org/{npm}");
    files.put(&npm, std::fs::read(data.join(&npm)).unwrap());
    let cache = tempfile::tempdir().unwrap();
    let mut updater = client(&files, &cache, &files.read("1.root.json"));
    updater.refresh(at("2026-08-22T00:00:00Z")).await.unwrap();
    assert_eq!(updater.trusted().unwrap().root().version, 15);
    assert!(updater.target("rekor.pub").await.unwrap().starts_with(b"-----BEGIN PUBLIC KEY-----"));
    let keys = updater.target("registry.npmjs.org/keys.json").await.unwrap();
    assert_eq!(keys.len(), 2121);
    assert!(matches!(updater.target("registry.npmjs.org/other").await, Err(TufError::NoSuchTarget(_))));
}
