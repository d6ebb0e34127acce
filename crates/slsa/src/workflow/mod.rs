//! Workflow files of GitHub, read without being run: what in them can change without the file changing, what they fetch while they
//! build, and who can make them do what. Each finding has the line on which it stands.
//!
//! | module | subject |
//! |---|---|
//! | [`finding`] | the rules by name, and a finding |
//! | `read` | the file as jobs and steps |
//! | `references` | actions, workflows and images, and whether each always means the same |
//! | `shell`, `commands` | scripts as commands; commands that fetch or run what stands elsewhere |
//! | `expressions` | texts of others within scripts |
//! | `settings` | triggers, inputs, permissions, runners, secrets, caches |

use std::collections::BTreeSet;

mod commands;
mod expressions;
pub mod finding;
mod read;
mod references;
mod settings;
mod shell;

pub use finding::{Finding, Rule, Weight};
pub use read::{At, Job, MAX_JOBS, MAX_STEPS, Step, Trigger, Workflow, WorkflowError};

/// The most findings of one file; a file with more has enough of them.
pub const MAX_FINDINGS: usize = 2_000;
/// The longest piece of a file that a finding shows, in characters.
const MAX_SHOWN: usize = 120;

/// What was found in a file, by line.
#[derive(Debug, Default)]
struct Findings(BTreeSet<Finding>);

impl Findings {
    /// Adds one. `shown` is what stands there, `why` what it means.
    fn add(&mut self, rule: Rule, line: u64, job: &str, shown: &str, why: impl Into<String>) {
        if self.0.len() < MAX_FINDINGS {
            let words = shown.split_whitespace().flat_map(|word| [" ", word]);
            let mut chars = words.flat_map(str::chars).skip(1);
            let mut text: String = chars.by_ref().take(MAX_SHOWN).collect();
            if chars.next().is_some() {
                text.pop();
                text.push('…');
            }
            self.0.insert(Finding { rule, line, job: job.to_owned(), text, why: why.into() });
        }
    }
}

impl Workflow {
    /// All that is found in it, in the order of the lines.
    ///
    /// ```
    /// use countersign_slsa::workflow::{Rule, Workflow};
    /// let text = "on: push\njobs:\n  build:\n    runs-on: ubuntu-24.04\n    steps:\n    - uses: acme/setup@v1\n    - run: |\n        docker pull acme/tools:1\n";
    /// let workflow = Workflow::read("release.yml", text)?;
    /// let docker = workflow.findings().iter().find(|finding| finding.rule == Rule::NetworkCommand).expect("the pull");
    /// assert_eq!(docker.line, 8);
    /// # Ok::<(), countersign_slsa::workflow::WorkflowError>(())
    /// ```
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Looks for them.
    fn look(&self) -> Vec<Finding> {
        let mut found = Findings::default();
        settings::look(self, &mut found);
        for job in &self.jobs {
            references::look(job, &mut found);
            for step in &job.steps {
                commands::look(job, step, &mut found);
                expressions::look(job, step, &mut found);
            }
        }
        let mut found: Vec<Finding> = found.0.into_iter().collect();
        found.sort_by(|a, b| (a.line, a.rule, &a.text).cmp(&(b.line, b.rule, &b.text)));
        found
    }
}

#[cfg(test)]
mod tests;
