//! `countersign notary verify`: a checklist for an image or a file, the verdict in the last line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use countersign_client::ClientError;
use countersign_client::notary::{
    Asked, NotaryTrust, find_signature, read_revocation_lists, verify_blob, verify_image,
};
use countersign_clock::{Clock as _, SystemClock};
use countersign_notary::policy::Statement;
use countersign_notary::{CheckName, Refusal, Report, TrustStore};
use countersign_registry::{Name, Reference, Store};
use countersign_verify::revocation::Revocations;
use countersign_x509::crl::RevocationList;
use serde_json::{Value, json};

use super::view::{checklist, report_json};
use super::{image_in, metadata};
use crate::args::registry::{Named, RegistryArgs};
use crate::args::revocation::RevocationArgs;
use crate::args::services::TrustArgs;
use crate::args::{OutputArgs, number};
use crate::checklist::others;
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, block_on};

/// Verify the Notary Project's signatures of an image or a file, by a trust policy
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign notary verify registry.example/app@sha256:9f86…     by notation's own configuration
  countersign notary verify --trust-policy policy.json --trust-store store registry.example/app:v1
  countersign notary verify --crl issuing-ca.crl registry.example.com/app:v1
  countersign notary verify --signature app.tar.jws.sig --trust-policy blob-policy.json app.tar",
    after_help = "Nothing is fetched but image and signatures: revocation is answered by the lists given with --crl, \
and by those of Countersign: with --revocations, and those of an instance named with --instance."
)]
pub(crate) struct Verify {
    /// The image, or the file
    #[arg(value_name = "IMAGE|FILE")]
    artifact: String,
    /// The trust policy, instead of notation's own
    #[arg(long, value_name = "FILE")]
    trust_policy: Option<PathBuf>,
    /// The folder that holds x509/{ca,signingAuthority,tsa}/NAME, instead of notation's own
    #[arg(long, value_name = "DIRECTORY")]
    trust_store: Option<PathBuf>,
    /// Of a policy for files, the statement of this name; else the global one
    #[arg(long, value_name = "NAME")]
    policy_name: Option<String>,
    /// Revocation lists of the authorities, PEM or DER
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    /// Require this metadata in the signature
    #[arg(short = 'm', long, value_name = "NAME=VALUE")]
    user_metadata: Vec<String>,
    /// Refuse what the policy only logs: an old signature under a moved tag, say
    #[arg(long)]
    enforce_logged: bool,
    /// How many signatures are looked at, at most; more of them is an error
    #[arg(long, value_name = "NUMBER", value_parser = number::<usize>, default_value_t = 100)]
    max_signatures: usize,
    /// The signature of a file, instead of FILE.jws.sig or FILE.cose.sig
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Require that the file was signed as one of this media type
    #[arg(long, value_name = "TYPE")]
    media_type: Option<String>,
    /// The image lies in an OCI layout on disk; it is verified by the policy of the repository in --scope
    #[arg(long, requires = "scope")]
    local_image: bool,
    /// The repository whose policy counts for an image on disk, such as registry.example.com/app
    #[arg(long, value_name = "REPOSITORY", requires = "local_image")]
    scope: Option<String>,
    /// Show what each check expects
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    revocation: RevocationArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

/// What came of the artifact: its name, the report that decides, and the others in short.
struct Answer {
    title: String,
    report: Report,
    others: Vec<Value>,
}

impl Verify {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        if !self.trust.names_none() {
            self.trust.refresh_revocations(terminal)?;
        }
        let answer = match (&self.scope, Named::read(&self.artifact)) {
            (Some(scope), _) => self.layout(terminal, scope)?,
            (None, Ok(Named::Image(reference))) => self.image(terminal, &reference)?,
            (None, Ok(Named::File(file))) => self.file(Path::new(&file))?,
            (None, Err(failure)) => return Err(failure),
        };
        if self.output.is_json() {
            let mut document = report_json(&answer.title, &answer.report);
            if let Some(document) = document.as_object_mut() {
                document.insert("signatures".into(), answer.others.into());
            }
            terminal.json("notary.verify", 1, &document)?;
        } else {
            terminal.data(&checklist(terminal, &answer.title, &answer.report, self.explain))?;
            let more = others(answer.others.len().saturating_sub(1), "signature");
            if let Some(line) = more.filter(|_| answer.report.rejection().is_some()) {
                terminal.talk(&line);
            }
        }
        Ok(answer.report.exit_code())
    }

    fn trust(&self) -> NotaryTrust {
        NotaryTrust { policy: self.trust_policy.clone(), store: self.trust_store.clone() }
    }

    /// The lists that are named, and those of an instance that is named.
    fn revoked(&self) -> Result<Vec<Arc<Revocations>>, Failure> {
        let mut lists = self.revocation.load(&self.trust)?;
        if !self.trust.names_none() {
            lists.extend(self.trust.load(None)?.revocations);
        }
        Ok(lists)
    }

    /// Gathers what signatures are judged by, and judges.
    fn judged<T>(
        &self,
        statement: &Statement,
        judge: impl FnOnce(&Asked<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let store: TrustStore = self.trust().stores_of(statement)?;
        let revocation: Vec<RevocationList> = read_revocation_lists(&self.crl)?;
        let metadata: BTreeMap<String, String> = metadata(&self.user_metadata)?;
        judge(&Asked {
            statement,
            store: &store,
            revocation: &revocation,
            revoked: &self.revoked()?,
            metadata: &metadata,
            enforce_logged: self.enforce_logged,
            max_signatures: self.max_signatures,
            now: SystemClock.now(),
        })
    }

    fn image(&self, terminal: &Terminal, reference: &Reference) -> Result<Answer, Failure> {
        self.refuse_for_images()?;
        let images = self.registry.images([reference])?;
        let (home, evidence) = (images.home(reference), images.evidence(reference));
        let repository = reference.repository().to_string();
        self.in_stores(terminal, (&home, &evidence), &reference.name(), &repository, |digest| {
            format!("{repository}@{digest}")
        })
    }

    fn layout(&self, terminal: &Terminal, scope: &str) -> Result<Answer, Failure> {
        self.refuse_for_images()?;
        let (layout, name) = block_on(terminal, image_in(&self.artifact))?;
        let place = layout.place();
        self.in_stores(terminal, (&layout, &layout), &name, scope, |digest| format!("{place}@{digest}"))
    }

    fn refuse_for_images(&self) -> Result<(), Failure> {
        let given = [
            (self.signature.is_some(), "--signature"),
            (self.media_type.is_some(), "--media-type"),
            (self.policy_name.is_some(), "--policy-name"),
        ];
        match given.iter().find(|(given, _)| *given) {
            None => Ok(()),
            Some((_, name)) => Err(Failure::usage(format!("{name} is for files, and this is an image"))
                .next(format!("write file:{0} if it is a file", self.artifact))),
        }
    }

    fn in_stores(
        &self,
        terminal: &Terminal,
        (home, evidence): (&dyn Store, &dyn Store),
        name: &Name,
        repository: &str,
        title: impl FnOnce(&str) -> String,
    ) -> Result<Answer, Failure> {
        let policy = self.trust().oci_policy()?;
        let statement = match policy.statement_for(repository) {
            Ok(statement) => statement,
            Err(refusal) => return Ok(no_policy(&self.artifact, &refusal)),
        };
        let found = self.judged(statement, |asked| {
            block_on(terminal, async { Ok(verify_image(home, evidence, name, asked).await?) })
        })?;
        let others = found.pieces.iter().map(|piece| {
            let reason = piece.report.rejection().map(|rejection| rejection.reason.code());
            json!({ "digest": piece.manifest.to_string(), "verified": piece.report.verified().is_some(), "reason": reason })
        });
        Ok(Answer {
            title: title(&found.image.digest.to_string()),
            report: found.report(),
            others: others.collect(),
        })
    }

    fn file(&self, file: &Path) -> Result<Answer, Failure> {
        let policy = self.trust().blob_policy()?;
        let title = file.display().to_string();
        let statement = match policy.statement_for(self.policy_name.as_deref()) {
            Ok(statement) => statement,
            Err(refusal) => return Ok(no_policy(&title, &refusal)),
        };
        let report = self.judged(statement, |asked| {
            // An artifact that is not there is a mistake in the command, not a missing signature.
            std::fs::File::open(file).map_err(ClientError::file("open", file))?;
            let signature = match &self.signature {
                Some(path) => path.clone(),
                None => match find_signature(file) {
                    Ok(path) => path,
                    Err(ClientError::NoSignature(_)) => return Ok(Report::no_signature()),
                    Err(error) => return Err(error.into()),
                },
            };
            Ok(verify_blob(file, &signature, self.media_type.as_deref(), asked)?)
        })?;
        Ok(Answer { title, report, others: Vec::new() })
    }
}

fn no_policy(title: &str, refusal: &Refusal) -> Answer {
    let report = Report::of_refusal(CheckName::Policy, refusal);
    Answer { title: title.to_owned(), report, others: Vec::new() }
}
