//! Where requests meet the services that are open. While a rotation has the instance nothing is open, and requests wait
//! here: none of them is refused, and none finds half of a service.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, watch};
use tower::ServiceExt as _;

use crate::http::{HttpError, Shape};
use crate::listen::DRAIN_TIME;

/// How long a request waits for services to be open. Clients wait for half a minute and more.
const PATIENCE: Duration = Duration::from_secs(25);

/// The way to the services that are open now.
#[derive(Debug)]
pub(crate) struct Gate {
    open: Arc<RwLock<Option<Router>>>,
    /// Ends requests which run on while the gate is to close.
    cut: watch::Sender<bool>,
}

/// A closed gate. It is open again when this is dropped, for what [`Closed::put`] put behind it.
#[derive(Debug)]
pub(crate) struct Closed(OwnedRwLockWriteGuard<Option<Router>>);

impl Closed {
    /// These services answer from now on.
    pub(crate) fn put(&mut self, services: Router) {
        *self.0 = Some(services);
    }
}

impl Gate {
    /// An open gate.
    pub(crate) fn new(services: Router) -> Arc<Self> {
        Arc::new(Self { open: Arc::new(RwLock::new(Some(services))), cut: watch::Sender::new(false) })
    }

    /// What the socket's connections ask.
    pub(crate) fn router(self: &Arc<Self>) -> Router {
        Router::new().fallback(pass).with_state(Arc::clone(self))
    }

    /// Lets nobody in any more, waits until those inside are answered, and lets go of the services. Whoever still sends its
    /// request after [`DRAIN_TIME`] is sent away.
    pub(crate) async fn close(&self) -> Closed {
        // Whoever comes after a writer waits behind it.
        let closing = Arc::clone(&self.open).write_owned();
        tokio::pin!(closing);
        let mut closed = if let Ok(closed) = tokio::time::timeout(DRAIN_TIME, &mut closing).await {
            closed
        } else {
            self.cut.send_replace(true);
            let closed = closing.await;
            self.cut.send_replace(false);
            closed
        };
        *closed = None;
        Closed(closed)
    }
}

/// A request waits until the gate is open, and keeps it from closing until it is answered.
async fn pass(State(gate): State<Arc<Gate>>, request: Request<Body>) -> Response {
    let away = |what: &str| {
        HttpError::new(Shape::Grpc, StatusCode::SERVICE_UNAVAILABLE, what).retry_after(5).into_response()
    };
    let Ok(open) = tokio::time::timeout(PATIENCE, gate.open.read()).await else {
        return away("the instance is being rotated; ask again");
    };
    let Some(services) = open.clone() else { return away("the server is ending") };
    let mut cut = gate.cut.subscribe();
    tokio::select! {
        answer = services.oneshot(request) => answer.into_response(),
        _ = cut.wait_for(|cut| *cut) => away("the request took longer than a rotation waits; ask again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use tokio::sync::Notify;

    async fn ask(gate: &Arc<Gate>, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = gate.router().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn saying(text: &'static str) -> Router {
        Router::new().route("/", get(move || async move { text }))
    }

    #[tokio::test(start_paused = true)]
    async fn who_runs_is_waited_for_and_who_comes_later_waits_for_the_next_services() {
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (inside, go) = (Arc::clone(&entered), Arc::clone(&leave));
        let slow = saying("old").route(
            "/slow",
            get(move || async move {
                inside.notify_one();
                go.notified().await;
                "old, slowly"
            }),
        );
        let gate = Gate::new(slow);
        let running = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { ask(&gate, "/slow").await }
        });
        entered.notified().await;
        let mut closing = Box::pin(gate.close());
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut closing).await.is_err(), "one is inside");
        let late = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { ask(&gate, "/").await }
        });
        leave.notify_one();
        let mut closed = closing.await;
        assert_eq!(running.await.unwrap(), (200, "old, slowly".to_owned()));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!late.is_finished(), "it waits");
        closed.put(saying("new"));
        drop(closed);
        assert_eq!(late.await.unwrap(), (200, "new".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_end_is_sent_away_and_who_waits_too_long_is_told() {
        let gate = Gate::new(saying("old").route("/never", get(std::future::pending::<&'static str>)));
        let (running, asked) = (Arc::clone(&gate), Arc::clone(&gate));
        let running = tokio::spawn(async move { ask(&running, "/never").await });
        tokio::task::yield_now().await;
        let closed = gate.close().await;
        let (status, text) = running.await.unwrap();
        assert!(status == 503 && text.contains("ask again"), "{status} {text}");
        let (status, text) = ask(&asked, "/").await;
        assert!(status == 503 && text.contains("being rotated"), "{status} {text}");
        drop(closed);
        let (status, text) = ask(&asked, "/").await;
        assert!(status == 503 && text.contains("ending"), "nothing was put behind it: {status} {text}");
    }
}
