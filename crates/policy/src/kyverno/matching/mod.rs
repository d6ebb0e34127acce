//! Which requests a rule is about: `match` and `exclude`.

mod written;

use crate::ask::{Ask, Stop};
use crate::kyverno::selector::{LabelSelector, check_pattern, has};
use crate::pattern::Glob;
use crate::read::ReadError;
use crate::request::{Operation, Request};

pub(super) use written::{Block, Filter, Resources};
use written::{OperationName, SubjectKind, SubjectRef};

/// `match` or `exclude`, ready for use. Never empty.
#[derive(Debug, Clone)]
pub(super) struct Matching {
    any: Vec<Selection>,
    all: Vec<Selection>,
}

/// One filter. All that stands in it must hold; never empty.
#[derive(Debug, Clone)]
struct Selection {
    kinds: Vec<KindSelector>,
    names: Vec<Glob>,
    /// The older single name, beside the list.
    name: Option<Glob>,
    namespaces: Vec<Glob>,
    annotations: Vec<(String, String)>,
    selector: Option<LabelSelector>,
    namespace_selector: Option<LabelSelector>,
    operations: Vec<Operation>,
    roles: Vec<String>,
    cluster_roles: Vec<String>,
    subjects: Vec<Subject>,
}

/// `group/version/Kind/subresource`, each with wildcards.
#[derive(Debug, Clone)]
struct KindSelector {
    group: Glob,
    version: Glob,
    kind: Glob,
    /// `None` for the object itself.
    subresource: Option<Glob>,
}

#[derive(Debug, Clone)]
enum Subject {
    User(Glob),
    Group(Glob),
}

impl Matching {
    /// Reads a block; `None` when it is empty.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(block: &Block, path: &str) -> Result<Option<Self>, ReadError> {
        let own = Filter {
            resources: block.resources.clone(),
            roles: block.roles.clone(),
            cluster_roles: block.cluster_roles.clone(),
            subjects: block.subjects.clone(),
        };
        let lists = usize::from(!block.any.is_empty()) + usize::from(!block.all.is_empty());
        if lists + usize::from(!own.is_empty()) > 1 {
            return Err(ReadError::new(path, "expected one of any, all and resources, found several"));
        }
        let read = |filters: &[Filter], list: &str| -> Result<Vec<Selection>, ReadError> {
            let path = |index| format!("{path}.{list}[{index}]");
            filters.iter().enumerate().map(|(index, filter)| Selection::read(filter, &path(index))).collect()
        };
        let any = read(&block.any, "any")?;
        let mut all = read(&block.all, "all")?;
        if !own.is_empty() {
            all.push(Selection::read(&own, path)?);
        }
        Ok(if any.is_empty() && all.is_empty() { None } else { Some(Self { any, all }) })
    }

    /// Whether it is about this request.
    ///
    /// # Errors
    /// [`Stop`]: a namespace's labels are not known. That is not "no".
    pub(super) fn matches(&self, request: &Request, ask: &Ask<'_>) -> Result<bool, Stop> {
        let mut stopped = None;
        for selection in &self.all {
            match selection.matches(request, ask) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(stop) => stopped = stopped.or(Some(stop)),
            }
        }
        let mut found = self.any.is_empty();
        for selection in &self.any {
            match selection.matches(request, ask) {
                Ok(holds) => found |= holds,
                Err(stop) => stopped = stopped.or(Some(stop)),
            }
        }
        match stopped {
            // One of the alternatives is enough.
            Some(_) if found && self.all.is_empty() => Ok(true),
            Some(stop) => Err(stop),
            None => Ok(found),
        }
    }
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.resources.is_empty()
            && self.roles.is_empty()
            && self.cluster_roles.is_empty()
            && self.subjects.is_empty()
    }
}

impl Resources {
    fn is_empty(&self) -> bool {
        self.kinds.is_empty()
            && self.name.is_empty()
            && self.names.is_empty()
            && self.namespaces.is_empty()
            && self.annotations.is_empty()
            && self.selector.is_none()
            && self.namespace_selector.is_none()
            && self.operations.is_empty()
    }
}

impl Selection {
    fn read(filter: &Filter, path: &str) -> Result<Self, ReadError> {
        if filter.is_empty() {
            return Err(ReadError::new(
                path,
                "expected resources, roles, clusterRoles or subjects, found nothing",
            ));
        }
        let resources = &filter.resources;
        let at = |field: &str| format!("{path}.resources.{field}");
        for (selector, field) in
            [(&resources.selector, "selector"), (&resources.namespace_selector, "namespaceSelector")]
        {
            if let Some(selector) = selector {
                selector.check().map_err(|e| ReadError::new(at(field), e))?;
            }
        }
        for (name, value) in &resources.annotations {
            check_pattern(name, value).map_err(|e| ReadError::new(at("annotations"), e))?;
        }
        let kinds = resources
            .kinds
            .iter()
            .map(|kind| KindSelector::parse(kind).map_err(|e| ReadError::new(at("kinds"), e)));
        Ok(Self {
            kinds: kinds.collect::<Result<_, _>>()?,
            names: globs(&resources.names, &at("names"))?,
            name: globs(some(&resources.name), &at("name"))?.pop(),
            namespaces: globs(&resources.namespaces, &at("namespaces"))?,
            annotations: resources.annotations.clone().into_iter().collect(),
            selector: resources.selector.clone(),
            namespace_selector: resources.namespace_selector.clone(),
            operations: resources.operations.iter().map(|name| (*name).into()).collect(),
            roles: filter.roles.clone(),
            cluster_roles: filter.cluster_roles.clone(),
            subjects: filter
                .subjects
                .iter()
                .map(|subject| Subject::read(subject, &format!("{path}.subjects")))
                .collect::<Result<_, _>>()?,
        })
    }

    fn matches(&self, request: &Request, ask: &Ask<'_>) -> Result<bool, Stop> {
        Ok(self.matches_object(request)
            && self.matches_user(request)
            && self.matches_namespace(request, ask)?)
    }

    fn matches_object(&self, request: &Request) -> bool {
        let metadata = |field: &str| written(request).pointer(&format!("/metadata/{field}"));
        let texts = |field: &str| {
            metadata(field).and_then(|found| serde_json::from_value(found.clone()).ok()).unwrap_or_default()
        };
        let name = match request.name.as_str() {
            "" => metadata("generateName").and_then(serde_json::Value::as_str).unwrap_or_default(),
            name => name,
        };
        let annotations = || texts("annotations");
        (self.operations.is_empty() || self.operations.contains(&request.operation))
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.matches(request)))
            && matches_one(&self.names, name)
            && self.name.as_ref().is_none_or(|wanted| wanted.matches(name))
            && matches_one(&self.namespaces, namespace(request))
            && self.annotations.iter().all(|(name, value)| has(&annotations(), name, value))
            && self.selector.as_ref().is_none_or(|selector| selector.matches(&texts("labels")))
    }

    fn matches_user(&self, request: &Request) -> bool {
        let user = &request.user;
        let shares = |wanted: &[String], has: &[String]| {
            wanted.is_empty() || wanted.iter().any(|role| has.contains(role))
        };
        shares(&self.roles, &user.roles)
            && shares(&self.cluster_roles, &user.cluster_roles)
            && (self.subjects.is_empty()
                || self.subjects.iter().any(|subject| match subject {
                    Subject::User(name) => name.matches(&user.name),
                    Subject::Group(name) => user.groups.iter().any(|group| name.matches(group)),
                }))
    }

    /// Last, because it asks.
    fn matches_namespace(&self, request: &Request, ask: &Ask<'_>) -> Result<bool, Stop> {
        let Some(selector) = &self.namespace_selector else { return Ok(true) };
        // Namespaces themselves, and what is in none, are selected by their own labels.
        if request.kind.kind == "Namespace" || request.namespace.is_empty() {
            return Ok(false);
        }
        Ok(selector.matches(&*ask.namespace_labels(&request.namespace)?))
    }
}

/// The namespace that a request is about: of a namespace, itself.
pub(super) fn namespace(request: &Request) -> &str {
    if request.kind.kind == "Namespace" { &request.name } else { &request.namespace }
}

/// The object as it is written in the request: the old one where it is taken away.
pub(super) fn written(request: &Request) -> &serde_json::Value {
    match (&request.object, &request.old_object) {
        (serde_json::Value::Null, Some(old)) => old,
        (object, _) => object,
    }
}

/// Patterns from texts.
///
/// # Errors
/// [`ReadError`].
pub(super) fn globs(texts: &[String], path: &str) -> Result<Vec<Glob>, ReadError> {
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            Glob::wildcard(text).map_err(|e| ReadError::new(format!("{path}[{index}]"), e.to_string()))
        })
        .collect()
}

fn some(text: &String) -> &[String] {
    if text.is_empty() { &[] } else { std::slice::from_ref(text) }
}

/// Whether one of the patterns matches; no patterns ask for nothing.
fn matches_one(patterns: &[Glob], text: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(text))
}

impl KindSelector {
    /// Reads `Kind`, `version/Kind`, `Kind/subresource`, `group/version/Kind`, `version/Kind/subresource` or all four. A
    /// part is a version if it looks like one, or is a star.
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected [group/][version/]Kind[/subresource], found \"{text}\"");
        let mut parts: Vec<&str> = text.split('/').collect();
        let last = parts.pop().ok_or_else(wrong)?;
        parts.extend(last.splitn(2, '.'));
        let (group, version, kind, subresource) = match parts.as_slice() {
            ["*", "*"] => ("*", "*", "*", "*"),
            // Kinds begin with a capital.
            ["*", subresource] if subresource.to_lowercase() == *subresource => ("*", "*", "*", *subresource),
            [kind] => ("*", "*", *kind, ""),
            [version, kind] if is_version(version) => ("*", *version, *kind, ""),
            [kind, subresource] => ("*", "*", *kind, *subresource),
            [version, kind, subresource] if is_version(version) => ("*", *version, *kind, *subresource),
            [group, version, kind] => (*group, *version, *kind, ""),
            [group, version, kind, subresource] => (*group, *version, *kind, *subresource),
            _ => return Err(wrong()),
        };
        let glob = |text: &str| Glob::wildcard(text).map_err(|_| wrong());
        Ok(Self {
            group: glob(group)?,
            version: glob(version)?,
            kind: glob(kind)?,
            subresource: if subresource.is_empty() { None } else { Some(glob(subresource)?) },
        })
    }

    fn matches(&self, request: &Request) -> bool {
        let kind = &request.kind;
        // The core group has no name, and a star stands for it too.
        self.group.matches(&kind.group)
            && self.version.matches(&kind.version)
            && self.kind.matches(&kind.kind)
            && match &self.subresource {
                Some(subresource) => subresource.matches(&request.subresource),
                // A container that is put into a running pod is one of the pod.
                None => matches!(request.subresource.as_str(), "" | "ephemeralcontainers"),
            }
    }
}

/// `v1`, `v2beta1`, `v1alpha3`, or a star.
fn is_version(part: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let numbered = |rest: &str| match rest.split_once("alpha").or_else(|| rest.split_once("beta")) {
        Some((major, minor)) => digits(major) && digits(minor),
        None => digits(rest),
    };
    part == "*" || part.strip_prefix('v').is_some_and(numbered)
}

impl Subject {
    fn read(subject: &SubjectRef, path: &str) -> Result<Self, ReadError> {
        let glob = |text: &str| Glob::wildcard(text).map_err(|e| ReadError::new(path, e.to_string()));
        Ok(match subject.kind {
            SubjectKind::User => Self::User(glob(&subject.name)?),
            SubjectKind::Group => Self::Group(glob(&subject.name)?),
            SubjectKind::ServiceAccount if subject.namespace.is_empty() || subject.name.is_empty() => {
                return Err(ReadError::new(path, "expected name and namespace of a service account"));
            }
            SubjectKind::ServiceAccount => {
                Self::User(glob(&format!("system:serviceaccount:{}:{}", subject.namespace, subject.name))?)
            }
        })
    }
}

impl From<OperationName> for Operation {
    fn from(name: OperationName) -> Self {
        match name {
            OperationName::Create => Self::Create,
            OperationName::Update => Self::Update,
            OperationName::Delete => Self::Delete,
            OperationName::Connect => Self::Connect,
        }
    }
}
