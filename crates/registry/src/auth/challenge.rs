//! `WWW-Authenticate`: what a registry asks for (RFC 9110 section 11.6.1).

use std::collections::BTreeMap;

/// The longest header that is read, in bytes.
const LONGEST: usize = 8 << 10;

/// One challenge: a scheme in lower case, and its parameters with their names in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// `bearer`, `basic`.
    pub scheme: String,
    /// `realm`, `service`, `scope`.
    pub parameters: BTreeMap<String, String>,
}

/// Reads the challenges in one header. What is malformed ends the reading; a parameter that comes twice makes
/// its challenge unusable, because it is unclear which is meant.
#[must_use]
pub fn parse_challenges(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    if header.len() > LONGEST {
        return found;
    }
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (scheme, after) = token(rest);
        if scheme.is_empty() {
            return found;
        }
        let mut challenge = Challenge { scheme: scheme.to_ascii_lowercase(), parameters: BTreeMap::new() };
        rest = after;
        let mut usable = true;
        while let Some((name, value, after)) = parameter(rest) {
            usable &= challenge.parameters.insert(name.to_ascii_lowercase(), value).is_none();
            rest = after;
        }
        if usable {
            found.push(challenge);
        }
        // After a challenge comes a comma, or the end; `Negotiate abc=` and its like end the reading.
        if !rest.trim_start_matches([' ', '\t']).starts_with(',') {
            return found;
        }
    }
}

/// A token at the start of a text, and what follows.
fn token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"!#$%&'*+-.^_`|~".contains(c));
    text.split_at(end.unwrap_or(text.len()))
}

/// `name=value` or `name="value"`, after spaces and commas; `None` when something else follows.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = token(text.trim_start_matches([' ', '\t', ',']));
    let rest = rest.trim_start_matches([' ', '\t']).strip_prefix('=')?.trim_start_matches([' ', '\t']);
    if name.is_empty() {
        return None;
    }
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, rest) = token(rest);
        return (!value.is_empty()).then(|| (name, value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((name, value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Vec<(String, Vec<(String, String)>)> {
        parse_challenges(header).into_iter().map(|c| (c.scheme, c.parameters.into_iter().collect())).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn what_registries_send_is_read() {
        let header = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#;
        assert_eq!(
            read(header),
            [(
                "bearer".to_owned(),
                vec![
                    pair("realm", "https://auth.example/token"),
                    pair("scope", "repository:a/b:pull,push"),
                    pair("service", "registry.example"),
                ]
            )]
        );
        assert_eq!(
            read(r#"basic Realm = "a \"b\"" , BEARER realm=x"#),
            [
                ("basic".to_owned(), vec![pair("realm", "a \"b\"")]),
                ("bearer".to_owned(), vec![pair("realm", "x")])
            ]
        );
        assert_eq!(read("Negotiate, Basic realm=\"x\"").len(), 2);
    }

    #[test]
    fn what_is_malformed_is_not_guessed_at() {
        assert_eq!(read(""), []);
        assert_eq!(read("Bearer realm=\"open"), [("bearer".to_owned(), vec![])]);
        assert_eq!(read("Bearer realm=\"a\",realm=\"b\""), [], "which realm?");
        assert_eq!(read(&format!("Bearer realm=\"{}\"", "a".repeat(LONGEST))), []);
        assert_eq!(read("Bearer realm=\"a\\"), [("bearer".to_owned(), vec![])]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_within_bounds(text in "[A-Za-z =,\"\\\\\t\u{e9}]{0,60}") {
            for challenge in parse_challenges(&text) {
                proptest::prop_assert!(!challenge.scheme.is_empty());
                proptest::prop_assert!(challenge.parameters.keys().all(|name| !name.is_empty()));
            }
        }
    }
}
