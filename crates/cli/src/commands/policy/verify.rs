//! `countersign policy verify`, which people write as `verify --policy`: images, files and directories by policies in files,
//! decided as the webhook decides it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use countersign_attestation::predicate::vsa::Verdict;
use countersign_client::policy::{NoCluster, Source, SourceOptions, decide};
use countersign_client::trust::Trust;
use countersign_clock::{Clock as _, SystemClock};
use countersign_http::text::printable;
use countersign_policy::cluster_image::TrustRootObject;
use countersign_policy::{Decision, RuleResult, Status, TrustRoot};
use countersign_registry::Reference;
use countersign_trust::instances::Instances;
use serde_json::{Value, json};

use super::artifacts::{Subject, evidence};
use super::loaded;
use super::record::RecordArgs;
use crate::args::OutputArgs;
use crate::args::registry::RegistryArgs;
use crate::args::revocation::RevocationArgs;
use crate::args::services::TrustArgs;
use crate::commands::sign::SigningArgs;
use crate::failure::{Failure, NETWORK, NO_SIGNATURE, Outcome, REJECTED, TRUST};
use crate::out::{Terminal, block_on};

/// How long one image may take unless told otherwise.
pub(super) const BUDGET: Duration = Duration::from_secs(60);

/// Verify images, files and directories by policies, as the cluster would
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign verify --policy policy.yaml registry.example/app:v1
  countersign verify --policy policies/ --namespace prod registry.example/app:v1
  countersign verify --policy policy.yaml --bundle statements/ app-1.0.whl
  countersign verify --policy policy.yaml --record record.jsonl --key robot.key app.tar.gz dist/",
    after_help = "Prints each image that is admitted by its digest, as it was verified, and each file by its name. What no policy is about \
is not admitted: nothing was verified."
)]
pub(super) struct Verify {
    /// A file or directory with policies, exceptions and trust roots; several count together
    #[arg(long = "policy", required = true, value_name = "FILE|DIR")]
    policies: Vec<PathBuf>,
    /// Images, files, directories; file: and oci: in front force which it is
    #[arg(required = true, value_name = "IMAGE|FILE|DIR")]
    artifacts: Vec<String>,
    /// What was signed about the files: a bundle, a file with one in each line, or a directory of these; else what lies beside each
    /// file as FILE.sigstore.json or FILE.sigstore.jsonl
    #[arg(long = "bundle", value_name = "FILE|DIR")]
    bundles: Vec<PathBuf>,
    /// The namespace in which the images would run
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
    #[command(flatten)]
    record: RecordArgs,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    revocation: RevocationArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Verify {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        without_repository(&self.registry)?;
        self.signing.refused.check()?;
        if self.signing.key.is_some() && !self.record.wanted() {
            return Err(Failure::usage(
                "--key signs the record: give --record too; keys that verify stand in the policy",
            ));
        }
        let subjects =
            self.artifacts.iter().map(|text| Subject::read(text)).collect::<Result<Vec<_>, _>>()?;
        if !self.bundles.is_empty() && subjects.iter().all(|subject| subject.registry().is_some()) {
            return Err(Failure::usage(
                "--bundle goes with files; what is signed about an image is in its registry",
            ));
        }
        let mut loaded = loaded(&self.policies)?;
        let trust = &self.signing.trust;
        trust.refresh_revocations(terminal)?;
        let roots = Roots::of(trust)?.named();
        let objects = std::mem::take(&mut loaded.trust_roots);
        // There is no cluster whose namespaces would limit exceptions: whoever names the file decides.
        let anywhere =
            countersign_policy::Glob::wildcard("*").map_err(|e| Failure::internal(e.to_string()))?;
        let policies = loaded.into_policy_set(&[anywhere]);
        let source = Source::new(SourceOptions {
            registry: self.registry.options(subjects.iter().filter_map(Subject::registry))?,
            cluster: Arc::new(NoCluster),
            trust: roots,
        });
        for subject in &subjects {
            if let Subject::File { path, artifact } = subject {
                source.set_file(artifact.digest, evidence(path, &self.bundles)?);
            }
        }
        source.set_revocations(Ok(self.revocation.load(trust)?));
        let decisions = block_on(terminal, async {
            let mut all = Vec::new();
            fetch_trust_roots(terminal, &source, objects).await;
            for subject in &subjects {
                let request = subject.request(&self.namespace);
                all.push(decide(&policies, &request, &source, &SystemClock, BUDGET).await);
            }
            Ok(all)
        })?;
        let decided: Vec<_> = subjects
            .iter()
            .zip(&decisions)
            .map(|(subject, found)| (subject, found, verdict(found)))
            .collect();
        let code = self.show(terminal, &subjects, &decisions)?;
        self.record.write(terminal, &self.signing, &self.policies, &decided, SystemClock.now())?;
        Ok(code)
    }

    fn show(&self, terminal: &Terminal, subjects: &[Subject], decisions: &[Decision]) -> Outcome {
        let mut code = 0;
        let mut documents = Vec::new();
        for (subject, decision) in subjects.iter().zip(decisions) {
            let found = exit_code(decision);
            let admitted = admitted(subject, decision);
            if self.output.is_json() {
                documents.push(document(subject, decision, found == 0));
            } else {
                list(terminal, subject, decision);
                if let Some(admitted) = admitted.filter(|_| found == 0) {
                    terminal.line(&admitted)?;
                }
            }
            if code == 0 {
                code = found;
            }
        }
        if self.output.is_json() {
            terminal.json("policy-verify", 1, &json!({"admitted": code == 0, "images": documents}))?;
        }
        Ok(code)
    }
}

/// The trust roots of this machine: the one that is meant, and all instances by their names.
pub(in crate::commands) struct Roots(BTreeMap<Option<String>, Arc<TrustRoot>>);

impl Roots {
    pub(in crate::commands) fn of(meant: &TrustArgs) -> Result<Self, Failure> {
        let mut roots = BTreeMap::new();
        match meant.load(None) {
            Ok(trust) => drop(roots.insert(None, trust_root(trust)?)),
            // A policy may bring all its trust along; one that does not says that there is none.
            Err(failure) if failure.code == TRUST && meant.names_none() => {}
            Err(failure) => return Err(failure),
        }
        let instances = Instances::for_user().and_then(|instances| instances.list());
        for instance in instances.unwrap_or_default() {
            let named =
                TrustArgs { instance: Some(instance.name.clone()), trusted_root: None, trust_config: None };
            roots.insert(Some(instance.name), trust_root(named.load(None)?)?);
        }
        Ok(Self(roots))
    }

    /// By their names.
    pub(in crate::commands) fn named(&self) -> BTreeMap<Option<String>, Arc<TrustRoot>> {
        self.0.clone()
    }
}

/// Trust roots for who follows by himself what is revoked: the lists of a moment ago would go on holding for ever.
pub(in crate::commands) fn without_revocations(
    mut roots: BTreeMap<Option<String>, Arc<TrustRoot>>,
) -> BTreeMap<Option<String>, Arc<TrustRoot>> {
    for root in roots.values_mut() {
        *root = Arc::new(TrustRoot::clone(root).revoking(Vec::new()));
    }
    roots
}

/// Takes the trust roots of files, and fetches those that are elsewhere. What cannot be had is told; policies that name it
/// could not be checked.
pub(in crate::commands) async fn fetch_trust_roots(
    terminal: &Terminal,
    source: &Source,
    objects: Vec<TrustRootObject>,
) {
    source.set_trust_objects(objects);
    tell_trust_troubles(terminal, source).await;
}

/// Fetches the trust roots that are elsewhere, and tells which of all cannot be used.
pub(in crate::commands) async fn tell_trust_troubles(terminal: &Terminal, source: &Source) {
    for trouble in source.fetch_trust_roots(SystemClock.now()).await {
        terminal.talk(&printable(&trouble.text));
    }
}

/// A trust root with what was revoked under it.
pub(in crate::commands) fn trust_root(trust: Trust) -> Result<Arc<TrustRoot>, Failure> {
    let root = TrustRoot::new(trust.root).map_err(|error| Failure::new(TRUST, error.to_string()))?;
    Ok(Arc::new(root.revoking(trust.revocations)))
}

/// Refuses to be told where evidence is.
pub(in crate::commands) fn without_repository(registry: &RegistryArgs) -> Result<(), Failure> {
    match registry.evidence() {
        None => Ok(()),
        Some(_) => Err(Failure::usage(
            "where the evidence of images is kept is said by the policy: leave --repository and COSIGN_REPOSITORY out",
        )),
    }
}

/// 0 when the image is admitted because something was verified.
fn exit_code(decision: &Decision) -> u8 {
    let denied = |status: Status| {
        decision.results.iter().filter(move |result| result.denies() && result.status == status)
    };
    if denied(Status::Fail).next().is_some() {
        let unsigned = denied(Status::Fail).all(|result| result.reason == "no_signature");
        return if unsigned { NO_SIGNATURE } else { REJECTED };
    }
    if denied(Status::Error).next().is_some() {
        return NETWORK;
    }
    let said =
        decision.results.iter().any(|result| result.status != Status::Skip || result.reason == "exception");
    if said { 0 } else { REJECTED }
}

/// How it came out, whatever becomes of it: each rule held, and at least one did. What a policy only tells of, and what an
/// exception lets in, did not hold. `None` for what could not be checked.
fn verdict(decision: &Decision) -> Option<Verdict> {
    let status = |result: &RuleResult| match result.properties.get("without_exception") {
        Some(code) if code == Status::Error.code() => Status::Error,
        _ if result.reason == "exception" => Status::Fail,
        _ => result.status,
    };
    let any = |wanted: Status| decision.results.iter().any(|result| status(result) == wanted);
    if any(Status::Fail) {
        Some(Verdict::Failed)
    } else if any(Status::Error) {
        None
    } else if any(Status::Pass) {
        Some(Verdict::Passed)
    } else {
        Some(Verdict::Failed)
    }
}

/// What is let in: the image by the digest that was judged, the file by its name.
fn admitted(subject: &Subject, decision: &Decision) -> Option<String> {
    match subject {
        Subject::Image(image) => pinned(image, decision),
        Subject::File { .. } => Some(subject.name()),
    }
}

/// The image by the digest that was judged.
fn pinned(image: &Reference, decision: &Decision) -> Option<String> {
    let digest =
        decision.results.iter().find_map(|result| result.digest).or_else(|| image.digest().copied())?;
    Some(image.at(digest).to_string())
}

fn list(terminal: &Terminal, subject: &Subject, decision: &Decision) {
    terminal.talk(&terminal.strong(&printable(&subject.name())));
    for result in &decision.results {
        let mark = match result.status {
            Status::Pass => terminal.yes(),
            Status::Skip => terminal.none(),
            Status::Fail | Status::Error => terminal.no(),
        };
        let line = format!("{mark} {}: {}", title(result), printable(&result.message));
        // A refusal is told even where all else is quiet.
        let tell = |line: &str| if result.denies() { crate::out::say(line) } else { terminal.talk(line) };
        tell(&line);
        for deciding in &result.decided_by {
            tell(&format!("    by {}", printable(&deciding.to_string())));
        }
    }
    if decision.results.iter().all(|result| result.status == Status::Skip && result.reason != "exception") {
        crate::out::say(&format!(
            "{} no policy is about {}, so nothing was verified",
            terminal.no(),
            match subject {
                Subject::Image(_) => "this image in this namespace",
                Subject::File { .. } => "a file of this name",
            }
        ));
    }
}

fn title(result: &RuleResult) -> String {
    let does = match result.status {
        Status::Fail | Status::Error if !result.denies() => " (told, and let in)",
        _ => "",
    };
    match result.rule.as_str() {
        "" => format!("{}{does}", result.policy),
        rule => format!("{}, {}{does}", result.policy, printable(rule)),
    }
}

fn document(subject: &Subject, decision: &Decision, admitted: bool) -> Value {
    let results: Vec<Value> = decision
        .results
        .iter()
        .map(|result| {
            json!({
                "policy": result.policy.to_string(),
                "rule": result.rule,
                "status": result.status.code(),
                "reason": result.reason,
                "message": result.message,
                "denies": result.denies(),
                "digest": result.digest.map(|digest| digest.to_string()),
                "decidedBy": result.decided_by.iter().map(|deciding| json!({
                    "statement": deciding.statement.to_string(),
                    "signer": deciding.signer,
                    "signedAt": deciding.at.map(|at| at.to_string()),
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    match subject {
        Subject::Image(image) => {
            json!({"image": image.to_string(), "admitted": admitted, "pinned": pinned(image, decision), "results": results})
        }
        Subject::File { artifact, .. } => json!({"file": subject.name(), "admitted": admitted,
            "digest": artifact.digest.to_string(), "results": results}),
    }
}
