//! `countersign slsa summarize`: verifies as `slsa verify` does, and signs a summary of it (VSA) for those who trust this
//! verifier.

use std::path::PathBuf;

use clap::Args;
use countersign_attestation::dsse::IN_TOTO_PAYLOAD_TYPE;
use countersign_attestation::statement::Subject;
use countersign_client::artifact::write_atomically;
use countersign_client::sign::Session;
use countersign_clock::{Clock as _, SystemClock};
use countersign_slsa::summary::{Author, write_summary};

use super::expect::ExpectArgs;
use super::prepare::{Prepared, RevokedArgs};
use super::show::{build_facts, checklist};
use crate::args::registry::RegistryArgs;
use crate::commands::sign::SigningArgs;
use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

/// What stands behind an artifact's name in the name of its summary.
const ENDING: &str = ".vsa.sigstore.json";

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign slsa summarize app.tar --source github.com/acme/shop --level 3 \\
    --verifier-id https://verify.example --resource-uri pkg:generic/app@1.2.3 \\
    --policy-uri https://verify.example/policy --key verifier.key
  countersign slsa summarize registry.example/shop:v1 --source github.com/acme/shop \\
    --verifier-id https://verify.example --resource-uri registry.example/shop \\
    --roots roots.yaml --summary shop.vsa.json",
    after_help = "Without --failed nothing is signed of an artifact that is refused. The summary is verified with: \
countersign slsa verify-vsa. Consumers take the verifier's id together with the key or identity that signs."
)]
pub(crate) struct Summarize {
    /// The file or image
    #[arg(value_name = "FILE|IMAGE")]
    artifact: String,
    /// The URI of this verifier
    #[arg(long, value_name = "URI")]
    verifier_id: String,
    /// What is verified, as consumers name it
    #[arg(long, value_name = "URI")]
    resource_uri: String,
    /// The policy it is verified by; else the file of --roots
    #[arg(long, value_name = "URI", required_unless_present = "roots")]
    policy_uri: Option<String>,
    /// Sign that it failed, too
    #[arg(long)]
    failed: bool,
    /// Where to write the summary, instead of FILE.vsa.sigstore.json
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    #[command(flatten)]
    expect: ExpectArgs,
    #[command(flatten)]
    revoked: RevokedArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

impl Summarize {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.signing.refused.check()?;
        self.registry.check()?;
        let expectations = self.expect.expectations()?;
        let roots = self.expect.roots.as_deref();
        let prepared = Prepared::new(terminal, &self.signing.trust, &self.revoked, roots, expectations)?;
        let judged = prepared.named(terminal, &self.artifact, &self.expect.provenance, &self.registry)?;
        let list = checklist(terminal, &judged.title, &judged.report, false, build_facts);
        terminal.talk(list.trim_end());
        let code = judged.report.exit_code();
        if code != 0 && !self.failed {
            return Ok(code);
        }
        let target = self.target(&judged.title)?;
        let policy = match (&self.policy_uri, roots) {
            (Some(uri), _) => uri.clone(),
            (None, Some(file)) => file.display().to_string(),
            (None, None) => return Err(Failure::usage("--policy-uri is missing")),
        };
        let author = Author {
            verifier: self.verifier_id.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            resource: self.resource_uri.clone(),
            policy: (policy, prepared.roots),
        };
        let build = judged.report.verified().ok();
        let subjects = vec![Subject::of(&judged.title, &judged.digest)];
        let wrong = |e: countersign_attestation::JsonError| Failure::usage(format!("the summary: {e}"));
        let statement = write_summary(subjects, build, &author, SystemClock.now()).map_err(wrong)?;
        let payload = statement.to_json().map_err(wrong)?;
        let signed = self.signing.with_session(terminal, async |session: &Session<'_>, _: &_| {
            Ok(session.sign_payload(IN_TOTO_PAYLOAD_TYPE, payload).await?)
        })?;
        write_atomically(&target, &signed.json)?;
        terminal.talk(&format!("{} summary signed: {}", terminal.yes(), target.display()));
        Ok(code)
    }

    fn target(&self, title: &str) -> Result<PathBuf, Failure> {
        match &self.summary {
            Some(path) => Ok(path.clone()),
            None if std::path::Path::new(title).is_file() => Ok(PathBuf::from(format!("{title}{ENDING}"))),
            None => Err(Failure::usage("the summary of an image needs a file: give --summary FILE")),
        }
    }
}
