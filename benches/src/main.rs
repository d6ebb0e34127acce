//! Prints every figure of the project beside its limit or its peer, as a ratio. Figures only: nothing here fails
//! because a machine is slow.

mod admission;
mod append;
mod evidence;
mod growth;
mod instance;
mod load;
mod machine;
mod policy;
mod process;
mod raw;
mod scan;
mod search;
mod services;
mod table;
mod verify;
mod workflow;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::instance::Instance;
use crate::machine::Machine;
use crate::process::Peers;
use crate::services::Size;
use crate::table::{Beside, Table, time};

/// Measures Countersign on this machine.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    /// The countersign program to measure
    #[arg(long, required = true)]
    countersign: Option<PathBuf>,
    /// The verifier on the sigstore-verify crate; else the one beside this program
    #[arg(long)]
    sigstore_verify: Option<PathBuf>,
    /// cosign v3, measured beside it
    #[arg(long)]
    cosign: Option<PathBuf>,
    /// gh, measured beside it
    #[arg(long)]
    gh: Option<PathBuf>,
    /// A short run, to see that everything works
    #[arg(long, conflicts_with = "long")]
    smoke: bool,
    /// A long run, with a log of ten million entries
    #[arg(long)]
    long: bool,
    /// Where the logs and instances are made, to measure another disk than that of temporary files
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Only the admission webhook
    #[arg(long)]
    admission: bool,
    /// Only the search index of a log
    #[arg(long)]
    search: bool,
    /// Only policies over many statements
    #[arg(long)]
    policy: bool,
    /// Write the table to this file as well
    #[arg(long)]
    output: Option<PathBuf>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What runs in processes of their own.
#[derive(Debug, Subcommand)]
enum Part {
    /// A server that says hello
    #[command(hide = true)]
    Hello,
    /// Grow a log
    #[command(hide = true)]
    Grow(growth::Grow),
    /// Open a log and ask it for proofs
    #[command(hide = true)]
    Open(growth::Open),
    /// Measure a log as it grows, for `interop/bench-log`
    #[command(hide = true)]
    Growth(growth::Growth),
    /// Append to a log that is running, for `interop/bench-log`
    #[command(hide = true)]
    Append(append::Append),
    /// Measure what the machine allows a log, for `interop/bench-log`
    #[command(hide = true)]
    Limits(machine::Limits),
    /// Scan a file of workloads
    #[command(hide = true)]
    Scan(scan::Scan),
}

impl Arguments {
    fn size(&self) -> Size {
        let full = Size {
            requests: 30_000,
            processes: 30,
            rounds: 200,
            spell: Duration::from_secs(1),
            largest_tree: 6,
            proofs: 10_000,
            workloads: 1000,
            images: 10_000,
        };
        if self.smoke {
            let spell = Duration::from_millis(50);
            Size {
                requests: 500,
                processes: 3,
                rounds: 5,
                spell,
                largest_tree: 4,
                proofs: 200,
                workloads: 50,
                images: 200,
            }
        } else if self.long {
            Size { largest_tree: 7, ..full }
        } else {
            full
        }
    }

    fn peers(&self) -> Result<Peers> {
        let beside = std::env::current_exe()?.with_file_name("countersign-benches-peer");
        let sigstore_verify = self.sigstore_verify.clone().unwrap_or(beside);
        Ok(Peers { cosign: self.cosign.clone(), gh: self.gh.clone(), sigstore_verify })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.part {
        Some(Part::Hello) => machine::serve_hello().await,
        Some(Part::Grow(grow)) => growth::grow(grow).await,
        Some(Part::Open(open)) => growth::open_and_prove(open).await,
        Some(Part::Growth(growth)) => growth::growth(growth, arguments.size()),
        Some(Part::Append(append)) => append::append(append).await,
        Some(Part::Limits(limits)) => machine::limits(limits, arguments.size()).await,
        Some(Part::Scan(scan)) => scan::scan(scan).await,
        None => all(&arguments).await,
    }
}

async fn all(arguments: &Arguments) -> Result<()> {
    let (size, peers) = (arguments.size(), arguments.peers()?);
    let work = match &arguments.directory {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    let given = arguments.countersign.clone().unwrap_or_default();
    let binary = given
        .canonicalize()
        .with_context(|| format!("{}: build it with cargo build --release", given.display()))?;
    let mut table = Table::default();
    if arguments.policy {
        policy::rows(&mut table, size)?;
        return written(&table, arguments);
    }
    if arguments.search {
        search::rows(&mut table, work.path(), size).await?;
        return written(&table, arguments);
    }
    if arguments.admission {
        admission::rows(&mut table, &binary, work.path(), size).await?;
        return written(&table, arguments);
    }
    let machine = Machine::measure(&mut table, work.path(), size).await?;
    let instance = Instance::start(&binary, work.path().join("instance")).await?;
    let idle = at_rest(&mut table, &binary, &instance)?;
    evidence::documents(&instance, work.path()).await?;
    let signed = evidence::signed(&instance, &binary, work.path()).await?;
    services::sign(&mut table, &binary, &peers, work.path(), size)?;
    services::timestamps(&mut table, &instance, machine, size).await?;
    services::certificates(&mut table, &instance, machine, size).await?;
    services::log(&mut table, &instance, machine, size).await?;
    services::log_v1(&mut table, &instance, machine, size).await?;
    let loaded = instance.resident_mib()?;
    let beside = Beside::new(format!("idle {idle:.0} MiB"), loaded / idle);
    table.add("resident memory after the load", format!("{loaded:.0} MiB"), [beside]);
    drop(instance);

    let public = evidence::public_good();
    for evidence in signed.iter().chain(&public) {
        verify::process(&mut table, evidence, &binary, &peers, work.path(), size)?;
        verify::in_process(&mut table, evidence, size)?;
    }
    if public.is_none() {
        let why = Beside::absent("the data of sigstore-conformance is not beside the clone");
        table.add("verify one bundle: blob, public good, Rekor v1", "not measured", [why]);
    }
    admission::rows(&mut table, &binary, work.path(), size).await?;
    policy::rows(&mut table, size)?;
    growth::rows(&mut table, work.path(), size, &growth::Place::default())?;
    search::rows(&mut table, work.path(), size).await?;
    scan::rows(&mut table, work.path(), size.workloads).await?;
    written(&table, arguments)
}

fn written(table: &Table, arguments: &Arguments) -> Result<()> {
    let page = table.markdown();
    println!("{page}");
    if let Some(path) = &arguments.output {
        std::fs::write(path, &page).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// The rows of the program and of an instance that nobody asks anything; the instance's memory in MiB.
fn at_rest(table: &mut Table, binary: &Path, instance: &Instance) -> Result<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a file size is far below 2^52")]
    let megabytes = std::fs::metadata(binary)?.len() as f64 / 1e6;
    let beside = Beside::new("goal 40 MB", megabytes / 40.0);
    table.add("size of the program", format!("{megabytes:.1} MB"), [beside]);
    let start = instance.start_time;
    let beside = Beside::new("goal 200 ms", start.as_secs_f64() / 0.2);
    table.add("start of all roles until ready", time(start), [beside]);
    let idle = instance.resident_mib()?;
    let beside = Beside::new("goal 60 MiB", idle / 60.0);
    table.add("resident memory, all roles, idle", format!("{idle:.0} MiB"), [beside]);
    Ok(idle)
}
