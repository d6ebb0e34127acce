//! What an evaluation has to be told by the outside, as data. Whoever drives the evaluation finds the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use countersign_bundle::TrustedRoot;
use countersign_crypto::{Digest, PublicKey, sha256};
use countersign_registry::evidence::{Attached, Form, Found};
use countersign_registry::{Descriptor, Reference, Repository};
use countersign_verify::revocation::Revocations;

use crate::access::{Access, ObjectName};
use crate::memo::Memo;

/// A question to the outside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Question {
    /// What does this tag name now? Asked once in a request; from there on the digest is used.
    Digest {
        /// The image, by tag.
        image: Reference,
        /// How to ask.
        access: Arc<Access>,
    },
    /// What evidence lies beside an image?
    Evidence(EvidenceQuestion),
    /// What evidence is there of a file? It lies in no registry; whoever asks has it.
    OfFile(Digest),
    /// What documents of a type are attached to an image?
    Attached(AttachedQuestion),
    /// What is in the image's manifest and configuration?
    Image {
        /// The image, by digest.
        image: Reference,
        /// How to ask.
        access: Arc<Access>,
    },
    /// A trust root: a named one, or the installation's own.
    Trust(Option<String>),
    /// The public keys behind a reference such as `k8s://namespace/secret` or `awskms://…`.
    Keys(String),
    /// The certificates behind a reference such as `k8s://namespace/secret`.
    Certificates(String),
    /// The data of a ConfigMap.
    ConfigMap(ObjectName),
    /// The labels of a namespace.
    Namespace(String),
}

/// What evidence lies beside an image?
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EvidenceQuestion {
    /// The image.
    pub image: Digest,
    /// Where its evidence lies.
    pub repository: Repository,
    /// Which forms are wanted.
    pub forms: BTreeSet<Form>,
    /// The types of statements; none for any. What is listed under another type need not be read.
    pub predicate_types: BTreeSet<String>,
    /// What cosign's older tags begin with; mostly nothing.
    pub tag_prefix: String,
    /// How to ask.
    pub access: Arc<Access>,
}

/// What documents are attached to an image?
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttachedQuestion {
    /// The image.
    pub image: Digest,
    /// Where they are attached.
    pub repository: Repository,
    /// Of which artifact type.
    pub artifact_type: String,
    /// How to ask.
    pub access: Arc<Access>,
}

impl EvidenceQuestion {
    /// Whether the answer to another question holds all that this one asks for.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let types = other.predicate_types.is_empty()
            || (!self.predicate_types.is_empty() && self.predicate_types.is_subset(&other.predicate_types));
        types
            && self.image == other.image
            && self.tag_prefix == other.tag_prefix
            && self.forms.is_subset(&other.forms)
            && self.repository == other.repository
            && self.access == other.access
    }
}

/// An answer. Its kind is that of the question.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Answer {
    /// To [`Question::Digest`].
    Digest(Digest),
    /// To [`Question::Evidence`] and [`Question::OfFile`].
    Evidence(Arc<Evidence>),
    /// To [`Question::Attached`].
    Attached(Arc<Vec<Attached>>),
    /// To [`Question::Image`].
    Image(Arc<ImageData>),
    /// To [`Question::Trust`].
    Trust(Arc<TrustRoot>),
    /// To [`Question::Keys`].
    Keys(Arc<Vec<PublicKey>>),
    /// To [`Question::Certificates`]: PEM.
    Certificates(Arc<String>),
    /// To [`Question::ConfigMap`].
    ConfigMap(Arc<BTreeMap<String, String>>),
    /// To [`Question::Namespace`].
    Labels(Arc<BTreeMap<String, String>>),
}

/// The evidence beside an image, unverified. An empty list means that the registry was asked and has none.
#[derive(Debug, Clone)]
pub struct Evidence {
    found: Box<[Found]>,
    id: [u8; 32],
}

impl Evidence {
    /// These pieces. A bundle is whole by itself: what is noted beside it is not kept.
    #[must_use]
    pub fn new(mut found: Vec<Found>) -> Self {
        for bundle in found.iter_mut().filter(|piece| piece.form == Form::Bundle) {
            bundle.annotations = BTreeMap::new();
        }
        let mut all = Vec::new();
        for piece in &found {
            // The annotations of cosign's older forms hold what is signed and by whom.
            all.extend(
                format!("{:?}\n{}\n{:?}\n", piece.form, piece.layer.digest, piece.annotations).into_bytes(),
            );
        }
        Self { id: sha256(&all), found: found.into() }
    }

    /// Those of some forms.
    #[must_use]
    pub fn of_forms(&self, forms: &BTreeSet<Form>) -> Self {
        Self::new(self.found.iter().filter(|piece| forms.contains(&piece.form)).cloned().collect())
    }

    /// The pieces.
    #[must_use]
    pub const fn found(&self) -> &[Found] {
        &self.found
    }

    /// Tells this evidence from other evidence.
    #[must_use]
    pub const fn id(&self) -> &[u8; 32] {
        &self.id
    }
}

/// A trust root, and what tells it from others.
#[derive(Debug, Clone)]
pub struct TrustRoot {
    document: TrustedRoot,
    id: [u8; 32],
    revocations: Vec<Arc<Revocations>>,
}

impl TrustRoot {
    /// This document.
    ///
    /// # Errors
    /// [`CouldNot`] when the document cannot be written, which one that was read always can.
    pub fn new(document: TrustedRoot) -> Result<Self, CouldNot> {
        let json = document.to_json().map_err(|e| CouldNot::new(CouldNotReason::Unusable, e.to_string()))?;
        Ok(Self { id: sha256(&json), document, revocations: Vec::new() })
    }

    /// The same with what those who are trusted here have revoked.
    #[must_use]
    pub fn revoking(mut self, lists: Vec<Arc<Revocations>>) -> Self {
        self.revocations = lists;
        self
    }

    /// What those who are trusted here have revoked.
    #[must_use]
    pub fn revocations(&self) -> &[Arc<Revocations>] {
        &self.revocations
    }

    /// The document.
    #[must_use]
    pub const fn document(&self) -> &TrustedRoot {
        &self.document
    }

    /// Tells this document from other ones.
    #[must_use]
    pub const fn id(&self) -> &[u8; 32] {
        &self.id
    }
}

/// What is in an image.
#[derive(Debug, Clone)]
pub struct ImageData {
    /// The manifest's or the index's descriptor.
    pub descriptor: Descriptor,
    /// The manifest or index.
    pub manifest: serde_json::Value,
    /// The image's configuration; absent for an index.
    pub config: Option<serde_json::Value>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CouldNotReason {
    /// What is asked for does not exist.
    NotFound,
    /// It exists, and may not be seen with these credentials.
    Unauthorized,
    /// It cannot be reached, or did not answer in time.
    Unreachable,
    /// It was asked too often.
    TooManyRequests,
    /// Its answer cannot be used: wrong bytes, too much, malformed.
    Unusable,
    /// Nobody here can answer this kind of question.
    Unsupported,
}

impl CouldNotReason {
    /// The stable name, in snake case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Unauthorized => "unauthorized",
            Self::Unreachable => "unreachable",
            Self::TooManyRequests => "too_many_requests",
            Self::Unusable => "unusable",
            Self::Unsupported => "unsupported",
        }
    }
}

/// A question that could not be answered: neither a yes nor a no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct CouldNot {
    /// Why.
    pub reason: CouldNotReason,
    /// In words: what was asked, what happened, what to do.
    pub text: String,
}

impl CouldNot {
    /// A reason in words.
    #[must_use]
    pub fn new(reason: CouldNotReason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

/// The answers that are known.
pub trait Known {
    /// The answer to a question, if it has one by now.
    fn answer(&self, question: &Question) -> Option<Result<Answer, CouldNot>>;

    /// Where judgements are kept, if anywhere: the same evidence is judged by the same authority once.
    fn memo(&self) -> Option<&Memo> {
        None
    }

    /// What was revoked by whoever may: lists that hold whatever a policy says of trust. The same for the whole of an
    /// evaluation.
    ///
    /// # Errors
    /// [`CouldNot`]: there should be a list, and nobody has it.
    fn revocations(&self) -> Result<Vec<Arc<Revocations>>, CouldNot> {
        Ok(Vec::new())
    }
}

impl Known for std::collections::HashMap<Question, Result<Answer, CouldNot>> {
    fn answer(&self, question: &Question) -> Option<Result<Answer, CouldNot>> {
        self.get(question).cloned()
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest { image, .. } => write!(f, "the digest of {image}"),
            Self::Evidence(of) => write!(f, "the evidence of {} in {}", of.image, of.repository),
            Self::OfFile(digest) => write!(f, "the evidence of the file {digest}"),
            Self::Attached(of) => {
                write!(
                    f,
                    "the documents of type {} attached to {} in {}",
                    of.artifact_type, of.image, of.repository
                )
            }
            Self::Image { image, .. } => write!(f, "the manifest of {image}"),
            Self::Trust(None) => f.write_str("the trust root"),
            Self::Trust(Some(name)) => write!(f, "the trust root \"{name}\""),
            Self::Keys(reference) => write!(f, "the public key {reference}"),
            Self::Certificates(reference) => write!(f, "the certificates {reference}"),
            Self::ConfigMap(name) => write!(f, "the ConfigMap {name}"),
            Self::Namespace(name) => write!(f, "the namespace {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use countersign_crypto::HashAlgorithm;

    use super::*;

    #[test]
    fn a_question_is_within_a_wider_one_and_each_part_alone_can_differ() {
        let question = |forms: &[Form], types: &[&str]| EvidenceQuestion {
            image: HashAlgorithm::Sha256.digest(b"image"),
            repository: Repository::parse("r.example/app").unwrap(),
            forms: forms.iter().copied().collect(),
            predicate_types: types.iter().map(|kind| (*kind).to_owned()).collect(),
            tag_prefix: String::new(),
            access: Arc::default(),
        };
        let narrow = question(&[Form::Bundle], &["a"]);
        for wide in [
            question(&[Form::Bundle], &["a"]),
            question(&[Form::Bundle, Form::Notary], &["a", "b"]),
            question(&[Form::Bundle, Form::Notary], &[]),
        ] {
            assert!(narrow.is_within(&wide), "{wide:?}");
        }
        let other_image =
            EvidenceQuestion { image: HashAlgorithm::Sha256.digest(b"other"), ..narrow.clone() };
        let elsewhere =
            EvidenceQuestion { repository: Repository::parse("r.example/api").unwrap(), ..narrow.clone() };
        let prefixed = EvidenceQuestion { tag_prefix: "release-".into(), ..narrow.clone() };
        let insecure = Access { insecure: true, ..Access::default() };
        let otherwise = EvidenceQuestion { access: Arc::new(insecure), ..narrow.clone() };
        for other in [
            question(&[Form::Notary], &["a"]),
            question(&[Form::Bundle], &["b"]),
            other_image,
            elsewhere,
            prefixed,
            otherwise,
        ] {
            assert!(!narrow.is_within(&other), "{other:?}");
        }
        assert!(!question(&[Form::Bundle], &[]).is_within(&narrow), "of any type");
    }
}
