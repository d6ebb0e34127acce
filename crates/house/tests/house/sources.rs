//! Manners of the source files: headers, length, and words that mean "unfinished".

use std::fs;

use crate::assert_none;
use crate::workspace::{root, sources};

/// The longest file, in lines.
const LONGEST: usize = 600;

/// Files that are longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// What unfinished or silenced code looks like. Split, so that this file does not find itself.
const UNFINISHED: &[&str] = &[
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("#[ig", "nore"),
    concat!("allow(dead", "_code"),
    concat!("allow(unu", "sed"),
    concat!("db", "g!("),
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("X", "XX:"),
];

#[test]
fn every_file_says_what_it_is_about() {
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|source| !source.text.starts_with("//! ") && !source.text.starts_with("#![no_main]\n//! "))
        .map(|source| source.path.clone())
        .collect();
    assert_none("these files have no header doc (`//! ...` in the first line):", &wrong);
}

#[test]
fn files_are_short_enough_to_read() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        let excepted = LONG_FILES.iter().any(|(path, _)| *path == source.path);
        if lines > LONGEST && !excepted {
            wrong.push(format!("{}: {lines} lines", source.path));
        }
    }
    assert_none("these files are longer than 600 lines; split them, or list them with a reason:", &wrong);
}

#[test]
fn exceptions_are_still_needed() {
    let all = sources();
    let needed =
        |path: &str| all.iter().any(|source| source.path == path && source.text.lines().count() > LONGEST);
    let stale: Vec<String> =
        LONG_FILES.iter().filter(|(path, _)| !needed(path)).map(|(path, _)| (*path).to_owned()).collect();
    assert_none("these exceptions are not needed any more:", &stale);
}

#[test]
fn nothing_is_left_unfinished_or_silenced() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            for word in UNFINISHED.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{}:{}: {word}", source.path, number + 1));
            }
        }
    }
    assert_none("finish these, or take them out:", &wrong);
}

#[test]
fn aws_lc_rs_is_named_in_one_crate() {
    let mut wrong = Vec::new();
    for source in sources() {
        let here = source.path.starts_with("crates/crypto/") || source.path.starts_with("crates/house/");
        for (number, line) in source.text.lines().enumerate().filter(|_| !here) {
            if line.contains("aws_lc_rs::") && !line.contains("rustls::crypto::aws_lc_rs") {
                wrong.push(format!("{}:{}", source.path, number + 1));
            }
        }
    }
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let own = manifest.ends_with("crypto/Cargo.toml");
        let text = fs::read_to_string(&manifest).unwrap_or_default();
        if !own && text.lines().any(|line| line.starts_with("aws-lc-rs")) {
            wrong.push(manifest.display().to_string());
        }
    }
    assert_none("only crates/crypto names aws-lc-rs; use its types:", &wrong);
}

#[test]
fn every_crate_takes_the_workspace_lints_and_is_not_published_by_accident() {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let Ok(text) = fs::read_to_string(&manifest) else { continue };
        for needed in ["[lints]\nworkspace = true", "publish.workspace = true", "license.workspace = true"] {
            if !text.contains(needed) {
                wrong.push(format!("{}: {needed:?} is missing", manifest.display()));
            }
        }
    }
    assert_none("these manifests differ from the house's:", &wrong);
}
