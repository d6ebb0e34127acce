//! The HTTP wrapper against small servers on loopback: limits, retries, redirects, plain http.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::{get, post};
use countersign_http::{ClientIdentity, Http, HttpError, HttpOptions, Method, Request};
use url::Url;

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}

fn http() -> Http {
    Http::new(HttpOptions {
        backoff: Duration::ZERO,
        longest_wait: Duration::ZERO,
        timeout: Duration::from_secs(5),
        ..HttpOptions::default()
    })
}

fn url(address: SocketAddr, path: &str) -> Url {
    Url::parse(&format!("http://{address}{path}")).unwrap()
}

fn failing(times: usize, status: StatusCode) -> (Router, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let handler = move || async move {
        if seen.fetch_add(1, Ordering::SeqCst) < times {
            (status, [(header::RETRY_AFTER, "3600")], "not yet").into_response()
        } else {
            "done".into_response()
        }
    };
    (Router::new().route("/", get(handler)), count)
}

#[tokio::test]
async fn busy_and_broken_servers_are_asked_again_a_bounded_number_of_times() {
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE, StatusCode::BAD_GATEWAY] {
        let (router, count) = failing(2, status);
        let url = url(serve(router).await, "/");
        // The server asks for an hour; the bound of the options decides.
        let answer = http().send(Request::get("test", &url)).await.unwrap();
        assert_eq!((answer.status, count.load(Ordering::SeqCst)), (200, 3));
    }
    let (router, count) = failing(usize::MAX, StatusCode::INTERNAL_SERVER_ERROR);
    let url = url(serve(router).await, "/");
    let error = http().send(Request::get("test", &url)).await.unwrap().expect(&[200]).unwrap_err();
    assert_eq!(count.load(Ordering::SeqCst), 3);
    assert!(error.to_string().contains("not yet"), "{error}");
    assert!(matches!(error, HttpError::Status { status: 500, .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_is_not_asked_again() {
    for status in [StatusCode::BAD_REQUEST, StatusCode::CONFLICT, StatusCode::NOT_IMPLEMENTED] {
        let (router, count) = failing(usize::MAX, status);
        let url = url(serve(router).await, "/");
        assert_eq!(http().send(Request::get("test", &url)).await.unwrap().status, status.as_u16());
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn answers_end_at_their_limit() {
    let router = Router::new().route("/", get(|| async { vec![0_u8; 1001] }));
    let url = url(serve(router).await, "/");
    assert_eq!(http().send(Request::get("test", &url).limit(1001)).await.unwrap().body.len(), 1001);
    let error = http().send(Request::get("test", &url).limit(1000)).await.unwrap_err();
    assert!(matches!(error, HttpError::TooLong { .. }), "{error}");
}

#[tokio::test]
async fn redirects_stay_within_the_origin_and_tokens_with_them() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let elsewhere = serve(Router::new().fallback(move |_: HeaderMap| async move {
        counter.fetch_add(1, Ordering::SeqCst);
        "stolen"
    }))
    .await;
    let router = Router::new()
        .route("/near", get(|| async { Redirect::temporary("/end") }))
        .route(
            "/end",
            get(|headers: HeaderMap| async move { format!("{:?}", headers.get(header::AUTHORIZATION)) }),
        )
        .route("/far", get(move || async move { Redirect::temporary(&format!("http://{elsewhere}/")) }))
        .route("/far", post(move || async move { Redirect::permanent(&format!("http://{elsewhere}/")) }))
        .route("/loop", get(|| async { Redirect::temporary("/loop") }));
    let address = serve(router).await;
    let near = url(address, "/near");
    let request = Request::get("test", &near).authorization("Bearer", "secret").unwrap();
    let answer = http().send(request).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(String::from_utf8_lossy(&answer.body).starts_with("Some("));
    let far = url(address, "/far");
    for request in [Request::get("test", &far), Request::post("test", &far, "text/plain", b"body".to_vec())] {
        let request = request.authorization("Bearer", "secret").unwrap();
        let error = http().send(request).await.unwrap().expect(&[200]).unwrap_err();
        assert!(error.to_string().contains("not followed"), "{error}");
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0, "the other host was asked");
    let looping = url(address, "/loop");
    assert!(http().send(Request::get("test", &looping)).await.unwrap().expect(&[200]).is_err());
}

#[tokio::test]
async fn plain_http_goes_to_this_machine_only() {
    for text in ["http://sigstore.example.com/", "http://10.0.0.1/", "ftp://localhost/"] {
        let url = Url::parse(text).unwrap();
        let error = http().send(Request::get("test", &url)).await.unwrap_err();
        assert!(matches!(error, HttpError::Usage(_)), "{error}");
    }
}

#[tokio::test]
async fn nobody_listening_is_a_network_error_which_hides_the_query() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = url(address, "/x?code=secret");
    let error = http().send(Request::get("test", &url)).await.unwrap_err();
    assert!(matches!(error, HttpError::Network { .. }), "{error}");
    assert!(error.to_string().contains("cannot connect"), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn the_words_of_an_error_are_made_printable() {
    let body = r#"{"code":3,"message":"no\u001b[2Kpe"}"#;
    let router = Router::new().route("/", get(move || async move { (StatusCode::BAD_REQUEST, body) }));
    let url = url(serve(router).await, "/");
    let error = http().send(Request::get("test", &url)).await.unwrap().expect(&[200]).unwrap_err();
    assert!(error.to_string().contains("no\\u{1b}[2Kpe"), "{error}");
}

#[tokio::test]
async fn what_is_checked_by_its_digest_may_come_from_elsewhere_without_our_headers() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let elsewhere = serve(Router::new().fallback(move |headers: HeaderMap| async move {
        kept.lock().unwrap().push(headers);
        "content"
    }))
    .await;
    let far = move || async move { Redirect::temporary(&format!("http://{elsewhere}/x")) };
    let router = Router::new().route("/far", get(far).put(far).post(far));
    let url = url(serve(router).await, "/far");
    let request = Request::get("test", &url).accept("x/y").authorization("Bearer", "secret").unwrap();
    let request = request.header("cookie", "secret").unwrap().follow_elsewhere();
    assert_eq!(http().send(request).await.unwrap().body, b"content");
    let headers = seen.lock().unwrap().remove(0);
    assert_eq!(headers.get("accept").unwrap(), "x/y");
    assert!(headers.values().all(|value| !value.to_str().unwrap().contains("secret")), "{headers:?}");
    // What changes something stays where it was sent.
    for method in [Method::PUT, Method::POST] {
        let request = Request::new("test", method, &url).body("body").follow_elsewhere();
        assert!((300..400).contains(&http().send(request).await.unwrap().status));
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn redirects_elsewhere_end_and_lead_to_no_other_scheme() {
    let router = Router::new().fallback(|| async { Redirect::temporary("ftp://127.0.0.1/x") });
    let url_of_ftp = url(serve(router).await, "/");
    let error = http().send(Request::get("test", &url_of_ftp).follow_elsewhere()).await.unwrap_err();
    assert!(matches!(error, HttpError::Usage(_)), "{error}");
    let router = Router::new().fallback(|| async { Redirect::temporary("http://10.0.0.1/x") });
    let url_of_plain = url(serve(router).await, "/");
    let error = http().send(Request::get("test", &url_of_plain).follow_elsewhere()).await.unwrap_err();
    assert!(error.to_string().contains("plain http to another machine"), "{error}");
    // Two hosts which send us to each other.
    let places = Arc::new(std::sync::Mutex::new(Vec::<SocketAddr>::new()));
    let mut addresses = Vec::new();
    for n in 0..2 {
        let places = Arc::clone(&places);
        let router = Router::new().fallback(move || async move {
            let other = places.lock().unwrap()[1 - n];
            Redirect::temporary(&format!("http://{other}/"))
        });
        addresses.push(serve(router).await);
    }
    *places.lock().unwrap() = addresses.clone();
    let circle = url(addresses[0], "/");
    let error = http().send(Request::get("test", &circle).follow_elsewhere()).await.unwrap_err();
    assert!(error.to_string().contains("more than 5 redirects"), "{error}");
}

#[tokio::test]
async fn files_are_sent_from_disk_and_again_when_that_is_needed() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let router = Router::new().fallback(move |headers: HeaderMap, body: Bytes| async move {
        assert_eq!(headers.get("content-length").unwrap(), body.len().to_string().as_str());
        let busy = seen.fetch_add(1, Ordering::SeqCst) == 0;
        let status = if busy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        (status, body)
    });
    let url = url(serve(router).await, "/");
    let content: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_be_bytes()[3]).collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, &content).unwrap();
    let request = || Request::new("test", Method::PUT, &url).limit(2_000_000);
    let answer = http().send(request().file(file.path().to_owned(), 1_000_000)).await.unwrap();
    assert_eq!((answer.status, count.load(Ordering::SeqCst)), (200, 2));
    assert!(answer.body == content);
    let answer = http().send(request().file(file.path().to_owned(), 10)).await.unwrap();
    assert_eq!(answer.body, content[..10]);
    // A file that is shorter than was said.
    let error = http().send(request().file(file.path().to_owned(), 1_000_001)).await.unwrap_err();
    assert!(matches!(error, HttpError::Network { .. }), "{error}");
    assert!(http().send(request().file("/nonexistent".into(), 1)).await.is_err());
}

#[tokio::test]
async fn answers_are_read_piece_by_piece_up_to_the_limit() {
    let router = Router::new().fallback(|| async { vec![7_u8; 300_000] });
    let url = url(serve(router).await, "/");
    let mut answer = http().open(Request::get("test", &url).limit(300_000)).await.unwrap();
    assert_eq!((answer.status(), answer.header("content-length")), (200, Some("300000")));
    let mut received = 0;
    while let Some(piece) = answer.chunk().await.unwrap() {
        received += piece.len();
    }
    assert_eq!(received, 300_000);
    let mut answer = http().open(Request::get("test", &url).limit(299_999)).await.unwrap();
    let error = loop {
        match answer.chunk().await {
            Ok(piece) => assert!(piece.is_some(), "the end came before the limit"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, HttpError::TooLong { limit: 299_999, .. }), "{error}");
}

#[tokio::test]
async fn the_words_of_a_registry_s_error_are_found() {
    let body = r#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#;
    let router = Router::new().fallback(move || async move { (StatusCode::FORBIDDEN, body) });
    let url = url(serve(router).await, "/");
    let error = http().send(Request::get("test", &url)).await.unwrap().expect(&[200]).unwrap_err();
    assert!(matches!(&error, HttpError::Status { message, .. } if message == "not yours"), "{error}");
}

#[tokio::test]
async fn authorities_that_are_no_certificates_are_refused() {
    let url = Url::parse("https://127.0.0.1:1/").unwrap();
    for pem in [&b""[..], b"no certificate"] {
        let options = HttpOptions { authorities: vec![pem.to_vec()], ..HttpOptions::default() };
        let error = Http::new(options).send(Request::get("test", &url)).await.unwrap_err();
        assert!(error.to_string().contains("expected certificates of authorities"), "{error}");
    }
}

#[tokio::test]
async fn a_client_certificate_that_is_none_is_refused_and_never_shown() {
    let url = Url::parse("https://127.0.0.1:1/").unwrap();
    let identity = ClientIdentity::from(zeroize::Zeroizing::new(b"hunter2".to_vec()));
    let options = HttpOptions { identity: Some(identity), ..HttpOptions::default() };
    assert!(!format!("{options:?}").contains("hunter2") && !format!("{options:?}").contains("104"));
    let error = Http::new(options).send(Request::get("test", &url)).await.unwrap_err().to_string();
    assert!(error.contains("client certificate") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn secrets_in_headers_arrive_and_are_never_shown() {
    let router = Router::new().route(
        "/",
        get(|headers: HeaderMap| async move { headers["x-secret"].to_str().unwrap().to_owned() }),
    );
    let url = url(serve(router).await, "/");
    let request = Request::get("test", &url).secret_header("x-secret", "hunter2").unwrap();
    assert!(!format!("{request:?}").contains("hunter2"), "{request:?}");
    assert_eq!(http().send(request).await.unwrap().body, b"hunter2");
    let error = Request::get("test", &url).secret_header("x-secret", "hunter2\n").unwrap_err().to_string();
    assert!(error.contains("x-secret") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn an_answer_that_stops_coming_is_left_in_time() {
    let router = Router::new().fallback(|| async {
        let first = futures_util::stream::once(async { Ok::<_, std::io::Error>("some") });
        axum::body::Body::from_stream(futures_util::StreamExt::chain(first, futures_util::stream::pending()))
    });
    let url = url(serve(router).await, "/");
    let request = Request::get("test", &url).timeout(Duration::from_millis(200));
    let error = http().send(request).await.unwrap_err();
    assert!(error.to_string().contains("too slowly"), "{error}");
}

#[tokio::test]
async fn what_is_waited_for_is_told_while_it_is_waited_for() {
    let (router, count) = failing(usize::MAX, StatusCode::TOO_MANY_REQUESTS);
    let url = url(serve(router).await, "/");
    let http = Http::new(HttpOptions { longest_wait: Duration::from_secs(20), ..HttpOptions::default() });
    // Other tests wait for others meanwhile.
    let told =
        || countersign_http::waiting().into_iter().filter(|what| what.contains(url.as_str())).collect();
    let nothing: Vec<String> = told();
    assert!(nothing.is_empty(), "{nothing:?}");
    let request = Request::get("the test", &url);
    let mut sending = Box::pin(http.send(request));
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut sending).await.is_err());
    let expected = format!("the test at {url} answered 429, asked again after 20.0 s");
    let found: Vec<String> = told();
    assert_eq!((found, count.load(Ordering::SeqCst)), (vec![expected], 1));
    drop(sending);
    assert_eq!(told(), nothing);
}

#[tokio::test]
async fn who_has_not_answered_is_told() {
    let router = Router::new().fallback(std::future::pending::<()>);
    let url = url(serve(router).await, "/");
    let http = http();
    let mut sending = Box::pin(http.send(Request::get("the test", &url)));
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut sending).await.is_err());
    let expected = format!("the test at {url} has not answered yet");
    assert!(countersign_http::waiting().contains(&expected), "{:?}", countersign_http::waiting());
    drop(sending);
    assert!(!countersign_http::waiting().contains(&expected));
}
