//! Reading the document of roots: YAML or JSON, every member known, nothing empty, the place of each mistake named.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Builder, MAX_LEVEL, MAX_ROOTS, MAX_ROOTS_LEN, Root, Roots, RootsError, Signer, Text, is_builder_id,
    profile,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireRoot {
    profile: Option<String>,
    builder: Option<String>,
    builder_reg_exp: Option<String>,
    signer: Option<WireSigner>,
    level: Option<u8>,
    #[serde(default)]
    unlogged: bool,
    #[serde(default)]
    self_hosted: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireSigner {
    key: Option<String>,
    subject: Option<String>,
    subject_reg_exp: Option<String>,
    issuer: Option<String>,
    issuer_reg_exp: Option<String>,
}

pub(super) fn read(text: &str) -> Result<Roots, RootsError> {
    let wrong = |message: String| RootsError::new("roots", message);
    if text.len() > MAX_ROOTS_LEN {
        return Err(wrong(format!("expected at most {MAX_ROOTS_LEN} bytes, found {}", text.len())));
    }
    let value: Value =
        serde_saphyr::from_str(text).map_err(|e| wrong(format!("expected YAML or JSON: {e}")))?;
    let list = match value {
        Value::Array(list) => list,
        Value::Object(mut object) => {
            let roots = object.remove("roots");
            if let Some(other) = object.keys().next() {
                return Err(wrong(format!(
                    "expected a list, or an object with \"roots\" only; found \"{other}\""
                )));
            }
            match roots {
                Some(Value::Array(list)) => list,
                _ => return Err(wrong("expected a list under \"roots\"".into())),
            }
        }
        _ => return Err(wrong("expected a list of roots".into())),
    };
    if list.is_empty() {
        return Err(wrong("expected at least one, found none: nobody is trusted for any builder".into()));
    }
    if list.len() > MAX_ROOTS {
        return Err(wrong(format!("expected at most {MAX_ROOTS}, found {}", list.len())));
    }
    let mut all = Vec::new();
    for (index, value) in list.into_iter().enumerate() {
        let path = format!("roots[{index}]");
        all.extend(typed::<WireRoot>(value, &path)?.read(&path)?);
    }
    Ok(Roots { all })
}

fn typed<T: DeserializeOwned>(value: Value, path: &str) -> Result<T, RootsError> {
    serde_json::from_value(value).map_err(|e| RootsError::new(path, e.to_string()))
}

impl WireRoot {
    fn read(self, path: &str) -> Result<Vec<Root>, RootsError> {
        let signer = self.signer.map(|signer| signer.read(&format!("{path}.signer"))).transpose()?;
        let level = self.level.map(|level| check_level(level, path)).transpose()?;
        let Some(name) = self.profile else {
            let signer = signer
                .ok_or_else(|| RootsError::new(path, "expected a signer or a profile, found neither"))?;
            let builder = builder(self.builder, self.builder_reg_exp, &signer, path)?;
            let level = level
                .ok_or_else(|| RootsError::new(format!("{path}.level"), "expected 1, 2 or 3, found none"))?;
            let (unlogged, self_hosted) = (self.unlogged, self.self_hosted);
            return Ok(vec![Root { signer, builder, level, unlogged, self_hosted, from: path.to_owned() }]);
        };
        if self.builder.is_some() || self.builder_reg_exp.is_some() {
            return Err(RootsError::new(path, "expected a profile or a builder, found both"));
        }
        let mut roots =
            profile::expand(&name, signer.as_ref()).map_err(|e| RootsError::new(path, e.to_string()))?;
        for root in &mut roots {
            root.from = format!("{path}, {}", root.from);
            // Whoever names a profile may believe it less, never more.
            root.level = level.map_or(root.level, |level| level.min(root.level));
            root.unlogged |= self.unlogged;
            root.self_hosted |= self.self_hosted;
        }
        Ok(roots)
    }
}

fn check_level(level: u8, path: &str) -> Result<u8, RootsError> {
    if (1..=MAX_LEVEL).contains(&level) {
        return Ok(level);
    }
    Err(RootsError::new(
        format!("{path}.level"),
        format!("expected a level from 1 to {MAX_LEVEL}, found {level}"),
    ))
}

fn builder(
    exact: Option<String>,
    pattern: Option<String>,
    signer: &Signer,
    path: &str,
) -> Result<Builder, RootsError> {
    let wrong = |message: String| Err(RootsError::new(format!("{path}.builder"), message));
    match (exact, pattern) {
        (Some(_), Some(_)) => wrong("expected builder or builderRegExp, found both".into()),
        (None, None) if matches!(signer, Signer::Key(_)) => wrong(
            "expected builder or builderRegExp, found neither: a key has no name that could be the builder's"
                .into(),
        ),
        (None, None) => Ok(Builder::SignerItself),
        (None, Some(pattern)) => match Text::Expression(pattern).matcher() {
            Ok(matcher) => Ok(Builder::Matching(matcher)),
            Err(error) => wrong(error.to_string()),
        },
        (Some(id), None) => {
            let name = id.strip_suffix("@*");
            let text = name.unwrap_or(&id);
            if !is_builder_id(text) || text.contains('*') {
                return wrong(format!(
                    "expected a URI of printable ASCII, with \"@*\" behind it for any version, found {id:?}"
                ));
            }
            Ok(name.map_or_else(|| Builder::Exact(id.clone()), |name| Builder::AnyVersion(name.to_owned())))
        }
    }
}

impl WireSigner {
    fn read(self, path: &str) -> Result<Signer, RootsError> {
        if let Some(key) = self.key {
            let others = [&self.subject, &self.subject_reg_exp, &self.issuer, &self.issuer_reg_exp];
            if others.iter().any(|other| other.is_some()) {
                return Err(RootsError::new(path, "expected a key or an identity, found both"));
            }
            if key.trim().is_empty() {
                return Err(RootsError::new(format!("{path}.key"), "expected a key, found an empty text"));
            }
            return Ok(Signer::Key(key.trim().to_owned()));
        }
        Ok(Signer::Identity {
            subject: one_of("subject", self.subject, self.subject_reg_exp, path)?,
            issuer: one_of("issuer", self.issuer, self.issuer_reg_exp, path)?,
        })
    }
}

/// A text that is given exactly or as an expression: one of the two.
fn one_of(
    field: &str,
    exact: Option<String>,
    pattern: Option<String>,
    path: &str,
) -> Result<Text, RootsError> {
    let wrong = |message: String| RootsError::new(format!("{path}.{field}"), message);
    let text = match (exact, pattern) {
        (Some(text), None) => Text::Exact(text),
        (None, Some(text)) => Text::Expression(text),
        (None, None) => return Err(wrong(format!("expected {field} or {field}RegExp, found neither"))),
        (Some(_), Some(_)) => return Err(wrong(format!("expected {field} or {field}RegExp, found both"))),
    };
    text.matcher().map_err(|e| wrong(e.to_string()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        read(text).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn each_mistake_is_told_with_its_place_and_nothing_is_passed_over() {
        let root = |rest: &str| format!("[{{{rest}}}]");
        for (text, expected) in [
            ("[]".to_owned(), "found none"),
            ("{}".into(), "a list under \"roots\""),
            ("{roots: [], more: 1}".into(), "\"more\""),
            ("1".into(), "a list of roots"),
            ("[".into(), "expected YAML or JSON"),
            (root("level: 3"), "a signer or a profile"),
            (root("signer: {key: k}, level: 3"), "roots[0].builder"),
            (root("signer: {key: k}, builder: b"), "roots[0].level"),
            (root("signer: {key: k}, builder: b, level: 0"), "from 1 to 3, found 0"),
            (root("signer: {key: k}, builder: b, level: 4"), "from 1 to 3, found 4"),
            (root("signer: {key: ' '}, builder: b, level: 1"), "roots[0].signer.key"),
            (root("signer: {key: k, subject: s}, builder: b, level: 1"), "found both"),
            (root("signer: {subject: s}, builder: b, level: 1"), "issuer or issuerRegExp, found neither"),
            (root("signer: {issuer: i}, builder: b, level: 1"), "subject or subjectRegExp, found neither"),
            (root("signer: {subject: '', issuer: i}, level: 1"), "roots[0].signer.subject"),
            (root("signer: {subjectRegExp: '(', issuer: i}, level: 1"), "roots[0].signer.subject"),
            (root("signer: {key: k}, builder: '', level: 1"), "printable ASCII"),
            (root("signer: {key: k}, builder: 'https://b/*', level: 1"), "printable ASCII"),
            (root("signer: {key: k}, builder: \"https://b/\\u0430\", level: 1"), "printable ASCII"),
            (root("signer: {key: k}, builder: b, builderRegExp: b, level: 1"), "found both"),
            (root("signer: {key: k}, builderRegExp: '(', level: 1"), "roots[0].builder"),
            (root("signer: {key: k}, builder: b, level: 1, levle: 2"), "levle"),
            (root("profile: npm, builder: b"), "a profile or a builder, found both"),
            (root("profile: nmp"), "expected one of slsa-github-generator"),
            (root("profile: npm, signer: {key: k}"), "expected no signer"),
            (root("profile: tekton-chains"), "expected a signer"),
        ] {
            assert!(message(&text).contains(expected), "{text}: {}", message(&text));
        }
        assert!(message(&" ".repeat(MAX_ROOTS_LEN + 1)).contains("at most"));
        assert!(message(&format!("[{}]", "{profile: npm},".repeat(MAX_ROOTS + 1))).contains("at most 256"));
    }

    #[test]
    fn mpvw_an_empty_list_is_nobody_and_not_anybody() {
        for text in ["[]", "roots: []", "roots:", "- {}", "- null", "- {signer: {}, level: 1}"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_profile_can_be_believed_less_and_never_more() {
        let level = |text: &str| read(text).unwrap().all.iter().map(|root| root.level).max().unwrap();
        assert_eq!(level("[{profile: npm}]"), 2);
        assert_eq!(level("[{profile: npm, level: 3}]"), 2);
        assert_eq!(level("[{profile: npm, level: 1}]"), 1);
        let tekton = read("[{profile: tekton-chains, signer: {key: k}, unlogged: true}]").unwrap();
        assert!(tekton.all.iter().all(|root| root.unlogged && !root.self_hosted));
    }

    #[test]
    fn json_is_read_too_and_a_star_behind_the_at_is_any_version() {
        let text = r#"{"roots": [{"builder": "https://b@*", "level": 1, "signer": {"key": "k"}, "selfHosted": true}]}"#;
        let roots = read(text).unwrap();
        assert!(roots.all[0].builder.matches("https://b@v1", None) && roots.all[0].self_hosted);
        assert_eq!(roots.all[0].builder.to_string(), "https://b@*");
        let text = "[{signer: {subject: s, issuerRegExp: i.*}, level: 1}]";
        assert_eq!(read(text).unwrap().all[0].builder.to_string(), "the identity that signed");
    }
}
