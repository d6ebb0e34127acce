//! How documents of issuers are fetched: an injected HTTP client, so that tests need no network and the server
//! brings the one it has.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

/// A future that can be kept behind a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One GET request to an issuer.
#[derive(Clone)]
pub struct FetchRequest {
    /// The URL, absolute, `https` or (on loopback only) `http`.
    pub url: url::Url,
    /// The most bytes the body may have. A longer one is an error, found while reading, whatever `Content-Length`
    /// says and after any decompression.
    pub max_body_bytes: usize,
    /// The most time the whole exchange may take. Name resolution alone should get at most three seconds of it.
    pub timeout: Duration,
    /// Certificates (PEM, one or more) to trust for this request instead of the machine's.
    pub ca_certificates_pem: Option<String>,
    /// A token for the `Authorization: Bearer` header. Set only for hosts the operator configured it for.
    pub bearer_token: Option<String>,
    /// Whether connections to addresses which are not public ([`is_public_address`]) must be refused. True for
    /// issuers matched by a wildcard, whose exact name came from a token.
    pub public_addresses_only: bool,
}

impl fmt::Debug for FetchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchRequest")
            .field("url", &self.url.as_str())
            .field("max_body_bytes", &self.max_body_bytes)
            .field("timeout", &self.timeout)
            .field("ca_certificates_pem", &self.ca_certificates_pem.is_some())
            .field("bearer_token", &self.bearer_token.as_ref().map(|_| "(secret)"))
            .field("public_addresses_only", &self.public_addresses_only)
            .finish()
    }
}

/// The answer to a [`FetchRequest`], whatever its status.
#[derive(Debug, Clone)]
pub struct FetchResponse {
    /// The HTTP status code.
    pub status: u16,
    /// The `Location` header, if there is one.
    pub location: Option<String>,
    /// The body, at most [`FetchRequest::max_body_bytes`] long.
    pub body: Vec<u8>,
}

/// No answer: the connection failed, took too long, or the body was too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(pub String);

/// Something that can make GET requests. It must not follow redirects; they are judged here.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Makes one request.
    ///
    /// The future's error is a [`TransportError`] when there is no complete answer within the limits.
    fn get(&self, request: FetchRequest) -> BoxFuture<'_, Result<FetchResponse, TransportError>>;
}

/// Whether an address is one of the public Internet: not loopback, private, shared, link-local (where clouds keep
/// their metadata service), documentation, benchmarking, multicast or reserved. IPv4 inside IPv6 is judged as IPv4.
///
/// ```
/// use countersign_ca::oidc::is_public_address;
/// assert!(is_public_address("140.82.112.3".parse()?));
/// assert!(!is_public_address("169.254.169.254".parse()?));
/// assert!(!is_public_address("::ffff:10.0.0.1".parse()?));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[must_use]
pub fn is_public_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let special = v4.is_unspecified()
                || v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (b == 18 || b == 19))
                || (a == 192 && b == 0 && c == 0);
            !special
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            let first = segments.first().copied().unwrap_or_default();
            let second = segments.get(1).copied().unwrap_or_default();
            // ::ffff:0:0/96 (mapped), 64:ff9b::/96 (NAT64) and 2002::/16 (6to4) carry an IPv4 address.
            let inner = v6.to_ipv4_mapped().or_else(|| {
                let octets = v6.octets();
                if segments.starts_with(&[0x64, 0xff9b, 0, 0, 0, 0]) {
                    octets.last_chunk::<4>().copied().map(Into::into)
                } else if first == 0x2002 {
                    octets.get(2..6).and_then(|o| <[u8; 4]>::try_from(o).ok()).map(Into::into)
                } else {
                    None
                }
            });
            match inner {
                Some(v4) => is_public_address(IpAddr::V4(v4)),
                // Global unicast is 2000::/3; of it, 2001:db8::/32 and 2001::/23 are special.
                None => {
                    (0x2000..0x4000).contains(&first)
                        && !(first == 0x2001 && (second < 0x200 || second == 0xdb8))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s07_addresses_inside_the_house_are_not_public() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "::127.0.0.1",
        ] {
            assert!(!is_public_address(inside.parse().unwrap()), "{inside}");
        }
        for outside in
            ["8.8.8.8", "140.82.112.3", "2606:50c0:8000::154", "2a00:1450:4001::1", "64:ff9b::808:808"]
        {
            assert!(is_public_address(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn a_bearer_token_is_not_in_the_debug_form() {
        let request = FetchRequest {
            url: "https://kubernetes.example/".parse().unwrap(),
            max_body_bytes: 1,
            timeout: Duration::from_secs(1),
            ca_certificates_pem: None,
            bearer_token: Some("the-token".into()),
            public_addresses_only: false,
        };
        assert!(!format!("{request:?}").contains("the-token"));
    }
}
