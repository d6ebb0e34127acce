//! How to reach a Kubernetes cluster: kubeconfig files, or the service account of the pod the program runs in.

use std::path::{Path, PathBuf};

use countersign_crypto::encoding::{base64_decode, base64_encode};
use countersign_http::{HttpOptions, parse_url};
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use crate::environment::{Context, MAX_SETTINGS, read_settings};
use crate::{KeyError, command};

/// Where credentials come from, for messages.
pub(crate) const PLACES: &str = "KUBECONFIG, ~/.kube/config or the pod's service account";

/// The longest answer of a program that gives credentials, in bytes.
const MAX_CREDENTIAL: usize = 256 * 1024;

/// A kubeconfig file, as far as it says how to reach a cluster.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Kubeconfig {
    current_context: Option<String>,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Pairing,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: User,
}

#[derive(Deserialize)]
struct Pairing {
    cluster: String,
    user: String,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    token: Option<Zeroizing<String>>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    password: Option<Zeroizing<String>>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<Zeroizing<String>>,
    exec: Option<Exec>,
}

/// A program that gives credentials (`client.authentication.k8s.io`).
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exec {
    api_version: String,
    command: String,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    env: Option<Vec<Variable>>,
}

#[derive(Clone, Deserialize)]
struct Variable {
    name: String,
    value: String,
}

/// What such a program answers.
#[derive(Deserialize)]
struct ExecAnswer {
    status: ExecStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecStatus {
    token: Option<Zeroizing<String>>,
    client_certificate_data: Option<String>,
    client_key_data: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kubeconfig({} contexts)", self.contexts.len())
    }
}

impl Kubeconfig {
    /// Reads a file's text.
    ///
    /// # Errors
    /// [`KeyError::TooLarge`], [`KeyError::Malformed`] with the place in the text, without its content.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.len() > MAX_SETTINGS {
            return Err(KeyError::TooLarge { what: "a kubeconfig file".into(), limit: MAX_SETTINGS });
        }
        serde_saphyr::from_str(text).map_err(|error| {
            // The error's text may show a line, and a line may be a token.
            let line = error.location().map(|place| format!(" (line {})", place.line())).unwrap_or_default();
            KeyError::Malformed(format!("expected a kubeconfig file in YAML{line}"))
        })
    }

    /// Adds another file: what is named already stays.
    fn merge(&mut self, other: Self) {
        self.current_context = self.current_context.take().or(other.current_context);
        self.clusters.extend(other.clusters);
        self.contexts.extend(other.contexts);
        self.users.extend(other.users);
    }

    /// The current cluster and user.
    fn current(&self) -> Option<(Cluster, User)> {
        let current = self.current_context.as_ref()?;
        let pairing = &self.contexts.iter().find(|context| &context.name == current)?.context;
        let cluster = &self.clusters.iter().find(|cluster| cluster.name == pairing.cluster)?.cluster;
        let user = &self.users.iter().find(|user| user.name == pairing.user)?.user;
        Some((cluster.clone(), user.clone()))
    }

    /// Makes paths that are relative to the file's folder whole.
    fn anchored(mut self, folder: &Path) -> Self {
        let anchor = |path: &mut Option<PathBuf>| {
            if let Some(path) = path {
                *path = folder.join(path.as_path());
            }
        };
        for named in &mut self.clusters {
            anchor(&mut named.cluster.certificate_authority);
        }
        for named in &mut self.users {
            anchor(&mut named.user.token_file);
            anchor(&mut named.user.client_certificate);
            anchor(&mut named.user.client_key);
            if let Some(exec) = &mut named.user.exec
                && exec.command.contains('/')
            {
                exec.command = folder.join(&exec.command).display().to_string();
            }
        }
        self
    }
}

/// A cluster and who asks it.
pub(crate) struct Access {
    server: Url,
    options: HttpOptions,
    user: User,
}

/// What one request needs.
pub(crate) struct Login {
    pub(crate) server: Url,
    pub(crate) options: HttpOptions,
    /// Scheme and value of the header `Authorization`.
    pub(crate) authorization: Option<(&'static str, Zeroizing<String>)>,
}

impl Access {
    /// Finds the cluster: the current context of the kubeconfig files, else the pod's own.
    pub(crate) fn find(context: &Context) -> Result<Self, KeyError> {
        let environment = &context.environment;
        let named = environment.plain("KUBECONFIG");
        let files: Vec<PathBuf> = match &named {
            Some(list) => std::env::split_paths(list).filter(|path| path.exists()).collect(),
            None => environment.below_home(".kube/config").filter(|path| path.exists()).into_iter().collect(),
        };
        if named.is_some() && files.is_empty() {
            return Err(KeyError::Refused("Kubernetes: no file that KUBECONFIG names is there".into()));
        }
        if files.is_empty() {
            return Self::in_cluster(context);
        }
        let mut all = Kubeconfig::default();
        for file in &files {
            let folder = file.parent().unwrap_or(Path::new(""));
            all.merge(Kubeconfig::parse(&read_settings(file)?)?.anchored(folder));
        }
        let (cluster, user) = all.current().ok_or_else(|| {
            KeyError::Refused(
                "Kubernetes: the kubeconfig has no current context with a cluster and a user; see \
                 `kubectl config use-context`"
                    .into(),
            )
        })?;
        if cluster.insecure_skip_tls_verify {
            return Err(KeyError::Refused(
                "Kubernetes: the kubeconfig says insecure-skip-tls-verify, and a key is not sent to a server that \
                 anyone could be; name its certificate-authority instead"
                    .into(),
            ));
        }
        let mut options = context.options.clone();
        options.authorities.extend(
            given(cluster.certificate_authority_data.as_deref(), &cluster.certificate_authority)?
                .map(|pem| pem.to_vec()),
        );
        Ok(Self { server: parse_url(&cluster.server)?, options, user })
    }

    fn in_cluster(context: &Context) -> Result<Self, KeyError> {
        let environment = &context.environment;
        let place =
            environment.plain("KUBERNETES_SERVICE_HOST").zip(environment.plain("KUBERNETES_SERVICE_PORT"));
        let (host, port) = place.ok_or_else(|| {
            KeyError::Refused(format!("Kubernetes: no cluster found; expected it in {PLACES}"))
        })?;
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let mut options = context.options.clone();
        let authority = read_settings(&context.service_account.join("ca.crt"))?;
        options.authorities.push(authority.as_bytes().to_vec());
        // In a cluster, the server is next door.
        options.no_proxy = true;
        let user = User { token_file: Some(context.service_account.join("token")), ..User::default() };
        Ok(Self { server: parse_url(&format!("https://{host}:{port}"))?, options, user })
    }

    /// The credentials, read or fetched anew: files of tokens are renewed by the cluster.
    pub(crate) async fn login(&self) -> Result<Login, KeyError> {
        let mut options = self.options.clone();
        let mut user = self.user.clone();
        if let Some(exec) = &user.exec {
            let status = exec.run(&self.server).await?;
            user.token = status.token.or(user.token);
            user.client_certificate_data =
                status.client_certificate_data.map(|pem| base64_encode(pem.as_bytes()));
            user.client_key_data =
                status.client_key_data.map(|pem| Zeroizing::new(base64_encode(pem.as_bytes())));
        }
        let certificate = given(user.client_certificate_data.as_deref(), &user.client_certificate)?;
        let key_data = user.client_key_data.as_ref().map(|data| data.as_str());
        if let (Some(certificate), Some(key)) = (certificate, given(key_data, &user.client_key)?) {
            let pem = [certificate.as_slice(), b"\n", key.as_slice()].concat();
            options.identity = Some(Zeroizing::new(pem).into());
        }
        let authorization = match (&user.token, &user.token_file, &user.username) {
            (Some(token), _, _) => Some(("Bearer", token.clone())),
            (None, Some(file), _) => Some(("Bearer", read_settings(file)?)),
            (None, None, Some(name)) => {
                let password = user.password.as_ref().map(|p| p.as_str()).unwrap_or_default();
                let pair = Zeroizing::new(format!("{name}:{password}"));
                Some(("Basic", Zeroizing::new(base64_encode(pair.as_bytes()))))
            }
            (None, None, None) => None,
        };
        Ok(Login { server: self.server.clone(), options, authorization })
    }
}

/// What stands in the file itself in base64, else in another file.
fn given(data: Option<&str>, file: &Option<PathBuf>) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    match (data, file) {
        (Some(data), _) => Ok(Some(Zeroizing::new(base64_decode(data)?))),
        (None, Some(file)) => Ok(Some(Zeroizing::new(read_settings(file)?.as_bytes().to_vec()))),
        (None, None) => Ok(None),
    }
}

impl Exec {
    async fn run(&self, server: &Url) -> Result<ExecStatus, KeyError> {
        let question = serde_json::json!({
            "apiVersion": self.api_version, "kind": "ExecCredential",
            "spec": { "interactive": false, "cluster": { "server": server.as_str() } }
        });
        let mut variables = vec![("KUBERNETES_EXEC_INFO".to_owned(), question.to_string())];
        variables.extend(self.env.iter().flatten().map(|v| (v.name.clone(), v.value.clone())));
        let arguments = self.args.clone().unwrap_or_default();
        let answer = Zeroizing::new(
            command::output(&self.command, &arguments, &variables, b"", MAX_CREDENTIAL).await?,
        );
        let answer: ExecAnswer = serde_json::from_slice(&answer).map_err(|_| {
            KeyError::Refused(format!("{}: expected an ExecCredential with a status in JSON", self.command))
        })?;
        Ok(answer.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
apiVersion: v1
kind: Config
current-context: b
preferences: {}
clusters:
- name: c1
  cluster: {server: 'https://one.example', certificate-authority: ca.pem}
- name: c2
  cluster: {server: 'https://two.example'}
contexts:
- {name: a, context: {cluster: c1, user: u}}
- {name: b, context: {cluster: c2, user: u, namespace: n}}
users:
- name: u
  user:
    token: secret-token
    exec: {apiVersion: client.authentication.k8s.io/v1, command: ./login, args: null, env: null}
";

    #[test]
    fn the_current_context_names_cluster_and_user() {
        let config = Kubeconfig::parse(FILE).unwrap().anchored(Path::new("/home/u/.kube"));
        let (cluster, user) = config.current().unwrap();
        assert_eq!(cluster.server, "https://two.example");
        assert_eq!(user.token.unwrap().as_str(), "secret-token");
        assert_eq!(user.exec.unwrap().command, "/home/u/.kube/./login");
        assert_eq!(
            config.clusters[0].cluster.certificate_authority.as_deref(),
            Some(Path::new("/home/u/.kube/ca.pem"))
        );
    }

    #[test]
    fn the_first_file_wins() {
        let mut first = Kubeconfig::parse("current-context: a").unwrap();
        first.merge(Kubeconfig::parse(FILE).unwrap());
        assert_eq!(first.current().unwrap().0.server, "https://one.example");
    }

    #[test]
    fn malformed_files_are_refused_without_showing_their_lines() {
        for text in ["users: [{name: u, user: {token: {hunter2: x}}}]", "clusters: hunter2", "\t- hunter2: ["]
        {
            let error = Kubeconfig::parse(text).err().unwrap().to_string();
            assert!(error.contains("kubeconfig") && !error.contains("hunter2"), "{error}");
        }
        assert!(Kubeconfig::parse(&" ".repeat(MAX_SETTINGS + 1)).is_err());
        assert!(Kubeconfig::parse("a: &a [x,x]\nb: &b [*a,*a]\nclusters: [*b]").is_err());
    }

    #[test]
    fn a_cluster_that_anyone_could_be_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let text =
            FILE.replace("{server: 'https://two", "{insecure-skip-tls-verify: true, server: 'https://two");
        std::fs::write(&path, text).unwrap();
        let find = |path: &str| Access::find(&Context::given(&[("KUBECONFIG", path)])).err().unwrap();
        assert!(find(path.to_str().unwrap()).to_string().contains("insecure-skip-tls-verify"));
        assert!(find("/nonexistent/config").to_string().contains("KUBECONFIG"));
        assert!(Access::find(&Context::given(&[])).err().unwrap().to_string().contains("no cluster"));
    }
}
