//! A TUF repository in a `tar.gz`, followed without a network: the same checks as of one that is fetched.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use countersign_bundle::TrustedRoot;
use countersign_registry::tar;
use countersign_trust::tuf::{ExpiryRule, TrustedMetadata};
use flate2::read::MultiGzDecoder;
use jiff::Timestamp;

use super::Compiled;

/// The largest repository, unpacked. Objects of a cluster are smaller than 3 MiB as they are.
const MAX_UNPACKED: u64 = 32 << 20;
/// The most roots that are followed.
const MAX_ROOTS: usize = 256;
/// The folder that policy-controller's tool puts before all names.
const PREFIX: &str = "repository/";

/// A repository, unpacked and not yet verified.
#[derive(Debug, Clone)]
pub(super) struct Mirror {
    root: Vec<u8>,
    files: BTreeMap<String, Vec<u8>>,
    targets: String,
    target: String,
}

/// Whether a root is one, signed by itself.
///
/// # Errors
/// In words, what is wrong.
pub(super) fn check_root(root: &[u8]) -> Result<(), String> {
    TrustedMetadata::new(root, Timestamp::UNIX_EPOCH, ExpiryRule::Record).map(drop).map_err(|e| e.to_string())
}

impl Mirror {
    /// Unpacks an archive.
    ///
    /// # Errors
    /// In words, what is wrong.
    pub(super) fn read(root: Vec<u8>, archive: &[u8], targets: &str, target: String) -> Result<Self, String> {
        let mut bytes = Vec::new();
        MultiGzDecoder::new(archive)
            .take(MAX_UNPACKED + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| format!("expected a tar.gz: {e}"))?;
        if bytes.len() as u64 > MAX_UNPACKED {
            return Err(format!("expected at most {MAX_UNPACKED} bytes when unpacked, found more"));
        }
        let contents =
            tar::contents(&mut Cursor::new(&bytes)).map_err(|e| format!("expected a tar.gz: {e}"))?;
        let mut files = BTreeMap::new();
        for (name, member) in contents.files {
            let place = usize::try_from(member.offset).ok().zip(usize::try_from(member.size).ok());
            let content = place.and_then(|(offset, size)| bytes.get(offset..)?.get(..size));
            let content = content.ok_or_else(|| format!("{name}: expected it within the archive"))?;
            let name = name.strip_prefix(PREFIX).unwrap_or(&name).to_owned();
            files.insert(name, content.to_vec());
        }
        let targets = targets.trim_matches('/').to_owned();
        Ok(Self { root, files, targets, target })
    }

    /// Follows the repository to its trusted root.
    ///
    /// # Errors
    /// In words, what does not hold.
    pub(super) fn trusted_root(&self, now: Timestamp) -> Result<Compiled, String> {
        let (bytes, until) = self.verified_target(now)?;
        let root = TrustedRoot::from_json(bytes).map_err(|e| format!("{}: {e}", self.target))?;
        Ok(Compiled { root, until: Some(until) })
    }

    /// The target, and when the first of what vouches for it ends.
    fn verified_target(&self, now: Timestamp) -> Result<(&[u8], Timestamp), String> {
        let words = |e: countersign_trust::tuf::TufError| e.to_string();
        let mut trusted = TrustedMetadata::new(&self.root, now, ExpiryRule::Refuse).map_err(words)?;
        for _ in 0..MAX_ROOTS {
            let next = trusted.root().version.saturating_add(1);
            let Some(root) = self.files.get(&format!("{next}.root.json")) else { break };
            trusted.update_root(root).map_err(words)?;
        }
        let versioned = trusted.root().content.consistent_snapshot;
        let named = |name: &str, version: u64| {
            if versioned { format!("{version}.{name}") } else { name.to_owned() }
        };
        trusted.update_timestamp(self.file("timestamp.json")?).map_err(words)?;
        let version = trusted.timestamp().map_or(0, |timestamp| timestamp.content.snapshot.version);
        trusted.update_snapshot(self.file(&named("snapshot.json", version))?).map_err(words)?;
        let listed = trusted.snapshot().and_then(|snapshot| snapshot.content.meta.get("targets.json"));
        let version = listed.map_or(0, |listed| listed.version);
        trusted.update_targets(self.file(&named("targets.json", version))?).map_err(words)?;
        let info = trusted.targets("targets").and_then(|targets| targets.content.targets.get(&self.target));
        let info = info.ok_or_else(|| {
            let target = &self.target;
            format!("expected {target} among the repository's own targets, found none; name another in trustedRootTarget")
        })?;
        let (folder, name) = self.target.rsplit_once('/').map_or(("", self.target.as_str()), |(f, n)| (f, n));
        let name = if versioned { format!("{}.{name}", info.hashes.prefix()) } else { name.to_owned() };
        let place = [self.targets.as_str(), folder, &name];
        let place = place.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        let bytes = self.file(&place)?;
        info.check(&self.target, bytes).map_err(words)?;
        Ok((bytes, trusted.ends()))
    }

    fn file(&self, name: &str) -> Result<&[u8], String> {
        self.files
            .get(name)
            .map(Vec::as_slice)
            .ok_or_else(|| format!("expected {name} in the archive, found none"))
    }
}
