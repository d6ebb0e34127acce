//! `verifyImages` in our own language, as far as that has words for it.

use serde_json::{Map, Value, json};

use super::ClusterPolicy;
use super::attestors::{Node, Set};
use super::context::TAKEN;
use super::entry::Entry;
use super::schema::{
    ApplyRules, Attestation, FailureAction, FailurePolicy, Kind, Object, Rule, VerifyImages,
};
use crate::convert::{Converted, cannot, image_policy, refused};
use crate::kyverno::matching::{Block, Resources};
use crate::lint::Lint;
use crate::own::{Signers, shared};
use crate::read::{ReadError, from_value};

/// Where the original writes something into reports.
const NO_PROPERTIES: &str = "results carry no properties, such as severity and category";

/// That the original says how long it may take.
pub(in crate::kyverno) fn no_time_of_its_own(path: &str) -> Lint {
    Lint::new(path, "no_time_of_its_own", "the webhook's own time holds for all policies")
}

/// Writes a policy as several of our own: one for each entry of `verifyImages`.
///
/// # Errors
/// [`ReadError`], for what cannot be said.
pub(crate) fn convert(value: &Value) -> Result<Converted, ReadError> {
    ClusterPolicy::read(value)?;
    let object: Object = from_value(value)?;
    let spec = &object.spec;
    if !spec.validation_failure_action_overrides.is_empty() {
        return cannot("spec.validationFailureActionOverrides", "another action in some namespaces");
    }
    if spec.apply_rules == ApplyRules::One {
        return cannot("spec.applyRules", "that only the first rule counts");
    }
    if !spec.admission {
        return cannot("spec.admission", "a policy for scans only");
    }
    let webhook = spec.webhook_configuration.as_ref();
    if webhook.is_some_and(|webhook| !webhook.match_conditions.is_empty()) {
        return cannot("spec.webhookConfiguration.matchConditions", "conditions over the request");
    }
    let mut all = Conversion { object: &object, documents: Vec::new(), differences: Vec::new() };
    if webhook.and_then(|webhook| webhook.timeout_seconds).or(spec.webhook_timeout_seconds).is_some() {
        all.differences.push(no_time_of_its_own("spec.webhookConfiguration.timeoutSeconds"));
    }
    if !object.metadata.properties().is_empty() {
        all.differs("metadata.annotations", "no_report_properties", NO_PROPERTIES);
    }
    if !spec.background {
        all.differs("spec.background", "scanned_too", "what is there already is looked over too");
    }
    let rules = spec.rules.iter().map(from_value::<Rule>).collect::<Result<Vec<_>, _>>()?;
    let entries: usize = rules.iter().map(|rule| rule.verify_images.len()).sum();
    for (index, rule) in rules.iter().enumerate() {
        all.rule(rule, &format!("spec.rules[{index}]"), entries == 1)?;
    }
    Ok(Converted { documents: all.documents, differences: all.differences })
}

struct Conversion<'a> {
    object: &'a Object,
    documents: Vec<Value>,
    differences: Vec<Lint>,
}

impl Conversion<'_> {
    fn differs(&mut self, path: impl Into<String>, code: &'static str, message: &str) {
        self.differences.push(Lint::new(path, code, message));
    }

    fn rule(&mut self, rule: &Rule, path: &str, only: bool) -> Result<(), ReadError> {
        let field = |name: &str| format!("{path}.{name}");
        for (name, found, what) in [
            ("context", !rule.context.is_empty(), "names with values from elsewhere"),
            ("exclude", rule.exclude.is_some(), "objects that are excluded"),
            ("preconditions", rule.preconditions.is_some(), "preconditions"),
            ("celPreconditions", !rule.cel_preconditions.is_empty(), "preconditions"),
            ("validate", rule.validate.is_some(), "a rule over the object itself"),
            ("mutate", rule.mutate.is_some(), "a rule that changes objects"),
            ("generate", rule.generate.is_some(), "a rule that makes objects"),
        ] {
            if found {
                return cannot(field(name), what);
            }
        }
        if !rule.report_properties.is_empty() {
            self.differs(field("reportProperties"), "no_report_properties", NO_PROPERTIES);
        }
        let scope = self.scope(rule, path)?;
        for (index, value) in rule.verify_images.iter().enumerate() {
            let path = format!("{path}.verifyImages[{index}]");
            let name = match (only, rule.verify_images.len()) {
                (true, _) => self.object.metadata.name.clone(),
                (false, 1) => format!("{}-{}", self.object.metadata.name, rule.name),
                (false, _) => format!("{}-{}-{index}", self.object.metadata.name, rule.name),
            };
            let mut spec = scope.clone();
            self.entry(value, &path, &mut spec)?;
            self.documents.push(image_policy(&name, &spec));
        }
        Ok(())
    }

    /// Which objects: pods in some namespaces, and what extractors look into.
    fn scope(&mut self, rule: &Rule, rule_path: &str) -> Result<Map<String, Value>, ReadError> {
        let (block, path): (&Block, _) = (&rule.matches, format!("{rule_path}.match"));
        let (resources, path) = match (block.any.as_slice(), block.all.as_slice()) {
            ([one], [])
                if one.roles.is_empty() && one.cluster_roles.is_empty() && one.subjects.is_empty() =>
            {
                (&one.resources, format!("{path}.any[0].resources"))
            }
            ([], [one])
                if one.roles.is_empty() && one.cluster_roles.is_empty() && one.subjects.is_empty() =>
            {
                (&one.resources, format!("{path}.all[0].resources"))
            }
            ([], []) => (&block.resources, format!("{path}.resources")),
            _ => return cannot(path, "several filters, or who asks"),
        };
        if !(block.roles.is_empty() && block.cluster_roles.is_empty() && block.subjects.is_empty()) {
            return cannot(path, "who asks");
        }
        let Resources {
            kinds,
            name,
            names,
            namespaces,
            annotations,
            selector,
            namespace_selector,
            operations,
        } = resources;
        if !name.is_empty() || !names.is_empty() || !annotations.is_empty() || !operations.is_empty() {
            return cannot(path, "objects by name, annotation or operation");
        }
        if selector.is_some() {
            return cannot(format!("{path}.selector"), "labels of pods, which what makes them need not have");
        }
        let mut scope = Map::new();
        let custom = self.custom_resources(rule, kinds, rule_path, &path)?;
        if !custom.is_empty() {
            scope.insert("customResources".into(), custom.into());
        }
        let namespaces = match self.object.metadata.namespace.as_str() {
            own if self.object.kind == "Policy" => vec![own.to_owned()],
            _ => namespaces.clone(),
        };
        if !namespaces.is_empty() {
            scope.insert("namespaces".into(), json!(namespaces));
        }
        if let Some(selector) = namespace_selector {
            if !selector.match_expressions.is_empty() {
                return cannot(
                    format!("{path}.namespaceSelector.matchExpressions"),
                    "expressions over labels",
                );
            }
            scope.insert("namespaceSelector".into(), json!({ "matchLabels": selector.match_labels }));
        }
        Ok(scope)
    }

    /// What extractors look into, as far as the rule is about it.
    fn custom_resources(
        &mut self,
        rule: &Rule,
        kinds: &[String],
        rule_path: &str,
        path: &str,
    ) -> Result<Map<String, Value>, ReadError> {
        let is_pod = |kind: &str| matches!(kind, "Pod" | "v1/Pod" | "*/Pod");
        let mut custom = Map::new();
        let mut groups = false;
        for kind in kinds.iter().filter(|kind| !is_pod(kind)) {
            // Where a group stands before it, the last part is still the kind.
            let plain = kind.rsplit('/').next().unwrap_or_default();
            if !rule.image_extractors.contains_key(plain) {
                return cannot(
                    format!("{path}.kinds"),
                    "other kinds than Pod, without an extractor for their images",
                );
            }
            groups |= plain != kind;
            custom.insert(plain.to_owned(), Value::Null);
        }
        if kinds.is_empty() {
            custom.extend(rule.image_extractors.keys().map(|kind| (kind.clone(), Value::Null)));
        }
        for (kind, paths) in &mut custom {
            let extractors = rule.image_extractors.get(kind).map(Vec::as_slice).unwrap_or_default();
            let mut written = Vec::new();
            for (index, extractor) in extractors.iter().enumerate() {
                if !extractor.jmes_path.is_empty() {
                    let path = format!("{rule_path}.imageExtractors.{kind}[{index}].jmesPath");
                    return cannot(path, "an expression that makes the image's name of what is written");
                }
                let value = Some(extractor.value.as_str()).filter(|value| !value.is_empty());
                let parts: Vec<&str> = std::iter::once(extractor.path.as_str()).chain(value).collect();
                written.push(parts.join("/"));
            }
            *paths = json!(written);
        }
        let path = format!("{path}.kinds");
        if groups {
            let message = "objects of these kinds are judged whatever group and version serves them";
            self.differs(&path, "whatever_group", message);
        }
        if !kinds.is_empty() && !kinds.iter().any(|kind| is_pod(kind)) {
            let message = "pods and everything that makes them are judged too; name images that are nowhere else, or leave \
                           the original as it is";
            self.differs(&path, "pods_too", message);
        } else {
            let message =
                "everything that makes pods is judged, whatever the annotation about controllers says";
            self.differs(&path, "everything_that_makes_pods", message);
        }
        Ok(custom)
    }

    fn entry(&mut self, value: &Value, path: &str, spec: &mut Map<String, Value>) -> Result<(), ReadError> {
        let written: VerifyImages = from_value(value).map_err(|e| e.within(path))?;
        let field = |name: &str| format!("{path}.{name}");
        if super::context::has_variables(&super::entry::without_conditions(value)) {
            return cannot(path, "variables");
        }
        if written.validate.is_some() {
            return cannot(field("validate"), "conditions over several statements at once");
        }
        if written.image_registry_credentials.is_some() {
            return cannot(field("imageRegistryCredentials"), "credentials; those of the pod are used");
        }
        match written.kind {
            Kind::Notary => return cannot(field("type"), "signatures of the Notary Project"),
            Kind::SigstoreBundle => {
                self.differs(field("type"), "older_forms_too", "cosign's older signatures count too");
            }
            Kind::Cosign => {}
        }
        let mut lints = Vec::new();
        let entry = Entry::read(&written, &self.object.metadata.namespace, path, &mut lints)?;
        let mut references = written.image_references.clone();
        references.extend(Some(written.image.clone()).filter(|image| !image.is_empty()));
        let mut wanted = Vec::new();
        for (index, pattern) in references.iter().enumerate() {
            wanted.extend(images(
                pattern,
                &format!("{path}.imageReferences[{index}]"),
                &mut self.differences,
            )?);
        }
        spec.insert("images".into(), json!(wanted));
        let mut except = Vec::new();
        for (index, pattern) in written.skip_image_references.iter().enumerate() {
            let path = format!("{path}.skipImageReferences[{index}]");
            if pattern.contains(':') {
                return cannot(path, "tags that are skipped while digests are not");
            }
            // What is skipped there must not become more here.
            if !pattern.ends_with('*') {
                return cannot(
                    path,
                    "a name without a tag, which skips nothing: every image has a tag or digest",
                );
            }
            if pattern.starts_with("docker.io/") {
                return cannot(
                    path,
                    "images of Docker Hub, whose short names the original spells in another way",
                );
            }
            except.extend(images(pattern, &path, &mut self.differences)?);
        }
        if !except.is_empty() {
            spec.insert("exceptImages".into(), json!(except));
        }
        self.signers(&entry, &written.attestations, value, path, spec)?;
        self.consequences(&written, &entry, path, spec);
        Ok(())
    }

    fn signers(
        &mut self,
        entry: &Entry,
        written: &[Attestation],
        value: &Value,
        path: &str,
        spec: &mut Map<String, Value>,
    ) -> Result<(), ReadError> {
        let mut everybody = Vec::new();
        let signed = (!entry.attestors.is_empty()).then(|| signers(&entry.attestors));
        if let Some(signed) = &signed {
            everybody.push(signed.clone());
            let by = signed.written().map_err(refused(format!("{path}.attestors")))?;
            spec.insert("signedBy".into(), by);
        }
        let mut attestations = Vec::new();
        for (index, (said, written)) in entry.attestations.iter().zip(written).enumerate() {
            let path = format!("{path}.attestations[{index}]");
            let by = signers(&said.attestors);
            let mut attestation = Map::new();
            attestation.insert("predicate".into(), said.kind.clone().into());
            let signed_by = by.written().map_err(refused(format!("{path}.attestors")))?;
            attestation.insert("signedBy".into(), signed_by);
            everybody.push(by);
            if !written.name.is_empty() {
                attestation.insert("name".into(), written.name.clone().into());
            }
            let conditions = value.pointer(&format!("/attestations/{index}/conditions"));
            let conditions = conditions
                .map_or(Ok(Vec::new()), |conditions| in_cel(conditions, &format!("{path}.conditions")))?;
            if !conditions.is_empty() {
                attestation.insert("conditions".into(), json!(conditions));
            }
            attestations.push(Value::from(attestation));
        }
        if !attestations.is_empty() {
            spec.insert("attestations".into(), attestations.into());
        }
        let authorities: Vec<_> = everybody.iter().flat_map(Signers::authorities).collect();
        if everybody.iter().any(Signers::needs_several) {
            self.differs(
                format!("{path}.attestors"),
                "different_signers",
                "where several must have signed, each must be another; one signature counts once",
            );
        }
        spec.extend(shared(&authorities).map_err(refused(path.to_owned()))?);
        Ok(())
    }

    fn consequences(
        &mut self,
        written: &VerifyImages,
        entry: &Entry,
        path: &str,
        spec: &mut Map<String, Value>,
    ) {
        if !written.required {
            self.differs(
                format!("{path}.required"),
                "always_required",
                "an image that is meant is always verified",
            );
        }
        if !entry.pin {
            let rule = if entry.must_be_pinned { "require" } else { "keep" };
            spec.insert("digest".into(), rule.into());
        }
        let of = &self.object.spec;
        match entry.action.unwrap_or(of.validation_failure_action) {
            FailureAction::Enforce => {}
            FailureAction::Audit if of.emit_warning => drop(spec.insert("action".into(), "warn".into())),
            FailureAction::Audit => drop(spec.insert("action".into(), "audit".into())),
        }
        let webhook = of.webhook_configuration.as_ref().and_then(|webhook| webhook.failure_policy);
        if webhook.or(of.failure_policy) == Some(FailurePolicy::Ignore) {
            spec.insert("couldNotCheck".into(), "admit".into());
        }
    }
}

/// A pattern over names as patterns over repositories.
pub(in crate::kyverno) fn images(
    pattern: &str,
    path: &str,
    differences: &mut Vec<Lint>,
) -> Result<Vec<String>, ReadError> {
    let mut name = pattern;
    if let Some(before) = pattern.strip_suffix(":*") {
        differences.push(Lint::new(path, "digests_too", "images that are named by digest alone match too"));
        name = before;
    }
    if name == "*" {
        return Ok(vec!["**".into()]);
    }
    let (before, last) = match name.rsplit_once('/') {
        Some(parts) => parts,
        None => return cannot(path, "an image without its registry; write docker.io/library/…"),
    };
    if name.contains(['?', '@'])
        || last.contains(':')
        || before.split('/').skip(1).any(|part| part.contains(':'))
    {
        return cannot(path, "tags, digests or ? in a pattern; a policy holds for a whole repository");
    }
    let mut segments = Vec::new();
    for segment in before.split('/') {
        match segment {
            "*" => segments.push("**"),
            plain if !plain.contains('*') => segments.push(plain),
            _ => return cannot(path, "a star within a segment, which crosses slashes in the original"),
        }
    }
    let before = segments.join("/");
    match (last, last.strip_suffix('*')) {
        ("*", _) => Ok(vec![format!("{before}/**")]),
        // The star crosses slashes.
        (_, Some(start)) if !start.contains('*') => {
            Ok(vec![format!("{before}/{last}"), format!("{before}/{last}/**")])
        }
        (plain, None) if !plain.contains('*') => Ok(vec![format!("{before}/{plain}")]),
        _ => cannot(path, "a star within a segment, which crosses slashes in the original"),
    }
}

/// Sets, all of which must be satisfied.
fn signers(sets: &[Set]) -> Signers {
    let mut of: Vec<Signers> = sets.iter().map(signers_of).collect();
    if of.len() == 1 { of.remove(0) } else { Signers::Several { need: of.len(), of } }
}

fn signers_of(set: &Set) -> Signers {
    let of = set.nodes.iter().map(|node| match node {
        Node::One(authority) => Signers::One(authority.clone()),
        Node::Set(set) => signers_of(set),
    });
    Signers::Several { need: set.need, of: of.collect() }
}

/// Conditions over a predicate, as far as they compare one of its fields with a value.
fn in_cel(conditions: &Value, path: &str) -> Result<Vec<String>, ReadError> {
    let mut written = Vec::new();
    let blocks: Vec<&Value> =
        conditions.as_array().map_or_else(|| vec![conditions], |list| list.iter().collect());
    for (index, block) in blocks.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(fields) = block.as_object().filter(|fields| !fields.contains_key("key")) else {
            return cannot(path, "the older form of conditions");
        };
        let list = |name: &str| fields.get(name).and_then(Value::as_array).into_iter().flatten();
        for (index, condition) in list("all").enumerate() {
            written.push(comparison(condition, &format!("{path}.all[{index}]"))?);
        }
        let any = list("any")
            .enumerate()
            .map(|(index, condition)| comparison(condition, &format!("{path}.any[{index}]")))
            .collect::<Result<Vec<_>, _>>()?;
        written.extend(Some(any.join(" || ")).filter(|any| !any.is_empty()));
    }
    Ok(written)
}

fn comparison(condition: &Value, path: &str) -> Result<String, ReadError> {
    let text = |name: &str| condition.get(name).and_then(Value::as_str).unwrap_or_default();
    let inside =
        text("key").trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).map(str::trim);
    let word = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let of_predicate = |inside: &&str| {
        inside.split('.').all(word) && !TAKEN.contains(&inside.split('.').next().unwrap_or_default())
    };
    let Some(field) = inside.filter(of_predicate) else {
        return cannot(format!("{path}.key"), "an expression that is no plain field of the predicate");
    };
    let operator = match text("operator") {
        "Equal" | "Equals" => "==",
        "NotEqual" | "NotEquals" => "!=",
        _ => return cannot(format!("{path}.operator"), "an operator other than Equals and NotEquals"),
    };
    match condition.get("value") {
        // Texts with wildcards, variables, quantities and times are read as more than they are.
        Some(Value::String(value))
            if value.chars().all(|c| c.is_ascii_alphabetic() || " _-/:".contains(c)) =>
        {
            Ok(format!("predicate.{field} {operator} {}", Value::from(value.as_str())))
        }
        Some(value @ Value::Bool(_)) => Ok(format!("predicate.{field} {operator} {value}")),
        _ => cannot(format!("{path}.value"), "a value that is neither true, false nor a plain word"),
    }
}
