//! `countersign policy convert`: policies of other languages in our own, with each difference.

use std::path::PathBuf;

use clap::Args;
use countersign_http::text::printable;
use countersign_policy::convert;

use super::yaml::yaml;
use super::{documents, files, wrong};
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, counted};

/// Write policies of other languages as ImagePolicy, and tell where that does not say quite the same
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign policy convert kyverno.yaml > policy.yaml
  countersign policy convert policies/",
    after_help = "Nothing is left out: what an ImagePolicy cannot say is an error with the field's path, and then nothing is written. \
Differences stand as comments above each policy. A policy that cannot be written so is evaluated as it is."
)]
pub(super) struct Convert {
    /// Files or directories with policies
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
}

impl Convert {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let mut written = Vec::new();
        let mut differences = 0;
        for path in files(&self.files)? {
            for document in documents(&path)?.map_err(|error| wrong(&path, &[error]))? {
                let title = document.title();
                let converted = convert(&document).map_err(|error| {
                    Failure::usage(format!("{}: {title}: {error}", path.display()))
                        .next("it is evaluated as it is: countersign verify --policy FILE IMAGE")
                })?;
                let mut comments = format!("# from {}\n", printable(&title));
                for difference in &converted.differences {
                    let line = format!("{}: {} ({})", difference.path, difference.message, difference.code);
                    comments.push_str(&format!("# differs: {}\n", printable(&line)));
                }
                differences += converted.differences.len();
                written.extend(
                    converted.documents.iter().map(|document| format!("{comments}{}", yaml(document))),
                );
            }
        }
        if written.is_empty() {
            return Err(Failure::usage("expected at least one policy in the files, found none"));
        }
        terminal.data(&written.join("---\n"))?;
        let count = |n: usize, one, many| counted(u64::try_from(n).unwrap_or(u64::MAX), one, many);
        terminal.talk(&format!(
            "{}, {}",
            count(written.len(), "policy", "policies"),
            count(differences, "difference", "differences")
        ));
        Ok(0)
    }
}
