//! Verifies a file against its bundle and prints the checklist.
//!
//! ```text
//! cargo run -p countersign-verify --example verify_bundle -- \
//!     FILE FILE.sigstore.json trusted_root.json IDENTITY ISSUER
//! ```
//!
//! The engine reads no file and no clock; this program does both for it.

use std::error::Error;
use std::process::ExitCode;
use std::{env, fs};

use countersign_bundle::{Bundle, TrustedRoot};
use countersign_verify::{Identity, Report, Requirements, Subject, TrustMaterial, verify};
use jiff::Timestamp;

fn run(arguments: &[String]) -> Result<Report, Box<dyn Error>> {
    let [artifact, bundle, root, identity, issuer] = arguments else {
        return Err("expected FILE BUNDLE TRUSTED_ROOT IDENTITY ISSUER".into());
    };
    // Once for a trust root, however many bundles follow.
    let material = TrustMaterial::from_trusted_root(&TrustedRoot::from_json(&fs::read(root)?)?)?;
    let requirements = Requirements::builder().identity(Identity::exact(identity, issuer)?).build();
    let artifact = fs::read(artifact)?;
    Ok(match Bundle::from_json(&fs::read(bundle)?) {
        Ok(bundle) => {
            verify(&Subject::from_bytes(&artifact), &bundle, &material, &requirements, Timestamp::now())
        }
        Err(error) => Report::malformed(&error),
    })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let report = match run(&arguments) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(1);
        }
    };
    for check in report.checks() {
        println!("{:14} {:18} {}: {}", check.outcome.code(), check.name.code(), check.source, check.found);
    }
    match report.verified() {
        Ok(verified) => println!("verified: {}", verified.signer().identity().unwrap_or("a key")),
        Err(rejection) => println!("refused [{}]: {rejection}", rejection.reason),
    }
    ExitCode::from(report.exit_code())
}
