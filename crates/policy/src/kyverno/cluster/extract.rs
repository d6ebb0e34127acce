//! The images of a request: those of its pods, and what extractors find elsewhere.

use std::collections::BTreeMap;

use countersign_registry::Reference;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::references;
use super::schema::Extractor;
use crate::images::{ContainerKind, ImageUse, ImagesError, MAX_IMAGES, pod_spec_pointer, workload_images};
use crate::kyverno::jmespath::{Budget, Expression};
use crate::read::ReadError;
use crate::request::{Operation, Request};

/// What images are called together that have no name for that.
const CUSTOM: &str = "custom";

/// Extractors of a rule, by the kind of the objects they are for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extractors(BTreeMap<String, Vec<Prepared>>);

#[derive(Debug, Clone)]
struct Prepared {
    /// The way to the objects that hold images: names, and `*` for all members.
    path: Vec<String>,
    /// The field that holds the image.
    value: String,
    /// The field by which an image is called.
    key: String,
    /// What the images are called together.
    name: String,
    /// What makes an image's name of what is written there.
    expression: Option<Expression>,
}

/// An image with the name of the list that it is in, for `images.<list>.<name>`.
#[derive(Debug, Clone)]
pub(super) struct Extracted {
    /// The image.
    pub(super) image: ImageUse,
    /// `containers`, `initContainers`, or the extractor's name.
    pub(super) list: String,
}

impl Extractors {
    /// Reads the extractors of a rule.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(written: &BTreeMap<String, Vec<Extractor>>, path: &str) -> Result<Self, ReadError> {
        let mut all = BTreeMap::new();
        for (kind, extractors) in written {
            let mut prepared = Vec::new();
            for (index, extractor) in extractors.iter().enumerate() {
                prepared.push(Prepared::read(extractor, &format!("{path}.{kind}[{index}]"))?);
            }
            all.insert(kind.clone(), prepared);
        }
        Ok(Self(all))
    }

    /// Those that find images at these paths, by the kind of the objects.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn at(paths: &BTreeMap<String, Vec<String>>, path: &str) -> Result<Self, ReadError> {
        let mut all = BTreeMap::new();
        for (kind, paths) in paths {
            let here = format!("{path}.{kind}");
            if paths.is_empty() {
                return Err(ReadError::new(
                    here,
                    "expected at least one path such as /spec/image, found none",
                ));
            }
            let mut prepared = Vec::new();
            for (index, written) in paths.iter().enumerate() {
                let (way, value) =
                    way(written, "").map_err(|e| ReadError::new(format!("{here}[{index}]"), e))?;
                let (key, name) = (String::new(), CUSTOM.to_owned());
                prepared.push(Prepared { path: way, value, key, name, expression: None });
            }
            all.insert(kind.clone(), prepared);
        }
        Ok(Self(all))
    }

    /// The images of a request that are to be judged: for a change only those that were not there before.
    ///
    /// # Errors
    /// In words, what cannot be read.
    pub(crate) fn judged_images(&self, request: &Request, now: Timestamp) -> Result<Vec<ImageUse>, String> {
        let images = self.images(&request.object, now)?;
        Ok(self.judged(&images, request, now).into_iter().map(|found| found.image).collect())
    }

    /// The kinds they are for that are no workloads.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = String> {
        self.0.keys().filter(|kind| pod_spec_pointer(kind).is_none()).cloned()
    }

    /// Whether an extractor makes a name of what is written, so that what is written cannot be replaced.
    pub(super) fn change_names(&self) -> bool {
        self.0.values().flatten().any(|extractor| extractor.expression.is_some())
    }

    /// Of the images of a request those that are to be judged: for a change only the ones that were not there before.
    pub(super) fn judged(&self, images: &[Extracted], request: &Request, now: Timestamp) -> Vec<Extracted> {
        let old = request.old_object.as_ref().filter(|_| request.operation == Operation::Update);
        // What was there and cannot be read counts as not there: then everything is judged.
        let before = old.and_then(|old| self.images(old, now).ok()).unwrap_or_default();
        let is_new = |found: &&Extracted| !before.iter().any(|old| old.is_same(found));
        images.iter().filter(is_new).cloned().collect()
    }

    /// The images of an object. What an extractor finds where a pod has an image takes that one's place.
    ///
    /// # Errors
    /// [`ImagesError`], or in words what an extractor did not understand.
    pub(super) fn images(&self, object: &Value, now: Timestamp) -> Result<Vec<Extracted>, String> {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        let mut found = Vec::new();
        for extractor in self.0.get(kind).into_iter().flatten() {
            let mut walk = Walk { extractor, now, found: &mut found };
            walk.descend(object, &extractor.path, "")?;
        }
        for image in workload_images(object).map_err(|e| e.to_string())? {
            if !found.iter().any(|other: &Extracted| other.image.pointer == image.pointer) {
                found.push(Extracted { list: image.kind.code().to_owned(), image });
            }
        }
        Ok(found)
    }
}

impl Extracted {
    fn is_same(&self, other: &Self) -> bool {
        let of = |found: &Self| (found.list.clone(), found.image.name.clone(), found.image.image.clone());
        of(self) == of(other)
    }
}

impl Prepared {
    fn read(written: &Extractor, path: &str) -> Result<Self, ReadError> {
        let wrong = |field: &str, message: String| ReadError::new(format!("{path}.{field}"), message);
        let (fields, value) = way(&written.path, &written.value).map_err(|e| wrong("path", e))?;
        let expression = match written.jmes_path.as_str() {
            "" => None,
            text => Some(Expression::parse(text).map_err(|e| wrong("jmesPath", e.to_string()))?),
        };
        let name = if written.name.is_empty() { CUSTOM } else { &written.name };
        Ok(Self { path: fields, value, key: written.key.clone(), name: name.to_owned(), expression })
    }
}

/// The way to the objects that hold images, and the field of the image: the last of the path, unless it is said.
fn way(path: &str, value: &str) -> Result<(Vec<String>, String), String> {
    let Some(rest) = path.strip_prefix('/').filter(|rest| !rest.is_empty()) else {
        return Err(format!("expected a path such as /spec/steps/*, found \"{path}\""));
    };
    let mut fields: Vec<String> = rest.split('/').map(str::to_owned).collect();
    let value = match value {
        "" => fields.pop().unwrap_or_default(),
        value => value.to_owned(),
    };
    if value == "*" || value.is_empty() || fields.iter().any(String::is_empty) {
        return Err("expected the image's field at the end, or its name in value".into());
    }
    Ok((fields, value))
}

/// One extractor on its way through an object.
struct Walk<'a> {
    extractor: &'a Prepared,
    now: Timestamp,
    found: &'a mut Vec<Extracted>,
}

impl Walk<'_> {
    /// What is not there has no images. What is there and is of another form is an error.
    fn descend(&mut self, at: &Value, path: &[String], pointer: &str) -> Result<(), String> {
        if at.is_null() {
            return Ok(());
        }
        let step = |member: &str| format!("{pointer}/{}", member.replace('~', "~0").replace('/', "~1"));
        match (path.split_first(), at) {
            (None, Value::Object(holder)) => self.take(holder, &step(&self.extractor.value)),
            (Some((first, rest)), Value::Array(members)) if first == "*" => members
                .iter()
                .enumerate()
                .try_for_each(|(index, member)| self.descend(member, rest, &step(&index.to_string()))),
            (Some((first, rest)), Value::Object(members)) if first == "*" => {
                members.iter().try_for_each(|(name, member)| self.descend(member, rest, &step(name)))
            }
            (Some((first, rest)), Value::Object(members)) => {
                members.get(first).map_or(Ok(()), |member| self.descend(member, rest, &step(first)))
            }
            _ => Err(format!("{pointer}: expected an object for the image extractor, found another value")),
        }
    }

    fn take(&mut self, holder: &Map<String, Value>, pointer: &str) -> Result<(), String> {
        let wrong = |expected: &str| Err(format!("{pointer}: expected {expected}, found another value"));
        let written = match holder.get(&self.extractor.value) {
            None | Some(Value::Null) => return Ok(()),
            Some(written @ Value::String(_)) => written,
            Some(_) => return wrong("the name of an image"),
        };
        let image = match &self.extractor.expression {
            None => written.clone(),
            Some(expression) => expression
                .search(written, self.now, &Budget::default())
                .map_err(|e| format!("{pointer}: {e}"))?,
        };
        let Value::String(image) = image else { return wrong("a text of jmesPath") };
        let name = match self.extractor.key.as_str() {
            "" => pointer.to_owned(),
            key => match holder.get(key) {
                Some(Value::String(name)) => name.clone(),
                _ => return wrong(&format!("a text in {key}")),
            },
        };
        if image.is_empty() {
            return Ok(());
        }
        if self.found.len() >= MAX_IMAGES {
            return Err(ImagesError::TooMany.to_string());
        }
        let image = ImageUse { pointer: pointer.to_owned(), kind: ContainerKind::Custom, name, image };
        self.found.push(Extracted { image, list: self.extractor.name.clone() });
        Ok(())
    }
}

/// `images` of the context: by list and name, the parts of each image. An image whose name cannot be read has none.
pub(super) fn images_value(images: &[Extracted]) -> Value {
    let mut lists: Map<String, Value> = Map::new();
    for Extracted { image, list } in images {
        let Ok(reference) = Reference::parse(&image.image) else { continue };
        let entry = lists.entry(list.clone()).or_insert_with(|| json!({}));
        if let Value::Object(entry) = entry {
            entry.insert(image.name.clone(), parts(&reference, &image.image));
        }
    }
    Value::Object(lists)
}

/// The parts of an image's name.
fn parts(image: &Reference, written: &str) -> Value {
    let path = references::path(image, written);
    let tag = image.tag().map(ToString::to_string).unwrap_or_default();
    let digest = image.digest().map(ToString::to_string).unwrap_or_default();
    json!({
        "registry": image.registry(),
        "path": path,
        "name": path.rsplit('/').next().unwrap_or_default(),
        "tag": tag,
        "digest": digest,
        "reference": references::canonical(image, written),
        "referenceWithTag": format!("{}/{path}:{tag}", image.registry()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(extractors: Value, object: &Value) -> Result<Vec<(String, String)>, String> {
        let extractors = Extractors::read(&serde_json::from_value(extractors).unwrap(), "x").unwrap();
        let found = extractors.images(object, Timestamp::UNIX_EPOCH)?;
        Ok(found.into_iter().map(|found| (found.image.pointer, found.image.image)).collect())
    }

    #[test]
    fn images_of_other_kinds_are_found_where_the_extractor_says() {
        let task = json!({"kind": "Task", "spec": {
            "steps": [{"name": "a", "image": "docker://ghcr.io/a:v1"}, {"name": "b"}],
            "sidecars": {"x": {"image": "ghcr.io/x"}},
            "bundle": "ghcr.io/bundle",
        }});
        let extractors = json!({"Task": [
            {"path": "/spec/steps/*", "value": "image", "key": "name", "jmesPath": "trim_prefix(@,'docker://')"},
            {"path": "/spec/sidecars/*/image"},
            {"path": "/spec/bundle"},
            {"path": "/spec/nothing/*/image"},
        ]});
        let expected = [
            ("/spec/steps/0/image", "ghcr.io/a:v1"),
            ("/spec/sidecars/x/image", "ghcr.io/x"),
            ("/spec/bundle", "ghcr.io/bundle"),
        ];
        let expected = expected.map(|(pointer, image)| (pointer.to_owned(), image.to_owned()));
        assert_eq!(images(extractors.clone(), &task).unwrap(), expected);
        for spoilt in
            [json!({"steps": [{"image": 1}]}), json!({"steps": "x"}), json!({"steps": [{"image": "a"}]})]
        {
            assert!(
                images(extractors.clone(), &json!({"kind": "Task", "spec": spoilt})).is_err(),
                "{spoilt}"
            );
        }
    }

    #[test]
    fn an_extractor_for_pods_hides_no_container() {
        let pod = json!({"kind": "Pod", "spec": {"containers": [{"name": "a", "image": "x://ghcr.io/a"}],
            "initContainers": [{"name": "b", "image": "ghcr.io/b"}]}});
        let extractors =
            json!({"Pod": [{"path": "/spec/containers/*/image", "jmesPath": "trim_prefix(@,'x://')"}]});
        let expected =
            [("/spec/containers/0/image", "ghcr.io/a"), ("/spec/initContainers/0/image", "ghcr.io/b")];
        let expected = expected.map(|(pointer, image)| (pointer.to_owned(), image.to_owned()));
        assert_eq!(images(extractors, &pod).unwrap(), expected);
    }
}
