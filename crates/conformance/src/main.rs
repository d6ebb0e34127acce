//! Countersign behind the command line of sigstore-conformance, the public suite for Sigstore clients.
//!
//! Exit code 0 is yes, any other is no; what was expected and found stands on standard error. The words and their
//! order are the suite's, not ours: people want `countersign sign` and `countersign verify`.

mod sign;
mod trust;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use countersign_client::ClientError;

/// Countersign, speaking the client protocol of sigstore-conformance
#[derive(Debug, Parser)]
#[command(before_help = "Examples:
  countersign-conformance sign-bundle --identity-token JWT --bundle out.json --trusted-root root.json \\
    --signing-config config.json app.tar
  countersign-conformance verify-bundle --bundle out.json --certificate-identity alice@example.com \\
    --certificate-oidc-issuer https://idp.example.com --trusted-root root.json app.tar
  countersign-conformance verify-bundle --bundle out.json --key release.pub --trusted-root root.json sha256:9f86…")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    SignBundle(sign::SignBundle),
    VerifyBundle(verify::VerifyBundle),
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run() -> Result<u8, ClientError> {
    match Arguments::parse().command {
        Command::SignBundle(sign) => sign.run().map(|()| 0),
        Command::VerifyBundle(verify) => verify.run(),
    }
}
