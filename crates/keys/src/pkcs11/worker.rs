//! The child's side: reads requests, asks the token, answers, until the program that started it is gone.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::frame::{self, Bytes, FailureKind, PROTOCOL, Reply, Request};
use super::token::{self, Failure, Token};

/// What the child has open.
enum State {
    /// Nothing yet.
    New,
    /// A token. The box keeps this small.
    Open(Box<Token>),
    /// A module without a token was looked at, or opening failed; a module is initialised once, so that is the end.
    Done,
}

/// Runs the worker on the socket which is this process' standard input, until the other end closes it.
///
/// # Errors
/// A message when the standard input is no such socket.
pub fn run_worker() -> Result<(), String> {
    // A module that crashes must not leave the PIN in a file.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let failed =
        |e: std::io::Error| format!("this is the inside of pkcs11: keys and started by itself only ({e})");
    let mut socket = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).map_err(failed)?;
    // A socket has an address; a terminal, a file or a pipe has none.
    socket.local_addr().map_err(failed)?;
    frame::write(&mut socket, &Reply::Hello { protocol: PROTOCOL }).map_err(failed)?;
    let requests = listen(socket.try_clone().map_err(failed)?);
    let mut state = State::New;
    while let Ok(request) = requests.recv() {
        let reply = answer(&mut state, request)
            .unwrap_or_else(|Failure { kind, message }| Reply::Failed { kind, message });
        if frame::write(&mut socket, &reply).is_err() {
            break;
        }
    }
    socket.flush().map_err(failed)
}

/// Reads on a thread of its own: when the program is gone this process ends, even while the module hangs.
fn listen(mut socket: UnixStream) -> mpsc::Receiver<Request> {
    let (send, requests) = mpsc::channel();
    std::thread::spawn(move || {
        while let Ok(Some(request)) = frame::read(&mut socket) {
            if send.send(request).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    requests
}

fn answer(state: &mut State, request: Request) -> Result<Reply, Failure> {
    let early = || Failure::new(FailureKind::Refused, "no token is open");
    match request {
        Request::Open { modules, token, pin } => {
            if !matches!(state, State::New) {
                return Err(Failure::new(FailureKind::Refused, "a token is opened once"));
            }
            *state = State::Done;
            let (opened, token) = Token::open(token::load(&modules)?, &token, pin.as_ref())?;
            *state = State::Open(Box::new(opened));
            Ok(Reply::Opened { token })
        }
        Request::Tokens { modules } => {
            if !matches!(state, State::New) {
                return Err(Failure::new(FailureKind::Refused, "the module is loaded once"));
            }
            *state = State::Done;
            Ok(Reply::Tokens { tokens: token::tokens(&token::load(&modules)?)? })
        }
        other => {
            let State::Open(token) = state else { return Err(early()) };
            match other {
                Request::Keys => Ok(Reply::Keys { keys: token.keys()? }),
                Request::PublicKey { key } => Ok(Reply::PublicKey { spki: Bytes(token.public_key(&key)?) }),
                Request::Sign { key, mechanism, input } => {
                    Ok(Reply::Signature { signature: Bytes(token.sign(&key, mechanism, &input.0)?) })
                }
                Request::Generate { key, kind } => {
                    Ok(Reply::PublicKey { spki: Bytes(token.generate(&key, kind)?) })
                }
                Request::Open { .. } | Request::Tokens { .. } => Err(early()),
            }
        }
    }
}
