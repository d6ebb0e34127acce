//! Base64, hex and PEM, decoded strictly: one spelling for each value.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::CryptoError;

/// Standard base64 with padding (RFC 4648 section 4).
#[must_use]
pub fn base64_encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reverses [`base64_encode`]; padding is required, white space and non-canonical trailing bits are refused.
///
/// # Errors
/// [`CryptoError::Encoding`] when the text is not canonical base64.
pub fn base64_decode(text: &str) -> Result<Vec<u8>, CryptoError> {
    STANDARD.decode(text).map_err(|e| CryptoError::Encoding(format!("not base64: {e}")))
}

/// Base64url without padding (RFC 7515 section 2), as in JSON Web Tokens.
#[must_use]
pub fn base64url_encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reverses [`base64url_encode`].
///
/// # Errors
/// [`CryptoError::Encoding`] when the text is not canonical unpadded base64url.
pub fn base64url_decode(text: &str) -> Result<Vec<u8>, CryptoError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|e| CryptoError::Encoding(format!("not base64url: {e}")))
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex_encode(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// Hexadecimal of either case.
///
/// # Errors
/// [`CryptoError::Encoding`] when the text has an odd length or another character.
pub fn hex_decode(text: &str) -> Result<Vec<u8>, CryptoError> {
    hex::decode(text).map_err(|e| CryptoError::Encoding(format!("not hexadecimal: {e}")))
}

/// Writes one PEM block with 64-column lines and a final newline (RFC 7468).
#[must_use]
pub fn pem_encode(label: &str, der: &[u8]) -> String {
    let body = base64_encode(der);
    let mut out = String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40);
    out.push_str("-----BEGIN ");
    out.push_str(label);
    out.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str("-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    out
}

/// One block of a PEM file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemBlock {
    /// The label, such as `CERTIFICATE`.
    pub label: String,
    /// The decoded bytes.
    pub der: Vec<u8>,
}

/// Reads every PEM block of a text; text outside blocks is ignored, as OpenSSL does.
///
/// ```
/// use countersign_crypto::encoding::{pem_decode, pem_encode};
/// let text = pem_encode("CERTIFICATE", b"der");
/// assert_eq!(pem_decode(&text)?[0].der, b"der");
/// # Ok::<(), countersign_crypto::CryptoError>(())
/// ```
///
/// # Errors
/// [`CryptoError::Encoding`] when a block is not ended, ends under another label or is not base64, and when
/// there is no block at all: an empty answer is never a success.
pub fn pem_decode(text: &str) -> Result<Vec<PemBlock>, CryptoError> {
    let mut blocks = Vec::new();
    let mut open: Option<&str> = None;
    // It may be a private key's. One buffer, large enough from the start: none is left behind by growing.
    let mut body = Zeroizing::new(String::with_capacity(text.len()));
    for line in text.lines() {
        let line = line.trim();
        let Some(label) = open else {
            open = border(line, "-----BEGIN ");
            continue;
        };
        if let Some(end) = border(line, "-----END ") {
            if end != label {
                return Err(CryptoError::Encoding(format!(
                    "a PEM block begins as \"{label}\" and ends as \"{end}\""
                )));
            }
            blocks.push(PemBlock { label: label.to_owned(), der: base64_decode(&body)? });
            body.clear();
            open = None;
        } else if !(body.is_empty() && line.contains(':')) {
            // Headers stand before the text, and nowhere else.
            body.push_str(line);
        }
    }
    if let Some(label) = open {
        return Err(CryptoError::Encoding(format!("the PEM block \"{label}\" does not end")));
    }
    if blocks.is_empty() {
        return Err(CryptoError::Encoding("no PEM block found (expected \"-----BEGIN …-----\")".into()));
    }
    Ok(blocks)
}

/// The label in a line that begins or ends a block.
fn border<'a>(line: &'a str, kind: &str) -> Option<&'a str> {
    line.strip_prefix(kind)?.strip_suffix("-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_round_trips_at_line_borders() {
        for len in [0, 1, 47, 48, 49, 96, 1000] {
            let der: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let text = pem_encode("X", &der);
            assert!(text.lines().all(|l| l.len() <= 64));
            assert_eq!(pem_decode(&text).unwrap(), [PemBlock { label: "X".into(), der }]);
        }
    }

    #[test]
    fn broken_pem_is_refused() {
        for bad in [
            "",
            "no pem here",
            "-----BEGIN A-----\nAAAA\n",
            "-----BEGIN A-----\nAAAA\n-----END B-----\n",
            "-----BEGIN A-----\nA$AA\n-----END A-----\n",
            "-----BEGIN A-----\nAAAA\nB: C\nAAAA\n-----END A-----\n",
        ] {
            assert!(pem_decode(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn headers_before_the_text_are_passed_over() {
        let text = "-----BEGIN A-----\nProc-Type: 4\nB: C\n\nAAAA\n-----END A-----\n";
        assert_eq!(pem_decode(text).unwrap()[0].der, [0; 3]);
    }

    #[test]
    fn base64_has_one_spelling() {
        assert!(base64_decode("AB==").is_err(), "trailing bits");
        assert!(base64_decode("AA").is_err(), "padding missing");
        assert!(base64_decode("AA ==").is_err(), "white space");
        assert!(base64_decode("AA==").is_ok());
    }
}
