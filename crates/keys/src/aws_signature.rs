//! AWS Signature Version 4: a request with a signature over its host, headers and body.
//!
//! The algorithm is that of "Signature Version 4 for API requests" in AWS's Identity and Access Management
//! guide. The host is under the signature, so a signed request is worth nothing to any other.

use countersign_clock::Timestamp;
use countersign_crypto::encoding::hex_encode;
use countersign_crypto::{hmac_sha256, sha256};
use zeroize::Zeroizing;

use crate::aws_credentials::AwsCredentials;

/// A request to sign: all that goes under the signature.
#[derive(Debug)]
pub(crate) struct Unsigned<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    /// Lower-case names in alphabetic order, with `host` and `x-amz-date`.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

/// `20150830T123600Z`.
pub(crate) fn amz_date(now: Timestamp) -> String {
    now.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// What follows `AWS4-HMAC-SHA256` in the header `Authorization`.
pub(crate) fn authorization(
    request: &Unsigned<'_>,
    credentials: &AwsCredentials,
    region: &str,
    service: &str,
    now: Timestamp,
) -> String {
    let date = amz_date(now);
    let day = date.get(..8).unwrap_or_default();
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let headers: String =
        request.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{names}\n{}",
        request.method,
        request.path,
        request.query,
        hex_encode(&sha256(request.body))
    );
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex_encode(&sha256(canonical.as_bytes())));
    let mut key = credentials.first_key();
    for part in [day, region, service, "aws4_request"] {
        // The one before is wiped when it is dropped; written into, its old bytes would be left behind.
        key = Zeroizing::new(hmac_sha256(key.as_slice(), part.as_bytes()).to_vec());
    }
    let signature = hex_encode(&hmac_sha256(key.as_slice(), to_sign.as_bytes()));
    format!("Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", credentials.access_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two requests of AWS's published test suite.
    #[test]
    fn the_published_examples_come_out() {
        let credentials =
            AwsCredentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None);
        let now: Timestamp = "2015-08-30T12:36:00Z".parse().unwrap();
        for (method, expected) in [
            ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ] {
            let request = Unsigned {
                method,
                path: "/",
                query: "",
                headers: &[("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")],
                body: b"",
            };
            let found = authorization(&request, &credentials, "us-east-1", "service", now);
            assert_eq!(
                found,
                format!(
                    "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders=host;x-amz-date, Signature={expected}"
                )
            );
        }
    }
}
