//! The public vectors of sigstore-conformance through the program: 42 acceptances and 98 refusals.
//!
//! That each refusal has the right reason is tested at the engine; here it is the command line's turn.
#![allow(clippy::unwrap_used, clippy::panic, reason = "code of tests")]

#[path = "../../verify/tests/support/vectors.rs"]
mod vectors;

use std::process::Command;

use countersign_crypto::HashAlgorithm;
use vectors::{Case, load};

/// The command the suite would give for a case.
fn command(case: &Case, by_digest: bool) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-conformance"));
    command.env_clear().arg("verify-bundle").arg("--bundle").arg(&case.bundle);
    match &case.key {
        Some(key) => command.arg("--key").arg(key),
        None => command
            .args(["--certificate-identity", &case.identity])
            .args(["--certificate-oidc-issuer", &case.issuer]),
    };
    command.arg("--trusted-root").arg(&case.trusted_root);
    if by_digest {
        command.arg(HashAlgorithm::Sha256.digest(&std::fs::read(&case.artifact).unwrap()).to_string());
    } else {
        command.arg(&case.artifact);
    }
    command
}

#[test]
fn forty_two_are_accepted_and_ninety_eight_refused_with_a_word_why() {
    let Some(cases) = load() else { return };
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for case in cases {
        for by_digest in [false, true] {
            let output = command(&case, by_digest).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let yes = output.status.success();
            // A crash is no refusal: each of those has an exit code of its own.
            let orderly = yes || output.status.code().is_some_and(|code| (1..=6).contains(&code));
            if yes != case.must_pass() || !orderly || (!yes && said.trim().is_empty()) {
                wrong.push(format!("{} by_digest={by_digest}: {} {said}", case.name, output.status));
            }
            if yes { accepted += 1 } else { refused += 1 }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((accepted, refused), (42, 98));
}
