//! Whole builds, from a git repository to a statement: what is in it, and what no build can put there. Its own `main`, because the sandbox starts
//! this program anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[cfg(target_os = "linux")]
#[path = "build/cases.rs"]
mod cases;
#[cfg(target_os = "linux")]
#[path = "support/namespaces.rs"]
mod namespaces;
#[cfg(target_os = "linux")]
#[path = "build/world.rs"]
mod world;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let first = std::env::args().nth(1).unwrap_or_default();
    if let Some(code) = countersign_builder::sandbox::hidden(&first) {
        return code;
    }
    if first == cases::KILLED {
        cases::build_until_killed();
    }
    if std::env::args().any(|argument| argument == "--list") || !namespaces::namespaces() {
        return ExitCode::SUCCESS;
    }
    let only = Some(first).filter(|first| !first.is_empty() && !first.starts_with('-'));
    let mut failed = 0;
    for (name, case) in cases::ALL {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let ended = std::panic::catch_unwind(case);
        println!("{} {name}", if ended.is_ok() { "ok  " } else { "FAIL" });
        failed += usize::from(ended.is_err());
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("skipped: builds need Linux");
    ExitCode::SUCCESS
}
