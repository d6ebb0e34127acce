//! The pages for people: what they show, what they find, and that what strangers wrote stays text.

use countersign_bundle::{Bundle, BundleVersion, Content, KeyMaterial, TlogEntry, VerificationMaterial};
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::encoding::{base64_encode, hex_encode};
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer as _, sha256};
use countersign_server::serve::ServeOptions;
use countersign_tlog::merkle::leaf_hash;
use countersign_x509::issue::{AuthorityProfile, root_ca, server_leaf};
use countersign_x509::{Certificate, Name, San};
use serde_json::{Value, json};

use crate::common::Served;
use crate::requests::entry_request;

const EVIL: &str = "https://x.example/<script>alert(1)</script>\"'&amp;";

impl Served {
    /// A page as a browser asks for it.
    pub(crate) async fn page(&self, path: &str) -> (u16, String) {
        let request = self.client.get(self.url(path)).header("accept", "text/html,*/*;q=0.8");
        let response = request.send().await.unwrap();
        let headers = response.headers().clone();
        assert!(headers["content-type"].to_str().unwrap().starts_with("text/html"), "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        // Nothing runs but the script of the page that verifies, and what it compiles.
        let script = match (path, cfg!(feature = "browser")) {
            ("/verify", true) => "script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; ",
            ("/verify", false) => "script-src 'self'; ",
            _ => "",
        };
        let expected = format!(
            "default-src 'none'; style-src 'self'; {script}form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        assert_eq!(policy, expected);
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        own_and_plain(&text);
        (status, text)
    }

    async fn form(&self, fields: &[(&str, &str)]) -> (u16, String) {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let (status, page) = self.post("/verify", "application/x-www-form-urlencoded", body).await;
        let page = String::from_utf8(page).unwrap();
        own_and_plain(&page);
        (status, page)
    }

    /// Signs something with a certificate for this address, and logs it.
    pub(crate) async fn signed(&self, email: &str, message: &[u8]) -> (Bundle, KeyPair) {
        let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        let body = json!({
            "credentials": {"oidcIdentityToken": self.token(email).await},
            "publicKeyRequest": {
                "publicKey": {"algorithm": "", "content": key.public_key().to_pem()},
                "proofOfPossession": base64_encode(&key.sign(email.as_bytes()).unwrap()),
            },
        });
        let (_, answer) = self.post("/api/v2/signingCert", "application/json", body.to_string()).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let pem = &answer["signedCertificateEmbeddedSct"]["chain"]["certificates"][0];
        let certificate = Certificate::from_pem(pem.as_str().unwrap()).unwrap();
        let digest = HashAlgorithm::Sha256.digest(message);
        let signature = key.sign_digest(&digest).unwrap();
        let entry = self.logged(&digest, &signature, certificate.der()).await;
        let stamp = json!({"artifactHash": base64_encode(&sha256(&signature)), "hashAlgorithm": "sha256"});
        let (_, stamp) = self.post("/api/v1/timestamp", "application/json", stamp.to_string()).await;
        let bundle = Bundle {
            version: BundleVersion::V0_3,
            verification_material: VerificationMaterial {
                content: KeyMaterial::Certificate(certificate.der().to_vec()),
                tlog_entries: vec![entry],
                rfc3161_timestamps: vec![stamp],
            },
            content: Content::MessageSignature { digest: Some(digest), signature },
        };
        (bundle, key)
    }

    async fn logged(
        &self,
        digest: &countersign_crypto::Digest,
        signature: &[u8],
        certificate: &[u8],
    ) -> TlogEntry {
        let (status, body) = self.entry(certified_entry(digest, signature, certificate)).await;
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        TlogEntry::from_json(&body).unwrap()
    }
}

/// A request for an entry of Rekor v2 with a certificate, of a P-256 key.
pub(crate) fn certified_entry(
    digest: &countersign_crypto::Digest,
    signature: &[u8],
    certificate: &[u8],
) -> String {
    json!({"hashedRekordRequestV002": {
        "digest": base64_encode(digest.as_bytes()),
        "signature": {
            "content": base64_encode(signature),
            "verifier": {
                "x509Certificate": {"rawBytes": base64_encode(certificate)},
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            },
        },
    }})
    .to_string()
}

/// Nothing inline, nothing from elsewhere, and no markup of strangers.
fn own_and_plain(page: &str) {
    for part in
        ["<script>", "<style", "style=\"", "onclick", "onload=\"", "action=\"javascript:", "<img", "<iframe"]
    {
        assert!(!page.contains(part), "{part} in {page}");
    }
    for (at, _) in page.match_indices("src=\"").chain(page.match_indices("href=\"")) {
        let target = page[at..].split('"').nth(1).unwrap();
        assert!(target.starts_with('/') && !target.starts_with("//") || target.starts_with('#'), "{target}");
    }
}

fn link(entry: &TlogEntry) -> String {
    format!("/entry/{}", hex_encode(&sha256(&entry.canonicalized_body)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_is_found_by_all_that_it_says_and_has_a_page_under_its_hash() {
    let served = Served::new().await;
    let (bundle, key) = served.signed("Alice@example.com", b"one").await;
    let entry = &bundle.verification_material.tlog_entries[0];
    let digest = HashAlgorithm::Sha256.digest(b"one");
    let hash = link(entry).replace("/entry/", "");
    for typed in [
        entry.log_index.to_string(),
        hash.clone(),
        digest.to_string(),
        digest.to_hex().to_uppercase(),
        format!("key:sha256:{}", hex_encode(&key.public_key().fingerprint())),
        "alice@example.com".to_owned(),
        "email:ALICE@example.com".to_owned(),
        "issuer:https://nobody.example".to_owned(),
    ] {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", &typed).finish();
        let (status, page) = served.page(&format!("/search?{query}")).await;
        assert_eq!(status, 200);
        let found = page.contains(&format!("href=\"/entry/{hash}\""));
        assert_eq!(found, !typed.starts_with("issuer:"), "{typed}: {page}");
    }

    let (status, page) = served.page(&link(entry)).await;
    assert_eq!(status, 200);
    for part in [
        "Issued by the certificate authority of this instance",
        "<bdi>Alice@example.com</bdi>",
        "development-identity-provider",
        "the CT log saw the certificate",
        "countersign verify FILE --identity Alice@example.com --issuer http://",
        "countersign log get 1 --log http://",
        "class=\"root\"",
        digest.to_hex().as_str(),
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let (_, body) = served.get(&format!("{}/body", link(entry))).await;
    assert_eq!(body, entry.canonicalized_body);
    let (_, json) = served.get(&format!("{}/entry.json", link(entry))).await;
    let again = TlogEntry::from_json(&json).unwrap();
    assert_eq!((again.log_index, again.log_id.as_slice()), (1, entry.log_id.as_slice()));
    let proof = again.inclusion_proof.unwrap();
    let hashes: Vec<[u8; 32]> = proof.hashes.iter().map(|h| h.as_slice().try_into().unwrap()).collect();
    let root = proof.root_hash.as_slice().try_into().unwrap();
    let leaf = leaf_hash(&again.canonicalized_body);
    countersign_tlog::merkle::verify_inclusion(&leaf, 1, proof.tree_size, &hashes, &root).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_entry_entries_of_keys_and_missing_ones_have_their_pages() {
    let served = Served::new().await;
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let (_, body) = served.entry(entry_request(&key, b"one")).await;
    let entry = TlogEntry::from_json(&body).unwrap();
    let (status, page) = served.page(&link(&entry)).await;
    assert_eq!(status, 200);
    assert!(page.contains("the log does not say whose it is") && page.contains("--key KEY.pem"), "{page}");
    let (_, page) = served.page("/search?q=0").await;
    let first = page.split("href=\"/entry/").nth(1).unwrap().split('"').next().unwrap();
    let (status, page) = served.page(&format!("/entry/{first}")).await;
    assert_eq!(status, 200);
    assert!(page.contains("only begins it"), "{page}");
    for missing in ["00".repeat(32), "0".into(), "x".repeat(64), "00".repeat(33), "%00".into()] {
        let (status, page) = served.page(&format!("/entry/{missing}")).await;
        assert_eq!(status, 404, "{missing}");
        assert!(page.contains("No such entry"));
    }
    let (_, page) = served.page("/search?q=99").await;
    assert!(page.contains("No entry has"), "{page}");
    // That there is another log, in which nobody looked.
    assert!(page.contains("log of Rekor v1 beside it is not searched here"), "{page}");
    let alone = |text: String| text.replace("rekor_v1 = true", "rekor_v1 = false");
    let (_, page) = Served::with(ServeOptions::default(), alone).await.page("/search?q=99").await;
    assert!(page.contains("No entry has") && !page.contains("Rekor v1 beside"), "{page}");
    let (_, page) = served.page("/search").await;
    assert!(page.contains("What can be searched for"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_strangers_wrote_is_text_and_a_foreign_certificate_is_called_one() {
    let served = Served::new().await;
    let root = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let now = SystemClock.now();
    let profile = AuthorityProfile {
        subject: Name::new(Some("<b>Evil</b>"), Some(EVIL)),
        not_before: now,
        not_after: "2099-01-01T00:00:00Z".parse().unwrap(),
        serial: [1; 20],
    };
    let authority = Certificate::from_der(&root_ca(&profile, None, &root).unwrap()).unwrap();
    let names = [San::Uri(EVIL.into())];
    let leaf = server_leaf(&profile, &names, key.public_key(), &authority, &root).unwrap();
    let digest = HashAlgorithm::Sha256.digest(b"one");
    let entry = served.logged(&digest, &key.sign_digest(&digest).unwrap(), &leaf).await;
    let (status, page) = served.page(&link(&entry)).await;
    assert_eq!(status, 200);
    assert!(page.contains("Not issued by an authority that this instance trusts"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
    assert!(page.contains("&lt;b&gt;Evil&lt;/b&gt;") && !page.contains("<b>"), "{page}");
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", EVIL).finish();
    let (_, page) = served.page(&format!("/search?{query}")).await;
    assert!(page.contains("&lt;script&gt;") && page.contains(&link(&entry)), "{page}");

    let evil = format!("</textarea>{EVIL}");
    let fields = ["bundle", "digests", "identity", "issuer", "key"].map(|name| (name, evil.as_str()));
    let (status, page) = served.form(&fields).await;
    assert_eq!(status, 400);
    assert!(page.contains("&lt;/textarea&gt;") && page.matches("</textarea>").count() == 3, "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s15_markup_addresses_that_run_and_characters_that_deceive_are_shown_as_text() {
    let served = Served::new().await;
    let (root, key) =
        (KeyPair::generate(KeyType::EcdsaP256).unwrap(), KeyPair::generate(KeyType::EcdsaP256).unwrap());
    let name = "<img src=x onerror=alert(1)>\u{202e}gpj.exe\u{1b}[31m";
    let profile = AuthorityProfile {
        subject: Name::new(Some(name), Some("\u{1b}]8;;javascript:alert(1)\u{7}")),
        not_before: SystemClock.now(),
        not_after: "2099-01-01T00:00:00Z".parse().unwrap(),
        serial: [1; 20],
    };
    let authority = Certificate::from_der(&root_ca(&profile, None, &root).unwrap()).unwrap();
    let oid = "1.3.6.1.4.1.57264.1.7".parse().unwrap();
    let names = [
        San::Uri("javascript:alert(1)//<img src=x onerror=alert(2)>".into()),
        San::Email("\"onmouseover=alert(3)//\"@x.example".into()),
        San::OtherName { oid, value: name.into() },
    ];
    for (number, san) in names.iter().enumerate() {
        let leaf =
            server_leaf(&profile, std::slice::from_ref(san), key.public_key(), &authority, &root).unwrap();
        let digest = HashAlgorithm::Sha256.digest(&[u8::try_from(number).unwrap()]);
        let entry = served.logged(&digest, &key.sign_digest(&digest).unwrap(), &leaf).await;
        // That nothing of it is markup is checked of every page.
        let (status, page) = served.page(&link(&entry)).await;
        assert_eq!(status, 200);
        assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"), "{page}");
        let shown = ["javascript:alert(1)//&lt;img", "&quot;onmouseover=alert(3)", "&lt;img src=x"][number];
        assert!(page.contains(shown), "{san:?}: {page}");
        for raw in ['\u{202e}', '\u{1b}', '\u{7}'] {
            assert!(!page.contains(raw), "{raw:?} in {page}");
        }
        assert!(page.contains("\\u{202e}gpj.exe"), "{page}");
    }
    for query in [name, "javascript:alert(1)", "digest:sha256:<img src=x onerror=alert(1)>\u{202e}"] {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", query).finish();
        let (_, page) = served.page(&format!("/search?{query}")).await;
        assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}'), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_verifies_as_the_command_does() {
    let served = Served::new().await;
    let (bundle, _) = served.signed("alice@example.com", b"one").await;
    let issuer = match &bundle.verification_material.content {
        KeyMaterial::Certificate(der) => {
            Certificate::from_der(der).unwrap().fulcio().issuer().unwrap().to_owned()
        }
        _ => unreachable!(),
    };
    let bundle = String::from_utf8(bundle.to_json().unwrap()).unwrap();
    let right = HashAlgorithm::Sha256.digest(b"one").to_string();
    let wrong = HashAlgorithm::Sha256.digest(b"two").to_string();
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap().public_key().to_pem();
    let alice = ("identity", "alice@example.com");
    let issuer = ("issuer", issuer.as_str());
    let (document, digests) = (("bundle", bundle.as_str()), ("digests", right.as_str()));
    for (fields, status, verdict) in [
        (vec![document, digests, alice, issuer], 200, "</span> Verified"),
        (vec![document, digests], 200, "The signature holds"),
        (vec![document, ("digests", &wrong), alice, issuer], 200, "</span> Rejected"),
        (vec![document, digests, ("identity", "bob@example.com"), issuer], 200, "</span> Rejected"),
        (vec![document, digests, alice, ("issuer", "https://other.example")], 200, "</span> Rejected"),
        (vec![document, digests, ("key", &key)], 200, "</span> Rejected"),
        (vec![("bundle", "{}"), digests], 200, "</span> Rejected"),
        (vec![document, digests, alice], 400, "give both"),
        (vec![document, digests, ("key", "x")], 400, "public key cannot be read"),
        (vec![document, digests, alice, issuer, ("key", &key)], 400, "not both"),
        (vec![document], 400, "digest of the file"),
        (vec![document, ("digests", "md5:00")], 400, "The digest md5:00"),
    ] {
        let (found, page) = served.form(&fields).await;
        assert!(found == status && page.contains(verdict), "{verdict}: {found} {page}");
        if verdict != "</span> Verified" {
            assert!(!page.contains("</span> Verified"), "{page}");
        }
    }
    let (_, page) = served.form(&[document, digests, alice, issuer]).await;
    assert!(page.contains("signed before, says the timestamp authority"), "{page}");
    assert!(page.contains("Verified by this server") && page.contains("entry 1 of "), "{page}");
    let (status, _) = served.form(&[("bundle", &"x".repeat(9 << 20))]).await;
    assert_eq!(status, 413);
}

/// For how large a tree an answer is proven to be complete; 0 when the page says nothing of it.
fn complete_for(page: &str) -> u64 {
    let said = page.split("Complete for a tree of ").nth(1).and_then(|rest| rest.split(' ').next());
    said.map_or(0, |number| number.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_called_complete_when_the_index_that_was_signed_proves_it() {
    let served = Served::new().await;
    served.signed("alice@example.com", b"one").await;
    // The root of the index stands in a later checkpoint than that of the entry.
    for number in 0_u8.. {
        let (_, page) = served.page("/search?q=alice%40example.com").await;
        assert!(page.contains("One entry."), "{page}");
        if complete_for(&page) >= 2 {
            assert!(page.contains("That these are all is proven"), "{page}");
            assert!(page.contains("href=\"/api/v1/search?term=email%3Aalice%40example.com\""), "{page}");
            break;
        }
        served.signed("bob@example.com", &[number]).await;
    }
    let (status, _) = served.get("/api/v1/search?term=email%3Aalice%40example.com").await;
    assert_eq!(status, 200);
    let (_, page) = served.page("/search?q=nobody%40example.com").await;
    assert!(page.contains("No entry has") && page.contains("That there is none is proven"), "{page}");
    assert!(complete_for(&page) >= 2);
    let (_, page) = served.page("/search?q=1").await;
    assert!(page.contains("One entry.") && complete_for(&page) == 0, "the index was not asked: {page}");

    let unsigned = |text: String| text.replace("commit = true", "commit = false");
    let served = Served::with(ServeOptions::default(), unsigned).await;
    for message in [b"one", b"two"] {
        served.signed("alice@example.com", message).await;
    }
    let (_, page) = served.page("/search?q=alice%40example.com").await;
    assert!(page.contains("2 entries") && complete_for(&page) == 0, "nothing was signed: {page}");

    let without = |text: String| text.replace("enabled = true", "enabled = false");
    let served = Served::with(ServeOptions::default(), without).await;
    served.signed("alice@example.com", b"one").await;
    let (_, page) = served.page("/search?q=alice%40example.com").await;
    assert!(page.contains("This log has no search index") && !page.contains("No entry has"), "{page}");
}

/// A program without the engine for browsers says that the server verifies, and offers no engine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_where_it_verifies() {
    let served = Served::new().await;
    let with_engine = cfg!(feature = "browser");
    let (_, page) = served.page("/verify").await;
    assert_eq!(page.contains("data-engine=\"/assets/engine.wasm\""), with_engine);
    assert!(page.contains("The signature is sent to this server"), "{page}");
    let (status, engine) = served.get("/assets/engine.wasm").await;
    assert_eq!((status == 200, engine.starts_with(b"\x1f\x8b")), (with_engine, with_engine));
    let (status, trust) = served.get("/verify/trust.json").await;
    assert_eq!(status == 200, with_engine);
    if with_engine {
        countersign_web::Trust::from_json(&trust).unwrap();
        std::fs::write(served.path.join("revocations.json"), "{}").unwrap();
        let (status, trust) = served.get("/verify/trust.json").await;
        assert!(status == 200 && countersign_web::Trust::from_json(&trust).is_err(), "it is no empty list");
    }
}

/// What is revoked is so on the page too, and a list that is damaged is no empty one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_revocation_list_is_not_taken_for_an_empty_one() {
    let served = Served::new().await;
    let (bundle, _) = served.signed("alice@example.com", b"one").await;
    let bundle = String::from_utf8(bundle.to_json().unwrap()).unwrap();
    let digests = HashAlgorithm::Sha256.digest(b"one").to_string();
    std::fs::write(served.path.join("revocations.json"), "{}").unwrap();
    let (status, page) = served.form(&[("bundle", &bundle), ("digests", &digests)]).await;
    assert_eq!(status, 503);
    assert!(page.contains("cannot be read right now"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_gets_a_page_and_others_a_few_lines_unless_pages_are_off() {
    let served = Served::new().await;
    let (status, page) = served.page("/").await;
    assert_eq!(status, 200);
    assert!(page.contains("action=\"/search\"") && page.contains("countersign trust add"), "{page}");
    let (_, text) = served.get("/").await;
    assert!(text.starts_with(b"This is a Countersign instance"));
    for (path, kind) in [("/assets/style.css", "text/css"), ("/assets/verify.js", "text/javascript")] {
        let response = served.client.get(served.url(path)).send().await.unwrap();
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with(kind));
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    }

    let off = |text: String| text.replace("pages = true", "pages = false");
    let served = Served::with(ServeOptions::default(), off).await;
    for path in ["/search?q=0", "/verify", "/assets/style.css", &format!("/entry/{}", "00".repeat(32))] {
        assert_eq!(served.get(path).await.0, 404, "{path}");
    }
    let response = served.client.get(served.url("/")).header("accept", "text/html").send().await.unwrap();
    assert!(response.text().await.unwrap().starts_with("This is a Countersign instance"));
}
