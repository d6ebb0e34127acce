//! Waiting for what is far away: the log's threads and traits block, clients of databases and object stores do not.

use std::future::Future;
use std::io;
use std::sync::LazyLock;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// The threads that drive connections. One set for the process, apart from those that serve requests: these may then
/// wait for an answer without standing in its way.
static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(2).thread_name("log-remote").enable_all().build()
});

/// The runtime for connections.
pub(crate) fn runtime() -> io::Result<&'static Handle> {
    match &*RUNTIME {
        Ok(runtime) => Ok(runtime.handle()),
        Err(error) => {
            Err(io::Error::new(error.kind(), format!("starting the threads for connections: {error}")))
        }
    }
}

/// Waits for an operation, and gives it up after a time. Whether it took effect is then not known.
pub(crate) fn wait<T: Send + 'static>(
    limit: Duration,
    operation: impl Future<Output = io::Result<T>> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = sync_channel(1);
    let task = runtime()?.spawn(async move {
        // Who gave it up needs no result.
        let _ = sender.send(operation.await);
    });
    match receiver.recv_timeout(limit) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => {
            task.abort();
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {limit:?}")))
        }
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the operation ended without a result")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_answers_is_given_up() {
        assert_eq!(wait(Duration::from_secs(60), async { Ok(5) }).unwrap(), 5);
        let error = wait(Duration::from_millis(1), std::future::pending::<io::Result<()>>()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn waiting_inside_another_runtime_works() {
        let runtime = Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(async { wait(Duration::from_secs(60), async { Ok(5) }) }).unwrap(), 5);
    }
}
