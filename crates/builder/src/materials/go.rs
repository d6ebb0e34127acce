//! go.sum: the modules that Go's own tools hold what they fetch against.

use super::{Digests, List, MaterialsError, encoding, purl};

/// Reads the lines `module version h1:base64`. Those of a `go.mod` alone are a part of their module.
pub(super) fn sum(text: &str, list: &mut List) -> Result<(), MaterialsError> {
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [module, version, hash] = words.as_slice() else {
            return Err(MaterialsError::Form(format!(
                "line {}: expected a module, its version and its hash",
                number + 1
            )));
        };
        let (version, part) = match version.strip_suffix("/go.mod") {
            Some(version) => (version, "go.mod"),
            None => (*version, ""),
        };
        let (namespace, name) = module.rsplit_once('/').unwrap_or(("", module));
        let mut purl = purl("golang", namespace, name, version);
        purl.subpath = part.into();
        // What other forms of hash there may come are none that is known.
        let digests = match hash.strip_prefix("h1:").map(encoding::base64_decode) {
            Some(Ok(bytes)) if bytes.len() == 32 => {
                Digests::from([("dirHash1".into(), encoding::hex_encode(&bytes))])
            }
            _ => Digests::new(),
        };
        list.package(&purl, digests, "")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::super::{LockFile, MaterialsError};

    #[test]
    fn modules_and_their_descriptions_are_two_things() {
        let text = "github.com/Acme/mod v1.2.3 h1:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48=\n\
                    github.com/Acme/mod v1.2.3/go.mod h1:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48=\n\
                    github.com/acme/new v1.0.0 h2:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48=\n\
                    github.com/acme/cut v1.0.0 h1:Khu2\n";
        let (pinned, loose) = read(LockFile::Go, text);
        assert_eq!(
            pinned,
            [
                "pkg:golang/github.com/Acme/mod@v1.2.3 dirHash1:2a1b",
                "pkg:golang/github.com/Acme/mod@v1.2.3#go.mod dirHash1:2a1b",
            ]
        );
        assert_eq!(loose, ["pkg:golang/github.com/acme/cut@v1.0.0", "pkg:golang/github.com/acme/new@v1.0.0"]);
    }

    #[test]
    fn a_line_of_another_form_is_refused() {
        for bad in ["a v1", "a v1 h1:x y"] {
            let error = LockFile::Go.read(format!("\n{bad}\n").as_bytes()).unwrap_err();
            assert!(matches!(error, MaterialsError::Form(text) if text.starts_with("line 2:")), "{bad}");
        }
    }
}
