//! Alerts by e-mail: those of some time in one message.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign_http::text::printable;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use url::Url;
use zeroize::Zeroizing;

use super::{Sending, Sink, SinkError, Told};

/// How long alerts are gathered for one message.
const GATHERED: Duration = Duration::from_secs(30);
/// How long a mail server may take for a step.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a message may take as a whole.
const LONGEST: Duration = Duration::from_secs(120);

/// What is wrong with how e-mail is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EmailError(String);

/// Where e-mail goes, and through whom.
#[derive(Debug)]
pub struct EmailOptions {
    /// The mail server: `smtps://host` speaks TLS from the beginning, `smtp://host` turns to it (STARTTLS); on this machine
    /// `smtp` stays as it is.
    pub server: Url,
    /// As whom to sign in there, and the password.
    pub credentials: Option<(String, Zeroizing<String>)>,
    /// Who it is from.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
}

/// Sends alerts by e-mail.
pub struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    host: String,
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Email").field("host", &self.host).field("to", &self.to).finish_non_exhaustive()
    }
}

fn mailbox(text: &str) -> Result<Mailbox, EmailError> {
    text.parse().map_err(|e| EmailError(format!("expected an e-mail address, found \"{text}\": {e}")))
}

impl Email {
    /// Through this server; nothing is opened yet.
    ///
    /// # Errors
    /// [`EmailError`].
    pub fn new(options: EmailOptions) -> Result<Self, EmailError> {
        type Smtp = AsyncSmtpTransport<Tokio1Executor>;
        let EmailOptions { server, credentials, from, to } = options;
        let wrong = |what: String| EmailError(format!("the mail server: {what}"));
        let host = server.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() || !server.username().is_empty() || server.password().is_some() {
            return Err(wrong(
                "expected smtps://HOST[:PORT] or smtp://HOST[:PORT], with the user beside it".into(),
            ));
        }
        let tls = |e: lettre::transport::smtp::Error| wrong(format!("TLS to {host} cannot be set up: {e}"));
        let mut builder = match server.scheme() {
            "smtps" => Smtp::relay(&host).map_err(tls)?,
            "smtp" if is_this_machine(&host) => Smtp::builder_dangerous(&host),
            "smtp" => Smtp::starttls_relay(&host).map_err(tls)?,
            other => return Err(wrong(format!("expected smtps:// or smtp://, found {other}://"))),
        };
        if let Some(port) = server.port() {
            builder = builder.port(port);
        }
        if let Some((user, password)) = credentials {
            builder = builder.credentials(Credentials::new(user, password.to_string()));
        }
        if to.is_empty() {
            return Err(EmailError("expected somebody to send to".into()));
        }
        Ok(Self {
            transport: builder.timeout(Some(PATIENCE)).build(),
            from: mailbox(&from)?,
            to: to.iter().map(|text| mailbox(text)).collect::<Result<_, _>>()?,
            host,
        })
    }

    fn message<A: Told>(&self, alerts: &[Arc<A>]) -> Result<Message, SinkError> {
        let mut builder: MessageBuilder =
            Message::builder().from(self.from.clone()).subject(A::subject(alerts));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let text: Vec<String> = alerts.iter().map(ToString::to_string).collect();
        builder
            .header(ContentType::TEXT_PLAIN)
            .body(text.join("\n"))
            .map_err(|e| SinkError::Refused(format!("the message cannot be written: {e}")))
    }

    async fn post<A: Told>(&self, alerts: &[Arc<A>]) -> Result<(), SinkError> {
        let message = self.message(alerts)?;
        let (host, shown) = (&self.host, |error: &dyn fmt::Display| printable(&error.to_string()));
        match tokio::time::timeout(LONGEST, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() => {
                Err(SinkError::Refused(format!("{host}: {}", shown(&error))))
            }
            Ok(Err(error)) => Err(SinkError::Away(format!("{host}: {}", shown(&error)))),
            Err(_) => Err(SinkError::Away(format!("{host}: no answer in time"))),
        }
    }
}

/// Whether what is sent there stays on this machine.
fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl<A: Told> Sink<A> for Email {
    fn name(&self) -> &'static str {
        "email"
    }

    fn send<'a>(&'a self, alerts: &'a [Arc<A>]) -> Sending<'a> {
        Box::pin(self.post(alerts))
    }

    fn gathers(&self) -> Duration {
        GATHERED
    }
}
