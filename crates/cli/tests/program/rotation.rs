//! An instance whose logs are rotated: what was signed in each epoch verifies, and the retired log can be read.

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
