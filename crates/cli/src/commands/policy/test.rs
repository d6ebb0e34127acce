//! `countersign policy test`: Kyverno's `kyverno-test.yaml` files as they are, over registries as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use countersign_client::policy::{Cluster, SecretData, Source, SourceOptions, Told, decide};
use countersign_clock::SystemClock;
use countersign_http::text::printable;
use countersign_policy::images::{ImagesError, workload_images};
use countersign_policy::{
    CouldNot, CouldNotReason, Decision, Document, Glob, ObjectName, PolicySet, Request, Status, from_value,
    load,
};
use countersign_registry::Reference;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::verify::{BUDGET, Roots, fetch_trust_roots, without_repository};
use super::{documents, wrong};
use crate::args::OutputArgs;
use crate::args::registry::RegistryArgs;
use crate::args::services::TrustArgs;
use crate::failure::{Failure, Outcome, REJECTED};
use crate::out::{Terminal, block_on};

/// The name of the files.
const NAME: &str = "kyverno-test.yaml";
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

/// A file of tests as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    /// Of the newer form.
    #[serde(default, rename = "apiVersion")]
    _api_version: Option<IgnoredAny>,
    #[serde(default, rename = "kind")]
    _kind: Option<IgnoredAny>,
    #[serde(default, rename = "metadata")]
    _metadata: Option<IgnoredAny>,
    /// Of the older form.
    #[serde(default, rename = "name")]
    _name: Option<IgnoredAny>,
    policies: Vec<PathBuf>,
    resources: Vec<PathBuf>,
    #[serde(default)]
    exceptions: Vec<PathBuf>,
    results: Vec<Expected>,
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
    #[serde(alias = "status")]
    result: Wanted,
    /// The policy's own kind says it.
    #[serde(default, rename = "isImageValidatingPolicy", alias = "isImageVerificationPolicy")]
    _image_validating: Option<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    Pass,
    Fail,
    Skip,
    Error,
}

impl From<Wanted> for Status {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Pass => Self::Pass,
            Wanted::Fail => Self::Fail,
            Wanted::Skip => Self::Skip,
            Wanted::Error => Self::Error,
        }
    }
}

/// One result that was expected, and what came.
struct Line {
    file: String,
    about: String,
    expected: Status,
    found: Status,
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
                    json!({"file": line.file, "about": line.about, "expected": line.expected.code(),
                        "found": line.found.code(), "message": line.why})
                })
                .collect();
            terminal.json("policy-test", 1, &json!({"passed": failed == 0, "results": results}))?;
        } else {
            for line in &lines {
                let (expected, found) = (line.expected.code(), line.found.code());
                let about = format!("{}: {}", line.file, line.about);
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
        let found = match documents(file)? {
            Ok(found) => found,
            Err(_) => untyped(file)?,
        };
        let [document] = found.as_slice() else {
            return Err(Failure::usage(format!(
                "{}: expected one test, found {}",
                file.display(),
                found.len()
            )));
        };
        let written: Written = from_value(&document.value).map_err(|error| wrong(file, &[error]))?;
        if written.results.is_empty() {
            return Err(Failure::usage(format!(
                "{}: results: expected at least one, found none",
                file.display()
            )));
        }
        let home = file.parent().unwrap_or(Path::new("."));
        let mut policies = Vec::new();
        for path in written.policies.iter().chain(&written.exceptions) {
            let path = home.join(path);
            policies.extend(documents(&path)?.map_err(|error| wrong(&path, &[error]))?);
        }
        let mut loaded = load(policies).map_err(|errors| wrong(file, &errors))?;
        let mut resources = Vec::new();
        for path in &written.resources {
            let path = home.join(path);
            resources.extend(documents(&path)?.map_err(|error| wrong(&path, &[error]))?);
        }
        let hosts = hosts(&resources)
            .map_err(|error| Failure::usage(format!("{}: a resource's images: {error}", file.display())))?;
        let source = Source::new(SourceOptions {
            registry: self.registry.options(hosts.iter().map(String::as_str))?,
            cluster: Arc::new(Files::of(&resources)),
            trust: roots.named(),
        });
        let objects = std::mem::take(&mut loaded.trust_roots);
        block_on(terminal, async {
            fetch_trust_roots(terminal, &source, objects).await;
            Ok(())
        })?;
        let anywhere = Glob::wildcard("*").map_err(|e| Failure::internal(e.to_string()))?;
        let policies = loaded.into_policy_set(&[anywhere]);
        let mut lines = Vec::new();
        for (index, expected) in written.results.iter().enumerate() {
            let meant = expected
                .resources_of(&resources, &policies)
                .map_err(|what| Failure::usage(format!("{}: results[{index}]: {what}", file.display())))?;
            for resource in meant {
                let request = Request::of_object(resource.value.clone());
                let decision = block_on(terminal, async {
                    Ok(decide(&policies, &request, &source, &SystemClock, BUDGET).await)
                })?;
                lines.push(expected.line(file, resource, &decision));
            }
        }
        Ok(lines)
    }
}

/// A test of the older form, which says neither its version nor its kind.
fn untyped(file: &Path) -> Result<Vec<Document>, Failure> {
    let text = super::text_of(file)?;
    let typed = format!("apiVersion: cli.kyverno.io/v1alpha1\nkind: Test\n{text}");
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

fn member<'a>(document: &'a Document, name: &str) -> &'a str {
    document.value.pointer(&format!("/metadata/{name}")).and_then(Value::as_str).unwrap_or_default()
}

impl Expected {
    /// The resources that are meant. What names none is a mistake in the test.
    fn resources_of<'a>(
        &self,
        all: &'a [Document],
        policies: &PolicySet,
    ) -> Result<Vec<&'a Document>, String> {
        let known: Vec<String> = policies.iter().map(|policy| policy_name(&policy.name())).collect();
        if !known.contains(&self.policy) {
            return Err(format!("policy: expected one of {}, found {}", known.join(", "), self.policy));
        }
        let names: Vec<&String> = self.resource.iter().chain(&self.resources).collect();
        if names.is_empty() {
            return Err("resources: expected at least one name, found none".into());
        }
        let mut meant = Vec::new();
        for name in names {
            let parts: Vec<&str> = name.split('/').collect();
            let (kind, namespace, plain) = match parts.as_slice() {
                [plain] => (None, None, *plain),
                [namespace, plain] => (None, Some(*namespace), *plain),
                [_, kind, namespace, plain] => (Some(*kind), Some(*namespace), *plain),
                _ => return Err(format!("resources: expected name or namespace/name, found {name}")),
            };
            let namespace = namespace.or(self.namespace.as_deref());
            let kind = kind.or(self.kind.as_deref());
            let before = meant.len();
            meant.extend(all.iter().filter(|resource| {
                let own = member(resource, "namespace");
                member(resource, "name") == plain
                    && kind.is_none_or(|kind| kind == resource.kind)
                    && namespace.is_none_or(|wanted| own == wanted || (own.is_empty() && wanted == "default"))
            }));
            if meant.len() == before {
                return Err(format!(
                    "resources: expected a resource of the test, found {name}, which is none"
                ));
            }
        }
        Ok(meant)
    }

    fn line(&self, file: &Path, resource: &Document, decision: &Decision) -> Line {
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
            .filter(|result| policy_name(&result.policy) == self.policy && of_rule(&result.rule))
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
            expected: self.result.into(),
            // What a rule is not about it says nothing of, which Kyverno calls skipped.
            found: said.map_or(Status::Skip, |result| result.status),
            why: said.map_or_else(|| "the rule says nothing of it".into(), |result| result.message.clone()),
        }
    }
}

fn policy_name(policy: &countersign_policy::PolicyName) -> String {
    match policy.namespace.as_str() {
        "" => policy.name.clone(),
        namespace => format!("{namespace}/{}", policy.name),
    }
}

/// What a cluster would tell, from the resources of a test.
#[derive(Debug)]
struct Files {
    config_maps: BTreeMap<ObjectName, BTreeMap<String, String>>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

impl Files {
    fn of(resources: &[Document]) -> Self {
        let texts = |value: Option<&Value>| {
            let fields = value.and_then(Value::as_object).into_iter().flatten();
            fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
        };
        let mut files = Self { config_maps: BTreeMap::new(), namespaces: BTreeMap::new() };
        for resource in resources {
            let name = member(resource, "name").to_owned();
            match (resource.api_version.as_str(), resource.kind.as_str()) {
                ("v1", "Namespace") => {
                    files.namespaces.insert(name, texts(resource.value.pointer("/metadata/labels")));
                }
                ("v1", "ConfigMap") => {
                    let namespace = match member(resource, "namespace") {
                        "" => "default",
                        namespace => namespace,
                    };
                    let name = ObjectName { namespace: namespace.to_owned(), name };
                    files.config_maps.insert(name, texts(resource.value.get("data")));
                }
                _ => {}
            }
        }
        files
    }
}

fn found<T: Clone + Send + 'static>(what: &str, value: Option<&T>) -> Told<'static, T> {
    let told = value.cloned().ok_or_else(|| {
        CouldNot::new(CouldNotReason::NotFound, format!("{what} is not among the resources of the test"))
    });
    Box::pin(async { told })
}

impl Cluster for Files {
    fn config_map<'a>(&'a self, name: &'a ObjectName) -> Told<'a, BTreeMap<String, String>> {
        found(&format!("the ConfigMap {name}"), self.config_maps.get(name))
    }

    fn namespace_labels<'a>(&'a self, name: &'a str) -> Told<'a, BTreeMap<String, String>> {
        found(&format!("the namespace {name}"), self.namespaces.get(name))
    }

    fn secret<'a>(&'a self, name: &'a ObjectName) -> Told<'a, SecretData> {
        found(&format!("the secret {name}"), None)
    }

    fn pull_secrets<'a>(&'a self, service_account: &'a ObjectName) -> Told<'a, Vec<ObjectName>> {
        found(&format!("the service account {service_account}"), None)
    }
}
