//! Debian's docker-registry, which has no referrers API: a round trip with all forms, a copy, TLS and logins.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use countersign_http::HttpOptions;
use countersign_registry::auth::{Credential, Credentials};
use countersign_registry::copy::{CopyOptions, copy, load, save};
use countersign_registry::evidence::{Form, Origin, Search, discover, list, remove};
use countersign_registry::{Registry, RegistryError, RegistryOptions, Repository, Store, Tag};

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

/// Starts it on a free port with more lines of configuration; `None` when it is not installed.
async fn start(directory: &Path, http: &str, more: &str, ready: &HttpOptions) -> Option<(Server, String)> {
    let host = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let storage = directory.join("storage");
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n\
         http:\n  addr: \"{host}\"\n{http}{more}",
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
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            assert!(std::env::var_os("CI").is_none(), "docker-registry is not installed");
            println!("skipped: docker-registry is not installed");
            return None;
        }
        Err(e) => panic!("docker-registry: {e}"),
    };
    // Ready is when it answers; the waits of the client are what polls.
    let scheme = if http.is_empty() { "http" } else { "https" };
    let url = countersign_http::parse_url(&format!("{scheme}://{host}/v2/")).unwrap();
    let patient = HttpOptions { attempts: 200, longest_wait: Duration::from_millis(100), ..ready.clone() };
    let patient = countersign_http::Http::new(patient);
    patient.send(countersign_http::Request::get("docker-registry", &url)).await.unwrap();
    Some((server, host))
}

/// A certificate for this machine, by an authority of its own, made with openssl; `None` when there is none.
fn certificate(directory: &Path) -> Option<Vec<u8>> {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    let made = |arguments: &str| {
        let result = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(directory)
            .env("OPENSSL_CONF", "/dev/null")
            .output();
        match result {
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                true
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
            Err(e) => panic!("openssl: {e}"),
        }
    };
    let there = made(&format!(
        "req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=ca -addext basicConstraints=critical,CA:TRUE"
    )) && made(&format!(
        "req -x509 {key} -CA ca.pem -CAkey ca.key -keyout tls.key -out tls.pem -subj /CN=registry \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth"
    ));
    if !there {
        assert!(std::env::var_os("CI").is_none(), "openssl is not installed");
        println!("skipped: openssl is not installed");
        return None;
    }
    Some(std::fs::read(directory.join("ca.pem")).unwrap())
}

#[tokio::test]
async fn a_private_registry_behind_a_private_authority_needs_both_the_authority_and_the_login() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let Some(authority) = certificate(path) else { return };
    // alice, hunter2
    let line = "alice:$2b$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.\n";
    std::fs::write(path.join("htpasswd"), line).unwrap();
    let file = |name: &str| path.join(name).display().to_string();
    let http = format!("  tls: {{certificate: {}, key: {}}}\n", file("tls.pem"), file("tls.key"));
    let auth = format!("auth:\n  htpasswd: {{realm: here, path: {}}}\n", file("htpasswd"));
    let trusting = HttpOptions { authorities: vec![authority], ..HttpOptions::default() };
    let Some((_server, host)) = start(path, &http, &auth, &trusting).await else { return };
    let repository = Repository::parse(&format!("{host}/app")).unwrap();
    let store = |http: &HttpOptions, password: Option<&str>| {
        let login = |password| Credentials::anonymous().with(&host, Credential::password("alice", password));
        let credentials = password.map_or_else(Credentials::anonymous, login);
        let options = RegistryOptions { http: http.clone(), credentials, ..RegistryOptions::default() };
        Registry::new(options).repository(&repository)
    };
    let image = two_platforms(&store(&trusting, Some("hunter2")), "v1").await.remove(0);
    let found = store(&trusting, Some("hunter2")).resolve(&tagged("v1")).await.unwrap();
    assert_eq!(found.digest, image.digest);
    for password in [None, Some("wrong")] {
        let error = store(&trusting, password).resolve(&tagged("v1")).await.unwrap_err();
        assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    }
    let strange = HttpOptions { attempts: 1, ..HttpOptions::default() };
    let url = countersign_http::parse_url(&format!("https://{host}/v2/")).unwrap();
    let request = countersign_http::Request::get("docker-registry", &url);
    let error = countersign_http::Http::new(strange).send(request).await.unwrap_err();
    assert!(matches!(error, countersign_http::HttpError::Network { .. }), "{error}");
}

#[tokio::test]
async fn debian_s_registry_takes_and_gives_everything() {
    let directory = tempfile::tempdir().unwrap();
    let Some((_server, host)) = start(directory.path(), "", "", &HttpOptions::default()).await else {
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
