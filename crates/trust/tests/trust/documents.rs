//! Trusted root and signing configuration of an instance, and what rotations leave valid.

use std::collections::BTreeMap;

use countersign_bundle::{SigningConfig, TrustedRoot};
use countersign_crypto::{KeyPair, KeyType, Signer, encoding, random, sha256};
use countersign_trust::documents::{
    AuthorityDescription, DocumentError, InstanceDescription, LogDescription, Window, legacy_targets,
    rotate_signing_config, rotate_trusted_root, signing_config, targets, trusted_root,
};
use countersign_x509::chain::Purpose;
use countersign_x509::issue::{AuthorityProfile, intermediate_ca, root_ca, tsa_leaf};
use countersign_x509::{Certificate, Name};
use jiff::Timestamp;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn start() -> Timestamp {
    at("2026-01-01T00:00:00Z")
}

fn key(key_type: KeyType) -> KeyPair {
    KeyPair::generate(key_type).unwrap()
}

fn profile(name: &str) -> AuthorityProfile {
    let mut serial = [0; 20];
    random(&mut serial).unwrap();
    serial[0] = (serial[0] & 0x7f) | 1;
    AuthorityProfile {
        subject: Name::new(Some("Example Corp"), Some(name)),
        not_before: at("2025-01-01T00:00:00Z"),
        not_after: at("2035-01-01T00:00:00Z"),
        serial,
    }
}

fn ca_chain() -> Vec<Certificate> {
    let root_key = key(KeyType::EcdsaP384);
    let root = Certificate::from_der(&root_ca(&profile("root"), Some(1), &root_key).unwrap()).unwrap();
    vec![ca_under(&root, &root_key), root]
}

fn ca_under(root: &Certificate, root_key: &KeyPair) -> Certificate {
    let key = key(KeyType::EcdsaP256);
    let der =
        intermediate_ca(&profile("ca"), key.public_key(), Purpose::CodeSigning, root, root_key).unwrap();
    Certificate::from_der(&der).unwrap()
}

fn tsa_chain() -> Vec<Certificate> {
    let (root_key, key) = (key(KeyType::EcdsaP384), key(KeyType::EcdsaP256));
    let root = Certificate::from_der(&root_ca(&profile("tsa root"), None, &root_key).unwrap()).unwrap();
    let der = tsa_leaf(&profile("tsa"), key.public_key(), &root, &root_key).unwrap();
    vec![Certificate::from_der(&der).unwrap(), root]
}

fn instance() -> InstanceDescription {
    let url = "https://sign.example:8443";
    InstanceDescription {
        operator: "example.com".into(),
        ca: AuthorityDescription { url: url.into(), chain: ca_chain() },
        ct_log: LogDescription {
            url: format!("{url}/ct"),
            key: key(KeyType::EcdsaP256).public_key().clone(),
        },
        log: LogDescription { url: url.into(), key: key(KeyType::Ed25519).public_key().clone() },
        log_v1: None,
        origin: "sign.example".into(),
        tsa: AuthorityDescription { url: format!("{url}/api/v1/timestamp"), chain: tsa_chain() },
        oidc_issuers: vec!["https://login.example".into()],
    }
}

type Change = fn(&mut InstanceDescription);

fn window() -> Window {
    Window { starts: at("2027-01-01T00:00:00Z"), retires: at("2027-01-08T00:00:00Z") }
}

#[test]
fn a_trusted_root_has_the_members_every_client_reads() {
    let instance = instance();
    let root = trusted_root(&instance, start()).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&root.to_json().unwrap()).unwrap();
    assert_eq!(json["mediaType"], "application/vnd.dev.sigstore.trustedroot+json;version=0.1");
    let log = &json["tlogs"][0];
    assert_eq!(log["baseUrl"], "https://sign.example:8443");
    assert_eq!(log["hashAlgorithm"], "SHA2_256");
    assert_eq!(log["publicKey"]["keyDetails"], "PKIX_ED25519");
    assert_eq!(log["publicKey"]["validFor"], serde_json::json!({"start": "2026-01-01T00:00:00Z"}));
    // C2SP's key id of an Ed25519 key: SHA-256 over name, line break, 01 and the key.
    let id = sha256(&[b"sign.example\n\x01", instance.log.key.raw()].concat());
    assert_eq!(log["logId"]["keyId"], encoding::base64_encode(&id));
    let ct = &json["ctlogs"][0];
    assert_eq!(ct["publicKey"]["keyDetails"], "PKIX_ECDSA_P256_SHA_256");
    assert_eq!(ct["logId"]["keyId"], encoding::base64_encode(&instance.ct_log.key.fingerprint()));
    let ca = &json["certificateAuthorities"][0];
    assert_eq!(ca["subject"], serde_json::json!({"organization": "Example Corp", "commonName": "root"}));
    assert_eq!(ca["uri"], "https://sign.example:8443");
    assert_eq!(ca["certChain"]["certificates"].as_array().unwrap().len(), 2);
    let tsa = &json["timestampAuthorities"][0]["certChain"]["certificates"];
    assert_eq!(tsa[0]["rawBytes"], encoding::base64_encode(instance.tsa.chain[0].der()), "leaf first");
    assert_eq!(TrustedRoot::from_json(&root.to_json().unwrap()).unwrap(), root);
}

#[test]
fn a_signing_config_names_the_versions_clients_expect() {
    let config = signing_config(&instance(), start()).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&config.to_json().unwrap()).unwrap();
    assert_eq!(json["mediaType"], "application/vnd.dev.sigstore.signingconfig.v0.2+json");
    for (kind, version, url) in [
        ("caUrls", 1, "https://sign.example:8443"),
        ("oidcUrls", 1, "https://login.example"),
        ("rekorTlogUrls", 2, "https://sign.example:8443"),
        ("tsaUrls", 1, "https://sign.example:8443/api/v1/timestamp"),
    ] {
        let service = &json[kind][0];
        assert_eq!((&service["majorApiVersion"], &service["url"]), (&version.into(), &url.into()), "{kind}");
        assert_eq!(service["operator"], "example.com");
        assert_eq!(service["validFor"]["start"], "2026-01-01T00:00:00Z");
    }
    assert_eq!(json["rekorTlogConfig"]["selector"], "ANY");
    assert_eq!(json["tsaConfig"]["selector"], "ANY");
    assert_eq!(SigningConfig::from_json(&config.to_json().unwrap()).unwrap(), config);
}

#[test]
fn a_rotation_adds_the_new_and_closes_only_what_it_replaces() {
    let first = instance();
    let root = trusted_root(&first, start()).unwrap();
    let changes: [(&str, Change); 4] = [
        ("tlog", |i| i.log.key = KeyPair::generate(KeyType::Ed25519).unwrap().public_key().clone()),
        ("ct", |i| i.ct_log.key = KeyPair::generate(KeyType::EcdsaP256).unwrap().public_key().clone()),
        ("ca", |i| i.ca.chain = ca_chain()),
        ("tsa", |i| i.tsa.chain = tsa_chain()),
    ];
    for (what, change) in changes {
        let mut second = first.clone();
        change(&mut second);
        let rotated = rotate_trusted_root(&root, &second, window()).unwrap();
        let lists: BTreeMap<&str, Vec<(Timestamp, Option<Timestamp>)>> = [
            ("tlog", rotated.tlogs.iter().map(|l| l.public_key.valid_for).collect::<Vec<_>>()),
            ("ct", rotated.ctlogs.iter().map(|l| l.public_key.valid_for).collect()),
            ("ca", rotated.certificate_authorities.iter().map(|a| a.valid_for).collect()),
            ("tsa", rotated.timestamp_authorities.iter().map(|a| a.valid_for).collect()),
        ]
        .into_iter()
        .map(|(name, list)| (name, list.into_iter().map(|v| (v.start, v.end)).collect()))
        .collect();
        for (name, list) in lists {
            if name == what {
                assert_eq!(list, [(start(), Some(window().retires)), (window().starts, None)], "{name}");
            } else {
                assert_eq!(list, [(start(), None)], "{name} while {what} rotates");
            }
        }
        TrustedRoot::from_json(&rotated.to_json().unwrap()).unwrap();
    }
    assert_eq!(
        rotate_trusted_root(&root, &first, window()).unwrap(),
        root,
        "nothing changed, nothing rotates"
    );
}

/// R20, the documents' part: through ten rotations of everything, every moment of every epoch has a valid
/// authority of each kind, and every entry of every epoch is still there.
#[test]
fn r20_every_epoch_stays_covered_through_ten_rotations() {
    let mut epochs = vec![instance()];
    let mut root = trusted_root(&epochs[0], start()).unwrap();
    for year in 2027..2037 {
        let next = instance();
        let window = Window {
            starts: at(&format!("{year}-01-01T00:00:00Z")),
            retires: at(&format!("{year}-01-08T00:00:00Z")),
        };
        root = rotate_trusted_root(&root, &next, window).unwrap();
        epochs.push(next);
    }
    assert_eq!(root.certificate_authorities.len(), 11);
    for (i, epoch) in epochs.iter().enumerate() {
        let year = 2026 + i;
        for moment in [
            format!("{year}-01-01T00:00:00Z"),
            format!("{year}-06-01T00:00:00Z"),
            format!("{}-01-08T00:00:00Z", year + 1),
        ] {
            let moment = at(&moment);
            let ca =
                root.certificate_authorities.iter().find(|a| a.certificates[0] == epoch.ca.chain[0].der());
            assert!(ca.unwrap().valid_for.contains(moment), "{moment}");
            let tsa =
                root.timestamp_authorities.iter().find(|a| a.certificates[0] == epoch.tsa.chain[0].der());
            assert!(tsa.unwrap().valid_for.contains(moment), "{moment}");
            let log = root.tlogs.iter().find(|l| l.public_key.raw_bytes == epoch.log.key.spki_der());
            assert!(log.unwrap().public_key.valid_for.contains(moment), "{moment}");
            let ct = root.ctlogs.iter().find(|l| l.public_key.raw_bytes == epoch.ct_log.key.spki_der());
            assert!(ct.unwrap().public_key.valid_for.contains(moment), "{moment}");
        }
    }
    assert!(root.certificate_authorities.is_sorted_by_key(|a| a.valid_for.start));
}

#[test]
fn new_addresses_come_first_and_old_ones_are_closed() {
    let first = instance();
    let config = signing_config(&first, start()).unwrap();
    let mut second = first.clone();
    second.log.url = "https://log2.example".into();
    second.oidc_issuers.insert(0, "https://new.example".into());
    let rotated = rotate_signing_config(&config, &second, window()).unwrap();
    let urls = |list: &[countersign_bundle::Service]| -> Vec<(String, Option<Timestamp>)> {
        list.iter().map(|s| (s.url.clone(), s.valid_for.end)).collect()
    };
    assert_eq!(
        urls(&rotated.rekor_tlog_urls),
        [("https://log2.example".into(), None), ("https://sign.example:8443".into(), Some(window().retires))]
    );
    assert_eq!(
        urls(&rotated.oidc_urls),
        [("https://new.example".into(), None), ("https://login.example".into(), None)]
    );
    assert_eq!(rotated.oidc_urls[1].valid_for.start, start(), "what stays keeps its date");
    assert_eq!(rotated.ca_urls, config.ca_urls);
    assert_eq!(rotate_signing_config(&config, &first, window()).unwrap(), config);
}

#[test]
fn what_makes_no_document_is_refused() {
    let good = instance();
    let root = trusted_root(&good, start()).unwrap();

    let mut bad = good.clone();
    bad.origin = "sign.example:8443".into();
    assert!(matches!(trusted_root(&bad, start()), Err(DocumentError::Origin { .. })));

    for url in
        ["", "sign.example", "ftp://sign.example", "https://user:pw@sign.example", "file:///x", "https://"]
    {
        let mut bad = good.clone();
        bad.ca.url = url.into();
        assert!(matches!(trusted_root(&bad, start()), Err(DocumentError::Address { .. })), "{url:?}");
        assert!(matches!(signing_config(&bad, start()), Err(DocumentError::Address { .. })), "{url:?}");
    }

    let mut bad = good.clone();
    bad.ca.chain.reverse();
    assert!(matches!(trusted_root(&bad, start()), Err(DocumentError::Chain { .. })));
    bad.ca.chain.clear();
    assert!(matches!(trusted_root(&bad, start()), Err(DocumentError::Chain { .. })));
    bad.ca.chain = vec![good.ca.chain[0].clone()];
    assert!(matches!(trusted_root(&bad, start()), Err(DocumentError::Chain { .. })), "no root");
    bad.ca.chain = vec![good.ca.chain[0].clone(), good.tsa.chain[1].clone()];
    assert!(matches!(trusted_root(&bad, start()), Err(DocumentError::Chain { .. })), "another's root");

    let gap = Window { starts: window().retires, retires: window().starts };
    assert!(matches!(rotate_trusted_root(&root, &good, gap), Err(DocumentError::Window { .. })));

    let mut second = good.clone();
    second.log.key = key(KeyType::Ed25519).public_key().clone();
    let rotated = rotate_trusted_root(&root, &second, window()).unwrap();
    assert!(matches!(rotate_trusted_root(&rotated, &good, window()), Err(DocumentError::Retired { .. })));
}

#[test]
fn older_clients_find_keys_and_certificates_as_files() {
    let root_key = key(KeyType::EcdsaP384);
    let ca_root = Certificate::from_der(&root_ca(&profile("root"), Some(1), &root_key).unwrap()).unwrap();
    let mut first = instance();
    first.ca.chain = vec![ca_under(&ca_root, &root_key), ca_root.clone()];
    let root = trusted_root(&first, start()).unwrap();
    let names =
        |root: &TrustedRoot| -> Vec<String> { legacy_targets(root).into_iter().map(|f| f.name).collect() };
    assert_eq!(
        names(&root),
        [
            "ctfe.pub",
            "fulcio_intermediate_v1.crt.pem",
            "fulcio_v1.crt.pem",
            "rekor.pub",
            "tsa_leaf.crt.pem",
            "tsa_root.crt.pem"
        ]
    );
    let mut second = first.clone();
    second.ct_log.key = key(KeyType::EcdsaP256).public_key().clone();
    let rotated = rotate_trusted_root(&root, &second, window()).unwrap();
    let files = legacy_targets(&rotated);
    assert_eq!(files.len(), 7);
    let ctfe: Vec<_> = files.iter().filter(|f| f.name.starts_with("ctfe")).collect();
    assert_eq!(ctfe[0].content, second.ct_log.key.to_pem().into_bytes(), "the plain name is the one in use");
    let custom = String::from_utf8(ctfe[1].custom.as_ref().unwrap().canonical()).unwrap();
    assert_eq!(ctfe[1].content, first.ct_log.key.to_pem().into_bytes());
    assert!(custom.contains(r#""status":"Expired""#) && custom.contains(r#""usage":"CTFE""#), "{custom}");

    // Another intermediate under the same root: the root is in use, and so not retired besides.
    let mut third = second.clone();
    third.ca.chain[0] = ca_under(&ca_root, &root_key);
    let files = legacy_targets(&rotate_trusted_root(&rotated, &third, window()).unwrap());
    let roots = files.iter().filter(|f| f.content == ca_root.to_pem().into_bytes());
    let custom = |f: &countersign_trust::tuf::repository::TargetFile| {
        String::from_utf8(f.custom.as_ref().unwrap().canonical()).unwrap()
    };
    let roots: Vec<_> = roots.map(|f| (f.name.as_str(), custom(f).contains("Active"))).collect();
    assert_eq!(roots, [("fulcio_v1.crt.pem", true)]);
    assert_eq!(files.len(), 8, "with the old intermediate");

    let all = targets(&rotated, &signing_config(&second, start()).unwrap()).unwrap();
    assert_eq!(all.len(), 9);
    assert_eq!(all[0].name, "trusted_root.json");
    assert_eq!(all[1].name, "signing_config.v0.2.json");
}

#[test]
fn an_address_may_change_where_clients_do_not_derive_a_name_from_it() {
    let first = instance();
    let root = trusted_root(&first, start()).unwrap();
    let mut second = first.clone();
    second.ca.url = "https://ca.example".into();
    second.ct_log.url = "https://ct.example".into();
    second.log.url = "https://sign.example:9000".into();
    let moved = rotate_trusted_root(&root, &second, window()).unwrap();
    assert_eq!((moved.ctlogs.len(), moved.tlogs.len(), moved.certificate_authorities.len()), (1, 1, 1));
    assert_eq!(moved.ctlogs[0].base_url, "https://ct.example");
    assert_eq!(moved.ctlogs[0].public_key, root.ctlogs[0].public_key, "key and validity stay");
    assert_eq!(moved.certificate_authorities[0].uri, "https://ca.example");
    assert_eq!(moved.tlogs[0].base_url, "https://sign.example:9000");

    // The id of an ECDSA key does not tell the log's name: the same id under another name is refused.
    let mut first = first;
    first.log.key = key(KeyType::EcdsaP256).public_key().clone();
    let root = trusted_root(&first, start()).unwrap();
    first.log.url = "https://other.example".into();
    first.origin = "other.example".into();
    assert!(matches!(rotate_trusted_root(&root, &first, window()), Err(DocumentError::Renamed { .. })));
}

/// Timestamps count whole seconds: one made in the first second of an instance must not lie before it, and one
/// made in the last must not lie after.
#[test]
fn validity_is_in_whole_seconds_and_never_shorter() {
    let first = instance();
    let root = trusted_root(&first, at("2026-01-01T00:00:00.7Z")).unwrap();
    assert_eq!(root.tlogs[0].public_key.valid_for.start, start());
    let config = signing_config(&first, at("2026-01-01T00:00:00.7Z")).unwrap();
    assert_eq!(config.ca_urls[0].valid_for.start, start());
    let mut second = first.clone();
    second.ca.chain = ca_chain();
    let window = Window { starts: at("2027-01-01T00:00:00.9Z"), retires: at("2027-01-08T00:00:00.1Z") };
    let rotated = rotate_trusted_root(&root, &second, window).unwrap();
    let dates = rotated.certificate_authorities.iter().map(|a| a.valid_for).collect::<Vec<_>>();
    assert_eq!(dates[0].end, Some(at("2027-01-08T00:00:01Z")));
    assert_eq!(dates[1].start, at("2027-01-01T00:00:00Z"));
}

/// Two logs side by side: each is replaced by its own successor only, and what is in use of each is found by its clients.
#[test]
fn a_log_of_rekor_v1_stands_beside_the_other_and_rotates_alone() {
    let alone = instance();
    let both = InstanceDescription {
        log_v1: Some(LogDescription {
            key: key(KeyType::EcdsaP256).public_key().clone(),
            ..alone.log.clone()
        }),
        ..alone.clone()
    };
    let versions = |config: &SigningConfig| -> Vec<(u32, bool)> {
        config.rekor_tlog_urls.iter().map(|s| (s.major_api_version, s.valid_for.end.is_none())).collect()
    };
    let open =
        |root: &TrustedRoot| root.tlogs.iter().filter(|l| l.public_key.valid_for.end.is_none()).count();
    // It comes to an instance that had none, and the one that was there goes on.
    let before = trusted_root(&alone, start()).unwrap();
    let root = rotate_trusted_root(&before, &both, window()).unwrap();
    assert_eq!((root.tlogs.len(), open(&root)), (2, 2));
    let config = rotate_signing_config(&signing_config(&alone, start()).unwrap(), &both, window()).unwrap();
    assert_eq!(versions(&config), [(2, true), (1, true)]);
    // sigstore-js takes the one that starts last.
    let starts: Vec<Timestamp> = config.rekor_tlog_urls.iter().map(|s| s.valid_for.start).collect();
    assert_eq!(starts, [start(), start()]);
    assert_eq!(versions(&signing_config(&both, start()).unwrap()), [(2, true), (1, true)]);
    let v1 = both.log_v1.as_ref().unwrap();
    let listed = root.tlogs.iter().find(|l| l.log_id == v1.key.fingerprint()).unwrap();
    assert_eq!(listed.public_key.key_details, "PKIX_ECDSA_P256_SHA_256");
    let files = legacy_targets(&root);
    let named = |name: &str| &files.iter().find(|f| f.name == name).unwrap().content;
    assert_eq!(*named("rekor.pub"), v1.key.to_pem().into_bytes());
    assert_eq!(*named("rekor_v2.pub"), alone.log.key.to_pem().into_bytes());
    // Each rotates alone.
    let mut next = both.clone();
    next.log.key = key(KeyType::Ed25519).public_key().clone();
    let v2_rotated = rotate_trusted_root(&root, &next, window()).unwrap();
    assert_eq!((v2_rotated.tlogs.len(), open(&v2_rotated)), (3, 2));
    let closed = v2_rotated.tlogs.iter().find(|l| l.public_key.valid_for.end.is_some()).unwrap();
    assert_eq!(closed.public_key.raw_bytes, alone.log.key.spki_der());
    next.log_v1.as_mut().unwrap().key = key(KeyType::EcdsaP256).public_key().clone();
    let v1_rotated = rotate_trusted_root(&v2_rotated, &next, window()).unwrap();
    assert_eq!((v1_rotated.tlogs.len(), open(&v1_rotated)), (4, 2));
}

/// Both logs have the name of the host, so a new name takes two rotations; until its own, each keeps what it has.
#[test]
fn two_logs_move_to_another_host_one_after_the_other() {
    let alone = instance();
    let v1 = LogDescription { key: key(KeyType::EcdsaP256).public_key().clone(), ..alone.log.clone() };
    let mut both = InstanceDescription { log_v1: Some(v1), ..alone };
    let root = trusted_root(&both, start()).unwrap();
    let old = both.log.url.clone();
    let url = "https://moved.example".to_owned();
    both.origin = "moved.example".into();
    (both.log.url, both.log_v1.as_mut().unwrap().url) = (url.clone(), url.clone());
    let open = |root: &TrustedRoot| -> Vec<String> {
        let used = root.tlogs.iter().filter(|l| l.public_key.valid_for.end.is_none());
        used.map(|l| l.base_url.clone()).collect()
    };
    both.log.key = key(KeyType::Ed25519).public_key().clone();
    let half = rotate_trusted_root(&root, &both, window()).unwrap();
    assert_eq!(open(&half), [old, url.clone()]);
    both.log_v1.as_mut().unwrap().key = key(KeyType::EcdsaP256).public_key().clone();
    let whole = rotate_trusted_root(&half, &both, window()).unwrap();
    assert_eq!(open(&whole), [url.clone(), url]);
}
