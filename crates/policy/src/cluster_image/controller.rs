//! All policies together, with the settings of the controller: which namespaces, and what of images that no policy is about.

use std::collections::BTreeMap;

use super::evaluate::images;
use super::{ClusterImagePolicy, name, namespace_of};
use crate::access::Access;
use crate::ask::{Ask, Stop};
use crate::decision::{Action, Pin, PolicyName, RuleResult, Status};
use crate::evaluate::Policy;
use crate::lint::Lint;
use crate::request::Request;

/// The label of namespaces whose objects are judged.
const INCLUDE: &str = "policy.sigstore.dev/include";

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

/// Whose objects are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Namespaces {
    /// Those of namespaces with the label `policy.sigstore.dev/include: "true"`, as policy-controller has it.
    #[default]
    Labelled,
    /// Those of all.
    All,
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
        }
    }
}

impl Policy for PolicyController {
    fn name(&self) -> PolicyName {
        name("policy-controller")
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
        if self.namespaces == Namespaces::Labelled {
            let labels = ask.namespace_labels(namespace_of(request))?;
            if labels.get(INCLUDE).is_none_or(|value| value != "true") {
                return Ok((results, pins));
            }
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
