//! What verifying clients have got wrong in their TUF parts, one test per row of the table of advisories (V39, V40, V45).

use crate::common::*;
use countersign_trust::tuf::TufError;

/// Two roles that delegate to one name with other keys: what one of them vouches for, the other does not.
#[tokio::test]
async fn v39_a_delegated_role_is_verified_anew_for_each_who_delegates_to_it() {
    let world = World::new();
    let k = &world.online;
    let (one, two) = (key(), key());
    let mut top = targets(2, &[]);
    delegate(
        &mut top,
        &[k],
        vec![delegation("a", &[k], 1, &["f"], false), delegation("b", &[k], 1, &["g"], false)],
    );
    let by = |signer: &TestKey| {
        let mut json = targets(1, &[]);
        delegate(&mut json, &[signer], vec![delegation("x", &[signer], 1, &["*"], false)]);
        json
    };
    let x = targets(1, &[("f", b"f"), ("g", b"g")]);
    world.delegated(&top, &[("a", &by(&one), k), ("b", &by(&two), k), ("x", &x, &one)]);
    world.target("f", b"f");
    world.target("g", b"g");
    let mut client = world.client();
    client.refresh(now()).await.unwrap();
    assert_eq!(client.target("f").await.unwrap(), b"f");
    let error = client.target("g").await.unwrap_err();
    assert!(matches!(&error, TufError::Threshold { role, found: 0, .. } if role == "x"), "{error}");
    // Nor has the refusal spoilt what was right.
    assert_eq!(client.target("f").await.unwrap(), b"f");
}

#[tokio::test]
async fn v40_wildcards_do_not_cross_a_slash() {
    let world = World::new();
    let k = &world.online;
    let mut top = targets(2, &[]);
    delegate(&mut top, &[k], vec![delegation("a", &[k], 1, &["a/*", "?b"], false)]);
    let files: [(&str, &[u8]); 3] = [("a/b", b"in"), ("a/b/c", b"out"), ("/b", b"out")];
    world.delegated(&top, &[("a", &targets(1, &files), k)]);
    world.target("a/b", b"in");
    world.target("a/b/c", b"out");
    let mut client = world.client();
    client.refresh(now()).await.unwrap();
    assert_eq!(client.target("a/b").await.unwrap(), b"in");
    assert!(matches!(client.target("a/b/c").await, Err(TufError::NoSuchTarget(_))));
    assert!(client.target("/b").await.is_err());
}

/// Metadata past its date is not trusted any more, and still says below which versions nothing may fall.
#[tokio::test]
async fn v45_metadata_past_its_date_is_a_floor_all_the_same() {
    let world = World::new();
    let until = |mut json: countersign_trust::tuf::json::Json, date: &str| {
        *member(&mut json, &["expires"]) = date.into();
        sign(&json, &[&world.online])
    };
    let (soon, later) = ("2026-06-02T00:00:00Z", "2027-01-01T00:00:00Z");
    let files = [("targets.json", 1)];
    world.files.put("9.snapshot.json", until(snapshot(9, &files), soon));
    world.files.put("timestamp.json", until(timestamp(9, 9), soon));
    world.client().refresh(now()).await.unwrap();
    let then = at("2026-07-01T00:00:00Z");
    world.files.put("8.snapshot.json", until(snapshot(8, &files), later));
    for (version, of) in [(8, 9), (10, 8)] {
        world.files.put("timestamp.json", until(timestamp(version, of), later));
        let error = world.client().refresh(then).await.unwrap_err();
        assert!(matches!(error, TufError::Rollback { trusted: 9, found: 8, .. }), "{error}");
    }
    world.files.put("10.snapshot.json", until(snapshot(10, &files), later));
    world.files.put("timestamp.json", until(timestamp(10, 10), later));
    world.client().refresh(then).await.unwrap();
}
