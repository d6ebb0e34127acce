//! Kubernetes secrets: a stand-in for the API server that checks the token, and keeps what it is sent.

use std::path::Path;
use std::sync::{Arc, Mutex};

use countersign_crypto::encoding::base64_decode;
use countersign_crypto::{KeyType, Signer as _};
use serde_json::{Value, json};

use super::{Reply, SECRET, Seen, Server, is_unavailable, no_password};
use crate::environment::Context;
use crate::load::{create, key_pair, public_key, signer};
use crate::{KeyError, KeyRef, PasswordSource};

fn server(kept: &Arc<Mutex<Option<Value>>>) -> Server {
    let kept = Arc::clone(kept);
    Server::start(move |seen: &Seen| {
        let basic = seen.header("authorization") == "Basic dTpodW50ZXIyLWh1bnRlcjItaHVudGVyMg==";
        if !basic && seen.header("authorization") != format!("Bearer {SECRET}") {
            return Reply::json(401, &json!({ "kind": "Status", "message": "Unauthorized" }));
        }
        let mut kept = kept.lock().unwrap();
        match (seen.method.as_str(), seen.path()) {
            ("GET", "/api/v1/namespaces/release/secrets/signing") => match &*kept {
                Some(secret) => Reply::json(200, secret),
                None => Reply::json(404, &json!({ "kind": "Status", "message": "not found" })),
            },
            ("POST", "/api/v1/namespaces/release/secrets") if kept.is_some() => Reply::text(409, "{}"),
            ("POST", "/api/v1/namespaces/release/secrets") => {
                let secret = seen.json();
                assert_eq!(secret["metadata"], json!({ "name": "signing", "namespace": "release" }));
                *kept = Some(secret);
                Reply::text(201, "{}")
            }
            _ => Reply::text(404, "{}"),
        }
    })
}

fn kubeconfig(dir: &Path, server: &str, user: &Value) -> Context {
    let path = dir.join("config");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "k", "cluster": { "server": server } }],
        "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u" } }],
        "users": [{ "name": "u", "user": user }]
    });
    std::fs::write(&path, text.to_string()).unwrap();
    Context::given(&[("KUBECONFIG", path.to_str().unwrap())])
}

fn reference() -> KeyRef {
    KeyRef::parse("k8s://release/signing").unwrap()
}

#[test]
fn a_pair_is_made_stored_and_used_with_the_password_beside_it() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(None)));
    let server = server(&kept);
    let context = kubeconfig(dir.path(), &server.url(""), &json!({ "token": SECRET }));
    let missing = signer(&context, &reference(), &no_password(), true).unwrap_err().to_string();
    assert!(missing.contains("generate-key-pair k8s://release/signing"), "{missing}");
    let password = PasswordSource::literal("pw");
    let made = create(&context, &reference(), Some(KeyType::EcdsaP384), &password).unwrap();
    let secret = kept.lock().unwrap().clone().unwrap();
    let data = |name: &str| base64_decode(secret["data"][name].as_str().unwrap()).unwrap();
    assert_eq!(data("cosign.password"), b"pw");
    assert_eq!(data("cosign.pub"), made.public.to_pem().into_bytes());
    assert!(String::from_utf8(data("cosign.key")).unwrap().contains("ENCRYPTED SIGSTORE PRIVATE KEY"));
    assert_eq!(secret["immutable"], true);
    assert_eq!(public_key(&context, &reference()).unwrap(), made.public);
    // No password is asked for: it lies beside the key.
    let signer = signer(&context, &reference(), &no_password(), false).unwrap();
    made.public.verify(signer.scheme(), b"m", &signer.sign(b"m").unwrap()).unwrap();
    let again = create(&context, &reference(), None, &password).unwrap_err().to_string();
    assert!(again.contains("not replaced"), "{again}");
    assert_eq!(kept.lock().unwrap().clone().unwrap(), secret);
}

#[test]
fn without_a_password_in_the_secret_it_is_asked_for() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(None)));
    let server = server(&kept);
    let context = kubeconfig(dir.path(), &server.url(""), &json!({ "username": "u", "password": SECRET }));
    create(&context, &reference(), None, &PasswordSource::literal("pw")).unwrap();
    let edit = |name: &str, value: Option<&str>| {
        let mut kept = kept.lock().unwrap();
        let data = kept.as_mut().unwrap()["data"].as_object_mut().unwrap();
        match value {
            Some(value) => data.insert(name.into(), value.into()),
            None => data.remove(name),
        };
    };
    edit("cosign.password", None);
    assert!(matches!(key_pair(&context, &reference(), &no_password()), Err(KeyError::Password(_))));
    key_pair(&context, &reference(), &PasswordSource::literal("pw")).unwrap();
    edit("cosign.key", Some("%%%"));
    assert!(key_pair(&context, &reference(), &no_password()).unwrap_err().to_string().contains("base64"));
    edit("cosign.key", None);
    assert!(
        key_pair(&context, &reference(), &no_password()).unwrap_err().to_string().contains("no cosign.key")
    );
    edit("cosign.pub", None);
    assert!(public_key(&context, &reference()).unwrap_err().to_string().contains("no cosign.pub"));
}

#[test]
fn v59_a_cluster_that_refuses_is_down_or_sends_elsewhere_gets_nothing_more() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(None)));
    let good = server(&kept);
    let refused = kubeconfig(dir.path(), &good.url(""), &json!({ "token": "another" }));
    let error = public_key(&refused, &reference()).unwrap_err().to_string();
    assert!(error.contains("KUBECONFIG") && !error.contains("another"), "{error}");
    let thief = Server::start(|_| Reply::text(200, "{}"));
    let elsewhere = thief.url("/");
    let redirecting = Server::start(move |_| Reply::text(302, "").with("location", &elsewhere));
    let context = kubeconfig(dir.path(), &redirecting.url(""), &json!({ "token": SECRET }));
    assert!(public_key(&context, &reference()).is_err());
    assert_eq!(thief.count(), 0);
    let huge = Server::start(|_| Reply::text(200, &"x".repeat(8 << 20)));
    let context = kubeconfig(dir.path(), &huge.url(""), &json!({ "token": SECRET }));
    assert!(public_key(&context, &reference()).unwrap_err().to_string().contains("longer than"));
    let down = kubeconfig(dir.path(), "http://127.0.0.1:9", &json!({ "token": SECRET }));
    assert!(is_unavailable(&public_key(&down, &reference()).unwrap_err()));
    let plain = kubeconfig(dir.path(), "http://example.com", &json!({ "token": SECRET }));
    assert!(public_key(&plain, &reference()).unwrap_err().to_string().contains("plain http"));
}

#[cfg(unix)]
#[test]
fn a_program_may_give_the_token() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, kept) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(None)));
    let server = server(&kept);
    let program = dir.path().join("login");
    std::fs::write(
        &program,
        "#!/bin/sh\n[ \"$1\" = get-token ] && [ \"$MODE\" = test ] && [ -n \"$KUBERNETES_EXEC_INFO\" ] || exit 1\n\
         echo '{\"kind\":\"ExecCredential\",\"status\":{\"token\":\"hunter2-hunter2-hunter2\"}}'\n",
    )
    .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let exec = |mode: &str| {
        json!({ "exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "./login", "args": ["get-token"],
            "env": [{ "name": "MODE", "value": mode }]
        } })
    };
    let context = kubeconfig(dir.path(), &server.url(""), &exec("test"));
    create(&context, &reference(), None, &PasswordSource::literal("")).unwrap();
    let context = kubeconfig(dir.path(), &server.url(""), &exec("other"));
    let error = public_key(&context, &reference()).unwrap_err().to_string();
    assert!(error.contains("ExecCredential"), "{error}");
}

/// A real TLS server, openssl's, which wants a client certificate and has one of a private authority itself.
#[cfg(unix)]
#[test]
fn a_cluster_with_its_own_authority_knows_its_clients_by_certificate() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    let dir = tempfile::tempdir().unwrap();
    let openssl = |line: &str| {
        let words = line.split_whitespace();
        Command::new("openssl")
            .args(words)
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    };
    if !openssl("version").is_ok_and(|status| status.success()) {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    std::fs::write(dir.path().join("server.ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    std::fs::write(dir.path().join("client.ext"), "extendedKeyUsage=clientAuth\n").unwrap();
    openssl(&format!("req -x509 {new_key} -keyout ca.key -out ca.pem -subj /CN=ca -days 2")).unwrap();
    for name in ["server", "client"] {
        openssl(&format!("req {new_key} -keyout {name}.key -out {name}.csr -subj /CN={name}")).unwrap();
        let sign = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2";
        openssl(&format!("x509 -req -in {name}.csr {sign} -extfile {name}.ext -out {name}.pem")).unwrap();
    }
    // `-HTTP` sends files, which hold the head of the answer too.
    let key = countersign_crypto::KeyPair::generate(KeyType::EcdsaP256).unwrap();
    let public = countersign_crypto::encoding::base64_encode(key.public_key().to_pem().as_bytes());
    let folder = dir.path().join("api/v1/namespaces/release/secrets");
    std::fs::create_dir_all(&folder).unwrap();
    let body = json!({ "data": { "cosign.pub": public } });
    std::fs::write(folder.join("signing"), format!("HTTP/1.0 200 OK\r\n\r\n{body}")).unwrap();
    let mut server = Command::new("openssl")
        .args(["s_server", "-HTTP", "-accept", "127.0.0.1:0", "-Verify", "1", "-verify_return_error"])
        .args(["-cert", "server.pem", "-key", "server.key", "-CAfile", "ca.pem"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let accept = lines.by_ref().map(|line| line.unwrap()).find(|line| line.starts_with("ACCEPT")).unwrap();
    // What it says of each connection must go somewhere, or it stops.
    std::thread::spawn(move || lines.for_each(drop));
    let port = accept.rsplit(':').next().unwrap();
    let ask = |cluster: &Value, user: &Value| {
        let context = kubeconfig(dir.path(), "", user);
        let path = dir.path().join("config");
        let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        config["clusters"][0]["cluster"] = cluster.clone();
        config["clusters"][0]["cluster"]["server"] = format!("https://127.0.0.1:{port}").into();
        std::fs::write(&path, config.to_string()).unwrap();
        public_key(&context, &reference())
    };
    let known = json!({ "client-certificate": "client.pem", "client-key": "client.key" });
    let trusted = json!({ "certificate-authority": "ca.pem" });
    let results = [
        ask(&trusted, &known),
        ask(&json!({}), &known),
        ask(&trusted, &json!({})),
        ask(&json!({ "certificate-authority": "client.key" }), &known),
        ask(&trusted, &json!({ "client-certificate": "client.pem", "client-key": "ca.pem" })),
    ];
    server.kill().unwrap();
    server.wait().unwrap();
    let [good, stranger, unknown, no_authority, no_key] = results;
    assert_eq!(&good.unwrap(), key.public_key());
    assert!(is_unavailable(&stranger.unwrap_err()), "a server that nobody vouches for");
    assert!(is_unavailable(&unknown.unwrap_err()), "a client without a certificate");
    assert!(no_authority.unwrap_err().to_string().contains("authorities"));
    assert!(no_key.unwrap_err().to_string().contains("client certificate"));
}
