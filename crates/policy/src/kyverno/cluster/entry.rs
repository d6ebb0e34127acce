//! One entry of `verifyImages`, read: which images, who must have signed, what must be said of them.

use std::borrow::Cow;

use countersign_registry::{Reference, Repository};
use serde_json::Value;

use super::attestors::{Reader, Set, repository};
use super::context::{check_conditions, has_variables, substituted};
use super::references::References;
use super::schema::{Attestation, Attestor, AttestorSet, FailureAction, RegistryCredentials, VerifyImages};
use super::schema::{KeylessAttestor, KeysAttestor};
use crate::access::{Access, ObjectName};
use crate::ask::Stop;
use crate::kyverno::Context;
use crate::kyverno::conditions::Conditions;
use crate::lint::Lint;
use crate::question::{CouldNot, CouldNotReason};
use crate::read::{ReadError, from_value};

/// An entry as it is written, and what is known of it before a request comes.
#[derive(Debug, Clone)]
pub(super) struct Written {
    path: String,
    namespace: String,
    entry: VerifyImages,
    /// What may have variables that are replaced before the entry is read. Conditions are evaluated with what their
    /// attestation says, later.
    document: Value,
    references: Option<References>,
    ready: Option<Entry>,
}

/// What an entry is about, and what it asks.
type Prepared<'a> = (Cow<'a, References>, Cow<'a, Entry>);

/// An entry, ready for use.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Another action than the policy's.
    pub(super) action: Option<FailureAction>,
    /// All of these must have signed the image.
    pub(super) attestors: Vec<Set>,
    /// All of these must be said of it.
    pub(super) attestations: Vec<Said>,
    /// What must not be said by all together, and the message for it.
    pub(super) deny: Option<(Conditions, String)>,
    /// Whether an image that passes is pinned to its digest.
    pub(super) pin: bool,
    /// Whether an image must be pinned.
    pub(super) must_be_pinned: bool,
}

/// What must be said of an image.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// The name of the predicate in [`Entry::deny`].
    pub(super) name: String,
    /// The type of the predicate.
    pub(super) kind: String,
    /// Who must say it; never empty.
    pub(super) attestors: Vec<Set>,
    /// What must hold of each statement.
    pub(super) conditions: Vec<Conditions>,
}

impl Written {
    /// Reads an entry of a policy in this namespace, as far as it goes without a request.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(
        value: &Value,
        namespace: &str,
        path: &str,
        lints: &mut Vec<Lint>,
    ) -> Result<Self, ReadError> {
        let entry: VerifyImages = from_value(value).map_err(|e| e.within(path))?;
        let document = without_conditions(value);
        let names = has_variables(&Value::from(
            [entry.image_references.clone(), entry.skip_image_references.clone(), vec![entry.image.clone()]]
                .concat(),
        ));
        let references = match names {
            true => None,
            false => Some(References::read(&entry, path, lints)?),
        };
        let ready = match has_variables(&document) {
            true => None,
            false => Some(Entry::read(&entry, namespace, path, lints)?),
        };
        if ready.is_none() {
            check_shape(&entry, path)?;
        }
        Ok(Self {
            path: path.to_owned(),
            namespace: namespace.to_owned(),
            entry,
            document,
            references,
            ready,
        })
    }

    /// Another action than the policy's.
    pub(super) const fn action(&self) -> Option<FailureAction> {
        self.entry.failure_action
    }

    /// Whether it may be about an image.
    pub(super) fn may_be_about(&self, name: &str) -> bool {
        match (&self.references, Reference::parse(name)) {
            (Some(references), Ok(image)) => references.matches(&image, name),
            _ => true,
        }
    }

    /// Whether it pins images.
    pub(super) const fn pins(&self) -> bool {
        self.entry.mutate_digest
    }

    /// What registries may be asked with.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn access(&self) -> Result<Access, ReadError> {
        let path = format!("{}.imageRegistryCredentials", self.path);
        self.entry
            .image_registry_credentials
            .as_ref()
            .map_or(Ok(Access::default()), |given| access(given, &self.namespace, &path))
    }

    /// The entry for a request.
    ///
    /// # Errors
    /// [`Stop`]: its variables have no value, or it cannot be used with the ones they have.
    pub(super) fn prepare(&self, context: &Context) -> Result<Prepared<'_>, Stop> {
        if let (Some(references), Some(ready)) = (&self.references, &self.ready) {
            return Ok((Cow::Borrowed(references), Cow::Borrowed(ready)));
        }
        let unusable =
            |error: ReadError| Stop::from(CouldNot::new(CouldNotReason::Unusable, error.to_string()));
        let document = substituted(&self.document, context)?;
        let mut entry: VerifyImages = from_value(&document).map_err(unusable)?;
        for (entry, written) in entry.attestations.iter_mut().zip(&self.entry.attestations) {
            entry.conditions.clone_from(&written.conditions);
        }
        entry.validate.clone_from(&self.entry.validate);
        let mut lints = Vec::new();
        let references = References::read(&entry, &self.path, &mut lints).map_err(unusable)?;
        let ready = Entry::read(&entry, &self.namespace, &self.path, &mut lints).map_err(unusable)?;
        Ok((Cow::Owned(references), Cow::Owned(ready)))
    }
}

/// The document without what is evaluated with a predicate.
pub(super) fn without_conditions(value: &Value) -> Value {
    let mut document = value.clone();
    if let Value::Object(fields) = &mut document {
        fields.remove("validate");
        if let Some(Value::Array(attestations)) = fields.get_mut("attestations") {
            for attestation in attestations {
                if let Value::Object(attestation) = attestation {
                    attestation.remove("conditions");
                }
            }
        }
    }
    document
}

/// Who is named at all, which variables do not change.
fn check_shape(entry: &VerifyImages, path: &str) -> Result<(), ReadError> {
    let has_older = entry.older().is_some();
    if entry.required && entry.attestors.is_empty() && entry.attestations.is_empty() && !has_older {
        let message = "expected attestors or attestations, found neither: nobody would have to sign. With \
                       required: false an entry may only ask for digests";
        return Err(ReadError::new(path, message));
    }
    if entry.attestors.is_empty()
        && entry.attestations.is_empty()
        && !has_older
        && !entry.mutate_digest
        && !entry.verify_digest
    {
        return Err(ReadError::new(path, "expected something to ask for, found nothing"));
    }
    for (index, attestation) in entry.attestations.iter().enumerate() {
        if attestation.attestors.is_empty() && !has_older {
            let path = format!("{path}.attestations[{index}].attestors");
            let message =
                "expected who must have said it, found nobody: Kyverno would believe anybody's statement";
            return Err(ReadError::new(path, message));
        }
    }
    let has_sets = entry.attestors.iter().chain(entry.attestations.iter().flat_map(|said| &said.attestors));
    if let Some(empty) = has_sets.into_iter().find(|set| set.entries.is_empty()) {
        let found = empty.count.map_or_else(String::new, |count| format!(" for a count of {count}"));
        let message =
            format!("expected entries in every attestor set, found none{found}: nobody would have to sign");
        return Err(ReadError::new(format!("{path}.attestors"), message));
    }
    Ok(())
}

impl VerifyImages {
    /// The attestor of the older form, if it is used.
    fn older(&self) -> Option<AttestorSet> {
        let keyless = !(self.subject.is_empty() && self.issuer.is_empty() && self.roots.is_empty());
        if self.key.is_empty() && !keyless {
            return None;
        }
        let keys = (!self.key.is_empty())
            .then(|| KeysAttestor { public_keys: self.key.clone(), ..KeysAttestor::default() });
        let keyless = keyless.then(|| KeylessAttestor {
            subject: self.subject.clone(),
            issuer: self.issuer.clone(),
            roots: self.roots.clone(),
            additional_extensions: self.additional_extensions.clone(),
            // The form has no place for a log, and means the one that is trusted.
            rekor: None,
            ..KeylessAttestor::default()
        });
        Some(AttestorSet { count: None, entries: vec![Attestor { keys, keyless, ..Attestor::default() }] })
    }
}

impl Entry {
    pub(super) fn read(
        written: &VerifyImages,
        namespace: &str,
        path: &str,
        lints: &mut Vec<Lint>,
    ) -> Result<Self, ReadError> {
        check_shape(written, path)?;
        let at: Option<Repository> = match written.repository.as_str() {
            "" => None,
            text => Some(repository(text, &format!("{path}.repository"))?),
        };
        let mut reader = Reader {
            kind: written.kind,
            namespace,
            repository: at,
            annotations: &written.annotations,
            lints: Vec::new(),
            count: 0,
            names_no_log: false,
        };
        let mut attestors = reader.sets(&written.attestors, &format!("{path}.attestors"))?;
        let older = written.older().map(|set| reader.older(&set, path)).transpose()?;
        if written.attestations.is_empty() {
            attestors.extend(older.clone());
        }
        let mut attestations = Vec::new();
        for (index, said) in written.attestations.iter().enumerate() {
            let path = format!("{path}.attestations[{index}]");
            attestations.push(read_said(&mut reader, said, older.as_ref(), &path)?);
        }
        lints.append(&mut reader.lints);
        let asks_for_signers = !attestors.is_empty() || !attestations.is_empty();
        if !written.required && asks_for_signers {
            lints.push(Lint::new(
                format!("{path}.required"),
                "always_required",
                "an image that the entry is about is always verified; required: false changes nothing here",
            ));
        }
        let deny = written.validate.as_ref().and_then(|validate| {
            Some((validate.deny.as_ref()?.conditions.clone(), validate.message.clone()))
        });
        if written.validate.is_some() && deny.is_none() {
            return Err(ReadError::new(format!("{path}.validate"), "expected deny with conditions"));
        }
        if let Some((conditions, _)) = &deny {
            check_conditions(conditions, &format!("{path}.validate.deny.conditions"))?;
        }
        if let (Some(_), Some(path)) =
            (&deny, unnamed(written).map(|index| format!("{path}.attestations[{index}]")))
        {
            let message = "expected a name by which validate can speak of the attestation, found none or one that is taken";
            return Err(ReadError::new(format!("{path}.name"), message));
        }
        Ok(Self {
            action: written.failure_action,
            attestors,
            attestations,
            deny,
            pin: written.mutate_digest,
            must_be_pinned: written.verify_digest,
        })
    }
}

/// The first attestation without a name of its own.
fn unnamed(entry: &VerifyImages) -> Option<usize> {
    let taken = |name: &str| matches!(name, "" | "request" | "images");
    let twice = |name: &str| entry.attestations.iter().filter(|said| said.name == name).count() > 1;
    entry.attestations.iter().position(|said| taken(&said.name) || twice(&said.name))
}

fn read_said(
    reader: &mut Reader<'_>,
    said: &Attestation,
    older: Option<&Set>,
    path: &str,
) -> Result<Said, ReadError> {
    let kind = match (said.kind.as_str(), said.predicate_type.as_str()) {
        ("", "") => return Err(ReadError::new(format!("{path}.type"), "expected the type of the predicate")),
        (kind, "") | ("", kind) => kind,
        (kind, older) if kind == older => kind,
        _ => {
            let message = "expected type or predicateType, found both, and they differ";
            return Err(ReadError::new(format!("{path}.type"), message));
        }
    };
    for (index, conditions) in said.conditions.iter().enumerate() {
        check_conditions(conditions, &format!("{path}.conditions[{index}]"))?;
    }
    let mut attestors = reader.sets(&said.attestors, &format!("{path}.attestors"))?;
    attestors.extend(older.cloned());
    Ok(Said {
        name: said.name.clone(),
        kind: kind.to_owned(),
        attestors,
        conditions: said.conditions.clone(),
    })
}

/// What registries may be asked with. A Secret without a namespace is one of the namespace that this runs in, of a
/// namespaced policy one of its own.
///
/// # Errors
/// [`ReadError`].
pub(super) fn access(given: &RegistryCredentials, namespace: &str, path: &str) -> Result<Access, ReadError> {
    let mut access = Access { insecure: given.allow_insecure_registry, ..Access::default() };
    access.providers.extend(given.providers.iter().map(|name| crate::access::Provider::from(*name)));
    for (index, secret) in given.secrets.iter().enumerate() {
        let (of, name) = secret.split_once('/').unwrap_or((namespace, secret));
        let wrong = |message: String| Err(ReadError::new(format!("{path}.secrets[{index}]"), message));
        if name.is_empty() || name.contains('/') {
            return wrong(format!("expected the name of a Secret or namespace/name, found \"{secret}\""));
        }
        if !namespace.is_empty() && of != namespace {
            return wrong(format!(
                "expected a Secret of the policy's own namespace {namespace}, found {secret}"
            ));
        }
        access.secrets.insert(ObjectName { namespace: of.to_owned(), name: name.to_owned() });
    }
    Ok(access)
}
