//! Commands of scripts that fetch something while they run, and commands whose work is described elsewhere.

use super::shell::{Command, SHELLS, commands};
use super::{Findings, Job, Rule, Step, references};

/// Programs that are there to use a network, whatever they are told.
const NETWORK: [&str; 24] = [
    "aria2c", "aws", "az", "cosign", "crane", "curl", "ftp", "gcloud", "gh", "hub", "ko", "kubectl", "lftp",
    "nc", "ncat", "oras", "rsync", "scp", "sftp", "skopeo", "ssh", "svn", "telnet", "wget",
];

/// Programs that use a network when they are told one of these.
const NETWORK_WHEN: [(&str, &[&str]); 32] = [
    ("apk", &["add", "update", "upgrade", "fetch"]),
    ("apt", &["install", "update", "upgrade", "full-upgrade", "build-dep", "source"]),
    ("apt-get", &["install", "update", "upgrade", "dist-upgrade", "build-dep", "source", "download"]),
    ("brew", &["install", "update", "upgrade", "fetch", "bundle", "tap"]),
    ("buildah", &["from", "pull", "push", "bud", "build"]),
    ("bun", &["install", "i", "add", "update", "publish", "x"]),
    ("bundle", &["install", "update"]),
    ("cargo", &["install", "binstall", "fetch", "update", "add", "publish", "search"]),
    ("choco", &["install", "upgrade"]),
    ("composer", &["install", "update", "require", "create-project"]),
    ("conda", &["install", "create", "update"]),
    ("dnf", &["install", "update", "upgrade", "builddep", "download"]),
    (
        "docker",
        &["pull", "push", "build", "buildx", "run", "login", "compose", "create", "search", "manifest"],
    ),
    ("dotnet", &["restore", "tool", "add", "nuget"]),
    ("gem", &["install", "update", "fetch", "push"]),
    ("git", &["clone", "fetch", "pull", "push", "submodule", "ls-remote", "lfs"]),
    ("go", &["get", "install"]),
    ("helm", &["repo", "pull", "install", "upgrade", "dependency", "dep", "push", "registry"]),
    ("nix", &["build", "run", "develop", "shell", "flake", "profile"]),
    ("npm", &["install", "i", "ci", "add", "update", "publish", "exec", "audit", "view", "install-test"]),
    ("nuget", &["install", "restore", "push"]),
    ("pip", &["install", "download", "wheel", "index"]),
    ("pip3", &["install", "download", "wheel", "index"]),
    ("pipenv", &["install", "sync", "update", "lock"]),
    ("pipx", &["install", "run", "inject", "upgrade"]),
    ("pnpm", &["install", "i", "add", "update", "publish", "fetch", "dlx"]),
    ("podman", &["pull", "push", "build", "run", "login", "create", "search"]),
    ("poetry", &["install", "add", "update", "lock", "publish", "sync"]),
    ("rustup", &["install", "update", "toolchain", "component", "target", "default"]),
    ("terraform", &["init", "get", "plan", "apply"]),
    ("uv", &["sync", "add", "lock", "pip", "tool", "python", "publish", "run"]),
    ("yarn", &["install", "add", "upgrade", "publish", "dlx"]),
];

/// Programs that do what a file elsewhere says, or that fetch what is not there yet.
const UNSEEN: [&str; 24] = [
    "ansible-playbook",
    "ant",
    "bazel",
    "bazelisk",
    "cmake",
    "gmake",
    "goreleaser",
    "gradle",
    "gulp",
    "invoke",
    "just",
    "mage",
    "make",
    "meson",
    "msbuild",
    "mvn",
    "ninja",
    "nox",
    "npx",
    "rake",
    "sbt",
    "task",
    "tox",
    "yarnpkg",
];

/// Programs that do so when they are told one of these.
const UNSEEN_WHEN: [(&str, &[&str]); 9] = [
    ("bun", &["run", "test", "build"]),
    (
        "cargo",
        &["build", "test", "run", "check", "bench", "package", "clippy", "doc", "xtask", "nextest", "deb"],
    ),
    ("dotnet", &["build", "publish", "test", "pack", "run"]),
    ("go", &["build", "test", "run", "generate", "vet"]),
    ("mix", &["compile", "release", "test"]),
    ("npm", &["run", "run-script", "test", "start", "pack"]),
    ("pnpm", &["run", "test", "build", "pack"]),
    ("stack", &["build", "test"]),
    ("yarn", &["run", "test", "build", "pack"]),
];

/// Programs that run the file that they are given.
const INTERPRETERS: [&str; 7] = ["python", "python3", "node", "ruby", "perl", "pwsh", "source"];

/// Options of `docker run` that take no word of their own.
const ALONE: [&str; 12] = [
    "--rm",
    "-i",
    "-t",
    "-it",
    "-ti",
    "-d",
    "--privileged",
    "--init",
    "--detach",
    "--tty",
    "--interactive",
    "-dit",
];

pub(super) fn look(job: &Job, step: &Step, found: &mut Findings) {
    if let Some(shell) = &step.shell {
        let program = shell.text.split_whitespace().next().unwrap_or_default();
        let program = program.rsplit('/').next().unwrap_or_default();
        if !SHELLS.contains(&program) {
            let shown = format!("shell: {}", shell.text);
            found.add(
                Rule::UnseenCommand,
                shell.line,
                &job.id,
                &shown,
                "a script that this reading does not see",
            );
        }
    }
    for command in commands(&step.script) {
        judge(&command, &job.id, found);
    }
}

fn judge(command: &Command, job: &str, found: &mut Findings) {
    let Some((first, rest)) = command.words.split_first() else { return };
    let program = first.rsplit('/').next().unwrap_or(first);
    let shown = command.words.join(" ");
    let told = rest.iter().find(|word| !word.starts_with(['-', '+'])).map(String::as_str);
    let is_told = |table: &[(&str, &[&str])]| {
        table.iter().any(|(name, verbs)| *name == program && verbs_of(rest).any(|told| verbs.contains(&told)))
    };
    let module = matches!(program, "python" | "python3") && rest.first().is_some_and(|word| word == "-m");
    let is_download = program == "go"
        && told == Some("mod")
        && rest.iter().any(|word| word == "download" || word == "tidy");
    let is_pip = module && rest.get(1).is_some_and(|word| word == "pip");
    let is_yarn = program == "yarn" && told.is_none();
    let mut add = |rule, why: &str| found.add(rule, command.line, job, &shown, why);
    if NETWORK.contains(&program) || is_told(&NETWORK_WHEN) || is_download || is_pip || is_yarn {
        add(Rule::NetworkCommand, "uses the network while the job runs");
    } else if UNSEEN.contains(&program) || is_told(&UNSEEN_WHEN) {
        add(Rule::UnseenCommand, "what it runs stands elsewhere, and may use the network");
    } else if first.starts_with('$') {
        add(Rule::UnseenCommand, "which program this is stands elsewhere");
    } else if runs_a_file(first, program, rest) {
        add(
            Rule::UnseenCommand,
            "runs a program of the source or of the machine, which this reading does not see",
        );
    }
    if matches!(program, "docker" | "podman" | "nerdctl")
        && let Some(name) = image(rest)
        && !name.contains('$')
    {
        references::image(name, command.line, job, found);
    }
}

/// What a program may be told to do: its first word, and, since an option may have taken that, each up to one behind no option.
fn verbs_of(rest: &[String]) -> impl Iterator<Item = &str> {
    let is_option = |word: &str| word.starts_with(['-', '+']);
    let count = match rest.first() {
        Some(first) if !is_option(first) => 1,
        _ => rest
            .windows(2)
            .position(|pair| !pair.iter().any(|word| is_option(word)))
            .map_or(rest.len(), |at| at + 2),
    };
    rest.iter().take(count).map(String::as_str).filter(move |word| !is_option(word))
}

/// `./build.sh`, `bash build.sh`, `… | sh`, `python3 -c "…"`: but not `bash -c "…"`, whose words stand here.
fn runs_a_file(first: &str, program: &str, rest: &[String]) -> bool {
    let file = rest.iter().any(|word| !word.starts_with('-'));
    let asks = rest.iter().any(|word| word.starts_with("--") || word == "-V" || word == "-v");
    let inline = rest.iter().any(|word| word.ends_with('c') && word.starts_with('-'));
    first.starts_with("./")
        || first.starts_with("../")
        || first == "." && file
        || INTERPRETERS.contains(&program) && (file || !asks)
        || SHELLS.contains(&program) && !inline && (file || !asks)
}

/// The image of `docker pull` and `docker run`.
fn image(words: &[String]) -> Option<&str> {
    let mut words = words.iter().map(String::as_str);
    let verb = words.find(|word| !word.starts_with('-'))?;
    if !matches!(verb, "pull" | "run" | "create") {
        return None;
    }
    let mut skip = false;
    words.find(|word| {
        if std::mem::take(&mut skip) {
            return false;
        }
        let option = word.starts_with('-');
        skip = option && verb != "pull" && !word.contains('=') && !ALONE.contains(word);
        !option
    })
}
