//! The timestamp authority: RFC 3161 requests in, signed timestamps out.
//!
//! A [`Tsa`] holds a certificate chain, a key and a clock. It answers the two request forms of Sigstore's
//! timestamp authority, DER ([`Tsa::respond`]) and JSON ([`Tsa::respond_json`]), with a DER `TimeStampResp`, and
//! refuses with the texts of that server ([`TsaError`]), because clients print them. HTTP is someone else's.
//!
//! # Time
//! A timestamp's worth is that time never ran backwards while it was made. The authority remembers the latest
//! second it has stamped. Should the clock show an earlier one, then within the stated accuracy of one second it
//! stamps that latest second again; beyond it, it refuses ([`TsaError::ClockWentBack`]) until the clock has caught
//! up or an operator has looked and restarted it. It also refuses while any certificate of its chain is not valid.
//!
//! ```
//! use std::sync::Arc;
//! use countersign_clock::{ManualClock, Timestamp};
//! use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer};
//! use countersign_tsa::Tsa;
//! use countersign_x509::issue::{AuthorityProfile, root_ca, tsa_leaf};
//! use countersign_x509::timestamp::{Authority, Imprinted, TimestampRequest, TimestampToken};
//! use countersign_x509::{Certificate, Name, oid};
//!
//! // A chain: a root and the authority's own certificate.
//! let profile = |name, serial| AuthorityProfile {
//!     subject: Name::new(Some("example"), Some(name)),
//!     not_before: Timestamp::UNIX_EPOCH,
//!     not_after: Timestamp::MAX,
//!     serial,
//! };
//! let root_key = KeyPair::generate(KeyType::EcdsaP384)?;
//! let root = Certificate::from_der(&root_ca(&profile("tsa-root", [1; 20]), Some(0), &root_key)?)?;
//! let key = KeyPair::generate(KeyType::EcdsaP256)?;
//! let leaf = tsa_leaf(&profile("tsa", [2; 20]), key.public_key(), &root, &root_key)?;
//! let chain = vec![Certificate::from_der(&leaf)?, root];
//!
//! let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_800_000_000)?));
//! let tsa = Tsa::new(chain.clone(), Arc::new(key), clock, oid::SIGSTORE_TSA_POLICY)?;
//! let request = TimestampRequest {
//!     imprint: HashAlgorithm::Sha256.digest(b"a signature"),
//!     policy: None,
//!     nonce: None,
//!     cert_req: false,
//! };
//! let token = TimestampToken::parse(&tsa.respond(&request.encode()?)?)?;
//! let verified = token.verify(Imprinted::Bytes(b"a signature"), None, &Authority::from_chain(&chain)?)?;
//! assert_eq!(verified.time().as_second(), 1_800_000_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod authority;
mod error;
mod json;

pub use authority::Tsa;
pub use error::{SetupError, TsaError};
pub use json::MAX_JSON_LEN;

/// Object identifiers, for the policy.
pub use der::asn1::ObjectIdentifier;
