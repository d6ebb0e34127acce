//! `countersign scan`: the images of manifests judged by controls. Data on standard output or in a file; the exit code tells.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use countersign_client::artifact::{read_limited, write_atomically};
use countersign_client::policy::{NoCluster, Source, SourceOptions};
use countersign_client::trust::Trust;
use countersign_clock::{Clock as _, SystemClock};
use countersign_http::text::printable;
use countersign_kubernetes::scan::{
    Baseline, Control, Exceptions, Format, MAX_TEXT, Report, Resource, ScanOptions, Scanner, Settings,
    Severity, Thresholds, Verdict, read_resources,
};
use countersign_policy::{Glob, PolicySet, TrustRoot};
use countersign_registry::{Reference, Repository};

use crate::args::number;
use crate::args::registry::{RegistryArgs, image};
use crate::args::revocation::RevocationArgs;
use crate::args::services::TrustArgs;
use crate::commands::policy::{self, loaded};
use crate::failure::{Failure, NETWORK, Outcome, REJECTED, TRUST};
use crate::out::{Terminal, block_on, counted};

/// The largest file of settings or exceptions, in bytes.
const MAX_SETTINGS: usize = 4 << 20;
/// The most files in the directories that are named.
const MAX_FILES: usize = 20_000;
/// How deep directories are read.
const MAX_DEPTH: usize = 32;

const CODES: &str = "\
Exit codes: 0 all holds that is asked for, 1 usage, 2 something does not hold, 6 nothing is known not to hold but not everything
could be looked at. Without a threshold every failure counts. docs/scanning.md tells what each control looks for.";

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign scan deploy/                              all controls over a directory of manifests
  helm template shop | countersign scan -               a chart's output
  countersign scan control C-0237 -v deployment.yaml    one control, and what passes too
  countersign scan image registry.example/shop:v1
  countersign scan registries deploy/                   which registries are drawn from, and how much is unsigned
  countersign scan --format sarif -o scan.sarif --baseline last.json deploy/",
    after_help = CODES,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Scan {
    #[command(subcommand)]
    action: Option<Action>,
    /// Files of Kubernetes objects, directories of them, or - for standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Subcommand)]
enum Action {
    Control(ControlScan),
    Image(ImageScan),
    Registries(RegistriesScan),
}

/// Check one control, or several: C-0237 signature exists, C-0236 it verifies, C-0078, C-0001, C-0306, CS-0001, CS-0002, CS-0003
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign scan control C-0237 -v deployment.yaml
  countersign scan control C-0236,C-0078 --controls-config controls.yaml deploy/",
    after_help = CODES
)]
struct ControlScan {
    /// The controls, with commas between them
    #[arg(value_name = "ID", value_parser = controls)]
    controls: Controls,
    /// Files of Kubernetes objects, directories of them, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    how: How,
}

/// Check images by their names
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign scan image registry.example/shop:v1 registry.example/api:v3",
    after_help = CODES
)]
struct ImageScan {
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    how: How,
}

/// Show which registries are drawn from, and how much of it is unsigned: by registry and by namespace
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign scan registries deploy/
  kubectl get pods -A -o json | countersign scan registries --json -",
    after_help = "Exit codes: 0 everything was looked at, 1 usage, 6 something could not be looked at."
)]
struct RegistriesScan {
    /// Files of Kubernetes objects, directories of them, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON document instead of tables
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Which resources.
#[derive(Debug, Args)]
struct Which {
    /// Only these namespaces; objects that name none are of "default"
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "exclude_namespaces")]
    include_namespaces: Vec<String>,
    /// All but these namespaces
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    exclude_namespaces: Vec<String>,
    /// How many resources are looked at at once
    #[arg(long, value_name = "NUMBER", value_parser = number::<usize>, default_value_t = 16, hide_short_help = true)]
    concurrency: usize,
}

/// How it is scanned and told.
#[derive(Debug, Args)]
struct How {
    /// Show what passes too
    #[arg(short = 'v', long)]
    show_all: bool,
    /// pretty, json, junit, sarif, html, csv, markdown, prometheus or policyreport
    #[arg(short, long, value_name = "FORM", value_parser = format, default_value = "pretty")]
    format: Format,
    /// Write the report there instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Fail when the compliance score is below this, from 0 to 100, and not for each failure
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    compliance_threshold: Option<f64>,
    /// Fail for failures of this severity and above: low, medium, high, critical
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    severity_threshold: Option<Severity>,
    /// A file of exceptions, in Kubescape's form
    #[arg(long, value_name = "FILE")]
    exceptions: Option<PathBuf>,
    /// What the controls need to know, in Kubescape's form: keys, identities, registries
    #[arg(long, value_name = "FILE")]
    controls_config: Option<PathBuf>,
    /// A JSON report of an earlier scan; what failed there already does not count
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// A file or directory with policies, exceptions and trust roots, for CS-0003; several count together
    #[arg(long = "policy", value_name = "FILE|DIR")]
    policies: Vec<PathBuf>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    revocation: RevocationArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Several controls in one argument.
#[derive(Debug, Clone)]
struct Controls(Vec<Control>);

fn controls(text: &str) -> Result<Controls, String> {
    let known = Control::ALL.map(Control::id).join(", ");
    let control = |id: &str| {
        Control::parse(id).ok_or_else(|| format!("there is no control \"{id}\"; there are {known}"))
    };
    text.split(',').map(control).collect::<Result<_, _>>().map(Controls)
}

fn format(text: &str) -> Result<Format, String> {
    let known = Format::ALL.map(Format::name).join(", ");
    Format::ALL
        .into_iter()
        .find(|format| format.name() == text)
        .ok_or_else(|| format!("expected one of {known}"))
}

fn severity(text: &str) -> Result<Severity, String> {
    Severity::parse(text).ok_or_else(|| "expected low, medium, high or critical".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| (0.0..=100.0).contains(share));
    share.ok_or_else(|| format!("expected a number from 0 to 100, found \"{text}\""))
}

impl Scan {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.action {
            None if self.files.is_empty() => {
                Err(Failure::usage("no file is named, so there is nothing to scan")
                    .next("countersign scan --help"))
            }
            None => self.how.files(terminal, &Control::ALL, &self.files),
            Some(Action::Control(scan)) => scan.how.files(terminal, &scan.controls.0, &scan.files),
            Some(Action::Image(scan)) => scan.run(terminal),
            Some(Action::Registries(scan)) => scan.run(terminal),
        }
    }
}

impl ImageScan {
    fn run(&self, terminal: &Terminal) -> Outcome {
        let references: Vec<Reference> =
            self.images.iter().map(|text| image(text)).collect::<Result<_, _>>()?;
        let resources = self.images.iter().map(|text| text.strip_prefix("oci:").unwrap_or(text));
        let hosts: Vec<&str> = references.iter().map(Reference::registry).collect();
        self.how.scan(terminal, &Control::ALL, resources.map(Resource::of_image).collect(), &hosts)
    }
}

impl RegistriesScan {
    fn run(&self, terminal: &Terminal) -> Outcome {
        self.registry.check_no_login()?;
        let resources = self.which.read(terminal, &self.files, false)?;
        let options = ScanOptions {
            controls: vec![Control::SignatureExists],
            settings: Settings::default(),
            policies: PolicySet::default(),
            repository: evidence(&self.registry)?,
            at_once: self.which.concurrency,
        };
        let source = source(&self.registry, &[], Roots::new())?;
        let report = run(terminal, &Scanner::new(options, source, Arc::new(SystemClock)), resources)?;
        let audit = report.audit.unwrap_or_default();
        if self.json {
            terminal.json("scan-registries", 1, &audit)?;
        } else {
            terminal.data(&audit.to_string())?;
        }
        Ok(if audit.registries.values().any(|usage| usage.unchecked > 0) { NETWORK } else { 0 })
    }
}

impl How {
    fn files(&self, terminal: &Terminal, controls: &[Control], files: &[PathBuf]) -> Outcome {
        self.registry.check_no_login()?;
        self.scan(
            terminal,
            controls,
            self.which.read(
                terminal,
                files,
                controls.contains(&Control::Policy) && !self.policies.is_empty(),
            )?,
            &[],
        )
    }

    fn scan(
        &self,
        terminal: &Terminal,
        controls: &[Control],
        resources: Vec<Resource>,
        hosts: &[&str],
    ) -> Outcome {
        let settings = match &self.controls_config {
            None => Settings::default(),
            Some(path) => Settings::read(&text_of(path)?).map_err(|e| unusable(path, e))?,
        };
        let exceptions = match &self.exceptions {
            None => Exceptions::default(),
            Some(path) => {
                Exceptions::read(&text_of(path)?, SystemClock.now()).map_err(|e| unusable(path, e))?
            }
        };
        let baseline = match &self.baseline {
            None => Baseline::default(),
            Some(path) => Baseline::read(&read_limited(path, MAX_TEXT)?).map_err(|e| unusable(path, e))?,
        };
        for name in &exceptions.expired {
            terminal.talk(&format!("the exception \"{}\" is over and excepts nothing", printable(name)));
        }
        self.trust.refresh_revocations(terminal)?;
        let (policies, trust) = self.policies(&settings, controls)?;
        let source = source(&self.registry, hosts, trust)?;
        source.set_revocations(Ok(self.revocation.load(&self.trust)?));
        let options = ScanOptions {
            controls: controls.to_vec(),
            settings,
            policies,
            repository: evidence(&self.registry)?,
            at_once: self.which.concurrency,
        };
        let scanner = Scanner::new(options, source, Arc::new(SystemClock));
        if controls.iter().all(|control| scanner.skipped().contains_key(control)) {
            let why: Vec<String> =
                scanner.skipped().iter().map(|(control, why)| format!("{}: {why}", control.id())).collect();
            return Err(Failure::usage(format!("nothing would be checked; {}", why.join("; ")))
                .next("countersign scan control --help; docs/scanning.md shows a --controls-config"));
        }
        let report = run(terminal, &scanner, resources)?;
        let report = baseline.apply(exceptions.apply(report));
        self.tell(terminal, &report)?;
        let thresholds =
            Thresholds { compliance: self.compliance_threshold, severity: self.severity_threshold };
        Ok(match report.verdict(&thresholds) {
            Verdict::Good => 0,
            Verdict::Bad => REJECTED,
            Verdict::Unknown => NETWORK,
        })
    }

    fn tell(&self, terminal: &Terminal, report: &Report) -> Result<(), Failure> {
        let text = self.format.write(report, self.show_all).map_err(|e| Failure::internal(e.to_string()))?;
        let Some(path) = &self.output else { return terminal.data(&text) };
        write_atomically(path, text.as_bytes())?;
        let count = |number: usize| number as u64;
        terminal.talk(&format!(
            "{}: {} failed, {} could not be looked at; written to {}",
            counted(count(report.resources.all), "resource", "resources"),
            report.resources.failed,
            report.resources.unchecked,
            path.display()
        ));
        Ok(())
    }

    /// The policies, and whom to trust.
    fn policies(&self, settings: &Settings, controls: &[Control]) -> Result<(PolicySet, Roots), Failure> {
        if self.policies.is_empty() {
            return Ok((
                PolicySet::default(),
                [(None, policy::trust_root(self.trust(settings, controls)?)?)].into(),
            ));
        }
        if !controls.contains(&Control::Policy) {
            return Err(Failure::usage(format!(
                "--policy is for {}, which is not asked for",
                Control::Policy.id()
            )));
        }
        policy::without_repository(&self.registry)?;
        let mut loaded = loaded(&self.policies)?;
        let mut roots = policy::Roots::of(&self.trust)?.with(std::mem::take(&mut loaded.trust_roots))?;
        if !roots.contains_key(&None) && settings.names_signers() {
            roots.insert(None, policy::trust_root(self.trust(settings, controls)?)?);
        }
        // There is no cluster whose namespaces would limit exceptions: whoever names the file decides.
        let anywhere = Glob::wildcard("*").map_err(|e| Failure::internal(e.to_string()))?;
        Ok((loaded.into_policy_set(&[anywhere]), roots))
    }

    /// Whom to trust, when somebody is named whose signature is to be verified.
    fn trust(&self, settings: &Settings, controls: &[Control]) -> Result<Trust, Failure> {
        let verifies = [Control::SignatureVerifies, Control::Sbom, Control::Provenance];
        if !settings.names_signers() || !controls.iter().any(|control| verifies.contains(control)) {
            return Ok(Trust::nobody());
        }
        // A key says itself whom to trust when no log is asked for.
        let needs_none =
            !settings.demands.log && !settings.demands.timestamp && settings.identities.is_empty();
        match self.trust.load(None) {
            Err(failure) if needs_none && failure.code == TRUST => Ok(Trust::nobody()),
            loaded => loaded,
        }
    }
}

fn run(terminal: &Terminal, scanner: &Scanner, resources: Vec<Resource>) -> Result<Report, Failure> {
    let report = block_on(terminal, async { Ok(scanner.scan(resources).await) })?;
    if report.results.is_empty() {
        // Nothing that was looked at is not everything in order.
        return Err(Failure::usage("expected workloads with images, found none").next(
            "name files with Pods, Deployments and the like, or check the namespaces that are left out",
        ));
    }
    Ok(report)
}

/// Trust roots by their names; the machine's own has none.
type Roots = BTreeMap<Option<String>, Arc<TrustRoot>>;

/// Where answers come from.
fn source(registry: &RegistryArgs, hosts: &[&str], trust: Roots) -> Result<Source, Failure> {
    Ok(Source::new(SourceOptions {
        registry: registry.options(hosts.iter().copied())?,
        cluster: Arc::new(NoCluster),
        trust,
    }))
}

fn evidence(registry: &RegistryArgs) -> Result<Option<Repository>, Failure> {
    Ok(registry.evidence().map(|text| Repository::parse(&text)).transpose()?)
}

fn text_of(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read_limited(path, MAX_SETTINGS)?).map_err(|e| unusable(path, e))
}

fn unusable(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("{}: {error}", path.display()))
}

impl Which {
    /// The workloads of these files and directories, in the order of their names. Only policies look at a whole object again;
    /// a cluster's are large.
    fn read(&self, terminal: &Terminal, files: &[PathBuf], whole: bool) -> Result<Vec<Resource>, Failure> {
        let mut resources = Vec::new();
        for path in files {
            if !path.is_dir() {
                resources.extend(read_file(path, whole)?);
                continue;
            }
            let mut found = Vec::new();
            walk(path, 0, &mut found)?;
            for file in &found {
                match read_file(file, whole) {
                    Ok(read) => resources.extend(read),
                    // Among manifests lie values of charts and the like; a file that is named itself is an error.
                    Err(failure) => terminal.talk(&format!("passed over: {}", printable(&failure.message))),
                }
            }
        }
        resources.retain(|resource| self.takes(&resource.name.namespace));
        Ok(resources)
    }

    fn takes(&self, namespace: &str) -> bool {
        let namespace = if namespace.is_empty() { "default" } else { namespace };
        let named = |list: &[String]| list.iter().any(|own| own == namespace);
        (self.include_namespaces.is_empty() || named(&self.include_namespaces))
            && !named(&self.exclude_namespaces)
    }
}

fn read_file(path: &Path, whole: bool) -> Result<Vec<Resource>, Failure> {
    let text = String::from_utf8(read_limited(path, MAX_TEXT)?).map_err(|e| unusable(path, e))?;
    let source =
        if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let mut resources = read_resources(&text, &source).map_err(|e| unusable(path, e))?;
    if !whole {
        resources.iter_mut().for_each(|resource| resource.object = None);
    }
    Ok(resources)
}

/// The YAML and JSON files below a directory. Links to directories are not followed, so that there is an end.
fn walk(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if depth > MAX_DEPTH {
        return Err(unusable(directory, format!("directories stand more than {MAX_DEPTH} deep")));
    }
    let entries = std::fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = entries.map_err(|e| unusable(directory, e))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, depth + 1, found)?;
        } else if path
            .extension()
            .is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known))
        {
            found.push(path);
        }
        if found.len() > MAX_FILES {
            return Err(unusable(directory, format!("more than {MAX_FILES} files")));
        }
    }
    Ok(())
}
