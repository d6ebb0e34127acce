//! An instance whose logs are rotated: what was signed in each epoch verifies, and the retired log can be read.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use countersign_crypto::{KeyPair, KeyType};
use serde_json::{Value, json};

use crate::requests::entry_request;
use crate::support::{Home, Instance};

#[test]
fn r20_bundles_of_each_epoch_verify_and_the_retired_log_stays_readable() {
    let home = Home::new();
    let files = ["first", "second", "third"];
    for name in files {
        std::fs::write(home.path(name), name).unwrap();
    }
    let mut instance = Instance::start(&home);
    let url = instance.url.trim_end_matches('/').to_owned();
    home.good(&["trust", "add", &url, "--name", "dev", "--yes"]);
    for (epoch, rotated) in [Some("log"), Some("ct"), None].into_iter().enumerate() {
        home.good(&["trust", "update"]);
        home.good(&["sign", files[epoch], "--identity-token", &instance.token()]);
        if let Some(target) = rotated {
            assert_eq!(instance.stop(), Some(0));
            let (code, _, err) = home.text(&["rotate", target, "instance"]);
            assert_eq!(code, 0, "{err}");
            assert!(err.contains(&format!("{url}/retired/{target}-")), "{err}");
            instance = Instance::start_again(&home);
        }
    }
    let issuer = format!("{url}/development-identity-provider");
    for file in files {
        home.good(&["verify", file, "--email", "alice@example.com", "--issuer", &issuer]);
    }

    let retired = |prefix: &str| {
        let names = std::fs::read_dir(home.path("instance/retired")).unwrap();
        let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.find(|name| name.starts_with(prefix)).unwrap()
    };
    let (log, ct) = (retired("log-"), retired("ct-"));
    let address = format!("{url}/retired/{log}");
    let read = ["log", "verify", "--all", "--log", &address, "--bundle", "first.sigstore.json"];
    assert!(home.good(&read).ends_with("VERIFIED\n"));
    // An entry of the log of today is not in the old one, and the other way round.
    let (code, out, err) =
        home.text(&["log", "verify", "--log", &address, "--bundle", "second.sigstore.json"]);
    assert_eq!(code, 2, "{out}{err}");
    let (code, ..) = home.text(&["log", "verify", "--bundle", "first.sigstore.json"]);
    assert_eq!(code, 2);
    let (code, _, err) = home.text(&["log", "checkpoint", "--log", &format!("{url}/retired/log-none")]);
    assert_eq!(code, 5, "{err}");

    let (_, doctor, _) = home.text(&["doctor", "instance"]);
    for (name, place) in [(&log, address.clone()), (&ct, format!("{url}/retired/{ct}"))] {
        assert!(doctor.contains(name.as_str()) && doctor.contains(&place), "{doctor}");
    }
    // The old tree is read, not believed: a changed byte is found.
    let tile = home.path(&format!("instance/retired/{log}/tree/tile/entries/000.p/2"));
    let mut bytes = std::fs::read(&tile).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&tile, bytes).unwrap();
    assert_eq!(home.text(&read).0, 2);
}

/// Signed with the log of Rekor v1 and with no timestamp authority: that log says itself when.
#[test]
fn r20_what_the_log_of_rekor_v1_promised_verifies_after_its_rotation() {
    let home = Home::new();
    let mut instance = Instance::start(&home);
    let url = instance.url.trim_end_matches('/').to_owned();
    home.good(&["trust", "add", &url, "--name", "dev", "--yes"]);
    let read =
        |name: &str| -> Value { serde_json::from_slice(&std::fs::read(home.path(name)).unwrap()).unwrap() };
    for (file, rotated) in [("first", true), ("second", false)] {
        home.sign_v1(file, &instance.token());
        let material = &read(&format!("{file}.sigstore.json"))["verificationMaterial"];
        let entry = &material["tlogEntries"][0];
        assert_eq!(entry["kindVersion"], serde_json::json!({"kind": "hashedrekord", "version": "0.0.1"}));
        assert!(entry["inclusionPromise"]["signedEntryTimestamp"].is_string(), "{entry}");
        assert!(
            material["timestampVerificationData"]["rfc3161Timestamps"].as_array().is_none_or(Vec::is_empty)
        );
        if rotated {
            assert_eq!(instance.stop(), Some(0));
            let (code, _, err) = home.text(&["rotate", "log-v1", "instance"]);
            assert_eq!(code, 0, "{err}");
            instance = Instance::start_again(&home);
        }
    }
    home.good(&["trust", "update"]);
    let issuer = format!("{url}/development-identity-provider");
    for file in ["first", "second"] {
        home.good(&["verify", file, "--email", "alice@example.com", "--issuer", &issuer]);
    }
    let (_, doctor, _) = home.text(&["doctor", "instance"]);
    assert!(doctor.contains("log of Rekor v1") && doctor.contains("retired log logv1-"), "{doctor}");

    // Whoever asks who signed what hears of both trees, each in its own.
    let alice = ["--identity", "alice@example.com"];
    for command in [&["log", "find"][..], &["log", "search"], &["incident", "--evidence", "alice.json"]] {
        let (code, out, err) = home.text(&[command, &alice[..], &["--output", "json"]].concat());
        let json: Value = serde_json::from_str(&out).unwrap();
        let of =
            |log: &Value| json["entries"].as_array().unwrap().iter().filter(|e| e["log"] == *log).count();
        let v1 = json["logs"].as_array().unwrap().iter().filter(|log| of(&log["log"]) == 1).count();
        assert_eq!((code, v1), (0, 2), "{command:?}: {out} {err}");
    }
    std::fs::write(home.path("root.json"), {
        home.good(&["trust", "export", "--out", "site.json"]);
        read("site.json")["trustedRoot"].to_string()
    })
    .unwrap();
    home.good(&["incident", "verify", "alice.json", "--trusted-root", "root.json"]);
    // The retired tree alone, by its address; and one that nobody shows any more is named.
    let root = read("root.json");
    let is_retired = |log: &&Value| log["baseUrl"].as_str().is_some_and(|url| url.contains("/retired/"));
    let retired = root["tlogs"].as_array().unwrap().iter().find(is_retired).unwrap()["baseUrl"].clone();
    let (code, out, err) =
        home.text(&[&["log", "find", "--log", retired.as_str().unwrap()][..], &alice].concat());
    assert!(code == 0 && out.lines().count() == 1, "{code} {out} {err}");
    assert_eq!(instance.stop(), Some(0));
    std::fs::remove_dir_all(home.path("instance/retired")).unwrap();
    instance = Instance::start_again(&home);
    let (code, out, err) = home.text(&[&["log", "search"][..], &alice].concat());
    assert!(code == 6 && err.contains("not complete") && err.contains("signed by the key"), "{out} {err}");
    drop(instance);
}

/// A connection of a writer, which stays open.
struct Writing(BufReader<TcpStream>);

impl Writing {
    /// Writes an entry, and gives the status of the answer.
    fn entry(&mut self, body: &str) -> u16 {
        let stream = self.0.get_mut();
        write!(
            stream,
            "POST /api/v2/log/entries HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let (mut status, mut length) = (String::new(), 0);
        self.0.read_line(&mut status).unwrap();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            match line.trim().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().unwrap();
                }
                Some(_) => {}
                None => break,
            }
        }
        self.0.read_exact(&mut vec![0; length]).unwrap();
        status.get(9..12).unwrap_or_else(|| panic!("an answer, not {status:?}")).parse().unwrap()
    }
}

/// The server runs on through rotations of each of its logs and of its other keys, and so do its clients' connections.
#[test]
fn r20_no_write_is_refused_and_no_connection_ends_while_an_instance_is_rotated() {
    let home = Home::new();
    let mut instance = Instance::start(&home);
    home.good(&["trust", "add", &instance.url, "--name", "dev", "--yes"]);
    let host =
        instance.url.trim_start_matches("http://").trim_end_matches('/').replace("localhost", "127.0.0.1");
    let ended = AtomicBool::new(false);
    let targets = ["log", "ca", "log-v1", "tsa", "ct", "tuf", "log"];
    let (written, longest) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u8)
            .map(|writer| {
                let (host, ended) = (&host, &ended);
                scope.spawn(move || {
                    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
                    let mut connection = Writing(BufReader::new(TcpStream::connect(host).unwrap()));
                    let (mut written, mut longest) = (0_u64, Duration::ZERO);
                    while !ended.load(Ordering::SeqCst) {
                        let request = entry_request(&key, &[&[writer][..], &written.to_be_bytes()].concat());
                        let asked = Instant::now();
                        assert_eq!(connection.entry(&request), 201, "a write was refused");
                        longest = longest.max(asked.elapsed());
                        written += 1;
                    }
                    (written, longest)
                })
            })
            .collect();
        // Their connections are as good for others meanwhile.
        for (number, target) in targets.iter().enumerate() {
            let file = format!("file{number}");
            std::fs::write(home.path(&file), &file).unwrap();
            home.good(&["sign", &file, "--identity-token", &instance.token()]);
            let (code, _, err) = home.text(&["rotate", target, "instance"]);
            assert!(code == 0 && err.contains("goes on"), "{target}: {err}");
            home.good(&["trust", "update"]);
        }
        ended.store(true, Ordering::SeqCst);
        let all = writers.into_iter().map(|writer| writer.join().unwrap());
        all.fold((0, Duration::ZERO), |sum, one| (sum.0 + one.0, sum.1.max(one.1)))
    });
    eprintln!("{written} written; the longest answer took {longest:?}");
    let issuer = format!("{}/development-identity-provider", instance.url.trim_end_matches('/'));
    for number in 0..targets.len() {
        let file = format!("file{number}");
        home.good(&["verify", &file, "--email", "alice@example.com", "--issuer", &issuer]);
    }
    // Whoever has not heard of it is told what to do.
    home.good(&["rotate", "log", "instance"]);
    let (code, _, err) = home.text(&["sign", "file0", "--identity-token", &instance.token()]);
    assert!(code == 7 && err.contains("countersign trust update"), "{code} {err}");
    assert_eq!(instance.stop(), Some(0));
    let entries = |path: &Path| -> u64 {
        let text = std::fs::read_to_string(path.join("checkpoint")).unwrap();
        // Each tree begins with an entry of its own.
        text.lines().nth(1).unwrap().parse::<u64>().unwrap() - 1
    };
    let retired = std::fs::read_dir(home.path("instance/retired")).unwrap();
    let retired = retired
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_str().unwrap().starts_with("log-"));
    let retired: Vec<u64> = retired.map(|entry| entries(&entry.path().join("tree"))).collect();
    assert_eq!(retired.len(), 3);
    let signed = u64::try_from(targets.len()).unwrap() + 1;
    let now = entries(&home.path("instance/log"));
    assert_eq!(retired.iter().sum::<u64>() + now, written + signed, "each in one of the trees, and once");
}

/// What goes wrong with a rotation is nothing to the server's clients.
#[test]
fn a_rotation_that_fails_or_is_killed_leaves_the_server_running() {
    let home = Home::new();
    let mut instance = Instance::start(&home);
    let host =
        instance.url.trim_start_matches("http://").trim_end_matches('/').replace("localhost", "127.0.0.1");
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let mut connection = Writing(BufReader::new(TcpStream::connect(&host).unwrap()));
    let mut write = |text: &str| assert_eq!(connection.entry(&entry_request(&key, text.as_bytes())), 201);
    write("before");
    // Before anything is asked of the server.
    let (offline, away) = (home.path("instance/keys/offline"), home.path("offline"));
    std::fs::rename(&offline, &away).unwrap();
    let (code, _, err) = home.text(&["rotate", "log", "instance"]);
    assert!(code == 1 && err.contains("tuf-root"), "{code} {err}");
    std::fs::rename(&away, &offline).unwrap();
    write("no key");
    // In the middle: the tree and the key are moved, the new key cannot be written, all is put back.
    let public = home.path("instance/keys/log.pub");
    let old = std::fs::read(&public).unwrap();
    let (code, _, err) = home.text(&["rotate", "log", "instance", "--key", "file:/proc/none.key"]);
    assert!(code != 0 && !err.is_empty(), "{err}");
    assert_eq!(std::fs::read(&public).unwrap(), old, "put back");
    write("put back");
    // One that is killed while it waits for the server, which waits for somebody who is slow.
    let mut slow = TcpStream::connect(&host).unwrap();
    slow.write_all(b"POST /api/v2/log/entries HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
        .unwrap();
    write("beside somebody slow");
    let mut hung = home.command(&["rotate", "tsa", "instance"]).stderr(Stdio::null()).spawn().unwrap();
    let locked = std::fs::File::open(home.path("instance/rotation.lock")).unwrap();
    while locked.try_lock_shared().is_ok() {
        locked.unlock().unwrap();
        assert!(hung.try_wait().unwrap().is_none(), "it has not begun");
    }
    hung.kill().unwrap();
    hung.wait().unwrap();
    slow.write_all(b"}").unwrap();
    write("killed");
    assert_eq!(instance.stop(), Some(0));
    // One that is killed with the old key and tree moved away: the next server puts them back.
    let retired = home.path("instance/retired/log-cut-off");
    std::fs::create_dir_all(&retired).unwrap();
    let moves = [("keys/log.key", "log.key"), ("keys/log.pub", "log.pub"), ("log", "tree")];
    let journal: Vec<_> =
        moves.map(|(from, to)| json!({"from": from, "to": format!("retired/log-cut-off/{to}")})).into();
    std::fs::write(home.path("instance/rotation.json"), serde_json::to_vec(&journal).unwrap()).unwrap();
    for (from, to) in moves {
        std::fs::rename(home.path("instance").join(from), retired.join(to)).unwrap();
    }
    let (code, found, err) = home.text(&["doctor", "instance"]);
    let told = format!("{found}{err}");
    assert!(code != 0 && told.contains("start the server, or rotate once more"), "{told}");
    let mut instance = Instance::start_again(&home);
    assert_eq!(std::fs::read(&public).unwrap(), old);
    assert_eq!(instance.stop(), Some(0));
}
