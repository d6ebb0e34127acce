//! Gemfile.lock: gems, and since Bundler 2.6 their checksums.

use std::collections::BTreeMap;

use super::{Digests, List, MaterialsError, address, at_registry, colon_digest, purl};

/// Reads the sections of gems, of git repositories, and of checksums. Without the last all gems are loose.
pub(super) fn gemfile(text: &str, list: &mut List) -> Result<(), MaterialsError> {
    let (mut section, mut remote, mut revision) = ("", "", "");
    // By name and version, as the file writes them.
    let mut gems: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let mut checksums: BTreeMap<(&str, &str), Digests> = BTreeMap::new();
    for line in text.lines() {
        let depth = line.len() - line.trim_start_matches(' ').len();
        let word = line.trim();
        match (section, depth) {
            (_, 0) => {
                commit(section, remote, revision, list)?;
                (section, remote, revision) = (word, "", "");
            }
            ("GEM" | "GIT", 2) => {
                if let Some(address) = word.strip_prefix("remote: ") {
                    remote = address;
                } else if let Some(commit) = word.strip_prefix("revision: ") {
                    revision = commit;
                }
            }
            ("GEM", 4) => {
                gems.extend(gem(word).map(|(name, version, _)| ((name, version), remote)));
            }
            ("CHECKSUMS", 2) => {
                if let Some((name, version, rest)) = gem(word) {
                    checksums.entry((name, version)).or_default().extend(digests(rest));
                }
            }
            _ => {}
        }
    }
    commit(section, remote, revision, list)?;
    for ((name, version), remote) in gems {
        let found = checksums.remove(&(name, version)).unwrap_or_default();
        // A version has no dash; what stands behind one is the platform.
        let (version, platform) = version.split_once('-').unwrap_or((version, ""));
        let mut purl = at_registry(purl("gem", "", name, version), remote);
        if !platform.is_empty() {
            purl.qualifiers.insert("platform".into(), platform.into());
        }
        list.package(&purl, found, "")?;
    }
    Ok(())
}

fn commit(section: &str, remote: &str, revision: &str, list: &mut List) -> Result<(), MaterialsError> {
    if section != "GIT" {
        return Ok(());
    }
    let shown = address::git(remote, "").unwrap_or_else(|| "a git repository without an address".into());
    list.commit(remote, revision, &shown)
}

/// `name (version) rest`.
fn gem(word: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = word.split_once(" (")?;
    let (version, rest) = rest.split_once(')')?;
    Some((name, version, rest))
}

/// `sha256=hex`, several with commas between.
fn digests(text: &str) -> Digests {
    text.split(',').flat_map(|part| colon_digest(&part.trim().replacen('=', ":", 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::LockFile;
    use super::super::tests::read;

    #[test]
    fn gems_are_pinned_by_the_section_of_checksums() {
        let (sum, commit) = ("ab".repeat(32), "c0ffee".repeat(6) + "c0ff");
        let text = format!(
            "GIT\n  remote: https://git.example/fork.git\n  revision: {commit}\n  branch: main\n  specs:\n    fork (0.1.0)\n\n\
             GIT\n  remote: https://git.example/moving.git\n  specs:\n    moving (0.1.0)\n\n\
             GEM\n  remote: https://gems.example/\n  specs:\n    nokogiri (1.16.0-x86_64-linux)\n      racc (~> 1.4)\n    \
             racc (1.7.3)\n\n\
             PLATFORMS\n  x86_64-linux\n\nCHECKSUMS\n  fork (0.1.0)\n  nokogiri (1.16.0-x86_64-linux) sha256={sum}\n  racc (1.7.3)\n\n\
             BUNDLED WITH\n   2.6.0\n"
        );
        let (pinned, loose) = read(LockFile::Gemfile, &text);
        assert_eq!(
            pinned,
            [
                "git+https://git.example/fork.git gitCommit:c0ff",
                "pkg:gem/nokogiri@1.16.0?platform=x86_64-linux&repository_url=https:%2F%2Fgems.example%2F sha256:abab",
            ]
        );
        assert_eq!(
            loose,
            [
                "git+https://git.example/moving.git",
                "pkg:gem/racc@1.7.3?repository_url=https:%2F%2Fgems.example%2F"
            ]
        );
    }
}
