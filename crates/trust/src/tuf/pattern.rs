//! Path patterns of delegations, and names that are safe to use in addresses and directories.

use super::TufError;
use super::metadata::short;

/// Whether a shell pattern (`*`, `?`) matches a whole path. Neither crosses a `/`; there are no character
/// classes.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let mut patterns = pattern.split('/');
    let mut segments = path.split('/');
    loop {
        match (patterns.next(), segments.next()) {
            (None, None) => return true,
            (Some(pattern), Some(segment)) if segment_matches(pattern, segment) => {}
            _ => return false,
        }
    }
}

/// Matches with one point of return, the last `*`: time is at most the product of both lengths.
fn segment_matches(pattern: &str, segment: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let segment: Vec<char> = segment.chars().collect();
    let (mut p, mut s) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&c) = segment.get(s) {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, s));
                p += 1;
            }
            Some(&w) if w == '?' || w == c => {
                p += 1;
                s += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    s = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == '*')
}

/// The longest target path or role name, in bytes.
const MAX_NAME: usize = 200;

/// Refuses a target path that could leave its directory on any system, and gives it as part of an address:
/// every segment percent-encoded.
pub(crate) fn target_path(name: &str) -> Result<Vec<String>, TufError> {
    let refuse = |detail| Err(TufError::UnsafeName { name: short(name), detail });
    if name.is_empty() || name.len() > MAX_NAME {
        return refuse("expected 1 to 200 bytes");
    }
    if name.chars().any(|c| c.is_control() || c == '\\') {
        return refuse("control characters and backslashes are not allowed");
    }
    if name.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return refuse("expected a relative path without empty, \".\" and \"..\" segments");
    }
    Ok(name.split('/').map(encode).collect())
}

/// A role's name as one file name: percent-encoded, so that it cannot leave its directory.
pub(crate) fn role_file(name: &str) -> Result<String, TufError> {
    let encoded = encode(name);
    if name.is_empty() || encoded.len() > MAX_NAME {
        return Err(TufError::UnsafeName { name: short(name), detail: "expected 1 to 200 bytes, encoded" });
    }
    Ok(encoded)
}

/// Percent-encoding of everything but letters, digits, `-`, `_`, `~` and `.` (RFC 3986 section 2.3); a name of
/// dots alone has them encoded too.
pub(crate) fn encode(text: &str) -> String {
    let only_dots = text.bytes().all(|b| b == b'.');
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            b'.' if !only_dots => out.push('.'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_specification_match() {
        for (pattern, path, expected) in [
            ("targets/*.tgz", "targets/foo.tgz", true),
            ("targets/*.tgz", "targets/foo.txt", false),
            ("foo-version-?.tgz", "foo-version-2.tgz", true),
            ("foo-version-?.tgz", "foo-version-alpha.tgz", false),
            ("*.tgz", "foo.tgz", true),
            ("*.tgz", "targets/foo.tgz", false),
            ("foo.tgz", "foo.tgz", true),
            ("foo.tgz", "foo-tgz", false),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("a*b*c", "axxbyybzzc", true),
            ("a*b*c", "axxbyybzz", false),
            ("", "", true),
            ("*", "", true),
            ("?", "é", true),
            ("**", "a/b", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        assert!(!matches(&"*a".repeat(2000), &"a".repeat(1999)));
    }

    #[test]
    fn encoded_role_names_are_single_harmless_file_names() {
        assert_eq!(role_file("../../x").unwrap(), "..%2F..%2Fx");
        assert_eq!(role_file("..").unwrap(), "%2E%2E");
        assert_eq!(role_file("a\\b\0").unwrap(), "a%5Cb%00");
        assert!(role_file("").is_err() && role_file(&"x".repeat(201)).is_err());
    }

    proptest! {
        #[test]
        fn no_role_name_makes_a_path(name in any::<String>()) {
            if let Ok(file) = role_file(&name) {
                prop_assert!(!file.contains(['/', '\\', '\0']) && !matches!(file.as_str(), "" | "." | ".."));
            }
        }

        #[test]
        fn a_path_without_wildcards_matches_itself_only(a in "[a-z/]{0,8}", b in "[a-z/]{0,8}") {
            prop_assert_eq!(matches(&a, &b), a == b);
        }
    }
}
