//! A registry which fails in every way that one can, by chance. It speaks HTTP by hand, since no library would answer so.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use countersign_registry::Descriptor;
use countersign_registry::descriptor::media_type;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::dice::Dice;

/// How many of a thousand requests something happens to at once, and how many something that takes its time.
const FAULTS: usize = 50;
const SLOW_FAULTS: usize = 3;
/// A body that is larger than anybody may read.
const HUGE: usize = 16 << 20;

/// What lies in the repository `app`.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// By digest: type and bytes.
    pub(super) manifests: HashMap<String, (String, Vec<u8>)>,
    /// By tag: what it names. A tag with several digests names another one each time.
    pub(super) tags: HashMap<String, Vec<String>>,
    pub(super) blobs: HashMap<String, Vec<u8>>,
    /// By the digest of an image: descriptors of what refers to it.
    pub(super) referrers: HashMap<String, Vec<Value>>,
}

impl Contents {
    pub(super) fn put_manifest(&mut self, kind: &str, document: &Value) -> Descriptor {
        let bytes = document.to_string().into_bytes();
        let descriptor = Descriptor::of(kind, &bytes);
        self.manifests.insert(descriptor.digest.to_string(), (kind.to_owned(), bytes));
        descriptor
    }

    pub(super) fn put_blob(&mut self, kind: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(kind, &bytes);
        self.blobs.insert(descriptor.digest.to_string(), bytes);
        descriptor
    }
}

/// What happens to a request.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Hangs,
    Status(&'static str),
    TooMany(&'static str),
    Truncated,
    AnotherDigest,
    AnotherManifest,
    Altered,
    Malformed,
    Huge,
    Slow,
    Reset,
    Redirects,
    WithoutEnd,
    OthersEvidence,
}

const AT_ONCE: [Fault; 19] = [
    Fault::Status("500 Internal Server Error"),
    Fault::Status("503 Service Unavailable"),
    Fault::Status("401 Unauthorized"),
    Fault::Status("403 Forbidden"),
    // Evidence vanishes, and is there again.
    Fault::Status("404 Not Found"),
    Fault::Status("404 Not Found"),
    Fault::TooMany("0"),
    Fault::TooMany("soon"),
    Fault::Truncated,
    Fault::AnotherDigest,
    Fault::AnotherManifest,
    Fault::Altered,
    Fault::Malformed,
    Fault::Huge,
    Fault::Reset,
    Fault::Redirects,
    Fault::WithoutEnd,
    Fault::OthersEvidence,
    Fault::OthersEvidence,
];

const SLOW: [Fault; 3] = [Fault::Hangs, Fault::Slow, Fault::TooMany("3600")];

/// The registry.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) host: String,
    /// Whether nothing happens to any request.
    pub(super) calm: AtomicBool,
    pub(super) requests: AtomicUsize,
    pub(super) faults: AtomicUsize,
    contents: Contents,
    dice: Arc<Dice>,
}

struct Response {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Registry {
    /// Finds an address, so that images have names before they lie here.
    pub(super) async fn listen() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        (listener, host)
    }

    pub(super) fn serve(listener: TcpListener, contents: Contents, dice: Arc<Dice>, calm: bool) -> Arc<Self> {
        let registry = Arc::new(Self {
            host: listener.local_addr().map(|at: SocketAddr| at.to_string()).unwrap(),
            calm: AtomicBool::new(calm),
            requests: AtomicUsize::new(0),
            faults: AtomicUsize::new(0),
            contents,
            dice,
        });
        let shared = Arc::clone(&registry);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let registry = Arc::clone(&shared);
                // Whoever asks may go away at any time.
                tokio::spawn(async move { drop(registry.converse(stream).await) });
            }
        });
        registry
    }

    async fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut read = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                    break end + 4;
                }
                if stream.read_buf(&mut read).await? == 0 {
                    return Ok(());
                }
            };
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            read.drain(..end);
            let mut words = head.split(' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            self.requests.fetch_add(1, Ordering::Relaxed);
            let fault = self.fault();
            if !self.answer(&mut stream, method == "HEAD", path, fault).await? {
                return Ok(());
            }
        }
    }

    fn fault(&self) -> Option<Fault> {
        let drawn = self.dice.below(1000);
        let fault = match drawn {
            _ if self.calm.load(Ordering::Relaxed) => return None,
            0..SLOW_FAULTS => self.dice.pick(&SLOW),
            SLOW_FAULTS..FAULTS => self.dice.pick(&AT_ONCE),
            _ => return None,
        };
        self.faults.fetch_add(1, Ordering::Relaxed);
        Some(*fault)
    }

    /// Whether the connection goes on.
    async fn answer(
        &self,
        stream: &mut TcpStream,
        head: bool,
        path: &str,
        fault: Option<Fault>,
    ) -> std::io::Result<bool> {
        let mut response = self.honest(path);
        match fault {
            None => {}
            Some(Fault::Hangs) => {
                // Until whoever asks has gone.
                while stream.read(&mut [0; 64]).await? > 0 {}
                return Ok(false);
            }
            Some(Fault::Status(status)) => response = plain(status, "{\"errors\":[]}"),
            Some(Fault::TooMany(after)) => {
                response = plain("429 Too Many Requests", "");
                response.headers.push(("Retry-After", after.to_owned()));
            }
            Some(Fault::Truncated) => {
                let text = written(&response, head);
                let cut = self.dice.below(text.len());
                stream.write_all(&text[..cut]).await?;
                return Ok(false);
            }
            Some(Fault::AnotherDigest) => self.another_digest(&mut response),
            Some(Fault::AnotherManifest) => response = self.another_manifest(),
            Some(Fault::Altered) if !response.body.is_empty() => {
                let at = self.dice.below(response.body.len());
                response.body[at] ^= 1 << self.dice.below(8);
            }
            Some(Fault::Altered | Fault::Malformed) => {
                let junk = ["", "\0\0\0\0", "HTTP/1.1", "HTTP/1.1 999 ?\r\n\r\n", "<html>no</html>\r\n\r\n"];
                stream.write_all(self.dice.pick(&junk).as_bytes()).await?;
                return Ok(false);
            }
            Some(Fault::Huge) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 109951162777600\r\n\r\n").await?;
                for _ in 0..HUGE >> 16 {
                    stream.write_all(&[b'['; 1 << 16]).await?;
                }
                return Ok(false);
            }
            Some(Fault::Slow) => {
                for byte in written(&response, head) {
                    stream.write_all(&[byte]).await?;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                return Ok(true);
            }
            Some(Fault::Reset) => {
                stream.set_zero_linger()?;
                return Ok(false);
            }
            Some(Fault::Redirects) => {
                response = plain("307 Temporary Redirect", "");
                response.headers.push(("Location", path.to_owned()));
            }
            Some(Fault::WithoutEnd) => {
                response = self.others_evidence();
                let (path, _) = path.split_once('?').unwrap_or((path, ""));
                let next = format!("<{path}?n={}>; rel=\"next\"", self.dice.below(1 << 30));
                response.headers.push(("Link", next));
            }
            Some(Fault::OthersEvidence) => response = self.others_evidence(),
        }
        stream.write_all(&written(&response, head)).await?;
        Ok(true)
    }

    fn honest(&self, path: &str) -> Response {
        let (path, _) = path.split_once('?').unwrap_or((path, ""));
        let Some(rest) = path.strip_prefix("/v2/app/") else {
            return plain(if path == "/v2/" { "200 OK" } else { "404 Not Found" }, "{}");
        };
        let missing = || plain("404 Not Found", "{\"errors\":[]}");
        match rest.split_once('/') {
            Some(("manifests", name)) => {
                let named = self.contents.tags.get(name).map(|several| self.dice.pick(several));
                self.manifest(named.map_or(name, String::as_str)).unwrap_or_else(missing)
            }
            Some(("blobs", digest)) => self.contents.blobs.get(digest).map_or_else(missing, |bytes| {
                Response { status: "200 OK", headers: Vec::new(), body: bytes.clone() }
            }),
            Some(("referrers", digest)) => {
                let none = Vec::new();
                list(self.contents.referrers.get(digest).unwrap_or(&none))
            }
            _ => missing(),
        }
    }

    fn manifest(&self, digest: &str) -> Option<Response> {
        let (kind, bytes) = self.contents.manifests.get(digest)?;
        let headers = vec![("Content-Type", kind.clone()), ("Docker-Content-Digest", digest.to_owned())];
        Some(Response { status: "200 OK", headers, body: bytes.clone() })
    }

    fn some_digest(&self) -> &str {
        let at = self.dice.below(self.contents.manifests.len());
        self.contents.manifests.keys().nth(at).unwrap()
    }

    /// The digest of something else in the head, over the bytes that were asked for.
    fn another_digest(&self, response: &mut Response) {
        response.headers.retain(|(name, _)| *name != "Docker-Content-Digest");
        response.headers.push(("Docker-Content-Digest", self.some_digest().to_owned()));
    }

    /// Something else that lies here, whole and consistent.
    fn another_manifest(&self) -> Response {
        self.manifest(self.some_digest()).unwrap()
    }

    /// What refers to some other image.
    fn others_evidence(&self) -> Response {
        let at = self.dice.below(self.contents.referrers.len());
        list(self.contents.referrers.values().nth(at).unwrap())
    }
}

fn list(manifests: &[Value]) -> Response {
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests});
    let mut response = plain("200 OK", &index.to_string());
    response.headers.push(("Content-Type", media_type::OCI_INDEX.to_owned()));
    response
}

fn plain(status: &'static str, body: &str) -> Response {
    Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() }
}

fn written(response: &Response, head: bool) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {}\r\nContent-Length: {}\r\n", response.status, response.body.len());
    for (name, value) in &response.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    let mut bytes = text.into_bytes();
    if !head {
        bytes.extend_from_slice(&response.body);
    }
    bytes
}
