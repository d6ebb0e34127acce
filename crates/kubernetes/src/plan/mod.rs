//! What the webhook would say of what a cluster runs already, told before it is asked. Nothing is changed.

mod walk;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use countersign_policy::{Request, RuleResult, Status};
use countersign_registry::Reference;
use futures_util::StreamExt as _;
use kube::Client;
use serde::Serialize;
use tokio::time::Instant;

use crate::admit::Admission;
use crate::api::Namespaces;
use crate::review::access_of;
use crate::scan::ResourceName;
use walk::Walked;

/// How long the API server waits for the webhook, by deploy/kubernetes/webhooks.yaml.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The version of the JSON document.
pub const SCHEMA_VERSION: u32 = 1;

/// What would become of a workload, by one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// It would be refused.
    Denied,
    /// It would be refused, since it could not be checked.
    DeniedUnchecked,
    /// It would come in, and whoever asks would be told.
    Warned,
    /// It would come in, unchecked.
    AdmittedUnchecked,
    /// It would come in, and only reports would tell.
    Audited,
}

impl Effect {
    /// In words, as tables have it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Denied => "would be denied",
            Self::DeniedUnchecked => "would be denied, as it could not be checked",
            Self::Warned => "would be admitted with a warning",
            Self::AdmittedUnchecked => "would be admitted unchecked",
            Self::Audited => "would be admitted, and reported",
        }
    }

    fn of(result: &RuleResult) -> Option<Self> {
        match (result.status, result.denies(), result.warns()) {
            (Status::Skip | Status::Pass, ..) => None,
            (Status::Fail, true, _) => Some(Self::Denied),
            (Status::Error, true, _) => Some(Self::DeniedUnchecked),
            (Status::Fail, false, true) => Some(Self::Warned),
            (Status::Error, false, _) => Some(Self::AdmittedUnchecked),
            (Status::Fail, false, false) => Some(Self::Audited),
        }
    }
}

/// What one rule would say of one image of one workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The workload.
    pub resource: ResourceName,
    /// Who made it, for a pod whose images are not those that its workload names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// What would become of it.
    pub effect: Effect,
    /// The policy.
    pub policy: String,
    /// The rule in it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// The image as it is written; nothing for the object as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The digest that was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// A stable code.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The next command or step.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next: String,
}

/// How many workloads there are, each counted once: by the worst that would become of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Those that are judged.
    pub workloads: usize,
    /// Would be refused.
    pub denied: usize,
    /// Would be refused, since they could not be checked.
    pub denied_unchecked: usize,
    /// Would come in with a warning.
    pub warned: usize,
    /// Would come in unchecked.
    pub admitted_unchecked: usize,
    /// Would come in, and be reported.
    pub audited: usize,
}

impl Counts {
    fn add(&mut self, effect: Option<Effect>) {
        self.workloads += 1;
        let Some(effect) = effect else { return };
        *match effect {
            Effect::Denied => &mut self.denied,
            Effect::DeniedUnchecked => &mut self.denied_unchecked,
            Effect::Warned => &mut self.warned,
            Effect::AdmittedUnchecked => &mut self.admitted_unchecked,
            Effect::Audited => &mut self.audited,
        } += 1;
    }
}

/// What would become of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// All workloads together.
    pub all: Counts,
    /// By policy: the workloads of which it says something.
    pub policies: BTreeMap<String, Counts>,
    /// By namespace.
    pub namespaces: BTreeMap<String, Counts>,
    /// Workloads in namespaces that are never judged.
    pub exempt: usize,
    /// Those namespaces, where something runs in them.
    pub exempt_namespaces: BTreeSet<String>,
    /// What could not be listed: of this nothing is known.
    pub not_listed: Vec<String>,
    /// Each rule that does not pass.
    pub findings: Vec<Finding>,
}

/// What a plan comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing would be refused.
    Good,
    /// Something would.
    Denies,
    /// Nothing is known that would be, but not everything could be checked or listed.
    Unknown,
}

impl Plan {
    /// What it comes to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.all.denied > 0 {
            Verdict::Denies
        } else if self.all.denied_unchecked > 0
            || self.all.admitted_unchecked > 0
            || !self.not_listed.is_empty()
        {
            Verdict::Unknown
        } else {
            Verdict::Good
        }
    }

    fn add(&mut self, name: &ResourceName, made_by: Option<&String>, results: Vec<RuleResult>) {
        let mut worst: BTreeMap<String, Option<Effect>> = BTreeMap::new();
        for result in &results {
            let own = worst.entry(result.policy.to_string()).or_default();
            *own = worse(*own, Effect::of(result));
        }
        let effect = worst.values().fold(None, |a, b| worse(a, *b));
        self.all.add(effect);
        self.namespaces.entry(name.namespace.clone()).or_default().add(effect);
        for (policy, effect) in worst {
            self.policies.entry(policy).or_default().add(effect);
        }
        for result in results {
            if let Some(effect) = Effect::of(&result) {
                self.findings.push(finding(name, made_by, effect, result));
            }
        }
    }
}

/// The one that matters more.
fn worse(a: Option<Effect>, b: Option<Effect>) -> Option<Effect> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn finding(name: &ResourceName, made_by: Option<&String>, effect: Effect, result: RuleResult) -> Finding {
    let reference = result.image.as_ref().and_then(|image| Reference::parse(image).ok());
    let image = reference.map(|reference| match result.digest {
        Some(digest) => reference.at(digest).to_string(),
        None => reference.to_string(),
    });
    let next = match (&image, result.status, result.reason.as_str()) {
        (None, ..) => String::new(),
        (Some(image), Status::Fail, "no_signature") => format!("countersign sign {image}"),
        (Some(image), ..) => format!("countersign tree {image}"),
    };
    Finding {
        resource: name.clone(),
        made_by: made_by.cloned(),
        effect,
        policy: result.policy.to_string(),
        rule: result.rule,
        image: result.image,
        digest: result.digest.map(|digest| digest.to_string()),
        reason: result.reason,
        message: result.message,
        next,
    }
}

/// What of a cluster is planned for.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// The namespaces.
    pub namespaces: Namespaces,
    /// How many workloads are judged at once.
    pub at_once: usize,
}

/// Goes through what a cluster runs, as if each workload were made anew now, and asks what the webhook would. There is no plan
/// while there are no policies.
pub async fn plan(admission: &Admission, client: Client, options: PlanOptions) -> Option<Plan> {
    let mut plan = Plan::default();
    let policies = &*admission.policies()?;
    let began = Instant::now();
    let mut judged = walk::walk(client, options.namespaces)
        .map(|walked| async move {
            match walked {
                Walked::Missing(missing) => Judged::Missing(missing.to_string()),
                Walked::Workload { object, made_by } => {
                    let name = ResourceName::of(&object, "cluster");
                    let access = access_of(&object, &name.kind, &name.namespace);
                    let request = Request { access, ..Request::of_object(object) };
                    match admission.decide(policies, request, TIMEOUT, began).await {
                        Ok(None) => Judged::Exempt(name.namespace),
                        Ok(Some(decision)) => Judged::Results(name, made_by, decision.results),
                        Err(fault) => Judged::Missing(format!("{name}: {fault}")),
                    }
                }
            }
        })
        .buffered(options.at_once.max(1))
        .boxed();
    while let Some(one) = judged.next().await {
        match one {
            Judged::Missing(what) => plan.not_listed.push(what),
            Judged::Exempt(namespace) => {
                plan.exempt += 1;
                plan.exempt_namespaces.insert(namespace);
            }
            Judged::Results(name, made_by, results) => plan.add(&name, made_by.as_ref(), results),
        }
    }
    Some(plan)
}

enum Judged {
    Missing(String),
    Exempt(String),
    Results(ResourceName, Option<String>, Vec<RuleResult>),
}
