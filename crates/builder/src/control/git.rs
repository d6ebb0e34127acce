//! A source from git, by the `git` program. It is fetched once; the commit is what was fetched, so that a name which moves between two
//! questions cannot make two answers. Files are written from the objects themselves: no attributes, no filters, no hooks.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use url::Url;

use super::tree::{Links, Tree};
use crate::BuildError;
use crate::recipe::is_plain;

/// Where the fetched commit is kept in the repository of the build.
const OWN: &str = "refs/countersign/source";
/// The most files and directories of a source.
const MAX_FILES: usize = 500_000;
/// The most bytes of a list of them.
const MAX_LIST: u64 = 128 << 20;
/// The most bytes of a source.
const MAX_BYTES: u64 = 8 << 30;

/// How much of what git says is told, in bytes.
const MAX_SAID: u64 = 64 << 10;

/// What a server may take of whoever fetches from it.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// How long it may all take.
    time: Duration,
    /// The largest file that git may write: the pack with all that comes.
    pack: u64,
}

const BOUNDS: Bounds = Bounds { time: Duration::from_secs(30 * 60), pack: 4 << 30 };

/// A source that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetched {
    /// The commit.
    pub(crate) commit: String,
    /// When it was made, in seconds.
    pub(crate) time: i64,
}

/// A repository of the build's own.
#[derive(Debug)]
pub(crate) struct Repository<'p>(&'p Path);

fn fails(message: impl Into<String>) -> BuildError {
    BuildError::Source(message.into())
}

/// What git says, when it succeeds.
fn ended(what: &str, git: &mut Command) -> Result<Vec<u8>, BuildError> {
    let ran = git.output().map_err(|e| fails(format!("git does not start: {e}")))?;
    if ran.status.success() {
        return Ok(ran.stdout);
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    Err(fails(format!("git {what}: {}", said.trim())))
}

/// Runs git, which reads a line before it asks anybody, within bounds.
fn ended_within(what: &str, git: &mut Command, line: &str, bounds: Bounds) -> Result<(), BuildError> {
    let wrong = |e: &dyn std::fmt::Display| fails(format!("git {what}: {e}"));
    // A group of its own, so that those whom it starts end with it.
    git.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = git.spawn().map_err(|e| fails(format!("git does not start: {e}")))?;
    let group = Pid::from_child(&running);
    let (Some(mut input), Some(mut errors)) = (running.stdin.take(), running.stderr.take()) else {
        return Err(wrong(&"no pipes"));
    };
    let largest = Rlimit { current: Some(bounds.pack), maximum: Some(bounds.pack) };
    let begun = prlimit(Some(group), Resource::Fsize, largest)
        .map_err(std::io::Error::from)
        .and_then(|_| input.write_all(line.as_bytes()));
    drop(input);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let read = errors.by_ref().take(MAX_SAID).read_to_end(&mut said);
        // To the end, which comes when all of them have ended.
        let read = read.and_then(|_| std::io::copy(&mut errors, &mut std::io::sink()));
        let _ = tell.send(read.map(|_| said));
    });
    let said = match &begun {
        Ok(()) => told.recv_timeout(bounds.time).ok(),
        Err(_) => None,
    };
    if said.is_none() {
        // Where none is left of the group there is nothing to be ended.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = running.wait().map_err(|e| wrong(&e))?;
    begun.map_err(|e| wrong(&e))?;
    let said = said.ok_or_else(|| {
        wrong(&format!("it was not done within {} s, which is its limit", bounds.time.as_secs()))
    })?;
    if status.success() {
        return Ok(());
    }
    let said = said.map_err(|e| wrong(&e))?;
    let said = String::from_utf8_lossy(&said);
    Err(wrong(&said.trim()))
}

impl<'p> Repository<'p> {
    /// Fetches a reference into a new repository in a directory.
    pub(crate) fn fetch(
        directory: &'p Path,
        url: &Url,
        reference: &str,
    ) -> Result<(Self, Fetched), BuildError> {
        Self::fetch_within(directory, url, reference, BOUNDS)
    }

    fn fetch_within(
        directory: &'p Path,
        url: &Url,
        reference: &str,
        bounds: Bounds,
    ) -> Result<(Self, Fetched), BuildError> {
        let own = Self(directory);
        own.run(&["init", "--quiet", "--bare", "."])?;
        let what = format!("{reference}:{OWN}\n");
        let mut fetch = own.git();
        // By no other way than the one that was asked for: a redirect from https to http is a name that anybody on the way can change.
        fetch.env("GIT_ALLOW_PROTOCOL", url.scheme()).args([
            "fetch",
            "--quiet",
            "--no-tags",
            "--depth=1",
            "--no-recurse-submodules",
            "--stdin",
            "--",
            url.as_str(),
        ]);
        ended_within("fetch", &mut fetch, &what, bounds).map_err(|error| {
            if own.is_full(bounds.pack) {
                return fails(format!("its pack is larger than {} bytes, which is the limit", bounds.pack));
            }
            error
        })?;
        let commit =
            own.text(&["rev-parse", "--verify", "--end-of-options", &format!("{OWN}^{{commit}}")])?;
        let hex = matches!(commit.len(), 40 | 64) && commit.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex {
            return Err(fails(format!("git names no commit but \"{commit}\"")));
        }
        let asked = matches!(reference.len(), 40 | 64) && reference.bytes().all(|b| b.is_ascii_hexdigit());
        if asked && !reference.eq_ignore_ascii_case(&commit) {
            return Err(fails(format!("expected commit {reference}, found {commit}")));
        }
        let time = own.text(&["show", "--no-patch", "--format=%ct", &commit])?;
        let time = time.parse().map_err(|_| fails(format!("commit {commit} has no time")))?;
        Ok((own, Fetched { commit, time }))
    }

    /// Whether a pack ends at the limit: the kernel ends whoever would write on, and git does not say what it died of.
    fn is_full(&self, limit: u64) -> bool {
        let packs = std::fs::read_dir(self.0.join("objects/pack"));
        packs
            .into_iter()
            .flatten()
            .flatten()
            .any(|pack| pack.metadata().is_ok_and(|found| found.len() >= limit))
    }

    /// The program, with an environment in which nothing of the user's or the machine's configuration counts.
    fn git(&self) -> Command {
        let mut command = Command::new("git");
        command.current_dir(self.0).env_clear().stdin(Stdio::null());
        // Not HOME: in it lie names and passwords of whoever builds, which are not those of whoever asks.
        for name in ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "https_proxy", "no_proxy"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .envs([
                ("GIT_CONFIG_NOSYSTEM", "1"),
                ("GIT_CONFIG_GLOBAL", "/dev/null"),
                ("GIT_TERMINAL_PROMPT", "0"),
                ("GIT_ALLOW_PROTOCOL", ""),
                ("GIT_NO_REPLACE_OBJECTS", "1"),
                ("LC_ALL", "C"),
            ])
            .args(["-c", "core.hooksPath=/dev/null", "-c", "fetch.fsckObjects=true", "-c", "gc.auto=0"])
            // One pack, however few objects: its size has a limit, and that of files without number would have none.
            .args(["-c", "fetch.unpackLimit=1"])
            // Whom nobody waits for any more, ends too when nothing comes.
            .args(["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=60"]);
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, BuildError> {
        ended(arguments.first().unwrap_or(&""), self.git().args(arguments))
    }

    fn text(&self, arguments: &[&str]) -> Result<String, BuildError> {
        let out = self.run(arguments)?;
        String::from_utf8(out)
            .map(|text| text.trim().to_owned())
            .map_err(|_| fails("git's answer is no text"))
    }

    /// The object of a file at a commit.
    pub(crate) fn blob_id(&self, commit: &str, path: &str) -> Result<String, BuildError> {
        self.text(&["rev-parse", "--verify", "--end-of-options", &format!("{commit}:{path}")])
            .map_err(|_| fails(format!("it has no file {path}")))
    }

    /// Writes all files of a commit below a directory.
    pub(crate) fn export(&self, fetched: &Fetched, into: &Path) -> Result<(), BuildError> {
        let files = self.files(&fetched.commit)?;
        let mut tree =
            Tree::new(into, Links::Refused, fetched.time).map_err(BuildError::file("the source"))?;
        let mut objects = self
            .git()
            .args(["cat-file", "--batch", "--buffer"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| fails(format!("git does not start: {e}")))?;
        let (Some(mut ask), Some(answer)) = (objects.stdin.take(), objects.stdout.take()) else {
            return Err(fails("git has no pipes"));
        };
        let asked: String = files.iter().map(|file| format!("{}\n", file.object)).collect();
        // On a thread of its own: git answers before all is asked.
        let asking = std::thread::spawn(move || ask.write_all(asked.as_bytes()));
        let mut answer = BufReader::new(answer);
        let mut total = 0_u64;
        for file in &files {
            let wrong = |e: std::io::Error| fails(format!("{}: {e}", file.path));
            let mut header = String::new();
            answer.by_ref().take(256).read_line(&mut header).map_err(wrong)?;
            let length = match header.trim_end().split(' ').collect::<Vec<_>>().as_slice() {
                [object, "blob", length] if *object == file.object => length.parse::<u64>().ok(),
                _ => None,
            };
            let length = length
                .ok_or_else(|| fails(format!("{}: git answers \"{}\"", file.path, header.trim_end())))?;
            total = total.saturating_add(length);
            if total > MAX_BYTES {
                return Err(fails(format!("it is larger than {MAX_BYTES} bytes, which is the limit")));
            }
            let mut body = answer.by_ref().take(length);
            let written = if file.link {
                let mut target = Vec::new();
                body.read_to_end(&mut target).map_err(wrong)?;
                let text = std::str::from_utf8(&target)
                    .map_err(|_| fails(format!("{}: a link to what is no UTF-8 text", file.path)))?;
                tree.symlink(&file.path, text).map_err(wrong)?;
                target.len() as u64
            } else {
                tree.write(&file.path, file.executable, &mut body).map_err(wrong)?
            };
            if written != length || answer.by_ref().take(1).read_to_end(&mut Vec::new()).map_err(wrong)? != 1
            {
                return Err(fails(format!("{}: git's answer ends early", file.path)));
            }
        }
        drop(answer);
        let asked = asking.join().map_err(|_| fails("git was not asked"))?;
        asked.map_err(|e| fails(format!("git was not asked: {e}")))?;
        objects.wait().map_err(|e| fails(format!("git: {e}")))?;
        tree.finish().map_err(BuildError::file("the source"))
    }

    /// The files of a commit. A handful of objects can name more of them than any memory holds, so that they are counted as they come, and
    /// with them the directories, which may be as many and hold nothing.
    fn files(&self, commit: &str) -> Result<Vec<Entry>, BuildError> {
        let mut listing = self
            .git()
            .args(["ls-tree", "-r", "-t", "-z", "--full-tree", commit])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| fails(format!("git does not start: {e}")))?;
        let list = listing.stdout.take().ok_or_else(|| fails("git has no pipes"))?;
        // Who still writes when this returns, ends: nobody reads any more.
        let entries = entries(BufReader::new(list));
        let ended = listing.wait().map_err(|e| fails(format!("git: {e}")))?;
        let entries = entries?;
        if !ended.success() {
            return Err(fails(format!("git does not list the files of {commit}: {ended}")));
        }
        Ok(entries)
    }
}

/// Reads a list of files and directories; gives the files.
fn entries(list: impl BufRead) -> Result<Vec<Entry>, BuildError> {
    let mut list = list.take(MAX_LIST);
    let mut found = Vec::new();
    let mut count = 0;
    loop {
        let mut line = Vec::new();
        list.read_until(0, &mut line).map_err(|e| fails(format!("git: {e}")))?;
        if line.is_empty() && list.limit() > 0 {
            return Ok(found);
        }
        count += 1;
        if line.pop() != Some(0) || count > MAX_FILES {
            return Err(fails(format!(
                "it has more than {MAX_FILES} files and directories, or their list more than {MAX_LIST} bytes, which is the limit"
            )));
        }
        let line =
            std::str::from_utf8(&line).map_err(|_| fails("it has a file whose name is no UTF-8 text"))?;
        found.extend(Entry::read(line)?);
    }
}

/// A file of a commit.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    path: String,
    object: String,
    executable: bool,
    link: bool,
}

impl Entry {
    /// Reads `mode type object<TAB>path`; `None` for a directory.
    fn read(line: &str) -> Result<Option<Self>, BuildError> {
        let wrong = || fails(format!("git lists \"{line}\", which is no file"));
        let (facts, path) = line.split_once('\t').ok_or_else(wrong)?;
        let [mode, kind, object] =
            <[&str; 3]>::try_from(facts.split(' ').collect::<Vec<_>>()).map_err(|_| wrong())?;
        if kind == "commit" {
            return Err(fails(format!(
                "{path} is a submodule; put its files into the source, or make it an input"
            )));
        }
        if !is_plain(path) {
            return Err(wrong());
        }
        if (mode, kind) == ("040000", "tree") {
            return Ok(None);
        }
        if kind != "blob" {
            return Err(wrong());
        }
        Ok(Some(Self {
            path: path.into(),
            object: object.into(),
            executable: mode == "100755",
            link: mode == "120000",
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn lines_of_git_are_files_or_refused() {
        let entry = Entry::read("100755 blob 0f\ta b/c").unwrap().unwrap();
        assert!(entry.executable && !entry.link && entry.path == "a b/c");
        assert!(Entry::read("120000 blob 0f\tl").unwrap().unwrap().link);
        assert_eq!(Entry::read("040000 tree 0f\ta").unwrap(), None);
        assert!(Entry::read("160000 commit 0f\tsub").unwrap_err().to_string().contains("submodule"));
        for bad in [
            "100644 blob 0f\t../a",
            "100644 blob 0f\t/a",
            "100644 tree 0f\ta",
            "040000 tree 0f\t../a",
            "100644 blob 0f a",
            "",
        ] {
            assert!(Entry::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_of_whoever_builds_is_told_to_a_source() {
        let git = Repository(Path::new("/")).git();
        let given: Vec<_> = git.get_envs().filter_map(|(name, value)| value.and(name.to_str())).collect();
        assert!(given.contains(&"PATH") && !given.contains(&"HOME"), "{given:?}");
    }

    #[test]
    fn a_redirect_to_another_kind_of_address_is_not_followed() {
        let (asked, elsewhere) =
            (TcpListener::bind(("127.0.0.1", 0)).unwrap(), TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let url = Url::parse(&format!("http://{}/a.git", asked.local_addr().unwrap())).unwrap();
        let to = elsewhere.local_addr().unwrap();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = asked.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            write!(stream, "HTTP/1.1 302 Found\r\nLocation: https://{to}/a.git/info/refs?service=git-upload-pack\r\nContent-Length: 0\r\n\r\n").unwrap();
        });
        let place = tempfile::tempdir().unwrap();
        let error = Repository::fetch(place.path(), &url, "main").unwrap_err().to_string();
        answering.join().unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        assert!(elsewhere.accept().is_err(), "{error}");
    }

    #[test]
    fn a_server_that_says_nothing_is_not_waited_for_without_end() {
        let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = Url::parse(&format!("http://{}/a.git", silent.local_addr().unwrap())).unwrap();
        let place = tempfile::tempdir().unwrap();
        let bounds = Bounds { time: Duration::from_millis(300), ..BOUNDS };
        let error = Repository::fetch_within(place.path(), &url, "main", bounds).unwrap_err().to_string();
        assert!(error.contains("not done within"), "{error}");
    }

    #[test]
    fn a_source_whose_pack_is_too_large_is_not_kept() {
        let place = tempfile::tempdir().unwrap();
        let (from, into) = (place.path().join("from"), place.path().join("into"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&into).unwrap();
        let own = Repository(&from);
        own.run(&["init", "--quiet", "--initial-branch=main", "."]).unwrap();
        // What no packing makes smaller.
        let mut bytes = vec![0; 200_000];
        countersign_crypto::random(&mut bytes).unwrap();
        std::fs::write(from.join("file"), &bytes).unwrap();
        own.run(&["add", "."]).unwrap();
        let who = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
        own.run(&[&who[..], &["commit", "--quiet", "--message", "one"]].concat()).unwrap();
        let url = Url::from_file_path(&from).unwrap();
        let bounds = |pack| Bounds { pack, ..BOUNDS };
        let error = Repository::fetch_within(&into, &url, "main", bounds(100_000)).unwrap_err().to_string();
        assert!(error.contains("which is the limit"), "{error}");
        let again = place.path().join("again");
        std::fs::create_dir(&again).unwrap();
        Repository::fetch_within(&again, &url, "main", bounds(300_000)).unwrap();
    }

    #[test]
    fn the_list_of_a_source_ends_at_its_limits() {
        let line = |n: usize| format!("040000 tree 0f\td{n}\0");
        let list = |count: usize| (0..count).map(line).collect::<String>();
        assert!(entries(list(MAX_FILES).as_bytes()).unwrap().is_empty());
        assert!(
            entries(list(MAX_FILES + 1).as_bytes()).unwrap_err().to_string().contains("which is the limit")
        );
        let long = std::io::repeat(b'a');
        assert!(entries(BufReader::new(long)).unwrap_err().to_string().contains("which is the limit"));
        assert!(entries(&b"100644 blob 0f\ta"[..]).is_err(), "cut short");
    }

    /// A tree of ten trees of ten trees …, which nobody can walk through.
    #[test]
    fn a_few_objects_that_name_without_end_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let own = Repository(place.path());
        own.run(&["init", "--quiet", "--bare", "."]).unwrap();
        let write = |kind: &str, bytes: &[u8]| {
            let file = place.path().join("object");
            std::fs::write(&file, bytes).unwrap();
            own.text(&["hash-object", "-t", kind, "-w", "--", file.to_str().unwrap()]).unwrap()
        };
        // Its leaves are trees with nothing in them.
        let mut tree = write("tree", b"");
        for _ in 0..12 {
            let id = countersign_crypto::encoding::hex_decode(&tree).unwrap();
            let bytes: Vec<u8> =
                (0..10).flat_map(|n| [format!("40000 d{n}\0").as_bytes(), &id].concat()).collect();
            tree = write("tree", &bytes);
        }
        let error = own.files(&tree).unwrap_err().to_string();
        assert!(error.contains("which is the limit"), "{error}");
    }
}
