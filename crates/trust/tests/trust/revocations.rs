//! What an instance revokes: fetched with its trust root, kept, and never an older one.

use std::sync::Arc;

use crate::common::{BASE, Files, at};
use countersign_crypto::{KeyPair, KeyType, Signer};
use countersign_trust::instances::{FetchedRoot, InstanceError, Instances};
use countersign_trust::revocations::{FRESH_FOR, REVOCATION_AUTHORITY, REVOCATIONS, remember};
use countersign_trust::tuf::repository::{Lifetimes, Repository, Role, Roles, TargetFile};
use countersign_verify::TrustMaterial;
use countersign_verify::revocation::{RevocationAuthority, RevocationList, open, seal};
use jiff::{SignedDuration, Timestamp};

const ROOT: &str = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[]}"#;

struct Publisher {
    dir: tempfile::TempDir,
    home: tempfile::TempDir,
    ring: [Arc<dyn Signer>; 2],
    soc: KeyPair,
    files: Files,
    repository: Repository,
}

fn now() -> Timestamp {
    at("2026-01-01T00:00:00Z")
}

impl Publisher {
    fn new() -> Self {
        let pair = || KeyPair::generate(KeyType::EcdsaP256).unwrap();
        let ring: [Arc<dyn Signer>; 2] = [Arc::new(pair()), Arc::new(pair())];
        let dir = tempfile::tempdir().unwrap();
        let soc = pair();
        let roles = Roles::offline_and_online(Role::single(ring[0].public_key()), ring[1].public_key());
        let targets = [
            TargetFile::new("trusted_root.json", ROOT),
            TargetFile::new(REVOCATION_AUTHORITY, authority(&soc).to_json().unwrap()),
        ];
        let repository =
            Repository::create(dir.path(), &roles, Lifetimes::default(), &ring, &targets, now()).unwrap();
        let home = tempfile::tempdir().unwrap();
        let publisher = Self { dir, home, ring, soc, files: Files::default(), repository };
        publisher.files.load(publisher.dir.path());
        publisher
    }

    fn serve(&self, number: u64) {
        self.files.put(REVOCATIONS, seal(&list(number), &self.soc).unwrap());
    }

    fn instances(&self) -> Instances {
        Instances::at(&self.home.path().join("instances"))
    }

    async fn add(&self) -> Result<(), InstanceError> {
        let root = FetchedRoot::fetch(&self.files, BASE).await.unwrap();
        self.instances().add("prod", &root, None, &self.files, now()).await.map(drop)
    }

    fn kept(&self) -> u64 {
        self.instances().get("prod").unwrap().revocations(now()).unwrap().unwrap().list().number
    }
}

fn authority(key: &KeyPair) -> RevocationAuthority {
    RevocationAuthority::new(&[key.public_key().clone()], &[]).unwrap()
}

fn list(number: u64) -> RevocationList {
    let expires = now().checked_add(SignedDuration::from_hours(24)).unwrap();
    RevocationList { number, issued_at: now(), expires, entries: Vec::new() }
}

#[tokio::test]
async fn an_instance_that_says_who_may_revoke_is_trusted_with_its_list_or_not_at_all() {
    let publisher = Publisher::new();
    let error = publisher.add().await.unwrap_err();
    assert!(matches!(error, InstanceError::RevocationsAway { .. }), "{error}");
    assert!(publisher.instances().get("prod").is_err(), "nothing is left behind");
    publisher
        .files
        .put(REVOCATIONS, seal(&list(1), &KeyPair::generate(KeyType::EcdsaP256).unwrap()).unwrap());
    let error = publisher.add().await.unwrap_err();
    assert!(matches!(error, InstanceError::Revocations { .. }), "{error}");
    publisher.serve(3);
    publisher.add().await.unwrap();
    assert_eq!(publisher.kept(), 3);
    let dir = publisher.instances().get("prod").unwrap().dir;
    std::fs::remove_file(dir.join(REVOCATIONS)).unwrap();
    let error = publisher.instances().get("prod").unwrap().revocations(now()).unwrap_err();
    assert!(matches!(error, InstanceError::NoRevocations(_)), "{error}");
    assert!(error.to_string().contains("countersign trust update prod"), "{error}");
}

#[tokio::test]
async fn an_older_list_and_another_one_under_the_same_number_are_refused_and_the_kept_one_stays() {
    let publisher = Publisher::new();
    publisher.serve(5);
    publisher.add().await.unwrap();
    let update = async || publisher.instances().update_revocations("prod", &publisher.files, now()).await;
    update().await.unwrap();
    publisher.serve(4);
    let error = update().await.unwrap_err().to_string();
    assert!(error.contains("expected number 5 or more, found 4"), "{error}");
    let mut other = list(5);
    other.expires = now().checked_add(SignedDuration::from_hours(25)).unwrap();
    publisher.files.put(REVOCATIONS, seal(&other, &publisher.soc).unwrap());
    let error = update().await.unwrap_err().to_string();
    assert!(error.contains("under the same number 5"), "{error}");
    assert_eq!(publisher.kept(), 5);
    publisher.serve(6);
    assert_eq!(update().await.unwrap().unwrap().list().number, 6);
    assert_eq!(publisher.kept(), 6);
}

#[tokio::test]
async fn the_list_is_due_after_a_minute_and_when_the_clock_went_back() {
    let publisher = Publisher::new();
    publisher.serve(1);
    publisher.add().await.unwrap();
    let instance = publisher.instances().get("prod").unwrap();
    let due = |seconds| {
        let later = now().checked_add(SignedDuration::from_secs(seconds)).unwrap();
        instance.revocations_due(later, FRESH_FOR).unwrap()
    };
    assert_eq!([due(0), due(59), due(60), due(-1)], [false, false, true, true]);
}

#[tokio::test]
async fn who_may_revoke_is_not_forgotten_because_a_repository_leaves_it_out() {
    let publisher = Publisher::new();
    publisher.serve(1);
    publisher.add().await.unwrap();
    publisher.repository.publish(&[], &[REVOCATION_AUTHORITY], &publisher.ring, now()).unwrap();
    publisher.files.load(publisher.dir.path());
    let updated = publisher.instances().update("prod", &publisher.files, now()).await.unwrap();
    assert!(updated.revocation_authority().unwrap().is_some());
}

#[test]
fn the_number_of_a_list_in_a_file_is_remembered_for_whoever_signs_it() {
    let home = tempfile::tempdir().unwrap();
    let instances = Instances::at(&home.path().join("instances"));
    let [one, other] = [(); 2].map(|()| KeyPair::generate(KeyType::EcdsaP256).unwrap());
    let seen = |key: &KeyPair, number| {
        let bytes = seal(&list(number), key).unwrap();
        let opened = open(&bytes, &authority(key), &TrustMaterial::empty(), "a file", now()).unwrap();
        remember(&instances, &authority(key), &opened)
    };
    seen(&one, 2).unwrap();
    seen(&other, 1).unwrap();
    seen(&one, 2).unwrap();
    assert!(seen(&one, 1).unwrap_err().to_string().contains("expected number 2 or more"));
    seen(&one, 3).unwrap();
    assert!(seen(&one, 2).is_err());
}
