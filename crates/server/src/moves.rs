//! What a rotation has moved away, to be moved back when a later step fails, or when the process was ended before anything
//! was published. Each move is written down before it is made.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use countersign_keys::file;
use serde::{Deserialize, Serialize};

use crate::ServerError;
use crate::handover::Handover;
use crate::instance::Instance;
use crate::succession::Succession;

/// In the instance's directory, while a rotation that has published nothing moves files.
const JOURNAL: &str = "rotation.json";
/// The longest journal that is read.
const MAX_JOURNAL: u64 = 64 << 10;

/// One move, in paths below the instance's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    from: PathBuf,
    to: PathBuf,
}

/// The files that were moved so far.
#[derive(Debug)]
pub(crate) struct Moves {
    directory: PathBuf,
    made: Vec<Move>,
}

fn failed(path: &Path, message: impl Into<String>) -> ServerError {
    ServerError::File { path: path.to_owned(), message: message.into() }
}

/// Removes a file or a directory with all that is in it. What is not there is as good as removed.
fn remove(path: &Path) -> std::io::Result<()> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    removed.or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

impl Moves {
    /// Nothing is moved yet.
    pub(crate) fn begin(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), made: Vec::new() }
    }

    fn journal(&self) -> PathBuf {
        self.directory.join(JOURNAL)
    }

    fn write_down(&self) -> Result<(), ServerError> {
        let path = self.journal();
        let text = serde_json::to_vec(&self.made).map_err(|e| failed(&path, e.to_string()))?;
        file::replace(&path, &text, file::PRIVATE).map_err(|e| failed(&path, e.to_string()))
    }

    fn note(&mut self, from: &Path, to: &Path) -> Result<(), ServerError> {
        let below = |path: &Path| match path.strip_prefix(&self.directory) {
            Ok(below) => Ok(below.to_owned()),
            Err(_) => Err(failed(path, "is not in the instance's directory")),
        };
        // What is there is of another rotation, and neither may it be lost nor be taken for ours when this is undone.
        if to.exists() {
            return Err(failed(to, "is there already, of another rotation; rotate once more"));
        }
        let one = Move { from: below(from)?, to: below(to)? };
        self.made.push(one);
        self.write_down()
    }

    /// Moves a file or a directory. What is put into its place afterwards goes when it is moved back.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), ServerError> {
        self.note(from, to)?;
        std::fs::rename(from, to).map_err(|e| failed(from, format!("cannot be moved: {e}")))
    }

    /// Keeps a copy of a file that is about to be changed.
    pub(crate) fn copy(&mut self, from: &Path, to: &Path) -> Result<(), ServerError> {
        self.note(from, to)?;
        // It appears in one step: half a copy must not be put back.
        let part = to.with_extension("part");
        std::fs::copy(from, &part)
            .and_then(|_| std::fs::File::open(&part)?.sync_all())
            .and_then(|()| std::fs::rename(&part, to))
            .map_err(|e| failed(from, format!("cannot be copied: {e}")))
    }

    /// From here on the new keys may be known to others: nobody but this process moves anything back.
    pub(crate) fn publishing(&self) -> Result<(), ServerError> {
        let sync = |path: &Path| file::sync_dir(path).map_err(|e| failed(path, e.to_string()));
        let moved = self.made.iter().flat_map(|one| [&one.from, &one.to]);
        let parents: BTreeSet<_> = moved.filter_map(|path| path.parent()).collect();
        // A power cut must not bring the journal back once something was published, nor take a move back without it.
        let parents = parents.into_iter().map(|parent| self.directory.join(parent));
        for parent in parents.filter(|parent| parent.exists()) {
            sync(&parent)?;
        }
        let path = self.journal();
        remove(&path).map_err(|e| failed(&path, format!("cannot be removed: {e}")))?;
        sync(&self.directory)
    }

    /// Moves everything back. A move that was written down and not made is none.
    fn put_back(&self) -> Result<(), ServerError> {
        for Move { from, to } in self.made.iter().rev() {
            let (from, to) = (self.directory.join(from), self.directory.join(to));
            if !to.exists() {
                continue;
            }
            let done = if to.is_dir() { remove(&from) } else { Ok(()) };
            done.and_then(|()| std::fs::rename(&to, &from))
                .map_err(|e| failed(&from, format!("cannot be put back from {}: {e}", to.display())))?;
        }
        Ok(())
    }

    /// Moves everything back after a step that failed, whose error is the one that matters.
    pub(crate) fn undo(self) {
        // It may be ended here too.
        let done = self.write_down().and_then(|()| self.put_back()).and_then(|()| self.publishing());
        if let Err(error) = done {
            tracing::error!(%error, "not everything is back in its place: rotate once more");
        }
    }
}

/// Whether a rotation was ended here before it published anything. While one is under way this is so too.
pub(crate) fn cut_off(directory: &Path) -> bool {
    directory.join(JOURNAL).exists()
}

fn read(directory: &Path) -> Result<Option<Moves>, ServerError> {
    let path = directory.join(JOURNAL);
    let size = match std::fs::metadata(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        found => found.map_err(|e| failed(&path, format!("cannot be read: {e}")))?.len(),
    };
    if size > MAX_JOURNAL {
        return Err(failed(&path, format!("expected at most {MAX_JOURNAL} bytes, found {size}")));
    }
    let text = std::fs::read(&path).map_err(|e| failed(&path, format!("cannot be read: {e}")))?;
    let made: Vec<Move> = serde_json::from_slice(&text)
        .map_err(|e| failed(&path, format!("expected what a rotation moved, found something else: {e}")))?;
    let is_below =
        |path: &Path| path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if let Some(one) = made.iter().find(|one| !is_below(&one.from) || !is_below(&one.to)) {
        return Err(failed(&path, format!("expected paths in this directory, found {}", one.from.display())));
    }
    Ok(Some(Moves { directory: directory.to_owned(), made }))
}

/// Puts back what a rotation moved that was ended before it published anything. Waits for those who serve the instance.
///
/// # Errors
/// [`ServerError::File`]: another rotation is under way, a server does not let go, something cannot be moved;
/// [`ServerError::Log`] for a log past one machine that does not go on.
pub(crate) fn heal(directory: &Path) -> Result<(), ServerError> {
    if !cut_off(directory) {
        return Ok(());
    }
    let _handover = match Handover::take(directory) {
        // Somebody else did it meanwhile.
        Err(_) if !cut_off(directory) => return Ok(()),
        taken => taken?,
    };
    let Some(moves) = read(directory)? else { return Ok(()) };
    tracing::warn!(directory = %directory.display(), "a rotation was cut off before anything was published; it is undone");
    moves.put_back()?;
    Succession::undo_cut_off(&Instance::open(directory)?)?;
    // Last: until then this is done once more.
    moves.publishing()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use countersign_clock::SystemClock;

    use super::*;
    use crate::doctor::{self, Level};
    use crate::instance::{InitOptions, init};
    use crate::rotate::{NewKeys, Target, rotate};

    /// All files of a directory but those of what was rotated out, and locks.
    fn files(directory: &Path, below: &Path, out: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(below).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(directory).unwrap().to_owned();
            if path.is_dir() && name != Path::new("retired") {
                files(directory, &path, out);
            } else if path.is_file() && path.extension().is_none_or(|e| e != "lock") {
                out.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }

    fn all(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut out = BTreeMap::new();
        files(directory, directory, &mut out);
        out
    }

    /// What a rotation of a log does to files, up to a step; of the last one perhaps only what is written down.
    fn steps(directory: &Path, count: usize, only_written_down: bool) {
        let mut moves = Moves::begin(directory);
        let retired = directory.join("retired/log-1");
        std::fs::create_dir_all(&retired).unwrap();
        let (key, public, tree) =
            (directory.join("keys/log.key"), directory.join("keys/log.pub"), directory.join("log"));
        let config = directory.join(crate::config::FILE_NAME);
        let put = |path: &Path| std::fs::write(path, "another").unwrap();
        for step in 0..count {
            let noted = only_written_down && step + 1 == count;
            let mut rename = |from: &Path, name: &str| {
                let to = retired.join(name);
                if noted { moves.note(from, &to).unwrap() } else { moves.rename(from, &to).unwrap() }
            };
            match step {
                0 => rename(&key, "log.key"),
                1 => rename(&public, "log.pub"),
                2 if noted => moves.note(&config, &retired.join("log-countersign.toml")).unwrap(),
                2 => moves.copy(&config, &retired.join("log-countersign.toml")).unwrap(),
                3 => [&config, &key, &public].into_iter().for_each(|path| put(path)),
                4 => rename(&tree, "tree"),
                _ => {
                    std::fs::create_dir(&tree).unwrap();
                    put(&tree.join("checkpoint"));
                }
            }
        }
    }

    #[test]
    fn a_rotation_that_is_cut_off_at_any_step_is_undone_and_can_be_done_then() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("instance");
        init(&directory, &InitOptions::default()).unwrap();
        let before = all(&directory);
        for (count, only_written_down) in (0..=6).flat_map(|count| [(count, false), (count, true)]) {
            steps(&directory, count, only_written_down);
            assert_eq!(cut_off(&directory), count > 0);
            // It may be cut off again.
            if count % 2 == 1 {
                read(&directory).unwrap().unwrap().put_back().unwrap();
            }
            heal(&directory).unwrap();
            assert!(!cut_off(&directory) && all(&directory) == before, "{count} {only_written_down}");
        }
        steps(&directory, 5, false);
        let problems = |directory: &Path| {
            let found = doctor::run(directory, None, &SystemClock);
            found
                .into_iter()
                .filter(|f| f.level == Level::Problem)
                .map(|f| f.what + " " + &f.found)
                .collect::<Vec<_>>()
        };
        assert!(
            problems(&directory).concat().contains("rotation one was cut off"),
            "{:?}",
            problems(&directory)
        );
        let clock: std::sync::Arc<dyn countersign_clock::Clock> = std::sync::Arc::new(SystemClock);
        rotate(&directory, Target::Log, &NewKeys::default(), None, &clock).unwrap();
        assert_eq!(problems(&directory), Vec::<String>::new());
        assert_ne!(all(&directory)[Path::new("keys/log.pub")], before[Path::new("keys/log.pub")]);
        assert!(!cut_off(&directory));
    }

    #[test]
    fn what_another_rotation_put_away_is_neither_overwritten_nor_put_back() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path();
        for (name, text) in [("own", "new"), ("kept", "old")] {
            std::fs::write(directory.join(name), text).unwrap();
        }
        let mut moves = Moves::begin(directory);
        let (own, kept) = (directory.join("own"), directory.join("kept"));
        let error = moves.rename(&own, &kept).unwrap_err().to_string();
        assert!(error.contains("of another rotation"), "{error}");
        assert!(moves.copy(&own, &kept).is_err());
        moves.undo();
        assert_eq!(std::fs::read_to_string(own).unwrap() + &std::fs::read_to_string(kept).unwrap(), "newold");
    }

    #[test]
    fn a_journal_that_names_other_places_moves_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path();
        std::fs::write(directory.join("victim"), "kept").unwrap();
        for (text, told) in [
            (r#"[{"from": "../victim", "to": "x"}]"#, "expected paths in this directory"),
            (r#"[{"from": "x", "to": "/etc/passwd"}]"#, "expected paths in this directory"),
            (r#"[{"from": "x"}]"#, "found something else"),
            ("", "found something else"),
        ] {
            std::fs::write(directory.join(JOURNAL), text).unwrap();
            let error = heal(directory).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains(JOURNAL), "{error}");
        }
        std::fs::write(directory.join(JOURNAL), vec![b' '; 1 << 20]).unwrap();
        assert!(heal(directory).unwrap_err().to_string().contains("expected at most"));
    }
}
