//! Who must have signed, as data: what all the languages of policies come down to.

use std::collections::BTreeMap;

use countersign_crypto::HashAlgorithm;
use countersign_registry::Repository;
use countersign_registry::evidence::OlderTag;

use crate::pattern::Pattern;
use crate::trust::TrustSpec;

/// Somebody who must have signed. Equal authorities are asked and judged once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    /// What it is called in messages.
    pub name: String,
    /// Who it is.
    pub who: Who,
    /// Whom else to trust: certificate authorities, logs, timestamp authorities.
    pub trust: TrustSpec,
    /// How much evidence there must be.
    pub demands: Demands,
    /// Annotations that the one signature must carry.
    pub annotations: BTreeMap<String, String>,
    /// Where the evidence lies, if not beside the image.
    pub repository: Option<Repository>,
    /// Which forms of evidence are read.
    pub forms: Forms,
}

impl Authority {
    /// Whether it signs as the Notary Project does.
    pub(crate) const fn is_of_notary(&self) -> bool {
        matches!(self.who, Who::Notary { .. })
    }

    /// Whether its signature is enough by itself: a key, and no log or timestamp beside it.
    pub(crate) const fn stands_alone(&self) -> bool {
        matches!(self.who, Who::Key(_)) && !self.demands.log && !self.demands.timestamp
    }
}

/// Who must have signed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    /// The holder of a key; of several keys, one.
    Key(KeySource),
    /// One of these identities; never empty.
    Identities(Vec<IdentityRule>),
    /// Anybody with a certificate below the roots of the trust material. Sound only where these are one's own, or
    /// what the certificate says is looked at afterwards.
    AnyIdentity,
    /// A signer of the Notary Project whose chain ends at one of these certificates.
    Notary {
        /// PEM.
        certificates: String,
        /// PEM of the timestamp authorities' roots; empty for none.
        timestamp_certificates: String,
    },
}

/// Where a public key is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// Here: PEM of one public key or certificate.
    Pem(String),
    /// Elsewhere: `k8s://namespace/secret`, `awskms://…`, and so on.
    Reference(String),
}

/// The schemes of references that name no key service. Behind them lies what is on this machine, or what anybody may have put
/// at an address: a policy names neither.
const NO_SERVICES: [&str; 7] = ["env", "file", "github", "gitlab", "http", "https", "k8s"];

impl KeySource {
    /// A key in a key service.
    ///
    /// # Errors
    /// In words, why the reference names none.
    pub(crate) fn in_service(reference: &str) -> Result<Self, String> {
        let is_scheme = |scheme: &str| {
            !scheme.is_empty()
                && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        match reference.split_once("://") {
            Some((scheme, rest))
                if is_scheme(scheme) && !rest.is_empty() && !NO_SERVICES.contains(&scheme) =>
            {
                Ok(Self::Reference(reference.to_owned()))
            }
            _ => Err(format!(
                "expected the reference of a key service such as awskms:///… or hashivault://…, found \"{reference}\""
            )),
        }
    }
}

/// An identity that may have signed. All that stands in it must match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdentityRule {
    /// The name in the certificate.
    pub subject: Pattern,
    /// Who vouched for it. All must match; never empty.
    pub issuer: Vec<Pattern>,
    /// Further extensions of the certificate, by name or OID.
    pub extensions: BTreeMap<String, Pattern>,
}

/// How much evidence there must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Demands {
    /// A transparency log has the signature.
    pub log: bool,
    /// A CT log has the certificate. Says nothing for keys.
    pub sct: bool,
    /// A timestamp authority has seen the signature.
    pub timestamp: bool,
}

impl Default for Demands {
    fn default() -> Self {
        Self { log: true, sct: true, timestamp: false }
    }
}

/// Which forms of evidence are read, and how signatures are made in them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Forms {
    /// Sigstore bundles.
    pub bundles: bool,
    /// cosign's older tags.
    pub older: bool,
    /// What those tags begin with; mostly nothing.
    pub tag_prefix: String,
    /// The hash that a key signs over, if not the one that goes with it.
    pub hash: Option<HashAlgorithm>,
}

impl Forms {
    /// Reads what older tags begin with.
    ///
    /// # Errors
    /// In words, why that cannot be.
    pub(crate) fn prefix(text: &str) -> Result<String, String> {
        let image = HashAlgorithm::Sha256.digest(b"");
        match OlderTag::Attestation.with_prefix(text, &image) {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err(format!(
                "expected letters with which a tag can begin, such as release-, found \"{text}\""
            )),
        }
    }
}

impl Default for Forms {
    fn default() -> Self {
        Self { bundles: true, older: true, tag_prefix: String::new(), hash: None }
    }
}
