//! OpenSSL as judge: its requests are answered, our answers verify there, and its answers verify here.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use countersign_crypto::KeyType;
use countersign_crypto::encoding::pem_encode;
use countersign_x509::timestamp::TimestampRequest;

use crate::support::{DATA, instance};

/// Runs openssl in a directory; `None` when there is no openssl.
fn openssl(directory: &Path, arguments: &str) -> Option<Output> {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).current_dir(directory).env("OPENSSL_CONF", "/dev/null");
    match command.output() {
        Ok(output) => Some(output),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => panic!("openssl: {e}"),
    }
}

fn must(directory: &Path, arguments: &str) -> Output {
    let output = openssl(directory, arguments).unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn openssl_and_the_authority_accept_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    if openssl(path, "version").is_none() {
        println!("skipped: openssl is not installed");
        return;
    }
    for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa { bits: 3072 }] {
        let it = instance(key_type);
        fs::write(path.join("data"), DATA).unwrap();
        fs::write(path.join("other"), b"other").unwrap();
        fs::write(path.join("leaf.pem"), it.chain[0].to_pem()).unwrap();
        fs::write(path.join("middle.pem"), it.chain[1].to_pem()).unwrap();
        fs::write(path.join("root.pem"), it.chain[2].to_pem()).unwrap();
        must(
            path,
            "verify -CAfile root.pem -untrusted middle.pem -x509_strict -purpose timestampsign leaf.pem",
        );

        // Ours, verified there: every hash, with and without certificate and nonce.
        let verify = "ts -verify -in r.tsr -CAfile root.pem -untrusted";
        for (query, chain) in [
            ("-sha256", "leaf_and_middle.pem"),
            ("-sha384 -cert", "middle.pem"),
            ("-sha512 -cert -no_nonce", "middle.pem"),
            ("-sha256 -cert -tspolicy 1.3.6.1.4.1.57264.2", "middle.pem"),
        ] {
            fs::write(path.join("leaf_and_middle.pem"), it.chain[0].to_pem() + &it.chain[1].to_pem())
                .unwrap();
            must(path, &format!("ts -query -data data {query} -out q.tsq"));
            let response = it.tsa.respond(&fs::read(path.join("q.tsq")).unwrap()).unwrap();
            fs::write(path.join("r.tsr"), response).unwrap();
            must(path, &format!("{verify} {chain} -queryfile q.tsq"));
            must(path, &format!("{verify} {chain} -data data"));
            let other = openssl(path, &format!("{verify} {chain} -data other")).unwrap();
            assert!(!other.status.success(), "openssl verified a timestamp of other data");
        }
        // A rejection is readable there too.
        must(path, "ts -query -data data -sha256 -tspolicy 1.2.3.4 -out q.tsq");
        let refused = it.tsa.respond(&fs::read(path.join("q.tsq")).unwrap()).unwrap_err();
        fs::write(path.join("r.tsr"), refused.rejection()).unwrap();
        let text = must(path, "ts -reply -in r.tsr -text").stdout;
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains("Rejected") && text.contains("unaccepted policy"), "{text}");

        // Theirs, verified here, with the same certificate and key.
        let pkcs8 = it.key.to_pkcs8().unwrap();
        fs::write(path.join("key.pem"), pem_encode("PRIVATE KEY", &pkcs8)).unwrap();
        fs::write(path.join("serial"), "01").unwrap();
        for (hash, ids) in [("sha256", "sha256"), ("sha512", "sha1")] {
            let config = format!(
                "[tsa]\ndefault_tsa=t\n[t]\nserial=serial\nsigner_digest={hash}\ndefault_policy=1.2.3.4\n\
                 digests=sha256\naccuracy=secs:1\ness_cert_id_alg={ids}\n"
            );
            fs::write(path.join("ts.cnf"), config).unwrap();
            let request = TimestampRequest { nonce: Some(vec![5]), ..crate::support::request() };
            fs::write(path.join("q.tsq"), request.encode().unwrap()).unwrap();
            must(
                path,
                "ts -reply -config ts.cnf -queryfile q.tsq -signer leaf.pem -inkey key.pem -out r.tsr",
            );
            let verified = it.verify(&fs::read(path.join("r.tsr")).unwrap()).unwrap();
            assert_eq!(verified.info().nonce, Some(vec![5]), "{key_type} {hash} {ids}");
        }
    }
}
