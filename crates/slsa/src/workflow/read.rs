//! A workflow file as jobs and steps, each with its line.

use super::finding::Finding;
use crate::yaml::{Lines, Node, Value, YamlError};

/// The most jobs of one workflow.
pub const MAX_JOBS: usize = 1_000;
/// The most steps of one job.
pub const MAX_STEPS: usize = 1_000;
/// The most lines of a script that are looked for though they are no line of the file.
const MAX_FOLDED: usize = 100;

/// Why a file cannot be read as a workflow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkflowError {
    /// It is no YAML, or too large.
    #[error("{0}: {1}")]
    Yaml(String, YamlError),
    /// It is YAML, and no workflow.
    #[error("{path}:{line}: {what}")]
    Shape {
        /// The file.
        path: String,
        /// The line.
        line: u64,
        /// What was expected and found.
        what: String,
    },
}

/// A text and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// What is written.
    pub text: String,
    /// Where.
    pub line: u64,
}

impl At {
    fn of(node: &Node) -> Option<Self> {
        Some(Self { text: node.scalar()?.to_owned(), line: node.line() })
    }
}

/// What starts a workflow, with what whoever starts it may choose.
#[derive(Debug, Clone)]
pub struct Trigger {
    /// The event.
    pub event: At,
    /// The names of its inputs.
    pub inputs: Vec<At>,
}

/// A step of a job.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its first line.
    pub line: u64,
    /// The action.
    pub uses: Option<At>,
    /// The script, each line of it with its line in the file.
    pub script: Vec<At>,
    /// What runs the script, where that is said.
    pub shell: Option<At>,
    /// What the action is given.
    pub with: Vec<(String, At)>,
    /// Its environment.
    pub env: Vec<(String, At)>,
}

/// A job.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name in the file.
    pub id: String,
    /// Its first line.
    pub line: u64,
    /// The workflow that it is.
    pub uses: Option<At>,
    /// The labels of its runner.
    pub runs_on: Vec<At>,
    /// The images that it runs in and beside.
    pub images: Vec<At>,
    /// What it may do, by name; one without a name is for all.
    pub permissions: Option<Vec<(String, At)>>,
    /// The secrets that it hands to a workflow.
    pub secrets: Vec<At>,
    /// Its environment.
    pub env: Vec<(String, At)>,
    /// What runs the scripts of steps that do not say it.
    pub shell: Option<At>,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// A workflow file.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// Where it is.
    pub path: String,
    /// What starts it.
    pub triggers: Vec<Trigger>,
    /// What its jobs may do unless they say otherwise.
    pub permissions: Option<Vec<(String, At)>>,
    /// The environment of all jobs.
    pub env: Vec<(String, At)>,
    /// Its jobs.
    pub jobs: Vec<Job>,
    /// What is found in it.
    pub(super) findings: Vec<Finding>,
}

impl Workflow {
    /// Reads a file.
    ///
    /// # Errors
    /// [`WorkflowError`]: no YAML, no jobs, limits.
    pub fn read(path: &str, text: &str) -> Result<Self, WorkflowError> {
        let node = Node::read(text).map_err(|e| WorkflowError::Yaml(path.to_owned(), e))?;
        let wrong = |line, what: String| WorkflowError::Shape { path: path.to_owned(), line, what };
        let lines = Lines::of(text);
        let jobs = node.get("jobs").map_or(&[][..], Node::fields);
        if jobs.is_empty() {
            return Err(wrong(node.line(), "jobs: expected jobs, found none; is this a workflow?".into()));
        }
        if jobs.len() > MAX_JOBS {
            return Err(wrong(
                node.line(),
                format!("expected at most {MAX_JOBS} jobs, found {}", jobs.len()),
            ));
        }
        let shell = shell(&node);
        let mut read = Vec::with_capacity(jobs.len());
        for (index, (id, job)) in jobs.iter().enumerate() {
            let end = jobs.get(index + 1).map_or(lines.count(), |(_, next)| next.line().saturating_sub(1));
            let steps = job.get("steps").map_or(&[][..], Node::items);
            if steps.len() > MAX_STEPS {
                let found = steps.len();
                return Err(wrong(job.line(), format!("expected at most {MAX_STEPS} steps, found {found}")));
            }
            let mut job = Job::of(id, job, steps, &lines, end);
            for step in job.steps.iter_mut().filter(|step| !step.script.is_empty()) {
                step.shell = step.shell.take().or_else(|| job.shell.clone()).or_else(|| shell.clone());
            }
            read.push(job);
        }
        let mut workflow = Self {
            path: path.to_owned(),
            triggers: node.get("on").map(triggers).unwrap_or_default(),
            permissions: node.get("permissions").map(permissions),
            env: texts(node.get("env")),
            jobs: read,
            findings: Vec::new(),
        };
        workflow.findings = workflow.look();
        Ok(workflow)
    }
}

impl Job {
    fn of(id: &str, node: &Node, steps: &[Node], lines: &Lines<'_>, end: u64) -> Self {
        let image = |node: &Node| node.get("image").and_then(At::of).or_else(|| At::of(node));
        let mut images: Vec<At> = node.get("container").and_then(image).into_iter().collect();
        let services = node.get("services").map_or(&[][..], Node::fields);
        images.extend(services.iter().filter_map(|(_, service)| image(service)));
        let secrets = match node.get("secrets") {
            Some(secrets) if secrets.scalar().is_some() => At::of(secrets).into_iter().collect(),
            Some(secrets) => secrets.fields().iter().filter_map(|(_, value)| At::of(value)).collect(),
            None => Vec::new(),
        };
        let step = |(index, step): (usize, &Node)| {
            let last = steps.get(index + 1).map_or(end, |next| next.line().saturating_sub(1));
            Step::of(step, lines, last)
        };
        Self {
            id: id.to_owned(),
            line: node.line(),
            uses: node.get("uses").and_then(At::of),
            runs_on: node.get("runs-on").map(labels).unwrap_or_default(),
            images,
            permissions: node.get("permissions").map(permissions),
            secrets,
            env: texts(node.get("env")),
            shell: shell(node),
            steps: steps.iter().enumerate().map(step).collect(),
        }
    }
}

impl Step {
    fn of(node: &Node, lines: &Lines<'_>, last: u64) -> Self {
        Self {
            line: node.line(),
            uses: node.get("uses").and_then(At::of),
            script: node.get("run").map(|run| script(run, lines, last)).unwrap_or_default(),
            shell: node.get("shell").and_then(At::of),
            with: texts(node.get("with")),
            env: texts(node.get("env")),
        }
    }
}

/// What runs scripts unless a step says otherwise.
fn shell(node: &Node) -> Option<At> {
    node.get("defaults")?.get("run")?.get("shell").and_then(At::of)
}

/// A script line by line. One that stands nowhere as it is, because it was folded or escaped, is on the line of the last one that does.
fn script(run: &Node, lines: &Lines<'_>, last: u64) -> Vec<At> {
    let text = run.scalar().unwrap_or_default();
    let (mut here, mut next) = (run.line(), run.line());
    let mut out = Vec::new();
    let mut folded = 0;
    for line in text.lines() {
        let mut found = None;
        if folded < MAX_FOLDED && !line.trim().is_empty() {
            found = lines.whole(next, last, line).or_else(|| {
                folded += 1;
                lines.holding(next, last, line)
            });
        }
        if let Some(found) = found {
            (here, next) = (found, found + 1);
        }
        out.push(At { text: line.to_owned(), line: here });
    }
    out
}

fn texts(node: Option<&Node>) -> Vec<(String, At)> {
    let fields = node.map_or(&[][..], Node::fields);
    fields.iter().filter_map(|(name, value)| Some((name.clone(), At::of(value)?))).collect()
}

/// The labels of a runner: one, a list, or a group with labels.
fn labels(node: &Node) -> Vec<At> {
    match node.value() {
        Value::List(items) => items.iter().filter_map(At::of).collect(),
        Value::Map(fields) => {
            fields.iter().filter(|(name, _)| name == "labels").flat_map(|(_, value)| labels(value)).collect()
        }
        _ => At::of(node).into_iter().collect(),
    }
}

/// Permissions by name; `write-all` and `read-all` have none.
fn permissions(node: &Node) -> Vec<(String, At)> {
    match At::of(node) {
        Some(all) => vec![(String::new(), all)],
        None => texts(Some(node)),
    }
}

/// Events: one, a list, or a map with the settings of each.
fn triggers(node: &Node) -> Vec<Trigger> {
    let bare = |event: At| Trigger { event, inputs: Vec::new() };
    match node.value() {
        Value::List(items) => items.iter().filter_map(At::of).map(bare).collect(),
        Value::Map(fields) => fields
            .iter()
            .map(|(event, settings)| {
                let inputs = settings.get("inputs").map_or(&[][..], Node::fields);
                Trigger {
                    event: At { text: event.clone(), line: settings.line() },
                    inputs: inputs
                        .iter()
                        .map(|(name, input)| At { text: name.clone(), line: input.line() })
                        .collect(),
                }
            })
            .collect(),
        _ => At::of(node).map(bare).into_iter().collect(),
    }
}
