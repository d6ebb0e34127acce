//! `countersign log get` and `countersign log proof`: an entry, and what proves it.

use std::path::PathBuf;

use clap::Args;
use countersign_client::artifact::{read_limited, write_atomically};
use countersign_client::monitor::EntryName;
use countersign_crypto::encoding::base64_encode;
use countersign_http::text::{printable, printable_lines};
use countersign_tlog::Hash;
use serde_json::json;

use super::opened::{Opened, Shown};
use super::{LogArgs, MAX_FILE, entries};
use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

/// Print an entry, after checking that it is in the tree
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign log get 42
  countersign log get 42 --out entry.json
  countersign log get 42 --rekor-v1             of Rekor v1, by the index over all its trees
  countersign log get 108e9186e8c5677a4c1f…     of the same, by its UUID")]
pub(super) struct Get {
    /// The entry's index, or the UUID of one in the log of Rekor v1
    #[arg(value_name = "INDEX|UUID")]
    entry: EntryName,
    /// The log of Rekor v1; a UUID is always of it
    #[arg(long)]
    rekor_v1: bool,
    /// Write the entry to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
}

/// Whether it is the log of Rekor v1 that is meant.
fn is_v1(rekor_v1: bool, entry: Option<&EntryName>) -> bool {
    rekor_v1 || matches!(entry, Some(EntryName::Uuid { .. }))
}

impl Get {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let is_v1 = is_v1(self.rekor_v1, Some(&self.entry));
        let Shown { index, uuid, body, tree, .. } =
            self.log
                .with_opened(terminal, is_v1, async |log: &Opened<'_>| Ok(log.entry(&self.entry).await?))?;
        match &self.out {
            Some(path) => write_atomically(path, &body)?,
            None => terminal.line(&printable_lines(&String::from_utf8_lossy(&body)))?,
        }
        let (tree, origin) = (entries(&tree.checkpoint), printable(&tree.checkpoint.origin));
        let (uuid, of) = match uuid {
            Some(uuid) => (format!(" ({uuid})"), format!(" of {origin}")),
            None => (String::new(), String::new()),
        };
        terminal.talk(&format!("{} entry {index}{uuid} is in the tree of {tree}{of}", terminal.yes()));
        Ok(0)
    }
}

/// Print an inclusion or consistency proof, after checking it
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign log proof 42                        that entry 42 is in the tree
  countersign log proof --kept checkpoint.txt     that the tree continues the kept one
  countersign log proof 42 --rekor-v1             of Rekor v1, by the index over all its trees
  countersign log proof 108e9186e8c5677a4c1f…     of the same, by the entry's UUID
  countersign log proof --kept v1.txt --rekor-v1")]
pub(super) struct Proof {
    /// The entry's index, or the UUID of one in the log of Rekor v1
    #[arg(value_name = "INDEX|UUID", required_unless_present = "kept", conflicts_with = "kept")]
    entry: Option<EntryName>,
    /// A checkpoint kept from before
    #[arg(long, value_name = "FILE")]
    kept: Option<PathBuf>,
    /// The log of Rekor v1; a UUID is always of it
    #[arg(long)]
    rekor_v1: bool,
    #[command(flatten)]
    log: LogArgs,
}

impl Proof {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let is_v1 = is_v1(self.rekor_v1, self.entry.as_ref());
        let content = self.log.with_opened(terminal, is_v1, async |log: &Opened<'_>| {
            let hashes = |proof: &[Hash]| -> Vec<String> { proof.iter().map(|h| base64_encode(h)).collect() };
            match (&self.kept, &self.entry) {
                (Some(path), _) => {
                    let old = log.check(&read_limited(path, MAX_FILE)?)?;
                    let now = log.newest(Some(&old.origin)).await?;
                    let proof = log.consistency(&old, &now.checkpoint).await?;
                    Ok(json!({ "kind": "consistency", "oldSize": old.size, "treeSize": now.checkpoint.size,
                        "rootHash": base64_encode(&now.checkpoint.root), "hashes": hashes(&proof),
                        "checkpoint": now.note }))
                }
                (None, Some(entry)) => {
                    let Shown { index, in_tree, uuid, proof, tree, .. } = log.entry(entry).await?;
                    let mut content = json!({ "kind": "inclusion", "logIndex": in_tree,
                        "treeSize": tree.checkpoint.size, "rootHash": base64_encode(&tree.checkpoint.root),
                        "hashes": hashes(&proof), "checkpoint": tree.note });
                    if let (Some(uuid), Some(members)) = (uuid, content.as_object_mut()) {
                        members.extend([
                            ("uuid".into(), json!(uuid)),
                            ("indexOverAllTrees".into(), json!(index)),
                        ]);
                    }
                    Ok(content)
                }
                (None, None) => Err(Failure::usage("expected an index or --kept")),
            }
        })?;
        terminal.json("log.proof", 1, &content)?;
        Ok(0)
    }
}
