//! Asking, from within an evaluation.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_crypto::{Digest, PublicKey};
use countersign_registry::Reference;
use countersign_registry::evidence::Attached;
use countersign_verify::revocation::Revocations;
use jiff::Timestamp;

use crate::access::{Access, ObjectName};
use crate::kyverno::PolicyException;
use crate::memo::Memo;
use crate::question::{
    Answer, AttachedQuestion, CouldNot, CouldNotReason, Evidence, EvidenceQuestion, ImageData, Known,
    Question, TrustRoot,
};

/// Why an evaluation cannot go on here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// A question is open. It was noted; the rest may go on, to find what else is open.
    #[error("a question is open")]
    Open,
    /// A question has no answer.
    #[error(transparent)]
    CouldNot(#[from] CouldNot),
}

/// What an evaluation asks through. It notes the questions that are open, so that they are answered together.
pub struct Ask<'a> {
    known: &'a dyn Known,
    open: RefCell<Vec<Question>>,
    access: Arc<Access>,
    now: Timestamp,
    exceptions: &'a [PolicyException],
}

impl std::fmt::Debug for Ask<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").field("open", &self.open).field("now", &self.now).finish_non_exhaustive()
    }
}

impl<'a> Ask<'a> {
    /// `access` is what all questions to registries may use that are asked through this.
    #[must_use]
    pub fn new(known: &'a dyn Known, access: impl Into<Arc<Access>>, now: Timestamp) -> Self {
        Self { known, open: RefCell::default(), access: access.into(), now, exceptions: &[] }
    }

    /// The same with exceptions that hold.
    #[must_use]
    pub fn excepting(mut self, exceptions: &'a [PolicyException]) -> Self {
        self.exceptions = exceptions;
        self
    }

    /// The exceptions that hold.
    #[must_use]
    pub const fn exceptions(&self) -> &'a [PolicyException] {
        self.exceptions
    }

    /// The time of the evaluation.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Where judgements are kept, if anywhere.
    pub(crate) fn memo(&self) -> Option<&'a Memo> {
        self.known.memo()
    }

    /// What was revoked.
    ///
    /// # Errors
    /// [`Stop`]: there should be a list and nobody has it, or it has expired. Then nobody knows what is revoked.
    pub fn revocations(&self) -> Result<Vec<Arc<Revocations>>, Stop> {
        self.current(self.known.revocations()?)
    }

    /// These lists, none of which has expired.
    ///
    /// # Errors
    /// [`Stop`].
    pub(crate) fn current(&self, lists: Vec<Arc<Revocations>>) -> Result<Vec<Arc<Revocations>>, Stop> {
        for list in &lists {
            list.check_current(self.now).map_err(|text| CouldNot::new(CouldNotReason::Unusable, text))?;
        }
        Ok(lists)
    }

    /// Whether a question is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.open.borrow().is_empty()
    }

    /// The questions that are open.
    #[must_use]
    pub fn into_open(self) -> Vec<Question> {
        self.open.into_inner()
    }

    fn answer(&self, question: Question) -> Result<Answer, Stop> {
        match self.known.answer(&question) {
            Some(answer) => Ok(answer?),
            None => {
                let mut open = self.open.borrow_mut();
                if !open.contains(&question) {
                    open.push(question);
                }
                Err(Stop::Open)
            }
        }
    }

    /// The digest of an image: its own, or what its tag names.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn digest(&self, image: &Reference) -> Result<Digest, Stop> {
        if let Some(digest) = image.digest() {
            return Ok(*digest);
        }
        let question = Question::Digest { image: image.clone(), access: self.access.clone() };
        match self.answer(question)? {
            Answer::Digest(digest) => Ok(digest),
            _ => Err(of_another_kind("a digest")),
        }
    }

    /// The evidence beside an image.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn evidence(&self, mut question: EvidenceQuestion) -> Result<Arc<Evidence>, Stop> {
        question.access = self.access.clone();
        match self.answer(Question::Evidence(question))? {
            Answer::Evidence(evidence) => Ok(evidence),
            _ => Err(of_another_kind("evidence")),
        }
    }

    /// The evidence of a file.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn evidence_of_file(&self, file: Digest) -> Result<Arc<Evidence>, Stop> {
        match self.answer(Question::OfFile(file))? {
            Answer::Evidence(evidence) => Ok(evidence),
            _ => Err(of_another_kind("evidence")),
        }
    }

    /// The documents of a type that are attached to an image. Nobody vouches for them yet.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn attached(&self, mut question: AttachedQuestion) -> Result<Arc<Vec<Attached>>, Stop> {
        question.access = self.access.clone();
        match self.answer(Question::Attached(question))? {
            Answer::Attached(documents) => Ok(documents),
            _ => Err(of_another_kind("attached documents")),
        }
    }

    /// The manifest and configuration of an image, which is resolved first.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn image(&self, image: &Reference) -> Result<Arc<ImageData>, Stop> {
        let digest = self.digest(image)?;
        let image = image.at(digest);
        match self.answer(Question::Image { image, access: self.access.clone() })? {
            Answer::Image(data) if data.descriptor.digest == digest => Ok(data),
            Answer::Image(data) => {
                let text = format!("expected the manifest {digest}, found {}", data.descriptor.digest);
                Err(CouldNot::new(CouldNotReason::Unusable, text).into())
            }
            _ => Err(of_another_kind("a manifest")),
        }
    }

    /// A trust root: the one of this name, or the installation's own.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn trust(&self, name: Option<&str>) -> Result<Arc<TrustRoot>, Stop> {
        match self.answer(Question::Trust(name.map(str::to_owned)))? {
            Answer::Trust(root) => Ok(root),
            _ => Err(of_another_kind("a trust root")),
        }
    }

    /// The public keys behind a reference; at least one.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn keys(&self, reference: &str) -> Result<Arc<Vec<PublicKey>>, Stop> {
        match self.answer(Question::Keys(reference.to_owned()))? {
            Answer::Keys(keys) if !keys.is_empty() => Ok(keys),
            _ => Err(of_another_kind("public keys")),
        }
    }

    /// The certificates behind a reference, as PEM; never an empty text.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn certificates(&self, reference: &str) -> Result<Arc<String>, Stop> {
        match self.answer(Question::Certificates(reference.to_owned()))? {
            Answer::Certificates(pem) if !pem.trim().is_empty() => Ok(pem),
            _ => Err(of_another_kind("certificates")),
        }
    }

    /// The data of a ConfigMap.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn config_map(&self, name: &ObjectName) -> Result<Arc<BTreeMap<String, String>>, Stop> {
        match self.answer(Question::ConfigMap(name.clone()))? {
            Answer::ConfigMap(data) => Ok(data),
            _ => Err(of_another_kind("a ConfigMap")),
        }
    }

    /// The labels of a namespace.
    ///
    /// # Errors
    /// [`Stop`]; that a namespace cannot be read is never "it has no labels".
    pub fn namespace_labels(&self, name: &str) -> Result<Arc<BTreeMap<String, String>>, Stop> {
        match self.answer(Question::Namespace(name.to_owned()))? {
            Answer::Labels(labels) => Ok(labels),
            _ => Err(of_another_kind("labels")),
        }
    }
}

/// A fault of whoever answers, which must not become a verdict.
fn of_another_kind(expected: &str) -> Stop {
    CouldNot::new(CouldNotReason::Unusable, format!("expected {expected} as the answer, found another kind"))
        .into()
}
