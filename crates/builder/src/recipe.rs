//! The recipe: a declarative file in the source that says what goes in, what is run, and what comes out. Everything that goes in has a
//! digest. What the file holds beyond this is refused.

use std::collections::{BTreeMap, BTreeSet};

use countersign_crypto::{Digest, HashAlgorithm};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::BuildError;
use crate::run::Pattern;

/// The longest recipe, in bytes.
pub const MAX_RECIPE: usize = 256 << 10;
/// The most inputs that a recipe itself names.
const MAX_INPUTS: usize = 10_000;
/// The most steps.
const MAX_STEPS: usize = 100;
/// The most patterns of outputs.
const MAX_OUTPUTS: usize = 1000;
/// What the builder sets itself, so that no recipe makes a build depend on who runs it.
const FIXED: [&str; 7] = ["HOME", "TMPDIR", "SOURCE_DATE_EPOCH", "TZ", "LC_ALL", "LANG", "USER"];

/// A recipe, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The file system with the tools; none in a development build.
    pub rootfs: Option<Rootfs>,
    /// Files by digest.
    pub inputs: Vec<Input>,
    /// Lockfiles in the source whose packages are inputs.
    pub lockfiles: Vec<Lockfile>,
    /// Further variables.
    pub environment: BTreeMap<String, String>,
    /// What to run, in this order.
    pub steps: Vec<Step>,
    /// Which files below the directory of outputs are the outputs.
    pub outputs: Vec<Pattern>,
    /// How much the build may take.
    pub limits: Limits,
}

/// Where the tools come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rootfs {
    /// A tar archive, compressed with gzip or not.
    Tar(Input),
    /// An image in a registry, by digest.
    Image(String),
}

/// A file that goes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What it is called within: a file of this name in the directory of inputs.
    pub name: String,
    /// Where it is from.
    pub url: Url,
    /// What it must be.
    pub digest: Digest,
}

/// A lockfile in the source. Which kind it is, its name says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lockfile {
    /// Where in the source.
    pub path: String,
    /// Where the packages are, with `{name}`, `{version}`, `{package}` (npm's name with its scope), `{file}` (Python) or `{module}` (Go); not needed
    /// where the lockfile says it for each.
    pub url: Option<String>,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The program and its arguments; `{source}`, `{inputs}`, `{build}` and `{out}` stand for the directories. No shell reads it.
    pub run: Vec<String>,
    /// Where it runs; the source if not said.
    pub directory: Option<String>,
}

/// How much a build may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How long, in seconds.
    pub seconds: u32,
    /// How much memory each process, in MiB.
    pub memory: u32,
    /// How much the build may write altogether, in MiB; it lies in memory.
    pub disk: u32,
    /// How many processes and threads at once.
    pub processes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { seconds: 3600, memory: 4096, disk: 4096, processes: 1024 }
    }
}

impl Limits {
    /// The limit of memory in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        u64::from(self.memory) << 20
    }

    /// The limit of the disk in bytes.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        u64::from(self.disk) << 20
    }
}

/// Whether a path leads down and nowhere else.
pub(crate) fn is_plain(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\0')
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRecipe {
    version: u32,
    rootfs: Option<WireRootfs>,
    #[serde(default, rename = "input")]
    inputs: Vec<WireInput>,
    #[serde(default, rename = "lockfile")]
    lockfiles: Vec<Lockfile>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(rename = "step")]
    steps: Vec<Step>,
    outputs: Vec<String>,
    #[serde(default)]
    limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRootfs {
    url: Option<String>,
    sha256: Option<String>,
    image: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireInput {
    name: String,
    url: String,
    sha256: String,
}

impl WireInput {
    fn read(self) -> Result<Input, BuildError> {
        let Self { name, url, sha256 } = self;
        let wrong = |message: String| BuildError::Recipe(format!("input \"{name}\": {message}"));
        if !is_plain(&name) || name.contains('/') {
            return Err(wrong("expected a file name".into()));
        }
        let place = Url::parse(&url).map_err(|e| wrong(format!("url: {e}")))?;
        let digest = Digest::parse(&format!("{}:{sha256}", HashAlgorithm::Sha256))
            .map_err(|e| wrong(format!("sha256: {e}")))?;
        Ok(Input { name, url: place, digest })
    }
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// ```
    /// use countersign_builder::Recipe;
    /// let recipe = Recipe::parse(br#"
    ///     version = 1
    ///     outputs = ["app"]
    ///     [[step]]
    ///     run = ["cp", "{source}/app", "{out}/app"]
    /// "#)?;
    /// assert!(recipe.outputs[0].fits("app"));
    /// # Ok::<(), countersign_builder::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError::Recipe`] with the member that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, BuildError> {
        let wrong = |message: String| Err(BuildError::Recipe(message));
        if bytes.len() > MAX_RECIPE {
            return wrong(format!("expected at most {MAX_RECIPE} bytes, found {}", bytes.len()));
        }
        let text =
            std::str::from_utf8(bytes).map_err(|_| BuildError::Recipe("it is no UTF-8 text".into()))?;
        let wire: WireRecipe = toml::from_str(text).map_err(|e| BuildError::Recipe(e.to_string()))?;
        if wire.version != 1 {
            return wrong(format!("expected version = 1, found {}", wire.version));
        }
        if wire.steps.is_empty() || wire.steps.len() > MAX_STEPS {
            return wrong(format!("expected 1 to {MAX_STEPS} steps, found {}", wire.steps.len()));
        }
        if let Some(at) = wire.steps.iter().position(|step| step.run.first().is_none_or(String::is_empty)) {
            return wrong(format!("step {}: expected a program, found none", at + 1));
        }
        if wire.outputs.is_empty() || wire.outputs.len() > MAX_OUTPUTS {
            return wrong(format!("expected 1 to {MAX_OUTPUTS} outputs, found {}", wire.outputs.len()));
        }
        if wire.inputs.len() > MAX_INPUTS {
            return wrong(format!("expected at most {MAX_INPUTS} inputs, found {}", wire.inputs.len()));
        }
        let Limits { seconds, memory, disk, processes } = wire.limits;
        if [seconds, memory, disk, processes].contains(&0) {
            return wrong("limits: expected numbers above 0".into());
        }
        for name in wire.environment.keys() {
            if FIXED.contains(&name.as_str()) {
                return wrong(format!("environment: {name} is set by the builder"));
            }
            if name.is_empty() || name.contains(['=', '\0']) {
                return wrong(format!("environment: {name:?} is no name of a variable"));
            }
        }
        for lockfile in &wire.lockfiles {
            if !is_plain(&lockfile.path) {
                return wrong(format!(
                    "lockfile: expected a path in the source, found \"{}\"",
                    lockfile.path
                ));
            }
        }
        let paths: BTreeSet<_> = wire.lockfiles.iter().map(|lockfile| &lockfile.path).collect();
        if paths.len() != wire.lockfiles.len() {
            return wrong("a lockfile is named twice".into());
        }
        let rootfs = wire.rootfs.map(WireRootfs::read).transpose()?;
        let inputs = wire.inputs.into_iter().map(WireInput::read).collect::<Result<Vec<_>, _>>()?;
        let names: BTreeSet<_> = inputs.iter().map(|input| &input.name).collect();
        if names.len() != inputs.len() {
            return wrong("two inputs have one name".into());
        }
        let pattern = |text: &String| {
            Pattern::parse(text).map_err(|e| BuildError::Recipe(format!("outputs: {e}, such as *.tar")))
        };
        let outputs = wire.outputs.iter().map(pattern).collect::<Result<_, _>>()?;
        Ok(Self {
            rootfs,
            inputs,
            lockfiles: wire.lockfiles,
            environment: wire.environment,
            steps: wire.steps,
            outputs,
            limits: wire.limits,
        })
    }
}

impl WireRootfs {
    fn read(self) -> Result<Rootfs, BuildError> {
        match self {
            Self { url: Some(url), sha256: Some(sha256), image: None } => {
                WireInput { name: "rootfs".into(), url, sha256 }.read().map(Rootfs::Tar)
            }
            Self { url: None, sha256: None, image: Some(image) } => Ok(Rootfs::Image(image)),
            _ => Err(BuildError::Recipe("rootfs: expected url and sha256, or image".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "version = 1\noutputs = [\"a\"]\n[[step]]\nrun = [\"true\"]\n";

    #[test]
    fn what_is_not_known_is_refused_and_nothing_needed_is_missing() {
        assert!(Recipe::parse(GOOD.as_bytes()).is_ok());
        for (bad, says) in [
            (GOOD.replace("version = 1", "version = 2"), "version"),
            (GOOD.replace("version = 1", "version = 1\nnetwork = true"), "network"),
            (GOOD.replace("run = [\"true\"]", "run = [\"true\"]\nprivileged = true"), "privileged"),
            (GOOD.replace("[\"true\"]", "[]"), "program"),
            (GOOD.replace("[\"a\"]", "[]"), "outputs"),
            (GOOD.replace("[\"a\"]", &format!("[{}]", "\"a\",".repeat(MAX_OUTPUTS + 1))), "outputs"),
            (GOOD.replace("[\"a\"]", "[\"../a\"]"), "outputs"),
            (GOOD.replace("[\"a\"]", "[\"/a\"]"), "outputs"),
            ("version = 1\noutputs = [\"a\"]\nstep = []".into(), "steps"),
            (format!("{GOOD}[environment]\nSOURCE_DATE_EPOCH = \"1\""), "SOURCE_DATE_EPOCH"),
            (format!("{GOOD}[environment]\n\"A=B\" = \"1\""), "variable"),
            (format!("{GOOD}[limits]\nseconds = 0"), "limits"),
            (format!("{GOOD}[rootfs]\nurl = \"https://a.example/r.tar\""), "rootfs"),
            (format!("{GOOD}[rootfs]\nimage = \"a\"\nsha256 = \"00\""), "rootfs"),
            (format!("{GOOD}[[input]]\nname = \"a/b\"\nurl = \"file:///a\"\nsha256 = \"00\""), "file name"),
            (format!("{GOOD}[[input]]\nname = \"a\"\nurl = \"file:///a\"\nsha256 = \"00\""), "sha256"),
            (format!("{GOOD}[[input]]\nname = \"a\"\nurl = \"a\"\nsha256 = \"00\""), "url"),
            (format!("{GOOD}[[lockfile]]\npath = \"../Cargo.lock\""), "lockfile"),
            (format!("{GOOD}{0}{0}", "[[lockfile]]\npath = \"Cargo.lock\"\n"), "named twice"),
            (format!("{GOOD}{}", "#".repeat(MAX_RECIPE)), "at most"),
        ] {
            let error = Recipe::parse(bad.as_bytes()).expect_err(&bad).to_string();
            assert!(error.contains(says), "{bad}\n{error}");
        }
        let one = format!("[[input]]\nname = \"a\"\nurl = \"file:///a\"\nsha256 = \"{}\"\n", "0".repeat(64));
        assert!(Recipe::parse(format!("{GOOD}{one}").as_bytes()).is_ok());
        let twice = Recipe::parse(format!("{GOOD}{one}{one}").as_bytes()).unwrap_err().to_string();
        assert!(twice.contains("one name"), "{twice}");
    }
}
