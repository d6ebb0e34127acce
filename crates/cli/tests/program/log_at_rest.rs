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
    assert!(out.contains("or this is not the log's key"), "{out}");

    // No checkpoint commits to the search index of Rekor v1, and the check says what it did not check.
    let out = home.good(&["log", "fsck", "instance"]);
    let told = out.lines().find(|line| line.starts_with("instance/log-v1: terms.db"));
    assert!(told.is_some_and(|line| line.contains("no checkpoint commits to it")), "{out}");
    std::fs::write(home.path("instance/log/terms.db"), b"damaged").unwrap();
    let (code, out, _) = home.text(&["log", "fsck", "instance"]);
    assert!(code == 2 && out.contains("instance/log/terms.db: "), "{code} {out}");
    assert!(out.contains("countersign log reindex"), "{out}");
}

#[test]
fn a_log_that_is_gone_or_cannot_be_opened_is_named_with_the_next_step() {
    let home = Home::new();
    instance(&home);
    let serve = ["serve", "instance", "--listen", "127.0.0.1:0"];
    let record = home.path("instance/log/lock-record");
    let good = std::fs::read(&record).unwrap();
    std::fs::write(&record, vec![0xff; good.len()]).unwrap();
    let (code, _, err) = home.text(&serve);
    assert!(code != 0 && err.contains("instance/log/lock-record is damaged"), "{code} {err}");
    assert!(err.contains("countersign log fsck instance"), "{err}");
    std::fs::write(&record, good).unwrap();

    std::fs::rename(home.path("instance/log"), home.path("gone")).unwrap();
    let (code, _, err) = home.text(&serve);
    assert!(code != 0 && err.contains("instance/log is missing"), "{code} {err}");
    assert!(err.contains("countersign log restore COPY instance --newest FILE"), "{err}");
    for command in ["fsck", "reindex"] {
        let (code, _, err) = home.text(&["log", command, "instance"]);
        assert!(code == 2 && err.contains("instance/log is missing"), "{code} {err}");
        assert!(err.contains("countersign log restore COPY instance --newest FILE"), "{err}");
    }
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
    assert!(
        code == 1 && err.contains("copy is not empty") && err.contains("a new directory"),
        "{code} {err}"
    );
    flip(&home.path("copy/ct/params"), 20);
    let (code, out, err) = home.text(&["log", "backup", "verify", "copy"]);
    assert!(code == 2 && out.contains("copy/ct/params at byte 0: "), "{code} {out}");
    assert!(err.contains("do not rely on this copy") && !err.contains("stop the instance"), "{err}");
    flip(&home.path("copy/ct/params"), 20);
    // Each is named for what it is.
    let (code, _, err) = home.text(&["log", "fsck", "copy"]);
    assert!(code == 1 && err.contains("countersign log backup verify copy"), "{code} {err}");
    assert!(!err.contains("init"), "{err}");
    let (code, _, err) = home.text(&["log", "backup", "verify", "instance"]);
    assert!(code == 1 && err.contains("countersign log fsck instance"), "{code} {err}");
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
    assert!(code == 1 && err.contains("instance has log, ct, log-v1"), "{code} {err}");
    assert!(err.contains("move the damaged one away first"), "{err}");
    for log in LOGS {
        std::fs::rename(home.path(&format!("instance/{log}")), home.path(&format!("lost-{log}"))).unwrap();
    }
    let (code, _, err) = home.text(&all[..8]);
    assert!(code == 1 && err.contains("with --newest, found log.txt of localhost"), "{code} {err}");
    std::fs::write(home.path("junk.txt"), "junk").unwrap();
    let (code, _, err) = home.text(&[&all[..], &["--newest", "junk.txt"]].concat());
    assert!(code == 1 && err.contains("junk.txt is no checkpoint"), "{code} {err}");
    // A note of the log's name, which another key signed.
    let note = std::fs::read_to_string(home.path("log.txt")).unwrap();
    let (text, _) = note.split_once("\n\n").unwrap();
    let line = std::fs::read_to_string(home.path("ct.txt")).unwrap();
    let line = line.split_once("\n\n").unwrap().1.to_owned();
    std::fs::write(home.path("others.txt"), format!("{text}\n\n{line}")).unwrap();
    let others: Vec<_> =
        all.iter().map(|word| if *word == "log.txt" { "others.txt" } else { word }).collect();
    let (code, _, err) = home.text(&others);
    assert!(
        code == 1 && err.contains("others.txt: it is not a checkpoint that this log signed"),
        "{code} {err}"
    );
    assert!(!home.path("instance/log").exists(), "nothing is put back by halves");
    // A partial tile is made anew from the write-ahead file, and that it was damaged is told.
    flip(&home.path("copy/ct/tile/0/000.p/1"), 5);
    let out = home.good(&all);
    assert_eq!(out.matches("put back and checked").count(), LOGS.len() - 1, "{out}");
    assert_eq!(out.matches("put back, repaired and checked").count(), 1, "{out}");
    assert!(out.contains("damaged in the copy, made anew: copy/ct/tile/0/000.p/1 at byte 5"), "{out}");
    home.good(&["log", "fsck", "instance"]);
}
