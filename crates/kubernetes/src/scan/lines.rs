//! On which line of its file an image is named. Whatever is not plain is no line: one that is wrong is worse than none.

use std::collections::{BTreeMap, HashMap};

use countersign_slsa::yaml::{Node, Value};

use super::resource::Resource;

/// The largest text in which lines are looked for, in bytes: it is read again, with the place of everything.
const MAX_TEXT: usize = 8 << 20;

/// Which object: its kind, namespace and name.
type Name = (String, String, String);

/// The texts in an object and their lines, by their paths.
type Texts = BTreeMap<String, (String, u64)>;

/// Adds the lines on which these resources, all of them of this text, name their images.
///
/// ```
/// use countersign_kubernetes::scan::{locate, read_resources};
/// let text = "kind: Pod\nspec:\n  containers:\n  - name: app\n    image: ghcr.io/acme/app\n";
/// let mut resources = read_resources(text, "app.yaml")?;
/// locate(text, &mut resources);
/// assert_eq!(resources[0].lines["spec.containers[0].image"], 5);
/// # Ok::<(), countersign_kubernetes::scan::InputError>(())
/// ```
pub fn locate(text: &str, resources: &mut [Resource]) {
    // Other line ends are counted in more than one way.
    let odd = text.replace("\r\n", "\n").contains(['\r', '\u{85}', '\u{2028}', '\u{2029}']);
    if text.len() > MAX_TEXT || odd {
        return;
    }
    let Ok(documents) = serde_saphyr::from_multiple::<Node>(text) else { return };
    let lines: Vec<&str> = text.lines().collect();
    let mut found: HashMap<Name, Option<Texts>> = HashMap::new();
    for document in &documents {
        for object in objects(document) {
            let mut texts = Texts::new();
            collect(object, String::new(), &mut texts);
            // Of two objects of one name nobody can tell which is meant.
            found.entry(name(object)).and_modify(|first| *first = None).or_insert(Some(texts));
        }
    }
    for resource in resources {
        let name = &resource.name;
        let key = (name.kind.clone(), name.namespace.clone(), name.name.clone());
        let (Some(Some(texts)), Ok(images)) = (found.get(&key), &resource.images) else { continue };
        for image in images {
            let Some((_, line)) = texts.get(&image.path).filter(|(text, _)| *text == image.image) else {
                continue;
            };
            let at = usize::try_from(*line).ok().and_then(|line| lines.get(line.checked_sub(1)?));
            if at.is_some_and(|at| at.contains(&image.image)) {
                resource.lines.insert(image.path.clone(), *line);
            }
        }
    }
}

/// What an object is called.
fn name(object: &Node) -> Name {
    let of = |name| object.get("metadata").and_then(|metadata| text(metadata, name)).unwrap_or_default();
    (text(object, "kind").unwrap_or_default(), of("namespace"), of("name"))
}

/// A field that is a text: of a number nobody says how it is to be written.
fn text(object: &Node, name: &str) -> Option<String> {
    match object.get(name)?.value() {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// The objects in a list of them, or the one that this is.
fn objects(document: &Node) -> Vec<&Node> {
    match document.get("items").map(Node::value) {
        Some(Value::List(items)) if text(document, "kind").is_some_and(|kind| kind.ends_with("List")) => {
            items.iter().collect()
        }
        _ => vec![document],
    }
}

/// The texts in an object and their lines, by their paths as reports write them.
fn collect(node: &Node, path: String, found: &mut Texts) {
    match node.value() {
        Value::Text(text) => {
            if node.is_written_here() {
                found.insert(path, (text.clone(), node.line()));
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{path}[{index}]"), found);
            }
        }
        Value::Map(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(value, path, found);
            }
        }
        Value::Plain(_) | Value::Null => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::read_resources;

    /// The lines of all images, in their order.
    fn lines(text: &str) -> Vec<Option<u64>> {
        let mut resources = read_resources(text, "f").unwrap();
        locate(text, &mut resources);
        let of = |resource: &Resource| {
            let images = resource.images.as_ref().unwrap();
            images.iter().map(|image| resource.lines.get(&image.path).copied()).collect::<Vec<_>>()
        };
        resources.iter().flat_map(of).collect()
    }

    #[test]
    fn each_image_is_on_the_line_that_names_it() {
        let text = "# words\n---\nkind: Pod\nmetadata: {name: a}\nspec:\n  initContainers:\n  - image: 'r.example/a'\n    name: i\n\
                    \x20 containers:\n  - name: b\n    image: \"r.example/b:1\"  # words\n  - {name: c, image: r.example/c}\n---\n\
                    kind: Service\nmetadata: {name: s}\n---\nkind: Deployment\nmetadata:\n  name: a\nspec: {template: {spec:\n\
                    \x20 {containers: [\n  {image: r.example/d}]}}}\n";
        assert_eq!(lines(text), [Some(7), Some(11), Some(12), Some(22)]);
        let list = "{\"kind\": \"List\", \"items\": [\n{\"kind\": \"Pod\", \"spec\": {\"containers\": [\n{\"image\": \"r.example/a\"}]}}]}";
        assert_eq!(lines(list), [Some(3)]);
        let crlf = "kind: Pod\r\nspec:\r\n  containers:\r\n  - image: r.example/a\r\n";
        assert_eq!(lines(crlf), [Some(4)]);
    }

    #[test]
    fn what_is_not_plain_is_no_line() {
        let twice =
            "kind: Pod\nspec: {containers: [{image: a}]}\n---\nkind: Pod\nspec: {containers: [{image: b}]}\n";
        assert_eq!(lines(twice), [None, None], "two of one name");
        let folded = "kind: Pod\nspec:\n  containers:\n  - image: >-\n      r.example/a\n";
        assert_eq!(lines(folded), [Some(5)], "the line of the text");
        let alias = "kind: Pod\nmetadata: {name: &a r.example/a}\nspec:\n  containers:\n  - image: *a\n";
        assert_eq!(lines(alias), [None], "written elsewhere");
        let carriage = "kind: Pod\rspec:\n  containers: [{image: r.example/a}]\n";
        assert_eq!(lines(carriage), [None], "line ends that are counted in two ways");
        let escaped = "kind: Pod\nspec: {containers: [{image: \"r.example\\/a\"}]}\n";
        assert_eq!(lines(escaped), [None], "written otherwise");
        let stream = "{\"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"}, \"spec\": {\"containers\": [{\"image\": \"a\"}]}}\n{\"kind\": \"Pod\"}";
        assert_eq!(lines(stream), [None], "no YAML");
    }
}
