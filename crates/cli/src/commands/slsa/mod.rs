//! `countersign slsa`: provenance verified against what is expected of a build, under our own verb and under those of
//! slsa-verifier; summaries of verification, read and written; assessments.

mod assess;
mod expect;
mod prepare;
mod show;
mod summarize;
mod verifier;
mod verify;
mod vsa;

use clap::{Args, Subcommand};

use crate::failure::Outcome;
use crate::out::Terminal;

#[derive(Debug, Args)]
pub(crate) struct SlsaCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Verify the provenance of files and images: who built them, from what, at which level
    Verify(Box<verify::Verify>),
    /// Sign a summary of a verification (VSA), so that others need not verify again
    Summarize(Box<summarize::Summarize>),
    /// Verify the provenance of files, with slsa-verifier's flags
    VerifyArtifact(Box<verifier::VerifyArtifact>),
    /// Verify the provenance of an image, with slsa-verifier's flags
    VerifyImage(Box<verifier::VerifyImage>),
    /// Verify provenance and publish attestation of a package of npm, with slsa-verifier's flags
    VerifyNpmPackage(Box<verifier::VerifyNpmPackage>),
    /// Verify an attestation of GitHub, with slsa-verifier's flags
    VerifyGithubAttestation(Box<verifier::VerifyGithubAttestation>),
    /// Verify a summary of a verification (VSA), with slsa-verifier's flags
    VerifyVsa(Box<vsa::VerifyVsa>),
    Assess(Box<assess::Assess>),
}

impl SlsaCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.action {
            Action::Verify(command) => command.run(terminal),
            Action::Summarize(command) => command.run(terminal),
            Action::VerifyArtifact(command) => verifier::passed(command.run(terminal)),
            Action::VerifyImage(command) => verifier::passed(command.run(terminal)),
            Action::VerifyNpmPackage(command) => verifier::passed(command.run(terminal)),
            Action::VerifyGithubAttestation(command) => verifier::passed(command.run(terminal)),
            Action::VerifyVsa(command) => verifier::passed(command.run(terminal)),
            Action::Assess(command) => command.run(terminal),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    /// slsa-verifier's flags by command, as its version 2.7 has them.
    #[test]
    fn every_flag_of_slsa_verifier_is_known() {
        const SOURCE: &str = "build-workflow-input builder-id source-uri source-branch source-tag source-versioned-tag \
                              print-provenance";
        let all = [
            ("verify-artifact", &[SOURCE, "provenance-path"][..]),
            ("verify-image", &[SOURCE, "provenance-path provenance-repository"]),
            ("verify-npm-package", &[SOURCE, "attestations-path package-name package-version"]),
            ("verify-github-attestation", &["builder-id source-uri attestation-path print-attestation"]),
            (
                "verify-vsa",
                &[
                    "subject-digest attestation-path verifier-id resource-uri verified-level print-attestation \
                   public-key-path public-key-id",
                ],
            ),
        ];
        let mut program = crate::cli::Cli::command();
        program.build();
        let slsa = program.find_subcommand("slsa").unwrap();
        for (name, flags) in all {
            let command = slsa.find_subcommand(name).unwrap();
            let known: Vec<&str> =
                command.get_arguments().filter_map(|argument| argument.get_long()).collect();
            for flag in flags.iter().flat_map(|list| list.split_whitespace()) {
                assert!(known.contains(&flag), "{name} does not know --{flag}");
            }
        }
    }
}
