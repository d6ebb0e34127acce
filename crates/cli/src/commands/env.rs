//! `env`: the variables of the environment that are read.

use clap::Args;
use countersign_builder::environment::READ;
use countersign_http::text::printable;

use crate::failure::Outcome;
use crate::out::Terminal;

/// Whether a value is shown, or only that there is one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    Shown,
    Secret,
}

use Value::{Secret, Shown};

/// The variables and what they are for, by subject.
const VARIABLES: &[(&str, &str, Value)] = &[
    ("COUNTERSIGN_INSTANCE", "the trusted instance to use", Shown),
    ("COUNTERSIGN_PASSWORD", "the password of an instance's keys", Secret),
    ("COSIGN_PASSWORD", "the password of key files", Secret),
    ("COSIGN_NEW_PASSWORD", "the password of key files when it is changed", Secret),
    ("COSIGN_REPOSITORY", "one repository for the evidence of all images", Shown),
    ("TUF_MIRROR", "the repository that initialize trusts", Shown),
    ("TUF_ROOT_JSON", "its root", Shown),
    ("SIGSTORE_ID_TOKEN", "the identity token to sign with", Secret),
    ("COUNTERSIGN_ID_TOKEN_FILE", "the file with the identity token to sign with", Shown),
    ("ACTIONS_ID_TOKEN_REQUEST_URL", "where GitHub Actions gives identity tokens", Shown),
    ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "what it is asked with", Secret),
    ("BUILDKITE_AGENT_ENDPOINT", "where Buildkite's agent gives identity tokens", Shown),
    ("BUILDKITE_JOB_ID", "the job it is asked for", Shown),
    ("BUILDKITE_AGENT_ACCESS_TOKEN", "what it is asked with", Secret),
    ("CIRCLECI", "that this is a job of CircleCI, which gives identity tokens", Shown),
    ("SPIFFE_ENDPOINT_SOCKET", "where a SPIFFE agent gives identity tokens", Shown),
    ("GCE_METADATA_HOST", "where a machine of Google's cloud gives tokens", Shown),
    ("COUNTERSIGN_PKCS11_MODULE_PATH", "the PKCS #11 module", Shown),
    ("COSIGN_PKCS11_MODULE_PATH", "the same", Shown),
    ("COUNTERSIGN_PKCS11_PIN", "the PIN of the hardware token", Secret),
    ("COSIGN_PKCS11_PIN", "the same", Secret),
    ("VAULT_ADDR", "the Vault of hashivault:// keys", Shown),
    ("VAULT_TOKEN", "what it is asked with", Secret),
    ("VAULT_NAMESPACE", "its namespace", Shown),
    ("VAULT_CACERT", "the authority of its certificate", Shown),
    ("BAO_ADDR", "the OpenBao of openbao:// keys", Shown),
    ("BAO_TOKEN", "what it is asked with", Secret),
    ("BAO_NAMESPACE", "its namespace", Shown),
    ("BAO_CACERT", "the authority of its certificate", Shown),
    ("TRANSIT_SECRET_ENGINE_PATH", "where its transit engine is", Shown),
    ("AWS_REGION", "the region of awskms:// keys", Shown),
    ("AWS_DEFAULT_REGION", "the same", Shown),
    ("AWS_PROFILE", "the profile that says who asks there", Shown),
    ("AWS_CONFIG_FILE", "the file with the profiles", Shown),
    ("AWS_ACCESS_KEY_ID", "who asks there", Shown),
    ("AWS_SECRET_ACCESS_KEY", "what it is asked with", Secret),
    ("AWS_SESSION_TOKEN", "likewise", Secret),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "the file with a token that is exchanged for that", Shown),
    ("AWS_ROLE_ARN", "the role that the token is for", Shown),
    ("AWS_ROLE_SESSION_NAME", "the name of the session", Shown),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "where a container gets its credentials", Shown),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "the same", Shown),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "what is asked with there", Secret),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "the file with it", Shown),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "where a machine gets its credentials", Shown),
    ("AWS_ENDPOINT_URL", "another address of AWS's services", Shown),
    ("AWS_ENDPOINT_URL_KMS", "another address of AWS KMS", Shown),
    ("AWS_ENDPOINT_URL_STS", "another address of AWS STS", Shown),
    ("AWS_USE_FIPS_ENDPOINT", "whether the FIPS addresses are used", Shown),
    ("AZURE_TENANT_ID", "the tenant of azurekms:// keys", Shown),
    ("AZURE_CLIENT_ID", "who asks there", Shown),
    ("AZURE_CLIENT_SECRET", "what it is asked with", Secret),
    ("AZURE_FEDERATED_TOKEN_FILE", "the file with a token in its place", Shown),
    ("AZURE_AUTHORITY_HOST", "another login service", Shown),
    ("AZURE_POD_IDENTITY_AUTHORITY_HOST", "another metadata service", Shown),
    ("IDENTITY_ENDPOINT", "where a service of Azure's gets its credentials", Shown),
    ("IDENTITY_HEADER", "what is asked with there", Secret),
    ("GOOGLE_APPLICATION_CREDENTIALS", "the file with the credential for gcpkms:// keys", Shown),
    ("CLOUDSDK_CONFIG", "gcloud's directory, which has one too", Shown),
    ("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS", "another address of Google Cloud KMS", Shown),
    ("KUBECONFIG", "the cluster of k8s:// keys", Shown),
    ("KUBERNETES_SERVICE_HOST", "the cluster, from within", Shown),
    ("KUBERNETES_SERVICE_PORT", "its port", Shown),
    ("GITHUB_TOKEN", "what GitHub is asked with, for github:// keys", Secret),
    ("GITHUB_HOST", "a GitHub Enterprise server", Shown),
    ("GITLAB_TOKEN", "what GitLab is asked with, for gitlab:// keys", Secret),
    ("GITLAB_HOST", "another GitLab than gitlab.com", Shown),
    ("DOCKER_CONFIG", "the directory with Docker's config.json", Shown),
    ("REGISTRY_AUTH_FILE", "podman's auth.json", Shown),
    // A proxy's address may hold a password.
    ("HTTP_PROXY", "the proxy for http", Secret),
    ("HTTPS_PROXY", "the proxy for https", Secret),
    ("NO_PROXY", "the hosts reached without a proxy", Shown),
    ("SSL_CERT_FILE", "a file with certificates of authorities to trust for TLS", Shown),
    ("SSL_CERT_DIR", "a directory with such files", Shown),
    ("BROWSER", "the program that opens the page to log in on", Shown),
    ("NO_COLOR", "no colours", Shown),
    ("TERM", "with dumb, neither colours nor signs beyond ASCII", Shown),
    ("RUST_LOG", "what a server logs", Shown),
    ("XDG_CONFIG_HOME", "where trusted instances and notation's configuration are kept", Shown),
    ("XDG_RUNTIME_DIR", "where podman's auth.json is kept", Shown),
    ("HOME", "where all of these are kept else", Shown),
    ("PATH", "where credential helpers and plugins for keys are looked for", Shown),
];

#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  countersign env\n  countersign env --show-descriptions=false")]
pub(crate) struct Env {
    /// Whether it is said what each is for
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_possible_values = true, value_name = "BOOL")]
    show_descriptions: bool,
    /// Whether secrets are shown too
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_possible_values = true, value_name = "BOOL")]
    show_sensitive_values: bool,
}

impl Env {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        // A repository's address may hold a password.
        let kind = |name: &str| if name.contains("URL") || name.contains("REPO") { Secret } else { Shown };
        let known = |name: &str| VARIABLES.iter().any(|(other, ..)| *other == name);
        let build = READ.iter().filter(|name| !known(name));
        let build = build.map(|name| (*name, "what provenance says of the build", kind(name)));
        for (name, what, kind) in VARIABLES.iter().copied().chain(build) {
            let value = std::env::var(name).unwrap_or_default();
            let hidden = kind == Secret && !value.is_empty() && !self.show_sensitive_values;
            let shown = if hidden { "********".to_owned() } else { printable(&value) };
            if self.show_descriptions {
                terminal.line(&format!("# {what}"))?;
            }
            terminal.line(&format!("{name}={shown}"))?;
        }
        Ok(0)
    }
}
