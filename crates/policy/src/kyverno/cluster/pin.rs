//! `mutate`, as far as it pins images to the digests that their tags name: `foreach` over containers, the registry asked,
//! and its answer written into `image`.
//!
//! Nothing else is changed here. What a policy would write is compared with what the image is.

use countersign_registry::Reference;
use serde_json::{Map, Value};

use super::context::{Names, check_conditions, substituted};
use super::extract::Extracted;
use super::schema::{ForEach, Mutate};
use super::validate::{elements, holds, with_element};
use crate::ask::{Ask, Stop};
use crate::decision::Pin;
use crate::finding::Why;
use crate::kyverno::Context;
use crate::kyverno::conditions::Conditions;
use crate::read::ReadError;

/// The lists of containers that a patch may speak of.
const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
/// The ways to a pod's specification in the objects that have one.
const WAYS: [&[&str]; 3] =
    [&["spec"], &["spec", "template", "spec"], &["spec", "jobTemplate", "spec", "template", "spec"]];

/// What pins images.
#[derive(Debug, Clone)]
pub(super) struct Pinning(Vec<Each>);

#[derive(Debug, Clone)]
struct Each {
    list: String,
    names: Names,
    preconditions: Option<Conditions>,
    patch: Value,
}

impl Pinning {
    /// Reads `mutate` of a policy in this namespace.
    ///
    /// # Errors
    /// [`ReadError`] for whatever changes anything else than images.
    pub(super) fn read(written: &Mutate, namespace: &str, path: &str) -> Result<Self, ReadError> {
        if written.foreach.is_empty() {
            return Err(ReadError::new(
                path,
                "expected foreach with a patch that pins images, found nothing",
            ));
        }
        let read = |(index, each)| Each::read(each, namespace, &format!("{path}.foreach[{index}]"));
        Ok(Self(written.foreach.iter().enumerate().map(read).collect::<Result<_, _>>()?))
    }

    /// The pins, or why what the policy would write is none.
    ///
    /// # Errors
    /// [`Stop`].
    pub(super) fn pins(
        &self,
        images: &[Extracted],
        context: &Context,
        ask: &Ask<'_>,
    ) -> Result<Result<Vec<Pin>, Why>, Stop> {
        let mut pins = Vec::new();
        for each in &self.0 {
            for (index, element) in elements(&each.list, context)?.into_iter().enumerate() {
                let context = each.names.load(with_element(context, &element, index, 0), ask)?;
                if !holds(each.preconditions.as_ref(), &context)? {
                    continue;
                }
                let patch = substituted(&each.patch, &context)?;
                for (list, name, to) in patched(&patch) {
                    let Some(found) =
                        images.iter().find(|found| found.list == list && found.image.name == name)
                    else {
                        continue;
                    };
                    match pin(found, to, ask)? {
                        Ok(pin) => pins.extend(pin),
                        Err(why) => return Ok(Err(why)),
                    }
                }
            }
        }
        Ok(Ok(pins))
    }
}

impl Each {
    fn read(written: &ForEach, namespace: &str, path: &str) -> Result<Self, ReadError> {
        let wrong = |field: &str| {
            let message = "expected a patch of name and image in the lists of containers, to pin images; nothing else is \
                           changed here";
            ReadError::new(format!("{path}.{field}"), message)
        };
        if written.pattern.is_some()
            || !written.any_pattern.is_empty()
            || written.deny.is_some()
            || !written.foreach.is_empty()
            || written.element_scope.is_some()
        {
            return Err(wrong("list"));
        }
        let patch = written.patch_strategic_merge.clone().unwrap_or_default();
        if !is_of_images(&patch) {
            return Err(wrong("patchStrategicMerge"));
        }
        if let Some(conditions) = &written.preconditions {
            check_conditions(conditions, &format!("{path}.preconditions"))?;
        }
        Ok(Self {
            list: written.list.clone(),
            names: Names::read(&written.context, namespace, &format!("{path}.context"))?,
            preconditions: written.preconditions.clone(),
            patch,
        })
    }
}

/// Follows a way on which nothing else stands.
fn follow<'a>(patch: &'a Value, way: &[&str]) -> Option<&'a Value> {
    way.iter().try_fold(patch, |at, name| match at.as_object() {
        Some(fields) if fields.len() == 1 => fields.get(*name),
        _ => None,
    })
}

/// The lists of containers in a patch.
fn lists(patch: &Value) -> Option<&Map<String, Value>> {
    let found = WAYS.iter().filter_map(|way| follow(patch, way)?.as_object());
    found.into_iter().find(|lists| {
        !lists.is_empty()
            && lists.iter().all(|(name, list)| LISTS.contains(&name.as_str()) && list.is_array())
    })
}

/// Whether a patch says nothing but names and images of containers.
fn is_of_images(patch: &Value) -> bool {
    let container = |container: &Value| {
        container.as_object().is_some_and(|fields| {
            fields.len() == 2
                && ["name", "image"].iter().all(|name| fields.get(*name).is_some_and(Value::is_string))
        })
    };
    lists(patch).is_some_and(|lists| lists.values().filter_map(Value::as_array).flatten().all(container))
}

/// The containers in a patch: list, name, image.
fn patched(patch: &Value) -> Vec<(&str, &str, &str)> {
    lists(patch)
        .into_iter()
        .flatten()
        .flat_map(|(list, containers)| {
            containers.as_array().into_iter().flatten().filter_map(move |container| {
                let text = |name: &str| container.get(name).and_then(Value::as_str);
                Some((list.as_str(), text("name")?, text("image")?))
            })
        })
        .collect()
}

/// A pin, if what is to be written is the same image by its digest. None if it is so already.
fn pin(found: &Extracted, to: &str, ask: &Ask<'_>) -> Result<Result<Option<Pin>, Why>, Stop> {
    let from = &found.image.image;
    let no = |expected: String| {
        Ok(Err(Why::new("not_a_pin", format!("expected {expected} in the place of {from}, found {to}"))))
    };
    let (Ok(is), Ok(will_be)) = (Reference::parse(from), Reference::parse(to)) else {
        return no("the name of an image".into());
    };
    let digest = ask.digest(&is)?;
    if will_be.repository() != is.repository() || will_be.digest() != Some(&digest) {
        return no(format!("{}@{digest}", is.repository()));
    }
    if is.digest().is_some() {
        return Ok(Ok(None));
    }
    Ok(Ok(Some(Pin { pointer: found.image.pointer.clone(), from: from.clone(), to: to.to_owned() })))
}
