//! Arguments about who is told of changes, and how often it is looked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use countersign_client::artifact::read_limited;
use countersign_http::is_loopback;
use countersign_kubernetes::continuous::sink::email::{Email, EmailOptions};
use countersign_kubernetes::continuous::sink::lines::Lines;
use countersign_kubernetes::continuous::sink::webhook::Webhook;
use countersign_kubernetes::continuous::{Options, Sink, Told};
use url::Url;
use zeroize::Zeroizing;

use crate::args::number;
use crate::failure::Failure;
use crate::out::parse_duration;

/// The largest secret, in bytes.
const MAX_SECRET: usize = 4096;
/// Where the address is, when it holds a token.
const WEBHOOK_VARIABLE: &str = "COUNTERSIGN_ALERT_WEBHOOK";
/// Where the password of the mail server is, if not in a file.
const PASSWORD_VARIABLE: &str = "COUNTERSIGN_SMTP_PASSWORD";

/// Who is told, by which way.
#[derive(Debug, Args)]
#[command(next_help_heading = "Alerts")]
pub(crate) struct SinkArgs {
    /// Append changes to a file, each a line of JSON
    #[arg(long, value_name = "FILE")]
    alert_file: Option<PathBuf>,
    /// Post changes as JSON to an address; one that holds a token goes into the variable COUNTERSIGN_ALERT_WEBHOOK
    #[arg(long, value_name = "URL")]
    alert_webhook: Option<Url>,
    /// A file with the secret that posts are signed with: HMAC-SHA256 in x-countersign-signature-256
    #[arg(long, value_name = "FILE")]
    alert_webhook_secret: Option<PathBuf>,
    /// Send changes by e-mail to this address; several count together
    #[arg(long, value_name = "ADDRESS", requires = "alert_smtp")]
    alert_email: Vec<String>,
    /// Who the e-mail is from; else the first who gets it
    #[arg(long, value_name = "ADDRESS", requires = "alert_email")]
    alert_email_from: Option<String>,
    /// The mail server: smtps://HOST for TLS, smtp://HOST for STARTTLS, and as it is on this machine
    #[arg(long, value_name = "URL", requires = "alert_email")]
    alert_smtp: Option<Url>,
    /// As whom to sign in at the mail server
    #[arg(long, value_name = "NAME", requires = "alert_smtp")]
    alert_smtp_user: Option<String>,
    /// A file with the password for that; else the variable COUNTERSIGN_SMTP_PASSWORD
    #[arg(long, value_name = "FILE", requires = "alert_smtp_user")]
    alert_smtp_password: Option<PathBuf>,
}

/// Who is told of changes, and how often it is looked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Alerts")]
pub(crate) struct AlertArgs {
    #[command(flatten)]
    sinks: SinkArgs,
    /// Tell that something cannot be checked after it has lasted this long, such as 15m (15m unless given)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    alert_unchecked_after: Option<Duration>,
    /// How many workloads are verified in a second, at most (20 unless given)
    #[arg(long, value_name = "NUMBER", value_parser = number::<u32>)]
    verify_rate: Option<u32>,
}

impl AlertArgs {
    /// An option that is given, for whoever does not verify continuously.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let sinks = &self.sinks;
        [
            ("--alert-file", sinks.alert_file.is_some()),
            ("--alert-webhook", sinks.alert_webhook.is_some()),
            ("--alert-webhook-secret", sinks.alert_webhook_secret.is_some()),
            ("--alert-email", !sinks.alert_email.is_empty()),
            ("--alert-unchecked-after", self.alert_unchecked_after.is_some()),
            ("--verify-rate", self.verify_rate.is_some()),
        ]
        .into_iter()
        .find_map(|(flag, given)| given.then_some(flag))
    }

    /// How it is verified.
    pub(crate) fn options(&self, interval: Duration, at_once: usize) -> Result<Options, Failure> {
        if interval.is_zero() {
            return Err(Failure::usage("expected an interval such as 10m, found none at all"));
        }
        let usual = Options::default();
        Ok(Options {
            interval,
            at_once,
            per_second: self.verify_rate.unwrap_or(usual.per_second),
            patience: self.alert_unchecked_after.unwrap_or(usual.patience),
            limits: usual.limits,
        })
    }

    /// Who is told.
    pub(crate) fn sinks(&self) -> Result<Vec<Arc<dyn Sink>>, Failure> {
        self.sinks.open()
    }
}

impl SinkArgs {
    /// Opens them.
    pub(crate) fn open<A: Told>(&self) -> Result<Vec<Arc<dyn Sink<A>>>, Failure> {
        let mut sinks: Vec<Arc<dyn Sink<A>>> = Vec::new();
        if let Some(path) = &self.alert_file {
            let lines =
                Lines::append(path).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
            sinks.push(Arc::new(lines));
        }
        if let Some(url) = self.webhook()? {
            let secret = self.alert_webhook_secret.as_deref().map(secret).transpose()?;
            sinks.push(Arc::new(Webhook::new(url, secret)));
        } else if self.alert_webhook_secret.is_some() {
            return Err(Failure::usage("--alert-webhook-secret is for --alert-webhook, which is not given"));
        }
        if let (Some(server), Some(first)) = (&self.alert_smtp, self.alert_email.first()) {
            let email = Email::new(EmailOptions {
                server: server.clone(),
                credentials: self.credentials()?,
                from: self.alert_email_from.clone().unwrap_or_else(|| first.clone()),
                to: self.alert_email.clone(),
            });
            sinks.push(Arc::new(email.map_err(|e| Failure::usage(e.to_string()))?));
        }
        Ok(sinks)
    }

    fn webhook(&self) -> Result<Option<Url>, Failure> {
        let (named, url) = match (&self.alert_webhook, std::env::var(WEBHOOK_VARIABLE)) {
            (Some(url), _) => ("--alert-webhook", url.clone()),
            // The text is not shown: it may hold a token.
            (None, Ok(text)) => {
                let wrong = |e| Failure::usage(format!("{WEBHOOK_VARIABLE}: expected an address: {e}"));
                (WEBHOOK_VARIABLE, text.parse().map_err(wrong)?)
            }
            (None, Err(_)) => return Ok(None),
        };
        match url.scheme() {
            "https" => Ok(Some(url)),
            "http" if is_loopback(&url) => Ok(Some(url)),
            other => Err(Failure::usage(format!(
                "{named}: expected an address with https://, or with http:// on this machine, found {other}://"
            ))),
        }
    }

    fn credentials(&self) -> Result<Option<(String, Zeroizing<String>)>, Failure> {
        let Some(user) = &self.alert_smtp_user else { return Ok(None) };
        let text = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).map(|text| Zeroizing::new(text.to_owned()));
            text.map_err(|_| Failure::usage("the password of the mail server: expected UTF-8"))
        };
        let password = match (&self.alert_smtp_password, std::env::var(PASSWORD_VARIABLE)) {
            (Some(path), _) => text(&secret(path)?)?,
            (None, Ok(password)) => Zeroizing::new(password),
            (None, Err(_)) => {
                return Err(Failure::usage(format!(
                    "--alert-smtp-user needs a password: expected --alert-smtp-password FILE or {PASSWORD_VARIABLE}"
                )));
            }
        };
        Ok(Some((user.clone(), password)))
    }
}

/// A secret in a file, without one final line break.
fn secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(read_limited(path, MAX_SECRET)?);
    if bytes.ends_with(b"\n") {
        bytes.pop();
    }
    if bytes.ends_with(b"\r") {
        bytes.pop();
    }
    if bytes.is_empty() {
        return Err(Failure::usage(format!("{}: expected a secret, found nothing", path.display())));
    }
    Ok(bytes)
}
