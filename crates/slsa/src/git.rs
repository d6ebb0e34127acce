//! Repositories and refs as people, provenance and certificates spell them, brought to one spelling before they are compared.

/// A repository, and the ref of it that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The repository as a URL without `git+`, with scheme and host in small letters, without `.git` and slashes at its end.
    pub repository: String,
    /// What stands behind the `@`.
    pub reference: Option<String>,
}

impl Source {
    /// Reads an address: `git+https://host/owner/name@ref`, `https://…`, or `host/owner/name`. `None` for what could be read in
    /// two ways: users in front of the host, white space, path segments that lead elsewhere, escapes.
    ///
    /// ```
    /// use countersign_slsa::Source;
    /// let one = Source::parse("git+https://GitHub.com/acme/shop.git@refs/tags/v1").expect("a source");
    /// assert_eq!(one.repository, "https://github.com/acme/shop");
    /// assert_eq!(one.reference.as_deref(), Some("refs/tags/v1"));
    /// assert_eq!(Source::parse("github.com/acme/shop").expect("a source").repository, one.repository);
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty()
            || !text.bytes().all(|b| b.is_ascii_graphic())
            || text.contains(['%', '\\', '?', '#'])
        {
            return None;
        }
        let text = text.strip_prefix("git+").unwrap_or(text);
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let scheme = scheme.to_ascii_lowercase();
        if !["https", "http", "ssh", "git", "file"].contains(&scheme.as_str()) {
            return None;
        }
        let (address, reference) = match rest.split_once('@') {
            None => (rest, None),
            Some((address, reference)) if address.contains('/') && is_reference(reference) => {
                (address, Some(reference))
            }
            Some(_) => return None,
        };
        let (host, path) = address.split_once('/')?;
        let path = path.trim_end_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let segment = |part: &str| !part.is_empty() && part != "." && part != "..";
        if (host.is_empty() && scheme != "file") || !path.split('/').all(segment) {
            return None;
        }
        Some(Self {
            repository: format!("{scheme}://{}/{path}", host.to_ascii_lowercase()),
            reference: reference.map(str::to_owned),
        })
    }
}

fn is_reference(text: &str) -> bool {
    !text.is_empty() && !text.contains('@')
}

/// Whether two spellings are of one repository.
#[must_use]
pub fn same_repository(one: &str, other: &str) -> bool {
    match (Source::parse(one), Source::parse(other)) {
        (Some(one), Some(other)) => one.repository == other.repository,
        _ => false,
    }
}

/// A tag's full ref; `refs/tags/` in front may be left out. Nothing but a tag has it.
#[must_use]
pub fn tag_reference(text: &str) -> String {
    if text.starts_with("refs/tags/") { text.to_owned() } else { format!("refs/tags/{text}") }
}

/// A branch's full ref; `refs/heads/` in front may be left out. Nothing but a branch has it.
#[must_use]
pub fn branch_reference(text: &str) -> String {
    if text.starts_with("refs/heads/") { text.to_owned() } else { format!("refs/heads/{text}") }
}

/// Whether the tag in a ref is the wanted version: all of the numbers that are wanted are its first, and the pre-release is
/// the same. What stands behind a `+` is of no account. Major, minor and patch are asked for from the left.
///
/// # Errors
/// In words, when what is wanted is no version.
pub fn is_version(reference: &str, wanted: &str) -> Result<bool, String> {
    let wrong = || format!("expected a version such as v1, v1.2 or v1.2.3, found \"{wanted}\"");
    let (numbers, wanted_version) = lenient(wanted).ok_or_else(wrong)?;
    let Some(tag) = reference.strip_prefix("refs/tags/") else { return Ok(false) };
    let Some((3, found)) = lenient(tag) else { return Ok(false) };
    let pairs = [
        (found.major, wanted_version.major),
        (found.minor, wanted_version.minor),
        (found.patch, wanted_version.patch),
    ];
    Ok(pairs.iter().take(numbers).all(|(found, wanted)| found == wanted)
        && (found.pre == wanted_version.pre || (numbers < 3 && found.pre.is_empty())))
}

/// A version of one to three numbers, `v` in front or not, and how many there are.
fn lenient(text: &str) -> Option<(usize, semver::Version)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at(end);
    let numbers = core.split('.').count();
    if !(1..=3).contains(&numbers) || (numbers < 3 && !rest.is_empty()) {
        return None;
    }
    let full = format!("{core}{}{rest}", ".0".repeat(3 - numbers));
    Some((numbers, semver::Version::parse(&full).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_repository_has_one_spelling() {
        let own = "https://github.com/acme/shop";
        for same in [
            "git+https://github.com/acme/shop",
            "https://github.com/acme/shop/",
            "https://github.com/acme/shop.git",
            "github.com/acme/shop",
            "HTTPS://GITHUB.COM/acme/shop@refs/heads/main",
        ] {
            assert!(same_repository(own, same), "{same}");
        }
        for other in [
            "https://github.com/acme/shop-evil",
            "https://github.com/acme/shop/evil",
            "https://github.com/ACME/shop",
            "http://github.com/acme/shop",
            "https://github.com.evil.example/acme/shop",
            "https://evil.example/github.com/acme/shop",
        ] {
            assert!(!same_repository(own, other), "{other}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_source() {
        for text in [
            "",
            "shop",
            "https://",
            "https:///shop",
            "https://github.com/",
            "https://github.com",
            "https://user@github.com/acme/shop",
            "https://github.com@evil.example/acme/shop",
            "https://github.com/acme/../evil/shop",
            "https://github.com/acme/./shop",
            "https://github.com//shop",
            "https://github.com/acme/shop%2f..",
            "https://github.com/acme/shop?x",
            "https://github.com/acme/shop#x",
            "https://github.com/acme/shop\0",
            "https://github.com/acme/shop\n",
            "https://github.com/acme/sh\u{43e}p",
            "https://github.com/acme/shop@",
            "https://github.com/acme/shop@refs/heads/a@refs/heads/main",
            "javascript://github.com/acme/shop",
        ] {
            assert_eq!(Source::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_version_is_asked_for_from_the_left() {
        let is = |tag: &str, wanted: &str| is_version(&format!("refs/tags/{tag}"), wanted).unwrap();
        for (tag, wanted) in [
            ("v1.2.3", "v1.2.3"),
            ("v1.2.3", "v1.2"),
            ("v1.2.3", "v1"),
            ("1.2.3", "v1.2.3"),
            ("v1.2.3+build", "v1.2.3"),
            ("v1.2.3", "v1.2.3+other"),
            ("v1.2.3-rc.1", "v1.2.3-rc.1"),
        ] {
            assert!(is(tag, wanted), "{tag} {wanted}");
        }
        for (tag, wanted) in [
            ("v1.2.3", "v1.2.4"),
            ("v1.20.3", "v1.2"),
            ("v11.2.3", "v1"),
            ("v1.2.3-rc.1", "v1.2.3"),
            ("v1.2.3-rc.1", "v1.2"),
            ("v1.2.3", "v1.2.3-rc.1"),
            ("v1.2", "v1.2"),
            ("v1.02.3", "v1"),
            ("release-1.2.3", "v1"),
            ("v1.2.3.4", "v1"),
        ] {
            assert!(!is(tag, wanted), "{tag} {wanted}");
        }
        assert_eq!(is_version("refs/heads/v1.2.3", "v1.2.3"), Ok(false), "a branch is no tag");
        for wanted in ["", "v", "1.2.3.4", "v1-rc", "latest", "v1.2.x"] {
            assert!(is_version("refs/tags/v1.2.3", wanted).is_err(), "{wanted}");
        }
    }

    #[test]
    fn refs_may_be_short() {
        assert_eq!(tag_reference("v1"), "refs/tags/v1");
        assert_eq!(tag_reference("refs/tags/v1"), "refs/tags/v1");
        assert_eq!(tag_reference("refs/heads/v1"), "refs/tags/refs/heads/v1", "which no branch has");
        assert_eq!(branch_reference("refs/tags/v1"), "refs/heads/refs/tags/v1", "which no tag has");
        assert_eq!(branch_reference("main"), "refs/heads/main");
    }
}
