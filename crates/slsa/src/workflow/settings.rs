//! What a workflow and its jobs are set to: what starts them, with which rights, on which machines, with which secrets and caches.

use super::{At, Findings, Job, Rule, Step, Workflow};

/// Actions that download what they set up, or build with a network.
const NETWORK_ACTIONS: [&str; 12] = [
    "docker/build-push-action",
    "docker/setup-buildx-action",
    "docker/setup-qemu-action",
    "docker/bake-action",
    "docker/login-action",
    "actions/setup-",
    "actions-rs/",
    "dtolnay/rust-toolchain",
    "ruby/setup-ruby",
    "golangci/",
    "goreleaser/goreleaser-action",
    "azure/setup-",
];
/// Actions that are a cache or have one unless told otherwise.
const CACHES: [&str; 6] = [
    "actions/cache",
    "swatinem/rust-cache",
    "mozilla-actions/sccache-action",
    "gradle/actions/setup-gradle",
    "gradle/gradle-build-action",
    "hendrikmuhs/ccache-action",
];
/// Inputs of actions that turn a cache on.
const CACHE_INPUTS: [&str; 6] =
    ["cache", "cache-from", "cache-to", "bundler-cache", "cache-dependency-path", "enable-cache"];

pub(super) fn look(workflow: &Workflow, found: &mut Findings) {
    for trigger in &workflow.triggers {
        let event = &trigger.event;
        if event.text == "pull_request_target" {
            let why = "runs on changes of strangers with the rights and secrets of the project";
            found.add(Rule::PullRequestTarget, event.line, "", &event.text, why);
        }
        let dispatched = event.text == "workflow_dispatch";
        for input in &trigger.inputs {
            let why = if dispatched {
                "whoever starts the run chooses it"
            } else {
                "whoever calls the workflow chooses it"
            };
            found.add(Rule::RunInput, input.line, "", &input.text, why);
        }
    }
    write_all(workflow.permissions.as_deref(), "", found);
    if workflow.permissions.is_none()
        && let Some(job) = workflow.jobs.iter().find(|job| job.permissions.is_none())
    {
        let why =
            "no permissions are named, so the settings of the repository decide, which may be all of them";
        found.add(Rule::PermissionsUnset, job.line, &job.id, &format!("job {}", job.id), why);
    }
    secrets("", &workflow.env, found);
    for job in &workflow.jobs {
        write_all(job.permissions.as_deref(), &job.id, found);
        id_token(workflow, job, found);
        runner(job, found);
        for secret in &job.secrets {
            secret_at(&job.id, secret, found);
        }
        secrets(&job.id, &job.env, found);
        for step in &job.steps {
            secrets(&job.id, &step.env, found);
            secrets(&job.id, &step.with, found);
            for at in &step.script {
                secret_at(&job.id, at, found);
            }
            action(job, step, found);
        }
    }
}

fn write_all(permissions: Option<&[(String, At)]>, job: &str, found: &mut Findings) {
    let all =
        permissions.and_then(<[_]>::first).filter(|(name, at)| name.is_empty() && at.text == "write-all");
    if let Some((_, at)) = all {
        found.add(
            Rule::PermissionsWriteAll,
            at.line,
            job,
            &at.text,
            "every step may change everything of the repository",
        );
    }
}

/// A job that may ask for an identity and runs commands: whatever those run can sign as the workflow.
fn id_token(workflow: &Workflow, job: &Job, found: &mut Findings) {
    let permissions = job.permissions.as_ref().or(workflow.permissions.as_ref());
    let right = permissions.into_iter().flatten().find(|(name, at)| name == "id-token" && at.text == "write");
    if let Some((_, at)) = right
        && job.steps.iter().any(|step| !step.script.is_empty())
    {
        let why = "the commands of this job can sign in the name of the workflow";
        found.add(Rule::IdTokenInBuild, at.line, &job.id, "id-token: write", why);
    }
}

fn runner(job: &Job, found: &mut Findings) {
    for label in job.runs_on.iter().filter(|label| label.text.to_ascii_lowercase().contains("self-hosted")) {
        let why = "whether it is fresh for each job, this file does not say";
        found.add(Rule::SelfHostedRunner, label.line, &job.id, &label.text, why);
    }
}

fn secrets(job: &str, texts: &[(String, At)], found: &mut Findings) {
    for (_, at) in texts {
        secret_at(job, at, found);
    }
}

fn secret_at(job: &str, at: &At, found: &mut Findings) {
    let named = at.text.split("${{").skip(1).any(|rest| {
        let inside = rest.split("}}").next().unwrap_or(rest);
        inside.contains("secrets.") || inside.contains("secrets[")
    });
    if named || at.text == "inherit" {
        let why = if named {
            "what runs there can read the secret"
        } else {
            "the workflow gets every secret there is"
        };
        found.add(Rule::SecretInStep, at.line, job, &at.text, why);
    }
}

fn action(job: &Job, step: &Step, found: &mut Findings) {
    let Some(uses) = &step.uses else { return };
    let name = uses.text.to_ascii_lowercase();
    if CACHES.iter().any(|cache| name.strip_prefix(cache).is_some_and(|rest| rest.starts_with(['@', '/']))) {
        let why = "what other runs left there comes into this one";
        found.add(Rule::Cache, uses.line, &job.id, &uses.text, why);
    }
    if NETWORK_ACTIONS.iter().any(|action| name.starts_with(action)) {
        found.add(Rule::NetworkAction, uses.line, &job.id, &uses.text, "downloads, or builds with a network");
    }
    for (input, at) in &step.with {
        if CACHE_INPUTS.contains(&input.as_str()) && !matches!(at.text.as_str(), "false" | "") {
            let shown = format!("{input}: {}", at.text);
            found.add(
                Rule::Cache,
                at.line,
                &job.id,
                &shown,
                "what other runs left there comes into this one",
            );
        }
    }
}
