//! `countersign scan`: the images of manifests, or of what a cluster runs, judged by controls. Data on standard output or in a file; the exit code tells.

mod cluster;
mod controls;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use countersign_client::artifact::{read_limited, write_atomically};
use countersign_client::policy::{Cluster, NoCluster, Source, SourceOptions};
use countersign_client::trust::Trust;
use countersign_clock::{Clock as _, SystemClock};
use countersign_http::text::printable;
use countersign_kubernetes::scan::{
    Baseline, Control, Exceptions, Format, MAX_TEXT, Report, Resource, ScanOptions, Scanner, Settings,
    Severity, Thresholds, Verdict, locate, read_resources,
};
use countersign_policy::cluster_image::TrustRootObject;
use countersign_policy::{Glob, PolicySet, TrustRoot};
use countersign_registry::{Reference, Repository};

use self::controls::{Controls, controls, listed};
use crate::args::cluster::ClusterArgs;
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
  countersign scan cluster -n shop,prod                 what runs in a cluster
  countersign scan image registry.example/shop:v1
  countersign scan --watch --interval 5m deploy/        go on, and tell what changes
  countersign scan registries deploy/                   which registries are drawn from
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
    Cluster(Box<cluster::ClusterScan>),
    Workload(Box<cluster::WorkloadScan>),
    Registries(RegistriesScan),
}

/// Check one control, or several: C-0237 signature exists, C-0236 it verifies, CS-0004 scanned not long ago, …; `countersign scan control --help` lists them
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign scan control C-0237 -v deployment.yaml
  countersign scan control CS-0005 --controls-config controls.yaml deploy/   by your settings
  countersign scan control C-0237 -v                    what the cluster of the current context runs
  countersign scan control C-0236,C-0078 --controls-config controls.yaml deploy/",
    after_help = CODES
)]
struct ControlScan {
    /// The controls, with commas between them
    #[arg(value_name = "ID", value_parser = controls, long_help = listed())]
    controls: Controls,
    /// Files of Kubernetes objects, directories of them, or - for standard input; without any, what a cluster runs
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
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
  countersign scan registries --json                    what a cluster draws from",
    after_help = "Exit codes: 0 everything was looked at, 1 usage, 6 something could not be looked at."
)]
struct RegistriesScan {
    /// Files of Kubernetes objects, directories of them, or - for standard input; without any, what a cluster runs
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
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
    #[arg(
        short = 'n',
        long,
        visible_alias = "namespace",
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "exclude_namespaces"
    )]
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
    watch: watch::WatchArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    revocation: RevocationArgs,
    #[command(flatten)]
    registry: RegistryArgs,
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
                    .next("countersign scan FILE, or countersign scan cluster for what runs"))
            }
            None => self.how.files(terminal, &Control::ALL, &self.files),
            Some(Action::Control(scan)) if scan.files.is_empty() => {
                scan.how.cluster(terminal, &scan.controls.0, &scan.cluster)
            }
            Some(Action::Control(scan)) => {
                without_cluster(&scan.cluster)?;
                scan.how.files(terminal, &scan.controls.0, &scan.files)
            }
            Some(Action::Image(scan)) => scan.run(terminal),
            Some(Action::Cluster(scan)) => scan.run(terminal),
            Some(Action::Workload(scan)) => scan.run(terminal),
            Some(Action::Registries(scan)) => scan.run(terminal),
        }
    }
}

impl ImageScan {
    fn run(&self, terminal: &Terminal) -> Outcome {
        self.how.watch.check_off("images by their names")?;
        let references: Vec<Reference> =
            self.images.iter().map(|text| image(text)).collect::<Result<_, _>>()?;
        let resources = self.images.iter().map(|text| text.strip_prefix("oci:").unwrap_or(text));
        let hosts: Vec<&str> = references.iter().map(Reference::registry).collect();
        self.how.scan(terminal, &Control::ALL, resources.map(Resource::of_image).collect(), &hosts)
    }
}

/// Refuses to be told of a cluster where files are scanned.
fn without_cluster(cluster: &ClusterArgs) -> Result<(), Failure> {
    match cluster.given() {
        None => Ok(()),
        Some(flag) => Err(Failure::usage(format!("{flag} is for a cluster, and files are named"))
            .next("leave the files out to scan the cluster")),
    }
}

impl RegistriesScan {
    fn run(&self, terminal: &Terminal) -> Outcome {
        self.registry.check_no_login()?;
        let options = ScanOptions {
            controls: vec![Control::SignatureExists],
            settings: Settings::default(),
            policies: PolicySet::default(),
            repository: evidence(&self.registry)?,
            at_once: self.which.concurrency,
        };
        let report = if self.files.is_empty() {
            self.of_cluster(terminal, options)?
        } else {
            without_cluster(&self.cluster)?;
            let resources = self.which.read(terminal, &self.files, Keep::default())?;
            let source = source(&self.registry, &[], Arc::new(NoCluster), Roots::new())?;
            run(terminal, &Scanner::new(options, source, Arc::new(SystemClock)), resources)?
        };
        let audit = report.audit.unwrap_or_default();
        if self.json {
            terminal.json("scan-registries", 1, &audit)?;
        } else {
            terminal.data(&audit.to_string())?;
        }
        Ok(if audit.registries.values().any(|usage| usage.unchecked > 0) { NETWORK } else { 0 })
    }
}

/// What is known before anything is looked at.
struct Ready {
    settings: Settings,
    exceptions: Exceptions,
    baseline: Baseline,
}

impl How {
    fn files(&self, terminal: &Terminal, controls: &[Control], files: &[PathBuf]) -> Outcome {
        if self.watch.is_on()? {
            return self.watch_files(terminal, controls, files);
        }
        self.registry.check_no_login()?;
        self.scan(
            terminal,
            controls,
            self.which.read(
                terminal,
                files,
                Keep {
                    objects: controls.contains(&Control::Policy) && !self.policies.is_empty(),
                    lines: self.format == Format::Sarif,
                },
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
        let ready = self.ready(terminal)?;
        let (policies, trust, objects) = self.policies(&ready.settings, controls)?;
        let source = self.source(hosts, Arc::new(NoCluster), trust)?;
        block_on(terminal, async {
            policy::fetch_trust_roots(terminal, &source, objects).await;
            Ok(())
        })?;
        let options = self.options(controls, &ready.settings, policies)?;
        let scanner = Scanner::new(options, source, Arc::new(SystemClock));
        checks_something(&scanner, controls)?;
        let report = run(terminal, &scanner, resources)?;
        self.end(terminal, report, &ready)
    }

    fn ready(&self, terminal: &Terminal) -> Result<Ready, Failure> {
        self.trust.refresh_revocations(terminal)?;
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
        Ok(Ready { settings, exceptions, baseline })
    }

    fn options(
        &self,
        controls: &[Control],
        settings: &Settings,
        policies: PolicySet,
    ) -> Result<ScanOptions, Failure> {
        Ok(ScanOptions {
            controls: controls.to_vec(),
            settings: settings.clone(),
            policies,
            repository: evidence(&self.registry)?,
            at_once: self.which.concurrency,
        })
    }

    /// Tells what was found.
    fn end(&self, terminal: &Terminal, report: Report, ready: &Ready) -> Outcome {
        let report = ready.baseline.apply(ready.exceptions.apply(report));
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

    /// Where answers come from, with what is revoked.
    fn source(&self, hosts: &[&str], cluster: Arc<dyn Cluster>, trust: Roots) -> Result<Source, Failure> {
        let source = source(&self.registry, hosts, cluster, trust)?;
        source.set_revocations(Ok(self.revocation.load(&self.trust)?));
        Ok(source)
    }

    /// The policies, and whom to trust.
    fn policies(
        &self,
        settings: &Settings,
        controls: &[Control],
    ) -> Result<(PolicySet, Roots, Vec<TrustRootObject>), Failure> {
        if self.policies.is_empty() {
            let roots = [(None, policy::trust_root(self.trust(settings, controls)?)?)].into();
            return Ok((PolicySet::default(), roots, Vec::new()));
        }
        self.may_have_policies("--policy", controls)?;
        let mut loaded = loaded(&self.policies)?;
        let roots = self.roots(settings, controls)?;
        let objects = std::mem::take(&mut loaded.trust_roots);
        // There is no cluster whose namespaces would limit exceptions: whoever names the file decides.
        let anywhere = Glob::wildcard("*").map_err(|e| Failure::internal(e.to_string()))?;
        Ok((loaded.into_policy_set(&[anywhere]), roots, objects))
    }

    /// Refuses policies that nothing would ask.
    fn may_have_policies(&self, flag: &str, controls: &[Control]) -> Result<(), Failure> {
        if !controls.contains(&Control::Policy) {
            return Err(Failure::usage(format!(
                "{flag} is for {}, which is not asked for",
                Control::Policy.id()
            )));
        }
        policy::without_repository(&self.registry)
    }

    /// The trust roots that policies may name, and the machine's own.
    fn roots(&self, settings: &Settings, controls: &[Control]) -> Result<Roots, Failure> {
        let mut roots = policy::Roots::of(&self.trust)?.named();
        if !roots.contains_key(&None) && settings.names_anybody() {
            roots.insert(None, policy::trust_root(self.trust(settings, controls)?)?);
        }
        Ok(roots)
    }

    /// Whom to trust, when somebody is named whose signature is to be verified.
    fn trust(&self, settings: &Settings, controls: &[Control]) -> Result<Trust, Failure> {
        if !settings.names_anybody() || !controls.iter().any(|control| control.verifies()) {
            return Ok(Trust::nobody());
        }
        match self.trust.load(None) {
            Err(failure) if settings.needs_no_trust_root() && failure.code == TRUST => Ok(Trust::nobody()),
            loaded => loaded,
        }
    }
}

fn run(terminal: &Terminal, scanner: &Scanner, resources: Vec<Resource>) -> Result<Report, Failure> {
    found(block_on(terminal, async { Ok(scanner.scan(resources).await) })?)
}

/// A report of something.
fn found(report: Report) -> Result<Report, Failure> {
    if report.results.is_empty() {
        // Nothing that was looked at is not everything in order.
        return Err(Failure::usage("expected workloads with images, found none").next(
            "name files with Pods, Deployments and the like, or check the namespaces that are left out",
        ));
    }
    Ok(report)
}

fn checks_something(scanner: &Scanner, controls: &[Control]) -> Result<(), Failure> {
    if !controls.iter().all(|control| scanner.skipped().contains_key(control)) {
        return Ok(());
    }
    let why: Vec<String> =
        scanner.skipped().iter().map(|(control, why)| format!("{}: {why}", control.id())).collect();
    Err(Failure::usage(format!("nothing would be checked; {}", why.join("; ")))
        .next("countersign scan control --help; docs/scanning.md shows a --controls-config"))
}

/// Trust roots by their names; the machine's own has none.
type Roots = BTreeMap<Option<String>, Arc<TrustRoot>>;

/// Where answers come from.
fn source(
    registry: &RegistryArgs,
    hosts: &[&str],
    cluster: Arc<dyn Cluster>,
    trust: Roots,
) -> Result<Source, Failure> {
    Ok(Source::new(SourceOptions { registry: registry.options(hosts.iter().copied())?, cluster, trust }))
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

/// What is kept of files beside the images in them. A cluster's objects are large.
#[derive(Debug, Clone, Copy, Default)]
struct Keep {
    /// The objects, which only policies look at again.
    objects: bool,
    /// The lines, which only SARIF tells.
    lines: bool,
}

impl Which {
    /// The workloads of these files and directories, in the order of their names.
    fn read(&self, terminal: &Terminal, files: &[PathBuf], keep: Keep) -> Result<Vec<Resource>, Failure> {
        let mut resources = Vec::new();
        for path in files {
            if path != Path::new("-") && !path.exists() {
                let message = "expected a file or a directory of Kubernetes objects, found nothing";
                return Err(unusable(path, message).next("countersign scan --help"));
            }
            if !path.is_dir() {
                resources.extend(read_file(path, keep)?);
                continue;
            }
            let mut found = Vec::new();
            walk(path, 0, &mut found)?;
            for file in &found {
                match read_file(file, keep) {
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

fn read_file(path: &Path, keep: Keep) -> Result<Vec<Resource>, Failure> {
    let text = String::from_utf8(read_limited(path, MAX_TEXT)?).map_err(|e| unusable(path, e))?;
    let source =
        if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let mut resources = read_resources(&text, &source).map_err(|e| unusable(path, e))?;
    if keep.lines {
        locate(&text, &mut resources);
    }
    if !keep.objects {
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
