//! What clients of TUF have got wrong, one test per row of the table of advisories (U01 to U19).

use crate::common::*;
use countersign_crypto::{KeyType, encoding};
use countersign_trust::tuf::json::Json;
use countersign_trust::tuf::metadata::{Root, Signed, Snapshot, Targets, TimestampRole};
use countersign_trust::tuf::{ExpiryRule, MAX_ROOT_ROTATIONS, TrustedMetadata, TufError, Updater};

/// A root that failed verification must not be kept and trusted by the next run.
#[tokio::test]
async fn u01_a_root_that_failed_is_not_trusted_by_the_next_run() {
    let world = World::new();
    let stranger = key();
    world.root(2, &root(2, &[&world.root_key], 1, &world.online), &[&world.root_key]);
    world.root(3, &root(3, &[&stranger], 1, &world.online), &[&stranger]);
    for _ in 0..2 {
        let error = world.client().refresh(now()).await.unwrap_err();
        assert!(matches!(error, TufError::Threshold { found: 0, .. }), "{error}");
        assert_eq!(world.cached().keys().collect::<Vec<_>>(), ["roots/2.json"]);
    }
    // Even a cache that something else wrote into is verified again.
    std::fs::write(world.cache.path().join("roots/3.json"), world.files.read("3.root.json")).unwrap();
    world.files.remove("3.root.json");
    let mut client = world.client();
    client.refresh(now()).await.unwrap();
    assert_eq!(client.trusted().unwrap().root().version, 2);
}

#[tokio::test]
async fn u02_endless_roots_and_signatures_and_bytes_are_capped() {
    let world = World::new();
    let last = i64::try_from(MAX_ROOT_ROTATIONS).unwrap() + 2;
    for version in 2..=last {
        world.root(version, &root(version, &[&world.root_key], 1, &world.online), &[&world.root_key]);
    }
    let error = world.client().refresh(now()).await.unwrap_err();
    assert!(matches!(error, TufError::TooManyRotations { limit: 256 }), "{error}");
    // The next run goes on where this one stopped.
    world.client().refresh(now()).await.unwrap();

    let json = timestamp(2, 1);
    let many = vec![signature(&world.online.id, &[0; 64]); 100_000];
    let bytes = assemble(&json, many);
    assert!(matches!(Signed::<TimestampRole>::parse(&bytes), Err(TufError::TooLarge { .. })));
    let many = vec![signature("x", &[]); 257];
    let error = Signed::<Snapshot>::parse(&assemble(&snapshot(1, &[("targets.json", 1)]), many)).unwrap_err();
    assert!(error.to_string().contains("at most 256"), "{error}");

    world.files.put("timestamp.json", vec![b' '; 16 * 1024 + 1]);
    assert!(matches!(world.client().refresh(now()).await, Err(TufError::TooLarge { .. })));
}

#[test]
fn u03_one_key_id_three_times_counts_once() {
    let (a, b, online) = (key(), key(), key());
    let json = root(1, &[&a, &b], 2, &online);
    for (by, fine) in [(vec![&a, &a, &a], false), (vec![&a, &b], true), (vec![&b, &a, &a], true)] {
        let made = TrustedMetadata::new(&sign(&json, &by), now(), ExpiryRule::Refuse);
        match made {
            Ok(_) => assert!(fine),
            Err(TufError::Threshold { required: 2, found: 1, .. }) => assert!(!fine),
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn u04_a_role_name_is_never_a_file_path() {
    let world = World::new();
    let mut top = targets(2, &[]);
    let name = "../../x";
    delegate(&mut top, &[&world.online], vec![delegation(name, &[&world.online], 1, &["*"], false)]);
    world.targets(2, &top);
    world.snapshot(2, &[("targets.json", 2), ("../../x.json", 1)]);
    world.timestamp(2, 2);
    world.files.put("1...%2F..%2Fx.json", sign(&targets(1, &[("deep.txt", b"deep")]), &[&world.online]));
    world.target("deep.txt", b"deep");
    let mut client = world.client();
    client.refresh(now()).await.unwrap();
    assert_eq!(client.target("deep.txt").await.unwrap(), b"deep");
    assert!(world.cached().contains_key("delegated/..%2F..%2Fx.json"));
    assert!(!world.cache.path().parent().unwrap().join("x.json").exists());
}

#[test]
fn u05_only_roles_that_are_delegated_to_can_be_asked_for() {
    let world = World::new();
    let mut trusted = TrustedMetadata::new(&world.initial_root, now(), ExpiryRule::Refuse).unwrap();
    trusted.update_timestamp(&world.files.read("timestamp.json")).unwrap();
    trusted.update_snapshot(&world.files.read("1.snapshot.json")).unwrap();
    let bytes = world.files.read("1.targets.json");
    assert!(matches!(trusted.update_delegated(&bytes, "a", "targets"), Err(TufError::UnknownRole { .. })));
    trusted.update_targets(&bytes).unwrap();
    for (role, parent) in
        [("root", "targets"), ("timestamp", "targets"), ("targets", "targets"), ("a", "targets"), ("a", "b")]
    {
        let result = trusted.update_delegated(&bytes, role, parent);
        assert!(matches!(result, Err(TufError::UnknownRole { .. })), "{role} by {parent}");
    }
    // A delegation may not take one of those names either.
    let mut top = targets(2, &[]);
    delegate(&mut top, &[&world.online], vec![delegation("root", &[&world.online], 1, &["*"], false)]);
    assert!(Signed::<Targets>::parse(&sign(&top, &[])).is_err());
}

#[tokio::test]
async fn u06_a_rollback_is_refused_and_not_saved() {
    let world = World::new();
    world.targets(2, &targets(2, &[]));
    world.snapshot(2, &[("targets.json", 2)]);
    world.timestamp(5, 2);
    world.client().refresh(now()).await.unwrap();
    let before = world.cached();
    let check = |error: TufError, what: &str| match error {
        TufError::Rollback { role, .. } => assert_eq!(role, what),
        TufError::Unlisted { .. } => assert_eq!(what, "unlisted"),
        other => panic!("{other}"),
    };
    world.timestamp(4, 2);
    check(world.client().refresh(now()).await.unwrap_err(), "timestamp");
    world.timestamp(6, 1);
    check(world.client().refresh(now()).await.unwrap_err(), "snapshot");
    assert_eq!(world.cached(), before, "nothing of it was saved");
    // The snapshot is new, and takes the targets back, or drops them.
    world.timestamp(6, 3);
    world.snapshot(3, &[("targets.json", 1)]);
    check(world.client().refresh(now()).await.unwrap_err(), "targets.json");
    assert_eq!(world.cached()["snapshot.json"], before["snapshot.json"]);
}

#[tokio::test]
async fn u06_a_targets_file_once_listed_stays_listed() {
    let world = World::new();
    world.snapshot(2, &[("targets.json", 1), ("a.json", 1)]);
    world.timestamp(2, 2);
    world.client().refresh(now()).await.unwrap();
    world.snapshot(3, &[("targets.json", 1)]);
    world.timestamp(3, 3);
    let error = world.client().refresh(now()).await.unwrap_err();
    assert!(matches!(error, TufError::Unlisted { file } if file == "a.json"));
}

#[test]
fn u07_two_ids_of_one_key_are_one_key() {
    let (a, online) = (key(), key());
    let twin = TestKey { id: "0".repeat(64), ..a.clone() };
    let json = root(1, &[&a, &twin], 2, &online);
    let error = TrustedMetadata::new(&sign(&json, &[&a, &twin]), now(), ExpiryRule::Refuse).unwrap_err();
    assert!(matches!(error, TufError::Threshold { required: 2, found: 1, .. }), "{error}");
    // An id that is not the hash of its key is a name like any other.
    let json = root(1, &[&twin], 1, &online);
    TrustedMetadata::new(&sign(&json, &[&twin]), now(), ExpiryRule::Refuse).unwrap();
}

/// Delegations are searched depth first in their order: B under A comes before C.
#[tokio::test]
async fn u08_delegations_are_searched_in_order() {
    let world = World::new();
    let k = &world.online;
    let file = |content: &'static [u8]| -> Vec<(&str, &[u8])> { vec![("f", content)] };
    let mut top = targets(2, &[]);
    delegate(
        &mut top,
        &[k],
        vec![delegation("a", &[k], 1, &["*"], false), delegation("c", &[k], 1, &["*"], false)],
    );
    let mut a = targets(1, &[]);
    delegate(&mut a, &[k], vec![delegation("b", &[k], 1, &["*"], false)]);
    let (b, c) = (targets(1, &file(b"from b")), targets(1, &file(b"from c")));
    world.delegated(&top, &[("a", &a, k), ("b", &b, k), ("c", &c, k)]);
    world.target("f", b"from b");
    world.target("f", b"from c");
    let mut client = world.client();
    client.refresh(now()).await.unwrap();
    world.files.asked();
    assert_eq!(client.target("f").await.unwrap(), b"from b");
    let asked = world.files.asked();
    assert_eq!(asked[..2], ["1.a.json", "1.b.json"]);
}

/// Well-formed JSON which is not TUF, and TUF with each member of a wrong type: an error, never a panic.
#[test]
fn u09_json_that_is_not_tuf_is_refused() {
    for text in ["{\"signed\":{}}", "null", "[]", "{}", "0", "\"x\"", "{\"signed\":null,\"signatures\":[]}"] {
        assert!(Signed::<Root>::parse(text.as_bytes()).is_err(), "{text}");
        assert!(Signed::<Targets>::parse(text.as_bytes()).is_err(), "{text}");
    }
    let (a, online) = (key(), key());
    let mut top = targets(1, &[("f", b"x")]);
    delegate(&mut top, &[&a], vec![delegation("a", &[&a], 1, &["*"], false)]);
    bend_every_member::<Root>(&root(1, &[&a], 1, &online), &["consistent_snapshot"]);
    bend_every_member::<TimestampRole>(&timestamp(1, 1), &[]);
    bend_every_member::<Snapshot>(&snapshot(1, &[("targets.json", 1)]), &[]);
    bend_every_member::<Targets>(&top, &["delegations", "terminating"]);
}

/// Replaces each value of the document by values of other types, and removes it; all must be refused except
/// the removal of what may be absent.
fn bend_every_member<T: countersign_trust::tuf::metadata::Content>(json: &Json, optional: &[&str]) {
    let good = assemble(json, vec![]);
    Signed::<T>::parse(&good).unwrap_or_else(|e| panic!("{e}"));
    let mut bent = Vec::new();
    bend(json, &mut |json| bent.push(json), optional);
    assert!(bent.len() > 20);
    for json in bent {
        let text = assemble(&json, vec![]);
        assert!(Signed::<T>::parse(&text).is_err(), "{}", String::from_utf8_lossy(&text));
    }
}

fn bend(json: &Json, give: &mut dyn FnMut(Json), optional: &[&str]) {
    let wrong: [Json; 4] = [Json::Null, Json::Integer(-1), Json::Array(vec![Json::Null]), Json::Bool(true)];
    for value in wrong {
        let same_type = matches!((json, &value), (Json::Bool(_), Json::Bool(_)));
        if !same_type {
            give(value);
        }
    }
    match json {
        Json::Object(members) => {
            for (name, value) in members {
                // A target's or key's own name may go; the object is then empty, which is fine.
                let named = matches!(name.as_str(), "f" | "custom") || name.len() == 64;
                if !optional.contains(&name.as_str()) && !named {
                    let mut less = members.clone();
                    less.remove(name);
                    give(Json::Object(less));
                }
                let mut nested = |bent: Json| {
                    let mut more = members.clone();
                    more.insert(name.clone(), bent);
                    give(Json::Object(more));
                };
                bend(value, &mut nested, optional);
            }
        }
        Json::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let mut nested = |bent: Json| {
                    let mut more = items.clone();
                    more[i] = bent;
                    give(Json::Array(more));
                };
                bend(item, &mut nested, optional);
            }
        }
        _ => {}
    }
}

#[test]
fn u10_a_threshold_of_zero_is_refused() {
    let (a, online) = (key(), key());
    for role in ["root", "targets", "snapshot", "timestamp"] {
        let mut json = root(1, &[&a], 1, &online);
        *member(&mut json, &["roles", role, "threshold"]) = int(0);
        let error = TrustedMetadata::new(&sign(&json, &[&a]), now(), ExpiryRule::Refuse).unwrap_err();
        assert!(error.to_string().contains("at least 1, found 0"), "{error}");
    }
    let mut top = targets(1, &[]);
    delegate(&mut top, &[&a], vec![delegation("a", &[&a], 0, &["*"], false)]);
    assert!(Signed::<Targets>::parse(&sign(&top, &[])).is_err());
}

const UNSAFE_NAMES: [&str; 10] =
    ["../escaped", "/etc/passwd", "a\\b", "a\0b", "a/../../b", "./a", "a//b", "", "..", "a\nb"];

#[tokio::test]
async fn u11_a_target_name_is_never_a_file_path() {
    let world = World::new();
    let long = "x".repeat(300);
    let names: Vec<&str> = UNSAFE_NAMES.iter().copied().chain([long.as_str()]).collect();
    let listed: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &b"x"[..])).collect();
    world.targets(2, &targets(2, &listed));
    world.snapshot(2, &[("targets.json", 2)]);
    world.timestamp(2, 2);
    let mut client = world.client();
    client.refresh(now()).await.unwrap();
    world.files.asked();
    let before = world.cached();
    for name in names {
        assert!(matches!(client.target(name).await, Err(TufError::UnsafeName { .. })), "{name:?}");
    }
    assert_eq!(world.files.asked(), Vec::<String>::new(), "nothing was asked for");
    assert_eq!(world.cached(), before);
}

#[test]
fn u12_doubled_keys_short_keys_empty_hashes_and_nulls_are_refused() {
    let (a, online) = (key(), key());
    let mut json = root(1, &[&a], 1, &online);
    let ids = Json::Array(vec![a.id.as_str().into(), a.id.as_str().into()]);
    *member(&mut json, &["roles", "root", "keyids"]) = ids;
    assert!(TrustedMetadata::new(&sign(&json, &[&a]), now(), ExpiryRule::Refuse).is_err(), "an id twice");

    let a = key_of(KeyType::Ed25519);
    for short in ["", "00", &"ab".repeat(31), &"ab".repeat(33), "zz"] {
        let mut json = root(1, &[&a], 1, &online);
        *member(&mut json, &["keys", &a.id, "keyval", "public"]) = short.into();
        assert!(TrustedMetadata::new(&sign(&json, &[&a]), now(), ExpiryRule::Refuse).is_err(), "{short}");
    }

    let mut json = targets(1, &[("f", b"x")]);
    *member(&mut json, &["targets", "f", "hashes"]) = obj([]);
    assert!(Signed::<Targets>::parse(&sign(&json, &[])).is_err(), "no hash");
    *member(&mut json, &["targets", "f", "hashes"]) = obj([("md5", "00".into())]);
    assert!(Signed::<Targets>::parse(&sign(&json, &[])).is_err(), "no hash that is known");
    let mut json = timestamp(1, 1);
    object(member(&mut json, &["meta", "snapshot.json"])).insert("hashes".into(), obj([]));
    assert!(Signed::<TimestampRole>::parse(&sign(&json, &[])).is_err(), "no hash");
    object(member(&mut json, &["meta", "snapshot.json"])).insert("hashes".into(), Json::Null);
    assert!(Signed::<TimestampRole>::parse(&sign(&json, &[])).is_err(), "null");

    let text = String::from_utf8(sign(&timestamp(1, 1), &[])).unwrap();
    let doubled = text.replace("\"_type\":", "\"_type\": \"timestamp\", \"_type\":");
    assert!(Signed::<TimestampRole>::parse(text.as_bytes()).is_ok());
    assert!(doubled != text && Signed::<TimestampRole>::parse(doubled.as_bytes()).is_err());
}

/// The same signature repeated, in other spellings and under other ids.
#[test]
fn u13_a_signature_repeated_counts_once() {
    let (a, b, online) = (key(), key(), key());
    let json = root(1, &[&a, &b], 2, &online);
    let good = a.signer.sign(&json.canonical()).unwrap();
    let upper = encoding::hex_encode(&good).to_uppercase();
    let signatures = vec![
        signature(&a.id, &good),
        signature(&a.id, &good),
        obj([("keyid", a.id.as_str().into()), ("sig", upper.into())]),
        signature(&b.id, &good),
        signature("unknown", &good),
    ];
    let error = TrustedMetadata::new(&assemble(&json, signatures), now(), ExpiryRule::Refuse).unwrap_err();
    assert!(matches!(error, TufError::Threshold { required: 2, found: 1, .. }), "{error}");
}

/// Names in delegations and in the snapshot that would leave the cache on some system.
#[tokio::test]
async fn u14_no_name_in_metadata_leaves_the_cache() {
    for name in ["../../../x", "/abs", "a\\..\\b", "a\0b", "..", "C:x", "a/b"] {
        let world = World::new();
        let mut top = targets(2, &[]);
        delegate(&mut top, &[&world.online], vec![delegation(name, &[&world.online], 1, &["*"], false)]);
        world.targets(2, &top);
        world.snapshot(2, &[("targets.json", 2), (&format!("{name}.json"), 1)]);
        world.timestamp(2, 2);
        let mut client = world.client();
        client.refresh(now()).await.unwrap();
        world.files.asked();
        assert!(client.target("f").await.is_err());
        let asked = world.files.asked();
        assert_eq!(asked.len(), 1);
        assert!(!asked[0].contains(['/', '\\', '\0']), "{asked:?}");
    }
}

#[tokio::test]
async fn u15_root_versions_do_not_skip() {
    let world = World::new();
    world.root(2, &root(3, &[&world.root_key], 1, &world.online), &[&world.root_key]);
    let error = world.client().refresh(now()).await.unwrap_err();
    assert!(matches!(error, TufError::Version { expected: 2, found: 3, .. }), "{error}");
    // The same version again, and an older one, are no next root either.
    world.root(2, &root(1, &[&world.root_key], 1, &world.online), &[&world.root_key]);
    assert!(matches!(world.client().refresh(now()).await, Err(TufError::Version { .. })));
}

#[tokio::test]
async fn u16_a_terminating_delegation_ends_the_search() {
    let world = World::new();
    let k = &world.online;
    for (terminating, found) in [(true, false), (false, true)] {
        let mut top = targets(2, &[]);
        delegate(
            &mut top,
            &[k],
            vec![delegation("a", &[k], 1, &["f*"], terminating), delegation("b", &[k], 1, &["*"], false)],
        );
        let (a, b) = (targets(1, &[]), targets(1, &[("f", b"from b"), ("g", b"g")]));
        let world = World { cache: tempfile::tempdir().unwrap(), ..World::new_like(&world) };
        world.delegated(&top, &[("a", &a, k), ("b", &b, k)]);
        world.target("f", b"from b");
        world.target("g", b"g");
        let mut client = world.client();
        client.refresh(now()).await.unwrap();
        match client.target("f").await {
            Ok(bytes) => assert!(found && bytes == b"from b"),
            Err(error) => assert!(!found && matches!(error, TufError::NoSuchTarget(_)), "{error}"),
        }
        // A path outside the terminating delegation's patterns is searched for all the same.
        assert_eq!(client.target("g").await.unwrap(), b"g");
    }
}

#[tokio::test]
async fn u16_delegated_targets_do_not_roll_back() {
    let world = World::new();
    let k = &world.online;
    let mut top = targets(2, &[]);
    delegate(&mut top, &[k], vec![delegation("a", &[k], 1, &["*"], false)]);
    world.delegated(&top, &[("a", &targets(5, &[("f", b"new")]), k)]);
    world.client().refresh(now()).await.unwrap();
    world.snapshot(3, &[("targets.json", 2), ("a.json", 4)]);
    world.timestamp(3, 3);
    let error = world.client().refresh(now()).await.unwrap_err();
    assert!(matches!(error, TufError::Rollback { trusted: 5, found: 4, .. }), "{error}");
}

#[tokio::test]
async fn u17_a_refused_timestamp_does_not_freeze_the_client() {
    let world = World::new();
    world.snapshot(2, &[("targets.json", 1)]);
    world.timestamp(3, 2);
    world.client().refresh(now()).await.unwrap();
    world.timestamp(9, 1);
    assert!(matches!(world.client().refresh(now()).await, Err(TufError::Rollback { .. })));
    world.timestamp(4, 2);
    let mut client = world.client();
    client.refresh(now()).await.unwrap();
    assert_eq!(client.trusted().unwrap().timestamp().unwrap().version, 4);
}

#[tokio::test]
async fn u18_delegated_metadata_is_checked_like_any_other() {
    let (one, two) = (key(), key());
    let delegated = |threshold: i64| {
        let mut top = targets(2, &[]);
        delegate(&mut top, &[&one, &two], vec![delegation("a", &[&one, &two], threshold, &["*"], false)]);
        top
    };
    let file: [(&str, &[u8]); 1] = [("f", b"x")];

    // A threshold of two met by one key twice.
    let world = World::new();
    world.delegated(&delegated(2), &[("a", &targets(1, &file), &one)]);
    world.files.put("1.a.json", sign(&targets(1, &file), &[&one, &one]));
    let mut client = world.client();
    client.refresh(now()).await.unwrap();
    assert!(matches!(client.target("f").await, Err(TufError::Threshold { required: 2, found: 1, .. })));

    // Past its date.
    let world = World::new();
    let mut old = targets(1, &file);
    *member(&mut old, &["expires"]) = "2026-05-31T00:00:00Z".into();
    world.delegated(&delegated(1), &[("a", &old, &one)]);
    let mut client = world.client();
    client.refresh(now()).await.unwrap();
    assert!(matches!(client.target("f").await, Err(TufError::Expired { role, .. }) if role == "a"));

    // Another length or hash than the snapshot says, and another version.
    for (what, value) in
        [("length", int(1)), ("hashes", obj([("sha256", "0".repeat(64).into())])), ("version", int(2))]
    {
        let world = World::new();
        let a = targets(1, &file);
        world.delegated(&delegated(1), &[("a", &a, &one)]);
        let mut json = snapshot(2, &[("targets.json", 2), ("a.json", 1)]);
        object(member(&mut json, &["meta", "a.json"])).insert(what.into(), value);
        world.files.put("2.snapshot.json", sign(&json, &[&world.online]));
        world.files.put("2.a.json", sign(&a, &[&one]));
        let mut client = world.client();
        client.refresh(now()).await.unwrap();
        let error = client.target("f").await.unwrap_err();
        assert!(
            matches!(error, TufError::Mismatch { .. } | TufError::Version { .. } | TufError::TooLarge { .. }),
            "{what}: {error}"
        );
    }

    // A link in the cache is replaced, not written through.
    #[cfg(unix)]
    {
        let world = World::new();
        let outside = tempfile::tempdir().unwrap();
        let victim = outside.path().join("victim");
        std::fs::write(&victim, "untouched").unwrap();
        let mut client = world.client();
        std::os::unix::fs::symlink(&victim, world.cache.path().join("timestamp.json")).unwrap();
        client.refresh(now()).await.unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"untouched");
    }
}

#[tokio::test]
async fn u19_offline_the_cache_is_verified_again() {
    let world = World::new();
    let mut client = world.client();
    client.refresh(now()).await.unwrap();
    assert_eq!(client.target("file.txt").await.unwrap(), b"content");
    let offline = || Updater::new(NoNetwork, BASE, world.cache.path(), world.initial_root.clone()).unwrap();
    let mut client = offline();
    client.load_cache(now()).unwrap();
    assert_eq!(client.target("file.txt").await.unwrap(), b"content");

    for (path, good) in world.cached() {
        let full = world.cache.path().join(&path);
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        std::fs::write(&full, &bad).unwrap();
        let mut client = offline();
        let result = match client.load_cache(now()) {
            Ok(()) => client.target("file.txt").await.map(drop),
            Err(error) => Err(error),
        };
        assert!(result.is_err(), "{path}");
        std::fs::write(&full, &good).unwrap();
    }
    // Online, a damaged target is fetched again.
    let target = world.cached().into_keys().find(|k| k.starts_with("targets/")).unwrap();
    std::fs::write(world.cache.path().join(target), "damaged").unwrap();
    let mut client = world.client();
    client.refresh(now()).await.unwrap();
    assert_eq!(client.target("file.txt").await.unwrap(), b"content");
}

impl World {
    /// A fresh world with the keys of another.
    fn new_like(other: &Self) -> Self {
        let world = Self {
            files: Files::default(),
            root_key: other.root_key.clone(),
            online: other.online.clone(),
            initial_root: other.initial_root.clone(),
            cache: tempfile::tempdir().unwrap(),
        };
        world.targets(1, &targets(1, &[]));
        world.snapshot(1, &[("targets.json", 1)]);
        world.timestamp(1, 1);
        world
    }
}
