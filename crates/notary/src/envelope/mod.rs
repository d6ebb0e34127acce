//! Signature envelopes: read from either form into one value, and checked for what the specification asks of both.

mod cose;
mod jws;

use std::collections::BTreeMap;
use std::fmt;

use countersign_crypto::encoding;
use countersign_x509::Certificate;
use jiff::Timestamp;

use crate::payload::MEDIA_TYPE;
use crate::{Algorithm, Reason, Refusal};

/// The largest envelope read, in bytes. Real ones have five to thirty thousand.
pub const MAX_ENVELOPE_LEN: usize = 1 << 20;
/// How many certificates a chain may have.
const MAX_CHAIN: usize = 16;

/// The header attributes, under the same names in both forms.
pub(crate) mod names {
    pub(crate) const SCHEME: &str = "io.cncf.notary.signingScheme";
    pub(crate) const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
    pub(crate) const AUTHENTIC_TIME: &str = "io.cncf.notary.authenticSigningTime";
    pub(crate) const EXPIRY: &str = "io.cncf.notary.expiry";
    pub(crate) const PLUGIN: &str = "io.cncf.notary.verificationPlugin";
    pub(crate) const PLUGIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";
    pub(crate) const TIMESTAMP: &str = "io.cncf.notary.timestampSignature";
    pub(crate) const AGENT: &str = "io.cncf.notary.signingAgent";
    /// Attributes that must be under the signature.
    pub(crate) const SIGNED: [&str; 6] =
        [SCHEME, SIGNING_TIME, AUTHENTIC_TIME, EXPIRY, PLUGIN, PLUGIN_VERSION];
}

/// The form of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// JSON Web Signature, flattened JSON (RFC 7515 section 7.2.2).
    Jws,
    /// COSE_Sign1 (RFC 9052 section 4.2).
    Cose,
}

impl Format {
    /// The type of the layer that holds the envelope.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jws => "application/jose+json",
            Self::Cose => "application/cose",
        }
    }

    /// `jws` or `cose`, as file names have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jws => "jws",
            Self::Cose => "cose",
        }
    }

    /// Reads a media type.
    ///
    /// # Errors
    /// [`Reason::EnvelopeType`] for any other.
    pub fn from_media_type(text: &str) -> Result<Self, Refusal> {
        [Self::Jws, Self::Cose].into_iter().find(|format| format.media_type() == text).ok_or_else(|| {
            let expected = format!("{} or {}", Self::Jws.media_type(), Self::Cose.media_type());
            Refusal::new(Reason::EnvelopeType, expected, format!("{text:?}"))
        })
    }
}

/// Who vouches for the time of signing (`signing-scheme.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SigningScheme {
    /// `notary.x509`: the signer says when, and a timestamp authority may confirm it.
    X509,
    /// `notary.x509.signingAuthority`: a signing authority, trusted for that, says when.
    SigningAuthority,
}

impl SigningScheme {
    /// The name in envelopes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X509 => "notary.x509",
            Self::SigningAuthority => "notary.x509.signingAuthority",
        }
    }

    pub(crate) const fn time_attribute(self) -> &'static str {
        match self {
            Self::X509 => names::SIGNING_TIME,
            Self::SigningAuthority => names::AUTHENTIC_TIME,
        }
    }
}

impl fmt::Display for SigningScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is signed beside the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// The signing scheme.
    pub scheme: SigningScheme,
    /// When it was signed. Under [`SigningScheme::X509`] that is the signer's own word, and proves nothing.
    pub signing_time: Timestamp,
    /// From when on the signer does not want the artifact to be used.
    pub expiry: Option<Timestamp>,
}

/// An envelope as it was read. Its signature is checked by [`Envelope::verify_signature`], and whether to believe its
/// signer is a question for [`crate::verify()`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    format: Format,
    algorithm: Algorithm,
    payload: Vec<u8>,
    attributes: Attributes,
    chain: Vec<Certificate>,
    timestamp: Option<Vec<u8>>,
    agent: Option<String>,
    /// The signature, ECDSA as two numbers.
    signature: Vec<u8>,
    /// What the signature is over, taken from the bytes of the envelope.
    signed: Vec<u8>,
}

impl Envelope {
    /// Reads an envelope, and checks what holds for every one: its form, the attributes that must be there and must be
    /// critical, and that none is critical which is not known here.
    ///
    /// # Errors
    /// [`Refusal`] saying which of these does not hold.
    pub fn parse(format: Format, bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_ENVELOPE_LEN {
            let expected = format!("an envelope of at most {MAX_ENVELOPE_LEN} bytes");
            return Err(Refusal::new(Reason::EnvelopeMalformed, expected, format!("{} bytes", bytes.len())));
        }
        let parts = match format {
            Format::Jws => jws::read(bytes)?,
            Format::Cose => cose::read(bytes)?,
        };
        if parts.protected.content_type != MEDIA_TYPE {
            return Err(Refusal::new(
                Reason::PayloadType,
                format!("a payload of type {MEDIA_TYPE}"),
                format!("{:?}", parts.protected.content_type),
            ));
        }
        let attributes = parts.protected.attributes()?;
        if parts.payload.is_empty() || parts.signature.is_empty() {
            return Err(malformed("payload and signature", "one of them is empty"));
        }
        let chain = certificates(&parts.chain)?;
        let algorithm = parts.protected.algorithm;
        if let Some(leaf) = chain.first() {
            check_algorithm(algorithm, leaf)?;
        }
        Ok(Self {
            format,
            algorithm,
            payload: parts.payload,
            attributes,
            chain,
            timestamp: parts.timestamp.filter(|token| !token.is_empty()),
            agent: parts.agent,
            signature: parts.signature,
            signed: parts.signed,
        })
    }

    /// Its form.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// How it is signed: by the one algorithm that goes with the first certificate's key.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The signed attributes.
    #[must_use]
    pub const fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The certificates, the signer's first, the root last. Never empty.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The signed payload's bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signature, ECDSA as two numbers: what a timestamp is of.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The RFC 3161 timestamp token, not under the signature.
    #[must_use]
    pub fn timestamp(&self) -> Option<&[u8]> {
        self.timestamp.as_deref()
    }

    /// The name of the program that signed. Nobody vouches for it.
    #[must_use]
    pub fn agent(&self) -> Option<&str> {
        self.agent.as_deref()
    }

    /// Checks the signature with the key in the first certificate; nothing else.
    ///
    /// # Errors
    /// [`Reason::SignatureInvalid`].
    pub fn verify_signature(&self) -> Result<(), Refusal> {
        let leaf = self.chain.first().ok_or_else(|| malformed("a certificate chain", "none"))?;
        self.algorithm.verify(leaf.public_key(), &self.signed, &self.signature).map_err(|e| {
            let expected = format!("a signature by the key of {}", leaf.describe());
            Refusal::new(Reason::SignatureInvalid, expected, e.to_string())
        })
    }
}

fn malformed(expected: impl Into<String>, found: impl Into<String>) -> Refusal {
    Refusal::new(Reason::EnvelopeMalformed, expected, found)
}

fn certificates(chain: &[Vec<u8>]) -> Result<Vec<Certificate>, Refusal> {
    if chain.is_empty() {
        return Err(malformed("a certificate chain", "none"));
    }
    if chain.len() > MAX_CHAIN {
        return Err(malformed(format!("at most {MAX_CHAIN} certificates"), chain.len().to_string()));
    }
    let read = |der: &Vec<u8>| {
        Certificate::from_der(der)
            .map_err(|e| Refusal::new(Reason::CertificateMalformed, "DER certificates", e.to_string()))
    };
    chain.iter().map(read).collect()
}

/// The key is the source of truth: an envelope that says another algorithm is not read any further.
fn check_algorithm(said: Algorithm, leaf: &Certificate) -> Result<(), Refusal> {
    let key = leaf.public_key().key_type();
    match Algorithm::of_key(key) {
        Some(own) if own == said => Ok(()),
        Some(own) => Err(Refusal::new(
            Reason::AlgorithmMismatch,
            format!("{own}, the algorithm of the signer's {key} key"),
            said.to_string(),
        )),
        None => Err(Refusal::new(
            Reason::AlgorithmUnsupported,
            "an RSA key of 2048, 3072 or 4096 bits or one on P-256, P-384 or P-521",
            format!("a key of type {key}"),
        )),
    }
}

/// The parts of an envelope, as its form gives them.
struct Parts {
    protected: Protected,
    payload: Vec<u8>,
    chain: Vec<Vec<u8>>,
    timestamp: Option<Vec<u8>>,
    agent: Option<String>,
    signature: Vec<u8>,
    signed: Vec<u8>,
}

/// The header attributes that are under the signature.
struct Protected {
    algorithm: Algorithm,
    content_type: String,
    /// Which attributes must be understood.
    critical: Vec<String>,
    scheme: String,
    signing_time: Option<Timestamp>,
    authentic_time: Option<Timestamp>,
    expiry: Option<Timestamp>,
    /// The names of all attributes.
    names: Vec<String>,
}

impl Protected {
    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    fn attributes(&self) -> Result<Attributes, Refusal> {
        self.check_known()?;
        let scheme = [SigningScheme::X509, SigningScheme::SigningAuthority]
            .into_iter()
            .find(|scheme| scheme.name() == self.scheme)
            .ok_or_else(|| {
                let expected = format!("{} or {}", SigningScheme::X509, SigningScheme::SigningAuthority);
                Refusal::new(Reason::SigningScheme, expected, format!("{:?}", self.scheme))
            })?;
        let (time, other) = match scheme {
            SigningScheme::X509 => (self.signing_time, self.authentic_time),
            SigningScheme::SigningAuthority => (self.authentic_time, self.signing_time),
        };
        let attribute = scheme.time_attribute();
        if other.is_some() {
            return Err(malformed(format!("the time of {scheme} only, {attribute}"), "another"));
        }
        let signing_time = time.ok_or_else(|| malformed(format!("{attribute} under {scheme}"), "none"))?;
        if self.expiry.is_some_and(|expiry| expiry <= signing_time) {
            return Err(malformed("an expiry after the time of signing", "one that is not"));
        }
        self.check_critical(scheme)?;
        Ok(Attributes { scheme, signing_time, expiry: self.expiry })
    }

    /// Names that some readers would take for a known one, and attributes that send to a plugin.
    fn check_known(&self) -> Result<(), Refusal> {
        for name in &self.names {
            let alias = ["alg", "cty", "crit", "x5c"]
                .iter()
                .chain(&names::SIGNED)
                .find(|known| known.eq_ignore_ascii_case(name));
            if let Some(known) = alias.filter(|known| *known != name) {
                return Err(malformed(
                    format!("the attribute {known:?} in its one spelling"),
                    format!("{name:?}"),
                ));
            }
            if [names::PLUGIN, names::PLUGIN_VERSION].contains(&name.as_str()) {
                return Err(Refusal::new(
                    Reason::PluginRequired,
                    "a signature that can be checked without a verification plugin",
                    format!(
                        "the attribute {name}; only the plugin it names can say whether this signature is good"
                    ),
                ));
            }
        }
        Ok(())
    }

    fn check_critical(&self, scheme: SigningScheme) -> Result<(), Refusal> {
        let mut needed = vec![names::SCHEME];
        if scheme == SigningScheme::SigningAuthority {
            needed.push(names::AUTHENTIC_TIME);
        }
        if self.expiry.is_some() {
            needed.push(names::EXPIRY);
        }
        for (number, name) in self.critical.iter().enumerate() {
            if !needed.contains(&name.as_str()) {
                let expected = format!("critical attributes of these: {}", needed.join(", "));
                return Err(Refusal::new(Reason::UnknownCritical, expected, format!("{name:?}")));
            }
            if !self.has(name) {
                return Err(malformed(format!("the attribute {name:?}, which is named critical"), "none"));
            }
            if self.critical.iter().take(number).any(|other| other == name) {
                return Err(malformed("each critical attribute named once", format!("{name:?} twice")));
            }
        }
        match needed.iter().find(|name| !self.critical.iter().any(|own| own == *name)) {
            Some(missing) => Err(malformed(format!("{missing} to be named critical"), "it is not")),
            None => Ok(()),
        }
    }
}

/// The annotations of the manifest by which an envelope is stored: the fingerprints of its certificates, by which a
/// verifier may choose among signatures, and when it was signed.
#[must_use]
pub fn annotations(envelope: &Envelope) -> BTreeMap<String, String> {
    let print = |certificate: &Certificate| {
        format!("\"{}\"", encoding::hex_encode(&countersign_crypto::sha256(certificate.der())))
    };
    let prints: Vec<String> = envelope.chain().iter().map(print).collect();
    BTreeMap::from([
        ("io.cncf.notary.x509chain.thumbprint#S256".to_owned(), format!("[{}]", prints.join(","))),
        ("org.opencontainers.image.created".to_owned(), envelope.attributes().signing_time.to_string()),
    ])
}

/// What a signature is to be over, and everything of the envelope but signature and timestamp.
pub(crate) struct Unsigned<'a> {
    pub(crate) format: Format,
    pub(crate) algorithm: Algorithm,
    pub(crate) attributes: Attributes,
    pub(crate) payload: &'a [u8],
    pub(crate) chain: &'a [Certificate],
    pub(crate) agent: Option<&'a str>,
}

impl Unsigned<'_> {
    fn critical(&self) -> Vec<&'static str> {
        let mut critical = vec![names::SCHEME];
        if self.attributes.scheme == SigningScheme::SigningAuthority {
            critical.push(names::AUTHENTIC_TIME);
        }
        if self.attributes.expiry.is_some() {
            critical.push(names::EXPIRY);
        }
        critical
    }

    /// The protected header as it will be sent, and the bytes to sign.
    pub(crate) fn to_be_signed(&self) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
        match self.format {
            Format::Jws => jws::to_be_signed(self),
            Format::Cose => Ok(cose::to_be_signed(self)),
        }
    }

    /// The whole envelope.
    pub(crate) fn encode(
        &self,
        protected: &[u8],
        signature: &[u8],
        timestamp: Option<&[u8]>,
    ) -> Result<Vec<u8>, Refusal> {
        match self.format {
            Format::Jws => jws::encode(self, protected, signature, timestamp),
            Format::Cose => Ok(cose::encode(self, protected, signature, timestamp)),
        }
    }
}
