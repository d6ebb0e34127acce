//! A policy in our own language, as far as that has words for it: conditions that say of every image how many of the
//! attestors must have signed it, or said something of it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::ImageValidatingPolicy;
use super::schema::{ImageReference, MatchResources, Named, Object, OperationName, Spec, Validation};
use super::variant::{Variant, Wording};
use crate::authority::Authority;
use crate::convert::{Converted, cannot, image_policy, refused};
use crate::decision::Action;
use crate::kyverno::cluster;
use crate::lint::Lint;
use crate::own::{Signers, shared};
use crate::read::{ReadError, from_value};

/// The lists of containers that a condition may go through.
const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Writes a policy as one of our own.
///
/// # Errors
/// [`ReadError`], for what cannot be said.
pub(crate) fn convert(value: &Value) -> Result<Converted, ReadError> {
    let policy = ImageValidatingPolicy::read(value)?;
    let object: Object = from_value(value)?;
    let spec: Spec = from_value(&object.spec).map_err(|error| error.within("spec"))?;
    let Some(variant) = policy.variants.first() else { return cannot("spec", "nothing") };
    let mut own = Own { spec: Map::new(), differences: Vec::new() };
    own.only_plain(&spec)?;
    own.scope(&policy, &spec.match_constraints, &object.spec)?;
    own.images(&spec.match_image_references)?;
    own.conditions(variant, &spec)?;
    own.consequences(&policy, variant)?;
    Ok(Converted {
        documents: vec![image_policy(&policy.name.name, &own.spec)],
        differences: own.differences,
    })
}

struct Own {
    spec: Map<String, Value>,
    differences: Vec<Lint>,
}

impl Own {
    fn differs(&mut self, path: impl Into<String>, code: &'static str, message: &str) {
        self.differences.push(Lint::new(path, code, message));
    }

    fn only_plain(&mut self, spec: &Spec) -> Result<(), ReadError> {
        let named = |list: &[Named]| !list.is_empty();
        for (field, found, what) in [
            ("matchConditions", named(&spec.match_conditions), "conditions over the request"),
            ("variables", named(&spec.variables), "variables"),
            ("images", named(&spec.images), "extractors"),
            ("credentials", spec.credentials.is_some(), "credentials; those of the pod are used"),
        ] {
            if found {
                return cannot(format!("spec.{field}"), what);
            }
        }
        if spec.webhook_configuration.timeout_seconds.is_some() {
            self.differences.push(cluster::no_time_of_its_own("spec.webhookConfiguration.timeoutSeconds"));
        }
        let own_words = |validation: &Validation| {
            !(validation.message.is_empty()
                && validation.message_expression.is_empty()
                && validation.reason.is_empty())
        };
        if spec.validations.iter().any(own_words) {
            let message =
                "messages and reasons are those of Countersign, which say who was expected and who was found";
            self.differs("spec.validations", "other_messages", message);
        }
        if !spec.audit_annotations.is_empty() {
            self.differs("spec.auditAnnotations", "no_audit_annotations", "results carry no annotations");
        }
        Ok(())
    }

    /// Which objects: pods, when they are made and changed.
    fn scope(
        &mut self,
        policy: &ImageValidatingPolicy,
        constraints: &MatchResources,
        written: &Value,
    ) -> Result<(), ReadError> {
        const PATH: &str = "spec.matchConstraints";
        let [rule] = constraints.resource_rules.as_slice() else {
            return cannot(format!("{PATH}.resourceRules"), "several rules");
        };
        let pods = rule.api_groups == [""] && rule.api_versions == ["v1"] && rule.resources == ["pods"];
        let has = |name: OperationName| {
            rule.operations.contains(&name) || rule.operations.contains(&OperationName::Any)
        };
        let both = has(OperationName::Create) && has(OperationName::Update);
        if !pods || !both || !rule.resource_names.is_empty() {
            return cannot(
                format!("{PATH}.resourceRules[0]"),
                "other objects than pods that are made or changed",
            );
        }
        if !constraints.exclude_resource_rules.is_empty() {
            return cannot(format!("{PATH}.excludeResourceRules"), "objects that are excluded");
        }
        let selected = |field: &str| {
            let selector = written.pointer(&format!("/matchConstraints/{field}"));
            selector.filter(|selector| !selector.is_null() && **selector != json!({})).cloned()
        };
        if selected("objectSelector").is_some() {
            return cannot(
                format!("{PATH}.objectSelector"),
                "labels of pods, which what makes them need not have",
            );
        }
        if let Some(selector) = selected("namespaceSelector") {
            self.spec.insert("namespaceSelector".into(), selector);
        }
        if !policy.name.namespace.is_empty() {
            self.spec.insert("namespaces".into(), json!([policy.name.namespace]));
        }
        self.differs(
            PATH,
            "everything_that_makes_pods",
            "everything that makes pods is judged, whatever autogen says",
        );
        Ok(())
    }

    fn images(&mut self, references: &[ImageReference]) -> Result<(), ReadError> {
        let mut wanted = Vec::new();
        for (index, reference) in references.iter().enumerate() {
            let path = format!("spec.matchImageReferences[{index}]");
            if !reference.expression.is_empty() {
                return cannot(format!("{path}.expression"), "an expression over names of images");
            }
            let path = format!("{path}.glob");
            wanted.extend(cluster::patterns(&reference.glob, &path, &mut self.differences)?);
        }
        if wanted.is_empty() {
            wanted.push("**".into());
        }
        self.spec.insert("images".into(), json!(wanted));
        Ok(())
    }

    fn conditions(&mut self, variant: &Variant, spec: &Spec) -> Result<(), ReadError> {
        let (mut signatures, mut attestations) = (Vec::new(), Vec::new());
        let mut everybody: Vec<Authority> = Vec::new();
        for (index, validation) in spec.validations.iter().enumerate() {
            let path = format!("spec.validations[{index}].expression");
            let Some(asked) = Asked::read(&validation.expression) else {
                return cannot(path, "a condition other than how many attestors signed each image");
            };
            if asked.lists.len() < LISTS.len() {
                let message = if variant.required {
                    "images of every container are asked for; the original refuses those of other containers"
                } else {
                    "images of every container are asked for; the original passes over those of other containers"
                };
                self.differs(&path, "every_container", message);
            }
            let by = asked.signers(variant).map_err(refused(&path))?;
            if by.needs_several() {
                let message = "each must be another signer; one signature counts once";
                self.differs(&path, "different_signers", message);
            }
            everybody.extend(by.authorities().into_iter().cloned());
            let written = by.written().map_err(refused(&path))?;
            match asked.attestation {
                None => signatures.push(written),
                Some(name) => match variant.attestations.get(&name) {
                    Some(Wording::Statement(kind)) => {
                        attestations.push(json!({"name": name, "predicate": kind, "signedBy": written}));
                    }
                    _ => return cannot(path, "documents under signatures of the Notary Project"),
                },
            }
        }
        match <[Value; 1]>::try_from(signatures) {
            Ok([only]) => drop(self.spec.insert("signedBy".into(), only)),
            Err(none) if none.is_empty() => {}
            Err(several) => drop(self.spec.insert("signedBy".into(), json!({ "allOf": several }))),
        }
        if !attestations.is_empty() {
            self.spec.insert("attestations".into(), attestations.into());
        }
        let everybody: Vec<&Authority> = everybody.iter().collect();
        self.spec.extend(shared(&everybody).map_err(refused("spec.attestors"))?);
        Ok(())
    }

    fn consequences(&mut self, policy: &ImageValidatingPolicy, variant: &Variant) -> Result<(), ReadError> {
        if !policy.admission {
            return cannot("spec.evaluation.admission", "a policy for scans only");
        }
        if !policy.background {
            self.differs(
                "spec.evaluation.background",
                "scanned_too",
                "what is there already is looked over too",
            );
        }
        if !variant.pins {
            let rule = if variant.must_be_pinned { "require" } else { "keep" };
            self.spec.insert("digest".into(), rule.into());
        }
        if policy.action != Action::Deny && variant.pins {
            self.differs(
                "spec.validationActions",
                "each_pinned_by_itself",
                "an image that passes is pinned also where another one of the object does not",
            );
        }
        match policy.action {
            Action::Deny => {}
            Action::Warn => drop(self.spec.insert("action".into(), "warn".into())),
            Action::Audit => drop(self.spec.insert("action".into(), "audit".into())),
        }
        if !policy.fail_closed {
            self.spec.insert("couldNotCheck".into(), "admit".into());
        }
        Ok(())
    }
}

/// A condition that says of each image how many of the attestors must have signed it.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    lists: BTreeSet<String>,
    /// The attestation that they must have made; else a signature.
    attestation: Option<String>,
    attestors: Vec<String>,
    need: usize,
}

impl Asked {
    /// Reads `LISTS.map(i, CALL).all(n, n > 0)` or `LISTS.all(i, CALL > 0)`, and nothing else.
    fn read(text: &str) -> Option<Self> {
        let text: String = text.split_whitespace().collect();
        let (lists, rest) = lists(&text)?;
        let (attestation, attestors, compared) = if let Some(rest) = rest.strip_prefix(".map(") {
            let (variable, rest) = rest.split_once(',')?;
            let (attestation, attestors, rest) = call(rest, variable)?;
            let (variable, rest) = rest.strip_prefix(").all(")?.split_once(',')?;
            (attestation, attestors, rest.strip_prefix(variable)?)
        } else {
            let (variable, rest) = rest.strip_prefix(".all(")?.split_once(',')?;
            call(rest, variable)?
        };
        let compared = compared.strip_suffix(')')?;
        let all = attestors.len();
        let need = if let Some(least) = compared.strip_prefix(">=") {
            least.parse().ok()?
        } else if let Some(more) = compared.strip_prefix('>') {
            more.parse::<usize>().ok()?.checked_add(1)?
        } else {
            compared.strip_prefix("==")?.parse().ok().filter(|need| *need == all)?
        };
        (1..=all).contains(&need).then_some(Self { lists, attestation, attestors, need })
    }

    /// Who must have signed.
    ///
    /// # Errors
    /// In words.
    fn signers(&self, variant: &Variant) -> Result<Signers, String> {
        let of = self.attestors.iter().map(|name| {
            let unknown = |_: &str| Err("an attestor whose parts are expressions".to_owned());
            variant.attestors.get(name, &unknown).map(|authority| Signers::One(Box::new(authority)))
        });
        Ok(Signers::Several { need: self.need, of: of.collect::<Result<_, String>>()? })
    }
}

/// The lists of images that a text begins with.
fn lists(text: &str) -> Option<(BTreeSet<String>, &str)> {
    let (inside, rest) = match text.strip_prefix('(') {
        Some(inside) => inside.split_once(')')?,
        None => {
            let end = text.find(".map(").or_else(|| text.find(".all("))?;
            text.split_at_checked(end)?
        }
    };
    let name =
        |part: &str| part.strip_prefix("images.").filter(|name| LISTS.contains(name)).map(str::to_owned);
    let lists: BTreeSet<String> = inside.split('+').map(name).collect::<Option<_>>()?;
    Some((lists, rest))
}

/// The call that a text begins with: which attestation, which attestors, and what follows.
fn call<'t>(text: &'t str, variable: &str) -> Option<(Option<String>, Vec<String>, &'t str)> {
    let (attestation, rest) = match text.strip_prefix("verifyImageSignatures(") {
        Some(rest) => (None, rest.strip_prefix(variable)?),
        None => {
            let rest = text.strip_prefix("verifyAttestationSignatures(")?.strip_prefix(variable)?;
            let (name, rest) = rest
                .strip_prefix(",attestations.")?
                .split_at_checked(rest.strip_prefix(",attestations.")?.find(',')?)?;
            (Some(name.to_owned()), rest)
        }
    };
    let (list, rest) = rest.strip_prefix(",[")?.split_once("])")?;
    let attestor = |part: &str| {
        let name = part.strip_prefix("attestors.")?;
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then(|| name.to_owned())
    };
    let attestors: Vec<String> = list.split(',').map(attestor).collect::<Option<_>>()?;
    let distinct: BTreeSet<&String> = attestors.iter().collect();
    (distinct.len() == attestors.len()).then_some((attestation, attestors, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_that_count_attestors_are_understood_and_no_others() {
        let signatures = "verifyImageSignatures(image, [attestors.a, attestors.b])";
        for (text, need) in [
            (format!("images.containers.map(image, {signatures}).all(e, e > 0)"), Some(1)),
            (format!("images.containers.all(image, {signatures} >= 2)"), Some(2)),
            (format!("(images.containers + images.initContainers).all(image, {signatures} == 2)"), Some(2)),
            (format!("images.containers.all(image, {signatures} == 1)"), None),
            (format!("images.containers.all(image, {signatures} > 2)"), None),
            (format!("images.containers.all(image, {signatures} >= 0)"), None),
            (format!("images.containers.exists(image, {signatures} > 0)"), None),
            (format!("images.containers.all(image, {signatures} > 0) || true"), None),
            (format!("images.containers.all(image, {signatures} > 0 || true)"), None),
            (format!("images.containers.all(other, {signatures} > 0)"), None),
            (format!("images.volumes.all(image, {signatures} > 0)"), None),
            (format!("images.containers.map(image, {signatures}).all(e, f > 0)"), None),
            (
                "images.containers.all(i, verifyImageSignatures(i, [attestors.a, attestors.a]) > 0)".into(),
                None,
            ),
            ("images.containers.all(i, verifyImageSignatures('x', [attestors.a]) > 0)".into(), None),
        ] {
            assert_eq!(Asked::read(&text).map(|asked| asked.need), need, "{text}");
        }
        let said =
            "images.containers.all(i, verifyAttestationSignatures(i, attestations.sbom, [attestors.a]) > 0)";
        let asked = Asked::read(said).unwrap();
        assert_eq!(
            (asked.attestation.as_deref(), asked.attestors.as_slice()),
            (Some("sbom"), &["a".to_owned()][..])
        );
    }
}
