//! What the outer process tells the control side over its pipe: how the build ended, then its outputs. One line of JSON for each,
//! behind that of a file its bytes.

use std::fs::{File, Metadata};
use std::io::{BufRead, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use countersign_crypto::{Digest, HashAlgorithm, Hasher};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, openat};
use serde::{Deserialize, Serialize};

use crate::recipe::Limits;

/// The longest line, in bytes.
const MAX_LINE: u64 = 64 << 10;
/// The most outputs.
pub(crate) const MAX_OUTPUTS: usize = 10_000;
/// How deep directories of outputs may lie in each other.
const MAX_DEPTH: usize = 64;
/// How much of a file is in memory at a time.
const PIECE: usize = 1 << 16;

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Every step succeeded.
    Done,
    /// A step failed.
    Failed,
    /// It took longer than it may.
    Late,
    /// It was ended by a signal.
    Ended(i32),
    /// The sandbox could not be made; no step ran.
    Broken(String),
}

/// One line of the report.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    End(End),
    File { path: String, length: u64, executable: bool },
    Refused { path: String, why: String },
    Last,
}

/// A file that a build made, in the hands of the control side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its path below the directory of the outputs.
    pub path: String,
    /// Its length in bytes.
    pub length: u64,
    /// Whether it may be run.
    pub executable: bool,
    /// The digest of its bytes.
    pub sha256: String,
}

fn write_line(out: &mut impl Write, line: &Line) -> Result<(), String> {
    let mut text = serde_json::to_vec(line).map_err(|e| e.to_string())?;
    text.push(b'\n');
    out.write_all(&text).map_err(|e| format!("the report cannot be written: {e}"))
}

pub(super) fn write_end(out: &mut impl Write, end: &End) -> Result<(), String> {
    write_line(out, &Line::End(end.clone()))
}

/// Hands out every file below a directory. Called when nothing can change it any more.
pub(super) fn send_outputs(out: &mut impl Write, top: &Path, limits: &Limits) -> Result<(), String> {
    let fails = |e: rustix::io::Errno| format!("the outputs cannot be read: {e}");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Without a recursion: directories that are still to be read.
    let mut left = vec![(PathBuf::new(), 0)];
    let mut count = 0;
    let mut total = 0_u64;
    while let Some((below, depth)) = left.pop() {
        let directory = openat(CWD, top.join(&below), flags, Mode::empty()).map_err(fails)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).map_err(fails)? {
            let entry = entry.map_err(fails)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort();
        for name in names {
            count += 1;
            let Ok(text) = name.to_str() else {
                let path = below.join(name.to_string_lossy().as_ref()).display().to_string();
                return write_line(out, &Line::Refused { path, why: "its name is no UTF-8".into() });
            };
            let path = below.join(text);
            let shown = path.display().to_string();
            if count > MAX_OUTPUTS || depth >= MAX_DEPTH {
                let why = format!("more than {MAX_OUTPUTS} outputs, or directories deeper than {MAX_DEPTH}");
                return write_line(out, &Line::Refused { path: shown, why });
            }
            let stat =
                rustix::fs::statat(&directory, text, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).map_err(fails)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                left.push((path, depth + 1));
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let opened = match kind_refused(stat.st_mode) {
                Some(why) => Err(why.to_owned()),
                None => {
                    openat(&directory, text, flags, Mode::empty()).map(File::from).map_err(|e| e.to_string())
                }
            };
            let found = opened.and_then(|file| {
                let found = file.metadata().map_err(|e| e.to_string())?;
                refused(&found).map_or(Ok((file, found)), Err)
            });
            let (file, found) = match found {
                Ok(both) => both,
                Err(why) => return write_line(out, &Line::Refused { path: shown, why }),
            };
            total = total.saturating_add(found.len());
            if total > limits.disk_bytes() {
                let why = "the outputs are larger than the limit of the disk; holes count".into();
                return write_line(out, &Line::Refused { path: shown, why });
            }
            let executable = found.mode() & 0o111 != 0;
            write_line(out, &Line::File { path: shown, length: found.len(), executable })?;
            let sent =
                std::io::copy(&mut file.take(found.len()), out).map_err(|e| format!("an output: {e}"))?;
            if sent != found.len() {
                return Err("an output changed while it was read".into());
            }
        }
    }
    write_line(out, &Line::Last)
}

/// Why something is no output, by its kind.
fn kind_refused(mode: u32) -> Option<&'static str> {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => None,
        FileType::Symlink => Some("it is a symbolic link; an output is a file"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("it is a device; an output is a file"),
        _ => Some("it is neither a file nor a directory"),
    }
}

fn refused(found: &Metadata) -> Option<String> {
    if let Some(why) = kind_refused(found.mode()) {
        return Some(why.into());
    }
    if found.mode() & 0o7000 != 0 {
        return Some("it has the set-user-id, set-group-id or sticky bit".into());
    }
    (found.nlink() != 1).then(|| "it has a second name (a hard link)".into())
}

/// Reads how the build ended.
pub(super) fn read_end(report: &mut impl BufRead) -> Result<End, String> {
    match read_line(report)? {
        Line::End(end) => Ok(end),
        _ => Err("the sandbox reported something else than its end".into()),
    }
}

/// Takes the outputs into a directory, hashing each while it is written.
pub(super) fn receive(
    report: &mut impl BufRead,
    into: &Path,
    limits: &Limits,
) -> Result<Vec<Output>, String> {
    let mut outputs: Vec<Output> = Vec::new();
    let mut total = 0_u64;
    loop {
        let (path, length, executable) = match read_line(report)? {
            Line::Last => {
                outputs.sort_by(|a, b| a.path.cmp(&b.path));
                return Ok(outputs);
            }
            Line::Refused { path, why } => return Err(format!("{path}: {why}")),
            Line::End(_) => return Err("the sandbox reported its end twice".into()),
            Line::File { path, length, executable } => (path, length, executable),
        };
        total = total.saturating_add(length);
        let plain =
            !path.is_empty() && Path::new(&path).components().all(|c| matches!(c, Component::Normal(_)));
        if !plain || outputs.len() >= MAX_OUTPUTS || total > limits.disk_bytes() {
            return Err(format!("{path}: expected a plain path within the limits"));
        }
        let target = into.join(&path);
        let digest = take(report, &target, length, executable).map_err(|e| format!("{path}: {e}"))?;
        outputs.push(Output { path, length, executable, sha256: digest.to_hex() });
    }
}

fn take(report: &mut impl Read, target: &Path, length: u64, executable: bool) -> std::io::Result<Digest> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(above) = target.parent() {
        std::fs::create_dir_all(above)?;
    }
    let mode = if executable { 0o755 } else { 0o644 };
    // Never over something that is there: of two files of one name, one would carry the other's digest.
    let mut file = File::options().write(true).create_new(true).mode(mode).open(target)?;
    let mut hasher = Hasher::new(HashAlgorithm::Sha256);
    let mut left = length;
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let part = piece.get_mut(..most).unwrap_or_default();
        report.read_exact(part)?;
        hasher.update(part);
        file.write_all(part)?;
        left -= most as u64;
    }
    file.sync_all()?;
    Ok(hasher.finish())
}

fn read_line(report: &mut impl BufRead) -> Result<Line, String> {
    let mut line = Vec::new();
    let fails = |e: &dyn std::fmt::Display| format!("the sandbox' report cannot be read: {e}");
    report.take(MAX_LINE).read_until(b'\n', &mut line).map_err(|e| fails(&e))?;
    if line.last() != Some(&b'\n') {
        return Err("the sandbox ended without a whole report".into());
    }
    serde_json::from_slice(&line).map_err(|e| fails(&e))
}
