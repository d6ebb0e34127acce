//! Lists of objects, as programs write them: a `List`, and a `PodList` and the like.

use serde_json::Value;

/// The kind of a list whose objects are of any kind.
const LIST: &str = "List";
/// How deep lists may stand in lists.
const MAX_DEPTH: usize = 4;

/// The longest kind or version that a list gives its objects, in bytes.
const MAX_NAME: usize = 256;

/// The objects in a value, so many at most: those in it, if it is a list, or itself. What is in a `PodList` and does not say
/// what it is, is a `Pod` of the list's version. That anything is an object is for the caller to see.
///
/// # Errors
/// In words, what is wrong with `items`.
pub fn objects_of(value: Value, most: usize) -> Result<Vec<Value>, String> {
    let mut objects = Vec::new();
    add(value, most, 0, &mut objects)?;
    Ok(objects)
}

fn add(mut value: Value, most: usize, depth: usize, objects: &mut Vec<Value>) -> Result<(), String> {
    let Some(List { api_version, kind, items }) = List::opened(&mut value) else {
        if objects.len() >= most {
            return Err(format!("expected at most {most} objects, found more"));
        }
        objects.push(value);
        return Ok(());
    };
    let Value::Array(items) = items else { return Err("expected a list of objects".into()) };
    if depth >= MAX_DEPTH {
        return Err("expected objects, found lists in lists, too deep".into());
    }
    for mut item in items {
        if let Value::Object(fields) = &mut item {
            for (name, of_list) in [("apiVersion", &api_version), ("kind", &kind)] {
                if let Some(of_list) = of_list {
                    fields.entry(name).or_insert_with(|| of_list.clone().into());
                }
            }
        }
        add(item, most, depth + 1, objects)?;
    }
    Ok(())
}

/// A list, and what its objects are that do not say it.
struct List {
    api_version: Option<String>,
    kind: Option<String>,
    items: Value,
}

impl List {
    /// Takes the items out of a list. A kind that ends in `List` and has no `items`, such as our own `RevocationList`, is none.
    fn opened(value: &mut Value) -> Option<Self> {
        let fields = value.as_object_mut()?;
        let text = |name: &str| Some(fields.get(name)?.as_str()?.to_owned());
        let (api_version, kind) = (text("apiVersion"), text("kind")?);
        let kind = kind.strip_suffix(LIST)?;
        if kind.is_empty() {
            let items = fields.remove("items").unwrap_or_default();
            return Some(Self { api_version: None, kind: None, items });
        }
        let items = fields.remove("items")?;
        let short = |text: &String| text.len() <= MAX_NAME;
        Some(Self {
            api_version: api_version.filter(short),
            kind: Some(kind.to_owned()).filter(short),
            items,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_of_a_list_is_what_it_says_or_else_what_the_list_says() {
        let list = json!({"apiVersion": "v1", "kind": "PodList", "items": [
            {"metadata": {"name": "a"}}, {"kind": "Secret"}, {"apiVersion": "v2", "kind": "Pod"},
            {"kind": "List", "items": [{"kind": "Deployment"}, {"metadata": {}}]}]});
        let expected = [
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}),
            json!({"apiVersion": "v1", "kind": "Secret"}),
            json!({"apiVersion": "v2", "kind": "Pod"}),
            json!({"kind": "Deployment"}),
            json!({"metadata": {}}),
        ];
        assert_eq!(objects_of(list, 5).unwrap(), expected);
        let long = format!("{}List", "x".repeat(MAX_NAME + 1));
        let unnamed = objects_of(json!({"apiVersion": "v1", "kind": long, "items": [{}]}), 1).unwrap();
        assert_eq!(unnamed, [json!({"apiVersion": "v1"})]);
        for object in [
            json!({"kind": "RevocationList", "spec": {"list": ""}}),
            json!({"kind": "Pod", "items": []}),
            json!(1),
        ] {
            assert_eq!(objects_of(object.clone(), 1).unwrap(), [object]);
        }
    }

    #[test]
    fn a_list_without_a_list_of_objects_is_an_error_and_so_are_lists_without_end() {
        let mut deep = json!({"kind": "Pod"});
        for _ in 0..=MAX_DEPTH {
            deep = json!({"kind": "List", "items": [deep]});
        }
        for wrong in [
            json!({"kind": "List"}),
            json!({"kind": "List", "items": {}}),
            json!({"kind": "PodList", "items": null}),
            json!({"kind": "PodList", "items": [{}, {"kind": "List", "items": vec![json!({}); 10]}]}),
            deep,
        ] {
            assert!(objects_of(wrong.clone(), 10).is_err(), "{wrong}");
        }
    }
}
