//! What is checked out, as the `git` program says.

use std::path::Path;
use std::process::{Command, Stdio};

use countersign_attestation::predicate::provenance::Resource;

use crate::address;
use crate::environment::mark;

/// A work tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkout {
    /// The address of `origin`, as it is configured; empty for none.
    pub remote: String,
    /// The commit.
    pub commit: String,
    /// The branch or tag by its whole name; empty for neither.
    pub reference: String,
    /// How many files differ from the commit, new ones included; those that git ignores are not.
    pub changed: usize,
}

impl Checkout {
    /// Looks at the work tree that a folder is in. `Err` says why there is none.
    ///
    /// # Errors
    /// Why nothing can be said: no git, no work tree, no commit, or git would not look.
    pub fn find(folder: &Path) -> Result<Self, String> {
        let git = Git { folder };
        let commit = git.line(&["rev-parse", "--verify", "HEAD^{commit}"])?;
        let exact = || {
            git.line(&["describe", "--exact-match", "--tags", "HEAD"]).map(|tag| format!("refs/tags/{tag}"))
        };
        let changed =
            git.output(&["status", "--porcelain=v1", "-z", "--no-renames", "--ignore-submodules=none"])?;
        Ok(Self {
            remote: git.line(&["config", "--get", "remote.origin.url"]).unwrap_or_default(),
            reference: git.line(&["symbolic-ref", "-q", "HEAD"]).or_else(|_| exact()).unwrap_or_default(),
            changed: changed.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()).count(),
            commit,
        })
    }

    /// It as provenance names it: with an address if `origin` has one that others can use.
    #[must_use]
    pub fn resource(&self) -> Resource {
        let uri = address::git(&self.remote, &self.reference).filter(|uri| !uri.starts_with("git+file:"));
        let mut resource = Resource {
            uri: uri.unwrap_or_default(),
            digest: [("gitCommit".to_owned(), self.commit.clone())].into(),
            ..Resource::default()
        };
        mark(&mut resource, self.changed);
        resource
    }
}

struct Git<'a> {
    folder: &'a Path,
}

impl Git<'_> {
    /// What git answers. It neither writes, nor asks anybody, nor runs hooks; filters that the repository's own configuration names do run, as
    /// they did for whoever built.
    fn output(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let found = Command::new("git")
            .args(["--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
            .args(arguments)
            .current_dir(self.folder)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("git: {e}"))?;
        if found.status.success() {
            return Ok(found.stdout);
        }
        let text = String::from_utf8_lossy(&found.stderr);
        Err(format!("git: {}", text.lines().next().unwrap_or("it says nothing")))
    }

    fn line(&self, arguments: &[&str]) -> Result<String, String> {
        let found = String::from_utf8(self.output(arguments)?).map_err(|e| format!("git: {e}"))?;
        Ok(found.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, arguments: &[&str]) {
        let done = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"])
            .args(arguments)
            .current_dir(folder)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .expect("git runs");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q"]);
        std::fs::write(folder.path().join("a"), "1").unwrap();
        std::fs::write(folder.path().join(".gitignore"), "ignored\n").unwrap();
        git(folder.path(), &["add", "."]);
        git(folder.path(), &["commit", "-q", "-m", "first"]);
        folder
    }

    #[test]
    fn a_work_tree_tells_commit_branch_and_address_without_password() {
        let folder = repository();
        let found = Checkout::find(folder.path()).unwrap();
        assert_eq!((found.reference.as_str(), found.remote.as_str()), ("refs/heads/main", ""));
        assert_eq!((found.commit.len(), found.changed), (40, 0));
        assert_eq!(found.resource().uri, "", "without a remote there is no address");
        git(folder.path(), &["remote", "add", "origin", "https://me:s3cret@git.example/shop.git"]);
        let found = Checkout::find(folder.path()).unwrap().resource();
        assert_eq!(found.uri, "git+https://git.example/shop.git@refs/heads/main");
        git(folder.path(), &["remote", "set-url", "origin", &folder.path().display().to_string()]);
        assert_eq!(Checkout::find(folder.path()).unwrap().resource().uri, "");
    }

    #[test]
    fn a_tag_is_told_where_no_branch_is() {
        let folder = repository();
        git(folder.path(), &["tag", "v1"]);
        git(folder.path(), &["checkout", "-q", "--detach"]);
        assert_eq!(Checkout::find(folder.path()).unwrap().reference, "refs/tags/v1");
        git(folder.path(), &["tag", "-d", "v1"]);
        assert_eq!(Checkout::find(folder.path()).unwrap().reference, "");
    }

    #[test]
    fn changed_and_new_files_are_counted_and_said_in_the_resource() {
        let folder = repository();
        std::fs::write(folder.path().join("a"), "2").unwrap();
        std::fs::write(folder.path().join("new"), "").unwrap();
        std::fs::write(folder.path().join("ignored"), "").unwrap();
        let found = Checkout::find(folder.path()).unwrap();
        assert_eq!(found.changed, 2);
        assert_eq!(found.resource().annotations["countersign_uncommitted"], 2);
    }

    #[test]
    fn where_there_is_no_work_tree_it_is_said_why() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Checkout::find(folder.path()).unwrap_err().starts_with("git: fatal:"));
        git(folder.path(), &["init", "-q"]);
        assert!(Checkout::find(folder.path()).is_err(), "without a commit there is nothing to name");
        assert!(Checkout::find(&folder.path().join("no")).is_err());
    }
}
