//! All policies together, with the settings of the controller: which namespaces, and what of images that no policy is about.

use std::collections::BTreeMap;

use super::evaluate::images;
use super::{CONTROLLER_NAMESPACE, ClusterImagePolicy, name, namespace_of};
use crate::access::Access;
use crate::ask::{Ask, Stop};
use crate::decision::{Action, Pin, PolicyName, RuleResult, Status};
use crate::evaluate::Policy;
use crate::lint::Lint;
use crate::request::Request;

/// The label of namespaces whose objects are judged.
const INCLUDE: &str = "policy.sigstore.dev/include";

/// The name of policy-controller's ConfigMap.
pub const CONFIG_MAP: &str = "config-policy-controller";
/// Where it lies unless told otherwise.
pub const CONFIG_NAMESPACE: &str = CONTROLLER_NAMESPACE;

/// What happens to an image that no policy is about: `no-match-policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NoMatch {
    /// It is refused.
    #[default]
    Deny,
    /// Whoever asks is told.
    Warn,
    /// It may run.
    Allow,
}

impl NoMatch {
    /// `deny`, `warn` or `allow`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "deny" => Self::Deny,
            "warn" => Self::Warn,
            "allow" => Self::Allow,
            _ => return None,
        })
    }

    /// As policy-controller's ConfigMap says it; `None` if it says nothing of it.
    ///
    /// # Errors
    /// In words: it says what nobody understands, which is no permission.
    pub fn of_config_map(data: &BTreeMap<String, String>) -> Result<Option<Self>, String> {
        let Some(text) = data.get("no-match-policy").filter(|text| !text.is_empty()) else { return Ok(None) };
        let wrong = || format!("no-match-policy: expected deny, warn or allow, found \"{text}\"");
        Self::parse(text).map(Some).ok_or_else(wrong)
    }
}

/// Whose objects are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Namespaces {
    /// Those of namespaces with the label `policy.sigstore.dev/include: "true"`, as policy-controller has it.
    #[default]
    Labelled,
    /// Those of all.
    All,
}

impl Namespaces {
    /// Whether the object of a request is judged.
    ///
    /// # Errors
    /// [`Stop`]: the labels of its namespace are not known. That is not "no".
    pub fn judge(self, request: &Request, ask: &Ask<'_>) -> Result<bool, Stop> {
        if self == Self::All {
            return Ok(true);
        }
        let labels = ask.namespace_labels(namespace_of(request))?;
        Ok(labels.get(INCLUDE).is_some_and(|value| value == "true"))
    }
}

/// What policy-controller is set to: its ConfigMap and its webhook's selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// What happens to an image that no policy is about, if anybody says; else it is refused as soon as there is a policy.
    pub no_match: Option<NoMatch>,
    /// Whose objects are judged.
    pub namespaces: Namespaces,
}

/// All `ClusterImagePolicy` objects of a cluster, evaluated together.
#[derive(Debug, Clone, Default)]
pub struct PolicyController {
    policies: Vec<ClusterImagePolicy>,
    no_match: NoMatch,
    namespaces: Namespaces,
}

impl PolicyController {
    /// These policies, with policy-controller's own settings.
    #[must_use]
    pub fn new(policies: Vec<ClusterImagePolicy>) -> Self {
        Self { policies, no_match: NoMatch::default(), namespaces: Namespaces::default() }
    }

    /// These policies with settings; `None` if nothing is judged by them: there are none, and nobody says what is to
    /// happen then.
    #[must_use]
    pub fn with(policies: Vec<ClusterImagePolicy>, settings: Settings) -> Option<Self> {
        let said = settings.no_match.is_some_and(|no_match| no_match != NoMatch::Allow);
        let any = !policies.is_empty() || said;
        let no_match = settings.no_match.unwrap_or_default();
        any.then(|| Self::new(policies).no_match(no_match).namespaces(settings.namespaces))
    }

    /// The same with another answer for images that no policy is about.
    #[must_use]
    pub fn no_match(self, no_match: NoMatch) -> Self {
        Self { no_match, ..self }
    }

    /// The same for other namespaces.
    #[must_use]
    pub fn namespaces(self, namespaces: Namespaces) -> Self {
        Self { namespaces, ..self }
    }

    fn unmatched(&self, image: &str) -> RuleResult {
        let (status, action) = match self.no_match {
            NoMatch::Deny => (Status::Fail, Action::Deny),
            NoMatch::Warn => (Status::Fail, Action::Warn),
            NoMatch::Allow => (Status::Skip, Action::Audit),
        };
        RuleResult {
            policy: self.name(),
            rule: "no-match-policy".into(),
            image: Some(image.to_owned()),
            digest: None,
            status,
            action,
            fail_closed: true,
            reason: "no_matching_policy".into(),
            message: format!(
                "{image}: expected a ClusterImagePolicy about this image, found none; write one whose images match it (one \
                 with static: {{action: pass}} lets it run unsigned)"
            ),
            properties: BTreeMap::new(),
            decided_by: Vec::new(),
            level: None,
        }
    }
}

impl Policy for PolicyController {
    fn name(&self) -> PolicyName {
        name("policy-controller")
    }

    fn names(&self) -> Vec<PolicyName> {
        self.policies.iter().map(Policy::name).collect()
    }

    fn access_for(&self, request: &Request) -> Access {
        let mut access = Access::default();
        for policy in &self.policies {
            access.extend(&policy.access_for(request));
        }
        access
    }

    fn lints(&self) -> Vec<Lint> {
        let of = |policy: &ClusterImagePolicy| {
            let name = policy.name().name;
            policy
                .lints()
                .into_iter()
                .map(move |lint| Lint { path: format!("{name}: {}", lint.path), ..lint })
        };
        self.policies.iter().flat_map(of).collect()
    }

    fn evaluate(&self, request: &Request, ask: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
        let images = images(request)?;
        let (mut results, mut pins, mut open) = (Vec::new(), Vec::new(), false);
        if images.is_empty() {
            return Ok((results, pins));
        }
        if !self.namespaces.judge(request, ask)? {
            return Ok((results, pins));
        }
        for image in images {
            let mut matched = false;
            for policy in &self.policies {
                match policy.judge(&image, request, ask) {
                    Ok(None) => {}
                    Ok(Some((result, pin))) => {
                        matched = true;
                        results.push(result);
                        pins.extend(pin);
                    }
                    Err(Stop::Open) => (matched, open) = (true, true),
                    Err(stop) => return Err(stop),
                }
            }
            if !matched {
                results.push(self.unmatched(&image.image));
            }
        }
        if open { Err(Stop::Open) } else { Ok((results, pins)) }
    }
}
