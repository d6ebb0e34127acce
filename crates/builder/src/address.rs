//! Addresses as provenance may tell them: without users, passwords and whatever else in them lets somebody in.

use url::Url;

/// The longest address taken, in bytes.
const MAX_ADDRESS_LEN: usize = 4096;
/// How addresses that a program can fetch begin.
const SCHEMES: [&str; 5] = ["https", "http", "ssh", "git", "file"];

/// An address without user, password, query and fragment: each of them can be a secret. `None` for what is no address.
///
/// ```
/// use countersign_builder::address::public;
/// let found = public("https://ci:s3cret@git.example/acme/shop?private_token=abc#L1");
/// assert_eq!(found.as_deref(), Some("https://git.example/acme/shop"));
/// assert_eq!(public("shop"), None);
/// ```
#[must_use]
pub fn public(text: &str) -> Option<String> {
    let mut url = parsed(text)?;
    url.set_query(None);
    url.set_fragment(None);
    // These fail for addresses without a host, which have no user either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    (url.username().is_empty() && url.password().is_none()).then(|| url.to_string())
}

/// The address of a git repository as provenance writes it: `git+`, the address in public form, and what was taken of it.
/// The short form of ssh (`git@host:path`) is spelled out.
///
/// ```
/// use countersign_builder::address::git;
/// let found = git("git@git.example:acme/shop.git", "refs/heads/main");
/// assert_eq!(found.as_deref(), Some("git+ssh://git.example/acme/shop.git@refs/heads/main"));
/// ```
#[must_use]
pub fn git(text: &str, reference: &str) -> Option<String> {
    let text = text.strip_prefix("git+").unwrap_or(text);
    let address = public(&short_ssh(text).unwrap_or_else(|| text.to_owned()))?;
    Some(if reference.is_empty() { format!("git+{address}") } else { format!("git+{address}@{reference}") })
}

fn parsed(text: &str) -> Option<Url> {
    let text = text.trim();
    if text.len() > MAX_ADDRESS_LEN || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return None;
    }
    Url::parse(text).ok().filter(|url| SCHEMES.contains(&url.scheme()))
}

/// `user@host:path` as an address. With `://` it is one already; without a host before the colon it is a path.
fn short_ssh(text: &str) -> Option<String> {
    if text.contains("://") {
        return None;
    }
    let (place, path) = text.trim().split_once(':')?;
    let host = place.rsplit_once('@').map_or(place, |(_, host)| host);
    let named = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    (named && !path.is_empty()).then(|| format!("ssh://{host}/{}", path.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_lets_somebody_in_is_left_out() {
        for (given, told) in [
            ("https://gitlab-ci-token:glcbt-1@git.example/a/b.git", "https://git.example/a/b.git"),
            ("https://ghp_token@git.example/a/b", "https://git.example/a/b"),
            ("https://git.example/a.tgz?sig=abc&se=1", "https://git.example/a.tgz"),
            ("https://git.example/a.tgz#token", "https://git.example/a.tgz"),
            ("ssh://git:pw@git.example:22/a", "ssh://git.example:22/a"),
            ("  https://git.example/a\n", "https://git.example/a"),
        ] {
            assert_eq!(public(given).as_deref(), Some(told), "{given}");
        }
        for none in ["", "a/b", "mailto:a@b", "javascript:x", "https://", "https://a b/", "data:,secret"] {
            assert_eq!(public(none), None, "{none}");
        }
        assert_eq!(public(&format!("https://a/{}", "x".repeat(MAX_ADDRESS_LEN))), None);
    }

    #[test]
    fn git_is_told_in_one_form() {
        let told = |given| git(given, "");
        assert_eq!(told("git+https://u:p@a.example/b").as_deref(), Some("git+https://a.example/b"));
        assert_eq!(told("git@a.example:b/c").as_deref(), Some("git+ssh://a.example/b/c"));
        assert_eq!(told("a.example:/b/c").as_deref(), Some("git+ssh://a.example/b/c"));
        assert_eq!(told("file:///srv/b").as_deref(), Some("git+file:///srv/b"));
        for none in ["", "/srv/b", ":b", "u:p w@a.example:b", "-oProxyCommand=x:b", "a.example:"] {
            assert_eq!(told(none), None, "{none}");
        }
    }
}
