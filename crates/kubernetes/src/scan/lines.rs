//! On which line of its file an image is named. Whatever is not plain is no line: one that is wrong is worse than none.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

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
        for object in document.objects() {
            let mut texts = Texts::new();
            object.texts(String::new(), &mut texts);
            // Of two objects of one name nobody can tell which is meant.
            found.entry(object.name()).and_modify(|first| *first = None).or_insert(Some(texts));
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

/// A value, and the line on which it begins.
struct Node(Spanned<Inner>);

enum Inner {
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    Other,
}

impl Node {
    fn get(&self, name: &str) -> Option<&Self> {
        let Inner::Map(fields) = &self.0.value else { return None };
        fields.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    fn text(&self, name: &str) -> &str {
        match self.get(name).map(|node| &node.0.value) {
            Some(Inner::Text(text)) => text,
            _ => "",
        }
    }

    fn name(&self) -> Name {
        let of = |name| self.get("metadata").map_or("", |metadata| metadata.text(name)).to_owned();
        (self.text("kind").to_owned(), of("namespace"), of("name"))
    }

    /// The objects in a list of them, or the one that this is.
    fn objects(&self) -> Vec<&Self> {
        match self.get("items").map(|items| &items.0.value) {
            Some(Inner::List(items)) if self.text("kind").ends_with("List") => items.iter().collect(),
            _ => vec![self],
        }
    }

    /// The texts in it and their lines, by their paths as reports write them.
    fn texts(&self, path: String, found: &mut Texts) {
        match &self.0.value {
            Inner::Text(text) => {
                let line = self.0.referenced.line();
                // What an alias stands for is written elsewhere.
                if line == self.0.defined.line() {
                    found.insert(path, (text.clone(), line));
                }
            }
            Inner::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.texts(format!("{path}[{index}]"), found);
                }
            }
            Inner::Map(fields) => {
                for (name, value) in fields {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    value.texts(path, found);
                }
            }
            Inner::Other => {}
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Inner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Inner;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Inner, E> {
                Ok(Inner::Other)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Inner, E> {
                Ok(Inner::Other)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Inner, E> {
                Ok(Inner::Other)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Inner, E> {
                Ok(Inner::Other)
            }
            fn visit_unit<E>(self) -> Result<Inner, E> {
                Ok(Inner::Other)
            }
            fn visit_none<E>(self) -> Result<Inner, E> {
                Ok(Inner::Other)
            }
            fn visit_str<E>(self, text: &str) -> Result<Inner, E> {
                Ok(Inner::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Inner, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Inner::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Inner, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Inner::Map(fields))
            }
        }
        deserializer.deserialize_any(Any)
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
