//! Each sink, and what happens while one is away.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_crypto::encoding::hex_encode;
use countersign_crypto::hmac_sha256;
use countersign_kubernetes::continuous::sink::email::{Email, EmailOptions};
use countersign_kubernetes::continuous::sink::lines::{Form, Lines};
use countersign_kubernetes::continuous::sink::webhook::{SIGNATURE_HEADER, Webhook};
use countersign_kubernetes::continuous::{Alert, Metrics, Sink, SinkError, Sinks};
use serde_json::Value;
use tokio::sync::mpsc;
use url::Url;
use zeroize::Zeroizing;

use crate::receivers::{mail_server, receiver};
use crate::support::{Seen, alert};

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_away_delays_no_other_and_gets_the_newest_when_it_is_back() {
    let ((to, mut near), (to_far, mut far)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let away = Arc::new(AtomicBool::new(true));
    let metrics = Metrics::default();
    let sinks = Sinks::start(
        vec![
            Arc::new(Seen { to, away: Arc::default(), named: "near" }),
            Arc::new(Seen { to: to_far, away: Arc::clone(&away), named: "far" }),
        ],
        &metrics,
    );
    let sample = alert("w").await;
    for n in 0..1500 {
        let mut one = Alert::clone(&sample);
        one.workload.name = format!("w{n}");
        sinks.tell(one);
        let alert: Arc<Alert> = near.recv().await.unwrap();
        assert_eq!(alert.workload.name, format!("w{n}"), "at once");
    }
    let line = |name: &str, value: u32| {
        let page = metrics.page();
        assert!(page.contains(&format!("countersign_continuous_{name} {value}\n")), "{page}");
    };
    line("alerts_dropped_total{sink=\"far\"}", 500);
    line("alerts_waiting{sink=\"far\"}", 1000);
    line("alerts_sent_total{sink=\"near\"}", 1500);
    assert!(far.try_recv().is_err());
    away.store(false, Ordering::SeqCst);
    for n in 500..1500 {
        assert_eq!(far.recv().await.unwrap().workload.name, format!("w{n}"));
    }
    sinks.finish(Duration::from_secs(1)).await;
    line("alerts_waiting{sink=\"far\"}", 0);
    away.store(true, Ordering::SeqCst);
    sinks.tell(Alert::clone(&sample));
    let begun = tokio::time::Instant::now();
    sinks.finish(Duration::from_secs(5)).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(5), "an end does not wait for ever");
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn lines_say_what_was_what_is_since_when_why_and_the_next_command() {
    let alerts = [alert("web").await, alert("shop").await];
    let written = Written::default();
    Lines::new(Form::Json, written.clone()).send(&alerts).await.unwrap();
    let text = String::from_utf8(std::mem::take(&mut *written.0.lock().unwrap())).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    let change = &lines[0]["changes"][0];
    assert_eq!(lines[0]["schema"], "countersign.alert");
    assert_eq!(lines[0]["workload"]["name"], "web");
    assert_eq!(
        (&change["control"], &change["was"], &change["is"]),
        (&"C-0237".into(), &Value::Null, &"failed".into())
    );
    assert_eq!((&change["since"], &change["severity"]), (&"1970-01-01T00:00:00Z".into(), &"High".into()));
    Lines::new(Form::Text, written.clone()).send(&alerts[..1]).await.unwrap();
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert_eq!(
        text,
        "1970-01-01T00:00:00Z Deployment/shop/web: failed\n  \
         C-0237 Check if signature exists: was: seen for the first time; is: failed, since 1970-01-01T00:00:00Z\n    \
         image: r.example/bad:1 (digest of r.example/bad:1) at spec.template.spec.containers[0].image\n    \
         why: expected a signature, found none [told]\n    next: countersign tree\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alerts.jsonl");
    for _ in 0..2 {
        Lines::append(&path).unwrap().send(&alerts[..1]).await.unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2, "what was there stays");
}

#[tokio::test]
async fn a_webhook_gets_json_that_is_signed_with_the_shared_secret() {
    let alerts = [alert("web").await, alert("shop").await];
    let (url, mut told) = receiver(204).await;
    let secret = || Some(Zeroizing::new(b"shared".to_vec()));
    Webhook::new(url.clone(), secret()).send(&alerts).await.unwrap();
    let (headers, body) = told.recv().await.unwrap();
    let expected = format!("sha256={}", hex_encode(&hmac_sha256(b"shared", &body)));
    assert_eq!(headers[SIGNATURE_HEADER], expected.as_str());
    assert_eq!(headers["content-type"], "application/json");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["schema"], &body["schemaVersion"]), (&"countersign.alerts".into(), &1.into()));
    assert_eq!(body["alerts"][1]["workload"]["name"], "shop");
    Webhook::new(url, None).send(&alerts).await.unwrap();
    assert!(!told.recv().await.unwrap().0.contains_key(SIGNATURE_HEADER));
}

#[tokio::test]
async fn a_webhook_that_is_away_is_told_later_and_one_that_refuses_is_not() {
    let alerts = [alert("web").await];
    for (status, away) in [
        (500, true),
        (503, true),
        (429, true),
        (408, true),
        (400, false),
        (401, false),
        (404, false),
        (302, false),
    ] {
        let (url, _told) = receiver(status).await;
        let error = Webhook::new(url, None).send(&alerts).await.unwrap_err();
        assert_eq!(matches!(error, SinkError::Away(_)), away, "{status}: {error}");
        assert!(
            error.to_string().contains(&status.to_string()) && !error.to_string().contains("secret-token"),
            "{error}"
        );
    }
    let gone = Webhook::new("http://127.0.0.1:1/secret-token".parse().unwrap(), None)
        .send(&alerts)
        .await
        .unwrap_err();
    assert!(matches!(gone, SinkError::Away(_)) && !gone.to_string().contains("secret-token"), "{gone}");
    let plain =
        Webhook::new("http://alerts.example/".parse().unwrap(), None).send(&alerts).await.unwrap_err();
    assert!(matches!(plain, SinkError::Refused(_)) && plain.to_string().contains("https"), "{plain}");
}

fn email(server: Url) -> EmailOptions {
    let credentials = Some(("robot@acme.example".to_owned(), Zeroizing::new("hunter2".to_owned())));
    let to = vec!["ops@acme.example".to_owned(), "On Call <oncall@acme.example>".to_owned()];
    EmailOptions { server, credentials, from: "countersign@acme.example".into(), to }
}

#[tokio::test]
async fn alerts_of_some_time_are_one_e_mail() {
    let (url, mut mails) = mail_server("250 taken\r\n").await;
    let sink = Email::new(email(url)).unwrap();
    assert!(!Sink::<Alert>::gathers(&sink).is_zero());
    sink.send(&[alert("web").await, alert("shop").await]).await.unwrap();
    drop(sink);
    let told = mails.recv().await.unwrap();
    let line = |text: &str| told.iter().filter(|line| line.contains(text)).count();
    // \0robot@acme.example\0hunter2
    assert_eq!(line("AUTH PLAIN AHJvYm90QGFjbWUuZXhhbXBsZQBodW50ZXIy"), 1);
    assert_eq!((line("RCPT TO:<ops@acme.example>"), line("RCPT TO:<oncall@acme.example>")), (1, 1));
    assert_eq!(line("Subject: countersign: 2 workloads changed: 2 failed"), 1, "{told:#?}");
    assert_eq!(
        (line("Deployment/shop/web: failed"), line("Deployment/shop/shop: failed")),
        (1, 1),
        "{told:#?}"
    );
    assert_eq!(line("next: countersign tree"), 2);
}

#[tokio::test]
async fn a_mail_server_that_is_busy_is_asked_later_and_one_that_refuses_is_not() {
    let alerts = [alert("web").await];
    for (end, away) in [("451 busy\r\n", true), ("554 no\r\n", false)] {
        let (url, _told) = mail_server(end).await;
        let error = Email::new(email(url)).unwrap().send(&alerts).await.unwrap_err();
        assert_eq!(matches!(error, SinkError::Away(_)), away, "{error}");
        assert!(!error.to_string().contains("hunter2"));
    }
    let nobody = Email::new(email("smtp://127.0.0.1:1".parse().unwrap())).unwrap().send(&alerts).await;
    assert!(matches!(nobody, Err(SinkError::Away(_))));
}

#[tokio::test]
async fn a_mail_server_elsewhere_is_spoken_to_over_tls_or_not_at_all() {
    // A server that offers no STARTTLS, under a name that is not this machine's.
    let (url, mut mails) = mail_server("250 taken\r\n").await;
    let elsewhere: Url =
        format!("smtp://localhost.localdomain.invalid:{}", url.port().unwrap()).parse().unwrap();
    let alerts = [alert("web").await];
    assert!(Email::new(email(elsewhere)).unwrap().send(&alerts).await.is_err());
    let tls: Url = url.as_str().replace("smtp:", "smtps:").parse().unwrap();
    assert!(Email::new(email(tls)).unwrap().send(&alerts).await.is_err());
    let told = mails.recv().await.unwrap();
    assert!(!told.iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")), "{told:?}");
}

#[test]
fn what_is_wrong_with_e_mail_is_told_before_it_is_needed() {
    let with = |change: &dyn Fn(&mut EmailOptions)| {
        let mut options = email("smtp://127.0.0.1:25".parse().unwrap());
        change(&mut options);
        Email::new(options).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(with(&|_| ()), Ok(()));
    for (change, expected) in [
        (
            &(|o: &mut EmailOptions| o.server = "https://a.example".parse().unwrap())
                as &dyn Fn(&mut EmailOptions),
            "expected smtps://",
        ),
        (&|o| o.server = "smtp://me:secret@a.example".parse().unwrap(), "the user beside it"),
        (&|o| o.from = "nobody".into(), "expected an e-mail address"),
        (&|o| o.to = vec!["a@b.example\r\nBcc: c@d.example".into()], "expected an e-mail address"),
        (&|o| o.to.clear(), "expected somebody"),
    ] {
        let error = with(change).unwrap_err();
        assert!(error.contains(expected) && !error.contains("secret"), "{error}");
    }
}
