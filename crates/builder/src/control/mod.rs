//! The first trust domain: from a reference to a source to files whose digests are known, and from a dead sandbox to outputs whose digests are.
//! What strangers' commands say and do in between reaches it as a log and as files, and nothing else.

mod archive;
mod git;
mod image;
mod modules;
mod packages;
mod reference;
#[cfg(test)]
mod server;
mod store;
mod tree;
mod zip;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use countersign_attestation::predicate::provenance::Resource;
use countersign_client::artifact::hash_reader;
use countersign_crypto::{Digest, HashAlgorithm, encoding};
use countersign_registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use modules::module_hash;
pub use reference::SourceRef;
pub use store::{Place, Store};

use crate::journal::{Event, Isolation, Journal};
use crate::materials::MAX_LOCK_LEN;
use crate::recipe::{Input, MAX_RECIPE, Recipe, Rootfs, is_plain};
use crate::reproduce::{Circumstances, Difference, compare};
use crate::sandbox::{self, End, Output, Plan, PlannedCommand, Root, plan};
use crate::signer::resource;
use crate::{BuildError, reproduce};
use archive::{Members, Unpacking, unpack};
use git::Repository;
use tree::{Links, Tree};

/// Where programs are looked for, unless the recipe says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a development build sees of the host.
const HOST: [&str; 10] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ssl",
    "/etc/ca-certificates",
];
/// How much of a log is told when a build fails, in lines.
const TAIL: usize = 20;

/// What is to be built, and by whom.
#[derive(Debug)]
pub struct Request {
    /// The source.
    pub source: SourceRef,
    /// The recipe's path in it.
    pub config: String,
    /// Where the ids of the builder's kinds are.
    pub base: String,
    /// The host's tools, and these paths of it beside the usual ones; `None` for tools by digest.
    pub development: Option<Vec<String>>,
    /// The version of this program.
    pub version: String,
}

/// A build whose inputs are all there.
#[derive(Debug)]
pub struct Prepared {
    work: TempDir,
    journal: Journal,
    recipe: Recipe,
    root: Root,
    time: i64,
}

/// A finished build.
#[derive(Debug)]
pub struct Built {
    /// What it left.
    pub outputs: Vec<Output>,
    /// The whole journal, closed.
    pub journal: Vec<u8>,
}

/// Resolves the source and fetches everything that goes in.
///
/// # Errors
/// Any [`BuildError`] of the recipe, the source and the inputs.
pub async fn prepare(request: &Request, store: &Store, registry: &Registry) -> Result<Prepared, BuildError> {
    if !is_plain(&request.config) {
        return Err(BuildError::Recipe(format!(
            "expected a path within the source, found \"{}\"",
            request.config
        )));
    }
    let work = tempfile::tempdir().map_err(BuildError::file("a work directory"))?;
    let mut journal = Journal::create(&work.path().join("journal.jsonl"))?;
    let isolation = if request.development.is_some() { Isolation::Development } else { Isolation::Userns };
    journal.write(Event::Begun {
        invocation: invocation()?,
        base: request.base.clone(),
        isolation,
        version: request.version.clone(),
        program: resource("countersign", &program()?),
        parameters: json!({ "source": source_parameters(&request.source), "configPath": request.config }),
    })?;
    let inside = work.path().join("work");
    let source = inside.join(plan::SOURCE);
    let (time, resolved) = resolve(request, store, work.path(), &source).await?;
    for dependency in resolved {
        journal.write(Event::Resolved(dependency))?;
    }
    let recipe = Recipe::parse(&packages::source_file(&source, &request.config, MAX_RECIPE)?)?;
    let root = root(request, &recipe, store, registry, &inside, &mut journal).await?;
    let mut inputs = Tree::new(&inside.join(plan::INPUTS), Links::Refused, time)
        .map_err(BuildError::file("the inputs"))?;
    for input in &recipe.inputs {
        store.fetch(input).await?;
        let written = |mut from: &mut dyn Read| {
            inputs.write(&input.name, false, &mut from).map(drop).map_err(|e| e.to_string())
        };
        store.read(input, written)?;
        journal.write(Event::Input(described(input)))?;
    }
    let mut placed = packages::Placed::default();
    for lockfile in &recipe.lockfiles {
        let text = packages::source_file(&source, &lockfile.path, MAX_LOCK_LEN)?;
        for package in packages::read(lockfile, &text)? {
            package.fetch(store).await?;
            journal.write(Event::Input(placed.place(&package, store, &mut inputs)?))?;
        }
    }
    inputs.finish().map_err(BuildError::file("the inputs"))?;
    Ok(Prepared { work, journal, recipe, root, time })
}

/// The source below a directory; its time, and what it is.
async fn resolve(
    request: &Request,
    store: &Store,
    work: &Path,
    into: &Path,
) -> Result<(i64, Vec<Resource>), BuildError> {
    match &request.source {
        SourceRef::Git { url, reference } => {
            let directory = work.join("git");
            fs::create_dir(&directory).map_err(BuildError::file("a repository"))?;
            let (repository, fetched) = Repository::fetch(&directory, url, reference)?;
            repository.export(&fetched, into)?;
            let uri = request.source.to_string();
            let commit = [("gitCommit".to_owned(), fetched.commit.clone())].into();
            let blob = repository.blob_id(&fetched.commit, &request.config)?;
            let config = Resource {
                name: request.config.clone(),
                uri: format!("{uri}#{}", request.config),
                digest: [("gitBlob".to_owned(), blob)].into(),
                ..Resource::default()
            };
            Ok((fetched.time, vec![Resource { uri, digest: commit, ..Resource::default() }, config]))
        }
        SourceRef::Tar { url, digest } => {
            let input = Input { name: "source".into(), url: url.clone(), digest: *digest };
            store.fetch(&input).await?;
            // An archive has no time of its own that anybody vouches for.
            let time = 0;
            store.read(&input, |from| unpack_source(from, into, time))?;
            let found = Resource { uri: format!("tar+{url}"), ..resource("", digest) };
            Ok((time, vec![found]))
        }
    }
}

/// Unpacks an archive, which may be anybody's, below a directory.
///
/// # Errors
/// In words: no archive, a limit, a name that leads out.
pub fn unpack_source(from: &mut dyn Read, into: &Path, time: i64) -> Result<(), String> {
    let mut tree = Tree::new(into, Links::Refused, time).map_err(|e| e.to_string())?;
    unpack(from, &mut tree, Unpacking { strip: None, members: Members::All })?;
    tree.finish().map_err(|e| e.to_string())
}

/// The root of the file system.
async fn root(
    request: &Request,
    recipe: &Recipe,
    store: &Store,
    registry: &Registry,
    inside: &Path,
    journal: &mut Journal,
) -> Result<Root, BuildError> {
    let into = inside.join(plan::ROOT);
    if let Some(more) = &request.development {
        fs::create_dir_all(&into).map_err(BuildError::file("the root"))?;
        if let Some(none) = more.iter().find(|path| !is_host_path(path)) {
            let message = "expected the whole path of something on this machine".into();
            return Err(BuildError::File { what: none.clone(), message });
        }
        let paths = HOST.iter().map(|path| (*path).to_owned()).chain(more.iter().cloned());
        return Ok(Root::Host(paths.collect()));
    }
    let rootfs = recipe.rootfs.as_ref().ok_or_else(|| {
        BuildError::Recipe(
            "expected a rootfs by digest, found none; with the tools of this machine it is a build of level 1: --development".into(),
        )
    })?;
    let mut tree = Tree::new(&into, Links::Within, 0).map_err(BuildError::file("the root"))?;
    let found = match rootfs {
        Rootfs::Tar(input) => {
            store.fetch(input).await?;
            store.read(input, |from| {
                unpack(from, &mut tree, Unpacking { strip: None, members: Members::All })
            })?;
            described(input)
        }
        Rootfs::Image(name) => image::unpack_image(registry, store, name, &mut tree).await?,
    };
    tree.finish().map_err(BuildError::file("the root"))?;
    journal.write(Event::Input(found))?;
    Ok(Root::Unpacked)
}

/// Whether a path leads down from the root of this machine to something that is there. Of [`HOST`] not every machine has all; what is
/// asked for must be there.
fn is_host_path(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(is_plain) && Path::new(path).exists()
}

impl Prepared {
    /// Builds, and once more under other circumstances if asked to. What was built is in `outputs`, the log in `log`.
    ///
    /// # Errors
    /// [`BuildError::Step`] when the build fails, or the second differs; [`BuildError::Sandbox`], [`BuildError::Output`].
    pub fn build(mut self, outputs: &Path, log: &Path, twice: bool) -> Result<Built, BuildError> {
        let own = Circumstances::default();
        let plan = self.plan(&own);
        self.journal.write(Event::Planned(told(&plan)?))?;
        let built = self.run(&plan, outputs, log)?;
        let log = File::open(log).map_err(BuildError::file("the log"))?;
        let hashed = hash_reader(log, &[HashAlgorithm::Sha256]).map_err(BuildError::file("the log"))?;
        let digest =
            hashed.digests.first().ok_or_else(|| BuildError::Journal("the log has no digest".into()))?;
        self.journal.write(Event::Ended(resource("build.log", digest)))?;
        for output in &built {
            self.journal.write(Event::Output(output.clone()))?;
        }
        if twice {
            let other = Circumstances::other();
            let again = self.plan(&other);
            let place = self.work.path().join("again");
            fs::create_dir(&place).map_err(BuildError::file("the second build"))?;
            let second = self.run(&again, &place, &self.work.path().join("again.log"))?;
            let differences = compare((outputs, &built), (&place, &second))?;
            if !differences.is_empty() {
                return Err(BuildError::Step(not_reproduced(&differences)));
            }
            let value = serde_json::to_value(&other).map_err(BuildError::file("the second build"))?;
            self.journal.write(Event::Reproduced(json!({ "bitwise": true, "under": value })))?;
        }
        self.journal.write(Event::Closed)?;
        let journal =
            fs::read(self.work.path().join("journal.jsonl")).map_err(BuildError::file("the journal"))?;
        Ok(Built { outputs: built, journal })
    }

    fn plan(&self, circumstances: &Circumstances) -> Plan {
        let places = &circumstances.places;
        let mut environment = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
        let given = self.recipe.environment.iter();
        environment.extend(given.map(|(name, value)| (name.clone(), places.expand(value))));
        for (name, value) in [
            ("HOME", places.build.as_str()),
            ("TMPDIR", "/tmp"),
            ("USER", "builder"),
            ("TZ", &circumstances.zone),
            ("LC_ALL", &circumstances.locale),
            ("LANG", &circumstances.locale),
            ("SOURCE_DATE_EPOCH", &self.time.to_string()),
        ] {
            environment.insert(name.into(), value.into());
        }
        let commands = self.recipe.steps.iter().map(|step| PlannedCommand {
            argv: step.run.iter().map(|word| places.expand(word)).collect(),
            directory: places.expand(step.directory.as_deref().unwrap_or("{source}")),
        });
        Plan {
            root: self.root.clone(),
            places: places.clone(),
            disguise: circumstances.disguise.clone(),
            environment,
            commands: commands.collect(),
            limits: self.recipe.limits.clone(),
        }
    }

    fn run(&self, plan: &Plan, outputs: &Path, log: &Path) -> Result<Vec<Output>, BuildError> {
        let inside = self.work.path().join("work");
        let ran = sandbox::run(&inside, plan, sandbox::own_user(), log, outputs);
        let ran = match ran {
            Err(BuildError::Sandbox(message)) => {
                return Err(BuildError::Sandbox(format!("{message}{}", tail(log))));
            }
            other => other?,
        };
        let why = match ran.end {
            End::Done => None,
            End::Failed => Some("a step failed".to_owned()),
            End::Late => {
                Some(format!("it was not done within {} s, which is its limit", plan.limits.seconds))
            }
            End::Ended(signal) => Some(format!("it was ended by signal {signal}")),
            End::Broken(message) => return Err(BuildError::Sandbox(message)),
        };
        if let Some(why) = why {
            return Err(BuildError::Step(format!("{why}{}", tail(log))));
        }
        self.check(&ran.outputs)?;
        Ok(ran.outputs)
    }

    /// That the outputs are those which the recipe names: each pattern fits one, and each one a pattern.
    fn check(&self, outputs: &[Output]) -> Result<(), BuildError> {
        let patterns = &self.recipe.outputs;
        if let Some(missing) =
            patterns.iter().find(|pattern| !outputs.iter().any(|one| pattern.fits(&one.path)))
        {
            return Err(BuildError::Output(format!("expected \"{}\", found no such file", missing.as_str())));
        }
        if let Some(more) = outputs.iter().find(|one| !patterns.iter().any(|pattern| pattern.fits(&one.path)))
        {
            return Err(BuildError::Output(format!(
                "{}: no pattern of the recipe's outputs fits it",
                more.path
            )));
        }
        Ok(())
    }
}

/// What provenance tells of a plan: all that does not stand in the recipe.
fn told(plan: &Plan) -> Result<Value, BuildError> {
    let calls = sandbox::calls_digest().map_err(BuildError::Sandbox)?;
    let text = serde_json::to_vec(plan).map_err(BuildError::file("the plan"))?;
    let own_user = sandbox::own_user().is_some();
    Ok(json!({
        "sha256": HashAlgorithm::Sha256.digest(&text).to_hex(),
        "sandbox": {
            "namespaces": ["cgroup", "ipc", "mount", "net", "pid", "user", "uts"],
            "seccompSha256": calls.to_hex(),
            "landlock": true,
            "capabilities": [],
            "uid": plan.disguise.uid,
            "ownUser": own_user,
        },
        "root": plan.root,
        "environment": plan.environment,
        "limits": plan.limits,
    }))
}

fn not_reproduced(differences: &[reproduce::Difference]) -> String {
    let lines: Vec<String> = differences.iter().take(TAIL).map(Difference::to_string).collect();
    let more = differences.len().saturating_sub(TAIL);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    format!("a second build under other circumstances is not the same:\n  {}{more}", lines.join("\n  "))
}

/// The last lines of a log, for an error.
fn tail(log: &Path) -> String {
    let Ok(bytes) = fs::read(log) else { return String::new() };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().rev().take(TAIL).collect();
    lines.into_iter().rev().map(|line| format!("\n  {line}")).collect()
}

fn described(input: &Input) -> Resource {
    Resource { uri: input.url.to_string(), ..resource(&input.name, &input.digest) }
}

fn source_parameters(source: &SourceRef) -> Value {
    match source {
        SourceRef::Git { url, reference } => json!({ "uri": format!("git+{url}"), "ref": reference }),
        SourceRef::Tar { url, digest } => {
            json!({ "uri": format!("tar+{url}"), "digest": { digest.algorithm().name(): digest.to_hex() } })
        }
    }
}

/// The digest of this program.
fn program() -> Result<Digest, BuildError> {
    let own = File::open("/proc/self/exe").map_err(BuildError::file("this program"))?;
    let found = hash_reader(own, &[HashAlgorithm::Sha256]).map_err(BuildError::file("this program"))?;
    found.digests.first().copied().ok_or_else(|| BuildError::Journal("this program has no digest".into()))
}

/// A name that no other build has.
fn invocation() -> Result<String, BuildError> {
    let mut bytes = [0; 16];
    countersign_crypto::random(&mut bytes).map_err(BuildError::file("a name for the build"))?;
    Ok(format!("urn:countersign:build:{}", encoding::hex_encode(&bytes)))
}

/// Where the store is, unless said otherwise; `None` for those without a home. Never where others may write: they could make a link of it, and
/// have a file written wherever it leads.
#[must_use]
pub fn default_store() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("countersign/build"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_host_is_whole_and_leads_to_something() {
        assert!(is_host_path("/usr/bin"));
        for bad in ["usr/bin", "../usr", "/usr/../etc", "/", "", "/no/such/path"] {
            assert!(!is_host_path(bad), "{bad}");
        }
    }
}
