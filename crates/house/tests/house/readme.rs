//! What README.md tells people to type and to read exists.

use std::fs;

use crate::assert_none;
use crate::workspace::{root, sources_of};

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("README.md exists")
}

/// The lines of code blocks, without a shell prompt.
fn commands(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if inside || line.starts_with("    ") {
            found.push(line.trim().trim_start_matches("$ ").to_owned());
        }
    }
    found
}

/// The subcommand of a line that runs the program, whether it is installed or run by cargo.
fn subcommand(command: &str) -> Option<&str> {
    let mut words = command.split_whitespace();
    match words.next()? {
        "countersign" | "./countersign" | "target/release/countersign" => {}
        "cargo" => {
            words.find(|word| *word == "--")?;
        }
        _ => return None,
    }
    words.find(|word| !word.starts_with('-'))
}

/// `sign-blob` as the name of an enum variant: `SignBlob`.
fn variant(name: &str) -> String {
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    name.split('-').filter(|part| !part.is_empty()).map(capital).collect()
}

#[test]
fn every_subcommand_in_the_readme_exists() {
    let source: String = sources_of("cli").into_iter().map(|source| source.text).collect();
    let mut wrong = Vec::new();
    for command in commands(&readme()) {
        let is_ours = !command.starts_with("cargo ") || command.starts_with("cargo run");
        let Some(name) = subcommand(&command).filter(|_| is_ours) else { continue };
        let known = source.contains(&variant(name)) || source.contains(&format!("\"{name}\""));
        if !known {
            wrong.push(command);
        }
    }
    assert_none("README.md names commands which the program does not have:", &wrong);
}

#[test]
fn every_local_link_in_the_readme_leads_somewhere() {
    let text = readme();
    let mut wrong = Vec::new();
    for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let path = target.split('#').next().unwrap_or_default();
        let is_local = !path.is_empty() && !path.contains("://") && !path.starts_with("mailto:");
        if is_local && !root().join(path).exists() {
            wrong.push(target.to_owned());
        }
    }
    assert_none("README.md links to files which do not exist:", &wrong);
}

#[test]
fn the_two_commands_of_the_newcomer_stand_in_the_readme() {
    let text = readme();
    for command in ["cargo run --release -- quickstart", "cargo test --workspace"] {
        assert!(text.contains(command), "README.md must show `{command}`");
    }
}

#[test]
fn subcommands_are_read_from_command_lines() {
    assert_eq!(subcommand("cargo run --release -- quickstart README.md"), Some("quickstart"));
    assert_eq!(subcommand("countersign sign-blob f"), Some("sign-blob"));
    assert_eq!(subcommand("ls -l"), None);
    assert_eq!(variant("sign-blob"), "SignBlob");
}
