//! `countersign trust` and `initialize`: the instances this machine trusts.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use countersign_client::artifact::{read_limited, write_atomically};
use countersign_client::trust::HttpTransport;
use countersign_clock::{Clock as _, SystemClock};
use countersign_http::text::printable;
use countersign_http::{Http, parse_url};
use countersign_trust::instances::{FetchedRoot, Instance, InstanceError, Instances};
use serde_json::json;
use url::Url;

use crate::args::OutputArgs;
use crate::args::services::HttpArgs;
use crate::commands::sign::quoted;
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, block_on, say};

/// The largest trust document, in bytes.
const MAX_DOCUMENT: usize = 16 << 20;

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign trust add https://sigstore.example.com     shows the fingerprint and asks
  countersign trust list")]
pub(crate) struct TrustCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Add(Add),
    List(List),
    Remove(Remove),
    Export(Export),
    Update(Update),
    Default(Default_),
}

impl TrustCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.action {
            Action::Add(command) => command.run(terminal),
            Action::List(command) => command.run(terminal),
            Action::Remove(command) => command.run(terminal),
            Action::Export(command) => command.run(terminal),
            Action::Update(command) => command.run(terminal),
            Action::Default(command) => command.run(terminal),
        }
    }
}

fn failure(error: InstanceError) -> Failure {
    match error {
        InstanceError::Name(_) | InstanceError::Exists(_) | InstanceError::Unknown { .. } => {
            Failure::usage(error.to_string())
        }
        other => countersign_client::ClientError::from(other).into(),
    }
}

fn instances() -> Result<Instances, Failure> {
    Instances::for_user().map_err(failure)
}

/// Trust an instance, by its address or by a file from it
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign trust add https://sigstore.example.com
  countersign trust add https://sigstore.example.com --fingerprint sha256:9f86…   in scripts
  countersign trust add site.json --name site                     without network")]
struct Add {
    /// The address of the instance, or a file: a trust configuration or a trusted root
    #[arg(value_name = "URL|FILE")]
    from: String,
    /// The name for it on this machine; else its host name or the file's name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The fingerprint of the root at the address, as its operator publishes it; then nothing is asked
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<String>,
    /// A file with the TUF root of the address, instead of fetching it
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Trust what is found at the first sight of it, without asking
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    http: HttpArgs,
}

impl Add {
    fn run(&self, terminal: &Terminal) -> Outcome {
        let instances = instances()?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => default_name(&self.from),
        };
        let instance = if self.from.contains("://") {
            let http = self.http.http();
            let root = self.root.clone();
            block_on(terminal, self.add_url(terminal, &http, &instances, &name, root))?
        } else {
            if self.fingerprint.is_some() || self.root.is_some() {
                return Err(Failure::usage(
                    "--fingerprint and --root are about the root at an address, and this is a file, which is trusted as \
                     it is; they would not be checked",
                )
                .next(format!("compare the file itself with the sender's: sha256sum {}", quoted(&self.from))));
            }
            let bytes = read_limited(self.from.as_ref(), MAX_DOCUMENT)?;
            instances.add_file(&name, &bytes, SystemClock.now()).map_err(failure)?
        };
        if instances.default_instance().map_err(failure)?.is_none_or(|d| !d.is_default) {
            instances.set_default(&name).map_err(failure)?;
        }
        terminal.talk(&format!(
            "{} {} is trusted (sha256:{})",
            terminal.yes(),
            instance.name,
            instance.description.fingerprint
        ));
        terminal.talk("next: countersign sign FILE");
        Ok(0)
    }

    async fn add_url(
        &self,
        terminal: &Terminal,
        http: &Http,
        instances: &Instances,
        name: &str,
        root: Option<PathBuf>,
    ) -> Result<Instance, Failure> {
        let url = parse_url(&self.from)?;
        let transport = HttpTransport(http);
        let fetched = match root {
            None => FetchedRoot::fetch(&transport, url.as_str()).await.map_err(failure)?,
            Some(path) => {
                let bytes = read_limited(&path, MAX_DOCUMENT)?;
                let base = url.as_str().trim_end_matches('/');
                let tuf = if base.ends_with("/tuf") { base.to_owned() } else { format!("{base}/tuf") };
                FetchedRoot::from_bytes(base, &tuf, bytes).map_err(failure)?
            }
        };
        let known = self.fingerprint.is_some() || self.root.is_some() || self.yes;
        if !known && !confirm(&url, &fetched.fingerprint())? {
            return Err(Failure::usage("not trusted; nothing was changed"));
        }
        terminal.talk(&format!("fingerprint of the root: sha256:{}", fetched.fingerprint()));
        instances
            .add(name, &fetched, self.fingerprint.as_deref(), &transport, SystemClock.now())
            .await
            .map_err(failure)
    }
}

/// Shows a fingerprint and asks. Without a terminal to ask at, the answer is no.
fn confirm(url: &Url, fingerprint: &str) -> Result<bool, Failure> {
    let shown = countersign_http::shown(url);
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "{shown} has the root sha256:{fingerprint}, and there is no terminal to ask whether that is the right one"
        ))
        .next(format!("compare it with what its operator publishes, then add --fingerprint sha256:{fingerprint}")));
    }
    say(&format!("{shown} has the root\n  sha256:{fingerprint}"));
    // A question that nobody can see is answered by nobody.
    write!(std::io::stderr(), "Is this what its operator publishes? [y/N] ")
        .and_then(|()| std::io::stderr().flush())
        .map_err(|e| Failure::internal(format!("standard error: {e}")))?;
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|e| Failure::internal(format!("the terminal: {e}")))?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// The host of an address, or the stem of a file, as a name.
fn default_name(from: &str) -> String {
    let text = match Url::parse(from) {
        Ok(url) if url.has_host() => url.host_str().unwrap_or_default().to_owned(),
        _ => std::path::Path::new(from)
            .file_stem()
            .map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default(),
    };
    let name: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c) { c } else { '-' })
        .collect();
    let name = name.trim_start_matches(['.', '_', '-']).to_owned();
    if name.is_empty() { "instance".into() } else { name }
}

/// List the instances this machine trusts
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  countersign trust list\n  countersign trust list --output json")]
struct List {
    #[command(flatten)]
    output: OutputArgs,
}

impl List {
    fn run(&self, terminal: &Terminal) -> Outcome {
        let all = instances()?.list().map_err(failure)?;
        if self.output.is_json() {
            let list: Vec<_> = all
                .iter()
                .map(|i| {
                    json!({ "name": i.name, "default": i.is_default, "url": i.description.url,
                        "fingerprint": i.description.fingerprint, "added": i.description.added,
                        "updated": i.description.updated })
                })
                .collect();
            terminal.json("trust", 1, &json!({ "instances": list }))?;
        } else if all.is_empty() {
            terminal.talk("No instance is trusted yet.\nnext: countersign trust add URL");
        } else {
            for i in &all {
                let mark = if i.is_default { "*" } else { " " };
                let from = printable(i.description.url.as_deref().unwrap_or("from a file"));
                terminal.line(&format!(
                    "{mark} {}\n    {from}\n    root sha256:{}\n    updated {}",
                    i.name, i.description.fingerprint, i.description.updated
                ))?;
            }
        }
        Ok(0)
    }
}

/// Stop trusting an instance
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  countersign trust remove sigstore.example.com")]
struct Remove {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
}

impl Remove {
    fn run(&self, terminal: &Terminal) -> Outcome {
        instances()?.remove(&self.name).map_err(failure)?;
        terminal.talk(&format!("{} is not trusted any more", self.name));
        Ok(0)
    }
}

/// Write an instance's trusted root and signing configuration as one file
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign trust export site > site.json      carry it to a machine without network
  countersign trust add site.json                there")]
struct Export {
    /// Its name; else the default one
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Export {
    fn run(&self, terminal: &Terminal) -> Outcome {
        let instances = instances()?;
        let bytes = instances.export(&named(&instances, self.name.as_deref())?).map_err(failure)?;
        match &self.out {
            Some(path) => write_atomically(path, &bytes)?,
            None => terminal.data(&String::from_utf8_lossy(&bytes))?,
        }
        Ok(0)
    }
}

fn named(instances: &Instances, name: Option<&str>) -> Result<String, Failure> {
    match name {
        Some(name) => Ok(name.to_owned()),
        None => instances.default_instance().map_err(failure)?.map(|i| i.name).ok_or_else(|| {
            Failure::usage("no instance is the default; give a name, see `countersign trust list`")
        }),
    }
}

/// Fetch what an instance publishes now, through its TUF repository
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign trust update\n  countersign trust update sigstore.example.com"
)]
struct Update {
    /// Its name; else the default one
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    http: HttpArgs,
}

impl Update {
    fn run(&self, terminal: &Terminal) -> Outcome {
        let instances = instances()?;
        let name = named(&instances, self.name.as_deref())?;
        let http = self.http.http();
        block_on(terminal, async {
            let transport = HttpTransport(&http);
            instances.update(&name, &transport, SystemClock.now()).await.map_err(failure)
        })?;
        terminal.talk(&format!("{} {name} is up to date", terminal.yes()));
        Ok(0)
    }
}

/// Choose the instance used when none is named
#[derive(Debug, Args)]
#[command(name = "default", before_help = "Examples:\n  countersign trust default sigstore.example.com")]
struct Default_ {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
}

impl Default_ {
    fn run(&self, terminal: &Terminal) -> Outcome {
        instances()?.set_default(&self.name).map_err(failure)?;
        terminal.talk(&format!("{} is the default now", self.name));
        Ok(0)
    }
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign initialize --mirror https://sigstore.example.com/tuf --root root.json
  countersign initialize --mirror https://sigstore.example.com/tuf \\
    --root https://sigstore.example.com/root.json --root-checksum 9f86…")]
pub(crate) struct Initialize {
    /// The address of the repository
    #[arg(long, value_name = "URL", env = "TUF_MIRROR")]
    mirror: String,
    /// Its root: a file, or an address (which needs --root-checksum)
    #[arg(long, value_name = "FILE|URL", env = "TUF_ROOT_JSON")]
    root: Option<String>,
    /// The root's SHA-256, hexadecimal
    #[arg(long, value_name = "SHA256")]
    root_checksum: Option<String>,
    /// Sigstore's staging instance (not built in)
    #[arg(long, hide = true)]
    staging: bool,
    #[command(flatten)]
    http: HttpArgs,
}

impl Initialize {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        if self.staging {
            return Err(Failure::usage("--staging is not taken: no public instance's root is built in")
                .next("give its address and root with --mirror and --root"));
        }
        let url = parse_url(&self.mirror)?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        let name = default_name(&self.mirror);
        let instances = instances()?;
        let http = self.http.http();
        let instance = block_on(terminal, async {
            let transport = HttpTransport(&http);
            let fetched = match &self.root {
                Some(root) if !root.contains("://") => {
                    let bytes = read_limited(root.as_ref(), MAX_DOCUMENT)?;
                    FetchedRoot::from_bytes(&base, &base, bytes).map_err(failure)?
                }
                root => {
                    if self.root_checksum.is_none() {
                        return Err(Failure::usage(
                            "a root from the network is trusted by its checksum only: give --root-checksum, or --root \
                             with a file",
                        ));
                    }
                    match root {
                        None => FetchedRoot::fetch(&transport, &base).await.map_err(failure)?,
                        Some(address) => {
                            let bytes = fetch(&http, &parse_url(address)?).await?;
                            FetchedRoot::from_bytes(&base, &base, bytes).map_err(failure)?
                        }
                    }
                }
            };
            if let Some(expected) = &self.root_checksum {
                fetched.check(expected).map_err(failure)?;
            }
            // Initialising again means trusting anew, as with cosign; the new one must be good first.
            let now = SystemClock.now();
            let replaced = instances.get(&name).is_ok();
            if replaced {
                let trial = format!("{name}.new");
                instances.add(&trial, &fetched, None, &transport, now).await.map_err(failure)?;
                instances.remove(&trial).map_err(failure)?;
                instances.remove(&name).map_err(failure)?;
            }
            instances
                .add(&name, &fetched, self.root_checksum.as_deref(), &transport, now)
                .await
                .map_err(failure)
        })?;
        instances.set_default(&name).map_err(failure)?;
        terminal.talk(&format!("{} {} is trusted and the default", terminal.yes(), instance.name));
        Ok(0)
    }
}

async fn fetch(http: &Http, url: &Url) -> Result<Vec<u8>, Failure> {
    let request = countersign_http::Request::get("the TUF repository", url).limit(MAX_DOCUMENT);
    Ok(http.send(request).await?.expect(&[200])?.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_host_or_the_file() {
        for (from, name) in [
            ("https://Sigstore.Example.com/x", "sigstore.example.com"),
            ("http://[::1]:8080", "--1-".trim_start_matches('-')),
            ("/tmp/My Site.json", "my-site"),
            ("..", "instance"),
        ] {
            assert_eq!(default_name(from), name, "{from}");
        }
    }
}
