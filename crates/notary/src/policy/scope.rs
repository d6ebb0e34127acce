//! Registry scopes: a registry and a repository, in the grammar of the distribution specification.

/// Whether a text is `host[:port]/path`, without tag, digest or wild card.
pub(super) fn is_repository(text: &str) -> bool {
    text.split_once('/').is_some_and(|(domain, path)| is_domain(domain) && path.split('/').all(is_component))
}

fn is_domain(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

/// Letters and digits, with one `.`, one or two `_`, or any number of `-` between them.
fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators =
        text.split(|c: char| c.is_ascii() && alphanumeric(c as u8)).filter(|run| !run.is_empty());
    let bytes = text.as_bytes();
    bytes.first().copied().is_some_and(alphanumeric)
        && bytes.last().copied().is_some_and(alphanumeric)
        && separators.into_iter().all(|run| [".", "_", "__"].contains(&run) || run.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_whole_repository_and_nothing_else() {
        for good in [
            "registry.example.com/app",
            "localhost:5000/team/app",
            "local/my-layout",
            "a.b-c.d:1/x__y/z---w/v.1_2",
            "10.0.0.1/x",
        ] {
            assert!(is_repository(good), "{good}");
        }
        for bad in [
            "",
            "registry.example.com",
            "registry.example.com/",
            "/app",
            "https://registry.example.com/app",
            "registry.example.com/app:1.0",
            "registry.example.com/app@sha256:00",
            "registry.example.com/*",
            "*.example.com/app",
            "registry.example.com/App",
            "registry.example.com/a..b",
            "registry.example.com/a___b",
            "registry.example.com/-a",
            "registry.example.com/a/",
            "registry..example.com/a",
            "-registry.example.com/a",
            "registry.example.com:/a",
            "registry.example.com:x/a",
            "registry.example.com/é",
        ] {
            assert!(!is_repository(bad), "{bad}");
        }
    }
}
