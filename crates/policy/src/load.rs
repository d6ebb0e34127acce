//! Files of policies: documents, and what each of them is.
//!
//! [`KINDS`] is the table of what is read. A kind of a policy's group which does not stand there is an error, since a
//! policy that is passed over refuses nothing; other kinds are resources, for whoever wants to judge them.

use serde_json::Value;

use crate::cluster_image::{ClusterImagePolicy, PolicyController, Settings, TrustRootObject};
use crate::evaluate::{Policy, PolicySet};
use crate::kyverno;
use crate::list::objects_of;
use crate::own;
use crate::pattern::Glob;
use crate::read::ReadError;

/// The largest document, in bytes.
const MAX_DOCUMENT: usize = 1 << 20;
/// The most documents of one text, those within lists included.
const MAX_DOCUMENTS: usize = 1000;

/// One object of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Which document of the text it is, or is in, counted from 0.
    pub index: usize,
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its `kind`.
    pub kind: String,
    /// All of it.
    pub value: Value,
}

impl Document {
    fn of(index: usize, value: Value) -> Result<Self, ReadError> {
        let text = |name: &str| match value.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            other => {
                let found = other.map_or_else(|| "nothing".to_owned(), Value::to_string);
                Err(ReadError::new(
                    format!("document {}.{name}", index + 1),
                    format!("expected a text, found {found}"),
                ))
            }
        };
        Ok(Self { index, api_version: text("apiVersion")?, kind: text("kind")?, value })
    }

    /// What it is called in errors: `ClusterPolicy/check-images`.
    #[must_use]
    pub fn title(&self) -> String {
        match self.value.pointer("/metadata/name").and_then(Value::as_str) {
            Some(name) => format!("{}/{name}", self.kind),
            None => format!("document {} ({})", self.index + 1, self.kind),
        }
    }

    pub(crate) fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

/// The objects of a text in YAML or JSON, those of a list one by one.
///
/// # Errors
/// [`ReadError`]: limits, what is no YAML, and what has no `apiVersion` and `kind`.
pub fn read_documents(text: &str) -> Result<Vec<Document>, ReadError> {
    let mut documents = Vec::new();
    for (index, document) in split(text).into_iter().enumerate() {
        let path = || format!("document {}", index + 1);
        if index >= MAX_DOCUMENTS {
            return Err(too_many());
        }
        if document.len() > MAX_DOCUMENT {
            let message = format!("expected at most {MAX_DOCUMENT} bytes, found {}", document.len());
            return Err(ReadError::new(path(), message));
        }
        let value: Value = serde_saphyr::from_str(&document)
            .map_err(|error| ReadError::new(path(), format!("expected YAML: {error}")))?;
        if value.is_null() {
            continue;
        }
        let objects = objects_of(value, MAX_DOCUMENTS)
            .map_err(|message| ReadError::new(format!("{}.items", path()), message))?;
        for object in objects {
            documents.push(Document::of(index, object)?);
        }
        if documents.len() > MAX_DOCUMENTS {
            return Err(too_many());
        }
    }
    Ok(documents)
}

fn too_many() -> ReadError {
    ReadError::new("documents", format!("expected at most {MAX_DOCUMENTS} objects, found more"))
}

/// The documents of a text, empty ones left out. A line that begins with `---` or `...` ends a document wherever it
/// stands, as in YAML; more than that and it is something else, such as PEM.
fn split(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
        let rest = ["---", "..."].iter().find_map(|marker| {
            line.strip_prefix(marker).filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
        });
        match (rest, documents.last_mut()) {
            (Some(rest), _) => documents.push(format!("{rest}\n")),
            (None, Some(document)) => {
                document.push_str(line);
                document.push('\n');
            }
            (None, None) => {}
        }
    }
    let says_nothing = |document: &String| {
        document.lines().map(str::trim_start).all(|line| line.is_empty() || line.starts_with('#'))
    };
    documents.retain(|document| !says_nothing(document));
    documents
}

/// What a document is.
enum Object {
    Policy(Box<dyn Policy>),
    Exception(kyverno::PolicyException),
    OwnException(own::PolicyException),
    ClusterImage(Box<ClusterImagePolicy>),
    TrustRoot(TrustRootObject),
}

/// A kind that is read.
struct Kind {
    group: &'static str,
    kind: &'static str,
    read: fn(&Value) -> Result<Object, ReadError>,
}

/// What is read, and by whom. Each language checks the version of its API itself.
const KINDS: &[Kind] = &[
    Kind {
        group: "countersign.dev",
        kind: "ImagePolicy",
        read: |value| policy(own::ImagePolicy::read(value)),
    },
    Kind {
        group: "countersign.dev",
        kind: "PolicyException",
        read: |value| own::PolicyException::read(value).map(Object::OwnException),
    },
    Kind {
        group: "kyverno.io",
        kind: "ClusterPolicy",
        read: |value| policy(kyverno::ClusterPolicy::read(value)),
    },
    Kind { group: "kyverno.io", kind: "Policy", read: |value| policy(kyverno::ClusterPolicy::read(value)) },
    Kind {
        group: "kyverno.io",
        kind: "PolicyException",
        read: |value| kyverno::PolicyException::read(value).map(Object::Exception),
    },
    Kind {
        group: "policies.kyverno.io",
        kind: "ImageValidatingPolicy",
        read: |value| policy(kyverno::ImageValidatingPolicy::read(value)),
    },
    Kind {
        group: "policies.kyverno.io",
        kind: "NamespacedImageValidatingPolicy",
        read: |value| policy(kyverno::ImageValidatingPolicy::read(value)),
    },
    Kind {
        group: "policies.kyverno.io",
        kind: "PolicyException",
        read: |value| kyverno::PolicyException::read(value).map(Object::Exception),
    },
    Kind {
        group: "policy.sigstore.dev",
        kind: "ClusterImagePolicy",
        read: |value| ClusterImagePolicy::read(value).map(|policy| Object::ClusterImage(Box::new(policy))),
    },
    Kind {
        group: "policy.sigstore.dev",
        kind: "TrustRoot",
        read: |value| TrustRootObject::read(value).map(Object::TrustRoot),
    },
];

/// The groups of which every kind is read, or is an error.
const GROUPS: [&str; 4] = ["countersign.dev", "kyverno.io", "policies.kyverno.io", "policy.sigstore.dev"];

fn policy<P: Policy + 'static>(read: Result<P, ReadError>) -> Result<Object, ReadError> {
    Ok(Object::Policy(Box::new(read?)))
}

/// What is in a file of policies. The policies themselves are taken out together, as a set: those of one language alone would
/// leave others out without a word.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The policies of languages in which each stands for itself.
    policies: Vec<Box<dyn Policy>>,
    /// policy-controller's policies, which hold together.
    cluster_image: Vec<ClusterImagePolicy>,
    /// Kyverno's exceptions.
    pub exceptions: Vec<kyverno::PolicyException>,
    /// Countersign's own exceptions.
    pub own_exceptions: Vec<own::PolicyException>,
    /// Trust roots, some of which somebody has to fetch.
    pub trust_roots: Vec<TrustRootObject>,
    /// What is of no policy's group.
    pub resources: Vec<Document>,
}

impl Loaded {
    /// All policies, one by one.
    pub fn policies(&self) -> impl Iterator<Item = &dyn Policy> {
        let together = self.cluster_image.iter().map(|policy| policy as &dyn Policy);
        self.policies.iter().map(|policy| &**policy).chain(together)
    }

    /// Adds what is in another file.
    pub fn extend(&mut self, other: Self) {
        let Self { policies, cluster_image, exceptions, own_exceptions, trust_roots, resources } = other;
        self.policies.extend(policies);
        self.cluster_image.extend(cluster_image);
        self.exceptions.extend(exceptions);
        self.own_exceptions.extend(own_exceptions);
        self.trust_roots.extend(trust_roots);
        self.resources.extend(resources);
    }

    /// Adds a policy that stands for itself.
    pub fn push(&mut self, policy: Box<dyn Policy>) {
        self.policies.push(policy);
    }

    /// The policies with the exceptions that may be made: our own, and Kyverno's of namespaces that match one of these.
    /// Each policy is about what it names, wherever that is: for images and files, where there is no cluster.
    #[must_use]
    pub fn into_policy_set(mut self, namespaces: &[Glob]) -> PolicySet {
        self.policies.extend(self.cluster_image.drain(..).map(|policy| Box::new(policy) as Box<dyn Policy>));
        PolicySet::new(self.policies).excepting(self.exceptions, namespaces).excusing(self.own_exceptions)
    }

    /// The same in a cluster, where policy-controller's policies hold together, as that is set.
    #[must_use]
    pub fn into_policy_set_of_cluster(mut self, namespaces: &[Glob], settings: Settings) -> PolicySet {
        let together = PolicyController::with(std::mem::take(&mut self.cluster_image), settings);
        self.policies.extend(together.map(|policy| Box::new(policy) as Box<dyn Policy>));
        self.into_policy_set(namespaces)
    }
}

/// Reads documents, each by its kind.
///
/// # Errors
/// All that is wrong with any of them, each with the field and the object it is in.
pub fn load(documents: Vec<Document>) -> Result<Loaded, Vec<ReadError>> {
    let mut loaded = Loaded::default();
    let mut errors = Vec::new();
    for document in documents {
        if !GROUPS.contains(&document.group()) {
            loaded.resources.push(document);
            continue;
        }
        match read(&document) {
            Ok(Object::Policy(policy)) => loaded.policies.push(policy),
            Ok(Object::Exception(exception)) => loaded.exceptions.push(exception),
            Ok(Object::OwnException(exception)) => loaded.own_exceptions.push(exception),
            Ok(Object::ClusterImage(policy)) => loaded.cluster_image.push(*policy),
            Ok(Object::TrustRoot(root)) => loaded.trust_roots.push(root),
            Err(error) => {
                errors.push(ReadError::new(format!("{}: {}", document.title(), error.path), error.message))
            }
        }
    }
    if errors.is_empty() { Ok(loaded) } else { Err(errors) }
}

fn read(document: &Document) -> Result<Object, ReadError> {
    let group = document.group();
    let known = KINDS.iter().find(|known| known.group == group && known.kind == document.kind);
    let Some(known) = known else {
        let kinds: Vec<&str> =
            KINDS.iter().filter(|known| known.group == group).map(|known| known.kind).collect();
        let expected = match kinds.as_slice() {
            [] => format!("no object of {group}, which cannot be read here"),
            kinds => format!("a kind of {group} that is about images: {}", kinds.join(", ")),
        };
        return Err(ReadError::new("kind", format!("expected {expected}; found {}", document.kind)));
    };
    (known.read)(&document.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(usize, String)> {
        read_documents(text).unwrap().into_iter().map(|document| (document.index, document.kind)).collect()
    }

    #[test]
    fn documents_are_told_apart_and_lists_are_opened() {
        let text = "# nothing\n---\napiVersion: v1\nkind: A\ndata: |\n  ---\n  -----BEGIN PUBLIC KEY-----\n---\n# only words\n\
                    --- {apiVersion: v1, kind: B}\n...\n---\n\
                    {\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{\"apiVersion\": \"v1\", \"kind\": \"C\"}]}\n";
        let found = kinds(text);
        assert_eq!(found, [(0, "A".into()), (1, "B".into()), (2, "C".into())]);
        let pods =
            "{apiVersion: v1, kind: PodList, items: [{metadata: {name: a}}, {apiVersion: v1, kind: Pod}]}";
        assert_eq!(kinds(pods), [(0, "Pod".into()), (0, "Pod".into())]);
        let data = read_documents(text).unwrap().remove(0).value["data"].clone();
        assert_eq!(data, "---\n-----BEGIN PUBLIC KEY-----\n");
        assert!(kinds("").is_empty());
    }

    #[test]
    fn what_is_no_object_is_an_error_with_its_place() {
        for (text, path) in [
            ("a: 1", "document 1.apiVersion"),
            ("{apiVersion: v1, kind: A}\n---\napiVersion: v1", "document 2.kind"),
            ("apiVersion: v1\nkind: 3", "document 1.kind"),
            ("{apiVersion: v1, kind: List, items: {}}", "document 1.items"),
            ("{apiVersion: v1, kind: List, items: [1]}", "document 1.apiVersion"),
            ("[1", "document 1"),
            ("kind: A\nkind: B\napiVersion: v1", "document 1"),
            ("just words", "document 1.apiVersion"),
        ] {
            assert_eq!(read_documents(text).unwrap_err().path, path, "{text}");
        }
    }

    #[test]
    fn limits_hold_before_anything_is_read() {
        let large = format!("a: {}", "b".repeat(MAX_DOCUMENT));
        assert!(read_documents(&large).unwrap_err().message.contains("bytes"));
        let many = "--- {apiVersion: v1, kind: A}\n".repeat(MAX_DOCUMENTS + 1);
        assert!(read_documents(&many).unwrap_err().message.contains("objects"));
        let items = "{apiVersion: v1, kind: A},".repeat(MAX_DOCUMENTS + 1);
        let list = format!("{{apiVersion: v1, kind: List, items: [{items}]}}");
        assert!(read_documents(&list).unwrap_err().message.contains("objects"));
        let deep = "[".repeat(100_000);
        assert!(read_documents(&deep).is_err());
        // Each line doubles what the one before names.
        let mut laughs = String::from("apiVersion: v1\nkind: A\na0: &a0 [x, x]\n");
        for level in 1..40 {
            laughs.push_str(&format!("a{level}: &a{level} [*a{0}, *a{0}]\n", level - 1));
        }
        assert!(read_documents(&laughs).is_err());
    }

    #[test]
    fn a_kind_of_a_policy_group_that_is_not_read_is_an_error_and_other_kinds_are_resources() {
        let text = "{apiVersion: v1, kind: Pod}\n--- {apiVersion: apps/v1, kind: Deployment}\n";
        assert_eq!(load(read_documents(text).unwrap()).unwrap().resources.len(), 2);
        let text = "{apiVersion: kyverno.io/v2, kind: CleanupPolicy, metadata: {name: x}}\n\
                    --- {apiVersion: policies.kyverno.io/v1, kind: MutatingPolicy}\n\
                    --- {apiVersion: kyverno.io/v1, kind: ClusterPolicy, metadata: {name: z}, spec: {rulez: []}}\n";
        let errors = load(read_documents(text).unwrap()).unwrap_err();
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(
            paths,
            ["CleanupPolicy/x: kind", "document 2 (MutatingPolicy): kind", "ClusterPolicy/z: spec.rulez"]
        );
    }
}
