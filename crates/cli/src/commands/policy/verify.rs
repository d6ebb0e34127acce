//! `countersign policy verify`, which people write as `verify --policy`: images by policies in files, decided as the
//! webhook decides it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use countersign_client::policy::{NoCluster, Source, SourceOptions, decide};
use countersign_client::trust::Trust;
use countersign_clock::{Clock as _, SystemClock};
use countersign_http::text::printable;
use countersign_policy::cluster_image::TrustRootObject;
use countersign_policy::{Decision, PolicySet, Request, RuleResult, Status, TrustRoot};
use countersign_registry::Reference;
use countersign_trust::instances::Instances;
use serde_json::{Value, json};

use super::loaded;
use crate::args::OutputArgs;
use crate::args::registry::{RegistryArgs, image};
use crate::args::revocation::RevocationArgs;
use crate::args::services::TrustArgs;
use crate::failure::{Failure, NETWORK, NO_SIGNATURE, Outcome, REJECTED, TRUST};
use crate::out::{Terminal, block_on};

/// How long one image may take unless told otherwise.
pub(super) const BUDGET: Duration = Duration::from_secs(60);

/// Verify images by policies, as the cluster would
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign verify --policy policy.yaml registry.example/app:v1
  countersign verify --policy policies/ --namespace prod registry.example/app:v1",
    after_help = "Prints each image that is admitted by its digest, as it was verified. An image that no policy is about is not admitted: \
nothing was verified."
)]
pub(super) struct Verify {
    /// A file or directory with policies, exceptions and trust roots; several count together
    #[arg(long = "policy", required = true, value_name = "FILE|DIR")]
    policies: Vec<PathBuf>,
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// The namespace in which the images would run
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
    #[command(flatten)]
    trust: TrustArgs,
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
        let images = self.images.iter().map(|text| image(text)).collect::<Result<Vec<_>, _>>()?;
        let mut loaded = loaded(&self.policies)?;
        self.trust.refresh_revocations(terminal)?;
        let roots = Roots::of(&self.trust)?.named();
        let objects = std::mem::take(&mut loaded.trust_roots);
        // There is no cluster whose namespaces would limit exceptions: whoever names the file decides.
        let anywhere =
            countersign_policy::Glob::wildcard("*").map_err(|e| Failure::internal(e.to_string()))?;
        let policies = loaded.into_policy_set(&[anywhere]);
        let source = Source::new(SourceOptions {
            registry: self.registry.options(images.iter().map(Reference::registry))?,
            cluster: Arc::new(NoCluster),
            trust: roots,
        });
        source.set_revocations(Ok(self.revocation.load(&self.trust)?));
        let decisions = block_on(terminal, async {
            let mut all = Vec::new();
            fetch_trust_roots(terminal, &source, objects).await;
            for name in &images {
                all.push(self.decide(&policies, name, &source).await);
            }
            Ok(all)
        })?;
        self.show(terminal, &images, &decisions)
    }

    async fn decide(&self, policies: &PolicySet, image: &Reference, source: &Source) -> Decision {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "image", "namespace": self.namespace},
            "spec": {"containers": [{"name": "image", "image": image.to_string()}]}});
        decide(policies, &Request::of_object(pod), source, &SystemClock, BUDGET).await
    }

    fn show(&self, terminal: &Terminal, images: &[Reference], decisions: &[Decision]) -> Outcome {
        let mut code = 0;
        let mut documents = Vec::new();
        for (image, decision) in images.iter().zip(decisions) {
            let found = exit_code(decision);
            let pinned = pinned(image, decision);
            if self.output.is_json() {
                documents.push(document(image, decision, found == 0));
            } else {
                list(terminal, image, decision);
                if let Some(pinned) = pinned.filter(|_| found == 0) {
                    terminal.line(&pinned)?;
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

/// The image by the digest that was judged.
fn pinned(image: &Reference, decision: &Decision) -> Option<String> {
    let digest =
        decision.results.iter().find_map(|result| result.digest).or_else(|| image.digest().copied())?;
    Some(image.at(digest).to_string())
}

fn list(terminal: &Terminal, image: &Reference, decision: &Decision) {
    terminal.talk(&terminal.strong(&image.to_string()));
    for result in &decision.results {
        let mark = match result.status {
            Status::Pass => terminal.yes(),
            Status::Skip => terminal.none(),
            Status::Fail | Status::Error => terminal.no(),
        };
        let line = format!("{mark} {}: {}", title(result), printable(&result.message));
        // A refusal is told even where all else is quiet.
        if result.denies() { crate::out::say(&line) } else { terminal.talk(&line) }
    }
    if decision.results.iter().all(|result| result.status == Status::Skip && result.reason != "exception") {
        crate::out::say(&format!(
            "{} no policy is about this image in this namespace, so nothing was verified",
            terminal.no()
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
        rule => format!("{}, {rule}{does}", result.policy),
    }
}

fn document(image: &Reference, decision: &Decision, admitted: bool) -> Value {
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
            })
        })
        .collect();
    json!({"image": image.to_string(), "admitted": admitted, "pinned": pinned(image, decision), "results": results})
}
