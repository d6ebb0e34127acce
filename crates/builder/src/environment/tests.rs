//! Environments as platforms set them, whole and with each variable alone missing. The values are made up; the names and
//! forms are the platforms'.

use serde_json::Value;

use super::*;

/// The variables of a platform, secrets among them.
fn recorded(platform: Platform) -> Variables {
    let text = match platform {
        Platform::GithubActions => include_str!("recorded/github-actions.env"),
        Platform::GitlabCi => include_str!("recorded/gitlab-ci.env"),
        Platform::Jenkins => include_str!("recorded/jenkins.env"),
        Platform::Tekton => include_str!("recorded/tekton.env"),
        Platform::Buildkite => include_str!("recorded/buildkite.env"),
        Platform::CircleCi => include_str!("recorded/circleci.env"),
        Platform::Shell => "HOME=/home/alice\nAPI_TOKEN=s3cret\n",
    };
    let pairs = text.lines().map(|line| line.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn read(variables: &Variables) -> Result<Environment, EnvironmentError> {
    Environment::read(Platform::detect(variables), variables, &[], None)
}

fn with(platform: Platform, changes: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
    let mut variables = recorded(platform);
    for (name, value) in changes {
        variables.insert((*name).into(), (*value).into());
    }
    Environment::read(platform, &variables, &[], None)
}

fn source(environment: &Environment) -> (String, String) {
    let source = environment.source.clone().unwrap();
    (source.uri, source.digest["gitCommit"].clone())
}

fn written(environment: &Environment) -> Value {
    serde_json::from_str(environment.provenance().to_v1().unwrap().get()).unwrap()
}

const PLATFORMS: [Platform; 6] = [
    Platform::GithubActions,
    Platform::GitlabCi,
    Platform::Jenkins,
    Platform::Tekton,
    Platform::Buildkite,
    Platform::CircleCi,
];

/// What each platform must say: without any one of these there is no provenance.
fn needed(platform: Platform) -> &'static [&'static str] {
    match platform {
        Platform::GithubActions => &[
            "GITHUB_EVENT_NAME",
            "GITHUB_REF",
            "GITHUB_REPOSITORY",
            "GITHUB_REPOSITORY_ID",
            "GITHUB_REPOSITORY_OWNER_ID",
            "GITHUB_RUN_ATTEMPT",
            "GITHUB_RUN_ID",
            "GITHUB_SERVER_URL",
            "GITHUB_SHA",
            "GITHUB_WORKFLOW_REF",
            "RUNNER_ENVIRONMENT",
        ],
        Platform::GitlabCi => &[
            "CI_COMMIT_BRANCH",
            "CI_COMMIT_SHA",
            "CI_CONFIG_PATH",
            "CI_JOB_NAME",
            "CI_JOB_URL",
            "CI_PROJECT_URL",
            "CI_RUNNER_ID",
        ],
        Platform::Jenkins => &["BUILD_URL", "GIT_BRANCH", "GIT_COMMIT", "GIT_URL", "JENKINS_URL", "JOB_NAME"],
        Platform::Tekton => &[
            "TEKTON_BUILDER",
            "TEKTON_NAMESPACE",
            "TEKTON_SOURCE_COMMIT",
            "TEKTON_SOURCE_URL",
            "TEKTON_TASK",
            "TEKTON_TASK_RUN",
            "TEKTON_TASK_RUN_UID",
        ],
        Platform::Buildkite => &[
            "BUILDKITE_BRANCH",
            "BUILDKITE_BUILD_URL",
            "BUILDKITE_COMMIT",
            "BUILDKITE_JOB_ID",
            "BUILDKITE_ORGANIZATION_SLUG",
            "BUILDKITE_PIPELINE_SLUG",
            "BUILDKITE_REPO",
        ],
        Platform::CircleCi => &[
            "CIRCLE_BRANCH",
            "CIRCLE_BUILD_URL",
            "CIRCLE_JOB",
            "CIRCLE_REPOSITORY_URL",
            "CIRCLE_SHA1",
            "CIRCLE_WORKFLOW_ID",
        ],
        Platform::Shell => &[],
    }
}

#[test]
fn each_platform_is_known_by_its_own_variables() {
    for platform in Platform::ALL {
        assert_eq!(Platform::detect(&recorded(platform)), platform);
        assert_eq!(Platform::of(platform.name()), Some(platform));
    }
    assert_eq!(Platform::of("travis"), None);
    let said = Variables::from([("GITHUB_ACTIONS".to_owned(), "false".to_owned())]);
    assert_eq!(Platform::detect(&said), Platform::Shell);
}

#[test]
fn each_needed_variable_alone_is_missed_by_its_name_and_no_other_is() {
    for platform in PLATFORMS {
        let whole = recorded(platform);
        assert!(Environment::read(platform, &whole, &[], None).is_ok(), "{platform}");
        let mut missed = Vec::new();
        for name in whole.keys() {
            for gone in [None, Some(String::new()), Some("  ".to_owned())] {
                let mut variables = whole.clone();
                match &gone {
                    None => variables.remove(name),
                    Some(empty) => variables.insert(name.clone(), empty.clone()),
                };
                match Environment::read(platform, &variables, &[], None) {
                    Ok(_) => {}
                    Err(EnvironmentError::Missing { name: told, .. }) => {
                        assert_eq!(&told, name, "{platform}");
                        missed.push(told);
                    }
                    Err(other) => panic!("{platform} without {name}: {other}"),
                }
            }
        }
        missed.dedup();
        assert_eq!(missed, needed(platform), "{platform}");
    }
}

#[test]
fn no_secret_of_any_environment_is_told() {
    for platform in Platform::ALL {
        let variables = recorded(platform);
        assert!(
            variables.values().any(|value| value.contains("s3cret")),
            "{platform}: the test needs secrets"
        );
        let found = Environment::read(platform, &variables, &[], None).unwrap();
        assert!(!format!("{found:?}").contains("s3cret"), "{platform}: {found:?}");
        // An error tells no value either.
        for name in variables.keys() {
            let mut wrong = variables.clone();
            wrong.insert(name.clone(), "s3cret\nline".into());
            if let Err(error) = Environment::read(platform, &wrong, &[], None) {
                assert!(!error.to_string().contains("s3cret"), "{error}");
            }
        }
    }
}

#[test]
fn what_is_written_for_each_platform_is_read_back_as_the_same_source() {
    for platform in PLATFORMS {
        let found = read(&recorded(platform)).unwrap();
        let text = found.provenance().to_v1().unwrap();
        let back = Provenance::from_json("https://slsa.dev/provenance/v1", text.get()).unwrap();
        assert_eq!(back.source, found.source, "{platform}");
        assert_eq!((&back.entry_point, &back.builder.id), (&found.entry_point, &found.builder), "{platform}");
        assert!(found.provenance().to_v02().is_ok(), "{platform}");
    }
}

#[test]
fn github_has_the_fields_of_its_published_type_and_no_others() {
    let found = read(&recorded(Platform::GithubActions)).unwrap();
    let mut predicate = written(&found);
    predicate["runDetails"]["builder"].as_object_mut().unwrap().remove("version");
    assert_eq!(
        predicate,
        json!({
            "buildDefinition": {
                "buildType": "https://actions.github.io/buildtypes/workflow/v1",
                "externalParameters": { "workflow": { "ref": "refs/heads/main", "repository": "https://github.com/acme/shop",
                    "path": ".github/workflows/release.yml" } },
                "internalParameters": { "github": { "event_name": "push", "repository_id": "702816735",
                    "repository_owner_id": "1342004", "runner_environment": "github-hosted" } },
                "resolvedDependencies": [{ "uri": "git+https://github.com/acme/shop@refs/heads/main",
                    "digest": { "gitCommit": "3f786850e387550fdab836ed7e6dc881de23001b" } }],
            },
            "runDetails": {
                "builder": { "id": "https://github.com/actions/runner/github-hosted" },
                "metadata": { "invocationId": "https://github.com/acme/shop/actions/runs/9876543210/attempts/1" },
            },
        })
    );
}

#[test]
fn github_with_parameters_is_of_the_type_that_has_inputs() {
    let mut variables = recorded(Platform::GithubActions);
    variables.insert("CHANNEL".into(), "beta".into());
    let read = |asked: &str| Environment::read(Platform::GithubActions, &variables, &[asked.into()], None);
    let found = read("CHANNEL").unwrap();
    assert_eq!(found.build_type, "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1");
    assert_eq!(found.parameters["inputs"], json!({ "CHANNEL": "beta" }));
    assert!(matches!(read("NONE"), Err(EnvironmentError::Missing { name, .. }) if name == "NONE"));
}

#[test]
fn github_of_another_workflow_or_runner_is_refused() {
    for (name, value) in [
        ("GITHUB_WORKFLOW_REF", "evil/shop/.github/workflows/release.yml@refs/heads/main"),
        ("GITHUB_WORKFLOW_REF", "acme/shop/.github/workflows/release.yml@refs/heads/other"),
        ("GITHUB_WORKFLOW_REF", "acme/shop/@refs/heads/main"),
        ("GITHUB_WORKFLOW_REF", "acme/shop-evil/.github/workflows/release.yml@refs/heads/main"),
        ("GITHUB_SHA", "main"),
        ("GITHUB_SHA", "3f78685"),
        ("GITHUB_SERVER_URL", "github.com"),
        ("RUNNER_ENVIRONMENT", "my-hosted"),
    ] {
        let error = with(Platform::GithubActions, &[(name, value)]).unwrap_err();
        assert!(matches!(&error, EnvironmentError::Malformed { name: told, .. } if told == name), "{error}");
    }
}

#[test]
fn gitlab_tells_branch_tag_and_merge_request() {
    let found = with(Platform::GitlabCi, &[]).unwrap();
    let commit = "89e6c98d92887913cadf06b2adb97f26cde4849b".to_owned();
    let at = |reference: &str| (format!("git+https://gitlab.example/acme/shop@{reference}"), commit.clone());
    assert_eq!(source(&found), at("refs/heads/main"));
    assert_eq!(found.builder, "https://gitlab.example/acme/shop/-/runners/12");
    assert_eq!(found.parameters["entryPoint"], ".gitlab-ci.yml");
    assert_eq!(found.internal["job"], "build");
    let tag = with(Platform::GitlabCi, &[("CI_COMMIT_TAG", "v1"), ("CI_COMMIT_BRANCH", "")]).unwrap();
    assert_eq!(source(&tag), at("refs/tags/v1"));
    let request = [("CI_MERGE_REQUEST_REF_PATH", "refs/merge-requests/1/head"), ("CI_COMMIT_BRANCH", "")];
    assert_eq!(source(&with(Platform::GitlabCi, &request).unwrap()), at("refs/merge-requests/1/head"));
}

#[test]
fn jenkins_is_read_as_every_tutorial_has_it() {
    let found = with(Platform::Jenkins, &[]).unwrap();
    let commit = "2b66fd261ee5c6cfc8de7fa466bab600bcfe4f69".to_owned();
    let at = |reference: &str| (format!("git+https://git.example/acme/shop.git{reference}"), commit.clone());
    assert_eq!(source(&found), at("@refs/heads/main"));
    assert_eq!(
        (found.builder.as_str(), found.entry_point.as_str()),
        ("https://jenkins.example", "shop/main")
    );
    assert_eq!(found.invocation, "https://jenkins.example/job/shop/job/main/17");
    for (changes, reference) in [
        (&[("GIT_BRANCH", "main")][..], "@refs/heads/main"),
        (&[("GIT_BRANCH", "origin/feature/x")], "@refs/heads/feature/x"),
        (&[("GIT_BRANCH", "refs/tags/v1")], "@refs/tags/v1"),
        (&[("TAG_NAME", "v1")], "@refs/tags/v1"),
        (&[("GIT_BRANCH", "detached")], ""),
    ] {
        assert_eq!(source(&with(Platform::Jenkins, changes).unwrap()), at(reference), "{changes:?}");
    }
    let change = with(Platform::Jenkins, &[("CHANGE_ID", "12"), ("GIT_BRANCH", "PR-12")]).unwrap();
    assert_eq!(source(&change), at(""));
    assert!(change.notes[0].contains("change 12"));
}

#[test]
fn tekton_buildkite_and_circleci_tell_their_runs() {
    let tekton = with(Platform::Tekton, &[]).unwrap();
    assert_eq!(tekton.builder, "https://tekton.example/clusters/build");
    assert_eq!(source(&tekton).0, "git+ssh://git.example/acme/shop.git@refs/tags/v1.2.0");
    assert_eq!(tekton.invocation, "ci/shop-build-x7k2p#6f1c2a8e-52d1-4f3e-9a0b-3f4f1d0e9c11");
    let buildkite = with(Platform::Buildkite, &[]).unwrap();
    assert_eq!(buildkite.builder, "https://buildkite.com/acme");
    assert_eq!(source(&buildkite).0, "git+ssh://github.com/acme/shop.git@refs/heads/main");
    assert!(buildkite.invocation.ends_with("/builds/133#e44f9784-e20e-4b93-a21d-f41fd5869db9"));
    let tag = with(Platform::Buildkite, &[("BUILDKITE_TAG", "v1")]).unwrap();
    assert!(source(&tag).0.ends_with("@refs/tags/v1"));
    assert!(with(Platform::Buildkite, &[("BUILDKITE_COMMIT", "HEAD")]).is_err(), "not yet resolved");
    assert!(with(Platform::Buildkite, &[("BUILDKITE_ORGANIZATION_SLUG", "evil")]).is_err());
    let circle = with(Platform::CircleCi, &[]).unwrap();
    assert_eq!(circle.builder, "https://circleci.com");
    assert_eq!(circle.entry_point, "package");
    let tag = with(Platform::CircleCi, &[("CIRCLE_TAG", "v1"), ("CIRCLE_BRANCH", "")]).unwrap();
    assert!(source(&tag).0.ends_with("@refs/tags/v1"));
}

fn checkout(commit: &str, changed: usize) -> Checkout {
    Checkout {
        remote: "https://git.example/acme/shop.git".into(),
        commit: commit.into(),
        reference: "refs/heads/main".into(),
        changed,
    }
}

#[test]
fn a_shell_tells_what_is_checked_out_and_that_it_is_a_shell() {
    let own = checkout(&"a".repeat(40), 0);
    let found = Environment::read(Platform::Shell, &Variables::new(), &[], Some(&own)).unwrap();
    assert_eq!(source(&found).0, "git+https://git.example/acme/shop.git@refs/heads/main");
    assert_eq!((found.builder.as_str(), found.notes.len()), ("https://countersign.dev/builders/shell/v1", 0));
    let local = Checkout { remote: "/srv/shop".into(), ..own };
    let found = Environment::read(Platform::Shell, &Variables::new(), &[], Some(&local)).unwrap();
    assert_eq!((found.source.clone(), found.dependencies.len()), (None, 1));
    assert!(found.notes[0].contains("the source is not recorded"));
    assert!(found.provenance().to_v1().is_ok());
    let nothing = Environment::read(Platform::Shell, &Variables::new(), &[], None).unwrap();
    assert_eq!((nothing.source, nothing.dependencies), (None, Vec::new()));
}

#[test]
fn changes_that_nobody_committed_are_said_in_the_statement_and_to_the_signer() {
    for platform in [Platform::GithubActions, Platform::Shell] {
        let own = checkout("3f786850e387550fdab836ed7e6dc881de23001b", 3);
        let found = Environment::read(platform, &recorded(platform), &[], Some(&own)).unwrap();
        assert!(found.notes[0].starts_with("3 files differ from commit 3f78"), "{:?}", found.notes);
        let dependency = &written(&found)["buildDefinition"]["resolvedDependencies"][0];
        assert_eq!(dependency["annotations"], json!({ "countersign_uncommitted": 3 }), "{platform}");
    }
}

#[test]
fn a_work_tree_of_another_commit_is_recorded_beside_the_source() {
    let other = checkout(&"b".repeat(40), 0);
    let variables = recorded(Platform::GithubActions);
    let found = Environment::read(Platform::GithubActions, &variables, &[], Some(&other)).unwrap();
    let told = &written(&found)["buildDefinition"]["resolvedDependencies"];
    assert_eq!(told[0]["digest"]["gitCommit"], "3f786850e387550fdab836ed7e6dc881de23001b");
    assert_eq!(told[1]["digest"]["gitCommit"], "b".repeat(40));
    assert!(found.notes[0].contains("both are recorded"));
}

#[test]
fn the_list_of_variables_is_of_those_that_are_read() {
    let sources = [
        include_str!("mod.rs"),
        include_str!("github.rs"),
        include_str!("gitlab.rs"),
        include_str!("jenkins.rs"),
        include_str!("tekton.rs"),
        include_str!("buildkite.rs"),
        include_str!("circleci.rs"),
        include_str!("shell.rs"),
    ];
    let name = |text: &&str| {
        text.len() > 5 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    let list = sources[0].split_once("pub const READ").unwrap().1.split_once("];").unwrap().0;
    let others = sources[0].replace(list, "");
    let read =
        sources[1..].iter().copied().chain([others.as_str()]).flat_map(|text| text.split('"')).filter(name);
    let read: std::collections::BTreeSet<&str> = read.collect();
    assert_eq!(read.into_iter().collect::<Vec<_>>(), READ);
}
