//! A witness on a disk: what it cosigned is there before it says so, and it never cosigns two histories.

use countersign_crypto::KeyPair;
use countersign_tlog::Witnesses;
use countersign_tlog::merkle::{Frontier, leaf_hash};
use countersign_tlog::proof::{Leaves, consistency};

use super::*;

const LOG: &str = "log.test";

struct Fixture {
    dir: tempfile::TempDir,
    log: NoteSigner,
    section: WitnessSection,
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

impl Fixture {
    fn new() -> Self {
        let key = Arc::new(KeyPair::generate(KeyType::Ed25519).unwrap());
        let log = NoteSigner::rekor_v2(LOG, key).unwrap();
        let logs = vec![WitnessedLog { origin: LOG.into(), key: log.verifier().published().unwrap() }];
        let section = WitnessSection { name: "w.test".into(), key: None, logs };
        Self { dir: tempfile::tempdir().unwrap(), log, section }
    }

    fn open(&self) -> Result<Witness, ServerError> {
        std::fs::create_dir_all(self.dir.path().join("keys")).unwrap();
        Witness::open(self.dir.path(), &self.section, &PasswordSource::Literal("secret".to_owned().into()))
    }

    /// A request for the tree whose leaf `changed` is another.
    fn request(&self, old: u64, new: u64, changed: Option<u64>) -> (Vec<u8>, Note) {
        let leaf = |i: u64| leaf_hash(&[i.to_be_bytes(), [u8::from(Some(i) == changed); 8]].concat());
        let tree = Leaves((0..new).map(leaf).collect());
        let mut edge = Frontier::default();
        tree.0.iter().for_each(|leaf| edge.push(*leaf));
        let checkpoint = Checkpoint { origin: LOG.into(), size: new, root: edge.root(), extensions: vec![] };
        let note = checkpoint.sign(std::slice::from_ref(&self.log), 0).unwrap();
        let asked = AddCheckpoint { old, proof: consistency(&tree, old, new).unwrap(), note: note.clone() };
        (asked.to_text().into_bytes(), note)
    }
}

fn status(answer: Result<String, NotCosigned>) -> Result<(), u16> {
    match answer {
        Ok(_) => Ok(()),
        Err(NotCosigned::Refused(refusal)) => Err(refusal.status()),
        Err(NotCosigned::Failed(why)) => panic!("{why}"),
    }
}

#[test]
fn its_cosignature_counts_and_what_it_cosigned_outlives_the_process() {
    let fixture = Fixture::new();
    let witness = fixture.open().unwrap();
    let (body, note) = fixture.request(0, 5, None);
    let line = witness.cosign(&body, now()).unwrap();
    let cosigned = Note::parse(format!("{note}{line}").as_bytes()).unwrap();
    let witnesses = Witnesses::parse(&witness.signer.verifier().published().unwrap()).unwrap();
    assert_eq!(witnesses.cosigners(&cosigned, now()).unwrap().len(), 1);
    assert!(fixture.open().is_err(), "one process at a time");
    drop(witness);
    // After a restart it knows the size, has the same key, and does not begin anew.
    let witness = fixture.open().unwrap();
    assert_eq!(status(witness.cosign(&fixture.request(0, 9, Some(2)).0, now())), Err(409));
    assert_eq!(status(witness.cosign(&fixture.request(5, 9, Some(2)).0, now())), Err(422));
    assert_eq!(status(witness.cosign(&fixture.request(5, 9, None).0, now())), Ok(()));
    assert_eq!(status(witness.cosign(&fixture.request(9, 9, Some(2)).0, now())), Err(409));
    assert_eq!(status(witness.cosign(&fixture.request(9, 9, None).0, now())), Ok(()), "asked again");
    let mut strange = Fixture::new();
    strange.dir = tempfile::tempdir().unwrap();
    assert_eq!(status(witness.cosign(&strange.request(9, 12, None).0, now())), Err(403));
}

#[test]
fn what_was_damaged_is_never_taken_for_nothing_and_what_cannot_be_kept_is_not_cosigned() {
    let fixture = Fixture::new();
    let witness = fixture.open().unwrap();
    witness.cosign(&fixture.request(0, 5, None).0, now()).unwrap();
    let file = witness.directory.join(state_name(LOG, &witness.logs[LOG]));
    let good = std::fs::read(&file).unwrap();
    let other = Fixture::new().request(0, 5, None).1.to_string().into_bytes();
    for bad in [&good[..good.len() - 5], b"", &other[..]] {
        std::fs::write(&file, bad).unwrap();
        for asked in [fixture.request(0, 7, None).0, fixture.request(5, 7, None).0] {
            assert!(matches!(witness.cosign(&asked, now()), Err(NotCosigned::Failed(_))));
        }
    }
    // A directory that is gone: nothing can be kept, so nothing is signed.
    std::fs::remove_dir_all(&witness.directory).unwrap();
    assert!(matches!(witness.cosign(&fixture.request(0, 7, None).0, now()), Err(NotCosigned::Failed(_))));
}

#[test]
fn of_many_histories_asked_for_at_once_one_is_cosigned() {
    let fixture = Fixture::new();
    let witness = fixture.open().unwrap();
    witness.cosign(&fixture.request(0, 20, None).0, now()).unwrap();
    let bodies: Vec<_> = (20..60).map(|changed| fixture.request(20, 60, Some(changed)).0).collect();
    let witness = &witness;
    let cosigned = std::thread::scope(|scope| {
        let asked: Vec<_> = bodies
            .iter()
            .map(|body| scope.spawn(move || status(witness.cosign(body, now())).is_ok()))
            .collect();
        asked.into_iter().filter_map(|asked| asked.join().unwrap().then_some(())).count()
    });
    assert_eq!(cosigned, 1);
}

#[test]
fn a_configuration_that_witnesses_nothing_or_nobody_can_check_is_refused() {
    let fixture = Fixture::new();
    for change in [
        (|s: &mut WitnessSection| s.logs.clear()) as fn(&mut WitnessSection),
        |s| s.name = "a name".into(),
        |s| s.logs[0].key = "log.test+00000000+AAAA".into(),
        |s| s.logs[0].key = "no-such-file.pem".into(),
        |s| s.key = Some("keys/no-such.key".into()),
    ] {
        let mut other = Fixture::new();
        other.section = fixture.section.clone();
        change(&mut other.section);
        assert!(other.open().is_err(), "{:?}", other.section);
    }
}

#[test]
fn a_log_that_was_rotated_is_another_log_under_the_old_name() {
    let (mut old, new) = (Fixture::new(), Fixture::new());
    old.section.logs.extend(new.section.logs.clone());
    let witness = old.open().unwrap();
    assert_eq!(status(witness.cosign(&old.request(0, 30, None).0, now())), Ok(()));
    assert_eq!(status(witness.cosign(&new.request(0, 4, None).0, now())), Ok(()));
    assert_eq!(status(witness.cosign(&old.request(0, 31, None).0, now())), Err(409));
    assert_eq!(status(witness.cosign(&old.request(30, 31, None).0, now())), Ok(()));
    assert_eq!(status(witness.cosign(&new.request(4, 9, Some(1)).0, now())), Err(422));
}
