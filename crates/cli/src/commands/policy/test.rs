//! `countersign policy test`: Kyverno's `kyverno-test.yaml` files as they are, over registries as they are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use countersign_client::policy::{Source, SourceOptions, decide};
use countersign_clock::SystemClock;
use countersign_http::text::printable;
use countersign_policy::images::{ImagesError, workload_images};
use countersign_policy::{
    Decision, Document, Glob, PolicyKind, PolicyName, PolicySet, ReadError, Request, Status, User,
    from_value, load,
};
use countersign_registry::Reference;
use serde::Deserialize;
use serde_json::{Value, json};

use super::cluster::{Files, member};
use super::resources::{Meant, ResourceSpec};
use super::values::{Asking, Values, difference};
use super::verify::{BUDGET, Roots, fetch_trust_roots, without_repository};
use super::{documents, wrong};
use crate::args::OutputArgs;
use crate::args::registry::RegistryArgs;
use crate::args::services::TrustArgs;
use crate::failure::{Failure, Outcome, REJECTED};
use crate::out::{Terminal, block_on};

/// The name of the files.
const NAME: &str = "kyverno-test.yaml";
/// The group of the files of Kyverno's command line.
const GROUP: &str = "cli.kyverno.io";
/// How deep directories are looked through.
const MAX_DEPTH: usize = 16;
/// The most files of tests in one run.
const MAX_TESTS: usize = 10_000;

/// Run Kyverno's tests of policies (kyverno-test.yaml) over the images that they name
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign policy test policies/
  countersign policy test policies/verify-image/.kyverno-test/kyverno-test.yaml",
    after_help = "Signatures are looked for in the registries that the resources name. Namespaces and ConfigMaps among the resources are \
what a policy finds when it asks the cluster. Exits with 2 when a result is another than expected."
)]
pub(super) struct Test {
    /// Files of tests, or directories in which kyverno-test.yaml is looked for
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// A file of tests as it is written, after its head.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    /// What people call it, in the older form.
    #[serde(default, rename = "name")]
    _name: String,
    policies: Vec<PathBuf>,
    resources: Vec<PathBuf>,
    #[serde(default)]
    exceptions: Vec<PathBuf>,
    /// A file of values of variables.
    variables: Option<PathBuf>,
    /// The same in the test itself.
    values: Option<Values>,
    /// A file that says who asks.
    userinfo: Option<PathBuf>,
    results: Vec<Expected>,
    json_payload: Option<Value>,
    target_resources: Option<Value>,
    param_resources: Option<Value>,
    cluster_resources: Option<Value>,
    checks: Option<Value>,
    context: Option<Value>,
}

/// What is expected of a policy over resources.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Expected {
    /// `name`, or `namespace/name`.
    policy: String,
    rule: Option<String>,
    /// The older form of one.
    resource: Option<String>,
    #[serde(default)]
    resources: Vec<String>,
    namespace: Option<String>,
    kind: Option<String>,
    #[serde(default)]
    resource_specs: Vec<ResourceSpec>,
    #[serde(alias = "status")]
    result: Wanted,
    /// The object as it is after images were pinned.
    #[serde(alias = "patchedResource")]
    patched_resources: Option<PathBuf>,
    /// That the policy is one of the newer kind.
    #[serde(default, rename = "isImageValidatingPolicy", alias = "isImageVerificationPolicy")]
    image_validating: bool,
    generated_resource: Option<Value>,
    clone_source_resource: Option<Value>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    Pass,
    Fail,
    /// A failure of a policy that is not scored.
    Warn,
    Skip,
    Error,
}

impl Wanted {
    const fn code(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Warn => "warn",
            Self::Skip => "skip",
            Self::Error => "error",
        }
    }
}

/// One result that was expected, and what came.
struct Line {
    file: String,
    about: String,
    expected: &'static str,
    found: &'static str,
    why: String,
}

impl Test {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        without_repository(&self.registry)?;
        let mut files = Vec::new();
        for path in &self.files {
            if path.is_dir() { find(path, 0, &mut files)? } else { files.push(path.clone()) }
        }
        if files.is_empty() {
            return Err(Failure::usage(format!("expected files named {NAME}, found none")));
        }
        let roots = Roots::of(&self.trust)?;
        let mut lines = Vec::new();
        for file in &files {
            lines.extend(self.of_file(terminal, file, &roots)?);
        }
        let failed = lines.iter().filter(|line| line.expected != line.found).count();
        if self.output.is_json() {
            let results: Vec<Value> = lines
                .iter()
                .map(|line| {
                    json!({"file": line.file, "about": line.about, "expected": line.expected,
                        "found": line.found, "message": line.why})
                })
                .collect();
            terminal.json("policy-test", 1, &json!({"passed": failed == 0, "results": results}))?;
        } else {
            for line in &lines {
                let (expected, found) = (line.expected, line.found);
                let about = printable(&format!("{}: {}", line.file, line.about));
                terminal.line(&match line.expected == line.found {
                    true => format!("{} {about}: {found}", terminal.yes()),
                    false => format!(
                        "{} {about}: expected {expected}, found {found}: {}",
                        terminal.no(),
                        printable(&line.why)
                    ),
                })?;
            }
            terminal.line(&format!("{} results, {failed} other than expected", lines.len()))?;
        }
        Ok(if failed == 0 { 0 } else { REJECTED })
    }

    fn of_file(&self, terminal: &Terminal, file: &Path, roots: &Roots) -> Result<Vec<Line>, Failure> {
        let written: Written = object(file, &["Test"])?;
        if written.results.is_empty() {
            return Err(Failure::usage(format!(
                "{}: results: expected at least one, found none",
                file.display()
            )));
        }
        written.only_about_images().map_err(|what| Failure::usage(format!("{}: {what}", file.display())))?;
        let home = file.parent().unwrap_or(Path::new("."));
        let read = |paths: &mut dyn Iterator<Item = &PathBuf>| {
            let mut all = Vec::new();
            for path in paths {
                let path = home.join(path);
                all.extend(documents(&path)?.map_err(|error| wrong(&path, &[error]))?);
            }
            Ok::<_, Failure>(all)
        };
        let policies = read(&mut written.policies.iter().chain(&written.exceptions))?;
        let resources = read(&mut written.resources.iter())?;
        let mut loaded = load(policies.clone()).map_err(|errors| wrong(file, &errors))?;
        let values = match &written.variables {
            Some(path) => object(&home.join(path), &["Values", "Value"])?,
            None => written.values.unwrap_or_default(),
        };
        let user: User = match &written.userinfo {
            Some(path) => object::<Asking>(&home.join(path), &["UserInfo"])?.into(),
            None => User::default(),
        };
        let hosts = hosts(&resources)
            .map_err(|error| Failure::usage(format!("{}: a resource's images: {error}", file.display())))?;
        let registry = self.registry.options(hosts.iter().map(String::as_str))?;
        let (trust, objects) = (roots.named(), std::mem::take(&mut loaded.trust_roots));
        let of_cluster = |files: Files| {
            let (registry, trust) = (registry.clone(), trust.clone());
            let source = Source::new(SourceOptions { registry, cluster: Arc::new(files), trust });
            block_on(terminal, async {
                fetch_trust_roots(terminal, &source, objects.clone()).await;
                Ok(())
            })?;
            Ok::<_, Failure>(source)
        };
        let files = Files::of(&resources, &values);
        let source = of_cluster(files.clone())?;
        let anywhere = Glob::wildcard("*").map_err(|e| Failure::internal(e.to_string()))?;
        let set = loaded.into_policy_set(&[anywhere]);
        let mut lines = Vec::new();
        for (index, expected) in written.results.iter().enumerate() {
            let wrong =
                |what: String| Failure::usage(format!("{}: results[{index}]: {what}", file.display()));
            let patched = match &expected.patched_resources {
                Some(path) => Some(read(&mut std::iter::once(path))?),
                None => None,
            };
            for resource in expected.resources_of(&resources, &set).map_err(wrong)? {
                let mut request = Request::of_object(resource.value.clone());
                request.user = user.clone();
                let (policy, rule) = (expected.policy.as_str(), expected.rule.as_deref());
                let entries = values
                    .put(policy, rule, member(resource, "name"), &policies, &mut request)
                    .map_err(|what| wrong(format!("the value {what}")))?;
                let with_entries =
                    (!entries.is_empty()).then(|| of_cluster(files.clone().with(entries))).transpose()?;
                let source = with_entries.as_ref().unwrap_or(&source);
                let decision = block_on(terminal, async {
                    Ok(decide(&set, &request, source, &SystemClock, BUDGET).await)
                })?;
                let mut line = expected.line(file, resource, &decision, is_scored(policy, &policies));
                if let Some(patched) = &patched {
                    line.compare(patched, resource, &decision).map_err(wrong)?;
                }
                lines.push(line);
            }
        }
        Ok(lines)
    }
}

impl Written {
    /// What other tests of Kyverno have and those of policies over images have no use for is refused, never passed over.
    fn only_about_images(&self) -> Result<(), String> {
        let fields = [
            ("jsonPayload", &self.json_payload, "policies here are about objects of a cluster"),
            ("targetResources", &self.target_resources, "nothing but images is changed here"),
            ("paramResources", &self.param_resources, "policies over images take no parameters"),
            (
                "clusterResources",
                &self.cluster_resources,
                "put Namespaces and ConfigMaps among the resources",
            ),
            ("checks", &self.checks, "write what is expected under results"),
            ("context", &self.context, "put ConfigMaps among the resources; registries are asked"),
        ];
        let given = |value: &Option<Value>| !matches!(value, None | Some(Value::Null));
        if let Some((field, _, advice)) = fields.into_iter().find(|(_, value, _)| given(value)) {
            return Err(format!("{field}: expected no such field in a test over images: {advice}"));
        }
        let makes = |expected: &Expected| {
            given(&expected.generated_resource) || given(&expected.clone_source_resource)
        };
        match self.results.iter().position(makes) {
            Some(index) => Err(format!(
                "results[{index}].generatedResource: expected results over images; objects are not made here"
            )),
            None => Ok(()),
        }
    }
}

/// The one object of a file of Kyverno's command line, as this type. Its head must be of one of these kinds; files of the older
/// form have none.
fn object<T: serde::de::DeserializeOwned>(path: &Path, kinds: &[&str]) -> Result<T, Failure> {
    let found = match documents(path)? {
        Ok(found) => found,
        Err(_) => untyped(path, kinds.first().copied().unwrap_or_default())?,
    };
    let [document] = found.as_slice() else {
        let message = format!("{}: expected one document, found {}", path.display(), found.len());
        return Err(Failure::usage(message));
    };
    let body = headless(document, kinds).map_err(|error| wrong(path, &[error]))?;
    from_value(&body).map_err(|error| wrong(path, &[error]))
}

/// What stands below the head, which says what it is. What people call it does not matter.
fn headless(document: &Document, kinds: &[&str]) -> Result<Value, ReadError> {
    let (version, kind) = (&document.api_version, document.kind.as_str());
    if version.split_once('/').is_none_or(|(group, _)| group != GROUP) {
        return Err(ReadError::new("apiVersion", format!("expected {GROUP}/v1alpha1, found {version}")));
    }
    if !kinds.contains(&kind) {
        return Err(ReadError::new("kind", format!("expected {}, found {kind}", kinds.join(" or "))));
    }
    let mut body = document.value.clone();
    if let Value::Object(fields) = &mut body {
        ["apiVersion", "kind", "metadata"].into_iter().for_each(|name| drop(fields.remove(name)));
    }
    Ok(body)
}

/// Whether failures of a policy count: the annotation of Kyverno's reports.
fn is_scored(policy: &str, policies: &[Document]) -> bool {
    let name = policy.rsplit_once('/').map_or(policy, |(_, name)| name);
    let annotated = |document: &&Document| member(document, "name") == name;
    let scored = |document: &Document| {
        let annotations = document.value.pointer("/metadata/annotations");
        annotations.and_then(|all| all.get("policies.kyverno.io/scored")).and_then(Value::as_str)
            != Some("false")
    };
    policies.iter().filter(annotated).all(scored)
}

impl Line {
    /// Compares what the object is after images were pinned.
    fn compare(
        &mut self,
        patched: &[Document],
        resource: &Document,
        decision: &Decision,
    ) -> Result<(), String> {
        let is_same = |document: &&Document| {
            document.kind == resource.kind
                && ["name", "namespace"]
                    .iter()
                    .all(|field| member(document, field) == member(resource, field))
        };
        let expected = patched.iter().find(is_same).ok_or_else(|| {
            format!("patchedResources: expected {}, found no such object", resource.title())
        })?;
        let mut found = resource.value.clone();
        for pin in &decision.pins {
            if let Some(image) = found.pointer_mut(&pin.pointer) {
                *image = pin.to.clone().into();
            }
        }
        let mut expected = expected.value.clone();
        // Kyverno writes down in the object that it looked. Nobody may believe that, so it is not written here.
        for name in ["kyverno.io/verify-images", "kyverno.io/verify-images-scoped"] {
            if let Some(Value::Object(annotations)) = expected.pointer_mut("/metadata/annotations") {
                annotations.remove(name);
            }
        }
        if expected.pointer("/metadata/annotations").is_some_and(|all| *all == json!({}))
            && let Some(Value::Object(metadata)) = expected.get_mut("metadata")
        {
            metadata.remove("annotations");
        }
        if let Some(text) = difference(&expected, &found, "") {
            self.found = Wanted::Fail.code();
            self.why = format!("the patched resource: {text}");
        }
        Ok(())
    }
}

/// A file of the older form, which says neither its version nor its kind.
fn untyped(file: &Path, kind: &str) -> Result<Vec<Document>, Failure> {
    let text = super::text_of(file)?;
    let typed = format!("apiVersion: {GROUP}/v1alpha1\nkind: {kind}\n{text}");
    countersign_policy::read_documents(&typed).map_err(|error| wrong(file, &[error]))
}

/// The registries of the images in resources, which alone are given a login that stands on the command line.
fn hosts(resources: &[Document]) -> Result<BTreeSet<String>, ImagesError> {
    let mut hosts = BTreeSet::new();
    for resource in resources {
        let images = workload_images(&resource.value)?;
        let named = images.iter().filter_map(|used| Reference::parse(&used.image).ok());
        hosts.extend(named.map(|image| image.registry().to_owned()));
    }
    Ok(hosts)
}

/// The files of tests in a directory and below it, in their order.
fn find(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::usage(format!("{}: {error}", directory.display()));
    if depth > MAX_DEPTH || found.len() > MAX_TESTS {
        let message = format!(
            "expected at most {MAX_DEPTH} levels and {MAX_TESTS} tests below {}",
            directory.display()
        );
        return Err(Failure::usage(message));
    }
    let mut inside = std::fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>())
        .map_err(failed)?;
    inside.sort();
    for path in inside {
        if path.is_dir() && !path.is_symlink() {
            find(&path, depth + 1, found)?;
        } else if path.file_name().is_some_and(|name| name == NAME) {
            found.push(path);
        }
    }
    Ok(())
}

impl Expected {
    /// Whether it is about this policy.
    fn is_of(&self, policy: &PolicyName) -> bool {
        let newer = matches!(
            policy.kind,
            PolicyKind::ImageValidatingPolicy | PolicyKind::NamespacedImageValidatingPolicy
        );
        policy_name(policy) == self.policy && (newer || !self.image_validating)
    }

    /// The resources that are meant. What names none is a mistake in the test.
    fn resources_of<'a>(
        &self,
        all: &'a [Document],
        policies: &PolicySet,
    ) -> Result<Vec<&'a Document>, String> {
        let known: Vec<PolicyName> = policies.iter().map(|policy| policy.name()).collect();
        if !known.iter().any(|name| self.is_of(name)) {
            let known = known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let kind = if self.image_validating { " that is an ImageValidatingPolicy" } else { "" };
            return Err(format!("policy: expected one of {known}, found {}{kind}", self.policy));
        }
        let named = self.resource.iter().chain(&self.resources).map(|name| Meant::parse(name));
        let specified = self.resource_specs.iter().map(Meant::specified);
        let mut meant = Vec::new();
        for one in named.chain(specified) {
            let mut one = one?;
            one.namespace = one.namespace.or(self.namespace.as_deref());
            one.kind = one.kind.or(self.kind.as_deref());
            let before = meant.len();
            meant.extend(all.iter().filter(|resource| one.is(resource)));
            if meant.len() == before {
                return Err(format!(
                    "resources: expected a resource of the test, found {}, which is none",
                    one.shown
                ));
            }
        }
        if meant.is_empty() {
            return Err("resources: expected at least one name, found none".into());
        }
        Ok(meant)
    }

    fn line(&self, file: &Path, resource: &Document, decision: &Decision, scored: bool) -> Line {
        let of_rule = |rule: &str| {
            self.rule.as_deref().is_none_or(|wanted| {
                rule == wanted
                    || ["autogen-", "autogen-cronjob-"]
                        .iter()
                        .any(|prefix| rule.strip_prefix(prefix) == Some(wanted))
            })
        };
        let said = decision
            .results
            .iter()
            .filter(|result| self.is_of(&result.policy) && of_rule(&result.rule))
            .max_by_key(|result| result.status);
        let rule = self.rule.as_deref().map(|rule| format!(", {rule}")).unwrap_or_default();
        let namespace = match member(resource, "namespace") {
            "" => String::new(),
            namespace => format!("{namespace}/"),
        };
        Line {
            file: file.display().to_string(),
            about: format!(
                "{}{rule} over {} {namespace}{}",
                self.policy,
                resource.kind,
                member(resource, "name")
            ),
            expected: self.result.code(),
            // What a rule is not about it says nothing of, which Kyverno calls skipped.
            found: match said.map_or(Status::Skip, |result| result.status) {
                Status::Fail if !scored => Wanted::Warn.code(),
                status => status.code(),
            },
            why: said.map_or_else(|| "the rule says nothing of it".into(), |result| result.message.clone()),
        }
    }
}

fn policy_name(policy: &PolicyName) -> String {
    match policy.namespace.as_str() {
        "" => policy.name.clone(),
        namespace => format!("{namespace}/{}", policy.name),
    }
}
