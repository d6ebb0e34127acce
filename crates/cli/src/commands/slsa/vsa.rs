//! `verify-vsa`: slsa-verifier's command over summaries of verification; beyond it, summaries signed by an identity.

use std::path::PathBuf;

use clap::Args;
use countersign_attestation::predicate::levels::Word;
use countersign_client::provenance;
use countersign_client::verify::{Who, material};
use countersign_clock::{Clock as _, SystemClock};
use countersign_http::text::printable;
use countersign_keys::{KeyRef, load_public_key};
use countersign_slsa::summary::{Expected, Signers, Summary, digest, verify_summary};
use countersign_slsa::wire::Piece;

use super::prepare::{RevokedArgs, trust};
use super::show::checklist;
use super::verifier::print_payload;
use crate::args::identity::IdentityArgs;
use crate::args::services::TrustArgs;
use crate::checklist::Checklist;
use crate::failure::{Failure, Outcome, USAGE};
use crate::out::{Terminal, say};

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign slsa verify-vsa --subject-digest sha256:9f86… --attestation-path app.vsa.json \\
    --verifier-id https://verify.example --resource-uri pkg:generic/app@1.2.3 \\
    --verified-level SLSA_BUILD_LEVEL_3 --public-key-path verifier.pub
  countersign slsa verify-vsa --subject-digest sha256:9f86… --attestation-path app.vsa.json \\
    --verifier-id https://verify.example --resource-uri pkg:generic/app@1.2.3 \\
    --identity https://ci.example/verify --issuer https://idp.example")]
pub(crate) struct VerifyVsa {
    /// A digest of the artifact; of several, one subject has all
    #[arg(long, required = true, value_name = "NAME:VALUE")]
    subject_digest: Vec<String>,
    /// The file with the summary
    #[arg(long, value_name = "FILE")]
    attestation_path: PathBuf,
    /// Who verified
    #[arg(long, value_name = "URI")]
    verifier_id: String,
    /// What was verified
    #[arg(long, value_name = "URI")]
    resource_uri: String,
    /// A level or property that it has at least: SLSA_BUILD_LEVEL_3, SLSA_BUILD_REPRODUCED, or one of the verifier's own
    #[arg(long, value_name = "LEVEL")]
    verified_level: Vec<String>,
    /// The verifier's public key
    #[arg(long, value_name = "FILE")]
    public_key_path: Option<PathBuf>,
    /// What the signature calls its key; one that calls it otherwise is refused
    #[arg(long, value_name = "ID", requires = "public_key_path")]
    public_key_id: Option<String>,
    /// Accept a summary signed by an identity that stands in no transparency log; one by a key needs none
    #[arg(long)]
    allow_unlogged: bool,
    /// Print the summary that is verified on standard output
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    print_attestation: bool,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    revoked: RevokedArgs,
}

impl VerifyVsa {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let signers = self.signers()?;
        let by_key = matches!(signers, Signers::Keys(_));
        let trust = trust(terminal, &self.trust, &self.revoked, by_key)?;
        let wrong = |flag: &str| {
            let flag = flag.to_owned();
            move |e: String| Failure::usage(format!("{flag}: {e}"))
        };
        let digests = self.subject_digest.iter().map(|text| digest(text)).collect::<Result<_, _>>();
        let levels = self.verified_level.iter().map(|text| Word::parse(text)).collect::<Result<_, _>>();
        let expected = Expected {
            digests: digests.map_err(wrong("--subject-digest"))?,
            verifier: self.verifier_id.clone(),
            resource: self.resource_uri.clone(),
            levels: levels.map_err(wrong("--verified-level"))?,
            // As slsa-verifier has it: whoever trusts a key asks for no log.
            allow_unlogged: by_key || self.allow_unlogged,
            without_sct: self.allow_unlogged && trust.root.ctlogs.is_empty(),
        };
        let pieces = self.called(provenance::read(std::slice::from_ref(&self.attestation_path))?)?;
        let material = material(&trust)?;
        let report = verify_summary(&pieces, &signers, &expected, &material, SystemClock.now())
            .map_err(|e| Failure::from(countersign_client::ClientError::from(e)))?;
        let title = self.attestation_path.display().to_string();
        if terminal.verbose || report.verified().is_err() {
            terminal.talk(checklist(terminal, &title, &report, false, facts).trim_end());
        }
        match report.verified() {
            Ok(summary) => {
                if self.print_attestation {
                    print_payload(terminal, summary.payload())?;
                }
                say("Verifying VSA: PASSED\n");
                Ok(0)
            }
            Err(refusal) => {
                say(&format!("Verifying VSA: FAILED: {}\n", printable(&refusal.to_string())));
                Err(Failure::new(USAGE, refusal.to_string()))
            }
        }
    }

    fn signers(&self) -> Result<Signers, Failure> {
        let Some(path) = &self.public_key_path else {
            return Ok(match self.identity.who(false)? {
                Who::Keys(keys) => Signers::Keys(keys),
                Who::Identities(identities) => Signers::Identities(identities),
            });
        };
        if self.identity.is_given() {
            return Err(Failure::usage(
                "both --public-key-path and others are named who may have signed; one would not be checked",
            ));
        }
        Ok(Signers::Keys(vec![load_public_key(&KeyRef::File(path.clone()))?]))
    }

    /// Those whose signature calls its key as it is asked for, which proves nothing; all, where nothing is asked for.
    fn called(&self, pieces: Vec<Piece>) -> Result<Vec<Piece>, Failure> {
        let Some(wanted) = &self.public_key_id else { return Ok(pieces) };
        let name = |piece: &Piece| {
            let envelope = piece.bundle.as_ref().ok()?.content.envelope()?;
            envelope.signatures.first().map(|signature| signature.keyid.clone())
        };
        let found: Vec<String> = pieces.iter().filter_map(name).collect();
        let called: Vec<Piece> =
            pieces.into_iter().filter(|piece| name(piece).as_ref() == Some(wanted)).collect();
        if !called.is_empty() {
            return Ok(called);
        }
        let found = if found.is_empty() { "none".to_owned() } else { printable(&found.join(", ")) };
        Err(Failure::new(
            USAGE,
            format!("--public-key-id: expected a signature by \"{wanted}\", found {found}"),
        ))
    }
}

/// What is known of a summary.
fn facts(summary: &Summary, list: &mut Checklist<'_>) -> String {
    if let Some(time) = summary.vsa.time_verified {
        list.fact("verified", &format!("{time}, it says"));
    }
    list.fact("policy", &summary.vsa.policy.uri);
    let levels: Vec<String> = summary.vsa.verified_levels.iter().map(ToString::to_string).collect();
    format!("VERIFIED: {}", levels.join(", "))
}
