//! How a command ends when it does not succeed: a message, a next step and a fixed exit code.

use countersign_client::ClientError;
use countersign_http::HttpError;
use countersign_keys::KeyError;

/// Wrong arguments or files that cannot be read.
pub(crate) const USAGE: u8 = 1;
/// What was checked does not verify.
pub(crate) const REJECTED: u8 = 2;
/// What was asked for is not there.
pub(crate) const NO_SIGNATURE: u8 = 3;
/// The trust root is missing or unusable.
pub(crate) const TRUST: u8 = 5;
/// Somebody who must be asked could not be.
pub(crate) const NETWORK: u8 = 6;
/// A fault of the program or the machine.
pub(crate) const INTERNAL: u8 = 7;

/// An error as the person at the terminal sees it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    /// What was expected and what was found.
    pub(crate) message: String,
    /// The next command or step, if there is one. Never a weaker check.
    pub(crate) next: Option<String>,
}

/// What a command gives: its exit code, 0 for success, or why it could not be done.
pub(crate) type Outcome = Result<u8, Failure>;

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), next: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(INTERNAL, message)
    }

    pub(crate) fn next(mut self, step: impl Into<String>) -> Self {
        self.next = Some(step.into());
        self
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Self::new(error.exit_code(), error.to_string());
        match error {
            ClientError::SelfCheck(_) => failure.next(
                "countersign trust update, and sign again: a service may have a newer key than this trust root",
            ),
            _ => failure,
        }
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        ClientError::from(error).into()
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        ClientError::from(error).into()
    }
}

impl From<countersign_crypto::CryptoError> for Failure {
    fn from(error: countersign_crypto::CryptoError) -> Self {
        Self::usage(error.to_string())
    }
}
