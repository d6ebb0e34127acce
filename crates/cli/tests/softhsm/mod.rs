//! A place with tokens of SoftHSM2, which behaves as a hardware module does, for the tests that need one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where distributions put the module.
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// The user PIN of every token made here.
pub(crate) const PIN: &str = "834719";

/// A directory of tokens with its configuration.
pub(crate) struct SoftHsm {
    directory: tempfile::TempDir,
    pub(crate) module: &'static str,
}

impl SoftHsm {
    /// `None`, said in one line, where SoftHSM2 is not installed; with CI=true that is a failure.
    pub(crate) fn find() -> Option<Self> {
        let module = MODULES.into_iter().find(|path| Path::new(path).is_file());
        let Some(module) = module else {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "softhsm2 is not installed");
            eprintln!("skipped: softhsm2 is not installed");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("tokens")).unwrap();
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            directory.path().join("tokens").display()
        );
        let found = Self { directory, module };
        std::fs::write(found.configuration(), text).unwrap();
        Some(found)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// For the environment variable `SOFTHSM2_CONF`.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.path("softhsm2.conf")
    }

    /// Makes a token and gives the directory it is kept in.
    pub(crate) fn token(&self, label: &str) -> PathBuf {
        let tokens = || -> Vec<PathBuf> {
            std::fs::read_dir(self.path("tokens")).unwrap().map(|entry| entry.unwrap().path()).collect()
        };
        let before = tokens();
        let output = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label, "--so-pin", "999999", "--pin", PIN])
            .env("SOFTHSM2_CONF", self.configuration())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        tokens().into_iter().find(|path| !before.contains(path)).unwrap()
    }

    /// Takes a token away, as pulling it out does.
    pub(crate) fn pull(&self, token: &Path) {
        std::fs::rename(token, self.path("pulled")).unwrap();
    }

    /// Puts the token back that was taken away.
    pub(crate) fn put_back(&self, token: &Path) {
        std::fs::rename(self.path("pulled"), token).unwrap();
    }
}

/// The workers that a process has started.
pub(crate) fn workers(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Processes come and go meanwhile.
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        let alive = field("State:").is_some_and(|state| !state.starts_with('Z'));
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if alive && field("PPid:") == Some(parent.to_string()) && command.contains("pkcs11-worker") {
            found.push(pid);
        }
    }
    found
}

/// Sends a signal to one process.
pub(crate) fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "kill {name} {pid}");
}

/// Tries until it succeeds and says how long that took; a test fails after half a minute.
pub(crate) fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> (T, Duration) {
    let started = Instant::now();
    loop {
        if let Some(done) = attempt() {
            return (done, started.elapsed());
        }
        assert!(started.elapsed() < Duration::from_secs(30), "it does not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}
