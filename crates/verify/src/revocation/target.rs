//! What can be revoked.

use std::fmt;

use countersign_crypto::encoding::{hex_decode, hex_encode};
use countersign_crypto::{Digest, HashAlgorithm};
use countersign_x509::San;
use serde::{Deserialize, Serialize};

use crate::{Matcher, RequirementsError};

/// The longest text of a list, in bytes.
pub(super) const MAX_TEXT: usize = 4096;

/// A text of a list: exactly this, or a regular expression over the whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Text {
    /// This text.
    Exact(String),
    /// Whatever the pattern matches from the first to the last character.
    Pattern(String),
}

impl Text {
    fn in_any_case(&self) -> Result<Matcher, RequirementsError> {
        match self {
            Self::Exact(text) => Matcher::exact(&text.to_ascii_lowercase()),
            Self::Pattern(pattern) => Matcher::pattern_in_any_case(pattern),
        }
    }

    pub(super) fn matcher(&self) -> Result<Matcher, RequirementsError> {
        match self {
            Self::Exact(text) => Matcher::exact(text),
            Self::Pattern(pattern) => Matcher::pattern(pattern),
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Pattern(pattern) => write!(f, "/{pattern}/"),
        }
    }
}

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Target {
    /// Whoever has this name, vouched for by this issuer; one of the two may be left out. E-mail addresses are compared
    /// without regard to case: whoever is revoked as `alice@` must not go on as `Alice@`.
    #[serde(rename_all = "camelCase")]
    Identity {
        /// A name in the certificate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Text>,
        /// Who vouched for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        issuer: Option<Text>,
    },
    /// A key: SHA-256 of its public half (SPKI, DER), in hex. Whether it signs bare or under a certificate.
    Key(String),
    /// A certificate, the signer's or one above it: SHA-256 of its DER, in hex.
    Certificate(String),
    /// An artifact or image by its SHA-256 digest, `sha256:…`.
    Digest(String),
    /// A builder: the id in a provenance, or the build signer in a certificate.
    Builder(Text),
}

impl Target {
    /// The kind, as arguments and messages have it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Identity { .. } => "identity",
            Self::Key(_) => "key",
            Self::Certificate(_) => "certificate",
            Self::Digest(_) => "digest",
            Self::Builder(_) => "builder",
        }
    }

    /// Whether anything can be it.
    ///
    /// # Errors
    /// In words, what was expected and what was found.
    pub fn check(&self) -> Result<(), String> {
        Compiled::of(self).map(drop)
    }

    /// Whether a signature by it can be told to be newer than some time: only where a certificate was issued for it.
    pub(super) const fn can_end(&self) -> bool {
        matches!(self, Self::Identity { .. } | Self::Builder(_))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity { name: Some(name), issuer: Some(issuer) } => {
                write!(f, "identity {name}, vouched for by {issuer}")
            }
            Self::Identity { name: Some(name), issuer: None } => write!(f, "identity {name}"),
            Self::Identity { name: None, issuer: Some(issuer) } => {
                write!(f, "every identity that {issuer} vouched for")
            }
            Self::Identity { name: None, issuer: None } => f.write_str("nobody"),
            Self::Key(print) => write!(f, "key sha256:{print}"),
            Self::Certificate(print) => write!(f, "certificate sha256:{print}"),
            Self::Digest(digest) => write!(f, "artifact {digest}"),
            Self::Builder(builder) => write!(f, "builder {builder}"),
        }
    }
}

/// A name made ready to be compared with those of a certificate.
#[derive(Debug, Clone)]
pub(super) struct Name {
    exact: Matcher,
    email: Matcher,
}

impl Name {
    fn of(text: &Text) -> Result<Self, RequirementsError> {
        Ok(Self { exact: text.matcher()?, email: text.in_any_case()? })
    }

    /// Whether this is the name; of an e-mail address, whatever its case.
    pub(super) fn matches(&self, san: &San) -> bool {
        san.as_text().is_some_and(|text| self.is_text(text))
            || matches!(san, San::Email(address) if self.email.matches(&address.to_ascii_lowercase()))
    }

    /// Whether this is the name, as it is written.
    pub(super) fn is_text(&self, text: &str) -> bool {
        self.exact.matches(text)
    }
}

/// A target made ready to be compared.
#[derive(Debug, Clone)]
pub(super) enum Compiled {
    Identity { name: Option<Name>, issuer: Option<Matcher> },
    Key([u8; 32]),
    Certificate([u8; 32]),
    Digest(Digest),
    Builder(Matcher),
}

impl Compiled {
    /// # Errors
    /// In words, what was expected and what was found.
    pub(super) fn of(target: &Target) -> Result<Self, String> {
        let text = |text: &Text| text.matcher().map_err(|e| e.to_string());
        Ok(match target {
            Target::Identity { name: None, issuer: None } => {
                return Err("an identity: expected a name or an issuer, found neither".into());
            }
            Target::Identity { name, issuer } => Self::Identity {
                name: name.as_ref().map(Name::of).transpose().map_err(|e| e.to_string())?,
                issuer: issuer.as_ref().map(text).transpose()?,
            },
            Target::Key(print) => Self::Key(fingerprint(print)?),
            Target::Certificate(print) => Self::Certificate(fingerprint(print)?),
            Target::Digest(digest) => {
                let read = Digest::parse(digest).ok().filter(|d| d.algorithm() == HashAlgorithm::Sha256);
                match read {
                    Some(read) if read.to_string() == *digest => Self::Digest(read),
                    _ => return Err(format!("expected sha256: and 64 small hex digits, found \"{digest}\"")),
                }
            }
            Target::Builder(builder) => Self::Builder(text(builder)?),
        })
    }
}

fn fingerprint(text: &str) -> Result<[u8; 32], String> {
    let wrong = || format!("expected a SHA-256 in 64 small hex digits, found \"{text}\"");
    let bytes: [u8; 32] = hex_decode(text).map_err(|_| wrong())?.try_into().map_err(|_| wrong())?;
    if hex_encode(&bytes) == text { Ok(bytes) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_email_address_is_compared_without_its_case() {
        let matches = |text: Text, san: &San| Name::of(&text).unwrap().matches(san);
        let uri = San::Uri("https://git.example/A/build.yml@refs/heads/main".into());
        let email = San::Email("Alice@example.com".into());
        for (text, san, expected) in [
            ("alice@EXAMPLE.com", &email, true),
            ("Alice@example.com", &email, true),
            ("bob@example.com", &email, false),
            ("https://git.example/A/build.yml@refs/heads/main", &uri, true),
            ("https://git.example/a/build.yml@refs/heads/main", &uri, false),
        ] {
            assert_eq!(matches(Text::Exact(text.into()), san), expected, "{text}");
        }
        assert!(matches(Text::Pattern("alice@.*".into()), &email));
        assert!(!matches(Text::Pattern("https://git.example/a/.*".into()), &uri));
        // A pattern that is as large as patterns may be is one in any case too.
        assert!(Text::Pattern("[a-z]{2000}@.*".into()).in_any_case().is_ok());
    }
}
