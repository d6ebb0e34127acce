//! Dockerfiles: the images that a build starts from, copies from, mounts, or is read by.

use std::collections::BTreeMap;

/// The images of a Dockerfile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Images {
    /// Those that stages begin with, copy from and mount, each once, in their order.
    pub all: Vec<Image>,
    /// That of the last stage, if it begins with an image and not with another stage.
    pub base: Option<Image>,
    /// The one that reads the file (`# syntax=`).
    pub syntax: Option<String>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// As it is written. With a dollar sign in it, whoever builds can name another.
    pub written: String,
    /// With the values of its arguments, or which one has none.
    pub name: Result<String, String>,
}

/// Reads the images that a Dockerfile names, with values for the arguments in front of the first `FROM`.
///
/// ```
/// use countersign_builder::dockerfile::images;
/// let found = images("ARG V=1\nFROM r.example/a:$V AS build\nCOPY --from=build /a /a\n", &Default::default())?;
/// assert_eq!(found.all[0].name.as_deref(), Ok("r.example/a:1"));
/// assert_eq!(found.all.len(), 1);
/// # Ok::<(), String>(())
/// ```
///
/// # Errors
/// What is no Dockerfile: one without `FROM`, and a `FROM` without a name.
pub fn images(text: &str, given: &BTreeMap<String, String>) -> Result<Images, String> {
    let mut found = Images { syntax: directive(text, "syntax").map(str::to_owned), ..Images::default() };
    let escape = if directive(text, "escape") == Some("`") { '`' } else { '\\' };
    let mut stages: BTreeMap<String, Option<Image>> = BTreeMap::new();
    // Stages by number are for COPY and RUN; FROM knows names only.
    let mut begun = 0_usize;
    let mut values = BTreeMap::new();
    for line in instructions(text, escape) {
        let mut words = line.split_whitespace();
        let Some(instruction) = words.next() else { continue };
        match instruction.to_ascii_uppercase().as_str() {
            "ARG" if begun == 0 => values.extend(words.filter_map(|word| argument(word, given))),
            "FROM" => {
                let rest: Vec<&str> = words.filter(|word| !word.starts_with("--")).collect();
                let image = Image::new(rest.first().ok_or("FROM names no image")?, &values);
                match stages.get(&image.stage()) {
                    Some(base) => found.base.clone_from(base),
                    None => {
                        add(&mut found.all, &image);
                        found.base = Some(image).filter(Image::is_one);
                    }
                }
                if let [_, as_word, stage] = rest.as_slice()
                    && as_word.eq_ignore_ascii_case("as")
                {
                    stages.insert(stage.to_ascii_lowercase(), found.base.clone());
                }
                begun += 1;
            }
            "COPY" | "ADD" | "RUN" => {
                let options = words.take_while(|word| word.starts_with("--"));
                for image in options.filter_map(from_of).map(|source| Image::new(source, &values)) {
                    let stage = image.stage();
                    let number = stage.parse().is_ok_and(|number: usize| number < begun);
                    if !number && !stages.contains_key(&stage) {
                        add(&mut found.all, &image);
                    }
                }
            }
            _ => {}
        }
    }
    if begun == 0 {
        return Err("expected a Dockerfile, found no FROM".into());
    }
    Ok(found)
}

impl Image {
    fn new(written: &str, values: &BTreeMap<String, String>) -> Self {
        let written = written.trim_matches(['"', '\'']);
        Self { written: written.to_owned(), name: substituted(written, values) }
    }

    /// The name of a stage that this is, if there is one.
    fn stage(&self) -> String {
        self.name.as_ref().unwrap_or(&self.written).to_ascii_lowercase()
    }

    fn is_one(&self) -> bool {
        self.name.as_deref() != Ok("scratch")
    }
}

fn add(all: &mut Vec<Image>, image: &Image) {
    if image.is_one() && !all.contains(image) {
        all.push(image.clone());
    }
}

/// `NAME=default` or `NAME`, with the value that is given for it.
fn argument(word: &str, given: &BTreeMap<String, String>) -> Option<(String, String)> {
    let (name, default) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    let default = default.map(|value| value.trim_matches('"').to_owned());
    Some((name.to_owned(), given.get(name).cloned().or(default)?))
}

/// The image in `--from=image` and `--mount=type=bind,from=image`.
fn from_of(option: &str) -> Option<&str> {
    option
        .strip_prefix("--from=")
        .or_else(|| option.strip_prefix("--mount=")?.split(',').find_map(|part| part.strip_prefix("from=")))
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
    for line in text.lines().map(str::trim) {
        if let Some(end) = ends.first() {
            if line == end {
                ends.remove(0);
            }
            continue;
        }
        // An empty line does not end one that goes on.
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_suffix(escape) {
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
    let keyword = instruction.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    if !matches!(keyword.as_str(), "RUN" | "COPY" | "ADD") {
        return Vec::new();
    }
    let words = instruction.split_whitespace().filter_map(|word| word.strip_prefix("<<"));
    let words = words.map(|word| word.trim_start_matches('-').trim_matches(['"', '\'']).to_owned());
    words.filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic())).take(16).collect()
}

/// A name with the values of its variables: `$NAME`, `${NAME}`, `${NAME:-default}`.
fn substituted(text: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (inside, tail) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or_else(|| format!("\"{text}\" has an open brace"))?,
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                after.split_at(end)
            }
        };
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(n, d)| (n, Some(d)));
        let value = values.get(name).map(String::as_str).filter(|value| !value.is_empty()).or(default);
        out.push_str(value.ok_or_else(|| {
            format!("\"{text}\" depends on {name}, which has no value; give --build-arg {name}=VALUE")
        })?);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Names = (Vec<String>, Option<String>);

    fn names(text: &str) -> Result<Names, String> {
        let given = BTreeMap::from([("GIVEN".to_owned(), "v9".to_owned())]);
        let found = images(text, &given)?;
        let all = found.all.into_iter().map(|image| image.name).collect::<Result<_, _>>()?;
        Ok((all, found.base.map(|image| image.name).transpose()?))
    }

    #[test]
    fn every_image_is_found_and_stages_are_none() {
        let text = "# FROM comment\nARG V=1.2\nARG GIVEN=v1\nFROM --platform=linux/amd64 a.example/build:$V AS Build\n\
                    RUN --mount=type=bind,from=a.example/tools:${GIVEN},target=/t make\n\
                    FROM \\\n  a.example/base:${X:-x}\nCOPY --from=build /a /b\nCOPY --from=0 /a /b\n\
                    COPY --from=a.example/data:1 /a /b\nFROM scratch\n";
        let (all, base) = names(text).unwrap();
        let expected = ["a.example/build:1.2", "a.example/tools:v9", "a.example/base:x", "a.example/data:1"];
        assert_eq!((all, base), (expected.map(str::to_owned).to_vec(), None));
        let (all, base) = names("FROM a.example/b:1 as x\nFROM x\n").unwrap();
        assert_eq!(
            (all.len(), base.as_deref()),
            (1, Some("a.example/b:1")),
            "a stage has the base of its base"
        );
        assert_eq!(
            names("FROM a.example/b:1\nFROM 0\n").unwrap().0,
            ["a.example/b:1", "0"],
            "FROM knows no numbers"
        );
        let (all, _) = names("FROM a.example/b:1\nRUN \\\n\n --mount=from=a.example/c:1 make\n").unwrap();
        assert_eq!(all, ["a.example/b:1", "a.example/c:1"], "an empty line does not end one that goes on");
    }

    #[test]
    fn what_cannot_be_told_is_an_error_and_not_left_out() {
        for bad in ["", "RUN x", "FROM", "FROM a:$UNKNOWN", "FROM a:${OPEN", "ARG X\nFROM a:$X"] {
            assert!(names(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn texts_within_are_no_instructions_and_directives_are_obeyed() {
        let text = "# syntax=a.example/reader:1\n# escape=`\nFROM a.example/b:1 `\n  AS b\nRUN <<EOF\nFROM a.example/no:1\nEOF\n\
                    COPY <<\"ONE\" <<-TWO /x\nFROM a.example/no:1\nONE\nFROM a.example/no:1\nTWO\nFROM b\n";
        let found = images(text, &BTreeMap::new()).unwrap();
        assert_eq!(found.syntax.as_deref(), Some("a.example/reader:1"));
        assert_eq!(found.all.len(), 1, "{found:?}");
    }
}
