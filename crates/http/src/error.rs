//! What can go wrong between this program and a service.

/// An error of an exchange. Holds no secret, and its foreign parts are printable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// An address or a header that this program does not send.
    #[error("{0}")]
    Usage(String),
    /// A service that cannot be reached, or whose answer did not arrive whole.
    #[error("{service} at {url}: {message}")]
    Network {
        /// Which service.
        service: &'static str,
        /// Its address.
        url: String,
        /// What happened and what to do.
        message: String,
    },
    /// A service that answered with an error.
    #[error("{service} at {url} answered {status}: {message}")]
    Status {
        /// Which service.
        service: &'static str,
        /// Its address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The service's own words, made printable.
        message: String,
    },
    /// A service that answered with something that is wrong, or cannot be trusted.
    #[error("{service} at {url} gave a wrong answer: {message}")]
    WrongAnswer {
        /// Which service.
        service: &'static str,
        /// Its address.
        url: String,
        /// What was expected and what was found.
        message: String,
    },
    /// A service whose answer is longer than its reader takes.
    #[error("{service} at {url}: the answer is longer than {limit} bytes, which is the limit")]
    TooLong {
        /// Which service.
        service: &'static str,
        /// Its address.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
}
