//! The escape suite as a test: prints its table, and fails when an attempt gets out or proves nothing. Its own `main`, because the sandbox starts
//! this program anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[cfg(target_os = "linux")]
#[path = "support/namespaces.rs"]
mod namespaces;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use countersign_builder::escape::{Row, Verdict, suite};
    use countersign_builder::sandbox;

    if let Some(code) = std::env::args().nth(1).and_then(|first| sandbox::hidden(&first)) {
        return code;
    }
    // `cargo test -- --list` and the like are for the usual harness.
    if std::env::args().any(|argument| argument == "--list") || !namespaces::namespaces() {
        return ExitCode::SUCCESS;
    }
    let say = |verdict: &Verdict| match verdict {
        Verdict::Out(how) => format!("succeeds ({how})"),
        Verdict::Held(why) => format!("held: {why}"),
        Verdict::NotShown(why) => format!("not shown: {why}"),
    };
    let told = |row: &Row| {
        let mark = if row.holds() { "ok  " } else { "FAIL" };
        println!("{mark} {:26} outside: {:34} inside: {}", row.name, say(&row.outside), say(&row.inside));
    };
    let rows = suite(sandbox::own_user(), told).expect("the suite runs");
    let failed = rows.iter().filter(|row| !row.holds()).count();
    println!("{} attempts, {failed} failed", rows.len());
    if failed == 0 && !rows.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("skipped: builds need Linux");
    ExitCode::SUCCESS
}
