//! What is expected of a build, as arguments of our own verbs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use countersign_slsa::expect::pair;
use countersign_slsa::{Expectations, Package};

use crate::args::number;
use crate::failure::Failure;

/// Arguments about what is expected, and where provenance is.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is expected")]
pub(crate) struct ExpectArgs {
    /// The repository it was built from: github.com/acme/shop
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) source: Option<String>,
    /// The tag it was built from
    #[arg(long, value_name = "TAG", conflicts_with = "versioned_tag")]
    tag: Option<String>,
    /// A version of which the tag is: v1 is any v1.x.y, v1.2 any v1.2.x
    #[arg(long, value_name = "VERSION")]
    versioned_tag: Option<String>,
    /// The branch it was built from
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,
    /// The builder: its id, with or without @ and version
    #[arg(long, value_name = "URI")]
    builder: Option<String>,
    /// The lowest build level. Without it, signer and builder must stand in the roots together, at any level; 1 also
    /// takes a builder of no root that its signer alone vouches for, 0 also who only uploaded
    #[arg(long, value_name = "0-3", value_parser = number::<u8>)]
    level: Option<u8>,
    /// The type of build
    #[arg(long, value_name = "URI")]
    build_type: Option<String>,
    /// An input of a workflow that was started by hand; others are reported
    #[arg(long = "input", value_name = "NAME=VALUE")]
    inputs: Vec<String>,
    /// Accept an external parameter that is not known for the type of build: any value, or this one
    #[arg(long = "parameter", value_name = "NAME[=VALUE]")]
    parameters: Vec<String>,
    /// The package: pkg:npm/name@version, or the file name of a Python distribution
    #[arg(long, value_name = "PACKAGE")]
    package: Option<String>,
    /// Accept provenance that stands in no transparency log
    #[arg(long)]
    allow_unlogged: bool,
    /// Who signs for which builder, up to which level: YAML or JSON; else the public builders
    #[arg(long, value_name = "FILE")]
    pub(crate) roots: Option<PathBuf>,
    /// A file with provenance, instead of those beside the artifact; several may be given
    #[arg(long, value_name = "FILE")]
    pub(crate) provenance: Vec<PathBuf>,
}

/// `name=value` pairs, each name once.
pub(super) fn pairs(flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut all = BTreeMap::new();
    for text in texts {
        let (name, value) = pair(text).map_err(|e| Failure::usage(format!("{flag}: {e}")))?;
        if all.insert(name.clone(), value).is_some() {
            return Err(Failure::usage(format!(
                "{flag}: {name} is given twice; one of them would not be checked"
            )));
        }
    }
    Ok(all)
}

impl ExpectArgs {
    pub(super) fn expectations(&self) -> Result<Expectations, Failure> {
        let (valued, named): (Vec<String>, Vec<String>) =
            self.parameters.iter().cloned().partition(|text| text.contains('='));
        let mut parameters: BTreeMap<String, Option<String>> = BTreeMap::new();
        for (name, value) in pairs("--parameter", &valued)? {
            parameters.insert(name, Some(value));
        }
        for name in named {
            if parameters.insert(name.clone(), None).is_some() {
                return Err(Failure::usage(format!("--parameter: {name} is given twice")));
            }
        }
        let expectations = Expectations {
            source: self.source.clone(),
            tag: self.tag.clone(),
            versioned_tag: self.versioned_tag.clone(),
            branch: self.branch.clone(),
            builder: self.builder.clone(),
            build_type: self.build_type.clone(),
            inputs: pairs("--input", &self.inputs)?,
            parameters,
            level: self.level,
            package: self.package.as_deref().map(package).transpose()?,
            allow_unlogged: self.allow_unlogged,
        };
        expectations.check().map_err(|e| Failure::usage(e.to_string()))?;
        Ok(expectations)
    }
}

fn package(text: &str) -> Result<Package, Failure> {
    if text.starts_with("pkg:") {
        return Package::npm(text).ok_or_else(|| {
            Failure::usage(format!("--package: expected pkg:npm/NAME@VERSION, found \"{text}\""))
        });
    }
    if [".whl", ".tar.gz", ".zip"].iter().any(|end| text.ends_with(end)) {
        return Ok(Package::Python(text.to_owned()));
    }
    Err(Failure::usage(format!(
        "--package: expected pkg:npm/NAME@VERSION or the file name of a Python distribution, found \"{text}\""
    )))
}
