//! Alerts as events of a cluster, where `kubectl describe` and `kubectl get events` show them.

use std::fmt;
use std::sync::Arc;

use super::{Sending, Sink, SinkError};
use crate::api::{Doing, Event, EventError, Events, ObjectRef, Reason};
use crate::continuous::Change;
use crate::continuous::alert::{Alert, Standing};

/// Which event says what an alert says, if one does.
type AsEvent<A> = dyn Fn(&A) -> Option<Event> + Send + Sync;

/// Writes alerts of one kind to a cluster: it knows which event says what an alert says.
pub struct EventSink<A> {
    events: Events,
    event: Box<AsEvent<A>>,
}

impl<A> fmt::Debug for EventSink<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventSink({:?})", self.events)
    }
}

impl<A> EventSink<A> {
    /// Through these. An alert of which `event` makes none is not told here.
    #[must_use]
    pub fn new(events: Events, event: impl Fn(&A) -> Option<Event> + Send + Sync + 'static) -> Self {
        Self { events, event: Box::new(event) }
    }
}

/// The event at the workload that an alert is about. `None` for what is gone: nobody would look there.
#[must_use]
pub fn at_workload(alert: &Alert) -> Option<Event> {
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
    let line = |change: &Change| {
        let what = change.policy.as_deref().unwrap_or(change.control.name());
        let next = if change.next.is_empty() { String::new() } else { format!("; next: {}", change.next) };
        format!("{what}: {}: {}{next}", change.image, change.message)
    };
    let note = told.map(line).collect::<Vec<_>>().join("\n");
    Some(Event { regarding, related: None, reason, doing: Doing::Checked, note })
}

impl<A: Send + Sync> Sink<A> for EventSink<A> {
    fn name(&self) -> &'static str {
        "event"
    }

    /// One by one: of several that are told again since one was not taken, the others would be counted twice.
    fn at_once(&self) -> usize {
        1
    }

    fn send<'a>(&'a self, alerts: &'a [Arc<A>]) -> Sending<'a> {
        Box::pin(async move {
            for event in alerts.iter().filter_map(|alert| (self.event)(alert)) {
                self.events.write(event).await.map_err(|error| match error {
                    EventError::NotNow(why) => SinkError::Away(why),
                    EventError::Refused(why) => SinkError::Refused(why),
                })?;
            }
            Ok(())
        })
    }
}
