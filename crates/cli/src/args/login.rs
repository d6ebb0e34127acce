//! Where an identity comes from, as arguments.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use countersign_client::oidc::{
    Ambient, AmbientProvider, DevicePrompt, Flow, Login, LoginOptions, TokenFrom, Ui,
};
use countersign_http::parse_url;
use url::Url;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::out::{Terminal, say};

/// How a person logs in, by cosign's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlowName {
    /// With a browser on this machine.
    #[value(alias = "browser")]
    Normal,
    /// With a code typed on another device.
    Device,
    /// Only with a token that is there already.
    Token,
    /// As a service, with a client secret.
    #[value(name = "client_credentials")]
    ClientCredentials,
}

/// Arguments about the identity to sign with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Identity")]
pub(crate) struct LoginArgs {
    /// A token, a file holding one, or - for standard input; else SIGSTORE_ID_TOKEN, the CI system, a login
    #[arg(long, value_name = "TOKEN|FILE")]
    identity_token: Option<String>,
    /// Take the token from this place only: github-actions, gitlab, buildkite-agent, circleci, google, spiffe, kubernetes, filesystem, file
    #[arg(long, value_name = "NAME")]
    oidc_provider: Option<String>,
    /// Do not ask the CI system for a token
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    oidc_disable_ambient_providers: bool,
    /// How to log in when no token is at hand; a browser on a terminal, else a device code
    #[arg(long = "fulcio-auth-flow", visible_alias = "login", value_enum, value_name = "HOW")]
    flow: Option<FlowName>,
    /// The identity provider to log in at, instead of the signing configuration's
    #[arg(long, value_name = "URL")]
    oidc_issuer: Option<String>,
    /// The name of this client at the identity provider
    #[arg(long, value_name = "ID", default_value = "sigstore")]
    oidc_client_id: String,
    /// A file with the secret of this client, where the provider wants one
    #[arg(long, value_name = "FILE")]
    oidc_client_secret_file: Option<PathBuf>,
    /// The loopback address the browser comes back to, where the provider insists on one
    #[arg(long, value_name = "URL")]
    oidc_redirect_url: Option<String>,
}

impl LoginArgs {
    /// The login these arguments describe; `issuer` is the signing configuration's identity provider.
    pub(crate) fn login(&self, issuer: Option<Url>, terminal: Terminal) -> Result<Login, Failure> {
        let interactive = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let flow = match self.flow {
            Some(FlowName::Normal) => Flow::Browser,
            Some(FlowName::Device) => Flow::Device,
            Some(FlowName::Token) => Flow::TokenOnly,
            Some(FlowName::ClientCredentials) => Flow::ClientCredentials,
            None if interactive => Flow::Browser,
            None => Flow::Device,
        };
        let secret = match &self.oidc_client_secret_file {
            None => None,
            Some(path) => {
                let bytes = Zeroizing::new(countersign_client::artifact::read_limited(path, 4096)?);
                let text = std::str::from_utf8(&bytes)
                    .map_err(|_| Failure::usage(format!("{} is not text", path.display())))?;
                Some(Zeroizing::new(text.trim().to_owned()))
            }
        };
        let options = LoginOptions {
            token: self.identity_token.as_deref().map(TokenFrom::parse),
            ambient: !self.oidc_disable_ambient_providers,
            provider: self.oidc_provider.as_deref().map(AmbientProvider::parse).transpose()?,
            flow,
            issuer: match &self.oidc_issuer {
                Some(text) => Some(parse_url(text)?),
                None => issuer,
            },
            client_id: self.oidc_client_id.clone(),
            client_secret: secret,
            redirect: self.oidc_redirect_url.as_deref().map(parse_url).transpose()?,
            ..LoginOptions::default()
        };
        Ok(Login::new(options, Ambient::of_process(), Arc::new(Person { terminal })))
    }
}

/// The person at the terminal.
#[derive(Debug)]
struct Person {
    terminal: Terminal,
}

impl Ui for Person {
    fn open(&self, url: &Url) {
        // Shown even if quiet: nothing goes on without it.
        say(&format!("Log in with your browser. If it does not open by itself, go to\n  {url}"));
        let program = std::env::var("BROWSER")
            .ok()
            .filter(|b| !b.is_empty())
            .unwrap_or_else(|| if cfg!(target_os = "macos") { "open".into() } else { "xdg-open".into() });
        let quiet = std::process::Stdio::null;
        let started = std::process::Command::new(&program)
            .arg(url.as_str())
            .stdin(quiet())
            .stdout(quiet())
            .stderr(quiet())
            .spawn();
        match started {
            // Waited for on a thread of its own, so that no zombie is left.
            Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
            Err(e) => self.terminal.talk(&format!("({program} could not be started: {e})")),
        }
    }

    fn device(&self, prompt: &DevicePrompt) {
        say(&format!("Log in on any device: go to\n  {}\nand enter the code\n  {}", prompt.url, prompt.code));
    }
}
