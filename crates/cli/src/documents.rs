//! What the documents tell people to type can be typed: every command line in them is one of the program's.

use std::path::Path;

use clap::{CommandFactory as _, Parser as _};

use crate::cli::{Cli, respelled};

/// The texts of README.md and of all pages of the manual, with their names.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let manual = std::fs::read_dir(root.join("docs")).unwrap().map(|page| page.unwrap().path());
    let pages = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
        .map(|name| root.join(name));
    pages
        .into_iter()
        .chain(manual.filter(|path| path.extension().is_some_and(|extension| extension == "md")))
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

/// The lines to type: those of the blocks which begin with a prompt, and those which are set in. A line that goes on is one.
fn typed(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let lines =
        joined.lines().filter_map(|line| line.strip_prefix("$ ").or_else(|| line.strip_prefix("    ")));
    lines.map(str::to_owned).collect()
}

/// The words of each program in a line, as a shell takes them apart; enough of a shell for what the pages use.
fn programs(line: &str) -> Vec<Vec<String>> {
    let (mut programs, mut word, mut quote, mut begun) = (vec![Vec::new()], String::new(), None, false);
    for c in line.chars().chain([' ']) {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => (quote, begun) = (Some(c), true),
            (None, ' ') => {
                match word.as_str() {
                    "|" | "&&" | ">" => programs.push(Vec::new()),
                    "" if !begun => {}
                    _ => programs.last_mut().unwrap().push(word.clone()),
                }
                (word, begun) = (String::new(), false);
            }
            (_, c) => word.push(c),
        }
    }
    for words in &mut programs {
        // Variables that are set for the program.
        let set = |word: &String| {
            word.split_once('=')
                .is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        };
        let before = words.iter().take_while(|word| set(word)).count();
        words.drain(..before);
    }
    programs
}

#[test]
fn every_command_line_in_the_documents_is_one() {
    let mut found = 0;
    for (page, text) in pages() {
        for line in typed(&text) {
            for mut words in programs(&line) {
                if words.starts_with(&["cargo".to_owned(), "run".to_owned()]) {
                    let behind = words.iter().position(|word| word == "--").unwrap();
                    words.splice(..=behind, ["countersign".to_owned()]);
                }
                if words.first().is_none_or(|word| word != "countersign") {
                    continue;
                }
                // Comments are for people.
                words.truncate(words.iter().position(|word| word == "#").unwrap_or(words.len()));
                if let Err(error) = Cli::try_parse_from(respelled(words.into_iter().map(Into::into))) {
                    panic!("{page}: {line}\n{error}");
                }
                found += 1;
            }
        }
    }
    assert!(found > 60, "only {found} were found: the search is wrong");
}

/// The command lines in the templates for CI, taken out of YAML and of Jenkins' quotes.
fn in_templates() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/ci");
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '/'])) {
            let line = line.strip_prefix("- ").unwrap_or(line);
            let line = line.strip_prefix("run: ").unwrap_or(line);
            let quoted = line.strip_prefix("sh '").and_then(|line| line.strip_suffix('\''));
            if quoted.unwrap_or(line).starts_with("countersign ") {
                found.push((name.clone(), quoted.unwrap_or(line).to_owned()));
            }
        }
    }
    found
}

#[test]
fn every_command_line_in_the_templates_is_one_and_each_platform_has_its_template() {
    let found = in_templates();
    for (name, line) in &found {
        for words in programs(line) {
            if let Err(error) = Cli::try_parse_from(respelled(words.into_iter().map(Into::into))) {
                panic!("{name}: {line}\n{error}");
            }
        }
    }
    let platforms = [
        "github-actions.yml",
        "gitlab-ci.yml",
        "Jenkinsfile",
        "tekton.yaml",
        "buildkite.yml",
        "circleci.yml",
    ];
    for platform in platforms {
        let signs =
            |(name, line): &(String, String)| name == platform && line.starts_with("countersign provenance");
        assert!(found.iter().any(signs), "{platform} signs no provenance");
        if platform != "Jenkinsfile" {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/ci").join(platform);
            let text = std::fs::read_to_string(path).unwrap();
            assert!(serde_saphyr::from_str::<serde_json::Value>(&text).is_ok(), "{platform} is no YAML");
        }
    }
}

#[test]
fn every_command_that_a_text_mentions_is_there() {
    let mut cli = Cli::command();
    cli.build();
    let mut found = 0;
    for (page, text) in pages() {
        // Between backticks: every second part.
        for span in text.split('`').skip(1).step_by(2) {
            let Some(words) = span.strip_prefix("countersign ") else { continue };
            let mut command = &cli;
            for word in words.split_whitespace() {
                if !command.has_subcommands() || word.starts_with('-') {
                    break;
                }
                command =
                    command.find_subcommand(word).unwrap_or_else(|| panic!("{page}: there is no `{span}`"));
            }
            found += 1;
        }
    }
    assert!(found > 20, "only {found} were found: the search is wrong");
}
