//! `countersign vex merge`: one document of several, in which each statement keeps its time.

use std::path::PathBuf;

use clap::Args;
use countersign_attestation::predicate::openvex::write::merge;
use countersign_client::artifact::read_limited;

use super::{AuthorArgs, MAX_FILE, refused};
use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

/// Makes one document of several
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign vex merge --author Acme a.json b.json > all.json",
    after_help = "Each statement keeps the time at which it was made, so that of two about the same the later one holds. Whoever merges and signs \
speaks for all of it: read what you merge. The document goes to standard output."
)]
pub(super) struct Merge {
    /// The documents, OpenVEX
    #[arg(required = true, value_name = "FILE")]
    documents: Vec<PathBuf>,
    #[command(flatten)]
    author: AuthorArgs,
}

impl Merge {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let mut texts = Vec::new();
        for path in &self.documents {
            let name = path.display().to_string();
            let text = String::from_utf8(read_limited(path, MAX_FILE)?)
                .map_err(|_| Failure::usage(format!("{name} is not UTF-8 text")))?;
            texts.push((name, text));
        }
        let documents: Vec<(&str, &str)> =
            texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        terminal.data(&merge(&self.author.author(), &documents).map_err(|e| refused(&e))?)?;
        Ok(0)
    }
}
