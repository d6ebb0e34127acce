//! Logs that keep their promises and logs that break them, each looked at once.

mod rekor_v1;

use std::path::Path;
use std::sync::Arc;

use countersign_crypto::{KeyPair, KeyType};
use countersign_tlog::proof::{HashSource as _, Leaves, Node};
use countersign_tlog::{NoteKind, NoteSigner};

use super::*;
use crate::log::LogSource;

const NAME: &str = "log.test";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    /// From `from` to `to`, both of them possible.
    fn within(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from + (self.0 >> 33) % (to - from + 1)
    }
}

fn place(index: u64) -> usize {
    usize::try_from(index).unwrap()
}

/// A log's entries and key, from which any history can be written.
#[derive(Clone)]
struct History {
    signer: NoteSigner,
    entries: Vec<Vec<u8>>,
}

impl History {
    fn new(kind: NoteKind, key: KeyType, count: u64) -> Self {
        let signer = NoteSigner::new(kind, NAME, Arc::new(KeyPair::generate(key).unwrap())).unwrap();
        Self { signer, entries: (0..count).map(|i| format!("entry {i}").into_bytes()).collect() }
    }

    fn leaves(&self) -> Leaves {
        Leaves(self.entries.iter().map(|entry| leaf_hash(entry)).collect())
    }

    fn note(&self, origin: &str, size: u64, time: Timestamp) -> String {
        let root = proof::root(&self.leaves(), size).unwrap();
        let checkpoint = Checkpoint { origin: origin.into(), size, root, extensions: vec![] };
        let time = u64::try_from(time.as_millisecond()).unwrap();
        checkpoint.sign(std::slice::from_ref(&self.signer), time).unwrap().to_string()
    }

    /// Writes the log of this size in place of what is there.
    fn write(&self, dir: &Path, size: u64, time: Timestamp) {
        if dir.exists() {
            std::fs::remove_dir_all(dir).unwrap();
        }
        let put = |path: &str, bytes: &[u8]| {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let leaves = self.leaves();
        for level in 0..2_u8 {
            let tiles = (0..).map_while(|i| TilePath::in_tree(TileKind::Hashes { level }, i, size));
            for path in tiles {
                let first = path.index * 256;
                let node = |index| leaves.node(Node { level: level * 8, index }).unwrap();
                let hashes: Vec<u8> = (first..first + u64::from(path.width)).flat_map(node).collect();
                put(&path.to_string(), &hashes);
            }
        }
        for path in (0..).map_while(|i| TilePath::in_tree(TileKind::Entries, i, size)) {
            let mut bundle = Vec::new();
            let first = place(path.index * 256);
            for entry in &self.entries[first..first + usize::from(path.width)] {
                tile::push_entry(&mut bundle, entry).unwrap();
            }
            put(&path.to_string(), &bundle);
        }
        put("checkpoint", self.note(NAME, size, time).as_bytes());
    }

    fn monitor(&self) -> Monitor {
        Monitor::new(self.signer.verifier().clone())
    }

    fn feed(&self, dir: &Path) -> Feed<'static> {
        Feed::Tiles(Box::new(LogReader::new(
            LogSource::Directory(dir.to_owned()),
            self.signer.verifier().clone(),
        )))
    }

    async fn poll(&self, dir: &Path, standing: Option<&Standing>, how: How) -> Seen {
        poll(&self.feed(dir), &self.monitor(), standing, how, at(0), |_, _| ()).await.unwrap()
    }

    async fn good(&self, dir: &Path, standing: Option<&Standing>, how: How) -> Standing {
        match self.poll(dir, standing, how).await {
            Seen::Good(standing) => *standing,
            Seen::Bad(finding) => panic!("{}", finding.alarm),
        }
    }

    async fn bad(&self, dir: &Path, standing: &Standing, how: How) -> Finding {
        match self.poll(dir, Some(standing), how).await {
            Seen::Bad(finding) => *finding,
            Seen::Good(good) => panic!("nothing was noticed: {}", good.note()),
        }
    }
}

fn how(dice: &mut Dice) -> How {
    How { whole: dice.within(0, 1) == 0, again: dice.within(0, 3) == 0 }
}

/// Changes what a log of `size` entries shows of those after `old`, and nothing that is signed.
fn make_a_gap(dir: &Path, dice: &mut Dice, old: u64, size: u64) {
    let number = dice.within(old, size - 1) / 256;
    let path = dir.join(TilePath::in_tree(TileKind::Entries, number, size).unwrap().to_string());
    let bundle = std::fs::read(&path).unwrap();
    match dice.within(0, 3) {
        0 => std::fs::remove_file(&path).unwrap(),
        // The bundle ends early.
        1 => std::fs::write(&path, &bundle[..bundle.len() - 3]).unwrap(),
        // The last entry of the bundle, which is a new one, is another.
        2 => {
            let mut other = bundle;
            *other.last_mut().unwrap() ^= 1;
            std::fs::write(&path, other).unwrap();
        }
        // The last entry is missing.
        _ => {
            let last = 2 + bundle[..].rsplit(|b| *b == b'e').next().unwrap().len();
            std::fs::write(&path, &bundle[..bundle.len() - last - 1]).unwrap();
        }
    }
}

/// One log that breaks a promise in the way of this number, and the alarm by which that was noticed at the first look.
async fn broken(way: u64, dice: &mut Dice, dir: &Path) -> &'static str {
    let (kind, key) = if way == 4 {
        (NoteKind::Rfc6962, KeyType::EcdsaP256)
    } else {
        (NoteKind::Ed25519, KeyType::Ed25519)
    };
    let (old, more) = (dice.within(1, 600), dice.within(1, 300));
    let (new, log) = (old + more, History::new(kind, key, old + more));
    log.write(dir, old, at(-5));
    let how = how(dice);
    let stood = log.good(dir, None, how).await;
    let mut other = log.clone();
    let changed = dice.within(0, old - 1);
    other.entries[place(changed)].push(b'!');
    let finding = match way {
        0 => {
            other.write(dir, old, at(0));
            log.bad(dir, &stood, how).await
        }
        1 => {
            log.write(dir, dice.within(0, old - 1), at(0));
            log.bad(dir, &stood, how).await
        }
        2 => {
            other.write(dir, new, at(0));
            log.bad(dir, &stood, how).await
        }
        3 => {
            // The log is honest here, and showed others another history of some size.
            log.write(dir, new, at(0));
            let stood = log.good(dir, Some(&stood), how).await;
            let theirs = other.note(NAME, dice.within(changed + 1, new), at(0));
            let found = compare(&log.feed(dir), &log.monitor(), &stood, theirs.as_bytes()).await.unwrap();
            found.expect("it was not noticed")
        }
        4 => {
            log.write(dir, new, at(-6 - i64::try_from(dice.within(0, 1000)).unwrap()));
            log.bad(dir, &stood, how).await
        }
        _ => {
            log.write(dir, new, at(0));
            make_a_gap(dir, dice, old, new);
            log.bad(dir, &stood, how).await
        }
    };
    // Two histories are shown by one file that anybody can check.
    if [0, 2, 3].contains(&way) {
        let kept = Kept::open(&dir.join("kept")).unwrap();
        let (file, is_known) = kept.evidence_of(&finding).unwrap();
        kept.keep_evidence(&finding).unwrap();
        assert!(!is_known && kept.evidence_of(&finding).unwrap().1, "told once");
        let evidence = read_evidence("it", &std::fs::read(file).unwrap()).unwrap();
        assert_eq!(Some(&evidence), finding.evidence.as_ref());
        let shown = evidence.verify(log.signer.verifier()).unwrap();
        assert!(shown.size > changed, "{shown:?}");
        let stranger = History::new(kind, key, 0);
        assert!(evidence.verify(stranger.signer.verifier()).is_err());
    }
    finding.alarm.code()
}

#[tokio::test]
async fn r22_a_thousand_logs_that_break_a_promise_are_noticed_at_the_first_look() {
    let (dir, mut dice) = (tempfile::tempdir().unwrap(), Dice(22));
    let mut counts = std::collections::BTreeMap::new();
    for number in 0..1000_u64 {
        let way = number % 6;
        let code = broken(way, &mut dice, &dir.path().join("log")).await;
        let expected: &[&str] = match way {
            0 => &["forked"],
            1 => &["shrunk"],
            2 => &["discontinued", "rewritten"],
            3 => &["equivocated"],
            4 => &["back_dated"],
            _ => &["withheld", "discontinued"],
        };
        assert!(expected.contains(&code), "{number}: {code}");
        *counts.entry((way, code)).or_insert(0) += 1;
    }
    println!("{counts:?}");
    assert_eq!(counts.values().sum::<u64>(), 1000);
}

#[tokio::test]
async fn r22_a_thousand_honest_growths_raise_nothing() {
    let (dir, mut dice) = (tempfile::tempdir().unwrap(), Dice(23));
    let (path, kept) = (dir.path().join("log"), Kept::open(&dir.path().join("kept")).unwrap());
    let mut growths = 0;
    while growths < 1000 {
        let log = History::new(NoteKind::Ed25519, KeyType::Ed25519, 900);
        let (monitor, mut seen) = (log.monitor(), Vec::new());
        let mut size = dice.within(0, 20);
        log.write(&path, size, at(0));
        let mut stood = log.good(&path, None, how(&mut dice)).await;
        seen.push(stood.note().to_string());
        while size < 900 && growths < 1000 {
            size = (size + dice.within(0, 60)).min(900);
            log.write(&path, size, at(0));
            kept.keep(&stood).unwrap();
            let resumed = kept.standing(&monitor).unwrap();
            assert_eq!(resumed.as_ref(), Some(&stood));
            stood = log.good(&path, resumed.as_ref(), how(&mut dice)).await;
            assert_eq!(stood.checkpoint().size, size);
            let theirs = &seen[place(dice.within(0, seen.len() as u64 - 1))];
            assert!(compare(&log.feed(&path), &monitor, &stood, theirs.as_bytes()).await.unwrap().is_none());
            seen.push(stood.note().to_string());
            growths += 1;
        }
    }
}

#[tokio::test]
async fn each_new_entry_is_shown_once_and_old_ones_only_to_who_begins_with_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = History::new(NoteKind::Ed25519, KeyType::Ed25519, 300);
    log.write(&path, 260, at(0));
    let look = async |standing: Option<&Standing>, whole, again| {
        let (mut seen, how) = (Vec::new(), How { whole, again });
        let (feed, monitor) = (log.feed(&path), log.monitor());
        let found = poll(&feed, &monitor, standing, how, at(0), |index, body: &[u8]| {
            assert_eq!(body, log.entries[place(index)]);
            seen.push(index);
        });
        let Seen::Good(standing) = found.await.unwrap() else { panic!() };
        (*standing, seen)
    };
    assert_eq!(look(None, true, false).await.1, (0..260).collect::<Vec<_>>());
    let (stood, seen) = look(None, false, false).await;
    assert!(seen.is_empty());
    log.write(&path, 300, at(0));
    for again in [false, true] {
        assert_eq!(look(Some(&stood), false, again).await.1, (260..300).collect::<Vec<_>>());
    }
}

/// Shows another entry in the place of one that was signed, and the same checkpoint; with `hashes`, its hash too.
fn rewrite(dir: &Path, log: &History, size: u64, index: u64, hashes: bool) {
    let path = |kind| {
        let tile = TilePath::in_tree(kind, index / 256, size).unwrap();
        (dir.join(tile.to_string()), tile)
    };
    let (file, tile) = path(TileKind::Entries);
    let bytes = std::fs::read(&file).unwrap();
    let mut entries: Vec<Vec<u8>> =
        tile::parse_entries(&bytes, tile.width).unwrap().iter().map(|entry| entry.to_vec()).collect();
    let within = place(index % 256);
    assert_eq!(entries[within], log.entries[place(index)]);
    entries[within].push(b'!');
    let mut bundle = Vec::new();
    entries.iter().for_each(|entry| tile::push_entry(&mut bundle, entry).unwrap());
    std::fs::write(file, bundle).unwrap();
    if hashes {
        let (file, _) = path(TileKind::Hashes { level: 0 });
        let all: Vec<u8> = entries.iter().flat_map(|entry| leaf_hash(entry)).collect();
        std::fs::write(file, all).unwrap();
    }
}

#[tokio::test]
async fn an_entry_rewritten_under_the_same_checkpoint_is_named_at_once_with_again_and_in_turn_without() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let kept = Kept::open(&dir.path().join("kept")).unwrap();
    let log = History::new(NoteKind::Ed25519, KeyType::Ed25519, 800);
    let again = How { again: true, ..How::default() };
    for (index, hashes, named) in [
        (3, false, "entry 3, in tile/entries/000, is another"),
        (300, false, "entry 300, in tile/entries/001, is another"),
        (699, false, "entry 699, in tile/entries/002.p/188, is another"),
        (300, true, "entries 256 to 511, in tile/entries/001, or the hashes above them are others"),
    ] {
        log.write(&path, 700, at(0));
        let stood = log.good(&path, None, How::default()).await;
        rewrite(&path, &log, 700, index, hashes);
        let told = log.bad(&path, &stood, again).await;
        assert_eq!(told.alarm.code(), "rewritten");
        assert!(told.alarm.to_string().ends_with(named), "{}", told.alarm);
        // One bundle at each look, also by monitors that are started anew each time: of three, at the third at the latest.
        let (mut stood, mut looks) = (stood, 1);
        let found = loop {
            match log.poll(&path, Some(&stood), How::default()).await {
                Seen::Bad(finding) => break finding.alarm,
                Seen::Good(good) => {
                    assert_eq!(good.note(), stood.note());
                    kept.keep(&good).unwrap();
                    stood = kept.standing(&log.monitor()).unwrap().unwrap();
                    looks += 1;
                }
            }
        };
        assert_eq!((found, looks), (told.alarm, index / 256 + 1));
    }
    // A tree that grows is read in turn all the same, and the first bundle comes after the last.
    log.write(&path, 200, at(0));
    let (mut stood, mut turns) = (log.good(&path, None, How::default()).await, Vec::new());
    for size in [300, 600, 600, 700, 700, 700] {
        log.write(&path, size, at(0));
        turns.push(stood.again());
        stood = log.good(&path, Some(&stood), How::default()).await;
    }
    assert_eq!(turns, [0, 0, 1, 2, 0, 1]);
    // What is not there any more.
    std::fs::remove_file(path.join("tile/entries/002.p/188")).unwrap();
    let gone = log.bad(&path, &stood, How::default()).await.alarm;
    assert!(gone.code() == "withheld" && gone.to_string().contains("tile/entries/002.p/188"), "{gone}");
}

#[tokio::test]
async fn what_was_damaged_or_is_of_another_log_is_never_taken_for_a_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let (path, kept) = (dir.path().join("log"), Kept::open(&dir.path().join("kept")).unwrap());
    let log = History::new(NoteKind::Ed25519, KeyType::Ed25519, 10);
    assert!(kept.standing(&log.monitor()).unwrap().is_none());
    log.write(&path, 10, at(0));
    kept.keep(&log.good(&path, None, How::default()).await).unwrap();
    let stranger = History::new(NoteKind::Ed25519, KeyType::Ed25519, 0);
    assert!(kept.standing(&stranger.monitor()).is_err());
    let state = dir.path().join("kept/state.json");
    let good = std::fs::read_to_string(&state).unwrap();
    assert!(kept.standing(&log.monitor()).is_ok());
    let damaged =
        [String::new(), good[..good.len() - 2].to_owned(), good.replace("10\\n", "11\\n"), "{}".into()];
    for text in damaged {
        std::fs::write(&state, &text).unwrap();
        let error = kept.standing(&log.monitor()).unwrap_err();
        assert!(matches!(error, ClientError::Malformed { .. }), "{text}: {error}");
    }
    // What cannot be looked at is an error, neither an alarm nor an all-clear.
    std::fs::remove_dir_all(&path).unwrap();
    std::fs::write(&path, "a file").unwrap();
    let found = poll(&log.feed(&path), &log.monitor(), None, How::default(), at(0), |_, _| ()).await;
    assert!(matches!(found, Err(ClientError::File { .. })), "{found:?}");
}
