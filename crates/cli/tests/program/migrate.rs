//! `countersign log migrate`, as far as it goes without a database: what is refused, and that nothing is moved then.
//! That it moves is shown by the tests of the log and by interop/failover.

use crate::support::Home;

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
    // Rotating asks for the logs in the directory.
    std::fs::write(&path, store("postgres://me@127.0.0.1:1/logs", objects)).unwrap();
    let (code, _, err) = home.text(&["rotate", "log", "instance"]);
    assert_ne!(code, 0);
    assert!(err.contains("migrate --to local"), "{err}");
}
