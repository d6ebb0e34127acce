//! Objects from files: YAML with several documents, JSON, lists of objects.

use countersign_policy::objects_of;
use serde_json::Value;

use super::resource::Resource;

/// The largest text, in bytes: a whole cluster as `kubectl get -A -o json` writes it.
pub const MAX_TEXT: usize = 256 << 20;
/// The most objects in one text.
pub const MAX_OBJECTS: usize = 200_000;

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InputError(String);

/// The workloads of a text, in their order. Objects of other kinds are passed over; what is no object is an error.
///
/// ```
/// use countersign_kubernetes::scan::read_resources;
/// let text = "kind: Pod\nspec: {containers: [{name: app, image: ghcr.io/acme/app}]}\n---\nkind: Service\n";
/// assert_eq!(read_resources(text, "app.yaml")?.len(), 1);
/// # Ok::<(), countersign_kubernetes::scan::InputError>(())
/// ```
///
/// # Errors
/// [`InputError`].
pub fn read_resources(text: &str, source: &str) -> Result<Vec<Resource>, InputError> {
    let mut left = MAX_OBJECTS;
    let mut resources = Vec::new();
    for (index, document) in read_values(text)?.into_iter().enumerate() {
        let wrong = |why: &str| InputError(format!("document {}: {why}", index + 1));
        let objects = objects_of(document, MAX_OBJECTS).map_err(|why| wrong(&format!("items: {why}")))?;
        left = left
            .checked_sub(objects.len())
            .ok_or_else(|| wrong(&format!("expected at most {MAX_OBJECTS} objects, found more")))?;
        for object in objects.into_iter().filter(|object| !object.is_null()) {
            check(&object).map_err(wrong)?;
            resources.extend(Resource::of(object, source));
        }
    }
    Ok(resources)
}

/// The documents of a text in YAML or JSON, whatever they are.
///
/// # Errors
/// [`InputError`].
pub fn read_values(text: &str) -> Result<Vec<Value>, InputError> {
    if text.len() > MAX_TEXT {
        return Err(InputError(format!("expected at most {MAX_TEXT} bytes, found {}", text.len())));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Written by a program, in amounts for which the reader of YAML is too slow.
    if text.trim_start().starts_with('{') {
        serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().or_else(|json| {
            // `{a: 1}` is YAML.
            serde_saphyr::from_multiple(text)
                .map_err(|_| InputError(format!("expected JSON or YAML: {json}")))
        })
    } else {
        serde_saphyr::from_multiple(text).map_err(|e| InputError(format!("expected YAML or JSON: {e}")))
    }
}

/// That this is an object of a cluster.
fn check(object: &Value) -> Result<(), &'static str> {
    match object {
        Value::Object(fields) if fields.get("kind").is_some_and(Value::is_string) => Ok(()),
        Value::Object(_) => Err("kind: expected a text; this is no Kubernetes object"),
        _ => Err("expected an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        let read = read_resources(text, "f").map_err(|e| e.to_string())?;
        Ok(read.into_iter().map(|resource| resource.name.to_string()).collect())
    }

    #[test]
    fn documents_lists_and_streams_of_json_are_read() {
        let pod = |name: &str| format!("{{\"kind\": \"Pod\", \"metadata\": {{\"name\": \"{name}\"}}}}");
        for text in [
            format!("# words\n---\n{}\n---\n---\nkind: Service\n---\n{}\n", pod("a"), pod("b")),
            format!("{{\"kind\": \"List\", \"items\": [{}, {}]}}", pod("a"), pod("b")),
            format!("{{\"kind\": \"PodList\", \"items\": [{}, {}]}}", pod("a"), pod("b")),
            "{\"apiVersion\": \"v1\", \"kind\": \"PodList\", \"items\": [{\"metadata\": {\"name\": \"a\"}}, \
             {\"metadata\": {\"name\": \"b\"}}]}"
                .to_owned(),
            format!("{}\n{}", pod("a"), pod("b")),
            "{kind: Pod, metadata: {name: a}}\n---\nkind: Pod\nmetadata: {name: b}".to_owned(),
        ] {
            assert_eq!(names(&text).unwrap(), ["Pod/a", "Pod/b"], "{text}");
        }
        assert!(names("").unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_not_left_out() {
        let deep = "{\"kind\":\"List\",\"items\":[".repeat(6) + "{\"kind\":\"Pod\"}" + &"]}".repeat(6);
        for text in [
            "[1",
            "words",
            "[]",
            "a: 1",
            "{\"kind\": \"List\", \"items\": {}}",
            "kind: List",
            "kind: 1",
            "{",
            &deep,
        ] {
            assert!(read_resources(text, "f").is_err(), "{text}");
        }
    }
}
