//! The publisher's side: what is written, who may sign, what survives rotation and crashes.

use std::path::Path;
use std::sync::Arc;

use countersign_crypto::{KeyPair, KeyType, Signer, encoding, sha256};
use countersign_trust::tuf::TufError;
use countersign_trust::tuf::json::Json;
use countersign_trust::tuf::repository::{Lifetimes, Repository, Role, Roles, TargetFile};
use jiff::{SignedDuration, Timestamp};

fn key() -> Arc<dyn Signer> {
    Arc::new(KeyPair::generate(KeyType::EcdsaP256).unwrap())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const DAY: i64 = 24;

fn later(time: Timestamp, days: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_hours(days * DAY)).unwrap()
}

struct Instance {
    dir: tempfile::TempDir,
    offline: Arc<dyn Signer>,
    online: Arc<dyn Signer>,
    roles: Roles,
    now: Timestamp,
}

impl Instance {
    fn new() -> Self {
        let (offline, online) = (key(), key());
        let roles = Roles::offline_and_online(Role::single(offline.public_key()), online.public_key());
        Self { dir: tempfile::tempdir().unwrap(), offline, online, roles, now: at("2026-01-01T00:00:00Z") }
    }

    fn create(&self) -> Repository {
        let ring = [self.offline.clone(), self.online.clone()];
        let target = TargetFile::new("trusted_root.json", "one");
        Repository::create(self.dir.path(), &self.roles, Lifetimes::default(), &ring, &[target], self.now)
            .unwrap()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn versions(repository: &Repository, now: Timestamp) -> Vec<(&'static str, u64)> {
    repository.status(now).unwrap().iter().map(|s| (s.role, s.version)).collect()
}

#[test]
fn a_new_repository_has_the_files_of_a_consistent_snapshot() {
    let instance = Instance::new();
    instance.create();
    assert_eq!(
        names(instance.dir.path()),
        [
            ".lock",
            "1.root.json",
            "1.snapshot.json",
            "1.targets.json",
            "root.json",
            "targets",
            "timestamp.json"
        ]
    );
    let hash = encoding::hex_encode(&sha256(b"one"));
    assert_eq!(names(&instance.dir.path().join("targets")), [format!("{hash}.trusted_root.json")]);
    let root = std::fs::read(instance.dir.path().join("1.root.json")).unwrap();
    assert_eq!(root, std::fs::read(instance.dir.path().join("root.json")).unwrap());
    let Json::Object(file) = Json::parse(&root).unwrap() else { panic!() };
    let Json::Object(signed) = &file["signed"] else { panic!() };
    assert_eq!(signed["expires"], Json::from("2027-01-01T00:00:00Z"));
    assert_eq!(signed["consistent_snapshot"], Json::Bool(true));
    let Json::Object(keys) = &signed["keys"] else { panic!() };
    for (id, key) in keys {
        assert_eq!(
            *id,
            encoding::hex_encode(&sha256(&key.canonical())),
            "key ids are those everyone computes"
        );
        let Json::Object(key) = key else { panic!() };
        assert_eq!((&key["keytype"], &key["scheme"]), (&"ecdsa".into(), &"ecdsa-sha2-nistp256".into()));
    }
}

#[test]
fn a_directory_with_a_repository_is_not_taken_over() {
    let instance = Instance::new();
    instance.create();
    let ring = [instance.offline.clone(), instance.online.clone()];
    let again = Repository::create(
        instance.dir.path(),
        &instance.roles,
        Lifetimes::default(),
        &ring,
        &[],
        instance.now,
    );
    assert!(matches!(again, Err(TufError::Repository(_))));
}

#[test]
fn the_online_key_alone_refreshes_and_nothing_else() {
    let instance = Instance::new();
    let repository = instance.create();
    let online = [instance.online.clone()];
    let now = later(instance.now, 1);
    repository.refresh(&online, now).unwrap();
    assert_eq!(versions(&repository, now), [("root", 1), ("targets", 1), ("snapshot", 1), ("timestamp", 2)]);
    assert_eq!(repository.status(now).unwrap()[3].expires, later(now, 7));
    let put = [TargetFile::new("x", "y")];
    assert!(matches!(
        repository.publish(&put, &[], &online, now),
        Err(TufError::Signers { role, required: 1, found: 0 }) if role == "targets"
    ));
    assert!(matches!(
        repository.update_root(&instance.roles, &online, now),
        Err(TufError::Signers { role, .. }) if role == "root"
    ));
    assert!(repository.refresh(std::slice::from_ref(&instance.offline), now).is_err());
}

#[test]
fn a_snapshot_near_its_end_is_renewed_on_the_way() {
    let instance = Instance::new();
    let repository = instance.create();
    let online = [instance.online.clone()];
    repository.refresh(&online, later(instance.now, 240)).unwrap();
    assert_eq!(repository.status(instance.now).unwrap()[2].version, 1);
    repository.refresh(&online, later(instance.now, 250)).unwrap();
    assert_eq!(repository.status(instance.now).unwrap()[2].version, 2);
}

#[test]
fn expired_metadata_can_be_renewed() {
    let instance = Instance::new();
    let repository = instance.create();
    let now = later(instance.now, 1000);
    let ring = [instance.offline.clone(), instance.online.clone()];
    repository.update_root(&instance.roles, &ring, now).unwrap();
    repository.publish(&[], &[], &ring, now).unwrap();
    assert!(repository.status(now).unwrap().iter().all(|s| s.expires > now));
}

#[test]
fn targets_are_replaced_and_withdrawn() {
    let instance = Instance::new();
    let repository = instance.create();
    let ring = [instance.offline.clone(), instance.online.clone()];
    let put = [
        TargetFile::new("trusted_root.json", "two"),
        TargetFile::new("rekor.pub", "key").with_usage("Rekor", true, "https://log.example"),
    ];
    repository.publish(&put, &[], &ring, instance.now).unwrap();
    assert_eq!(repository.target("trusted_root.json", instance.now).unwrap(), b"two");
    let custom =
        repository.trusted(instance.now).unwrap().targets("targets").unwrap().content.targets["rekor.pub"]
            .custom
            .clone();
    assert_eq!(
        custom.unwrap().canonical(),
        br#"{"sigstore":{"status":"Active","uri":"https://log.example","usage":"Rekor"}}"#
    );
    repository.publish(&[], &["rekor.pub"], &ring, instance.now).unwrap();
    assert!(matches!(repository.target("rekor.pub", instance.now), Err(TufError::NoSuchTarget(_))));
    assert!(repository.publish(&[], &["rekor.pub"], &ring, instance.now).is_err());
    assert_eq!(
        versions(&repository, instance.now),
        [("root", 1), ("targets", 3), ("snapshot", 3), ("timestamp", 3)]
    );
}

#[test]
fn names_that_are_paths_are_not_published_and_not_served() {
    let instance = Instance::new();
    let repository = instance.create();
    let ring = [instance.offline.clone(), instance.online.clone()];
    for name in ["../x", "a/b", "/etc/passwd", ".hidden", "", "a\\b", "a\0b", "é"] {
        let put = [TargetFile::new(name, "x")];
        assert!(
            matches!(repository.publish(&put, &[], &ring, instance.now), Err(TufError::UnsafeName { .. })),
            "{name:?}"
        );
    }
    for path in
        ["../secret.json", ".lock", ".pending.json", "targets/../root.json", "targets/", "", "targets"]
    {
        assert_eq!(repository.read(path).unwrap(), None, "{path:?}");
    }
    assert!(repository.read("1.root.json").unwrap().is_some());
}

#[test]
fn a_threshold_of_two_needs_two() {
    let (a, b, c, online) = (key(), key(), key(), key());
    let role = Role { keys: [&a, &b, &c].iter().map(|k| k.public_key().clone()).collect(), threshold: 2 };
    let roles = Roles::offline_and_online(role, online.public_key());
    let now = at("2026-01-01T00:00:00Z");
    let create = |ring: &[Arc<dyn Signer>]| {
        let dir = tempfile::tempdir().unwrap();
        Repository::create(dir.path(), &roles, Lifetimes::default(), ring, &[], now).map(drop)
    };
    assert!(matches!(
        create(&[a.clone(), online.clone()]),
        Err(TufError::Signers { required: 2, found: 1, .. })
    ));
    assert!(create(&[a.clone(), a.clone(), online.clone()]).is_err(), "one key twice is one key");
    create(&[a.clone(), c.clone(), online.clone()]).unwrap();
}

#[test]
fn roles_that_make_no_sense_are_refused() {
    let online = key();
    let now = at("2026-01-01T00:00:00Z");
    let one = online.public_key().clone();
    for role in [
        Role { keys: vec![], threshold: 0 },
        Role { keys: vec![one.clone()], threshold: 0 },
        Role { keys: vec![one.clone()], threshold: 2 },
        Role { keys: vec![one.clone(), one.clone()], threshold: 2 },
        Role::single(KeyPair::generate(KeyType::EcdsaP384).unwrap().public_key()),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let roles = Roles::offline_and_online(role, &one);
        let ring = [online.clone()];
        let made = Repository::create(dir.path(), &roles, Lifetimes::default(), &ring, &[], now);
        assert!(matches!(made, Err(TufError::Repository(_))), "{roles:?}");
    }
}

#[test]
fn rotating_a_role_signs_its_metadata_anew_in_the_same_step() {
    let instance = Instance::new();
    let repository = instance.create();
    let online = key();
    let roles = Roles::offline_and_online(Role::single(instance.offline.public_key()), online.public_key());
    let without_new = [instance.offline.clone(), instance.online.clone()];
    assert!(matches!(
        repository.update_root(&roles, &without_new, instance.now),
        Err(TufError::Signers { role, .. }) if role == "snapshot"
    ));
    assert_eq!(versions(&repository, instance.now)[0], ("root", 1), "nothing was written");
    repository.update_root(&roles, &[instance.offline.clone(), online.clone()], instance.now).unwrap();
    assert_eq!(
        versions(&repository, instance.now),
        [("root", 2), ("targets", 1), ("snapshot", 2), ("timestamp", 2)]
    );
    assert!(repository.refresh(std::slice::from_ref(&instance.online), instance.now).is_err());
    repository.refresh(&[online], instance.now).unwrap();
}

#[test]
fn a_root_key_is_replaced_with_the_word_of_the_old_one() {
    let instance = Instance::new();
    let repository = instance.create();
    let new = key();
    let mut roles = repository.roles(instance.now).unwrap();
    roles.root = Role::single(new.public_key());
    let alone = [new.clone(), instance.online.clone()];
    assert!(matches!(repository.update_root(&roles, &alone, instance.now), Err(TufError::Signers { .. })));
    repository.update_root(&roles, &[new.clone(), instance.offline.clone()], instance.now).unwrap();
    // From here on the old key's word is not needed for roots.
    repository.update_root(&roles, &[new], instance.now).unwrap();
    assert_eq!(versions(&repository, instance.now)[0], ("root", 3));
    assert_eq!(repository.root_json(instance.now).unwrap(), repository.read("3.root.json").unwrap().unwrap());
}

#[test]
fn a_change_interrupted_by_a_crash_is_finished_by_whoever_comes_next() {
    let instance = Instance::new();
    let repository = instance.create();
    let before: Vec<(String, Vec<u8>)> = names(instance.dir.path())
        .into_iter()
        .filter(|n| n.ends_with(".json"))
        .map(|n| (n.clone(), std::fs::read(instance.dir.path().join(n)).unwrap()))
        .collect();
    let online = key();
    let roles = Roles::offline_and_online(Role::single(instance.offline.public_key()), online.public_key());
    repository.update_root(&roles, &[instance.offline.clone(), online], instance.now).unwrap();
    let changed = ["2.snapshot.json", "2.root.json", "timestamp.json", "root.json"];
    let journal: Vec<Json> = changed
        .iter()
        .map(|name| {
            let text = std::fs::read_to_string(instance.dir.path().join(name)).unwrap();
            Json::Array(vec![Json::from(*name), Json::from(text)])
        })
        .collect();
    // Back to the moment after the journal was written and the first `done` files were.
    for done in 0..=changed.len() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("targets")).unwrap();
        for (name, bytes) in &before {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        for name in &changed[..done] {
            std::fs::copy(instance.dir.path().join(name), dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join(".pending.json"), Json::Array(journal.clone()).pretty()).unwrap();
        let repository = Repository::open(dir.path(), Lifetimes::default(), instance.now).unwrap();
        assert_eq!(versions(&repository, instance.now)[0], ("root", 2));
        assert!(!dir.path().join(".pending.json").exists());
    }
}

#[test]
fn a_damaged_repository_does_not_open() {
    let instance = Instance::new();
    instance.create();
    for name in ["1.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let path = instance.dir.path().join(name);
        let good = std::fs::read(&path).unwrap();
        let text = String::from_utf8(good.clone()).unwrap().replace("\"version\": 1", "\"version\": 2");
        std::fs::write(&path, text).unwrap();
        assert!(Repository::open(instance.dir.path(), Lifetimes::default(), instance.now).is_err(), "{name}");
        std::fs::remove_file(&path).unwrap();
        assert!(Repository::open(instance.dir.path(), Lifetimes::default(), instance.now).is_err(), "{name}");
        std::fs::write(&path, good).unwrap();
    }
    Repository::open(instance.dir.path(), Lifetimes::default(), instance.now).unwrap();
}

/// The server refreshes while a command publishes: each sees the other's work, nothing is lost.
#[test]
fn two_writers_take_turns() {
    let instance = Instance::new();
    instance.create();
    let ring = [instance.offline.clone(), instance.online.clone()];
    let open = || Repository::open(instance.dir.path(), Lifetimes::default(), instance.now).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (ring, repository) = (&ring, open());
            let now = instance.now;
            scope.spawn(move || {
                for round in 0..5 {
                    let put = [TargetFile::new(&format!("w{writer}.txt"), format!("round {round}"))];
                    repository.publish(&put, &[], ring, now).unwrap();
                    repository.refresh(&ring[1..], now).unwrap();
                }
            });
        }
    });
    let repository = open();
    assert_eq!(
        versions(&repository, instance.now),
        [("root", 1), ("targets", 16), ("snapshot", 16), ("timestamp", 31)]
    );
    for writer in 0..3 {
        assert_eq!(repository.target(&format!("w{writer}.txt"), instance.now).unwrap(), b"round 4");
    }
}
