//! Alerts as events at the workloads they are about, where `kubectl describe` shows them.

use std::sync::Arc;

use super::{Sending, Sink};
use crate::api::{Doing, Event, Events, ObjectRef, Reason};
use crate::continuous::alert::{Alert, Standing};

/// Writes events to the cluster. They have a queue and a pace of their own, so a sink of events is never away.
#[derive(Debug)]
pub struct EventSink(Events);

impl EventSink {
    /// Through these.
    #[must_use]
    pub const fn new(events: Events) -> Self {
        Self(events)
    }
}

/// The event that says what an alert says. `None` for what is gone: nobody would look there.
fn event(alert: &Alert) -> Option<Event> {
    let reason = match alert.standing() {
        Standing::Failed => Reason::PolicyViolation,
        Standing::Unchecked => Reason::CouldNotCheck,
        Standing::Passed => Reason::ImageVerified,
        Standing::Gone => return None,
    };
    let name = &alert.workload;
    let regarding = ObjectRef {
        api_version: name.api_version.clone(),
        kind: name.kind.clone(),
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        uid: alert.uid.clone(),
    };
    let told = alert.changes.iter().filter(|change| change.is == alert.standing());
    let line = |change: &crate::continuous::Change| {
        let what = change.policy.as_deref().unwrap_or(change.control.name());
        let next = if change.next.is_empty() { String::new() } else { format!("; next: {}", change.next) };
        format!("{what}: {}: {}{next}", change.image, change.message)
    };
    let note = told.map(line).collect::<Vec<_>>().join("\n");
    Some(Event { regarding, related: None, reason, doing: Doing::Checked, note })
}

impl Sink for EventSink {
    fn name(&self) -> &'static str {
        "event"
    }

    fn send<'a>(&'a self, alerts: &'a [Arc<Alert>]) -> Sending<'a> {
        alerts.iter().filter_map(|alert| event(alert)).for_each(|event| self.0.tell(event));
        Box::pin(async { Ok(()) })
    }
}
