//! What README.md tells people to read exists, and what a newcomer types first stands in it. That every command line in
//! the documents is one of the program's is a test of the program itself.

use std::fs;

use crate::assert_none;
use crate::workspace::root;

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("README.md exists")
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
fn every_page_of_the_manual_is_linked_from_the_readme() {
    let text = readme();
    let pages = fs::read_dir(root().join("docs")).expect("docs exists");
    let names = pages.map(|page| page.unwrap().file_name().to_string_lossy().into_owned());
    let missing: Vec<String> =
        names.filter(|name| name.ends_with(".md") && !text.contains(&format!("](docs/{name})"))).collect();
    assert_none("README.md does not lead to these pages of docs:", &missing);
}

#[test]
fn the_two_commands_of_the_newcomer_stand_in_the_readme() {
    let text = readme();
    for command in ["cargo run --release -- quickstart", "cargo test --workspace"] {
        assert!(text.contains(command), "README.md must show `{command}`");
    }
}
