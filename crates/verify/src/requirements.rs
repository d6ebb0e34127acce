//! What must hold of a signature. There is no empty set of requirements: who may sign is part of the type.

use std::marker::PhantomData;

use countersign_bundle::ValidFor;
use countersign_crypto::{HashAlgorithm, PublicKey};
use countersign_x509::{Certificate, FulcioExtensions};
use regex::{Regex, RegexBuilder};

/// The largest pattern, compiled, in bytes.
const MAX_PATTERN_SIZE: usize = 1 << 20;
/// The longest pattern, in bytes.
const MAX_PATTERN_LEN: usize = 4096;

/// What is wrong with requirements.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequirementsError {
    /// The pattern does not compile.
    #[error("the pattern \"{pattern}\" is not a regular expression: {detail}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        detail: String,
    },
    /// An empty text, which is never what somebody meant to require.
    #[error("{what}: expected a text, found an empty one")]
    Empty {
        /// What was to be required.
        what: &'static str,
    },
    /// No such extension.
    #[error(
        "expected the name or OID of a Fulcio extension, such as source-repository-uri, found \"{found}\""
    )]
    UnknownExtension {
        /// The name that was given.
        found: String,
    },
    /// A number of authorities that cannot be reached or says nothing.
    #[error("{what}: expected at least 1, found 0")]
    Zero {
        /// What was to be counted.
        what: &'static str,
    },
}

/// A text to compare with: exactly, or by a regular expression over the whole of it.
#[derive(Debug, Clone)]
pub struct Matcher(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Exact(String),
    Pattern { text: String, regex: Regex },
    Both(Box<Matcher>, Box<Matcher>),
}

impl Matcher {
    /// Matches this text only.
    ///
    /// # Errors
    /// [`RequirementsError::Empty`].
    pub fn exact(text: &str) -> Result<Self, RequirementsError> {
        if text.is_empty() {
            return Err(RequirementsError::Empty { what: "a text to match" });
        }
        Ok(Self(Kind::Exact(text.to_owned())))
    }

    /// Matches texts which the regular expression matches from the first to the last character, anchors in the
    /// pattern or not. Matching takes time linear in the text.
    ///
    /// ```
    /// use countersign_verify::Matcher;
    /// let ours = Matcher::pattern("https://git\\.example/ours/.*")?;
    /// assert!(ours.matches("https://git.example/ours/app"));
    /// assert!(!ours.matches("https://evil.example/?https://git.example/ours/app"));
    /// # Ok::<(), countersign_verify::RequirementsError>(())
    /// ```
    ///
    /// # Errors
    /// [`RequirementsError::Pattern`], [`RequirementsError::Empty`].
    pub fn pattern(pattern: &str) -> Result<Self, RequirementsError> {
        Self::compiled(pattern, false)
    }

    /// As [`Matcher::pattern`], whatever the case of the letters.
    pub(crate) fn pattern_in_any_case(pattern: &str) -> Result<Self, RequirementsError> {
        Self::compiled(pattern, true)
    }

    fn compiled(pattern: &str, any_case: bool) -> Result<Self, RequirementsError> {
        if pattern.is_empty() {
            return Err(RequirementsError::Empty { what: "a pattern to match" });
        }
        let wrong = |detail: String| RequirementsError::Pattern { pattern: pattern.to_owned(), detail };
        if pattern.len() > MAX_PATTERN_LEN {
            let shown = pattern.chars().take(40).collect::<String>() + "…";
            let detail = format!("at most {MAX_PATTERN_LEN} bytes are read, found {}", pattern.len());
            return Err(RequirementsError::Pattern { pattern: shown, detail });
        }
        // Each letter becomes several: a pattern that fits as it is must fit in any case too.
        let size = if any_case { 4 * MAX_PATTERN_SIZE } else { MAX_PATTERN_SIZE };
        let compile = |text: &str| {
            let mut builder = RegexBuilder::new(text);
            builder.size_limit(size).case_insensitive(any_case).build().map_err(|e| wrong(e.to_string()))
        };
        // By itself first: an unbalanced "a)|(?:b" must not break out of the anchors.
        compile(pattern)?;
        let regex = compile(&format!("\\A(?:{pattern})\\z"))?;
        Ok(Self(Kind::Pattern { text: pattern.to_owned(), regex }))
    }

    /// Matches what both match.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(Kind::Both(Box::new(self), Box::new(other)))
    }

    /// Whether a text matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Kind::Exact(own) => own == text,
            Kind::Pattern { regex, .. } => regex.is_match(text),
            Kind::Both(one, other) => one.matches(text) && other.matches(text),
        }
    }
}

impl std::fmt::Display for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kind::Exact(text) => f.write_str(text),
            Kind::Pattern { text, .. } => write!(f, "/{text}/"),
            Kind::Both(one, other) => write!(f, "{one} and {other}"),
        }
    }
}

/// An identity that may sign: the name in the certificate, who vouched for it, and what else the certificate must
/// say about the build.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(crate) name: Matcher,
    /// `None` when whoever is trusted to issue is trusted for every name.
    pub(crate) issuer: Option<Matcher>,
    pub(crate) extensions: Vec<(u8, String, Matcher)>,
}

impl Identity {
    /// An identity by its subject alternative name and the issuer of its token. A name without an issuer says
    /// nothing: anyone can run an issuer which vouches for it.
    #[must_use]
    pub const fn new(name: Matcher, issuer: Matcher) -> Self {
        Self { name, issuer: Some(issuer), extensions: Vec::new() }
    }

    /// An identity by its subject alternative name alone, whoever vouched for it. Sound only when every certificate
    /// authority of the trust material is one's own and itself answers for the names it writes.
    #[must_use]
    pub const fn dangerous_any_issuer(name: Matcher) -> Self {
        Self { name, issuer: None, extensions: Vec::new() }
    }

    /// Both exactly.
    ///
    /// # Errors
    /// [`RequirementsError::Empty`].
    pub fn exact(name: &str, issuer: &str) -> Result<Self, RequirementsError> {
        Ok(Self::new(Matcher::exact(name)?, Matcher::exact(issuer)?))
    }

    /// Requires a Fulcio extension: `source-repository-uri`, `sourceRepositoryRef`, `build-trigger`, the OID. A
    /// certificate without it does not match. Several for one name must all match.
    ///
    /// # Errors
    /// [`RequirementsError::UnknownExtension`].
    pub fn extension(mut self, name: &str, value: Matcher) -> Result<Self, RequirementsError> {
        let arc = FulcioExtensions::arc_of(name)
            .ok_or_else(|| RequirementsError::UnknownExtension { found: name.to_owned() })?;
        self.extensions.push((arc, name.to_owned(), value));
        Ok(self)
    }

    pub(crate) fn matches_name(&self, certificate: &Certificate) -> bool {
        certificate.sans().iter().filter_map(|san| san.as_text()).any(|san| self.name.matches(san))
    }

    pub(crate) fn matches_issuer(&self, certificate: &Certificate) -> bool {
        let Some(wanted) = &self.issuer else { return true };
        certificate.fulcio().issuer().is_some_and(|issuer| wanted.matches(issuer))
    }

    /// The first extension that does not match.
    pub(crate) fn unmatched_extension(&self, certificate: &Certificate) -> Option<&(u8, String, Matcher)> {
        self.extensions
            .iter()
            .find(|(arc, _, value)| !certificate.fulcio().get(*arc).is_some_and(|v| value.matches(v)))
    }
}

/// A key that may sign, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    pub(crate) key: PublicKey,
    pub(crate) valid_for: Option<ValidFor>,
    pub(crate) hash: Option<HashAlgorithm>,
}

impl SigningKey {
    /// A key that is valid at any time.
    #[must_use]
    pub const fn new(key: PublicKey) -> Self {
        Self { key, valid_for: None, hash: None }
    }

    /// A key that signs within a time only. Then the time of signing must be known, and lie in it.
    #[must_use]
    pub const fn valid_for(mut self, valid_for: ValidFor) -> Self {
        self.valid_for = Some(valid_for);
        self
    }

    /// A key whose signatures are over this hash, instead of the one that goes with it. Of an Ed25519 key there is no
    /// other.
    #[must_use]
    pub const fn over(mut self, hash: HashAlgorithm) -> Self {
        self.hash = Some(hash);
        self
    }
}

impl From<PublicKey> for SigningKey {
    fn from(key: PublicKey) -> Self {
        Self::new(key)
    }
}

/// What must be said of the artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Says {
    /// Whatever it is.
    Anything,
    /// That it is signed: by itself, by cosign's older payload, or by a statement which says no more.
    Signed,
    /// A statement of one of these types; never empty.
    OneOf(Vec<String>),
    /// No statement: a document of this payload type in an envelope, which itself is the artifact.
    Document(String),
}

#[derive(Debug, Clone)]
pub(crate) enum Who {
    Identities(Vec<Identity>),
    AnyIdentity,
    Keys(Vec<SigningKey>),
}

/// What must hold. Made with [`Requirements::builder`].
#[derive(Debug, Clone)]
pub struct Requirements {
    pub(crate) who: Who,
    pub(crate) logs: usize,
    pub(crate) timestamps: usize,
    pub(crate) scts: usize,
    pub(crate) witnesses: usize,
    pub(crate) now_as_time: bool,
    pub(crate) certificate_as_time: bool,
    pub(crate) says: Says,
    pub(crate) annotations: Vec<(String, String)>,
}

/// State of a [`RequirementsBuilder`]: nobody may sign yet.
#[derive(Debug)]
pub enum Nobody {}
/// State of a [`RequirementsBuilder`]: identities may sign.
#[derive(Debug)]
pub enum Identities {}
/// State of a [`RequirementsBuilder`]: keys may sign.
#[derive(Debug)]
pub enum Keys {}

/// Builds [`Requirements`]. It can be finished only after somebody was named who may sign, and takes identities or
/// keys, never both.
///
/// Unless told otherwise, it requires one transparency log and, for identities, one CT log and a time from
/// somebody who is trusted. Authorities are counted, not items: two entries of one log are one log.
#[derive(Debug)]
pub struct RequirementsBuilder<State> {
    own: Requirements,
    state: PhantomData<State>,
}

impl Requirements {
    /// Begins.
    ///
    /// ```
    /// use countersign_verify::{Identity, Matcher, Requirements};
    /// let requirements = Requirements::builder()
    ///     .identity(Identity::exact("alice@example.com", "https://accounts.example.com")?)
    ///     .identity(Identity::new(Matcher::pattern(".*@ops\\.example\\.com")?, Matcher::exact("https://sso.example.com")?))
    ///     .timestamps(1)?
    ///     .build();
    /// # let _ = requirements;
    /// # Ok::<(), countersign_verify::RequirementsError>(())
    /// ```
    ///
    /// Nobody named is an error of the compiler:
    /// ```compile_fail
    /// let requirements = countersign_verify::Requirements::builder().build();
    /// ```
    /// So are a key and an identity together (V12):
    /// ```compile_fail
    /// # fn f(key: countersign_crypto::PublicKey, identity: countersign_verify::Identity) {
    /// let requirements = countersign_verify::Requirements::builder().key(key).identity(identity).build();
    /// # }
    /// ```
    #[must_use]
    pub const fn builder() -> RequirementsBuilder<Nobody> {
        let own = Self {
            who: Who::Identities(Vec::new()),
            logs: 1,
            timestamps: 0,
            scts: 1,
            witnesses: 0,
            now_as_time: false,
            certificate_as_time: false,
            says: Says::Anything,
            annotations: Vec::new(),
        };
        RequirementsBuilder { own, state: PhantomData }
    }
}

impl RequirementsBuilder<Nobody> {
    /// An identity that may sign.
    #[must_use]
    pub fn identity(self, identity: Identity) -> RequirementsBuilder<Identities> {
        let mut own = self.own;
        own.who = Who::Identities(vec![identity]);
        RequirementsBuilder { own, state: PhantomData }
    }

    /// A key that may sign.
    #[must_use]
    pub fn key(self, key: impl Into<SigningKey>) -> RequirementsBuilder<Keys> {
        let mut own = self.own;
        own.who = Who::Keys(vec![key.into()]);
        RequirementsBuilder { own, state: PhantomData }
    }

    /// Lets anybody sign who has a certificate of a trusted authority. The verdict then says nothing but that
    /// somebody signed; whoever uses it looks at [`crate::Verified::signer`].
    #[must_use]
    pub fn dangerous_any_identity(self) -> RequirementsBuilder<Identities> {
        let mut own = self.own;
        own.who = Who::AnyIdentity;
        RequirementsBuilder { own, state: PhantomData }
    }
}

impl RequirementsBuilder<Identities> {
    /// A further identity that may sign: one of them must match. After
    /// [`dangerous_any_identity`](RequirementsBuilder::dangerous_any_identity) only the named ones may.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        match &mut self.own.who {
            Who::Identities(all) => all.push(identity),
            Who::AnyIdentity | Who::Keys(_) => self.own.who = Who::Identities(vec![identity]),
        }
        self
    }

    /// At least this many CT logs, instead of one.
    ///
    /// # Errors
    /// [`RequirementsError::Zero`].
    pub fn scts(mut self, count: usize) -> Result<Self, RequirementsError> {
        self.own.scts = positive(count, "CT logs")?;
        Ok(self)
    }

    /// Does without CT logs: a certificate that was issued in secret is accepted.
    #[must_use]
    pub const fn dangerous_without_sct(mut self) -> Self {
        self.own.scts = 0;
        self
    }

    /// Takes the time of verification for the time of signing when nobody says when that was. A certificate is
    /// then accepted only while it is valid.
    #[must_use]
    pub const fn dangerous_now_as_time(mut self) -> Self {
        self.own.now_as_time = true;
        self
    }

    /// Takes the time at which the certificate begins to be valid for the time of signing when nobody says when that was:
    /// for old evidence with neither log entry nor timestamp. Whoever has got hold of the certificate's key since then
    /// signs as well as its owner.
    #[must_use]
    pub const fn dangerous_certificate_as_time(mut self) -> Self {
        self.own.certificate_as_time = true;
        self
    }

    /// Ends.
    #[must_use]
    pub fn build(self) -> Requirements {
        self.own
    }
}

impl RequirementsBuilder<Keys> {
    /// A further key that may sign.
    #[must_use]
    pub fn key(mut self, key: impl Into<SigningKey>) -> Self {
        if let Who::Keys(all) = &mut self.own.who {
            all.push(key.into());
        }
        self
    }

    /// Ends.
    #[must_use]
    pub fn build(self) -> Requirements {
        self.own
    }
}

impl<State> RequirementsBuilder<State> {
    /// At least this many transparency logs, instead of one.
    ///
    /// # Errors
    /// [`RequirementsError::Zero`].
    pub fn logs(mut self, count: usize) -> Result<Self, RequirementsError> {
        self.own.logs = positive(count, "transparency logs")?;
        Ok(self)
    }

    /// Does without a transparency log: a signature that nobody has seen is accepted. Entries which are there are
    /// checked all the same, and a false one is a refusal.
    #[must_use]
    pub const fn dangerous_without_log(mut self) -> Self {
        self.own.logs = 0;
        self
    }

    /// At least this many timestamp authorities.
    ///
    /// # Errors
    /// [`RequirementsError::Zero`].
    pub fn timestamps(mut self, count: usize) -> Result<Self, RequirementsError> {
        self.own.timestamps = positive(count, "timestamp authorities")?;
        Ok(self)
    }

    /// At least this many witnesses of the trust material have cosigned one and the same checkpoint, and that of each
    /// log which is required. Witnesses of different checkpoints are not added up: they have seen different trees.
    ///
    /// # Errors
    /// [`RequirementsError::Zero`].
    pub fn witnesses(mut self, count: usize) -> Result<Self, RequirementsError> {
        self.own.witnesses = positive(count, "witnesses")?;
        Ok(self)
    }

    /// The statement must say something of this type; of several, one must fit. A signature over the artifact
    /// itself is refused then.
    ///
    /// # Errors
    /// [`RequirementsError::Empty`].
    pub fn predicate_type(mut self, uri: &str) -> Result<Self, RequirementsError> {
        if uri.is_empty() {
            return Err(RequirementsError::Empty { what: "predicate type" });
        }
        match &mut self.own.says {
            Says::OneOf(types) => types.push(uri.to_owned()),
            other => *other = Says::OneOf(vec![uri.to_owned()]),
        }
        Ok(self)
    }

    /// The artifact is a document that stands in the signature's envelope, under this payload type: no statement about
    /// something else. Takes the place of types required before.
    ///
    /// # Errors
    /// [`RequirementsError::Empty`].
    pub fn payload_type(mut self, payload_type: &str) -> Result<Self, RequirementsError> {
        if payload_type.is_empty() {
            return Err(RequirementsError::Empty { what: "payload type" });
        }
        self.own.says = Says::Document(payload_type.to_owned());
        Ok(self)
    }

    /// The artifact must be signed as such: directly, with cosign's older payload, or with a statement of type
    /// [`crate::SIGN_PREDICATE_TYPE`]. A statement about it (its build, its parts) is no signature of it. Takes the
    /// place of types required before.
    #[must_use]
    pub fn signature_of_artifact(mut self) -> Self {
        self.own.says = Says::Signed;
        self
    }

    /// What is signed must carry this annotation (cosign's `-a key=value`): the statement's subject, or `optional` of
    /// cosign's older payload. Several must all be there, in the one signature that is by the right signer.
    ///
    /// # Errors
    /// [`RequirementsError::Empty`] for an empty key.
    pub fn annotation(mut self, key: &str, value: &str) -> Result<Self, RequirementsError> {
        if key.is_empty() {
            return Err(RequirementsError::Empty { what: "key of an annotation" });
        }
        self.own.annotations.push((key.to_owned(), value.to_owned()));
        Ok(self)
    }
}

fn positive(count: usize, what: &'static str) -> Result<usize, RequirementsError> {
    if count == 0 { Err(RequirementsError::Zero { what }) } else { Ok(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_anchored_at_both_ends_whatever_stands_in_them() {
        for (pattern, yes, no) in [
            ("abc", "abc", "xabc"),
            ("abc", "abc", "abcx"),
            ("a|b", "b", "ax"),
            ("^abc$", "abc", "abc\nabc"),
            ("(?m)^abc$", "abc", "abc\nxyz"),
            ("abc.*", "abc", "xabc"),
            ("a|ab", "ab", "aab"),
        ] {
            let matcher = Matcher::pattern(pattern).unwrap();
            assert!(matcher.matches(yes), "{pattern} {yes}");
            assert!(!matcher.matches(no), "{pattern} {no}");
        }
    }

    #[test]
    fn a_pattern_cannot_break_out_of_its_anchors() {
        assert!(Matcher::pattern("a)|(?:b").is_err());
        assert!(Matcher::pattern("a)|.*|(?:b").is_err());
    }

    #[test]
    fn v60_hostile_texts_and_patterns_stay_cheap() {
        let matcher = Matcher::pattern("(a*)*b").unwrap();
        assert!(!matcher.matches(&"a".repeat(50_000)));
        assert!(Matcher::pattern("((a{1000}){1000}){1000}").is_err(), "too large when compiled");
        assert!(Matcher::pattern(&"a".repeat(MAX_PATTERN_LEN + 1)).is_err());
    }

    #[test]
    fn both_of_two_must_match() {
        let both = Matcher::pattern("a.*").unwrap().and(Matcher::pattern(".*b").unwrap());
        assert!(both.matches("ab"));
        assert!(!both.matches("a") && !both.matches("b"));
        assert_eq!(both.to_string(), "/a.*/ and /.*b/");
    }

    #[test]
    fn empty_requirements_are_refused() {
        assert!(Matcher::exact("").is_err());
        assert!(Matcher::pattern("").is_err());
        let builder = || Requirements::builder().dangerous_any_identity();
        assert!(builder().logs(0).is_err());
        assert!(builder().timestamps(0).is_err());
        assert!(builder().scts(0).is_err());
        assert!(builder().witnesses(0).is_err());
        assert!(builder().predicate_type("").is_err());
        assert!(builder().payload_type("").is_err());
        assert!(builder().annotation("", "x").is_err());
    }

    #[test]
    fn v23_an_unknown_extension_is_an_error_and_not_ignored() {
        let identity = Identity::exact("a", "b").unwrap();
        assert!(identity.clone().extension("no-such-thing", Matcher::exact("x").unwrap()).is_err());
        assert!(identity.extension("build-trigger", Matcher::exact("push").unwrap()).is_ok());
    }
}
