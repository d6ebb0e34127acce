//! How registries are reached: each option on the command line that has a say in it, alone.

use std::process::Command;
use std::sync::Arc;

use crate::images;
use crate::registry::Fake;
use crate::support::{Home, left_out};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A registry with the image `app:v1`, signed with the key of a home.
async fn signed() -> (Fake, Home) {
    let fake = Fake::start().await;
    images::image(&fake.app(), "v1", "content").await;
    let home = Home::new();
    home.good(&["generate-key-pair"]);
    home.good(&["sign", "--key", "cosign.key", "--no-tlog", &format!("{}/app:v1", fake.host)]);
    (fake, home)
}

/// Verifies `app:v1` at a host and gives the exit code.
fn verify(home: &Home, host: &str, more: &[&str]) -> (i32, String) {
    let image = format!("{host}/app:v1");
    let verify = ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog", &image];
    let (code, _, err) = home.text(&[&verify[..], more].concat());
    (code, err)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_to_send_on_says_where_the_evidence_is() {
    let (fake, home) = signed().await;
    images::image(&fake.app(), "v2", "another").await;
    let (image, place) = (format!("{}/app:v2", fake.host), format!("{}/evidence", fake.host));
    let sign = ["sign", "--key", "cosign.key", "--no-tlog", &image];
    let line = home.good(&[&sign[..], &["--repository", &place]].concat());
    home.good(&line.trim_end().split(' ').skip(1).collect::<Vec<_>>());
    let output = home.command(&sign).env("COSIGN_REPOSITORY", &place).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), line, "the next one may not have the variable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_not_this_machine_is_reached_without_tls_only_when_that_is_said() {
    let (fake, home) = signed().await;
    // This address leads here, and does not say so.
    let elsewhere = fake.host.replace("127.0.0.1", "0.0.0.0");
    fake.seen();
    for more in [&[][..], &["--allow-http-registry=false"], &["--allow-insecure-registry=false"]] {
        let (code, err) = verify(&home, &elsewhere, more);
        assert_eq!(code, 6, "{more:?}: {err}");
    }
    assert!(fake.seen().is_empty(), "nothing was asked in the clear");
    for more in [["--allow-http-registry"], ["--allow-insecure-registry"]] {
        let (code, err) = verify(&home, &elsewhere, &more);
        assert_eq!(code, 0, "{more:?}: {err}");
    }
}

/// The authority `NAME.pem`, and its certificate `NAME-tls.pem` with key for this machine. False without openssl.
fn authority(home: &Home, name: &str) -> bool {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    let openssl = |line: String| {
        let mut command = Command::new("openssl");
        command.args(line.split(' ')).current_dir(home.0.path()).env("OPENSSL_CONF", "/dev/null");
        command
            .output()
            .map(|o| assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr)))
            .is_ok()
    };
    openssl(format!(
        "req -x509 {key} -keyout {name}.key -out {name}.pem -subj /CN={name} -addext basicConstraints=critical,CA:TRUE"
    )) && openssl(format!(
        "req -x509 {key} -CA {name}.pem -CAkey {name}.key -keyout {name}-tls.key -out {name}-tls.pem -subj /CN=registry \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth"
    ))
}

/// The same registry behind TLS, at the address that is given back.
async fn behind_tls(home: &Home, fake: &Fake) -> String {
    let file = |name: &str| std::fs::read(home.path(name)).unwrap();
    let certificate = CertificateDer::from_pem_slice(&file("own-tls.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&file("own-tls.key")).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let target = fake.host.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, target) = (acceptor.clone(), target.clone());
            tokio::spawn(async move {
                // A client that does not trust the certificate goes away here.
                let Ok(mut inside) = acceptor.accept(stream).await else { return };
                let mut outside = TcpStream::connect(target).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut inside, &mut outside).await);
            });
        }
    });
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_of_a_registry_is_trusted_only_when_it_is_named() {
    let (fake, home) = signed().await;
    if !authority(&home, "own") || !authority(&home, "other") {
        return left_out("openssl");
    }
    let host = behind_tls(&home, &fake).await;
    let (code, err) = verify(&home, &host, &["--registry-cacert", "own.pem"]);
    assert_eq!(code, 0, "{err}");
    for more in [
        &[][..],
        &["--registry-cacert", "other.pem"],
        &["--allow-insecure-registry"],
        &["--allow-http-registry"],
    ] {
        let (code, err) = verify(&home, &host, more);
        assert_eq!(code, 6, "{more:?}: {err}");
    }
    let (code, err) = verify(&home, &host, &["--registry-cacert", "not-there.pem"]);
    assert!(code == 1 && err.contains("not-there.pem"), "{err}");
    let (code, err) = verify(&home, &host, &["--registry-cacert", "cosign.pub"]);
    assert!(code == 1 && err.contains("cosign.pub"), "{err}");
}
