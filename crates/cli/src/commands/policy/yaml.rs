//! Objects written as YAML for people: texts of several lines as blocks, everything else that is not a plain word in
//! quotation marks.

use serde_json::Value;

/// A document.
pub(super) fn yaml(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

fn write(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                out.push_str(&"  ".repeat(depth));
                out.push_str(&scalar(name));
                out.push(':');
                member(value, depth, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&"  ".repeat(depth));
                out.push('-');
                let mut inside = String::new();
                match item {
                    Value::Object(fields) if !fields.is_empty() => {
                        write(item, depth + 1, &mut inside);
                        out.push(' ');
                        out.push_str(inside.trim_start());
                    }
                    item => member(item, depth, out),
                }
            }
        }
        other => out.push_str(&format!("{}{}\n", "  ".repeat(depth), flow(other))),
    }
}

/// What stands behind a name or a dash.
fn member(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            write(value, depth + 1, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            write(value, depth + 1, out);
        }
        Value::String(text) if is_block(text) => {
            out.push_str(if text.ends_with('\n') { " |\n" } else { " |-\n" });
            for line in text.lines() {
                out.push_str(&format!("{}{line}\n", "  ".repeat(depth + 1)));
            }
        }
        other => out.push_str(&format!(" {}\n", flow(other))),
    }
}

/// Whether a text reads the same as a block: lines of visible characters, none of them empty or set in.
fn is_block(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.ends_with("\n\n")
        && text.lines().all(|line| {
            !line.is_empty()
                && !line.starts_with(' ')
                && line.chars().all(|c| c.is_ascii_graphic() || c == ' ')
        })
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// A word that is nothing else in YAML stands as it is.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./@".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_policy::read_documents;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let value = json!({
            "apiVersion": "v1", "kind": "A", "empty": {}, "none": [], "null": null, "yes": true, "n": 1.5,
            "texts": ["", "yes", "1", "a: b", "# no", "- x", "*", "\u{e4}\u{7}", " in", "a\nb", "a\nb\n", "a\n\nb", "a\n b", "\n", "x\n"],
            "lists": [[1, [2, []]], {"a": [{"b": {"c": "d"}}, {}]}, [{"e": "f"}]],
            "key": "-----BEGIN PUBLIC KEY-----\nMFkw+/==\n-----END PUBLIC KEY-----\n",
            "odd name:": {"\"": "'"},
        });
        let text = yaml(&value);
        let read = read_documents(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(read[0].value, value, "{text}");
    }
}
