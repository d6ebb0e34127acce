//! The logs of an instance at rest: checked, copied, put back.

use std::path::Path;

use crate::support::Home;

/// The logs of an instance.
const LOGS: [&str; 3] = ["log", "log-v1", "ct"];

/// An instance whose logs have their first entries, and which does not run.
fn instance(home: &Home) {
    home.good(&["init", "instance", "--dev"]);
    let mut server = home.command(&["serve", "instance", "--listen", "127.0.0.1:0"]);
    let mut server = server.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.take().unwrap()), &mut line)
        .unwrap();
    assert!(line.contains("serving"), "{line}");
    let stopped = std::process::Command::new("kill").arg(server.id().to_string()).status().unwrap();
    assert!(stopped.success() && server.wait().unwrap().success());
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn r6_fsck_names_file_and_place_of_what_is_damaged() {
    let home = Home::new();
    instance(&home);
    let good = home.good(&["log", "fsck", "instance"]);
    assert_eq!(good.matches("all as they were signed").count(), LOGS.len(), "{good}");

    let bundle = home.path("instance/log/tile/entries/000.p/1");
    flip(&bundle, 9);
    let (code, out, err) = home.text(&["log", "fsck", "instance"]);
    assert_eq!(code, 2, "{out}{err}");
    assert!(out.contains("instance/log/tile/entries/000.p/1 at byte 9: "), "{out}");
    assert!(err.contains("1 damaged place found") && err.contains("countersign log restore"), "{err}");
    let (code, out, _) = home.text(&["log", "fsck", "instance", "--output", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 2);
    assert!(answer.to_string().contains(r#""offset":9"#), "{out}");
    flip(&bundle, 9);
    home.good(&["log", "fsck", "instance"]);

    // One log alone, under its key and under another's.
    let (code, _, err) = home.text(&["log", "fsck", "instance/log"]);
    assert!(code == 1 && err.contains("--log-key"), "{code} {err}");
    home.good(&["log", "fsck", "instance/log", "--log-key", "instance/keys/log.pub"]);
    let (code, out, _) = home.text(&["log", "fsck", "instance/log", "--log-key", "instance/keys/tsa.pub"]);
    assert!(code == 2 && out.contains("lock-record"), "{code} {out}");
}

#[test]
fn the_search_indexes_are_made_anew_from_the_logs_when_the_server_is_stopped() {
    let home = Home::new();
    instance(&home);
    for log in ["log", "log-v1"] {
        std::fs::write(home.path(&format!("instance/{log}/terms.db")), b"damaged").unwrap();
    }
    let out = home.good(&["log", "reindex", "instance"]);
    assert_eq!(out.matches("1 entry indexed").count(), 2, "{out}");
    let out = home.good(&["log", "reindex", "instance", "--output", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["logs"][1]["size"], 1, "{out}");
    flip(&home.path("instance/log/params"), 20);
    let (code, _, err) = home.text(&["log", "reindex", "instance"]);
    assert!(code == 2 && err.contains("params"), "{code} {err}");
}

#[test]
fn r8_a_copy_is_checked_and_put_back_only_with_the_newest_checkpoints() {
    let home = Home::new();
    instance(&home);
    let out = home.good(&["log", "backup", "instance", "copy"]);
    assert_eq!(out.matches("copied and checked").count(), LOGS.len(), "{out}");
    home.good(&["log", "backup", "verify", "copy"]);
    let (code, _, err) = home.text(&["log", "backup", "instance", "copy"]);
    assert!(code == 1 && err.contains("there is a log in this directory already"), "{code} {err}");
    flip(&home.path("copy/ct/params"), 20);
    let (code, out, _) = home.text(&["log", "backup", "verify", "copy"]);
    assert!(code == 2 && out.contains("copy/ct/params"), "{code} {out}");
    flip(&home.path("copy/ct/params"), 20);
    let (code, _, err) = home.text(&["log", "backup", "verify", "instance/tuf"]);
    assert!(code == 1 && err.contains("no copy"), "{code} {err}");

    let newest = LOGS.map(|log| format!("instance/{log}/checkpoint"));
    for (name, path) in ["log.txt", "v1.txt", "ct.txt"].iter().zip(&newest) {
        std::fs::copy(home.path(path), home.path(name)).unwrap();
    }
    let all = [
        ["log", "restore"],
        ["copy", "instance"],
        ["--newest", "log.txt"],
        ["--newest", "ct.txt"],
        ["--newest", "v1.txt"],
    ]
    .concat();
    let (code, _, err) = home.text(&all);
    assert!(code == 1 && err.contains("no log is missing"), "{code} {err}");
    for log in LOGS {
        std::fs::rename(home.path(&format!("instance/{log}")), home.path(&format!("lost-{log}"))).unwrap();
    }
    let (code, _, err) = home.text(&all[..8]);
    assert!(code == 1 && err.contains("with --newest, found none"), "{code} {err}");
    assert!(!home.path("instance/log").exists(), "nothing is put back by halves");
    let out = home.good(&all);
    assert_eq!(out.matches("put back and checked").count(), LOGS.len(), "{out}");
    home.good(&["log", "fsck", "instance"]);
}
