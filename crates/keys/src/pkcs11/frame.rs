//! What passes between the program and the child that holds the module: length-prefixed JSON.
//!
//! A frame is four bytes of length, big-endian, and that many bytes of JSON. The child speaks first, with
//! [`Reply::Hello`], so that no PIN is sent to a program which is no worker; then each request gets one reply.

use std::fmt;
use std::io::{self, Read, Write};

use countersign_crypto::encoding;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::uri::{KeyMatch, TokenMatch};

/// The version of this protocol. Both ends are the same program, unless it was replaced while running.
pub const PROTOCOL: u32 = 1;
/// The largest frame, in bytes: an Ed25519 key signs the message itself.
pub const MAX_FRAME: usize = 16 << 20;
/// The longest message, in bytes: in base64 it fits the frame.
pub const MAX_MESSAGE: usize = 8 << 20;

/// A token's PIN. It is wiped when dropped and shown by nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(Zeroizing<String>);

impl Pin {
    /// A PIN.
    #[must_use]
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The PIN, for the one who logs in with it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}

impl Serialize for Pin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// Bytes, in base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encoding::base64_encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        encoding::base64_decode(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// How the token is to sign, with what goes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mechanism {
    /// `CKM_ECDSA`, over a digest.
    Ecdsa,
    /// `CKM_EDDSA`, over a message.
    Eddsa,
    /// `CKM_RSA_PKCS`, over a DER `DigestInfo`.
    RsaPkcs1,
    /// `CKM_RSA_PKCS_PSS` with SHA-256, over such a digest.
    RsaPssSha256,
    /// `CKM_RSA_PKCS_PSS` with SHA-384.
    RsaPssSha384,
    /// `CKM_RSA_PKCS_PSS` with SHA-512.
    RsaPssSha512,
}

/// The kind of a key to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NewKey {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// Ed25519.
    Ed25519,
    /// RSA with a modulus of 3072 bits.
    Rsa3072,
    /// RSA with a modulus of 4096 bits.
    Rsa4096,
}

/// What the child is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Request {
    /// Load the module, find the token and log in. First, and once.
    Open {
        /// The names the library may have; the first that can be loaded is taken.
        modules: Vec<String>,
        /// The token.
        token: TokenMatch,
        /// The PIN, when there is one.
        pin: Option<Pin>,
    },
    /// Load the module and list the tokens it has, without logging in.
    Tokens {
        /// As in [`Request::Open`].
        modules: Vec<String>,
    },
    /// List the keys of the open token.
    Keys,
    /// The public half of a key.
    PublicKey {
        /// Which.
        key: KeyMatch,
    },
    /// Sign.
    Sign {
        /// With which key.
        key: KeyMatch,
        /// How.
        mechanism: Mechanism,
        /// The digest or message.
        input: Bytes,
    },
    /// Make a key pair which cannot leave the token.
    Generate {
        /// Its label, and its id if one is wanted.
        key: KeyMatch,
        /// Its kind.
        kind: NewKey,
    },
}

/// Why the child could not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The module cannot be loaded or is none.
    Module,
    /// No token, or several, are as the URI says; or the device does not answer as it should. It may pass.
    Away,
    /// The token wants a PIN and was given none.
    PinNeeded,
    /// The token refuses the PIN, or is locked or about to be. Trying again makes it worse.
    PinRefused,
    /// No key is as the URI says.
    NoKey,
    /// Several keys are as the URI says, one of this name is there already, or the token does not tell its public half.
    Key,
    /// The token cannot do what is asked.
    Refused,
}

/// A token, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenDescription {
    /// The number of its slot.
    pub slot: u64,
    /// Its label.
    pub label: String,
    /// Its manufacturer.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
}

/// A private key on a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyDescription {
    /// Its label and id.
    pub key: KeyMatch,
    /// What kind of key it is, as the token says.
    pub kind: String,
}

/// What the child answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Reply {
    /// Said once, unasked.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
    },
    /// The token is open.
    Opened {
        /// The token.
        token: TokenDescription,
    },
    /// The tokens.
    Tokens {
        /// All of them.
        tokens: Vec<TokenDescription>,
    },
    /// The keys.
    Keys {
        /// All of them.
        keys: Vec<KeyDescription>,
    },
    /// A public key.
    PublicKey {
        /// Its DER `SubjectPublicKeyInfo`.
        spki: Bytes,
    },
    /// A signature, in the form the fields of Sigstore use: ECDSA in DER.
    Signature {
        /// The signature.
        signature: Bytes,
    },
    /// It could not be done.
    Failed {
        /// Why.
        kind: FailureKind,
        /// In words, without any secret.
        message: String,
    },
}

fn invalid(message: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_string())
}

/// Writes one frame.
///
/// # Errors
/// What the writer says; [`io::ErrorKind::InvalidData`] for more than [`MAX_FRAME`].
pub fn write(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    // Room for what carries a PIN from the start, so that growing leaves no copy of it behind.
    let mut frame = Zeroizing::new(Vec::with_capacity(16 * 1024));
    frame.extend_from_slice(&[0; 4]);
    serde_json::to_writer(&mut *frame, value).map_err(invalid)?;
    let length = frame.len() - 4;
    let prefix = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME);
    let prefix = prefix.ok_or_else(|| invalid("the frame is too large"))?;
    for (to, from) in frame.iter_mut().zip(prefix.to_be_bytes()) {
        *to = from;
    }
    to.write_all(&frame)?;
    to.flush()
}

/// Reads one frame. `None` when the other end has ended.
///
/// # Errors
/// What the reader says; [`io::ErrorKind::InvalidData`] for a length above [`MAX_FRAME`], found before anything is
/// kept for it, and for anything but the JSON expected.
pub fn read<T: for<'de> Deserialize<'de>>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut prefix = [0; 4];
    match from.read_exact(&mut prefix) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(prefix);
    if !usize::try_from(length).is_ok_and(|length| length <= MAX_FRAME) {
        return Err(invalid(format_args!("a frame has at most {MAX_FRAME} bytes, found {length}")));
    }
    // Grows with what arrives, not with what the length says.
    let mut body = Zeroizing::new(Vec::with_capacity(4096));
    from.take(u64::from(length)).read_to_end(&mut body)?;
    if u32::try_from(body.len()) != Ok(length) {
        return Ok(None);
    }
    serde_json::from_slice(&body).map(Some).map_err(|_| invalid("not a frame of this protocol"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Request {
        Request::Open {
            modules: vec!["/m.so".into()],
            token: TokenMatch::default(),
            pin: Some(Pin::new(Zeroizing::new("834719".into()))),
        }
    }

    #[test]
    fn frames_read_back() {
        let key = KeyMatch { label: Some("k".into()), id: Some(vec![1, 255]) };
        let sign = Request::Sign { key, mechanism: Mechanism::Ecdsa, input: Bytes(vec![7; 32]) };
        let mut stream = Vec::new();
        write(&mut stream, &open()).unwrap();
        write(&mut stream, &sign).unwrap();
        let mut from = stream.as_slice();
        assert_eq!(read::<Request>(&mut from).unwrap(), Some(open()));
        assert_eq!(read::<Request>(&mut from).unwrap(), Some(sign));
        assert_eq!(read::<Request>(&mut from).unwrap(), None);
    }

    #[test]
    fn a_frame_that_is_cut_short_is_an_end_and_not_a_message() {
        let mut stream = Vec::new();
        write(&mut stream, &Reply::Hello { protocol: PROTOCOL }).unwrap();
        for end in 0..stream.len() {
            assert_eq!(read::<Reply>(&mut &stream[..end]).unwrap(), None, "{end}");
        }
    }

    #[test]
    fn lengths_above_the_limit_and_other_json_are_refused() {
        let mut large = u32::MAX.to_be_bytes().to_vec();
        large.extend([b' '; 100]);
        assert!(read::<Reply>(&mut large.as_slice()).is_err());
        for body in [
            r#"{"hello":{"protocol":1,"more":2}}"#,
            r#"{"hullo":{}}"#,
            "[]",
            "",
            "{\"hello\":{\"protocol\":1}} x",
        ] {
            let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
            frame.extend(body.as_bytes());
            assert!(read::<Reply>(&mut frame.as_slice()).is_err(), "{body}");
        }
        let message = Bytes(vec![0; MAX_FRAME]);
        assert!(write(&mut Vec::new(), &Reply::Signature { signature: message }).is_err());
    }

    #[test]
    fn r21_debug_output_holds_no_pin() {
        assert!(!format!("{:?}", open()).contains("834719"));
    }
}
