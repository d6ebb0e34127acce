//! `countersign log migrate`: what is refused without a store, and that nothing is moved then; and a log that moves there,
//! is rotated there, and moves back.

use serde_json::Value;

use crate::postgres::Server;
use crate::s3::FakeS3;
use crate::support::{Home, Instance};

/// Nobody listens there.
const AWAY: &str = "(at 127.0.0.1:1)";

#[test]
fn what_names_no_store_moves_no_log() {
    let home = Home::new();
    home.good(&["init", "instance", "--dev"]);
    let path = home.path("instance/countersign.toml");
    let plain = std::fs::read_to_string(&path).unwrap();
    let store = |database: &str, objects: &str| {
        format!("{plain}\n[store]\ndatabase = \"{database}\"\nobjects = \"{objects}\"\n")
    };
    let objects = "s3://bucket/logs?endpoint=http://127.0.0.1:1";
    for (config, expected) in [
        (plain.clone(), "expected a section [store]"),
        (store("postgres://me:hunter2@127.0.0.1:1/logs", objects), "PGPASSWORD"),
        (store("postgres://me@127.0.0.1:1/logs", "s3://id:hunter2@bucket"), "AWS_ACCESS_KEY_ID"),
        (store("postgres://me@127.0.0.1:1/logs", objects), AWAY),
        (
            store("postgres://me@127.0.0.1:1/logs", objects) + "database_password_file = \"keys/none\"\n",
            "keys/none: cannot be read",
        ),
        (
            store("postgres://me@127.0.0.1:1/logs", objects)
                + "objects_credentials_file = \"keys/password\"\n",
            "expected a line aws_access_key_id",
        ),
    ] {
        std::fs::write(&path, &config).unwrap();
        let (code, out, err) = home.text(&["log", "migrate", "--to", "distributed", "instance"]);
        // A database that does not answer is no mistake in the configuration.
        assert_eq!(code, if expected == AWAY { 6 } else { 1 }, "{expected}: {out}{err}");
        assert!(err.contains(expected) && !err.contains("hunter2"), "{expected}: {err}");
        assert!(
            home.path("instance/log/lock-record").exists() && home.path("instance/ct/lock-record").exists()
        );
    }
    let (code, _, err) = home.text(&["log", "migrate", "--to", "elsewhere", "instance"]);
    assert_ne!(code, 0);
    assert!(err.contains("expected distributed or local"), "{err}");
    // Nor is one rotated whose store does not answer.
    std::fs::write(&path, store("postgres://me@127.0.0.1:1/logs", objects)).unwrap();
    let key = std::fs::read(home.path("instance/keys/log.pub")).unwrap();
    let (code, _, err) = home.text(&["rotate", "log", "instance"]);
    assert!(code == 6 && err.contains(AWAY), "{code} {err}");
    assert_eq!(std::fs::read(home.path("instance/keys/log.pub")).unwrap(), key);
    assert!(home.path("instance/log/lock-record").exists());
}

/// There and back with a rotation in between, as an operator does it.
#[test]
fn a_log_is_rotated_in_its_store_and_comes_back_with_the_old_one() {
    let Some(database) = Server::own() else { return };
    let objects = FakeS3::start();
    let home = Home::new();
    home.good(&["init", "instance", "--dev"]);
    let path = home.path("instance/countersign.toml");
    let plain = std::fs::read_to_string(&path).unwrap();
    let store = format!(
        "{plain}\n[store]\ndatabase = \"{}\"\nobjects = \"{}\"\nobjects_credentials_file = \"s3\"\n",
        database.url(),
        objects.url("logs")
    );
    std::fs::write(&path, store).unwrap();
    let secret = "aws_access_key_id = a\naws_secret_access_key = b\n";
    std::fs::write(home.path("instance/s3"), secret).unwrap();
    home.good(&["log", "migrate", "--to", "distributed", "instance"]);
    let mut instance = Instance::start_again(&home);
    let url = instance.url.trim_end_matches('/').to_owned();
    home.good(&["trust", "add", &url, "--name", "dev", "--yes"]);
    for (file, target) in [("first", Some("log")), ("second", Some("ct")), ("third", None)] {
        std::fs::write(home.path(file), file).unwrap();
        home.good(&["sign", file, "--identity-token", &instance.token()]);
        if let Some(target) = target {
            let (code, _, err) = home.text(&["rotate", target, "instance"]);
            assert!(code == 0 && err.contains("goes on with the new key"), "{err}");
            assert!(err.contains("servers on other machines: copy instance to them"), "{err}");
            home.good(&["trust", "update"]);
        }
    }
    let issuer = format!("{url}/development-identity-provider");
    let root: Value = {
        home.good(&["trust", "export", "--out", "site.json"]);
        serde_json::from_slice(&std::fs::read(home.path("site.json")).unwrap()).unwrap()
    };
    let logs = root["trustedRoot"]["tlogs"].as_array().unwrap();
    let old = logs.iter().filter_map(|log| log["baseUrl"].as_str()).find(|url| url.contains("/retired/"));
    let read = ["log", "verify", "--all", "--log", old.unwrap(), "--bundle", "first.sigstore.json"];
    let all_well = || {
        for file in ["first", "second", "third"] {
            home.good(&["verify", file, "--email", "alice@example.com", "--issuer", &issuer]);
        }
        assert!(home.good(&read).ends_with("VERIFIED\n"));
        let (_, doctor, _) = home.text(&["doctor", "instance"]);
        assert!(doctor.contains("retired log log-") && doctor.contains(old.unwrap()), "{doctor}");
        let found = home.good(&["log", "find", "--identity", "alice@example.com"]);
        assert_eq!(found.lines().count(), 3, "{found}");
    };
    all_well();
    assert_eq!(instance.stop(), Some(0));
    // Without the store nothing is known of it, which is told.
    let with_store = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &plain).unwrap();
    let (_, doctor, _) = home.text(&["doctor", "instance"]);
    assert!(doctor.contains("it lies in the store that [store] named"), "{doctor}");
    std::fs::write(&path, with_store).unwrap();
    let out = home.good(&["log", "migrate", "--to", "local", "instance"]);
    assert!(out.contains("retired log-") && out.contains("retired ct-"), "{out}");
    std::fs::write(&path, plain).unwrap();
    let mut instance = Instance::start_again(&home);
    all_well();
    assert_eq!(instance.stop(), Some(0));
}
