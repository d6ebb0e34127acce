//! Every parser of untrusted bytes is fuzzed.

use std::collections::BTreeSet;
use std::fs;

use crate::assert_none;
use crate::workspace::root;

/// Crates that parse bytes from strangers.
const PARSERS: &[&str] = &[
    "attestation",
    "builder",
    "bundle",
    "ca",
    "client",
    "crypto",
    "keys",
    "kubernetes",
    "notary",
    "policy",
    "registry",
    "tlog",
    "trust",
    "verify",
    "x509",
];

fn targets() -> BTreeSet<String> {
    let folder = fs::read_dir(root().join("fuzz/fuzz_targets")).expect("fuzz/fuzz_targets exists");
    folder
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// The targets that fuzz/Cargo.toml names, each with the file it points at.
fn listed() -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    let quoted = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    let mut found = BTreeSet::new();
    for bin in manifest.split("[[bin]]").skip(1) {
        let value = |key: &str| quoted(bin.lines().find(|line| line.starts_with(key)).unwrap_or_default());
        let name = value("name");
        assert_eq!(value("path"), format!("fuzz_targets/{name}.rs"), "the path of {name} in fuzz/Cargo.toml");
        found.insert(name);
    }
    found
}

#[test]
fn every_fuzz_target_is_listed_and_every_listed_one_exists() {
    assert_eq!(targets(), listed(), "fuzz/fuzz_targets/*.rs and the [[bin]] entries of fuzz/Cargo.toml");
}

#[test]
fn every_parser_crate_has_a_fuzz_target() {
    let targets = targets();
    let has = |name: &str| targets.iter().any(|target| target.starts_with(&format!("{name}_")));
    let missing: Vec<String> =
        PARSERS.iter().filter(|name| !has(name)).map(|name| (*name).to_owned()).collect();
    assert_none("these crates parse bytes from strangers and have no fuzz target:", &missing);
}

#[test]
fn every_fuzz_target_has_seeds() {
    let seeded = |name: &String| {
        fs::read_dir(root().join("fuzz/seeds").join(name)).is_ok_and(|mut seeds| seeds.next().is_some())
    };
    let missing: Vec<String> = targets().into_iter().filter(|name| !seeded(name)).collect();
    assert_none("these targets have no seed in fuzz/seeds/<target>/:", &missing);
}
