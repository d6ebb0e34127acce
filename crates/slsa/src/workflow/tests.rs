//! Workflows read: each rule finds what it is for, on its line, and leaves alone what is right.

use super::*;

/// A workflow in which nothing is wrong.
const GOOD: &str = "on: {release: {types: [published]}}
permissions: {}
jobs:
  build:
    runs-on: ubuntu-24.04
    permissions: {contents: read}
    container: registry.example/tools@sha256:0000000000000000000000000000000000000000000000000000000000000000
    steps:
      - uses: actions/checkout@0123456789012345678901234567890123456789 # v4
      - uses: ./.github/actions/own
      - run: |
          echo \"curl and wget are not here\"
          sha256sum app > sums
        env: {NAME: '${{ github.ref_name }}'}
";

fn found(text: &str) -> Vec<(Rule, u64, String)> {
    let workflow = Workflow::read("w.yml", text).unwrap();
    workflow.findings().iter().map(|one| (one.rule, one.line, one.text.clone())).collect()
}

/// The rules that a change of the good workflow breaks.
fn broken(from: &str, to: &str) -> Vec<(Rule, u64)> {
    assert!(GOOD.contains(from), "{from}");
    found(&GOOD.replacen(from, to, 1)).into_iter().map(|(rule, line, _)| (rule, line)).collect()
}

#[test]
fn nothing_is_found_where_nothing_is() {
    assert_eq!(found(GOOD), []);
}

#[test]
fn each_rule_finds_what_it_is_for_and_where() {
    let checkout = "actions/checkout@0123456789012345678901234567890123456789";
    let digest = "@sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let script = "sha256sum app > sums";
    for (from, to, rule, line) in [
        (checkout, "actions/checkout@v4", Rule::MutableAction, 9),
        (checkout, "actions/checkout", Rule::MutableAction, 9),
        (checkout, "actions/checkout@0123456", Rule::MutableAction, 9),
        (checkout, "docker://alpine:3", Rule::MutableImage, 9),
        (digest, ":1", Rule::MutableImage, 7),
        (digest, "@sha256:00", Rule::MutableImage, 7),
        (script, "curl -sSf https://a.example/x", Rule::NetworkCommand, 13),
        (script, "sudo apt-get -y install gcc", Rule::NetworkCommand, 13),
        (script, "python3 -m pip install x", Rule::NetworkCommand, 13),
        (script, "go mod download", Rule::NetworkCommand, 13),
        (script, "X=1 npm ci", Rule::NetworkCommand, 13),
        (script, "make release", Rule::UnseenCommand, 13),
        (script, "./build.sh", Rule::UnseenCommand, 13),
        (script, "bash hack/build.sh", Rule::UnseenCommand, 13),
        (script, "bash -e hack/build.sh", Rule::UnseenCommand, 13),
        (script, "cat script | sh", Rule::UnseenCommand, 13),
        (script, "python3 -c 'import urllib'", Rule::UnseenCommand, 13),
        (script, "$TOOL fetch", Rule::UnseenCommand, 13),
        (script, "bash -c 'curl x'", Rule::NetworkCommand, 13),
        (script, "git -C dir fetch", Rule::NetworkCommand, 13),
        ("permissions: {}", "permissions: {}\ndefaults: {run: {shell: python}}", Rule::UnseenCommand, 3),
        ("container:", "defaults: {run: {shell: perl}}\n    container:", Rule::UnseenCommand, 7),
        ("        env: {NAME:", "        shell: python\n        env: {NAME:", Rule::UnseenCommand, 14),
        (script, "echo ${{ github.event.issue.title }}", Rule::ScriptInjection, 13),
        (script, "echo ${{ github.head_ref }}", Rule::ScriptInjection, 13),
        (script, "echo ${{ toJSON(github.event) }}", Rule::ScriptInjection, 13),
        (script, "echo ${{ github.ref_name }}", Rule::ScriptExpression, 13),
        (script, "echo ${{ inputs.version }}", Rule::ScriptExpression, 13),
        (script, "echo ${{ secrets.TOKEN }}", Rule::SecretInStep, 13),
        ("{NAME: '${{ github.ref_name }}'}", "{T: '${{ secrets.T }}'}", Rule::SecretInStep, 14),
        ("permissions: {}", "permissions: write-all", Rule::PermissionsWriteAll, 2),
        ("{contents: read}", "write-all", Rule::PermissionsWriteAll, 6),
        ("{contents: read}", "{id-token: write}", Rule::IdTokenInBuild, 6),
        ("ubuntu-24.04", "[self-hosted, linux]", Rule::SelfHostedRunner, 5),
        ("ubuntu-24.04", "{group: g, labels: [self-hosted]}", Rule::SelfHostedRunner, 5),
        ("{release: {types: [published]}}", "pull_request_target", Rule::PullRequestTarget, 1),
        ("{release: {types: [published]}}", "[push, pull_request_target]", Rule::PullRequestTarget, 1),
        ("{release: {types: [published]}}", "{workflow_dispatch: {inputs: {v: {}}}}", Rule::RunInput, 1),
    ] {
        assert_eq!(broken(from, to), [(rule, line)], "{to}");
    }
    for (from, to, rule) in [
        (checkout, "actions/cache@0123456789012345678901234567890123456789", Rule::Cache),
        (checkout, "actions/setup-go@0123456789012345678901234567890123456789", Rule::NetworkAction),
    ] {
        assert_eq!(broken(from, to), [(rule, 9)], "{to}");
    }
    let unset = GOOD.replace("permissions: {}\n", "").replace("    permissions: {contents: read}\n", "");
    assert_eq!(found(&unset).first().map(|one| one.0), Some(Rule::PermissionsUnset));
}

#[test]
fn a_pull_is_both_the_network_and_a_tag() {
    let rules = broken("sha256sum app > sums", "docker pull acme/tools:1");
    assert_eq!(rules, [(Rule::MutableImage, 13), (Rule::NetworkCommand, 13)]);
    let piped = broken("sha256sum app > sums", "curl -sSf https://a.example/x | sh");
    assert_eq!(piped, [(Rule::NetworkCommand, 13), (Rule::UnseenCommand, 13)]);
    let run = broken("sha256sum app > sums", "docker run --rm -v /a:/b acme/tools:1 make x");
    assert_eq!(run, [(Rule::MutableImage, 13), (Rule::NetworkCommand, 13)]);
}

#[test]
fn workflows_of_elsewhere_and_their_secrets_are_seen() {
    let text = "on: push\npermissions: read-all\njobs:\n  p:\n    uses: slsa-framework/slsa-github-generator/.github/workflows/\
                generator_generic_slsa3.yml@v2.1.0\n    secrets: inherit\n";
    let workflow = Workflow::read("w.yml", text).unwrap();
    let findings = workflow.findings();
    assert_eq!(findings[0].rule, Rule::MutableWorkflow);
    assert!(findings[0].why.contains("by tag only"), "{}", findings[0].why);
    assert_eq!((findings[1].rule, findings[1].line), (Rule::SecretInStep, 6));
}

#[test]
fn lines_are_right_in_every_kind_of_text() {
    let text = "on: push\npermissions: {}\njobs:\n  a:\n    runs-on: x\n    steps:\n    - name: curl a\n      run: >-\n        true &&\n        \
                curl a\n    - run: \"curl b\"\n    - {run: curl c}\n    - run: |\n\n        true\n        curl d\n\n        curl d\n";
    let lines: Vec<u64> = found(text).into_iter().map(|(_, line, _)| line).collect();
    assert_eq!(lines, [9, 11, 12, 16, 18], "of a folded text, the line where its words begin");
}

/// A file whose reading would take time with the square of its length is read in time with its length.
#[test]
fn long_files_are_read_in_little_time() {
    let head = "on: push\njobs:\n  a:\n    steps:\n    - run: ";
    let block = format!("{head}|\n{}", "       a\n".repeat(100_000));
    let escaped = format!("{head}\"{}\"\n", "\\x41\\x42\\n".repeat(80_000));
    let flow = format!("on: push\njobs: {{a: {{steps: [{{run: \"{}\"}}]}}}}\n", " a\\n\\\n".repeat(100_000));
    let expression = format!("{head}\"${{{{ {}}}}}\"\n", "github.event.x.y ".repeat(55_000));
    let again = format!("{head}|\n{}", "       curl a; curl b; curl a; curl b\n".repeat(20_000));
    let begun = std::time::Instant::now();
    for (text, steps) in
        [(block, 100_000), (escaped, 80_000), (flow, 100_000), (expression, 1), (again, 20_000)]
    {
        let workflow = Workflow::read("w.yml", &text).unwrap();
        assert_eq!(workflow.jobs[0].steps[0].script.len(), steps);
    }
    assert!(begun.elapsed().as_secs() < 60, "a second each, on a machine that has other work");
}

#[test]
fn what_is_no_workflow_is_an_error_with_its_line() {
    for bad in ["", "a: 1", "jobs: {}", "jobs: []", "[", "jobs:\n  a: 1\n  a: 2\n"] {
        assert!(Workflow::read("w.yml", bad).is_err(), "{bad}");
    }
    let many = (0..=MAX_JOBS).fold("jobs:\n".to_owned(), |text, n| format!("{text}  j{n}: {{}}\n"));
    assert!(Workflow::read("w.yml", &many).unwrap_err().to_string().contains("at most"));
    let steps = format!("jobs:\n  a:\n    steps: [{}]\n", "{},".repeat(MAX_STEPS + 1));
    assert!(Workflow::read("w.yml", &steps).unwrap_err().to_string().starts_with("w.yml:3"));
}

#[test]
fn rules_have_names_of_their_own() {
    let mut names: Vec<&str> = Rule::ALL.iter().map(|rule| rule.id()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Rule::ALL.len());
    assert!(Rule::ALL.iter().all(|rule| !rule.remedy().is_empty()));
}
