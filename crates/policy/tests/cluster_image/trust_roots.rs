//! `TrustRoot` objects: all forms come down to one trusted root, and what cannot be had is said.

use std::io::Write as _;
use std::sync::Arc;

use countersign_bundle::TrustedRoot;
use countersign_crypto::encoding::{base64_encode, pem_encode};
use countersign_crypto::{KeyPair, KeyType, PublicKey, Signer};
use countersign_policy::CouldNotReason;
use countersign_policy::cluster_image::{Compiled, TrustRootObject};
use countersign_trust::tuf::repository::{Lifetimes, Repository, Role, Roles, TargetFile};
use countersign_x509::Certificate;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{By, Cluster};
use crate::{IMAGE, alice, policy, told, with};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "policy.sigstore.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": "own"}, "spec": spec})
}

fn compiled(spec: Value, now: Timestamp) -> Result<TrustedRoot, String> {
    let root = TrustRootObject::read(&object(spec)).map_err(|e| e.to_string())?;
    assert_eq!(root.name(), "own");
    root.compile(now, None).map(|compiled| compiled.root).map_err(|e| e.to_string())
}

/// The trust root of a world, as keys and certificates in an object.
fn keys(root: &TrustedRoot) -> Value {
    let pem = |der: &Vec<u8>| Certificate::from_der(der).unwrap().to_pem();
    let authority = |authority: &countersign_bundle::CertificateAuthority| {
        let chain: String = authority.certificates.iter().map(pem).collect();
        json!({"subject": {"organization": "acme", "commonName": "ca"}, "uri": "https://ca.example",
            "certChain": base64_encode(chain.as_bytes())})
    };
    let log = |log: &countersign_bundle::TransparencyLog| {
        let pem = pem_encode("PUBLIC KEY", &log.public_key.raw_bytes);
        json!({"baseURL": log.base_url, "hashAlgorithm": "sha-256", "publicKey": base64_encode(pem.as_bytes())})
    };
    json!({"sigstoreKeys": {
        "certificateAuthorities": root.certificate_authorities.iter().map(authority).collect::<Vec<_>>(),
        "tLogs": root.tlogs.iter().map(log).collect::<Vec<_>>(),
        "ctLogs": root.ctlogs.iter().map(log).collect::<Vec<_>>(),
        "timestampAuthorities": root.timestamp_authorities.iter().map(authority).collect::<Vec<_>>(),
    }})
}

#[test]
fn keys_and_certificates_in_an_object_verify_what_they_should_and_nothing_else() {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    cluster.sign(IMAGE, By::Alice, &json!({}));
    let spec = keys(&cluster.world.root);
    let own = compiled(spec.clone(), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(own.certificate_authorities[0].organization, "acme");
    let policy = policy(json!([with(
        alice(),
        &[
            ("/keyless/trustRootRef", json!("own")),
            ("/rfc3161timestamp", json!({"trustRootRef": "own"})),
            ("/ctlog", json!({"trustRootRef": "own"}))
        ]
    )]));
    cluster.world.root = TrustedRoot::default();
    cluster.roots.insert("own".into(), own.clone());
    assert!(told(&cluster, &policy).0);
    for part in ["certificateAuthorities", "tLogs", "ctLogs", "timestampAuthorities"] {
        let less = with(spec.clone(), &[(&format!("/sigstoreKeys/{part}"), json!([]))]);
        cluster.roots.insert("own".into(), compiled(less, Timestamp::UNIX_EPOCH).unwrap());
        assert!(!told(&cluster, &policy).0, "without {part}");
    }
    let json = own.to_json().unwrap();
    for text in [base64_encode(&json), String::from_utf8(json).unwrap()] {
        cluster
            .roots
            .insert("own".into(), compiled(json!({"trustedRootJSON": text}), Timestamp::UNIX_EPOCH).unwrap());
        assert!(told(&cluster, &policy).0);
    }
}

#[test]
fn each_part_of_an_object_that_cannot_be_used_is_named() {
    let good = keys(&Cluster::new().world.root);
    let authority = "/sigstoreKeys/certificateAuthorities/0";
    for (pointer, value, expected) in [
        ("/remote", json!({"root": "{}", "mirror": "https://a.example"}), "spec: expected one of"),
        ("/other", json!(1), "spec.other"),
        (
            &format!("{authority}/subject/organization"),
            json!(""),
            "certificateAuthorities[0].subject.organization",
        ),
        (
            &format!("{authority}/subject/commonName"),
            json!(""),
            "certificateAuthorities[0].subject.commonName",
        ),
        (&format!("{authority}/uri"), json!(""), "certificateAuthorities[0].uri"),
        (&format!("{authority}/certChain"), json!(""), "certificateAuthorities[0].certChain"),
        (&format!("{authority}/certChain"), json!("QUJD"), "certificateAuthorities[0].certChain"),
        (
            "/sigstoreKeys/timestampAuthorities/0/certChain",
            json!("QUJD"),
            "timestampAuthorities[0].certChain",
        ),
        ("/sigstoreKeys/tLogs/0/baseURL", json!(""), "tLogs[0].baseURL"),
        ("/sigstoreKeys/tLogs/0/hashAlgorithm", json!("sha512"), "tLogs[0].hashAlgorithm"),
        ("/sigstoreKeys/tLogs/0/publicKey", json!("QUJD"), "tLogs[0].publicKey"),
        ("/sigstoreKeys/ctLogs/0/publicKey", json!("!"), "ctLogs[0].publicKey"),
    ] {
        let error = compiled(with(good.clone(), &[(pointer, value)]), Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(error.contains(expected), "{pointer}: {error}");
    }
    for spec in [
        json!({}),
        json!({"sigstoreKeys": {}}),
        json!({"trustedRootJSON": ""}),
        json!({"trustedRootJSON": "{}"}),
    ] {
        assert!(compiled(spec.clone(), Timestamp::UNIX_EPOCH).is_err(), "{spec}");
    }
}

/// A repository with a trusted root, published on a day; its first root; and what its files are.
fn repository(root: &TrustedRoot, day: &str) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let key = || -> Arc<dyn Signer> { Arc::new(KeyPair::generate(KeyType::EcdsaP256).unwrap()) };
    let ring = [key(), key()];
    let public = |signer: &Arc<dyn Signer>| -> PublicKey { signer.public_key().clone() };
    let roles = Roles::offline_and_online(Role::single(&public(&ring[0])), &public(&ring[1]));
    let dir = tempfile::tempdir().unwrap();
    let targets = [TargetFile::new("trusted_root.json", root.to_json().unwrap())];
    Repository::create(dir.path(), &roles, Lifetimes::default(), &ring, &targets, at(day)).unwrap();
    let mut files = Vec::new();
    for folder in ["", "targets/"] {
        for entry in std::fs::read_dir(dir.path().join(folder)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                let name = entry.file_name().into_string().unwrap();
                files.push((format!("{folder}{name}"), std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    let first = files.iter().find(|(name, _)| name == "1.root.json").unwrap().1.clone();
    (first, files)
}

/// A tar.gz of files below `repository/`.
fn packed(files: &[(String, Vec<u8>)]) -> String {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    for (name, content) in files {
        let mut header = [0_u8; 512];
        let name = format!("repository/{name}");
        let (folder, name) = name.rsplit_once('/').unwrap();
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[345..345 + folder.len()].copy_from_slice(folder.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        gzip.write_all(&header).unwrap();
        gzip.write_all(content).unwrap();
        gzip.write_all(&vec![0; content.len().next_multiple_of(512) - content.len()]).unwrap();
    }
    gzip.write_all(&[0; 1024]).unwrap();
    base64_encode(&gzip.finish().unwrap())
}

fn mirrored(root: &[u8], files: &[(String, Vec<u8>)]) -> Value {
    json!({"repository": {"root": base64_encode(root), "mirrorFS": packed(files), "targets": "targets"}})
}

#[test]
fn a_repository_in_an_object_is_followed_without_a_network() {
    let world = Cluster::new().world;
    let (root, files) = repository(&world.root, "2026-01-01T00:00:00Z");
    let now = at("2026-01-01T01:00:00Z");
    let read = TrustRootObject::read(&object(mirrored(&root, &files))).unwrap();
    let Compiled { root: found, until } = read.compile(now, None).unwrap();
    let until = until.expect("a repository ends");
    assert!(until > now && read.compile(until, None).is_err(), "{until}");
    assert_eq!(
        found.certificate_authorities[0].certificates,
        world.root.certificate_authorities[0].certificates
    );
}

#[test]
fn a_repository_that_does_not_hold_gives_no_trust_root() {
    let world = Cluster::new().world;
    let now = at("2026-01-01T01:00:00Z");
    let (root, files) = repository(&world.root, "2026-01-01T00:00:00Z");
    let (other_root, _) = repository(&world.root, "2026-01-01T00:00:00Z");
    let without =
        |part: &str| files.iter().filter(|(name, _)| !name.contains(part)).cloned().collect::<Vec<_>>();
    let mut bent = files.clone();
    let target = bent.iter_mut().find(|(name, _)| name.starts_with("targets/")).unwrap();
    target.1.push(b' ');
    for (spec, now, expected) in [
        (mirrored(&root, &files), at("2036-01-01T00:00:00Z"), "expired"),
        (mirrored(&other_root, &files), now, "signed"),
        (mirrored(&root, &without("timestamp")), now, "timestamp.json"),
        (mirrored(&root, &without("snapshot")), now, "snapshot.json"),
        (mirrored(&root, &without("targets.json")), now, "targets.json"),
        (mirrored(&root, &without("trusted_root")), now, "trusted_root.json"),
        (mirrored(&root, &bent), now, "does not match"),
        (with(mirrored(&root, &files), &[("/repository/targets", json!("other"))]), now, "other/"),
        (with(mirrored(&root, &files), &[("/repository/trustedRootTarget", json!("x.json"))]), now, "x.json"),
        (
            with(mirrored(&root, &files), &[("/repository/mirrorFS", json!("QUJD"))]),
            now,
            "spec.repository.mirrorFS",
        ),
        (with(mirrored(&root, &files), &[("/repository/root", json!("e30="))]), now, "spec.repository.root"),
    ] {
        let error = compiled(spec, now).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn what_is_too_much_when_unpacked_is_refused() {
    let (root, _) = repository(&Cluster::new().world.root, "2026-01-01T00:00:00Z");
    let bomb = [("a".to_owned(), vec![0; 40 << 20])];
    let error = compiled(mirrored(&root, &bomb), Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(error.contains("when unpacked"), "{error}");
}

#[test]
fn a_remote_repository_is_asked_for_by_nobody_here() {
    let (root, _) = repository(&Cluster::new().world.root, "2026-01-01T00:00:00Z");
    let spec = json!({"remote": {"root": base64_encode(&root), "mirror": "https://tuf.example"}});
    let read = TrustRootObject::read(&object(spec.clone())).unwrap();
    let remote = read.remote().unwrap();
    assert_eq!(
        (remote.mirror.as_str(), remote.target.as_str()),
        ("https://tuf.example", "trusted_root.json")
    );
    let error = read.compile(Timestamp::UNIX_EPOCH, None).unwrap_err();
    assert_eq!(error.reason, CouldNotReason::Unreachable);
    assert!(error.text.contains("https://tuf.example") && error.text.contains("trustedRootJSON"), "{error}");
    let ends = at("2026-01-02T00:00:00Z");
    let fetched = Compiled { root: Cluster::new().world.root, until: Some(ends) };
    assert_eq!(read.compile(Timestamp::UNIX_EPOCH, Some(&fetched)).as_ref(), Ok(&fetched));
    let error = read.compile(ends, Some(&fetched)).unwrap_err();
    assert!(error.text.contains("2026-01-02") && error.reason == CouldNotReason::Unreachable, "{error}");
    for (pointer, value) in [("/remote/mirror", json!("tuf")), ("/remote/root", json!("e30="))] {
        assert!(
            TrustRootObject::read(&object(with(spec.clone(), &[(pointer, value)]))).is_err(),
            "{pointer}"
        );
    }
}
