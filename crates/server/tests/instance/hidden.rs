//! Indexes that hide identities: who knows an address finds it, and nobody reads one out of an index.

use countersign_crypto::HashAlgorithm;
use countersign_crypto::encoding::{base64_decode, base64_encode, hex_encode};
use countersign_server::serve::ServeOptions;
use countersign_tlog::map::{MapProof, Page, key_of};
use countersign_tlog::{Checkpoint, IndexCommitment, Note};
use countersign_verify::terms::SearchKey;
use countersign_x509::Certificate;
use serde_json::{Value, json};

use crate::common::Served;
use crate::rekor_v1::{ENTRIES, JSON, certified, hashedrekord_by};

const ALICE: &str = "email:alice@example.com";

impl Served {
    fn search_key(&self) -> SearchKey {
        SearchKey::parse(&std::fs::read_to_string(self.path.join("keys/search.key")).unwrap()).unwrap()
    }

    /// The answer about a plain term, once the signed index has entries of it: entries of others are sent until then.
    async fn proven(&self, term: &str) -> Value {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("term", term).finish();
        for number in 0_u32.. {
            let (status, body) = self.get(&format!("/api/v1/search?{query}")).await;
            // 404 while the checkpoint commits to an index of before, under another key.
            assert!(status == 200 || status == 404, "{}", String::from_utf8_lossy(&body));
            let answer: Value = serde_json::from_slice(&body).unwrap();
            if answer["index"]["entries"].as_array().is_some_and(|entries| !entries.is_empty()) {
                return answer;
            }
            self.signed("bob@example.com", &number.to_be_bytes()).await;
        }
        unreachable!()
    }

    /// All bytes of the index of a log.
    fn index_file(&self, log: &str) -> Vec<u8> {
        let file = |name: &str| std::fs::read(self.path.join(log).join(name)).unwrap_or_default();
        [file("terms.db"), file("terms.db-wal")].concat()
    }
}

fn contains(bytes: &[u8], part: impl AsRef<[u8]>) -> bool {
    bytes.windows(part.as_ref().len()).any(|window| window == part.as_ref())
}

/// The entries that an answer proves for a term, and the key of the index that it is of.
fn verified(answer: &Value, term: &str) -> (Vec<u64>, Option<[u8; 32]>) {
    let note = Note::parse(answer["checkpoint"].as_str().unwrap().as_bytes()).unwrap();
    let index = IndexCommitment::of(&Checkpoint::parse(note.text()).unwrap()).unwrap().unwrap();
    let proof = base64_decode(answer["index"]["proof"].as_str().unwrap()).unwrap();
    let leaf = MapProof::parse(&proof).unwrap().verify(&key_of(term), &index.root).unwrap().unwrap();
    let entries: Vec<u64> = serde_json::from_value(answer["index"]["entries"].clone()).unwrap();
    Page { start: 0, peaks: vec![], entries: entries.clone() }.verify(&leaf).unwrap();
    (entries, index.key_id)
}

fn set(path: &std::path::Path, from: &str, to: &str) {
    let file = path.join("countersign.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&file, text.replace(from, to)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_found_by_who_knows_it_and_stands_nowhere_in_the_index() {
    let served = Served::with(ServeOptions::default(), |text| {
        let changed = text.replace("# hide_identities = true", "hide_identities = true");
        assert_ne!(changed, text);
        changed
    })
    .await;
    let key = served.search_key();
    let (bundle, _) = served.signed("Alice@example.com", b"one").await;
    let countersign_bundle::KeyMaterial::Certificate(der) = &bundle.verification_material.content else {
        panic!("no certificate")
    };
    let issuer = Certificate::from_der(der).unwrap().fulcio().issuer().unwrap().to_owned();

    let answer = served.proven(ALICE).await;
    let hidden = key.hide(ALICE).into_owned();
    assert_eq!(
        (answer["term"].as_str(), &answer["key"]),
        (Some(&*hidden), &json!(hex_encode(&key_of(&hidden))))
    );
    assert!(!answer.to_string().contains("alice"), "{answer}");
    assert_eq!(verified(&answer, &hidden), (vec![1], Some(key.id())));
    // Written otherwise it is the same address.
    assert_eq!(served.proven("email:ALICE@example.com").await["term"], hidden);
    let file = served.index_file("log");
    assert!(contains(&file, key_of(&hidden)) && !contains(&file, key_of(ALICE)));
    assert!(!contains(&file, "alice") && !contains(&file, "example.com"));

    // What is no identity stays as it is.
    let term = format!("issuer:{issuer}");
    let answer = served.proven(&term).await;
    assert_eq!(answer["term"], term);
    assert!(verified(&answer, &term).0.contains(&1));

    // The pages: by address, and a list of everybody which names nobody.
    let (_, page) = served.page("/search?q=alice%40example.com").await;
    assert!(page.contains("One entry.") && page.contains("Complete for a tree of"), "{page}");
    assert!(page.contains("<code>--search-key</code>"), "{page}");
    let issuer: String = url::form_urlencoded::byte_serialize(issuer.as_bytes()).collect();
    let (_, page) = served.page(&format!("/search?q={issuer}")).await;
    assert!(page.contains("somebody with a certificate") && page.contains("the newest first"), "{page}");
    assert!(!page.contains("@example.com"), "{page}");

    // The log of Rekor v1.
    let (signer, certificate) = certified(&served, "alice@example.com").await;
    let pem = base64_encode(certificate.as_bytes());
    let entry = hashedrekord_by(&signer, HashAlgorithm::Sha256, &pem, b"one");
    assert_eq!(served.post(ENTRIES, JSON, entry.to_string()).await.0, 201);
    for (question, found) in [
        (json!({"email": "alice@example.com"}), 1),
        (json!({"subject": "ALICE@example.com"}), 1),
        (json!({"email": "x"}), 0),
    ] {
        // Twice: as read from the entry, and as read from the index.
        for _ in 0..2 {
            let (status, answer) = served.post("/api/v1/index/retrieve", JSON, question.to_string()).await;
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!((status, answer.as_array().unwrap().len()), (200, found), "{question}");
            while !contains(&served.index_file("log-v1"), key_of(&hidden)) {
                tokio::task::yield_now().await;
            }
        }
    }
    assert!(!contains(&served.index_file("log-v1"), key_of(ALICE)));

    // Another key: the indexes are made anew, and what the old one made is in them no more.
    let served = served.again(|path| std::fs::remove_file(path.join("keys/search.key")).unwrap()).await;
    let other = served.search_key();
    assert_ne!(other.id(), key.id());
    let answer = served.proven(ALICE).await;
    assert_eq!(verified(&answer, &other.hide(ALICE)), (vec![1], Some(other.id())));
    for log in ["log", "log-v1"] {
        while !contains(&served.index_file(log), key_of(&other.hide(ALICE))) {
            tokio::task::yield_now().await;
        }
        assert!(!contains(&served.index_file(log), key_of(&hidden)), "{log}");
    }

    // Switched off, everything is as it was without.
    let served = served.again(|path| set(path, "hide_identities = true", "hide_identities = false")).await;
    let answer = served.proven(ALICE).await;
    assert_eq!((answer["term"].as_str(), verified(&answer, ALICE)), (Some(ALICE), (vec![1], None)));
    let (_, page) = served.page(&format!("/search?q={issuer}")).await;
    assert!(page.contains("@example.com") && !page.contains("<code>--search-key</code>"), "{page}");
}
