//! Rows about TUF in the table of past mistakes of verifiers (V39, V40, V45); those of TUF's own table are in `adversarial`.

use crate::common::*;
use countersign_trust::tuf::TufError;

/// Two parents delegate to one name with other keys: what one vouches for is not taken as vouched for by the other.
#[tokio::test]
async fn v39_a_role_that_two_parents_delegate_to_is_verified_for_each() {
    let world = World::new();
    let online = &world.online;
    let (of_a, of_c) = (key(), key());
    let mut top = targets(2, &[]);
    let parents = [("a", "a/*"), ("c", "c/*")];
    delegate(
        &mut top,
        &[online],
        parents.map(|(n, path)| delegation(n, &[online], 1, &[path], false)).into(),
    );
    let parent = |by: &TestKey, path: &str| {
        let mut json = targets(1, &[]);
        delegate(&mut json, &[by], vec![delegation("x", &[by], 1, &[path], false)]);
        json
    };
    let (a, c) = (parent(&of_a, "a/*"), parent(&of_c, "c/*"));
    let x = targets(1, &[("a/f", b"of a"), ("c/f", b"of c")]);
    world.delegated(&top, &[("a", &a, online), ("c", &c, online), ("x", &x, &of_a)]);
    world.target("a/f", b"of a");
    world.target("c/f", b"of c");
    let mut client = world.client();
    client.refresh(now()).await.unwrap();
    assert_eq!(client.target("a/f").await.unwrap(), b"of a");
    let error = client.target("c/f").await.unwrap_err();
    assert!(matches!(error, TufError::Threshold { found: 0, .. }), "loaded for a, {error}");
    assert_eq!(client.target("a/f").await.unwrap(), b"of a", "and not lost to it");
    // Nor in a run of its own, out of the cache which the first one filled.
    let mut client = world.client();
    client.refresh(now()).await.unwrap();
    assert!(matches!(client.target("c/f").await, Err(TufError::Threshold { found: 0, .. })));
}

/// Metadata past its date gives no files any more, and is still a floor under versions.
#[tokio::test]
async fn v45_metadata_past_its_date_is_a_floor_all_the_same() {
    let world = World::new();
    let expiring = |mut json| {
        *member(&mut json, &["expires"]) = "2026-05-31T00:00:00Z".into();
        sign(&json, &[&world.online])
    };
    let listed = [("targets.json", 1), ("a.json", 4)];
    world.files.put("9.snapshot.json", expiring(snapshot(9, &listed)));
    world.files.put("timestamp.json", expiring(timestamp(5, 9)));
    world.client().refresh(at("2026-05-30T00:00:00Z")).await.unwrap();
    let error = world.client().refresh(now()).await.unwrap_err();
    assert!(matches!(&error, TufError::Expired { role, .. } if role == "timestamp"), "{error}");

    // An older snapshot, by a fresh timestamp.
    world.snapshot(8, &listed);
    world.timestamp(6, 8);
    let error = world.client().refresh(now()).await.unwrap_err();
    assert!(
        matches!(&error, TufError::Rollback { role, trusted: 9, found: 8 } if role == "snapshot"),
        "{error}"
    );
    // The snapshot alone is a floor too, with no timestamp of an earlier run beside it.
    std::fs::remove_file(world.cache.path().join("timestamp.json")).unwrap();
    let error = world.client().refresh(now()).await.unwrap_err();
    assert!(
        matches!(&error, TufError::Rollback { role, trusted: 9, found: 8 } if role == "snapshot"),
        "{error}"
    );
    // A new snapshot which takes back what the old one listed.
    world.snapshot(10, &[("targets.json", 1), ("a.json", 3)]);
    world.timestamp(7, 10);
    let error = world.client().refresh(now()).await.unwrap_err();
    assert!(
        matches!(&error, TufError::Rollback { role, trusted: 4, found: 3 } if role == "a.json"),
        "{error}"
    );
    world.snapshot(11, &listed);
    world.timestamp(8, 11);
    world.client().refresh(now()).await.unwrap();
}

/// A delegation of one directory is none of what lies below it.
#[tokio::test]
async fn v40_a_wildcard_does_not_cross_a_slash() {
    let world = World::new();
    let online = &world.online;
    let mut top = targets(2, &[]);
    delegate(&mut top, &[online], vec![delegation("a", &[online], 1, &["a/*"], false)]);
    let a = targets(1, &[("a/b", b"in it"), ("a/b/c", b"below it")]);
    world.delegated(&top, &[("a", &a, online)]);
    world.target("a/b", b"in it");
    world.target("a/b/c", b"below it");
    let mut client = world.client();
    client.refresh(now()).await.unwrap();
    assert_eq!(client.target("a/b").await.unwrap(), b"in it");
    assert!(matches!(client.target("a/b/c").await, Err(TufError::NoSuchTarget(_))));
}
