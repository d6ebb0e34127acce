//! Alerts as lines: of JSON, or for people; in a file or on standard output.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Sending, Sink, SinkError, Told};

/// How an alert is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One line of JSON.
    Json,
    /// Some lines for people.
    Text,
}

/// Writes alerts one after another.
pub struct Lines {
    form: Form,
    to: Mutex<Box<dyn Write + Send>>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lines({:?})", self.form)
    }
}

impl Lines {
    /// To this writer.
    #[must_use]
    pub fn new(form: Form, to: impl Write + Send + 'static) -> Self {
        Self { form, to: Mutex::new(Box::new(to)) }
    }

    /// JSON, appended to a file.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn append(path: &Path) -> std::io::Result<Self> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self::new(Form::Json, file))
    }

    fn write<A: Told>(&self, alerts: &[Arc<A>]) -> std::io::Result<()> {
        let mut text = Vec::new();
        for alert in alerts {
            match self.form {
                Form::Json => {
                    serde_json::to_writer(&mut text, &**alert)?;
                    text.push(b'\n');
                }
                Form::Text => write!(text, "{alert}")?,
            }
        }
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        to.write_all(&text)?;
        to.flush()
    }
}

impl<A: Told> Sink<A> for Lines {
    fn name(&self) -> &'static str {
        match self.form {
            Form::Json => "json",
            Form::Text => "text",
        }
    }

    fn send<'a>(&'a self, alerts: &'a [Arc<A>]) -> Sending<'a> {
        Box::pin(async move { self.write(alerts).map_err(|e| SinkError::Away(e.to_string())) })
    }
}
