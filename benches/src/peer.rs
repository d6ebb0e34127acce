//! A verifier on the `sigstore-verify` crate as small as one can be, to be measured as a process beside
//! `countersign verify-blob`: trusted root, bundle, identity, issuer, artifact.

use std::process::ExitCode;

use anyhow::{Result, bail};
use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::types::Bundle;
use sigstore_verify::{VerificationPolicy, verify};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, bundle, identity, issuer, artifact] = arguments.as_slice() else {
        bail!("expected TRUSTED_ROOT BUNDLE IDENTITY ISSUER ARTIFACT");
    };
    let root = TrustedRoot::from_json(&std::fs::read_to_string(root)?)?;
    let bundle = Bundle::from_json(&std::fs::read_to_string(bundle)?)?;
    let policy = VerificationPolicy::new(identity.as_str(), issuer.as_str());
    verify(std::fs::read(artifact)?.as_slice(), &bundle, &policy, &root)?;
    Ok(())
}
