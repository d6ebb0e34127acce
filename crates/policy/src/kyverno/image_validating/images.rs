//! The images of an object, which of them a policy is about, and what a name of an image says.

use std::collections::BTreeMap;

use countersign_registry::Reference;

use super::functions::Evaluation;
use super::variant::{Variant, Wanted};
use crate::cel::{Halt, Problem, Value, Variables};
use crate::images::{ContainerKind, MAX_IMAGES, workload_images};
use crate::spelling;

/// The lists that are always there.
const LISTS: [ContainerKind; 4] =
    [ContainerKind::Container, ContainerKind::Init, ContainerKind::Ephemeral, ContainerKind::Volume];

/// The images of an object that a policy is about, by list, each as it is written.
pub(super) type Images = BTreeMap<String, Vec<String>>;

/// Finds the images that a policy is about.
///
/// # Errors
/// [`Halt`].
pub(super) fn of_object(
    variant: &Variant,
    object: &serde_json::Value,
    evaluation: &Evaluation<'_>,
) -> Result<Images, Halt> {
    let halt = |text: String| Halt { at: 0, problem: Problem::Text(text) };
    let mut all: Images = LISTS.iter().map(|list| (list.code().to_owned(), Vec::new())).collect();
    for image in workload_images(object).map_err(|e| halt(e.to_string()))? {
        all.entry(image.kind.code().to_owned()).or_default().push(image.image);
    }
    for (name, extractor) in &variant.extractors {
        let found = evaluation.run(extractor)?;
        let wrong =
            || halt(format!("the extractor {name}: expected a list of texts, found {}", found.kind()));
        let Value::List(items) = &found else { return Err(wrong()) };
        let list = all.entry(name.clone()).or_default();
        for item in items.iter() {
            let Value::Text(image) = item else { return Err(wrong()) };
            list.push(image.to_string());
        }
    }
    if all.values().map(Vec::len).sum::<usize>() > MAX_IMAGES {
        return Err(halt(format!("expected at most {MAX_IMAGES} images in one object, found more")));
    }
    for list in all.values_mut() {
        let mut kept: Vec<String> = Vec::new();
        for image in list.drain(..) {
            if !kept.contains(&image) && is_meant(variant, &image, evaluation)? {
                kept.push(image);
            }
        }
        *list = kept;
    }
    Ok(all)
}

/// Whether a policy is about an image. No patterns mean every image, and so does a name that cannot be read.
///
/// # Errors
/// [`Halt`].
pub(super) fn is_meant(variant: &Variant, image: &str, evaluation: &Evaluation<'_>) -> Result<bool, Halt> {
    let Ok(reference) = Reference::parse(image) else { return Ok(true) };
    let mut meant = variant.images.is_empty();
    for wanted in &variant.images {
        meant |= match wanted {
            Wanted::Pattern(pattern) => pattern.matches(&reference, image),
            Wanted::Expression(program) => {
                let variables = Variables::new(evaluation.now())
                    .with_value("ref", Value::text(image))
                    .with_value("image", parts(&reference));
                match evaluation.run_with(program, &variables)? {
                    Value::Bool(meant) => meant,
                    other => {
                        let problem =
                            format!("{}: expected true or false, found {}", program.text(), other.kind());
                        return Err(Halt { at: 0, problem: problem.into() });
                    }
                }
            }
        };
    }
    Ok(meant)
}

/// What a name of an image says, in Kyverno's words.
pub(super) fn parts(image: &Reference) -> Value {
    let tag = image.tag().filter(|_| image.digest().is_none()).map(ToString::to_string).unwrap_or_default();
    let digest = image.digest().map(ToString::to_string).unwrap_or_default();
    let registry = match spelling::registry(image.repository()) {
        "docker.io" => "index.docker.io",
        other => other,
    };
    let identifier = if digest.is_empty() { tag.clone() } else { digest.clone() };
    Value::map([
        ("registry", Value::text(registry)),
        ("repository", Value::text(image.repository().path())),
        ("identifier", Value::text(&identifier)),
        ("tag", Value::text(&tag)),
        ("containsDigest", Value::Bool(!digest.is_empty())),
        ("digest", Value::text(&digest)),
    ])
}
