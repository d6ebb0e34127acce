//! Whoever is told in tests: an address that takes posts, and a mail server. The tests of the program use them too.

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use url::Url;

/// Whoever is told by HTTP: answers with this status, and remembers.
pub(crate) async fn receiver(status: u16) -> (Url, mpsc::UnboundedReceiver<(HeaderMap, Bytes)>) {
    let (seen, told) = mpsc::unbounded_channel();
    let router = Router::new().fallback(move |headers: HeaderMap, body: Bytes| async move {
        seen.send((headers, body)).unwrap();
        StatusCode::from_u16(status).unwrap()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks/secret-token", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, told)
}

/// A mail server that answers the end of each message with this. Gives the lines of each connection.
pub(crate) async fn mail_server(end: &'static str) -> (Url, mpsc::UnboundedReceiver<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (seen, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Who listens may have heard enough.
            let _ = seen.send(talk(stream, end).await);
        }
    });
    (url, told)
}

async fn talk(stream: TcpStream, end: &str) -> Vec<String> {
    let (read, mut write) = stream.into_split();
    let (mut read, mut told, mut data) = (BufReader::new(read), Vec::new(), false);
    // Whoever speaks TLS may have gone away.
    let _ = write.write_all(b"220 mail.example\r\n").await;
    let mut bytes = Vec::new();
    while read.read_until(b'\n', &mut bytes).await.is_ok_and(|count| count > 0) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut bytes)).trim_end().to_owned();
        let answer = match line.split([' ', ':']).next().unwrap() {
            "." => {
                data = false;
                end
            }
            _ if data => "",
            "EHLO" => "250-mail.example\r\n250 AUTH PLAIN\r\n",
            "AUTH" => "235 welcome\r\n",
            "DATA" => {
                data = true;
                "354 go on\r\n"
            }
            "QUIT" => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        told.push(line);
        let _ = write.write_all(answer.as_bytes()).await;
    }
    told
}
