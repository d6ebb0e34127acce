//! The policies that hold: those of files, and those of the cluster, each put into place as it changes.
//!
//! A file is written by whoever starts the webhook: what is wrong in it is an error, and what held before goes on. An
//! object of the cluster that cannot be read is another matter, since nobody may be looking. If it is a policy over images,
//! it refuses all that it might be about, and says why.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use countersign_client::policy::{Source, TrustTrouble};
use countersign_clock::Clock;
use countersign_http::text::printable;
use countersign_policy::cluster_image::{Namespaces, NoMatch, Settings};
use countersign_policy::images::pod_spec_pointer;
use countersign_policy::{
    Action, Ask, CouldNotReason, CustomObject, Document, Glob, Loaded, Pin, Policy, PolicyKind, PolicyName,
    ReadError, Request, RuleResult, Status, Stop, TrustRoot, load, read_documents,
};
use serde_json::Value;

use crate::admit::Admission;
use crate::api::WorkloadKind;
use crate::webhook::Metrics;

/// What is wrong with a file of policies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", path.display(), errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with its documents.
    pub errors: Vec<ReadError>,
}

/// The documents of the cluster and of files, as far as they are known.
#[derive(Debug, Default)]
struct Parts {
    files: Option<Vec<Document>>,
    cluster: Option<Vec<Document>>,
    /// What policy-controller's ConfigMap says, once that is known.
    controller: Option<Option<NoMatch>>,
}

/// Where policies come together.
#[derive(Debug)]
pub struct Policies {
    admission: Arc<Admission>,
    source: Arc<Source>,
    metrics: Arc<Metrics>,
    installation: BTreeMap<Option<String>, Arc<TrustRoot>>,
    exceptions: Vec<Glob>,
    /// Whether there is a cluster, whose namespaces opt in to policy-controller's policies.
    in_cluster: bool,
    /// What is to happen to images that none of these is about, whatever the ConfigMap says.
    no_match: Option<NoMatch>,
    parts: Mutex<Parts>,
}

/// Who takes policies, and what there is beside them.
#[derive(Debug)]
pub struct PoliciesOptions {
    /// Judges by them.
    pub admission: Arc<Admission>,
    /// Is given the trust roots that stand beside them.
    pub source: Arc<Source>,
    /// Counts what cannot be read.
    pub metrics: Arc<Metrics>,
    /// The installation's own trust root, under no name, and others under theirs.
    pub installation: BTreeMap<Option<String>, Arc<TrustRoot>>,
    /// The namespaces whose Kyverno exceptions hold.
    pub exceptions: Vec<Glob>,
    /// Whether policies of files are to be waited for.
    pub files: bool,
    /// Whether policies of the cluster are to be waited for.
    pub cluster: bool,
}

impl Policies {
    /// None yet. Nothing is judged before all are there that are waited for.
    #[must_use]
    pub fn new(options: PoliciesOptions) -> Self {
        let PoliciesOptions { admission, source, metrics, installation, exceptions, files, cluster } =
            options;
        let part = |waited: bool| (!waited).then(Vec::new);
        let controller = (!cluster).then_some(None);
        let parts = Mutex::new(Parts { files: part(files), cluster: part(cluster), controller });
        let (in_cluster, no_match) = (cluster, None);
        Self { admission, source, metrics, installation, exceptions, in_cluster, no_match, parts }
    }

    /// The same, which does this with images that no `ClusterImagePolicy` is about, whatever policy-controller's ConfigMap
    /// says.
    #[must_use]
    pub fn without_match(self, no_match: NoMatch) -> Self {
        Self { no_match: Some(no_match), ..self }
    }

    /// Takes the policies of files.
    ///
    /// # Errors
    /// [`FileError`]: something in them is wrong. Then what held before goes on.
    pub fn set_files(&self, texts: &[(PathBuf, String)]) -> Result<(), FileError> {
        let mut all = Vec::new();
        for (path, text) in texts {
            let wrong = |errors| FileError { path: path.clone(), errors };
            let documents = read_documents(text).map_err(|error| wrong(vec![error]))?;
            load(documents.clone()).map_err(wrong)?;
            all.extend(documents);
        }
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).files = Some(all);
        self.apply();
        Ok(())
    }

    /// Takes the policies of the cluster.
    pub fn set_cluster(&self, documents: Vec<Document>) {
        self.admission.set_objects(&documents);
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).cluster = Some(documents);
        self.apply();
    }

    /// Takes what policy-controller's ConfigMap says of images that no policy is about; nothing, if there is none.
    pub fn set_controller(&self, no_match: Option<NoMatch>) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if parts.controller.replace(no_match) == Some(no_match) {
            return;
        }
        drop(parts);
        self.apply();
    }

    fn apply(&self) {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(files), Some(cluster), Some(controller)) = (&parts.files, &parts.cluster, parts.controller)
        else {
            return;
        };
        let namespaces = if self.in_cluster { Namespaces::Labelled } else { Namespaces::All };
        let settings = Settings { no_match: self.no_match.or(controller), namespaces };
        let (mut loaded, errors) = load_all(files.iter().chain(cluster).cloned(), namespaces);
        for error in &errors {
            tracing::error!(%error, "a policy cannot be read");
        }
        self.metrics.unusable(errors.len());
        // Trust first: a policy that names a root is never judged by without it.
        self.source.set_trust(self.installation.clone());
        self.source.set_trust_objects(std::mem::take(&mut loaded.trust_roots));
        let set = if self.in_cluster || self.no_match.is_some() {
            loaded.into_policy_set_of_cluster(&self.exceptions, settings)
        } else {
            loaded.into_policy_set(&self.exceptions)
        };
        tracing::info!(policies = set.names().len(), unusable = errors.len(), "policies hold");
        self.admission.set_policies(set);
    }

    /// Keeps the trust roots that have to be fetched, for ever. What cannot be used is told when that begins and ends.
    pub async fn keep_trust_roots(self: Arc<Self>, clock: Arc<dyn Clock>) {
        let mut known = Vec::new();
        loop {
            let told = self.source.fetch_trust_roots(clock.now()).await;
            self.metrics.trust_roots_unusable(told.len());
            for TrustTrouble { name, text, usable } in told.iter().filter(|trouble| !known.contains(*trouble))
            {
                let (error, name) = (printable(text), printable(name));
                match usable {
                    true => tracing::warn!(
                        error,
                        name,
                        "a trust root cannot be fetched anew; what was had holds on"
                    ),
                    false => tracing::error!(
                        error,
                        name,
                        "a trust root cannot be used; policies that name it refuse"
                    ),
                }
            }
            for trouble in known.iter().filter(|trouble| !told.contains(trouble)) {
                tracing::info!(
                    name = printable(&trouble.name),
                    "the trust root is as it should be again, or gone"
                );
            }
            known = told;
            self.source.trust_roots_due().await;
        }
    }
}

/// Reads documents one by one. What cannot be read and is a policy over images has something in its place that refuses.
fn load_all(documents: impl Iterator<Item = Document>, namespaces: Namespaces) -> (Loaded, Vec<ReadError>) {
    let mut all = Loaded::default();
    let mut errors = Vec::new();
    for document in documents {
        match load(vec![document.clone()]) {
            Ok(loaded) => all.extend(loaded),
            Err(wrong) => {
                if let Some(policy) =
                    wrong.first().and_then(|error| Unreadable::of(&document, error, namespaces))
                {
                    all.push(policy);
                }
                errors.extend(wrong);
            }
        }
    }
    (all, errors)
}

/// Stands in the place of a policy that cannot be read.
#[derive(Debug)]
struct Unreadable {
    name: PolicyName,
    action: Action,
    fail_closed: bool,
    message: String,
    /// Whose objects it may be about.
    namespaces: Namespaces,
    /// The objects that it may be about although they are no workloads.
    custom: Vec<CustomObject>,
}

impl Unreadable {
    fn of(document: &Document, error: &ReadError, namespaces: Namespaces) -> Option<Box<dyn Policy>> {
        let text =
            |pointer: &str| document.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let kind = match document.kind.as_str() {
            "ImagePolicy" => PolicyKind::Countersign,
            // Most policies of these kinds are about other things than images, and Kyverno enforces those.
            "ClusterPolicy" if has_images(&document.value) => PolicyKind::KyvernoClusterPolicy,
            "Policy" if has_images(&document.value) => PolicyKind::KyvernoPolicy,
            "ImageValidatingPolicy" => PolicyKind::ImageValidatingPolicy,
            "NamespacedImageValidatingPolicy" => PolicyKind::NamespacedImageValidatingPolicy,
            "ClusterImagePolicy" => PolicyKind::ClusterImagePolicy,
            _ => return None,
        };
        let namespaced =
            matches!(kind, PolicyKind::KyvernoPolicy | PolicyKind::NamespacedImageValidatingPolicy);
        // The others know nothing of namespaces that opt in.
        let namespaces = if kind == PolicyKind::ClusterImagePolicy { namespaces } else { Namespaces::All };
        let namespace = if namespaced { text("/metadata/namespace").to_owned() } else { String::new() };
        Some(Box::new(Self {
            name: PolicyName { kind, namespace, name: text("/metadata/name").to_owned() },
            action: if refuses(kind, &document.value) { Action::Deny } else { Action::Warn },
            fail_closed: text("/spec/failurePolicy") != "Ignore",
            namespaces,
            custom: custom_objects(kind, &document.value),
            message: format!(
                "the policy cannot be read, so nothing passes it: {error}; correct or delete it"
            ),
        }))
    }
}

/// Whether a policy would refuse anything if it could be read. One that only tells must not refuse because it cannot.
fn refuses(kind: PolicyKind, value: &Value) -> bool {
    let spec = value.get("spec").unwrap_or(&Value::Null);
    let is = |name: &str, other: &[&str]| {
        spec.get(name).and_then(Value::as_str).is_some_and(|v| other.contains(&v))
    };
    match kind {
        // Kyverno audits unless it is told otherwise, in one of several places.
        PolicyKind::KyvernoClusterPolicy | PolicyKind::KyvernoPolicy => {
            let text = spec.to_string();
            text.contains("\"Enforce\"") || text.contains("\"enforce\"")
        }
        PolicyKind::ImageValidatingPolicy | PolicyKind::NamespacedImageValidatingPolicy => {
            let actions = spec.get("validationActions").and_then(Value::as_array);
            actions.is_none_or(|actions| actions.is_empty() || actions.iter().any(|action| action == "Deny"))
        }
        PolicyKind::ClusterImagePolicy => !is("mode", &["warn"]),
        _ => !is("action", &["warn", "audit"]),
    }
}

/// The objects that a policy names which are no workloads, as far as that can be told.
fn custom_objects(kind: PolicyKind, value: &Value) -> Vec<CustomObject> {
    let keys = |value: Option<&Value>| -> Vec<CustomObject> {
        let kinds = value.and_then(Value::as_object).into_iter().flat_map(serde_json::Map::keys);
        kinds.cloned().map(CustomObject::Kind).collect()
    };
    let list = |value: &Value, pointer: &str| -> Vec<Value> {
        value.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    match kind {
        PolicyKind::Countersign => keys(value.pointer("/spec/customResources")),
        PolicyKind::KyvernoClusterPolicy | PolicyKind::KyvernoPolicy => {
            list(value, "/spec/rules").iter().flat_map(|rule| keys(rule.get("imageExtractors"))).collect()
        }
        PolicyKind::ImageValidatingPolicy | PolicyKind::NamespacedImageValidatingPolicy => {
            let rules = list(value, "/spec/matchConstraints/resourceRules");
            let named = |rule: &Value| {
                let texts = |name: &str| list(rule, name).iter().filter_map(text_of).collect::<Vec<String>>();
                let (groups, resources) = (texts("/apiGroups"), texts("/resources"));
                let custom = resources.into_iter().filter(|name| !is_workload(name));
                let of = |resource: String| {
                    let of_group = |group: &String| (group.clone(), resource.clone());
                    groups.iter().map(of_group).collect::<Vec<_>>()
                };
                let pairs: Vec<(String, String)> = custom.flat_map(of).collect();
                pairs.into_iter().map(|(group, resource)| CustomObject::Resource { group, resource })
            };
            rules.iter().flat_map(named).collect()
        }
        _ => Vec::new(),
    }
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Whether a resource, or one below it, is a kind of workload.
fn is_workload(resource: &str) -> bool {
    let plain = resource.split('/').next().unwrap_or_default();
    plain == "podtemplates" || WorkloadKind::ALL.iter().any(|kind| kind.plural == plain)
}

fn has_images(value: &Value) -> bool {
    let rules = value.pointer("/spec/rules").and_then(Value::as_array);
    rules.is_none_or(|rules| rules.iter().any(|rule| rule.get("verifyImages").is_some()))
}

impl Unreadable {
    /// Whether a request is about an object that is no workload, and that the policy may look into.
    fn may_look_into(&self, request: &Request) -> bool {
        let is_custom = pod_spec_pointer(&request.kind.kind).is_none();
        is_custom
            && self.custom.iter().any(|custom| match custom {
                CustomObject::Kind(kind) => *kind == request.kind.kind,
                // Which of the group's kinds the name means, only an API server knows.
                CustomObject::Resource { group, .. } => group == "*" || *group == request.kind.group,
            })
    }
}

impl Policy for Unreadable {
    fn name(&self) -> PolicyName {
        self.name.clone()
    }

    fn custom_objects(&self) -> Vec<CustomObject> {
        // What is named by a star is whatever else is sent.
        let is_named = |custom: &&CustomObject| match custom {
            CustomObject::Kind(_) => true,
            CustomObject::Resource { resource, .. } => !resource.contains('*'),
        };
        self.custom.iter().filter(is_named).cloned().collect()
    }

    fn evaluate(&self, request: &Request, ask: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
        let elsewhere = !self.name.namespace.is_empty() && self.name.namespace != request.namespace;
        // Images that cannot be told are some.
        let none =
            request.judged_images().is_ok_and(|images| images.is_empty()) && !self.may_look_into(request);
        if elsewhere || none || !self.namespaces.judge(request, ask)? {
            return Ok((Vec::new(), Vec::new()));
        }
        let result = RuleResult {
            policy: self.name.clone(),
            rule: String::new(),
            image: None,
            digest: None,
            status: Status::Error,
            action: self.action,
            fail_closed: self.fail_closed,
            reason: CouldNotReason::Unusable.code().into(),
            message: self.message.clone(),
            properties: BTreeMap::new(),
            decided_by: Vec::new(),
            level: None,
        };
        Ok((vec![result], Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_client::policy::{NoCluster, SourceOptions};
    use countersign_clock::{SystemClock, Timestamp};
    use countersign_policy::PolicySet;
    use serde_json::json;
    use std::collections::HashMap;

    const GOOD: &str = "apiVersion: countersign.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: good}\n\
                        spec: {images: [\"r.example/*\"], signedBy: {repo: acme/app}}\n";

    fn document(text: &str) -> Document {
        read_documents(text).unwrap().remove(0)
    }

    fn policies(files: bool, cluster: bool) -> (Policies, Arc<Admission>) {
        let source = Arc::new(Source::new(SourceOptions {
            registry: Default::default(),
            cluster: Arc::new(NoCluster),
            trust: BTreeMap::new(),
        }));
        let admission = Arc::new(Admission::new(Arc::clone(&source), Arc::new(SystemClock)));
        let policies = Policies::new(PoliciesOptions {
            admission: Arc::clone(&admission),
            source,
            metrics: Arc::default(),
            installation: BTreeMap::new(),
            exceptions: Vec::new(),
            files,
            cluster,
        });
        (policies, admission)
    }

    fn count(admission: &Admission) -> Option<usize> {
        admission.policies().map(|set| set.iter().count())
    }

    #[test]
    fn nothing_is_judged_before_all_are_there_that_are_waited_for() {
        let (policies, admission) = policies(true, true);
        policies.set_cluster(vec![document(GOOD)]);
        assert_eq!(count(&admission), None);
        policies.set_files(&[("a".into(), GOOD.into())]).unwrap();
        assert_eq!(count(&admission), None, "policy-controller's ConfigMap");
        policies.set_controller(None);
        assert_eq!(count(&admission), Some(2));
    }

    #[test]
    fn wrong_files_leave_what_held_before() {
        let (policies, admission) = policies(true, false);
        policies.set_files(&[("good.yaml".into(), GOOD.into())]).unwrap();
        for wrong in
            ["x: [", &GOOD.replace("signedBy", "signedBye"), &GOOD.replace("ImagePolicy", "ImagePolice")]
        {
            let error = policies.set_files(&[("wrong.yaml".into(), wrong.to_string())]).unwrap_err();
            assert!(error.to_string().starts_with("wrong.yaml: "), "{error}");
            assert_eq!(count(&admission), Some(1));
        }
    }

    fn decide(document: Document, request: &Request) -> Vec<RuleResult> {
        let (loaded, errors) = load_all([document].into_iter(), Namespaces::All);
        assert_eq!(errors.len(), 1);
        let set: PolicySet = loaded.into_policy_set(&[]);
        set.evaluate(request, &HashMap::new(), Timestamp::UNIX_EPOCH).unwrap().results
    }

    #[test]
    fn a_policy_of_the_cluster_that_cannot_be_read_refuses_what_it_may_be_about() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "shop"},
            "spec": {"containers": [{"name": "a", "image": "r.example/a:1"}]}});
        let request = Request::of_object(pod);
        let wrong = |kind: &str, spec: &str| {
            document(&format!(
                "apiVersion: kyverno.io/v1\nkind: {kind}\nmetadata: {{name: p, namespace: shop}}\nspec: {spec}\n"
            ))
        };
        let images =
            "{validationFailureAction: Enforce, rules: [{name: a, verifyImages: [{imageReferenzes: []}]}]}";
        let results = decide(wrong("ClusterPolicy", images), &request);
        assert!(results[0].denies() && results[0].status == Status::Error);
        assert!(results[0].message.contains("ClusterPolicy/p: spec.rules[0]"), "{}", results[0].message);

        let ignoring = images.replacen('{', "{failurePolicy: Ignore, ", 1);
        assert!(!decide(wrong("ClusterPolicy", &ignoring), &request)[0].denies());
        assert!(decide(wrong("Policy", images), &request)[0].denies());
        let mut elsewhere = request.clone();
        elsewhere.namespace = "other".into();
        assert!(decide(wrong("Policy", images), &elsewhere).is_empty());
        let service = Request::of_object(json!({"apiVersion": "v1", "kind": "Service"}));
        assert!(decide(wrong("ClusterPolicy", images), &service).is_empty(), "no image");
        let audits = images.replace("Enforce", "Audit");
        let audited = decide(wrong("ClusterPolicy", &audits), &request);
        assert!(!audited[0].denies() && audited[0].warns(), "what would only tell, tells");
        let generates = "{rules: [{name: a, generate: {kind: Secret}}]}";
        assert!(decide(wrong("ClusterPolicy", generates), &request).is_empty(), "Kyverno's own");
    }

    #[test]
    fn a_policy_over_custom_resources_that_cannot_be_read_refuses_these_too() {
        let object = |version: &str, kind: &str| {
            Request::of_object(
                json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a", "namespace": "shop"}}),
            )
        };
        let own = "apiVersion: countersign.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: p}\n\
                   spec: {images: ['**'], signedBye: {}, customResources: {Task: [/spec/steps/*/image]}}\n";
        let kyverno = "apiVersion: kyverno.io/v1\nkind: ClusterPolicy\nmetadata: {name: p}\n\
                       spec: {validationFailureAction: Enforce, rules: [{name: a, imageExtractors: {Task: [{path: /x}]}, \
                       verifyImages: [{imageReferenzes: []}]}]}\n";
        let validating = "apiVersion: policies.kyverno.io/v1\nkind: ImageValidatingPolicy\nmetadata: {name: p}\n\
                          spec: {matchConstraints: {resourceRules: [{apiGroups: [tekton.dev], apiVersions: ['*'], \
                          operations: [CREATE], resources: [tasks, pods]}]}, attestorz: []}\n";
        let starred = validating.replace("[tasks, pods]", "['*']");
        let results = decide(document(&starred), &object("tekton.dev/v1", "Task"));
        assert!(results[0].denies() && results[0].status == Status::Error);
        assert!(decide(document(&starred), &object("v1", "Service")).is_empty());
        for text in [own, kyverno, validating] {
            let results = decide(document(text), &object("tekton.dev/v1", "Task"));
            assert!(results[0].denies() && results[0].status == Status::Error, "{text}");
            assert!(decide(document(text), &object("v1", "Service")).is_empty(), "{text}");
            let (loaded, _) = load_all([document(text)].into_iter(), Namespaces::All);
            let told = loaded.into_policy_set(&[]).custom_objects();
            assert_eq!(told.len(), 1, "the API server goes on asking: {told:?}");
        }
    }
}
