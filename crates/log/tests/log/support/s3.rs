//! A small server of the S3 kind on loopback: objects in memory, conditional writes, and failures on demand. It checks
//! that requests are signed, not by whom.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// 503, without effect.
    Busy,
    /// It takes effect, and the connection ends without an answer.
    NoAnswer,
    /// The answer comes late.
    Slow(Duration),
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    requests: u64,
    /// Every so many requests have this trouble.
    trouble: Option<(u64, Trouble)>,
    unsigned: u64,
}

#[derive(Debug, Clone)]
pub struct FakeS3 {
    state: Arc<Mutex<State>>,
    port: u16,
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl FakeS3 {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { state: Arc::default(), port: listener.local_addr().unwrap().port() };
        let serving = server.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let server = serving.clone();
                std::thread::spawn(move || server.serve(&connection));
            }
        });
        server
    }

    pub fn url(&self, prefix: &str) -> url::Url {
        format!("s3://bucket/{prefix}?endpoint=http://127.0.0.1:{}", self.port).parse().unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on every so many requests have this trouble.
    pub fn trouble(&self, trouble: Option<(u64, Trouble)>) {
        self.state().trouble = trouble;
    }

    /// Requests so far, and how many of them were not signed.
    pub fn requests(&self) -> (u64, u64) {
        let state = self.state();
        (state.requests, state.unsigned)
    }

    /// Changes an object behind everybody's back.
    pub fn tamper(&self, key: &str, content: &[u8]) {
        self.state().objects.insert(key.to_owned(), content.to_vec());
    }

    pub fn keys(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    fn serve(&self, connection: &TcpStream) {
        let mut reader = BufReader::new(connection.try_clone().unwrap());
        while let Some(request) = read(&mut reader) {
            let trouble = {
                let mut state = self.state();
                state.requests += 1;
                state.unsigned += u64::from(
                    !request.headers.get("authorization").is_some_and(|a| a.starts_with("AWS4-HMAC-SHA256 ")),
                );
                state
                    .trouble
                    .filter(|(every, _)| state.requests.is_multiple_of(*every))
                    .map(|(_, trouble)| trouble)
            };
            let (status, headers, body) = match trouble {
                Some(Trouble::Busy) => (503, String::new(), Vec::new()),
                _ => self.answer(&request),
            };
            match trouble {
                Some(Trouble::NoAnswer) => return,
                Some(Trouble::Slow(time)) => std::thread::sleep(time),
                _ => {}
            }
            let length = if request.method == "HEAD" { 0 } else { body.len() };
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n{headers}\r\n");
            let mut connection = connection;
            if connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(&body)).is_err() {
                return;
            }
        }
    }

    fn answer(&self, request: &Request) -> (u16, String, Vec<u8>) {
        let mut state = self.state();
        let key = request.path.strip_prefix("/bucket").unwrap_or_default().trim_start_matches('/').to_owned();
        let about = |content: &[u8]| {
            let sum = crc32fast::hash(content);
            format!("etag: \"{sum:08x}\"\r\nlast-modified: Fri, 27 Nov 2026 00:00:00 GMT\r\n")
        };
        match request.method.as_str() {
            "PUT"
                if request.headers.get("if-none-match").is_some_and(|v| v == "*")
                    && state.objects.contains_key(&key) =>
            {
                (412, String::new(), Vec::new())
            }
            "PUT" => {
                let about = about(&request.body);
                state.objects.insert(key, request.body.clone());
                (200, about, Vec::new())
            }
            "GET" if request.query.contains("list-type=2") => {
                (200, String::new(), list(&state, &request.query))
            }
            "GET" => match state.objects.get(&key) {
                Some(content) => (200, about(content), content.clone()),
                None => (404, String::new(), b"<Error><Code>NoSuchKey</Code></Error>".to_vec()),
            },
            "DELETE" => {
                state.objects.remove(&key);
                (204, String::new(), Vec::new())
            }
            _ => (405, String::new(), Vec::new()),
        }
    }
}

fn list(state: &State, query: &str) -> Vec<u8> {
    let parameter = |name: &str| {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.into_iter().find(|(n, _)| n == name).map(|(_, value)| value.into_owned())
    };
    let (prefix, delimiter) = (parameter("prefix").unwrap_or_default(), parameter("delimiter"));
    let mut out = String::from("<ListBucketResult><IsTruncated>false</IsTruncated>");
    let mut folders = std::collections::BTreeSet::new();
    for (key, content) in &state.objects {
        let Some(rest) = key.strip_prefix(&prefix) else { continue };
        match delimiter.as_deref().and_then(|d| rest.find(d)) {
            Some(at) => drop(folders.insert(&key[..=prefix.len() + at])),
            None => {
                out += &format!(
                    "<Contents><Key>{key}</Key><LastModified>2026-11-27T00:00:00.000Z</LastModified>\
                 <ETag>\"x\"</ETag><Size>{}</Size></Contents>",
                    content.len()
                )
            }
        }
    }
    for folder in folders {
        out += &format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>");
    }
    (out + "</ListBucketResult>").into_bytes()
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Request { method, path: path.to_owned(), query: query.to_owned(), headers, body })
}
