//! The second wall before a secret is told for ever: the first is that only named variables are read.

use crate::environment::Variables;

/// What the names of variables with secrets contain.
const NAMES: [&str; 9] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "PRIVATE_KEY",
    "ACCESS_KEY",
    "API_KEY",
];
/// A shorter value is found in innocent text too.
const SHORTEST: usize = 8;

/// The variable whose secret stands in a text, if there is one.
///
/// ```
/// use countersign_builder::secrets::told;
/// let variables = [("API_TOKEN".to_owned(), "hunter2hunter2".to_owned())].into();
/// assert_eq!(told("make TOKEN=hunter2hunter2", &variables), Some("API_TOKEN"));
/// assert_eq!(told("make", &variables), None);
/// ```
#[must_use]
pub fn told<'a>(text: &str, variables: &'a Variables) -> Option<&'a str> {
    let secret = |name: &str| {
        let name = name.to_ascii_uppercase();
        NAMES.iter().any(|part| name.contains(part))
    };
    // What names a file or an address is none itself.
    let innocent = |name: &str| ["_FILE", "_URL", "_PATH"].iter().any(|end| name.ends_with(end));
    let stands = |value: &str| {
        let escaped = serde_json::Value::from(value).to_string();
        text.contains(value) || text.contains(escaped.trim_matches('"'))
    };
    let found = variables.iter().find(|(name, value)| {
        secret(name) && !innocent(name) && value.trim().len() >= SHORTEST && stands(value.trim())
    });
    found.map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_as_it_is_and_as_json_has_it() {
        let variables = |name: &str, value: &str| Variables::from([(name.to_owned(), value.to_owned())]);
        let quoted = "quo\"te\\d-secret";
        assert_eq!(
            told(&serde_json::json!([quoted]).to_string(), &variables("my_password", quoted)),
            Some("my_password")
        );
        for (name, value) in
            [("TOKEN", "short"), ("STEP_KEY", "package-step"), ("ID_TOKEN_FILE", "/run/token/x")]
        {
            assert_eq!(told(&format!("it is {value}"), &variables(name, value)), None, "{name}");
        }
    }
}
