//! The hash functions in use, and digests which know what they are of.

use std::fmt;

use crate::{CryptoError, backend, encoding};

/// A hash function of the SHA-2 family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl HashAlgorithm {
    /// All of them, weakest first.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The length of a digest in bytes.
    #[must_use]
    pub const fn output_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The name in in-toto subjects, OCI digests and Rekor v1 entries: `sha256`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The name in Sigstore's protobuf messages: `SHA2_256`.
    #[must_use]
    pub const fn protobuf_name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA2_256",
            Self::Sha384 => "SHA2_384",
            Self::Sha512 => "SHA2_512",
        }
    }

    /// Reads [`HashAlgorithm::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    /// Reads [`HashAlgorithm::protobuf_name`].
    #[must_use]
    pub fn from_protobuf_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.protobuf_name() == name)
    }

    /// Hashes bytes at hand.
    #[must_use]
    pub fn digest(self, data: &[u8]) -> Digest {
        backend::digest(self, data)
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// SHA-256 of bytes at hand, for the many formats that know no other hash.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    backend::sha256(data)
}

/// A digest together with the algorithm that made it. Its length always fits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: HashAlgorithm,
    bytes: [u8; 64],
}

impl Digest {
    /// Takes a digest made elsewhere.
    ///
    /// # Errors
    /// [`CryptoError::DigestLength`] when the length does not fit the algorithm.
    pub fn new(algorithm: HashAlgorithm, bytes: &[u8]) -> Result<Self, CryptoError> {
        let wrong =
            CryptoError::DigestLength { algorithm, expected: algorithm.output_len(), found: bytes.len() };
        if bytes.len() != algorithm.output_len() {
            return Err(wrong);
        }
        let mut own = [0; 64];
        own.get_mut(..bytes.len()).ok_or(wrong)?.copy_from_slice(bytes);
        Ok(Self { algorithm, bytes: own })
    }

    /// Reads `sha256:<hex>`.
    ///
    /// ```
    /// use countersign_crypto::{Digest, HashAlgorithm};
    /// let digest = HashAlgorithm::Sha256.digest(b"");
    /// assert_eq!(Digest::parse(&digest.to_string())?, digest);
    /// assert!(Digest::parse("md5:00").is_err());
    /// # Ok::<(), countersign_crypto::CryptoError>(())
    /// ```
    ///
    /// # Errors
    /// [`CryptoError::Unsupported`] for another algorithm, [`CryptoError::Encoding`] or
    /// [`CryptoError::DigestLength`] for a malformed value.
    pub fn parse(text: &str) -> Result<Self, CryptoError> {
        let (name, value) = text
            .split_once(':')
            .ok_or_else(|| CryptoError::Encoding("expected a digest of the form sha256:<hex>".into()))?;
        let algorithm = HashAlgorithm::from_name(name)
            .ok_or_else(|| CryptoError::Unsupported(format!("digest algorithm \"{name}\"")))?;
        Self::new(algorithm, &encoding::hex_decode(value)?)
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The digest's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.algorithm.output_len()).unwrap_or(&[])
    }

    /// The digest's bytes in lower-case hexadecimal.
    #[must_use]
    pub fn to_hex(&self) -> String {
        encoding::hex_encode(self.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Hashes a stream, piece by piece.
pub struct Hasher(backend::HashState);

impl Hasher {
    /// Starts a hash.
    #[must_use]
    pub fn new(algorithm: HashAlgorithm) -> Self {
        Self(backend::HashState::new(algorithm))
    }

    /// Takes the next piece.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// Ends the hash.
    #[must_use]
    pub fn finish(self) -> Digest {
        self.0.finish()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// A finished SHA-512 digest in the shape ed25519-dalek asks for: a hasher which already knows its answer.
#[derive(Clone)]
pub(crate) struct Prehashed([u8; 64]);

impl Prehashed {
    pub(crate) fn new(digest: &Digest) -> Result<Self, CryptoError> {
        if digest.algorithm == HashAlgorithm::Sha512 {
            Ok(Self(digest.bytes))
        } else {
            Err(CryptoError::Unsupported(format!("Ed25519ph over a {} digest", digest.algorithm)))
        }
    }
}

impl Default for Prehashed {
    fn default() -> Self {
        Self([0; 64])
    }
}
impl sha2::digest::Update for Prehashed {
    /// Never called: the digest is complete before it is wrapped.
    fn update(&mut self, _: &[u8]) {}
}
impl sha2::digest::OutputSizeUser for Prehashed {
    type OutputSize = sha2::digest::consts::U64;
}
impl sha2::digest::FixedOutput for Prehashed {
    fn finalize_into(self, out: &mut sha2::digest::Output<Self>) {
        out.copy_from_slice(&self.0);
    }
}
impl sha2::digest::HashMarker for Prehashed {}
