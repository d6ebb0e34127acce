//! From a token to the name and the extensions in the certificate, for each type of issuer.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test file")]

mod support;

use countersign_ca::config::{CiTemplates, IssuerConfig, IssuerType};
use countersign_ca::identity::{IdentityError, Principal};
use countersign_x509::San;
use serde_json::{Value, json};
use support::{ISSUER, World, token, with};

/// The principal of a token with these claims, merged over good ones, from an issuer configured like this.
async fn principal(
    claims: Value,
    change: impl FnOnce(&mut IssuerConfig),
) -> Result<Principal, IdentityError> {
    let world = World::new(change);
    let mut all = json!({"iss": ISSUER, "aud": "sigstore", "sub": "u1", "exp": support::START + 600});
    for (name, value) in claims.as_object().unwrap() {
        all = with(all, name, value.clone());
    }
    Principal::from_token(&world.verify(&token(&all)).await.unwrap())
}

fn of(issuer_type: IssuerType) -> impl FnOnce(&mut IssuerConfig) {
    move |config| config.issuer_type = issuer_type
}

fn uri(principal: &Principal) -> &str {
    match principal.san() {
        San::Uri(uri) => uri,
        other => panic!("{other:?}"),
    }
}

/// All extensions but issuer and subject, which every type has, as (number, value).
fn extensions(principal: &Principal, subject: &str) -> Vec<(u8, String)> {
    let all = principal.extensions();
    assert_eq!(all.get(1), Some(ISSUER));
    assert_eq!(all.get(8), Some(ISSUER));
    assert_eq!(all.get(24), Some(subject));
    all.iter().filter(|e| ![1, 8, 24].contains(&e.arc)).map(|e| (e.arc, e.value.to_owned())).collect()
}

fn expect(principal: &Principal, subject: &str, expected: &[(u8, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(arc, value)| (*arc, (*value).to_owned())).collect();
    assert_eq!(extensions(principal, subject), expected);
}

fn person(verified: &Value) -> Value {
    json!({"email": "alice@example.com", "email_verified": verified})
}

#[tokio::test]
async fn an_email_is_certified_when_it_is_verified() {
    for verified in [json!(true), json!("true")] {
        let alice = principal(person(&verified), |_| ()).await.unwrap();
        assert_eq!(*alice.san(), San::Email("alice@example.com".into()));
        assert_eq!(alice.name(), "alice@example.com");
        expect(&alice, "u1", &[]);
    }
    for verified in
        [json!(false), json!("false"), json!(1), json!("TRUE"), json!("1"), json!([true]), Value::Null]
    {
        assert!(principal(person(&verified), |_| ()).await.is_err(), "{verified}");
    }
    assert!(principal(person(&Value::Null), |c| c.skip_email_verification = true).await.is_ok());
}

#[tokio::test]
async fn addresses_that_are_none_are_refused() {
    for email in [
        json!("älice@example.com"),
        json!("alice@exämple.com"),
        json!("alice"),
        json!(""),
        json!("alice@example.com\u{0}"),
        json!("a@b@example.com"),
        json!(7),
        json!(["alice@example.com"]),
        Value::Null,
    ] {
        let claims = json!({"email": email, "email_verified": true});
        assert!(principal(claims, |_| ()).await.is_err(), "{email}");
    }
}

#[tokio::test]
async fn a_broker_names_the_true_issuer() {
    let broker = |c: &mut IssuerConfig| c.issuer_claim = Some("$.federated_claims.connector_id".into());
    let mut claims = person(&json!(true));
    claims["federated_claims"] = json!({"connector_id": "https://github.com/login/oauth"});
    let alice = principal(claims, broker).await.unwrap();
    assert_eq!(alice.extensions().issuer(), Some("https://github.com/login/oauth"));
    assert_eq!(alice.extensions().get(1), Some("https://github.com/login/oauth"));
    for federated in
        [json!({}), json!({"connector_id": ""}), json!({"connector_id": 1}), json!("x"), Value::Null]
    {
        let mut claims = person(&json!(true));
        claims["federated_claims"] = federated;
        assert!(principal(claims, broker).await.is_err());
    }
}

#[tokio::test]
async fn a_username_belongs_to_the_subject_domain() {
    let config = |c: &mut IssuerConfig| {
        c.issuer_type = IssuerType::Username;
        c.subject_domain = Some("users.example.com".into());
    };
    let alice = principal(json!({"sub": "alice"}), config).await.unwrap();
    assert_eq!(*alice.san(), San::username("alice!users.example.com".into()));
    assert_eq!(alice.name(), "alice");
    expect(&alice, "alice", &[]);
    for bad in ["a!b", "alice@example.com", "a\u{7}"] {
        assert!(principal(json!({"sub": bad}), config).await.is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn a_uri_belongs_to_the_subject_domain() {
    let config = |c: &mut IssuerConfig| {
        c.issuer_type = IssuerType::Uri;
        c.subject_domain = Some("https://users.example.com".into());
    };
    let subject = "https://users.example.com/alice";
    let alice = principal(json!({"sub": subject}), config).await.unwrap();
    assert_eq!((uri(&alice), alice.name()), (subject, subject));
    expect(&alice, subject, &[]);
    for bad in ["https://evil.example.org/alice", "http://users.example.com/alice", "alice"] {
        assert!(principal(json!({"sub": bad}), config).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_spiffe_id_belongs_to_the_trust_domain() {
    let config = |c: &mut IssuerConfig| {
        c.issuer_type = IssuerType::Spiffe;
        c.spiffe_trust_domain = Some("example.org".into());
    };
    let id = "spiffe://example.org/ns/default/sa/builder";
    let builder = principal(json!({"sub": id}), config).await.unwrap();
    assert_eq!((uri(&builder), builder.name()), (id, id));
    expect(&builder, id, &[]);
    for bad in ["spiffe://example.com/x", "spiffe://example.org/../x", "https://example.org/x"] {
        assert!(principal(json!({"sub": bad}), config).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_kubernetes_service_account_has_its_url() {
    let subject = "system:serviceaccount:build:signer";
    let claims = json!({
        "sub": subject,
        "kubernetes.io": {
            "namespace": "build",
            "pod": {"name": "p", "uid": "49ad3572-b3dd-43a6-8d77-5858d3660275"},
            "serviceaccount": {"name": "signer", "uid": "f5720c1d-e152-4356-a897-11b07aff165d"}
        }
    });
    let signer = principal(claims.clone(), of(IssuerType::Kubernetes)).await.unwrap();
    assert_eq!(uri(&signer), "https://kubernetes.io/namespaces/build/serviceaccounts/signer");
    assert_eq!(signer.name(), subject);
    expect(&signer, subject, &[]);
    for bad in [
        json!({}),
        json!({"namespace": "build"}),
        json!({"namespace": "", "serviceaccount": {"name": "x"}}),
        json!({"namespace": "a/../b", "serviceaccount": {"name": "x"}}),
        json!({"namespace": "a", "serviceaccount": {"name": "x/y"}}),
        json!({"namespace": "a", "serviceaccount": "x"}),
        json!("x"),
        Value::Null,
    ] {
        let claims = with(claims.clone(), "kubernetes.io", bad.clone());
        assert!(principal(claims, of(IssuerType::Kubernetes)).await.is_err(), "{bad}");
    }
}

fn github() -> Value {
    json!({
        "sub": "repo:octo-org/octo-repo:ref:refs/heads/main", "jti": "x",
        "job_workflow_ref": "octo-org/ci/.github/workflows/build.yml@refs/tags/v1", "job_workflow_sha": "c0ffee",
        "workflow": "release", "workflow_ref": "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main",
        "workflow_sha": "abc123", "event_name": "push", "ref": "refs/heads/main", "ref_type": "branch",
        "ref_protected": "true", "sha": "def456", "repository": "octo-org/octo-repo", "repository_id": "74",
        "repository_owner": "octo-org", "repository_owner_id": "65", "repository_visibility": "public",
        "runner_environment": "github-hosted", "run_id": "99", "run_number": "10", "run_attempt": "2",
        "actor": "octocat", "actor_id": "12", "head_ref": "", "base_ref": ""
    })
}

const GITHUB_EXTENSIONS: [(u8, &str); 19] = [
    (2, "push"),
    (3, "def456"),
    (4, "release"),
    (5, "octo-org/octo-repo"),
    (6, "refs/heads/main"),
    (9, "https://github.com/octo-org/ci/.github/workflows/build.yml@refs/tags/v1"),
    (10, "c0ffee"),
    (11, "github-hosted"),
    (12, "https://github.com/octo-org/octo-repo"),
    (13, "def456"),
    (14, "refs/heads/main"),
    (15, "74"),
    (16, "https://github.com/octo-org"),
    (17, "65"),
    (18, "https://github.com/octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main"),
    (19, "abc123"),
    (20, "push"),
    (21, "https://github.com/octo-org/octo-repo/actions/runs/99/attempts/2"),
    (22, "public"),
];

#[tokio::test]
async fn a_github_workflow_gives_fulcios_extensions() {
    let subject = "repo:octo-org/octo-repo:ref:refs/heads/main";
    let by_type = of(IssuerType::GithubWorkflow);
    let by_provider = |c: &mut IssuerConfig| {
        c.issuer_type = IssuerType::CiProvider;
        c.ci_provider = Some("github-workflow".into());
    };
    for job in [principal(github(), by_type).await.unwrap(), principal(github(), by_provider).await.unwrap()]
    {
        assert_eq!(uri(&job), "https://github.com/octo-org/ci/.github/workflows/build.yml@refs/tags/v1");
        assert_eq!(job.name(), subject);
        expect(&job, subject, &GITHUB_EXTENSIONS);
    }
    let deployed = with(github(), "environment", "production".into());
    let job = principal(deployed, of(IssuerType::GithubWorkflow)).await.unwrap();
    assert_eq!(job.extensions().get(23), Some("production"));
}

#[tokio::test]
async fn each_claim_of_a_github_token_is_needed() {
    for name in [
        "job_workflow_ref",
        "sha",
        "event_name",
        "repository",
        "workflow",
        "ref",
        "job_workflow_sha",
        "runner_environment",
        "repository_id",
        "repository_owner",
        "repository_owner_id",
        "repository_visibility",
        "workflow_ref",
        "workflow_sha",
        "run_id",
        "run_attempt",
    ] {
        let result = principal(with(github(), name, Value::Null), of(IssuerType::GithubWorkflow)).await;
        assert!(result.unwrap_err().to_string().contains(name), "{name}");
        let result = principal(with(github(), name, json!(["x"])), of(IssuerType::GithubWorkflow)).await;
        assert!(result.is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_ci_job_without_a_name_is_not_certified_as_its_platform() {
    let jobs = [
        (github(), IssuerType::GithubWorkflow, "job_workflow_ref"),
        (buildkite(), IssuerType::BuildkiteJob, "organization_slug"),
        (buildkite(), IssuerType::BuildkiteJob, "pipeline_slug"),
    ];
    for (claims, kind, name) in jobs {
        assert!(principal(claims.clone(), of(kind)).await.is_ok(), "{name}");
        let error = principal(with(claims, name, "".into()), of(kind)).await.unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn a_claim_named_url_does_not_choose_the_host() {
    let claims = with(github(), "url", "https://evil.example.org".into());
    let job = principal(claims, of(IssuerType::GithubWorkflow)).await.unwrap();
    expect(&job, "repo:octo-org/octo-repo:ref:refs/heads/main", &GITHUB_EXTENSIONS);
    let templates = |locked: &[&str]| CiTemplates {
        subject: "{{ .url }}/{{ .job }}".into(),
        defaults: [("url".to_owned(), "https://ci.example.com".to_owned())].into(),
        locked: locked.iter().map(|n| (*n).to_owned()).collect(),
        ..CiTemplates::default()
    };
    let token = json!({"job": "j", "url": "https://evil.example.org"});
    for (locked, expected) in
        [(&["url"][..], "https://ci.example.com/j"), (&[], "https://evil.example.org/j")]
    {
        let config = |c: &mut IssuerConfig| {
            c.issuer_type = IssuerType::CiProvider;
            c.templates = Some(templates(locked));
        };
        assert_eq!(uri(&principal(token.clone(), config).await.unwrap()), expected);
    }
}

#[tokio::test]
async fn a_gitlab_pipeline_gives_fulcios_extensions() {
    let subject = "project_path:group/app:ref_type:tag:ref:v1";
    let claims = json!({
        "sub": subject, "project_path": "group/app", "project_id": "20", "namespace_path": "group",
        "namespace_id": "72", "pipeline_id": "574", "pipeline_source": "push", "job_id": "302", "ref": "v1",
        "ref_type": "tag", "ref_protected": "true", "sha": "714a62", "runner_id": 1,
        "ci_config_ref_uri": "gitlab.com/group/app//.gitlab-ci.yml@refs/tags/v1", "ci_config_sha": "714a63",
        "runner_environment": "gitlab-hosted", "project_visibility": "public", "user_login": "alice",
        "user_email": "alice@example.com"
    });
    let config = "https://gitlab.com/group/app//.gitlab-ci.yml@refs/tags/v1";
    let expected = [
        (9, config),
        (10, "714a63"),
        (11, "gitlab-hosted"),
        (12, "https://gitlab.com/group/app"),
        (13, "714a62"),
        (14, "refs/tags/v1"),
        (15, "20"),
        (16, "https://gitlab.com/group"),
        (17, "72"),
        (18, config),
        (19, "714a63"),
        (20, "push"),
        (21, "https://gitlab.com/group/app/-/jobs/302"),
        (22, "public"),
    ];
    let job = principal(claims.clone(), of(IssuerType::GitlabPipeline)).await.unwrap();
    assert_eq!((uri(&job), job.name()), (config, subject));
    expect(&job, subject, &expected);
    let branch = with(with(claims.clone(), "ref_type", "branch".into()), "ref", "main".into());
    let job = principal(branch, of(IssuerType::GitlabPipeline)).await.unwrap();
    assert_eq!(job.extensions().get(14), Some("refs/heads/main"));
    // No digest when the definition is another project's: the extensions are left out.
    let job =
        principal(with(claims, "ci_config_sha", Value::Null), of(IssuerType::GitlabPipeline)).await.unwrap();
    assert_eq!((job.extensions().get(10), job.extensions().get(19)), (None, None));
}

fn buildkite() -> Value {
    json!({
        "sub": "organization:acme:pipeline:app:ref:refs/heads/main:commit:9f3182:step:sign",
        "organization_slug": "acme", "pipeline_slug": "app", "build_number": 5, "build_branch": "main",
        "build_commit": "9f3182", "step_key": "sign", "job_id": "0184990a", "agent_id": "0184990b",
        "build_source": "ui", "runner_environment": "self-hosted"
    })
}

#[tokio::test]
async fn a_buildkite_job_gives_fulcios_extensions() {
    let subject = buildkite()["sub"].as_str().unwrap().to_owned();
    let job = principal(buildkite(), of(IssuerType::BuildkiteJob)).await.unwrap();
    assert_eq!(uri(&job), "https://buildkite.com/acme/app");
    expect(&job, &subject, &[]);
    let provider = |c: &mut IssuerConfig| {
        c.issuer_type = IssuerType::CiProvider;
        c.ci_provider = Some("buildkite-job".into());
    };
    let job = principal(buildkite(), provider).await.unwrap();
    assert_eq!(uri(&job), "https://buildkite.com/acme/app");
    let run = "https://buildkite.com/acme/app/builds/5#0184990a";
    expect(&job, &subject, &[(11, "self-hosted"), (13, "9f3182"), (20, "ui"), (21, run)]);
    for name in ["organization_slug", "pipeline_slug"] {
        assert!(principal(with(buildkite(), name, Value::Null), of(IssuerType::BuildkiteJob)).await.is_err());
    }
}

#[tokio::test]
async fn a_circleci_job_gives_fulcios_extensions() {
    let subject = "org/o1/project/p1/user/u1";
    let name = |short: &str| format!("oidc.circleci.com/{short}");
    let mut claims = json!({"sub": subject});
    for (short, value) in [
        ("project-id", json!("p1")),
        ("pipeline-definition-id", json!("d1")),
        ("pipeline-id", json!("l1")),
        ("workflow-id", json!("w1")),
        ("job-id", json!("j1")),
        ("vcs-ref", json!("refs/heads/main")),
        ("vcs-origin", json!("github.com/acme/app")),
        ("ssh-rerun", json!(false)),
        ("context-ids", json!(["c1"])),
    ] {
        claims[name(short)] = value;
    }
    let definition = "https://circleci.com/api/v2/projects/p1/pipeline-definitions/d1";
    let expected = [
        (9, definition),
        (11, "\"\""),
        (12, "github.com/acme/app"),
        (14, "refs/heads/main"),
        (18, "https://circleci.com/api/v2/pipeline/l1/config"),
        (21, "https://app.circleci.com//workflow/w1/job/j1"),
    ];
    let job = principal(claims.clone(), of(IssuerType::CircleciJob)).await.unwrap();
    assert_eq!(uri(&job), definition);
    expect(&job, subject, &expected);
    let rerun = with(claims.clone(), &name("ssh-rerun"), true.into());
    let job = principal(rerun, of(IssuerType::CircleciJob)).await.unwrap();
    assert_eq!(job.extensions().get(11), Some("ssh-rerun"));
    // With `index` a missing claim is empty: a name without its project is still refused.
    for short in ["project-id", "pipeline-definition-id"] {
        let claims = with(claims.clone(), &name(short), Value::Null);
        assert!(principal(claims, of(IssuerType::CircleciJob)).await.is_err(), "{short}");
    }
}

#[tokio::test]
async fn a_codefresh_workflow_gives_fulcios_extensions() {
    let subject = "account:1:pipeline:2";
    let claims = json!({
        "sub": subject, "account_id": "a1", "account_name": "acme", "pipeline_id": "p1",
        "pipeline_name": "app/build", "workflow_id": "w1", "initiator": "manual", "runner_environment": "hybrid",
        "scm_repo_url": "https://github.com/acme/app", "scm_ref": "main", "platform_url": "https://cf.example.com"
    });
    let job = principal(claims.clone(), of(IssuerType::CodefreshWorkflow)).await.unwrap();
    assert_eq!(uri(&job), "https://cf.example.com/acme/app/build:a1/p1");
    let build = "https://cf.example.com/build/w1";
    let config = "https://cf.example.com/api/pipelines/p1";
    let repository = "https://github.com/acme/app";
    expect(
        &job,
        subject,
        &[(9, build), (11, "hybrid"), (12, repository), (14, "main"), (18, config), (21, build)],
    );
    let job = principal(with(claims, "platform_url", Value::Null), of(IssuerType::CodefreshWorkflow))
        .await
        .unwrap();
    assert_eq!(uri(&job), "https://g.codefresh.io/acme/app/build:a1/p1");
}

#[tokio::test]
async fn a_chainguard_identity_is_issuer_and_subject() {
    let job = principal(json!({"sub": "org/abc"}), of(IssuerType::ChainguardIdentity)).await.unwrap();
    assert_eq!((uri(&job), job.name()), ("https://id.example.com/org/abc", "org/abc"));
    let mut claims = person(&json!(true));
    claims["sub"] = "org/abc".into();
    let job = principal(claims, of(IssuerType::ChainguardIdentity)).await.unwrap();
    assert_eq!((uri(&job), job.name()), ("https://id.example.com/org/abc", "alice@example.com"));
    assert!(principal(person(&json!(false)), of(IssuerType::ChainguardIdentity)).await.is_err());
}

#[tokio::test]
async fn the_challenge_claim_can_be_chosen() {
    let mut claims = buildkite();
    claims["email"] = "bot@example.com".into();
    let email = |c: &mut IssuerConfig| {
        c.issuer_type = IssuerType::BuildkiteJob;
        c.challenge_claim = Some("email".into());
    };
    assert_eq!(principal(claims.clone(), email).await.unwrap().name(), "bot@example.com");
    assert!(principal(buildkite(), email).await.is_err());
    let subject = |c: &mut IssuerConfig| c.challenge_claim = Some("sub".into());
    assert_eq!(principal(person(&json!(true)), subject).await.unwrap().name(), "u1");
}

#[tokio::test]
async fn names_with_spaces_are_escaped_and_long_ones_refused() {
    let claims =
        with(github(), "job_workflow_ref", "o/r/.github/workflows/my file.yml@refs/heads/main".into());
    let job = principal(claims, of(IssuerType::GithubWorkflow)).await.unwrap();
    assert_eq!(uri(&job), "https://github.com/o/r/.github/workflows/my%20file.yml@refs/heads/main");
    for long in ["sub", "job_workflow_ref", "workflow"] {
        let claims = with(github(), long, "x".repeat(4096).into());
        assert!(principal(claims, of(IssuerType::GithubWorkflow)).await.is_err(), "{long}");
    }
    let control = with(github(), "workflow", "a\u{0}b".into());
    assert!(principal(control, of(IssuerType::GithubWorkflow)).await.is_err());
}
