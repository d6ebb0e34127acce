//! Texts of others within scripts. An expression is put into a script before the shell reads it, so what somebody wrote into a title
//! is a command to it.

use super::{At, Findings, Job, Rule, Step};

/// What anybody may write who can open an issue or a pull request, by the last names of the path.
const STRANGERS: [&str; 15] = [
    "body",
    "title",
    "message",
    "label",
    "email",
    "name",
    "ref",
    "head_ref",
    "default_branch",
    "page_name",
    "login",
    "display_title",
    "head_branch",
    "description",
    "homepage",
];
/// Fields of an event that are numbers, digests or names that GitHub makes.
const SAFE: [&str; 12] = [
    "number",
    "id",
    "sha",
    "before",
    "after",
    "action",
    "node_id",
    "created_at",
    "updated_at",
    "merged",
    "draft",
    "conclusion",
];

/// Where scripts are that are no `run`.
const SCRIPTS: [(&str, &str); 2] = [("actions/github-script@", "script"), ("azure/cli@", "inlineScript")];

pub(super) fn look(job: &Job, step: &Step, found: &mut Findings) {
    let uses = step.uses.as_ref().map_or("", |uses| uses.text.as_str());
    let inputs = step.with.iter().filter(|(name, _)| {
        SCRIPTS.iter().any(|(action, input)| uses.to_ascii_lowercase().starts_with(action) && name == input)
    });
    for at in step.script.iter().chain(inputs.map(|(_, at)| at)) {
        for expression in expressions(at) {
            judge(expression, at, job, found);
        }
    }
}

fn judge(expression: &str, at: &At, job: &Job, found: &mut Findings) {
    let shown = format!("${{{{ {expression} }}}}");
    for path in paths(expression) {
        let (rule, why) = match path.as_str() {
            "github.head_ref" => {
                (Rule::ScriptInjection, "the name of a branch, which whoever opens a pull request chooses")
            }
            "github.ref_name" | "github.ref" => {
                (Rule::ScriptExpression, "the name of a branch or tag, which whoever pushes chooses")
            }
            path if path.starts_with("inputs.") || path.starts_with("github.event.inputs.") => {
                (Rule::ScriptExpression, "an input, which whoever starts the run chooses")
            }
            path if path.starts_with("github.event.client_payload") => {
                (Rule::ScriptExpression, "whatever the request that starts the run holds")
            }
            path if path.starts_with("github.event.") => match path.rsplit('.').next() {
                Some(last) if SAFE.contains(&last) || last.ends_with("_id") || last.ends_with("_at") => {
                    continue;
                }
                Some(last) if STRANGERS.contains(&last) => {
                    (Rule::ScriptInjection, "a text of the event, which strangers may have written")
                }
                _ => (Rule::ScriptExpression, "a part of the event, put into the script as it is"),
            },
            _ => continue,
        };
        found.add(rule, at.line, &job.id, &shown, why);
    }
    if expression.replace(' ', "").contains("toJSON(github.event")
        || expression.replace(' ', "").contains("toJson(github.event")
    {
        found.add(
            Rule::ScriptInjection,
            at.line,
            &job.id,
            &shown,
            "the whole event, with all that strangers wrote into it",
        );
    }
}

/// What stands within `${{ }}`.
fn expressions(at: &At) -> impl Iterator<Item = &str> {
    at.text.split("${{").skip(1).filter_map(|rest| rest.split_once("}}").map(|(inside, _)| inside.trim()))
}

/// The paths that an expression names, with `['x']` and `.*` written as `.x` and nothing. Texts in quotation marks are none.
fn paths(expression: &str) -> Vec<String> {
    let indexed = expression.replace("['", ".").replace("']", "").replace(".*", "");
    let mut out = Vec::new();
    for (index, piece) in indexed.split('\'').enumerate() {
        if index % 2 == 0 {
            let words = piece.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')));
            out.extend(words.filter(|word| word.contains('.')).map(str::to_owned));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_in_either_spelling() {
        assert_eq!(paths("github.event['issue'].title || 'github.head_ref'"), ["github.event.issue.title"]);
        assert_eq!(paths("join(github.event.commits.*.message, ',')"), ["github.event.commits.message"]);
        assert!(paths("'").is_empty());
    }
}
