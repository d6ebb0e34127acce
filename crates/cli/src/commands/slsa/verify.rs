//! `countersign slsa verify`: files and images by the provenance beside them, a checklist for each, the level in its last
//! line.

use clap::Args;
use serde_json::json;

use super::expect::ExpectArgs;
use super::prepare::{Prepared, RevokedArgs};
use super::show::{build_facts, build_json, checklist};
use crate::args::OutputArgs;
use crate::args::registry::RegistryArgs;
use crate::args::services::TrustArgs;
use crate::failure::Outcome;
use crate::out::Terminal;

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign slsa verify app.tar --source github.com/acme/shop --tag v1.2.3
  countersign slsa verify app.tar --source github.com/acme/shop --level 3
  countersign slsa verify registry.example/shop:v1 --source github.com/acme/shop --branch main
  countersign slsa verify app.tar --roots roots.yaml --builder https://builds.example/hermetic
  countersign slsa verify shop-1.0.tar.gz --level 0 --source github.com/acme/shop
  countersign slsa verify image.json --provenance gcloud.json --roots google.yaml",
    after_help = "The level is what the roots say of signer and builder together; that provenance is there says nothing. Of several \
statements one that holds is enough, and the highest level decides. Nobody is asked but the registry of an image, and the instance \
for its revocation list (--offline: not even that). The form of roots, and the builders that are known without any: docs/slsa.md."
)]
pub(crate) struct Verify {
    /// Files, images, or a digest such as sha256:9f86…; file: and oci: in front force which it is
    #[arg(required = true, value_name = "FILE|IMAGE|DIGEST")]
    artifacts: Vec<String>,
    /// Say what each check expected, with those of the signature
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    expect: ExpectArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    revoked: RevokedArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Verify {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.registry.check()?;
        let expectations = self.expect.expectations()?;
        let roots = self.expect.roots.as_deref();
        let prepared = Prepared::new(terminal, &self.trust, &self.revoked, roots, expectations)?;
        let mut code = 0;
        let mut documents = Vec::new();
        for text in &self.artifacts {
            let judged = prepared.named(terminal, text, &self.expect.provenance, &self.registry)?;
            if code == 0 {
                code = judged.report.exit_code();
            }
            if self.output.is_json() {
                documents.push(super::show::json(&judged.title, &judged.report, build_json));
            } else {
                terminal.data(&checklist(
                    terminal,
                    &judged.title,
                    &judged.report,
                    self.explain,
                    build_facts,
                ))?;
            }
        }
        if self.output.is_json() {
            terminal.json("slsa-verify", 1, &json!({ "verified": code == 0, "reports": documents }))?;
        }
        Ok(code)
    }
}
