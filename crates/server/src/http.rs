//! What every face shares: bodies read under a limit, and errors in the shape each protocol's clients know.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt as _;

use crate::listen::Patience;

/// How an error looks on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `{"code": <gRPC code>, "message": …, "details": []}`: Fulcio and Rekor v2.
    Grpc,
    /// `{"code": <HTTP status>, "message": …}`: the timestamp authority.
    Plain,
    /// The message alone as text: CT logs, tiles, documents.
    Text,
}

/// An answer that is an error.
#[derive(Debug)]
pub struct HttpError {
    status: StatusCode,
    message: String,
    shape: Shape,
    code: Option<u16>,
    retry_after: Option<u32>,
}

impl HttpError {
    /// An error of this status.
    #[must_use]
    pub fn new(shape: Shape, status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), shape, code: None, retry_after: None }
    }

    pub(crate) fn bad_request(shape: Shape, message: impl Into<String>) -> Self {
        Self::new(shape, StatusCode::BAD_REQUEST, message)
    }

    /// Another `code` in the body of [`Shape::Plain`] than the status.
    pub(crate) fn code(mut self, code: u16) -> Self {
        self.code = Some(code);
        self
    }

    /// Asks the client to come back after some seconds.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

/// The gRPC code that goes with a status (google.rpc.Code).
fn grpc_code(status: StatusCode) -> u32 {
    match status {
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::FORBIDDEN => 7,
        StatusCode::NOT_FOUND => 5,
        StatusCode::CONFLICT => 6,
        StatusCode::TOO_MANY_REQUESTS => 8,
        StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => 12,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => 14,
        s if s.is_server_error() => 13,
        _ => 3,
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let (kind, body) = match self.shape {
            Shape::Grpc => (
                "application/json",
                serde_json::json!({"code": grpc_code(self.status), "message": self.message, "details": []})
                    .to_string(),
            ),
            Shape::Plain => (
                "application/json",
                serde_json::json!({"code": self.code.unwrap_or(self.status.as_u16()), "message": self.message}).to_string(),
            ),
            Shape::Text => ("text/plain; charset=utf-8", self.message + "\n"),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Time and bytes spent on swallowing a body that is refused. A client which is still sending cannot read the
/// refusal; one that sends less than this does.
const REFUSED_TIME: Duration = Duration::from_secs(2);
const REFUSED_BYTES: usize = 16 * 1024 * 1024;

/// Reads a request's body: at most `limit` bytes, in the time a client has. What goes beyond is not kept.
///
/// # Errors
/// An answer: the body is too large, too slow, or ended early.
pub async fn read_body(request: Request<Body>, limit: usize, shape: Shape) -> Result<Bytes, HttpError> {
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse::<u64>().ok());
    let patience = request.extensions().get::<Patience>().copied().unwrap_or_default();
    let mut body = request.into_body();
    let fits = declared.is_none_or(|n| usize::try_from(n).is_ok_and(|n| n <= limit));
    if fits {
        match tokio::time::timeout(patience.body, collect(&mut body, limit)).await {
            Err(_) => {
                return Err(HttpError::new(
                    shape,
                    StatusCode::REQUEST_TIMEOUT,
                    "the request body took too long",
                ));
            }
            Ok(Err(_)) => return Err(HttpError::bad_request(shape, "the request body ended early")),
            Ok(Ok(Some(bytes))) => return Ok(bytes),
            Ok(Ok(None)) => {}
        }
    }
    if declared.is_none_or(|n| usize::try_from(n).is_ok_and(|n| n <= REFUSED_BYTES)) {
        let _ = tokio::time::timeout(REFUSED_TIME, discard(&mut body)).await;
    }
    Err(HttpError::new(
        shape,
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("http: request body too large (the limit here is {limit} bytes)"),
    ))
}

/// The whole body, or `None` when it has more than `limit` bytes.
async fn collect(body: &mut Body, limit: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            if collected.len() + data.len() > limit {
                return Ok(None);
            }
            collected.extend_from_slice(data);
        }
    }
    Ok(Some(collected.freeze()))
}

async fn discard(body: &mut Body) {
    let mut seen = 0;
    while let Some(Ok(frame)) = body.frame().await {
        seen += frame.data_ref().map_or(0, Bytes::len);
        if seen > REFUSED_BYTES {
            return;
        }
    }
}

/// The media type of a request without its parameters, lower-cased; at most 100 characters of it are looked at.
pub(crate) fn media_type(request: &Request<Body>) -> Option<String> {
    let value = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    (essence.len() <= 100).then(|| essence.to_ascii_lowercase())
}

/// An answer with a body of some media type.
pub fn respond(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(response: Response) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn errors_keep_the_shape_their_clients_know() {
        let grpc = HttpError::bad_request(Shape::Grpc, "no").into_response();
        assert_eq!(grpc.status(), StatusCode::BAD_REQUEST);
        assert_eq!(text(grpc).await, r#"{"code":3,"details":[],"message":"no"}"#);
        let plain = HttpError::bad_request(Shape::Plain, "no").into_response();
        assert_eq!(text(plain).await, r#"{"code":400,"message":"no"}"#);
        let busy = HttpError::new(Shape::Text, StatusCode::SERVICE_UNAVAILABLE, "busy").retry_after(2);
        let busy = busy.into_response();
        assert_eq!(busy.headers()[header::RETRY_AFTER], "2");
        assert_eq!(text(busy).await, "busy\n");
    }

    #[tokio::test]
    async fn r16_bodies_over_the_limit_are_refused_declared_or_not() {
        let declared = Request::builder().header(header::CONTENT_LENGTH, "11").body(Body::from("x")).unwrap();
        let error = read_body(declared, 10, Shape::Grpc).await.unwrap_err();
        assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE);
        let endless = Request::new(Body::from(vec![0; 11]));
        let error = read_body(endless, 10, Shape::Grpc).await.unwrap_err();
        assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE);
        let fits = Request::new(Body::from(vec![0; 10]));
        assert_eq!(read_body(fits, 10, Shape::Grpc).await.unwrap().len(), 10);
    }

    #[test]
    fn media_types_lose_parameters_and_long_ones_are_ignored() {
        let of = |v: String| {
            media_type(&Request::builder().header("content-type", v).body(Body::empty()).unwrap())
        };
        assert_eq!(of("Application/JSON; charset=utf-8".into()).unwrap(), "application/json");
        assert_eq!(of("a".repeat(101)), None);
    }
}
