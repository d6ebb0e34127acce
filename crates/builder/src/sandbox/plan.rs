//! What is to be done inside: written by the control side, read by the two processes of the sandbox.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::recipe::Limits;

/// The file within the work directory.
pub(crate) const PLAN: &str = "plan.json";
/// The directory that becomes the root of the file system.
pub(crate) const ROOT: &str = "root";
/// The directory with the source.
pub(crate) const SOURCE: &str = "source";
/// The directory with the inputs.
pub(crate) const INPUTS: &str = "inputs";
/// Where what can be written is mounted before it is bound into the root.
pub(crate) const SCRATCH: &str = "scratch";

/// What the root of the file system is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// The directory `root`, unpacked from an input by digest.
    Unpacked,
    /// These directories of the host, and nothing else: development only.
    Host(Vec<String>),
}

/// Where the build finds things. Fixed, but for the second run of a reproducibility check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// The source, read-only.
    pub source: String,
    /// The inputs, read-only, each by its name.
    pub inputs: String,
    /// Where to work.
    pub build: String,
    /// Where the outputs go.
    pub out: String,
}

impl Default for Places {
    fn default() -> Self {
        Self { source: "/src".into(), inputs: "/inputs".into(), build: "/build".into(), out: "/out".into() }
    }
}

impl Places {
    /// Puts the places into a word of the recipe.
    #[must_use]
    pub fn expand(&self, word: &str) -> String {
        word.replace("{source}", &self.source)
            .replace("{inputs}", &self.inputs)
            .replace("{build}", &self.build)
            .replace("{out}", &self.out)
    }

    pub(crate) fn all(&self) -> [&str; 4] {
        [&self.source, &self.inputs, &self.build, &self.out]
    }
}

/// Who and what the build believes to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disguise {
    /// The user and group within.
    pub uid: u32,
    /// The mask of new files' permissions.
    pub umask: u32,
    /// The name of the machine.
    pub hostname: String,
}

impl Default for Disguise {
    fn default() -> Self {
        Self { uid: 1000, umask: 0o022, hostname: "builder".into() }
    }
}

/// One command, all placeholders replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Where it runs.
    pub directory: String,
}

/// The whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The root of the file system.
    pub root: Root,
    /// Where things are.
    pub places: Places,
    /// Who the build believes to be.
    pub disguise: Disguise,
    /// The whole environment.
    pub environment: BTreeMap<String, String>,
    /// What to run, in this order.
    pub commands: Vec<Command>,
    /// How much of everything.
    pub limits: Limits,
}
