//! The same for a log with the interface of Rekor v1: a small server of it, honest or not.

use std::net::SocketAddr;
use std::sync::Mutex;

use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use countersign_crypto::encoding::{base64_encode, hex_encode};
use countersign_http::{Http, HttpOptions};
use countersign_tlog::merkle;
use serde_json::{Value, json};

use super::*;

type Lie = fn(&mut Value);

/// What the server shows now.
#[derive(Clone)]
struct Shown {
    history: History,
    size: u64,
    times: Vec<i64>,
    /// Entries of a tree that was closed before.
    before: u64,
    tree: &'static str,
    /// This one is not given.
    missing: Option<u64>,
    /// What is put in the place of what in the checkpoint of the closed tree.
    spoilt: Option<(&'static str, &'static str)>,
    /// What is done to an entry that is asked for alone.
    lie: Option<Lie>,
}

type Shared = Arc<Mutex<Shown>>;

fn origin(tree: &str) -> String {
    format!("{NAME} - {tree}")
}

async fn info(State(shown): State<Shared>) -> Json<Value> {
    let shown = shown.lock().unwrap().clone();
    let note = |tree, size| shown.history.note(&origin(tree), size, at(0));
    let head = note("1", shown.before);
    let head = shown.spoilt.map_or(head.clone(), |(from, to)| head.replacen(from, to, 1));
    let closed = json!([{"treeID": "1", "treeSize": shown.before, "rootHash": "", "signedTreeHead": head}]);
    Json(json!({
        "treeID": shown.tree, "treeSize": shown.size, "rootHash": "", "signedTreeHead": note(shown.tree, shown.size),
        "inactiveShards": if shown.before > 0 { closed } else { Value::Null },
    }))
}

async fn retrieve(State(shown): State<Shared>, Json(asked): Json<Value>) -> Json<Value> {
    let shown = shown.lock().unwrap().clone();
    let asked: Vec<u64> =
        asked["logIndexes"].as_array().unwrap().iter().map(|i| i.as_u64().unwrap()).collect();
    assert!(asked.len() <= 10, "real servers refuse more");
    let found = asked.into_iter().filter(|i| Some(*i) != shown.missing).map(|index| entry(&shown, index));
    Json(Value::Array(found.collect()))
}

fn entry(shown: &Shown, virtual_index: u64) -> Value {
    let (index, size, tree) = match virtual_index.checked_sub(shown.before) {
        Some(index) => (index, shown.size, shown.tree),
        None => (virtual_index, shown.before, "1"),
    };
    let proof = proof::inclusion(&shown.history.leaves(), index, size).unwrap();
    let hashes: Vec<String> = proof.iter().map(|hash| hex_encode(hash)).collect();
    let checkpoint = shown.history.note(&origin(tree), size, at(0));
    let proof = json!({"treeSize": size, "hashes": hashes, "logIndex": index, "checkpoint": checkpoint});
    json!({ format!("{virtual_index:064x}"): {
        "body": base64_encode(&shown.history.entries[place(index)]), "logIndex": virtual_index,
        "integratedTime": shown.times[place(index)], "logID": "", "verification": {"inclusionProof": proof},
    }})
}

/// One entry, as it is or as somebody wishes it were.
async fn one(
    State(shown): State<Shared>,
    Query(asked): Query<std::collections::HashMap<String, u64>>,
) -> Json<Value> {
    let shown = shown.lock().unwrap().clone();
    let mut found = entry(&shown, asked["logIndex"]);
    if let Some(lie) = shown.lie {
        lie(found.as_object_mut().unwrap().values_mut().next().unwrap());
    }
    Json(found)
}

/// By its id: whichever is asked for, the third of the tree that grows.
async fn third(State(shown): State<Shared>) -> Json<Value> {
    let shown = shown.lock().unwrap().clone();
    Json(entry(&shown, shown.before + 3))
}

async fn consistency(
    State(shown): State<Shared>,
    Query(asked): Query<std::collections::HashMap<String, String>>,
) -> Json<Value> {
    let shown = shown.lock().unwrap().clone();
    let number = |name: &str| asked[name].parse::<u64>().unwrap();
    assert!(asked["treeID"] == shown.tree);
    let proof = proof::consistency(&shown.history.leaves(), number("firstSize"), number("lastSize")).unwrap();
    Json(json!({"rootHash": "", "hashes": proof.iter().map(|hash| hex_encode(hash)).collect::<Vec<_>>()}))
}

async fn serve(shown: Shared) -> SocketAddr {
    let router = Router::new()
        .route("/api/v1/log", get(info))
        .route("/api/v1/log/proof", get(consistency))
        .route("/api/v1/log/entries", get(one))
        .route("/api/v1/log/entries/{id}", get(third))
        .route("/api/v1/log/entries/retrieve", post(retrieve))
        .with_state(shown);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

struct Fixture {
    shown: Shared,
    http: Http,
    base: url::Url,
    monitor: Monitor,
}

impl Fixture {
    async fn new(size: u64) -> Self {
        let history = History::new(NoteKind::RekorV1, KeyType::EcdsaP256, 40);
        let monitor = history.monitor();
        let times = (0..40).map(|i| at(i - 40).as_second()).collect();
        let shown =
            Shown { history, size, times, before: 0, tree: "2", missing: None, spoilt: None, lie: None };
        let shown = Arc::new(Mutex::new(shown));
        let base = format!("http://{}", serve(Arc::clone(&shown)).await).parse().unwrap();
        Self { shown, http: Http::new(HttpOptions::default()), base, monitor }
    }

    fn feed(&self) -> Feed<'_> {
        Feed::RekorV1(RekorV1::new(&self.http, self.base.clone()))
    }

    fn change(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.shown.lock().unwrap());
    }

    async fn poll(&self, standing: Option<&Standing>, whole: bool) -> Result<Standing, &'static str> {
        let how = How { whole, again: false };
        match poll(&self.feed(), &self.monitor, standing, how, at(0), |_, _| ()).await.unwrap() {
            Seen::Good(standing) => Ok(*standing),
            Seen::Bad(finding) => Err(finding.alarm.code()),
        }
    }
}

#[tokio::test]
async fn a_log_of_rekor_v1_is_followed_from_any_size_and_through_the_end_of_a_tree() {
    for size in 0..=33 {
        let log = Fixture::new(size).await;
        let stood = log.poll(None, size % 2 == 0).await.unwrap();
        assert_eq!(stood.checkpoint().size, size);
        log.change(|shown| shown.size = 40);
        assert_eq!(log.poll(Some(&stood), false).await.unwrap().checkpoint().size, 40);
        let theirs = stood.note().to_string();
        let now = log.poll(Some(&stood), false).await.unwrap();
        assert!(compare(&log.feed(), &log.monitor, &now, theirs.as_bytes()).await.unwrap().is_none());
    }
    // The tree 1 is closed with 8 entries; who followed it sees its end, and who comes now the next tree.
    let log = Fixture::new(5).await;
    log.change(|shown| shown.tree = "1");
    let stood = log.poll(None, true).await.unwrap();
    log.change(|shown| (shown.before, shown.tree) = (8, "3"));
    let ended = log.poll(Some(&stood), false).await.unwrap();
    assert_eq!((ended.checkpoint().origin.as_str(), ended.checkpoint().size), ("log.test - 1", 8));
    for whole in [true, false] {
        let next = log.poll(None, whole).await.unwrap();
        assert_eq!((next.checkpoint().origin.as_str(), next.checkpoint().size), ("log.test - 3", 5));
    }
    log.change(|shown| shown.before = 0);
    assert_eq!(log.poll(Some(&ended), false).await, Err("withheld"), "the closed tree is gone");
}

#[tokio::test]
async fn r22_a_log_of_rekor_v1_that_breaks_its_promises_is_noticed_at_the_first_look() {
    let log = Fixture::new(20).await;
    let stood = log.poll(None, true).await.unwrap();
    let honest = log.shown.lock().unwrap().clone();
    let after = async |change: &dyn Fn(&mut Shown)| {
        log.change(|shown| *shown = honest.clone());
        log.change(|shown| change(shown));
        log.poll(Some(&stood), false).await.map(|standing| standing.checkpoint().size)
    };
    assert_eq!(after(&|shown| shown.size = 30).await, Ok(30));
    assert_eq!(after(&|shown| shown.size = 19).await, Err("shrunk"));
    assert_eq!(after(&|shown| shown.history.entries[3].push(0)).await, Err("forked"));
    let rewritten = |shown: &mut Shown| {
        shown.history.entries[3].push(0);
        shown.size = 30;
    };
    assert_eq!(after(&rewritten).await, Err("discontinued"));
    let dated = |time: i64| {
        move |shown: &mut Shown| {
            shown.size = 25;
            shown.times[22] = at(time).as_second();
        }
    };
    assert_eq!(after(&dated(-100_000)).await, Err("back_dated"));
    assert_eq!(after(&dated(100_000)).await, Err("future_dated"));
    let gap = |shown: &mut Shown| {
        shown.size = 25;
        shown.missing = Some(23);
    };
    assert_eq!(after(&gap).await, Err("withheld"));
    // Others were shown another root for a size that is of this history.
    assert_eq!(after(&|shown| shown.size = 20).await, Ok(20));
    let mut other = honest.history.clone();
    other.entries[7].push(0);
    let theirs = other.note(&origin("2"), 20, at(0));
    let found = compare(&log.feed(), &log.monitor, &stood, theirs.as_bytes()).await.unwrap().unwrap();
    assert_eq!(found.alarm.code(), "equivocated");
    found.evidence.unwrap().verify(honest.history.signer.verifier()).unwrap();
    // Of another size, this interface cannot show it; that is told, not passed over.
    let theirs = other.note(&origin("2"), 15, at(0));
    assert!(compare(&log.feed(), &log.monitor, &stood, theirs.as_bytes()).await.is_err());
}

#[tokio::test]
async fn all_of_a_tree_is_read_and_proven_or_none_of_it_counts() {
    for size in 0..=33 {
        let log = Fixture::new(size).await;
        let reader = RekorV1::new(&log.http, log.base.clone());
        let tree = reader.checkpoint(log.monitor.verifier()).await.unwrap().checkpoint;
        let mut seen = Vec::new();
        reader.each(&tree, |index, body| seen.push((index, body.to_vec()))).await.unwrap();
        let entries = log.shown.lock().unwrap().history.entries.clone();
        assert_eq!(seen, (0..size).map(|i| (i, entries[place(i)].clone())).collect::<Vec<_>>());
        // Proofs are in the tree that was asked for, also when the log has grown since.
        log.change(|shown| shown.size = 40);
        let wanted: Vec<u64> = (0..size).step_by(3).collect();
        let proven = reader.prove(&tree, &wanted).await.unwrap();
        assert_eq!(proven.iter().map(|entry| entry.index).collect::<Vec<_>>(), wanted);
        for entry in proven {
            let leaf = leaf_hash(&entry.body);
            merkle::verify_inclusion(&leaf, entry.index, tree.size, &entry.proof, &tree.root).unwrap();
        }
    }
    let log = Fixture::new(33).await;
    let reader = RekorV1::new(&log.http, log.base.clone());
    let tree = reader.checkpoint(log.monitor.verifier()).await.unwrap().checkpoint;
    for (changed, missing) in [(Some(7), None), (None, Some(0)), (None, Some(19)), (None, Some(32))] {
        let honest = log.shown.lock().unwrap().clone();
        log.change(|shown| shown.missing = missing);
        if let Some(index) = changed {
            log.change(|shown| shown.history.entries[index].push(0));
        }
        let read = reader.each(&tree, |_, _| ()).await;
        assert!(matches!(read, Err(ClientError::Proof(_))), "{changed:?} {missing:?}");
        assert!(reader.prove(&tree, &[1]).await.is_err(), "{changed:?} {missing:?}");
        log.change(|shown| *shown = honest);
    }
}

#[tokio::test]
async fn trees_are_known_by_the_keys_that_signed_them() {
    let log = Fixture::new(5).await;
    log.change(|shown| (shown.before, shown.tree) = (8, "3"));
    let reader = RekorV1::new(&log.http, log.base.clone());
    let own = log.monitor.verifier().clone();
    let other = History::new(NoteKind::RekorV1, KeyType::EcdsaP256, 1).monitor().verifier().clone();
    let both = [own.clone(), other.clone()];
    for grows in [true, false] {
        let Trees { trees, without, wrong } = reader.trees(&both, grows).await.unwrap();
        let origins: Vec<_> = trees.iter().map(|tree| tree.checkpoint.origin.as_str()).collect();
        assert_eq!(origins, ["log.test - 1", "log.test - 3"]);
        assert!(without == [&other] && wrong.is_empty());
        for tree in trees {
            reader.each(&tree.checkpoint, |_, _| ()).await.unwrap();
        }
    }
    // The tree that grows is of a key that nobody named: what is newest would be missed.
    assert!(reader.checkpoint(&other).await.is_err());
    assert!(reader.trees(std::slice::from_ref(&other), true).await.is_err());
    let Trees { trees, without, wrong } = reader.trees(std::slice::from_ref(&other), false).await.unwrap();
    assert!(trees.is_empty() && without == [&other] && wrong.is_empty());
    // The checkpoint of the closed tree says it is by our key, and is not; or it is none.
    for (from, to) in [("\n8\n", "\n7\n"), ("\n\n", "\n")] {
        log.change(|shown| shown.spoilt = Some((from, to)));
        let Trees { trees, without, wrong } = reader.trees(&both, true).await.unwrap();
        assert_eq!((trees.len(), without), (1, vec![&other]));
        assert!(wrong.len() == 1 && wrong[0].contains("the checkpoint of its closed tree 1: "), "{wrong:?}");
        // Whoever does not know the key cannot tell a tampered one from one of somebody else's.
        let wrong = reader.trees(std::slice::from_ref(&other), false).await.unwrap().wrong;
        assert_eq!(wrong.len(), usize::from(from == "\n\n"), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_single_entry_is_the_one_asked_for_and_in_a_tree_that_was_signed_or_refused() {
    let log = Fixture::new(10).await;
    log.change(|shown| (shown.before, shown.tree) = (8, "3"));
    let reader = RekorV1::new(&log.http, log.base.clone());
    let keys = [log.monitor.verifier().clone()];
    let of = async |name: EntryName| reader.entry(&name, &keys).await;
    // Of the tree that grows, and of the closed one before it.
    for (index, in_tree, tree) in [(11, 3, "3"), (17, 9, "3"), (7, 7, "1")] {
        let found = of(EntryName::Index(index)).await.unwrap();
        assert_eq!((found.index, found.in_tree), (index, in_tree));
        assert_eq!(found.tree.checkpoint.origin, origin(tree));
        assert_eq!(found.body, format!("entry {in_tree}").into_bytes());
        let leaf = leaf_hash(&found.body);
        let number: u64 = tree.parse().unwrap();
        assert_eq!(found.uuid, format!("{number:016x}{}", hex_encode(&leaf)));
    }
    let leaf = leaf_hash(b"entry 3");
    for tree in [None, Some(3)] {
        assert_eq!(of(EntryName::Uuid { tree, leaf }).await.unwrap().index, 11);
    }
    // Another than was asked for, or of another tree.
    for (tree, leaf) in [(None, leaf_hash(b"entry 4")), (Some(1), leaf)] {
        let error = of(EntryName::Uuid { tree, leaf }).await.unwrap_err();
        assert!(matches!(&error, ClientError::Proof(why) if why.contains("gave another")), "{error}");
    }
    let lies: [(Lie, &str); 7] = [
        (|v| v["body"] = json!(base64_encode(b"entry 3!")), "not what the checkpoint"),
        (|v| v["logIndex"] = json!(12), "gave another"),
        (|v| v["verification"]["inclusionProof"]["logIndex"] = json!(4), "not what the checkpoint"),
        (
            |v| v["verification"]["inclusionProof"]["hashes"][0] = json!("00".repeat(32)),
            "not what the checkpoint",
        ),
        (|v| v["verification"]["inclusionProof"]["checkpoint"] = json!(""), "the checkpoint of the log"),
        (
            |v| {
                let note = &mut v["verification"]["inclusionProof"]["checkpoint"];
                *note = json!(note.as_str().unwrap().replacen("\n10\n", "\n11\n", 1));
            },
            "the checkpoint of the log",
        ),
        (|v| v["verification"] = Value::Null, "without a proof"),
    ];
    for (lie, expected) in lies {
        log.change(|shown| shown.lie = Some(lie));
        let error = of(EntryName::Index(11)).await.unwrap_err();
        assert!(matches!(&error, ClientError::Proof(why) if why.contains(expected)), "{expected}: {error}");
    }
    // By the key of another log.
    log.change(|shown| shown.lie = None);
    let other = History::new(NoteKind::RekorV1, KeyType::EcdsaP256, 1).monitor().verifier().clone();
    assert!(reader.entry(&EntryName::Index(11), &[other]).await.is_err());
}
