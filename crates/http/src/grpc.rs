//! One gRPC call to a service on this machine: a request, an answer, over a Unix socket. Nothing else of gRPC is
//! needed here, so its message framing is all that is written.

use std::path::Path;
use std::time::Duration;

use reqwest::Client;
use reqwest::header::{CONTENT_TYPE, HeaderMap, TE};

use crate::text::printable;
use crate::{HttpError, describe};

/// The bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A call that has one request and one answer.
#[derive(Debug)]
pub struct UnaryCall<'a> {
    /// How errors name the one asked.
    pub service: &'static str,
    /// The socket it listens on.
    pub socket: &'a Path,
    /// `/Service/Method`.
    pub method: &'static str,
    /// A line of metadata that the service insists on: its name and value.
    pub metadata: (&'static str, &'static str),
    /// The request, encoded.
    pub message: &'a [u8],
    /// The largest answer, in bytes.
    pub limit: usize,
    /// The time for the whole call.
    pub timeout: Duration,
}

impl UnaryCall<'_> {
    /// Makes the call and gives the answer's message, encoded.
    ///
    /// # Errors
    /// [`HttpError::Network`] when nobody answers, [`HttpError::Status`] with gRPC's status and words,
    /// [`HttpError::WrongAnswer`] for anything but one whole message.
    pub async fn send(self) -> Result<Vec<u8>, HttpError> {
        let url = printable(&format!("unix:{}", self.socket.display()));
        let network = |e: &reqwest::Error| HttpError::Network {
            service: self.service,
            url: url.clone(),
            message: describe(e),
        };
        let wrong =
            |message: String| HttpError::WrongAnswer { service: self.service, url: url.clone(), message };
        let client = Client::builder()
            .unix_socket(self.socket)
            .http2_prior_knowledge()
            .no_proxy()
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| network(&e))?;
        let length = u32::try_from(self.message.len())
            .map_err(|_| HttpError::Usage("a message longer than gRPC can carry".into()))?;
        let mut body = vec![0];
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(self.message);
        let mut answer = client
            .post(format!("http://localhost{}", self.method))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(self.metadata.0, self.metadata.1)
            .timeout(self.timeout)
            .body(body)
            .send()
            .await
            .map_err(|e| network(&e))?;
        if answer.status().as_u16() != 200 {
            return Err(wrong(format!("expected gRPC, found HTTP status {}", answer.status().as_u16())));
        }
        // An error without a message has its status among the headers.
        if let Some((status, message)) = grpc_error(answer.headers()) {
            return Err(HttpError::Status { service: self.service, url: url.clone(), status, message });
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| network(&e))? {
            if bytes.len() + chunk.len() > self.limit.saturating_add(PREFIX) {
                return Err(wrong(format!("the answer is longer than {} bytes", self.limit)));
            }
            bytes.extend_from_slice(&chunk);
        }
        one_message(&bytes).map(<[u8]>::to_vec).map_err(|what| wrong(what.into()))
    }
}

/// A status other than 0 and its words.
fn grpc_error(headers: &HeaderMap) -> Option<(u16, String)> {
    let status = headers.get("grpc-status")?.to_str().ok()?;
    if status == "0" {
        return None;
    }
    let words = headers.get("grpc-message").and_then(|v| v.to_str().ok()).unwrap_or("no further words");
    Some((status.parse().unwrap_or(2), printable(&words.chars().take(500).collect::<String>())))
}

/// The one message in a body.
///
/// # Errors
/// What was expected, for anything but one whole message without compression.
pub fn one_message(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let (prefix, message) = bytes.split_first_chunk::<PREFIX>().ok_or("expected a message, found none")?;
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err("expected a message without compression");
    }
    if usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
        return Err("expected one whole message, found another length");
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_whole_message_is_taken() {
        assert_eq!(one_message(&[0, 0, 0, 0, 2, 7, 8]), Ok(&[7, 8][..]));
        assert_eq!(one_message(&[0, 0, 0, 0, 0]), Ok(&[][..]));
        for bad in [&[][..], &[0, 0, 0, 0], &[1, 0, 0, 0, 1, 7], &[0, 0, 0, 0, 2, 7], &[0, 0, 0, 0, 1, 7, 8]]
        {
            assert!(one_message(bad).is_err(), "{bad:?}");
        }
        assert!(one_message(&[0, 255, 255, 255, 255, 7]).is_err());
    }
}
