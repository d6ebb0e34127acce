//! Where the workspace is, what is in it, and what its crates depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The root of the repository: two levels above this crate.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// One Rust source file of the workspace.
pub(crate) struct Source {
    /// The path from the repository's root, with forward slashes.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// True for integration tests, benchmarks, and modules which exist only in tests.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs") || self.path.contains("/benches/")
    }

    /// The lines which are compiled into the product, with their numbers: without test modules and comments.
    ///
    /// rustfmt has formatted the file, so a module that opens at the left margin closes there too.
    pub(crate) fn product_lines(&self) -> Vec<(usize, &str)> {
        let mut kept = Vec::new();
        let mut lines = self.text.lines().enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            let next_opens_a_module =
                lines.peek().is_some_and(|(_, next)| next.contains("mod ") && next.ends_with('{'));
            if line.starts_with("#[cfg(") && line.contains("test") && next_opens_a_module {
                lines.by_ref().find(|(_, inner)| *inner == "}");
            } else if !line.trim_start().starts_with("//") {
                kept.push((index + 1, line));
            }
        }
        kept
    }
}

/// Every `.rs` file under `crates/`, `fuzz/` and `benches/`, in order of path.
pub(crate) fn sources() -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    for folder in ["crates", "fuzz", "benches"] {
        walk(&root.join(folder), &mut paths);
    }
    paths.sort();
    let sources: Vec<Source> = paths
        .iter()
        .map(|path| Source {
            path: path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/"),
            text: fs::read_to_string(path).unwrap(),
        })
        .collect();
    assert!(sources.len() > 20, "found only {} source files: the walk is wrong", sources.len());
    sources
}

/// The sources of one crate's `src` folder.
pub(crate) fn sources_of(crate_name: &str) -> Vec<Source> {
    let prefix = format!("crates/{crate_name}/src/");
    let found: Vec<Source> =
        sources().into_iter().filter(|source| source.path.starts_with(&prefix)).collect();
    assert!(!found.is_empty(), "no sources of {crate_name}");
    found
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | "corpus" | "artifacts") {
                walk(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// What `cargo metadata` says about the workspace on this machine.
pub(crate) struct Metadata {
    value: Value,
}

/// How a dependency is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// In the product.
    Normal,
    /// In tests, benchmarks and examples.
    Dev,
    /// In a build script.
    Build,
}

impl Metadata {
    /// Asks cargo: without the network where everything has been fetched, as after building all the tests.
    pub(crate) fn load() -> Self {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let metadata = |host: &str, more: &[&str]| {
            Command::new(&cargo)
                .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host])
                .args(more)
                .current_dir(root())
                .output()
                .unwrap()
        };
        let version = Command::new("rustc").arg("-vV").current_dir(root()).output().unwrap();
        let version = String::from_utf8(version.stdout).unwrap();
        let host =
            version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
        let mut output = metadata(host, &["--offline"]);
        if !output.status.success() {
            output = metadata(host, &[]);
        }
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        Self { value: serde_json::from_slice(&output.stdout).unwrap() }
    }

    /// The names of the workspace's own packages.
    pub(crate) fn members(&self) -> BTreeSet<String> {
        let names = self.names();
        self.list("workspace_members").iter().map(|id| names[id.as_str().unwrap()].clone()).collect()
    }

    /// The direct dependencies of a package that are used in this way, by package name.
    pub(crate) fn dependencies(&self, package: &str, kind: Kind) -> BTreeSet<String> {
        let names = self.names();
        let node = self.node(package);
        self.edges(node, kind).iter().map(|id| names[id].clone()).collect()
    }

    /// Everything that ends up in the product when this package is used, by package name.
    pub(crate) fn closure(&self, package: &str) -> BTreeSet<String> {
        let names = self.names();
        let nodes: BTreeMap<&str, &Value> =
            self.nodes().iter().map(|node| (node["id"].as_str().unwrap(), node)).collect();
        let mut seen = BTreeSet::new();
        let mut todo = vec![self.node(package)["id"].as_str().unwrap().to_owned()];
        while let Some(id) = todo.pop() {
            if seen.insert(id.clone()) {
                todo.extend(self.edges(nodes[id.as_str()], Kind::Normal));
            }
        }
        seen.iter().map(|id| names[id].clone()).collect()
    }

    fn list(&self, key: &str) -> &Vec<Value> {
        self.value[key].as_array().unwrap()
    }

    fn nodes(&self) -> &Vec<Value> {
        self.value["resolve"]["nodes"].as_array().unwrap()
    }

    fn names(&self) -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        self.list("packages").iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect()
    }

    fn node(&self, package: &str) -> &Value {
        let names = self.names();
        let member = |node: &&Value| names[node["id"].as_str().unwrap()] == package;
        self.nodes().iter().find(member).unwrap_or_else(|| panic!("no package {package} in the workspace"))
    }

    fn edges(&self, node: &Value, kind: Kind) -> Vec<String> {
        let used = |dependency: &Value| {
            dependency["dep_kinds"].as_array().unwrap().iter().any(|entry| {
                let found = match entry["kind"].as_str() {
                    None => Kind::Normal,
                    Some("dev") => Kind::Dev,
                    Some("build") => Kind::Build,
                    Some(other) => panic!("cargo metadata names an unknown kind of dependency: {other}"),
                };
                found == kind
            })
        };
        let dependencies = node["deps"].as_array().unwrap().iter();
        dependencies
            .filter(|found| used(found))
            .map(|found| found["pkg"].as_str().unwrap().to_owned())
            .collect()
    }
}
