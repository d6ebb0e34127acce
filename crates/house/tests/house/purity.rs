//! The pure crates: no files, no sockets, no threads, no clock, no async runtime.
//!
//! They run in a webhook, in a fuzzer and compiled to WebAssembly, and a verdict must depend on nothing but its
//! arguments. CI compiles them for WebAssembly too; this test also holds where that target is not installed, and
//! it catches what compiles there but fails when it is called, such as reading the clock.

use crate::assert_none;
use crate::workspace::{Metadata, sources_of};

/// The pure crates, by their folder under `crates/`.
const PURE: &[&str] = &["crypto", "attestation", "bundle", "tlog", "x509", "notary", "verify", "slsa", "web"];

/// Libraries that do I/O, run tasks or keep a clock.
const FORBIDDEN_LIBRARIES: &[&str] = &[
    "async-std",
    "axum",
    "chrono",
    "hyper",
    "mio",
    "openssl",
    "rayon",
    "reqwest",
    "ring",
    "rsa",
    "rusqlite",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "ureq",
];

/// Names in the sources that reach outside.
const FORBIDDEN_NAMES: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::path",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "TimeZone::system",
    "print!(",
    "println!(",
    "eprintln!(",
    "async fn",
    "async move",
    ".await",
];

/// Modules that a grouped import from std may not name.
const FORBIDDEN_MODULES: &[&str] = &["env", "fs", "net", "os", "path", "process", "thread"];

#[test]
fn pure_crates_use_no_library_that_does_io() {
    let metadata = Metadata::load();
    let mut wrong = Vec::new();
    for name in PURE {
        let closure = metadata.closure(&format!("countersign-{name}"));
        for library in FORBIDDEN_LIBRARIES.iter().filter(|library| closure.contains(**library)) {
            wrong.push(format!("{name} uses {library}"));
        }
    }
    assert_none("pure crates may not use these:", &wrong);
}

#[test]
fn pure_crates_name_no_file_no_socket_no_thread_and_no_clock() {
    let mut wrong = Vec::new();
    for source in PURE.iter().flat_map(|name| sources_of(name)).filter(|source| !source.is_test()) {
        for (number, line) in source.product_lines() {
            if let Some(name) = reaches_outside(line) {
                wrong.push(format!("{}:{number}: {name}", source.path));
            }
        }
    }
    assert_none("pure crates may not name these outside their tests:", &wrong);
}

/// The forbidden name in a line of code, if there is one.
fn reaches_outside(line: &str) -> Option<&'static str> {
    if let Some(name) = FORBIDDEN_NAMES.iter().find(|name| line.contains(**name)) {
        return Some(name);
    }
    let group = line.trim_start().strip_prefix("use std::{")?;
    let mut words = group.split(|character: char| !character.is_alphanumeric() && character != '_');
    words.find_map(|word| FORBIDDEN_MODULES.iter().copied().find(|module| *module == word))
}

#[test]
fn the_search_finds_what_it_looks_for() {
    for line in [
        "    let now = Timestamp::now();",
        "use std::time::SystemTime;",
        "use std::{collections::BTreeMap, fs};",
        "    std::thread::spawn(work);",
    ] {
        assert!(reaches_outside(line).is_some(), "missed: {line}");
    }
    for line in ["use std::{collections::BTreeMap, fmt};", "let offset = 3;", "use std::sync::Arc;"] {
        assert_eq!(reaches_outside(line), None, "{line}");
    }
}
