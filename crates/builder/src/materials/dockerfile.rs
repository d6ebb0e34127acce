//! Dockerfiles: the images that a build starts from, copies from, or is read by.

use countersign_registry::Reference;

use super::{Digests, List, MaterialsError, purl};

/// Reads `FROM`, `COPY --from=`, `--mount=…from=` and the `syntax` line. An image that is named by an argument is loose:
/// whoever builds can give another.
pub(super) fn images(text: &str, list: &mut List) -> Result<(), MaterialsError> {
    if let Some(syntax) = syntax(text) {
        image(syntax, list)?;
    }
    let escape = if directive(text, "escape") == Some("`") { '`' } else { '\\' };
    let mut stages: Vec<String> = Vec::new();
    for instruction in instructions(text, escape) {
        let mut words = instruction.split_ascii_whitespace();
        let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
        match keyword.as_str() {
            "FROM" => {
                let mut words = words.skip_while(|word| word.starts_with("--"));
                let name = words.next().unwrap_or_default();
                stage(name, &stages, list)?;
                // A stage of a number has none but its number.
                let own = words.next().filter(|word| word.eq_ignore_ascii_case("AS")).and(words.next());
                stages.push(own.unwrap_or_default().to_ascii_lowercase());
            }
            "COPY" | "ADD" | "RUN" => {
                for option in words.take_while(|word| word.starts_with("--")) {
                    stage(from_of(option), &stages, list)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The image in `--from=image` and `--mount=type=bind,from=image`.
fn from_of(option: &str) -> &str {
    if let Some(image) = option.strip_prefix("--from=") {
        return image;
    }
    let parts = option.strip_prefix("--mount=").unwrap_or_default().split(',');
    parts.filter_map(|part| part.strip_prefix("from=")).next().unwrap_or_default()
}

/// An image, unless it is one of the file's own stages, or nothing.
fn stage(name: &str, stages: &[String], list: &mut List) -> Result<(), MaterialsError> {
    let name = name.trim_matches(['"', '\'']);
    let own = |stage: &String| !stage.is_empty() && *stage == name.to_ascii_lowercase();
    let number = name.parse::<usize>().is_ok_and(|number| number < stages.len());
    if name.is_empty() || name == "scratch" || number || stages.iter().any(own) {
        return Ok(());
    }
    image(name, list)
}

fn image(name: &str, list: &mut List) -> Result<(), MaterialsError> {
    let Some((reference, digest)) =
        Reference::parse(name).ok().and_then(|r| r.digest().copied().map(|digest| (r, digest)))
    else {
        return list.loose(&format!("image {name}"));
    };
    let repository = reference.repository();
    let last = repository.path().rsplit('/').next().unwrap_or_default();
    let mut purl = purl("oci", "", last, &digest.to_string());
    purl.qualifiers
        .insert("repository_url".into(), format!("{}/{}", repository.registry(), repository.path()));
    if let Some(tag) = reference.tag() {
        purl.qualifiers.insert("tag".into(), tag.to_string());
    }
    let digests = Digests::from([(digest.algorithm().name().into(), digest.to_hex())]);
    list.package(&purl, digests, "")
}

/// The image that reads the file.
fn syntax(text: &str) -> Option<&str> {
    directive(text, "syntax")
}

/// A directive: `# name=value` before anything else.
fn directive<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lines = text.lines().map_while(|line| line.trim().strip_prefix('#'));
    let mut pairs = lines.map_while(|line| line.split_once('='));
    pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Instructions, each on one line: what goes on is joined; comments and the texts behind `<<NAME` are left out.
fn instructions(text: &str, escape: char) -> Vec<String> {
    let (mut found, mut current) = (Vec::new(), String::new());
    let mut ends: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(end) = ends.first() {
            if line.trim() == end {
                ends.remove(0);
            }
            continue;
        }
        if line.trim_start().starts_with('#') {
            continue;
        }
        match line.trim_end().strip_suffix(escape) {
            Some(part) => {
                current.push_str(part);
                current.push(' ');
            }
            None => {
                current.push_str(line);
                ends = heredocs(&current);
                found.push(std::mem::take(&mut current));
            }
        }
    }
    found.push(current);
    found
}

/// The words that end the texts which an instruction is followed by.
fn heredocs(instruction: &str) -> Vec<String> {
    let keyword = instruction.split_ascii_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    if !matches!(keyword.as_str(), "RUN" | "COPY" | "ADD") {
        return Vec::new();
    }
    let words = instruction.split_ascii_whitespace().filter_map(|word| word.strip_prefix("<<"));
    let words = words.map(|word| word.trim_start_matches('-').trim_matches(['"', '\'']).to_owned());
    words.filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic())).take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::super::LockFile;
    use super::super::tests::read;

    #[test]
    fn images_by_digest_are_pinned_and_others_are_not() {
        let digest = |byte: &str| format!("sha256:{}", byte.repeat(32));
        let text = format!(
            "# syntax=docker/dockerfile:1@{}\n# escape=\\\nARG BASE=r.example/base@{}\n\
             FROM --platform=$BUILDPLATFORM r.example/team/go:1.25@{} AS Build\n\
             RUN <<EOF\nFROM r.example/inside@{}\nEOF\n\
             from build as test\nFROM $BASE\nFROM scratch\n\
             COPY --from=build /a /a\nCOPY --from=0 /a /a\nCOPY \\\n  # between\n  --chown=1 --from=r.example/tools@{} /b /b\n\
             RUN --mount=type=bind,from=r.example/cache,target=/c make\nFROM alpine\nFROM 7\n",
            digest("aa"),
            digest("bb"),
            digest("cc"),
            digest("dd"),
            digest("ee"),
        );
        let (pinned, loose) = read(LockFile::Dockerfile, &text);
        let names: Vec<&str> = pinned.iter().map(|line| line.split('@').next().unwrap()).collect();
        assert_eq!(names, ["pkg:oci/dockerfile", "pkg:oci/go", "pkg:oci/tools"]);
        assert!(
            pinned[1].ends_with("?repository_url=r.example%2Fteam%2Fgo&tag=1.25 sha256:cccc"),
            "{}",
            pinned[1]
        );
        assert_eq!(loose, ["image $BASE", "image 7", "image alpine", "image r.example/cache"]);
    }

    #[test]
    fn a_digest_of_another_spelling_pins_nothing() {
        for digest in ["sha256:AB", "sha1:aa", &format!("sha256:{}", "AB".repeat(32))] {
            let (pinned, loose) = read(LockFile::Dockerfile, &format!("FROM r.example/a@{digest}\n"));
            assert_eq!((pinned.len(), loose.len()), (0, 1), "{digest}");
        }
    }
}
