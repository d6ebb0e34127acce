//! Debian's docker-registry, which has no referrers API: a round trip with all forms, and a copy.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use countersign_registry::copy::{CopyOptions, copy, load, save};
use countersign_registry::evidence::{Form, Origin, Search, discover, list, remove};
use countersign_registry::{Repository, Store, Tag};

use crate::evidence::attach_all;
use crate::images::{tagged, two_platforms};
use crate::support::client;

/// The registry as a process, gone when this is.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it on a free port; `None` when it is not installed.
async fn start(directory: &std::path::Path) -> Option<(Server, String)> {
    let host = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let storage = directory.join("storage");
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n\
         http: {{addr: \"{host}\"}}\n",
        storage.display()
    );
    let path = directory.join("config.yml");
    std::fs::write(&path, config).unwrap();
    let server = Command::new("docker-registry")
        .arg("serve")
        .arg(&path)
        .env("OTEL_TRACES_EXPORTER", "none")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let server = match server {
        Ok(child) => Server(child),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
        Err(e) => panic!("docker-registry: {e}"),
    };
    // Ready is when it accepts connections; the waits of the client are what polls.
    let url = countersign_http::parse_url(&format!("http://{host}/v2/")).unwrap();
    let patient = countersign_http::Http::new(countersign_http::HttpOptions {
        attempts: 100,
        longest_wait: std::time::Duration::from_millis(100),
        ..countersign_http::HttpOptions::default()
    });
    patient
        .send(countersign_http::Request::get("docker-registry", &url))
        .await
        .unwrap()
        .expect(&[200])
        .unwrap();
    Some((server, host))
}

#[tokio::test]
async fn debian_s_registry_takes_and_gives_everything() {
    let directory = tempfile::tempdir().unwrap();
    let Some((_server, host)) = start(directory.path()).await else {
        assert!(std::env::var_os("CI").is_none(), "docker-registry is not installed");
        println!("skipped: docker-registry is not installed");
        return;
    };
    let registry = client();
    let place = |path: &str| Repository::parse(&format!("{host}/{path}")).unwrap();
    let (from, to) = (registry.repository(&place("acme/app")), registry.repository(&place("other/app")));
    let images = two_platforms(&from, "v1").await;
    for image in &images {
        attach_all(&from, image).await;
    }
    let search = Search::default();
    let found = discover(&from, &images[0].digest, &search).await.unwrap();
    let places: Vec<(Form, Origin)> = found.iter().map(|f| (f.form, f.origin)).collect();
    assert_eq!(
        places,
        [
            (Form::Bundle, Origin::ReferrersTag),
            (Form::CosignSignature, Origin::OlderTag),
            (Form::CosignAttestation, Origin::OlderTag),
            (Form::CosignSbom, Origin::OlderTag),
        ]
    );
    assert_eq!(found[0].bytes, b"{\"bundle\":1}");
    assert_eq!(from.tags().await.unwrap().len(), 1 + 3 * 4);

    let options = CopyOptions::default();
    let tag = Tag::parse("prod").unwrap();
    copy(&from, &tagged("v1"), &to, Some(&tag), &options).await.unwrap();
    let saved = directory.path().join("saved");
    save(&to, &tagged("prod"), &saved, &options).await.unwrap();
    let third = registry.repository(&place("third/app"));
    load(&saved, &third, Some(&tag), &options).await.unwrap();
    for image in &images {
        assert_eq!(discover(&third, &image.digest, &search).await.unwrap().len(), 4);
    }
    let listed = list(&third, &images[1].digest, &search).await.unwrap();
    remove(&third, &images[1].digest, &listed).await.unwrap();
    assert!(list(&third, &images[1].digest, &search).await.unwrap().is_empty());
    assert_eq!(list(&third, &images[2].digest, &search).await.unwrap().len(), 4);
}
