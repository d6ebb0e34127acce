//! A JWT-SVID from the SPIFFE Workload API: the gRPC call `FetchJWTSVID` on the agent's Unix socket
//! (SPIFFE Workload API, sections 4 and 6; the socket's address as in the Workload Endpoint, section 4).
//!
//! Two messages of protobuf are all there is, so they are written and read here.

use std::path::PathBuf;
use std::time::Duration;

use countersign_http::grpc::UnaryCall;
use zeroize::Zeroizing;

use super::{AUDIENCE, IdToken, MAX_TOKEN};
use crate::ClientError;

/// The variable that says where the agent listens.
pub(super) const SOCKET_VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";
/// Where SPIRE's agent listens unless told otherwise.
pub(super) const DEFAULT_SOCKET: &str = "unix:///tmp/spire-agent/public/api.sock";

/// Asks the agent for a token of this workload, for the certificate authority.
pub(super) async fn token(address: &str, timeout: Duration) -> Result<IdToken, ClientError> {
    let socket = socket(address)?;
    let call = UnaryCall {
        service: "the SPIFFE agent",
        socket: &socket,
        method: "/SpiffeWorkloadAPI/FetchJWTSVID",
        metadata: ("workload.spiffe.io", "true"),
        message: &request(AUDIENCE),
        limit: 4 * MAX_TOKEN,
        timeout,
    };
    let answer = Zeroizing::new(call.send().await?);
    let svid = first_svid(&answer).ok_or_else(|| {
        ClientError::Identity(
            "the SPIFFE agent answered without a JWT-SVID; is there a registration entry for this workload?"
                .into(),
        )
    })?;
    let token = IdToken::parse(svid)?;
    if token.claims().sub.starts_with("spiffe://") {
        Ok(token)
    } else {
        Err(ClientError::Identity("the SPIFFE agent's token names no SPIFFE id as its subject".into()))
    }
}

/// The path in `unix:///path`.
fn socket(address: &str) -> Result<PathBuf, ClientError> {
    let path = address.strip_prefix("unix:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    match path {
        Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
        _ => Err(ClientError::Identity(format!(
            "{SOCKET_VARIABLE}: expected unix:///path/of/the/socket, found \"{}\"",
            countersign_http::text::printable(address)
        ))),
    }
}

/// `JWTSVIDRequest { repeated string audience = 1; }`; an audience is shorter than 128 bytes.
fn request(audience: &str) -> Vec<u8> {
    let mut message = vec![0x0a, u8::try_from(audience.len()).unwrap_or(0x7f)];
    message.extend_from_slice(audience.as_bytes());
    message
}

/// The token in an agent's answer: of `JWTSVIDResponse { repeated JWTSVID svids = 1; }` the first, which is the default
/// identity, and of `JWTSVID { string spiffe_id = 1; string svid = 2; … }` the token. `None` when there is none, or the
/// message is malformed before it.
#[must_use]
pub fn first_svid(message: &[u8]) -> Option<&str> {
    std::str::from_utf8(field(field(message, 1)?, 2)?).ok().filter(|svid| !svid.is_empty())
}

/// The first field of this number that has a length; `None` too when the message is malformed before it.
fn field(mut message: &[u8], number: u64) -> Option<&[u8]> {
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => drop(varint(&mut message)?),
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let (value, rest) = message.split_at_checked(length)?;
                if key >> 3 == number {
                    return Some(value);
                }
                message = rest;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    None
}

/// A number in groups of seven bits, the lowest first.
fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_is_found_among_fields_that_are_not_known() {
        let svid =
            [b"\x0a\x01i\x12\x03t.k\x1a\x01h".as_slice(), b"\x20\xff\x01\x2d1234\x31abcdefgh"].concat();
        let mut message = vec![0x12, 1, 9, 0x0a, u8::try_from(svid.len()).unwrap()];
        message.extend_from_slice(&svid);
        message.extend_from_slice(b"\x0a\x05\x12\x03two");
        assert_eq!(first_svid(&message), Some("t.k"));
        assert_eq!(request("sigstore"), b"\x0a\x08sigstore");
    }

    #[test]
    fn junk_is_no_token_and_no_crash() {
        let good = b"\x0a\x0a\x0a\x01i\x12\x05t.k.s";
        for cut in 0..good.len() {
            let _ = first_svid(&good[..cut]);
            for byte in 0..=255 {
                let mut bad = good.to_vec();
                bad[cut] = byte;
                let _ = first_svid(&bad);
            }
        }
        for bad in [
            &b""[..],
            b"\x0a",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0b",
            b"\x0a\x02\x12\x00",
        ] {
            assert_eq!(first_svid(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_unix_sockets_by_their_whole_path_are_taken() {
        assert_eq!(socket("unix:///a/b").unwrap(), PathBuf::from("/a/b"));
        assert_eq!(socket("unix:/a/b").unwrap(), PathBuf::from("/a/b"));
        for bad in ["tcp://127.0.0.1:1", "unix:a", "/a/b", "unix://a/b", ""] {
            assert!(socket(bad).unwrap_err().to_string().contains("unix:///"), "{bad}");
        }
    }
}
