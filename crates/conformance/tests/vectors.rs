//! The public vectors of sigstore-conformance through the program: 42 acceptances and 98 refusals.
//!
//! That each refusal has the right reason is tested at the engine; here it is the command line's turn.
#![allow(clippy::unwrap_used, clippy::panic, reason = "code of tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

fn data() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata/sigstore-conformance");
    path.is_dir().then_some(path)
}

fn text_or(path: &Path, otherwise: &str) -> String {
    std::fs::read_to_string(path).map_or_else(|_| otherwise.to_owned(), |t| t.trim().to_owned())
}

/// The command the suite would give for a folder.
fn command(data: &Path, folder: &Path, by_digest: bool) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-conformance"));
    command.env_clear().arg("verify-bundle").arg("--bundle").arg(folder.join("bundle.sigstore.json"));
    let key = folder.join("key.pub");
    if key.exists() {
        command.arg("--key").arg(key);
    } else {
        command.args(["--certificate-identity", &text_or(&folder.join("identity"), IDENTITY)]);
        command.args(["--certificate-oidc-issuer", &text_or(&folder.join("issuer"), ISSUER)]);
    }
    let own_root = folder.join("trusted_root.json");
    let root = if own_root.exists() { own_root } else { data.join("production_trusted_root.json") };
    command.arg("--trusted-root").arg(root);
    let own_artifact = folder.join("artifact");
    let artifact = if own_artifact.exists() { own_artifact } else { data.join("bundle-verify/a.txt") };
    if by_digest {
        let digest = countersign_crypto::HashAlgorithm::Sha256.digest(&std::fs::read(artifact).unwrap());
        command.arg(digest.to_string());
    } else {
        command.arg(artifact);
    }
    command
}

#[test]
fn forty_two_are_accepted_and_ninety_eight_refused_with_a_word_why() {
    let Some(data) = data() else {
        println!("skipped: ../shared/testdata/sigstore-conformance is not there");
        return;
    };
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for entry in std::fs::read_dir(data.join("bundle-verify")).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        for by_digest in [false, true] {
            let output = command(&data, &folder, by_digest).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let yes = output.status.success();
            if yes == name.ends_with("_fail") || (!yes && said.trim().is_empty()) {
                wrong.push(format!("{name} by_digest={by_digest}: {} {said}", output.status));
            }
            if yes { accepted += 1 } else { refused += 1 }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((accepted, refused), (42, 98));
}
