//! The commented configuration that is written for a new instance.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use countersign_keys::KeyRef;
use url::Url;

use super::key_line;
use crate::instance::InstanceKey;

/// Writes the commented file for a new instance.
pub(crate) fn template(
    organization: &str,
    url: &Url,
    listen: SocketAddr,
    password_file: Option<&str>,
    keys: &BTreeMap<InstanceKey, KeyRef>,
    issuers: &str,
    requests_per_second: u32,
) -> String {
    // TOML strings are quoted by the TOML library, so that no organisation name can break the file.
    let quote = |s: &str| toml::Value::String(s.to_owned()).to_string();
    let password = match password_file {
        Some(file) => format!("password_file = {}", quote(file)),
        None => "# password_file = \"keys/password\"".to_owned(),
    };
    let references: String = keys.iter().map(|(key, reference)| key_line(*key, reference) + "\n").collect();
    format!(
        r#"# A Countersign instance. `countersign doctor` checks it, `countersign serve` runs it.

# The organisation named in this instance's certificates.
organization = {organization}

# The address clients use. Its host name is the name of the log and is part of every signature made here:
# to change it later, rotate both logs (`countersign rotate log` and `countersign rotate log-v1`).
url = {url}

# The address this process listens on. Loopback is for trying; a server listens on 0.0.0.0:443 with TLS, or
# behind a proxy which does TLS.
listen = {listen}

# Services run by `countersign serve`: ca (with its CT log), log, tsa, trust.
roles = ["ca", "log", "tsa", "trust"]

# [tls]
# certificate = "tls/fullchain.pem"
# key = "tls/privkey.pem"

[keys]
# The private keys in keys/ are encrypted. The password is read from this file, or from the environment
# variable COUNTERSIGN_PASSWORD when no file is named.
{password}
# A key may live elsewhere, in a hardware token for one: ca, ct, log, log_v1, tsa, tuf, and for rotations ca_root, tsa_root,
# tuf_root. The PIN comes from COUNTERSIGN_PKCS11_PIN, or from the file that the reference's pin-source names.
# ca = "pkcs11:token=hsm;object=ca?module-path=/usr/lib/hsm.so&pin-source=file:/run/credentials/countersign/pin"
{references}
[ca]
# SCTs name the position of the certificate in the CT log (static-ct). sigstore-python before 4.2 refuses it.
sct_leaf_index = true
# Further issuers in the shape of Fulcio's own configuration file (YAML or JSON):
# fulcio_config = "fulcio.yaml"

{issuers}
[log]
# Milliseconds a write waits for others, to be committed with them.
batch_linger_ms = 5
# sigstore-js still sends dsseRequestV002, which Rekor v2 dropped: logged here as a hashedrekord.
accept_dsse_requests = true
# A second log with the interface of Rekor v1, for clients that know no other.
rekor_v1 = true
# Every tile is read from disk again and checked after so many hours; 0 for never.
scrub_hours = 24
# Where it is marked how large the logs are: an instance put back from an old copy is found out by it, and does not sign what
# would fork the log. Best on another disk; unless said, in the state of whoever serves (STATE_DIRECTORY of a systemd unit,
# XDG_STATE_HOME, ~/.local/state/countersign/marks). "" for no marks.
# mark_directory = "/var/lib/countersign-marks"
# Witnesses who vouch that this log shows everybody one history (C2SP tlog-witness), one table for each; and how many of
# them must have cosigned before an entry is acknowledged, 0 for none (docs/log.md).
# min_witnesses = 1
# [[log.witnesses]]
# url = "https://witness.example"
# key = "witness.example+1a2b3c4d+B…"

[log.search]
# Answers who signed what (GET /api/v1/search). The index is made from the log and can be made anew.
enabled = true
# Checkpoints state the root of the index, so that answers are proven. false for clients that refuse the line.
commit = true
# Names, repositories and workflows stand in the index as hashes under keys/search.key: who knows one finds it, and nobody
# reads a list of them out of the index. They still stand in the certificates of the entries (docs/log.md).
# hide_identities = true

# All logs past one machine: tiles in a bucket, the rest in PostgreSQL, any number of processes with this section. Move
# the logs there before the first start: `countersign log migrate --to distributed`. Passwords: PGPASSWORD,
# AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or files.
# [store]
# database = "postgres://countersign@db1.example,db2.example/countersign"
# objects = "s3://bucket/prefix?endpoint=https://s3.example&region=us-east-1"
# database_password_file = "keys/database-password"
# objects_credentials_file = "keys/bucket-credentials"

[web]
# Pages for people: searching the log, its entries, verifying a file.
pages = true

[limits]
# Requests that write or sign, per client address; 0 for no limit. Behind a proxy every client has the proxy's address.
requests_per_second = {requests_per_second}
burst = {burst}
connections_per_client = 1024
# Over all clients.
max_connections = 4096
"#,
        organization = quote(organization),
        url = quote(url.as_str().trim_end_matches('/')),
        listen = quote(&listen.to_string()),
        burst = requests_per_second.saturating_mul(4),
    )
}

/// The example issuers in the file of an instance that has none yet.
pub(crate) const ISSUER_EXAMPLES: &str = r#"# Who may vouch for identities: one table for each OpenID Connect issuer.
# [[ca.issuers]]
# url = "https://accounts.example.com"
# type = "email"
# client_id = "sigstore"
#
# [[ca.issuers]]
# url = "https://token.actions.githubusercontent.com"
# type = "github-workflow"
# client_id = "sigstore"
"#;
