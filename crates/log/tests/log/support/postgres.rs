//! PostgreSQL in a temporary directory, reached through a socket; one server for all tests that run at a time.
//!
//! The server must not run as root; where the tests do, it runs as `postgres` or `nobody`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use countersign_log::storage::{Postgres, PostgresAccess};

pub struct Server {
    directory: tempfile::TempDir,
    process: Child,
}

fn program(name: &str) -> Option<PathBuf> {
    let installed =
        ["/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin"];
    let path = std::env::var("PATH").unwrap_or_default();
    let mut folders = installed.into_iter().chain(path.split(':')).map(Path::new);
    folders.find_map(|folder| folder.join(name).is_file().then(|| folder.join(name)))
}

/// The command, as another user where we are root.
fn command(program: &Path) -> Command {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !root {
        return Command::new(program);
    }
    let known = Command::new("id").arg("postgres").output().is_ok_and(|id| id.status.success());
    let mut command = Command::new("setpriv");
    let user = if known { "postgres" } else { "nobody" };
    command.args([&format!("--reuid={user}"), "--clear-groups"]).arg(program);
    command
}

impl Server {
    /// The server, or a line that says why these tests are left out.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Self::own()?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    /// A server for one test, or a line that says why it is left out.
    pub fn own() -> Option<Self> {
        let server = Self::start();
        if server.is_none() {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "PostgreSQL is not installed");
            eprintln!("PostgreSQL is not installed: tests with it are left out");
        }
        server
    }

    fn start() -> Option<Self> {
        let (initdb, postgres) = (program("initdb")?, program("postgres")?);
        let directory = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let data = directory.path().join("data");
        let made = command(&initdb)
            .args(["--auth=trust", "--username=tester", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let process = command(&postgres)
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "max_connections=200"])
            .arg("-k")
            .arg(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { directory, process };
        let end = Instant::now() + Duration::from_secs(60);
        while let Err(error) = Postgres::connect(server.access()) {
            assert!(Instant::now() < end, "{error}");
            std::thread::yield_now();
        }
        Some(server)
    }

    /// The address of its database.
    pub fn url(&self) -> String {
        format!("postgres://tester@/postgres?host={}", self.directory.path().display())
    }

    fn access(&self) -> PostgresAccess {
        PostgresAccess::parse(&self.url(), None).unwrap()
    }

    /// The database, in which each test uses logs of its own names.
    pub fn database(&self) -> Postgres {
        Postgres::connect(self.access()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A quick end, in which it looks after its own processes.
        let _ = Command::new("kill").args(["-QUIT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }
}
