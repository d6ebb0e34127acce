//! Roots of trust: who signs provenance for which builder, and up to which level that is believed. A level is looked up by
//! signer and builder together; that provenance is there says nothing of one.
//!
//! ```yaml
//! - builder: https://builds.example/hermetic@*     # any version; without @*, exactly this text
//!   signer: {key: hermetic.pub}
//!   level: 3
//! - signer:                                        # no builder: the identity that signed is itself the builder
//!     subjectRegExp: https://github\.com/acme/builders/\.github/workflows/build\.yml@refs/tags/v[0-9.]+
//!     issuer: https://token.actions.githubusercontent.com
//!   level: 3
//! - profile: npm                                   # what is known of a public builder
//! ```

mod profile;
mod read;

use countersign_crypto::PublicKey;
use countersign_verify::{Identity, Matcher, RequirementsError, Signer as Signed};
use countersign_x509::Certificate;

pub use profile::{DEFAULT_PROFILES, PROFILES};
pub(crate) use profile::{GITHUB, PYPI_PUBLISH};

/// The highest level of the build track.
pub const MAX_LEVEL: u8 = 3;
/// The longest document read, in bytes.
pub const MAX_ROOTS_LEN: usize = 1024 * 1024;
/// The most roots of one document: each is asked for each statement.
pub const MAX_ROOTS: usize = 256;
/// The longest builder id, in bytes.
pub const MAX_BUILDER_LEN: usize = 2048;

/// Why roots of trust cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct RootsError {
    /// Where in the document.
    pub path: String,
    /// What was expected, and what is there.
    pub message: String,
}

impl RootsError {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// A text as it stands in a document: exact, or a regular expression over the whole of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// This text.
    Exact(String),
    /// Texts that the expression matches from their first to their last character.
    Expression(String),
}

impl Text {
    /// What compares with it.
    ///
    /// # Errors
    /// [`RequirementsError`] for an empty text and an expression that is none.
    pub fn matcher(&self) -> Result<Matcher, RequirementsError> {
        match self {
            Self::Exact(text) => Matcher::exact(text),
            Self::Expression(text) => Matcher::pattern(text),
        }
    }
}

/// Who signs, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// A key: PEM, or a reference to one.
    Key(String),
    /// An identity in a certificate, and who vouches for it.
    Identity {
        /// The subject alternative name.
        subject: Text,
        /// The issuer of the identity token.
        issuer: Text,
    },
}

/// Which builders a root is for.
#[derive(Debug, Clone)]
pub enum Builder {
    /// This id, byte for byte.
    Exact(String),
    /// This id, an `@`, and any version.
    AnyVersion(String),
    /// Ids that match.
    Matching(Matcher),
    /// The identity that signed.
    SignerItself,
}

impl Builder {
    /// Whether the root is for a builder of this id, when this identity signed. An id that is no URI of printable ASCII is
    /// nobody's: look-alikes in other scripts, NUL and line breaks are no part of any builder's name.
    #[must_use]
    pub fn matches(&self, id: &str, signer: Option<&str>) -> bool {
        if !is_builder_id(id) {
            return false;
        }
        match self {
            Self::Exact(own) => own == id,
            Self::AnyVersion(own) => {
                let version = id.strip_prefix(own.as_str()).and_then(|rest| rest.strip_prefix('@'));
                version.is_some_and(is_version)
            }
            Self::Matching(matcher) => matcher.matches(id),
            Self::SignerItself => signer == Some(id),
        }
    }
}

impl std::fmt::Display for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(id) => f.write_str(id),
            Self::AnyVersion(id) => write!(f, "{id}@*"),
            Self::Matching(matcher) => matcher.fmt(f),
            Self::SignerItself => f.write_str("the identity that signed"),
        }
    }
}

/// Whether a text can be the id of a builder at all.
#[must_use]
pub fn is_builder_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_BUILDER_LEN && id.bytes().all(|b| b.is_ascii_graphic())
}

/// What may stand behind the `@` of a builder's id: a ref or a number, and no second `@`.
fn is_version(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-+/".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

/// One root of trust: a signer, the builders it signs for, and how far that is believed.
#[derive(Debug, Clone)]
pub struct Root {
    /// Who signs.
    pub signer: Signer,
    /// For which builders.
    pub builder: Builder,
    /// Up to which level: 1 to 3; 0 for statements that are no provenance.
    pub level: u8,
    /// Whether its provenance is believed without an entry of a transparency log.
    pub unlogged: bool,
    /// Whether builds on machines that the platform does not keep are believed.
    pub self_hosted: bool,
    /// Where it was written, for messages: `roots[3]`, `profile npm`.
    pub from: String,
}

/// Roots as they were written; keys are not read yet.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// The roots, in their order.
    pub all: Vec<Root>,
}

impl Roots {
    /// The public builders that need no key to be named, see [`DEFAULT_PROFILES`].
    #[must_use]
    pub fn public() -> Self {
        let all =
            DEFAULT_PROFILES.iter().filter_map(|name| profile::expand(name, None).ok()).flatten().collect();
        Self { all }
    }

    /// Reads a document, YAML or JSON: a list of roots, or an object with `roots`.
    ///
    /// ```
    /// use countersign_slsa::Roots;
    /// let text = "- {builder: https://b.example, signer: {subject: a@b.example, issuer: https://i.example}, level: 2}";
    /// assert_eq!(Roots::read(text)?.all[0].level, 2);
    /// assert!(Roots::read("[]").is_err(), "nobody is trusted for anything");
    /// # Ok::<(), countersign_slsa::RootsError>(())
    /// ```
    ///
    /// # Errors
    /// [`RootsError`], with the place of what is wrong. No root at all is an error too.
    pub fn read(text: &str) -> Result<Self, RootsError> {
        read::read(text)
    }

    /// Makes them ready: keys are read, by this function where they are references and not PEM.
    ///
    /// # Errors
    /// [`RootsError`] for a key that cannot be read, and for expressions that cannot be compiled.
    pub fn ready(
        self,
        mut keys: impl FnMut(&str) -> Result<Vec<PublicKey>, String>,
    ) -> Result<TrustedBuilders, RootsError> {
        let mut entries = Vec::with_capacity(self.all.len());
        for root in self.all {
            let of = |e: RequirementsError| RootsError::new(&root.from, e.to_string());
            let signer = match &root.signer {
                Signer::Identity { subject, issuer } => {
                    Ready::Identity(subject.matcher().map_err(of)?, issuer.matcher().map_err(of)?)
                }
                Signer::Key(text) => {
                    let found = if text.contains("-----BEGIN ") {
                        PublicKey::from_pem(text).map(|key| vec![key]).map_err(|e| e.to_string())
                    } else {
                        keys(text)
                    };
                    let path = || format!("{}.signer.key", root.from);
                    let found = found.map_err(|e| RootsError::new(path(), e))?;
                    if found.is_empty() {
                        return Err(RootsError::new(path(), "expected a public key, found none"));
                    }
                    Ready::Keys(found)
                }
            };
            entries.push((signer, root));
        }
        Ok(TrustedBuilders { entries })
    }
}

/// A signer, ready to be compared with.
#[derive(Debug, Clone)]
enum Ready {
    Keys(Vec<PublicKey>),
    Identity(Matcher, Matcher),
}

/// Roots of trust, ready to be asked.
#[derive(Debug, Clone)]
pub struct TrustedBuilders {
    entries: Vec<(Ready, Root)>,
}

impl TrustedBuilders {
    /// The roots, in their order.
    pub fn roots(&self) -> impl Iterator<Item = &Root> {
        self.entries.iter().map(|(_, root)| root)
    }

    /// The keys that may sign.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.entries.iter().flat_map(|(signer, _)| match signer {
            Ready::Keys(keys) => keys.as_slice(),
            Ready::Identity(..) => &[],
        })
    }

    /// The identities that may sign.
    #[must_use]
    pub fn identities(&self) -> Vec<Identity> {
        let mut seen: Vec<&Signer> = Vec::new();
        let mut all = Vec::new();
        for (signer, root) in &self.entries {
            if let Ready::Identity(subject, issuer) = signer
                && !seen.contains(&&root.signer)
            {
                seen.push(&root.signer);
                all.push(Identity::new(subject.clone(), issuer.clone()));
            }
        }
        all
    }

    /// The roots that name this signer, whatever the builder.
    pub fn of_signer(&self, signer: &Signed) -> impl Iterator<Item = &Root> {
        self.entries.iter().filter(move |(own, _)| names(own, signer).is_some()).map(|(_, root)| root)
    }

    /// The roots that name this signer and this builder together.
    pub fn of_pair<'s>(&'s self, signer: &Signed, builder: &str) -> impl Iterator<Item = &'s Root> {
        self.entries.iter().filter_map(move |(own, root)| {
            let identity = names(own, signer)?;
            root.builder.matches(builder, identity).then_some(root)
        })
    }

    /// Whether a root names this builder, whoever its signer is. Where the identity that signs is itself the builder, a builder
    /// is named by the name of who would have to sign.
    #[must_use]
    pub fn know(&self, builder: &str) -> bool {
        self.entries.iter().any(|(own, root)| {
            let signer = match own {
                Ready::Identity(subject, _) => Some(builder).filter(|name| subject.matches(name)),
                Ready::Keys(_) => None,
            };
            root.builder.matches(builder, signer)
        })
    }
}

/// Whether a root's signer is the one that signed: with the name that was compared, if it has one.
fn names<'a>(own: &Ready, signer: &'a Signed) -> Option<Option<&'a str>> {
    match (own, signer) {
        (Ready::Keys(keys), Signed::Key(key)) => keys.contains(key).then_some(None),
        (Ready::Identity(subject, issuer), Signed::Certificate(certificate)) => {
            let vouched = certificate.fulcio().issuer().is_some_and(|found| issuer.matches(found));
            name_that(certificate, subject).filter(|_| vouched).map(Some)
        }
        _ => None,
    }
}

fn name_that<'a>(certificate: &'a Certificate, wanted: &Matcher) -> Option<&'a str> {
    certificate.sans().iter().filter_map(|san| san.as_text()).find(|name| wanted.matches(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_crypto::{KeyPair, KeyType, Signer as _};

    fn key() -> PublicKey {
        KeyPair::generate(KeyType::EcdsaP256).unwrap().public_key().clone()
    }

    #[test]
    fn look_alikes_of_a_builder_are_other_builders() {
        const NAME: &str =
            "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_go_slsa3.yml";
        let any = Builder::AnyVersion(NAME.into());
        assert!(any.matches(&format!("{NAME}@refs/tags/v2.1.0"), None));
        for evil in [
            NAME.to_owned(),
            format!("{NAME}@"),
            format!("{NAME}.evil@refs/tags/v2.1.0"),
            format!("{NAME}@refs/tags/v2.1.0@evil"),
            format!("{NAME}@refs/tags/v2.1.0\0"),
            format!("{NAME}@refs/tags/v2.1.0\n"),
            format!("{NAME}@refs/tags/v2.1.0 "),
            format!("{NAME}@refs/tags/v2.1.0?x=y"),
            format!("x{NAME}@refs/tags/v2.1.0"),
            NAME.replace("slsa-framework", "SLSA-framework") + "@refs/tags/v2.1.0",
            NAME.replace("github", "g\u{456}thub") + "@refs/tags/v2.1.0",
            NAME.replace("github", "github\u{200b}") + "@refs/tags/v2.1.0",
            NAME.replace("https://", "HTTPS://") + "@refs/tags/v2.1.0",
        ] {
            assert!(!any.matches(&evil, None), "{evil:?}");
        }
        let exact = Builder::Exact(NAME.into());
        assert!(exact.matches(NAME, None));
        assert!(!exact.matches(&format!("{NAME}@refs/tags/v1"), None), "a version is part of the name");
        assert!(!Builder::Exact("a\0".into()).matches("a\0", None));
        let pattern = Builder::Matching(Matcher::pattern("https://b/.*").unwrap());
        assert!(pattern.matches("https://b/x", None));
        assert!(!pattern.matches("https://evil/?https://b/x", None), "the whole id is compared");
        assert!(!pattern.matches("https://b/\u{430}", None));
        assert!(!pattern.matches(&format!("https://b/{}", "x".repeat(MAX_BUILDER_LEN)), None));
        assert!(Builder::SignerItself.matches(NAME, Some(NAME)));
        assert!(!Builder::SignerItself.matches(NAME, None), "a key has no name");
    }

    #[test]
    fn a_level_is_of_the_pair_and_of_neither_alone() {
        let (good, other) = (key(), key());
        let text = "- {builder: https://b.example/3, level: 3, signer: {key: good}}\n\
                    - {builder: https://b.example/1, level: 1, signer: {key: other}}";
        let find = |name: &str| Ok(vec![if name == "good" { good.clone() } else { other.clone() }]);
        let builders = Roots::read(text).unwrap().ready(find).unwrap();
        let (good, other) = (Signed::Key(good.clone()), Signed::Key(other.clone()));
        let level = |signer, builder| builders.of_pair(signer, builder).map(|root| root.level).max();
        assert_eq!(level(&good, "https://b.example/3"), Some(3));
        assert_eq!(level(&other, "https://b.example/3"), None, "another signer");
        assert_eq!(level(&good, "https://b.example/1"), None, "another builder");
        assert_eq!(level(&other, "https://b.example/1"), Some(1));
        assert!(builders.know("https://b.example/1") && !builders.know("https://b.example/2"));
        assert_eq!(builders.of_signer(&good).count(), 1);
        assert_eq!(builders.keys().count(), 2);
        assert!(builders.identities().is_empty());
    }

    #[test]
    fn a_key_that_is_not_there_is_an_error_with_its_place() {
        let text = "[{builder: b, level: 1, signer: {key: missing.pub}}]";
        let roots = || Roots::read(text).unwrap();
        let error = roots().ready(|name| Err(format!("{name} is not there"))).unwrap_err().to_string();
        assert_eq!(error, "roots[0].signer.key: missing.pub is not there");
        assert!(roots().ready(|_| Ok(Vec::new())).is_err(), "no key is nobody");
    }

    #[test]
    fn the_public_builders_are_ready_and_each_profile_is_known() {
        let builders = Roots::public().ready(|_| Err("no key".into())).unwrap();
        assert!(builders.roots().count() >= 4);
        assert_eq!(builders.keys().count(), 0, "no key is built in");
    }
}
