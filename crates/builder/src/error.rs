//! Why there is no build.

use thiserror::Error;

/// What went wrong, by the part that says so.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The recipe is not one.
    #[error("the recipe: {0}")]
    Recipe(String),
    /// The source cannot be had, or is not what was asked for.
    #[error("the source: {0}")]
    Source(String),
    /// An input cannot be had, or has another digest.
    #[error("input {name}: {message}")]
    Input {
        /// Which.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The sandbox cannot be made.
    #[error("the sandbox: {0}")]
    Sandbox(String),
    /// A step of the build failed, or took too long.
    #[error("the build: {0}")]
    Step(String),
    /// What the build left is not what the recipe promised.
    #[error("the outputs: {0}")]
    Output(String),
    /// The signer could not sign what is to be built; it has said why.
    #[error("the signer could not sign, so that nothing was built")]
    Signer {
        /// The code it ended with.
        code: Option<u8>,
    },
    /// The journal is not whole.
    #[error("the journal: {0}")]
    Journal(String),
    /// The machine.
    #[error("{what}: {message}")]
    File {
        /// Which file, or what was done.
        what: String,
        /// What the system says.
        message: String,
    },
}

impl BuildError {
    /// For `map_err`: an error of the system about a file.
    pub(crate) fn file<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> Self {
        let what = what.to_string();
        move |e| Self::File { what, message: e.to_string() }
    }
}
