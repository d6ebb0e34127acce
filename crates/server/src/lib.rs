//! The trust services' HTTP faces, and the instance they run from.
//!
//! - [`config`]: the instance's `countersign.toml`.
//! - [`instance`]: making an instance's directory, and opening it.
//! - [`serve`]: running some or all of its roles in this process.
//! - [`doctor`]: looking at it and saying the next step.
//! - [`listen`], [`tls`] and [`http`]: the listening socket and the manners of a face, for servers beside the instance too.
//! - [`store`]: where its logs are, and moving them.
//! - [`rotate`]: replacing one of its keys so that old bundles stay valid.

pub mod config;
mod connections;
pub mod doctor;
mod epoch;
mod faces;
mod fetch;
mod gate;
mod handover;
pub mod http;
mod index;
pub mod instance;
pub mod listen;
pub mod marks;
mod metrics;
mod moves;
mod patient;
mod rate_limit;
mod rekor_v1;
mod remote_key;
mod retired;
pub mod revoke;
pub mod rotate;
mod scrub;
pub mod serve;
pub mod store;
mod succession;
pub mod tls;
pub mod witness;

use std::net::SocketAddr;
use std::path::PathBuf;

/// What can go wrong with an instance.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The configuration or a file it names is unusable.
    #[error("{}: {message}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        message: String,
    },
    /// Something that the configuration names does not answer.
    #[error("{}: {message}", path.display())]
    Away {
        /// The configuration.
        path: PathBuf,
        /// What was asked, where, and what came of it.
        message: String,
    },
    /// The listening socket.
    #[error("cannot listen on {address}: {source}; {hint}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's word.
        source: std::io::Error,
        /// The next step.
        hint: &'static str,
    },
    /// A file or directory of the instance.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong and the next step.
        message: String,
    },
    /// A private key that cannot be used.
    #[error("{}: {message}", path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
        /// What is wrong and the next step.
        message: String,
    },
    /// A transparency log or the CT log.
    #[error("the {log} log: {message}")]
    Log {
        /// Which one.
        log: &'static str,
        /// What is wrong and the next step.
        message: String,
    },
    /// Certificates, trust root or TUF repository do not fit together.
    #[error("{0}")]
    Trust(String),
}
