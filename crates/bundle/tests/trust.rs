//! Trusted roots and signing configurations: read, written, refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::path::Path;

use countersign_bundle::{
    BundleError, ClientTrustConfig, SelectError, Selector, Service, ServiceConfiguration, SigningConfig,
    TrustedRoot, ValidFor,
};
use jiff::Timestamp;
use serde_json::{Value, json};

fn root() -> Value {
    let log = json!({
        "baseUrl": "http://localhost:3300", "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": "MAA=", "keyDetails": "PKIX_ED25519", "validFor": {"start": "2024-01-01T00:00:00Z"}},
        "logId": {"keyId": "AAE="}
    });
    let authority = json!({
        "subject": {"organization": "local", "commonName": "local-root"}, "uri": "http://localhost:5655",
        "certChain": {"certificates": [{"rawBytes": "MAA="}]},
        "validFor": {"start": "2024-01-01T00:00:00Z", "end": "2022-12-31T23:59:59.999Z".replace("2022", "2025")}
    });
    json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [log], "certificateAuthorities": [authority], "ctlogs": [log], "timestampAuthorities": [authority]
    })
}

fn config() -> Value {
    let service = |url: &str, version: u32| json!([{"url": url, "majorApiVersion": version, "validFor": {"start": "2024-01-01T00:00:00Z"}, "operator": "local"}]);
    json!({
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": service("http://localhost:5655", 1), "oidcUrls": service("http://localhost:9997", 1),
        "rekorTlogUrls": service("http://localhost:3300", 2), "rekorTlogConfig": {"selector": "ANY"},
        "tsaUrls": service("http://localhost:3101/api/v1/timestamp", 1), "tsaConfig": {"selector": "EXACT", "count": 1}
    })
}

fn read_root(value: &Value) -> Result<TrustedRoot, BundleError> {
    TrustedRoot::from_json(value.to_string().as_bytes())
}

fn read_config(value: &Value) -> Result<SigningConfig, BundleError> {
    SigningConfig::from_json(value.to_string().as_bytes())
}

#[test]
fn a_trusted_root_is_written_as_it_was_read() {
    let read = read_root(&root()).unwrap();
    let written: Value = serde_json::from_slice(&read.to_json().unwrap()).unwrap();
    assert_eq!(written, root());
}

#[test]
fn members_that_strict_clients_do_not_know_are_read_and_not_written() {
    let mut value = root();
    value["mediaType"] = json!("application/vnd.dev.sigstore.trustedroot.v0.2+json");
    value["tlogs"][0]["operator"] = json!("o");
    value["tlogs"][0]["checkpointKeyId"] = json!({"keyId": "AAECAw=="});
    value["certificateAuthorities"][0]["operator"] = json!("o");
    let read = read_root(&value).unwrap();
    assert_eq!(read.tlogs[0].checkpoint_key_id.as_deref(), Some([0, 1, 2, 3].as_slice()));
    assert_eq!(read.tlogs[0].operator.as_deref(), Some("o"));
    let written: Value = serde_json::from_slice(&read.to_json().unwrap()).unwrap();
    assert_eq!(written, root());
}

#[test]
fn a_log_without_a_start_is_refused_and_an_authority_counts_from_1970() {
    for kind in ["tlogs", "ctlogs"] {
        for bad in [json!({}), Value::Null, json!({"end": "2030-01-01T00:00:00Z"}), json!({"start": null})] {
            let mut value = root();
            value[kind][0]["publicKey"]["validFor"] = bad;
            assert!(read_root(&value).is_err());
        }
    }
    let mut value = root();
    value["certificateAuthorities"][0]["validFor"] = Value::Null;
    assert_eq!(read_root(&value).unwrap().certificate_authorities[0].valid_for.start, Timestamp::UNIX_EPOCH);
}

#[test]
fn malformed_times_are_refused() {
    for bad in [
        "",
        "2024",
        "2024-01-01",
        "2024-01-01 00:00:00Z",
        "2024-13-01T00:00:00Z",
        "yesterday",
        "2024-01-01T00:00:00",
    ] {
        let mut value = root();
        value["tlogs"][0]["publicKey"]["validFor"]["start"] = json!(bad);
        assert!(read_root(&value).is_err(), "{bad:?}");
    }
    let mut value = root();
    value["tlogs"][0]["publicKey"]["validFor"]["end"] = json!("2023-01-01T00:00:00Z");
    assert!(read_root(&value).is_err(), "ends before it starts");
}

#[test]
fn the_end_of_an_interval_belongs_to_it_fraction_included() {
    let valid = read_root(&root()).unwrap().certificate_authorities[0].valid_for;
    assert!(valid.contains("2025-12-31T23:59:59.999Z".parse().unwrap()));
    assert!(!valid.contains("2026-01-01T00:00:00Z".parse().unwrap()));
    assert!(!valid.contains("2023-12-31T23:59:59Z".parse().unwrap()));
}

#[test]
fn other_documents_are_refused() {
    for other in ["application/vnd.dev.sigstore.trustedroot+json;version=0.9", ""] {
        let mut value = root();
        value["mediaType"] = json!(other);
        assert!(matches!(read_root(&value), Err(BundleError::MediaType { .. })));
    }
    assert!(read_root(&config()).is_err());
    assert!(read_config(&root()).is_err());
    let mut old = config();
    old["mediaType"] = json!("application/vnd.dev.sigstore.signingconfig.v0.1+json");
    assert!(matches!(read_config(&old), Err(BundleError::MediaType { .. })));
}

#[test]
fn a_signing_config_is_written_as_it_was_read() {
    let read = read_config(&config()).unwrap();
    assert_eq!(read.tsa_config.selector, Selector::Exact(1));
    let written: Value = serde_json::from_slice(&read.to_json().unwrap()).unwrap();
    assert_eq!(written, config());
}

#[test]
fn selectors_are_checked_where_there_are_services() {
    for bad in [
        json!({"selector": "SOME"}),
        json!({"selector": "EXACT"}),
        json!({"selector": "EXACT", "count": 0}),
        json!({}),
        Value::Null,
    ] {
        let mut value = config();
        value["rekorTlogConfig"] = bad.clone();
        assert!(read_config(&value).is_err(), "{bad}");
    }
    let mut value = config();
    value["rekorTlogUrls"] = json!([]);
    value["rekorTlogConfig"] = Value::Null;
    assert!(read_config(&value).unwrap().rekor_tlog_urls.is_empty(), "no log at all is a configuration");
}

#[test]
fn both_documents_go_into_one() {
    let both = ClientTrustConfig {
        trusted_root: read_root(&root()).unwrap(),
        signing_config: read_config(&config()).unwrap(),
    };
    let json = both.to_json().unwrap();
    assert_eq!(ClientTrustConfig::from_json(&json).unwrap(), both);
    let mut value: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(value["mediaType"], "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json");
    value["mediaType"] = json!("x");
    assert!(ClientTrustConfig::from_json(value.to_string().as_bytes()).is_err());
}

fn service(url: &str, version: u32, operator: &str, start: &str, end: Option<&str>) -> Service {
    Service {
        url: url.into(),
        major_api_version: version,
        valid_for: ValidFor { start: start.parse().unwrap(), end: end.map(|e| e.parse().unwrap()) },
        operator: operator.into(),
    }
}

#[test]
fn services_are_chosen_by_validity_version_and_operator() {
    let (old, now, new) = ("2020-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "2030-01-01T00:00:00Z");
    let services = [
        service("future", 2, "a", new, None),
        service("past", 2, "a", old, Some("2021-01-01T00:00:00Z")),
        service("unspoken", 3, "a", old, None),
        service("v1", 1, "b", old, None),
        service("first", 2, "a", old, Some(now)),
        service("same operator", 2, "a", old, None),
        service("second", 2, "c", old, None),
    ];
    let now = now.parse().unwrap();
    let select = |selector| {
        ServiceConfiguration { selector }
            .select(&services, &[1, 2], now)
            .map(|s| s.iter().map(|s| s.url.as_str()).collect::<Vec<_>>())
    };
    assert_eq!(select(Selector::Any).unwrap(), ["first"]);
    assert_eq!(select(Selector::All).unwrap(), ["first", "second"]);
    assert_eq!(select(Selector::Exact(2)).unwrap(), ["first", "second"]);
    assert_eq!(select(Selector::Exact(3)), Err(SelectError::TooFew { expected: 3, found: 2, listed: 7 }));
    assert_eq!(select(Selector::Exact(0)), Err(SelectError::ZeroCount));
    let none = ServiceConfiguration { selector: Selector::All }.select(&services, &[9], now);
    assert!(matches!(none, Err(SelectError::TooFew { .. })), "all of nothing is an error");
}

#[test]
fn public_trusted_roots_are_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata/sigstore-conformance");
    let Ok(production) = std::fs::read(dir.join("production_trusted_root.json")) else {
        println!("skipped: no vectors at {}", dir.display());
        return;
    };
    let root = TrustedRoot::from_json(&production).unwrap();
    assert_eq!(
        (
            root.tlogs.len(),
            root.certificate_authorities.len(),
            root.ctlogs.len(),
            root.timestamp_authorities.len()
        ),
        (2, 2, 2, 1)
    );
    assert_eq!(root.ctlogs[0].public_key.valid_for.end.unwrap().to_string(), "2022-10-31T23:59:59.999Z");
    assert_eq!(
        TrustedRoot::from_json(&root.to_json().unwrap()).unwrap().ctlogs,
        root.ctlogs
            .iter()
            .cloned()
            .map(|mut l| {
                l.operator = None;
                l.checkpoint_key_id = None;
                l
            })
            .collect::<Vec<_>>()
    );
    let mut refused = Vec::new();
    for folder in std::fs::read_dir(dir.join("bundle-verify")).unwrap().flatten() {
        if let Ok(bytes) = std::fs::read(folder.path().join("trusted_root.json"))
            && TrustedRoot::from_json(&bytes).is_err()
        {
            refused.push(folder.file_name().into_string().unwrap());
        }
    }
    assert_eq!(refused, ["trust-root-tlog-missing-validity-start_fail"]);
}
