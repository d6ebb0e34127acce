//! What a clone of the source says of the commit that the provenance names.

use std::path::PathBuf;

use clap::Args;
use countersign_slsa::assess::{Attested, CloneFacts, Evidence};

use crate::failure::Failure;
use crate::git::{Git, is_commit};

/// The clone.
#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
pub(crate) struct CloneArgs {
    /// A clone of the source, in which commit and entry point of the provenance are looked for, with the git program
    #[arg(long, value_name = "DIR")]
    clone: Option<PathBuf>,
    /// The ref from which the commit must be reachable; else the one that the provenance names
    #[arg(long = "ref", value_name = "REF", requires = "clone")]
    reference: Option<String>,
    /// The commit, where no provenance names one
    #[arg(long, value_name = "COMMIT", requires = "clone")]
    commit: Option<String>,
}

impl CloneArgs {
    /// Whether there is one.
    pub(super) const fn is_given(&self) -> bool {
        self.clone.is_some()
    }

    /// The repository, if there is one.
    pub(super) fn git(&self) -> Option<Git> {
        self.clone.as_deref().map(Git::at)
    }

    /// Looks.
    pub(super) fn look(&self, evidence: &Evidence) -> Result<Option<CloneFacts>, Failure> {
        let Some(directory) = &self.clone else { return Ok(None) };
        let git = Git::at(directory);
        git.must(&["rev-parse", "--git-dir"], b"").map_err(|failure| {
            Failure::usage(format!(
                "--clone {}: expected a git repository; {}",
                directory.display(),
                failure.message
            ))
        })?;
        let source = evidence.best().and_then(|best| best.provenance.source.as_ref());
        let named = evidence.best().and_then(Attested::commit).map(str::to_owned);
        if let (Some(named), Some(given)) = (&named, &self.commit)
            && !named.eq_ignore_ascii_case(given)
        {
            return Err(Failure::usage(format!("--commit: the provenance names {named}, and not {given}")));
        }
        let Some(commit) = named.or_else(|| self.commit.clone()) else {
            return Err(Failure::usage("--clone: no provenance names a commit to look for")
                .next("give provenance that verifies (--provenance), or the commit (--commit)"));
        };
        if !is_commit(&commit) {
            return Err(Failure::usage(format!(
                "--commit: expected 40 or 64 hexadecimal digits, found \"{commit}\""
            )));
        }
        let exists = git.commit(&commit)?.is_some();
        let reference = self.reference.clone().or_else(|| {
            let uri = source.map(|source| source.uri.as_str()).unwrap_or_default();
            // From itself a commit is always reachable, so only a ref in full says something.
            countersign_slsa::Source::parse(uri)?.reference.filter(|name| name.starts_with("refs/"))
        });
        let reachable = match reference {
            None => None,
            Some(name) => match git.commit(&name)? {
                Some(tip) => Some((name, exists && git.is_ancestor(&commit, &tip)?)),
                None => Some((format!("{name}, which is not there"), false)),
            },
        };
        let entry =
            evidence.best().map(|best| best.provenance.entry_point.clone()).filter(|entry| !entry.is_empty());
        let mut files = std::collections::BTreeMap::new();
        if let Some(entry) = entry {
            let kind = git.ask(&["cat-file", "-t", &format!("{commit}:{entry}")], b"")?;
            files.insert(entry, kind.good && kind.out.trim_ascii() == b"blob");
        }
        Ok(Some(CloneFacts { path: directory.display().to_string(), commit, exists, reachable, files }))
    }
}
