//! The program's side of one worker: a child process with a socket to it.
//!
//! The socket is the child's standard input. Its standard output and error lead nowhere, because modules print there.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::frame::{self, PROTOCOL, Reply, Request};

/// The hidden command by which this program becomes a worker.
pub const WORKER_COMMAND: &str = "pkcs11-worker";

/// What other secrets are called in the environment. The module is somebody else's code and does not get them.
const SECRET_VARIABLES: [&str; 10] = [
    "COSIGN_PKCS11_PIN",
    "COUNTERSIGN_PKCS11_PIN",
    "COSIGN_PASSWORD",
    "COUNTERSIGN_PASSWORD",
    "SIGSTORE_ID_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "VAULT_TOKEN",
    "BAO_TOKEN",
    "GITHUB_TOKEN",
    "GITLAB_TOKEN",
];

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Names the program that is started as worker: one that calls [`run_worker`](super::run_worker) when its first
/// argument is [`WORKER_COMMAND`]. Without this it is the running program itself. The first call counts.
pub fn set_worker_program(path: PathBuf) {
    let _ = PROGRAM.set(path);
}

fn program() -> io::Result<PathBuf> {
    if let Some(path) = PROGRAM.get() {
        return Ok(path.clone());
    }
    // The same program, even when its file was replaced while it runs.
    let own = PathBuf::from("/proc/self/exe");
    if cfg!(target_os = "linux") && own.exists() { Ok(own) } else { std::env::current_exe() }
}

/// Why a worker gave no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// It ended, or speaks another protocol.
    Gone(String),
    /// The time was up.
    Late,
}

/// A running worker. Dropping it ends the process.
#[derive(Debug)]
pub(super) struct Worker {
    /// Taken when dropped.
    child: Option<Child>,
    socket: UnixStream,
    /// Whether it has answered since it was opened.
    pub(super) proven: bool,
}

impl Worker {
    /// Starts a worker and waits until it has said what it is.
    pub(super) fn start(deadline: Instant) -> Result<Self, Silence> {
        let gone = |e: io::Error| Silence::Gone(format!("the PKCS #11 worker cannot be started: {e}"));
        let (own, other) = UnixStream::pair().map_err(gone)?;
        let mut command = Command::new(program().map_err(gone)?);
        command
            .arg(WORKER_COMMAND)
            .stdin(Stdio::from(OwnedFd::from(other)))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for variable in SECRET_VARIABLES {
            command.env_remove(variable);
        }
        let child = command.spawn().map_err(gone)?;
        // It holds the child's end of the socket; while that is open here, the child's end would not be noticed.
        drop(command);
        let mut worker = Self { child: Some(child), socket: own, proven: false };
        match worker.read(deadline)? {
            Reply::Hello { protocol: PROTOCOL } => Ok(worker),
            _ => Err(Silence::Gone("the PKCS #11 worker is of another version; restart the program".into())),
        }
    }

    /// A worker without a process, which nobody answers.
    #[cfg(test)]
    pub(super) fn for_test() -> Self {
        let (socket, _) = UnixStream::pair().unwrap();
        Self { child: None, socket, proven: true }
    }

    /// Asks and waits for the answer.
    pub(super) fn call(&mut self, request: &Request, deadline: Instant) -> Result<Reply, Silence> {
        let mut until = Until { socket: &mut self.socket, deadline };
        frame::write(&mut until, request).map_err(|e| silence(&e))?;
        self.read(deadline)
    }

    fn read(&mut self, deadline: Instant) -> Result<Reply, Silence> {
        let mut until = Until { socket: &mut self.socket, deadline };
        frame::read(&mut until)
            .map_err(|e| silence(&e))?
            .ok_or_else(|| Silence::Gone("the PKCS #11 worker ended".into()))
    }
}

fn silence(error: &io::Error) -> Silence {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Silence::Late,
        _ => Silence::Gone(format!("the PKCS #11 worker ended: {error}")),
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Ends it even when it hangs or was stopped.
            let _ = child.kill();
            // One that is stuck in the kernel ends when its device lets it go; nobody waits here for that. Without a
            // thread to wait on it stays a zombie until the program ends.
            let _ = std::thread::Builder::new().spawn(move || child.wait());
        }
    }
}

/// A socket that is read and written until a time.
struct Until<'a> {
    socket: &'a mut UnixStream,
    deadline: Instant,
}

impl Until<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
