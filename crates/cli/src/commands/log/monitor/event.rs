//! Alerts as events in a cluster, about a namespace there.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use countersign_clock::SystemClock;
use countersign_kubernetes::api::{Doing, Event, ObjectRef, connect_in, events};
use countersign_kubernetes::continuous::Sink;
use countersign_kubernetes::continuous::sink::event::EventSink;

use super::told::LogAlert;
use crate::args::cluster::reporter;
use crate::failure::Failure;

/// Whether there are events, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Alerts")]
pub(super) struct EventArgs {
    /// Write alerts as events about a Kubernetes namespace
    #[arg(long, value_name = "NAME", value_parser = namespace)]
    alert_event_namespace: Option<ObjectRef>,
    /// A kubeconfig; else KUBECONFIG, else ~/.kube/config, else the service account of the pod this runs in
    #[arg(long, value_name = "FILE", requires = "alert_event_namespace")]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig, instead of its current one
    #[arg(long, alias = "kube-context", value_name = "NAME", requires = "alert_event_namespace")]
    context: Option<String>,
}

fn namespace(text: &str) -> Result<ObjectRef, String> {
    let expected = "expected a namespace: up to 63 of a-z, 0-9 and -";
    ObjectRef::of_namespace(text).ok_or_else(|| expected.to_owned())
}

impl EventArgs {
    /// Who writes them. The API server is not asked yet: while it is away, the log is followed all the same.
    pub(super) async fn open(&self) -> Result<Option<Arc<dyn Sink<LogAlert>>>, Failure> {
        let Some(namespace) = self.alert_event_namespace.clone() else { return Ok(None) };
        let client = connect_in(self.kubeconfig.as_deref(), self.context.as_deref())
            .await
            .map_err(|e| Failure::usage(e.to_string()).next("kubectl config get-contexts"))?;
        let (events, writer) = events(client, reporter("log-monitor", "countersign"), Arc::new(SystemClock));
        tokio::spawn(writer.run());
        let event = move |alert: &LogAlert| {
            Some(Event {
                regarding: namespace.clone(),
                related: None,
                reason: alert.reason(),
                doing: Doing::Checked,
                note: alert.note_of_event(),
            })
        };
        Ok(Some(Arc::new(EventSink::new(events, event))))
    }
}
