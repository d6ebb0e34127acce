//! Prints every figure of the project beside its limit or its peer, as a ratio. Figures only: nothing here fails
//! because a machine is slow.

mod instance;
mod load;
mod services;
mod table;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::instance::Instance;
use crate::services::Size;
use crate::table::Table;

/// Measures Countersign on this machine.
#[derive(Debug, Parser)]
struct Arguments {
    /// The countersign program to measure.
    #[arg(long)]
    countersign: PathBuf,
    /// cosign v3, measured beside it.
    #[arg(long)]
    cosign: Option<PathBuf>,
    /// A short run, to see that everything works.
    #[arg(long)]
    smoke: bool,
    /// Write the table to this file as well.
    #[arg(long)]
    output: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let size = if arguments.smoke {
        Size { requests: 500, processes: 3 }
    } else {
        Size { requests: 30_000, processes: 30 }
    };
    let work = tempfile::tempdir()?;
    let mut table = Table::default();
    let binary = arguments.countersign.canonicalize().with_context(|| {
        format!("{}: build it with cargo build --release", arguments.countersign.display())
    })?;
    #[expect(clippy::cast_precision_loss, reason = "a file size is far below 2^52")]
    let megabytes = std::fs::metadata(&binary)?.len() as f64 / 1e6;
    table.add(
        "size of the program",
        format!("{megabytes:.1} MB"),
        "goal under 40 MB".into(),
        Some(megabytes / 40.0),
    );
    let instance = Instance::start(&binary, work.path().join("instance")).await?;
    let start = instance.start_time.as_secs_f64() * 1000.0;
    table.add(
        "start of all roles until ready",
        format!("{start:.0} ms"),
        "goal under 200 ms".into(),
        Some(start / 200.0),
    );
    let idle = instance.resident_mib()?;
    table.add(
        "resident memory, all roles, idle",
        format!("{idle:.0} MiB"),
        "goal under 60 MiB".into(),
        Some(idle / 60.0),
    );
    services::timestamps(&mut table, &instance, size).await?;
    services::certificates(&mut table, &instance, size).await?;
    services::log(&mut table, &instance, size).await?;
    services::sign(&mut table, &instance, &binary, arguments.cosign.as_deref(), work.path(), size).await?;
    let loaded = instance.resident_mib()?;
    table.add(
        "resident memory after the load",
        format!("{loaded:.0} MiB"),
        format!("idle {idle:.0} MiB"),
        Some(loaded / idle),
    );
    let page = table.markdown();
    println!("{page}");
    if let Some(path) = &arguments.output {
        std::fs::write(path, &page).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
