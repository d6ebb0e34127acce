//! `countersign doctor`: looks at an instance and says the next step for whatever is not right.

mod logs;

use std::path::Path;

use countersign_bundle::{CertificateAuthority, TransparencyLog, TrustedRoot, ValidFor};
use countersign_clock::{Clock, Timestamp};
use countersign_crypto::PublicKey;
use countersign_keys::{KeyRef, PasswordSource};
use countersign_x509::Certificate;
use zeroize::Zeroizing;

use crate::config::Role;
use crate::handover::wanted;
use crate::instance::{Instance, InstanceKey, paths};
use crate::{moves, revoke};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// Works, and should be seen to.
    Warning,
    /// Does not work.
    Problem,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at.
    pub what: String,
    /// What was found.
    pub found: String,
    /// The next step; empty when there is none to take.
    pub next: String,
}

/// Days before the end of a certificate or of TUF metadata at which it becomes a warning.
const EXPIRY_WARNING_DAYS: i64 = 30;

/// The same for the revocation list, which the server signs anew when half of its thirty days is over.
const LIST_WARNING_DAYS: i64 = 7;

/// Free space below which the log may soon stop taking entries, in bytes.
const LOW_SPACE: u64 = 1 << 30;

/// Collects findings.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(
        &mut self,
        level: Level,
        what: impl Into<String>,
        found: impl Into<String>,
        next: impl Into<String>,
    ) {
        self.0.push(Finding { level, what: what.into(), found: found.into(), next: next.into() });
    }
    fn good(&mut self, what: impl Into<String>, found: impl Into<String>) {
        self.add(Level::Good, what, found, "");
    }
    fn problem(&mut self, what: impl Into<String>, found: impl Into<String>, next: impl Into<String>) {
        self.add(Level::Problem, what, found, next);
    }
}

/// Looks at configuration, keys, certificates, clock, logs, disk and trust root of an instance. Reads only: nothing is
/// changed, so that it may run beside the server.
pub fn run(directory: &Path, password: Option<&Zeroizing<String>>, clock: &dyn Clock) -> Vec<Finding> {
    let mut findings = Findings::default();
    rotation(directory, &mut findings);
    let instance = match Instance::open(directory) {
        Ok(instance) => instance,
        Err(e) => {
            findings.problem("configuration", e.to_string(), "correct the file named above");
            return findings.0;
        }
    };
    findings.good("configuration", format!("{} serves {}", directory.display(), instance.config.base_url()));
    let now = clock.now();
    exposure(&instance, &mut findings);
    keys(&instance, &instance.password(password), &mut findings);
    certificates(&instance, now, &mut findings);
    trust_root(&instance, now, &mut findings);
    published(&instance, now, &mut findings);
    revocations(&instance, now, &mut findings);
    logs::look(&instance, now, &mut findings);
    findings.0.extend(instance.mark_findings());
    disk(&instance, &mut findings);
    reachability(&instance, &mut findings);
    findings.0
}

/// Whether somebody rotates, or was stopped in the middle of it.
fn rotation(directory: &Path, findings: &mut Findings) {
    if wanted(directory) {
        findings.good("rotation", "one is under way");
    } else if moves::cut_off(directory) {
        findings.problem(
            "rotation",
            "one was cut off before anything was published",
            "start the server, or rotate once more: either puts back first what was moved",
        );
    }
}

fn exposure(instance: &Instance, findings: &mut Findings) {
    let config = &instance.config;
    if config.url.scheme() == "http" && !config.listen.ip().is_loopback() && config.tls.is_none() {
        findings.add(
            Level::Warning,
            "transport",
            format!("{} is served without TLS", config.listen),
            "add [tls] to countersign.toml, or listen on 127.0.0.1 behind a proxy that does TLS",
        );
    }
    if config.roles.contains(&Role::Ca) && config.ca.issuers.is_empty() && config.ca.fulcio_config.is_none() {
        findings.add(
            Level::Warning,
            "identities",
            "no issuer is configured, so nobody gets a certificate",
            "add [[ca.issuers]] to countersign.toml, or run `countersign serve --dev` to try",
        );
    }
}

fn keys(instance: &Instance, password: &PasswordSource, findings: &mut Findings) {
    let needed: Vec<InstanceKey> =
        instance.config.roles.iter().flat_map(|role| instance.keys_of(*role)).copied().collect();
    let mut offline = Vec::new();
    for key in InstanceKey::ALL {
        let path = key.private(&instance.directory);
        if key.is_offline() {
            if instance.reference(key).is_none() && path.exists() {
                offline.push(path.display().to_string());
            }
        } else if needed.contains(&key) {
            findings.0.push(key_finding(instance, key, password));
        }
    }
    findings.0.extend(instance.search_key_finding());
    if !offline.is_empty() {
        findings.add(
            Level::Warning,
            "offline keys",
            format!("on this machine: {}", offline.join(", ")),
            "move them to a safe place; they are needed for rotations only",
        );
    }
}

fn key_finding(instance: &Instance, key: InstanceKey, password: &PasswordSource) -> Finding {
    let reference = instance.reference(key);
    let problem = |found: String, next: String| (Level::Problem, found, next);
    let (level, found, next) = match (instance.load_key(key, password), key.load_public(&instance.directory))
    {
        (Ok(private), Ok(public)) if *private.public_key() == public => {
            let how = match &reference {
                Some(at) => format!("reached at {at}"),
                None => "readable, mode as it should be".into(),
            };
            (Level::Good, format!("{}, {how}", public.key_type()), String::new())
        }
        (Ok(_), Ok(public)) => match &reference {
            Some(at) => problem(
                format!("another key is at {at}: expected the one of {}.pub, {public:?}", key.stem()),
                format!("name the right key as keys.{} in countersign.toml", key.name()),
            ),
            None => problem(
                "the private and the public file are of different keys".into(),
                "restore both from the same backup".into(),
            ),
        },
        (Err(e), _) => problem(e.to_string(), advice(key, reference.as_ref())),
        (Ok(_), Err(e)) => problem(e.to_string(), format!("restore {}.pub from a backup", key.stem())),
    };
    Finding { level, what: format!("key {}", key.stem()), found, next }
}

/// What to look at when a private key cannot be had, by where it lives.
fn advice(key: InstanceKey, home: Option<&KeyRef>) -> String {
    let look = match home {
        None | Some(KeyRef::File(_)) => {
            return "check the file and the password (keys.password_file, COUNTERSIGN_PASSWORD)".into();
        }
        Some(KeyRef::Env(variable)) => {
            return format!("give {variable} to the server and to this command: the private key in PEM");
        }
        Some(KeyRef::Pkcs11(_)) => {
            "plug the token in; check the module's path and the PIN (pin-source, COUNTERSIGN_PKCS11_PIN)".into()
        }
        Some(KeyRef::HashiVault { key }) => format!(
            "check that Vault answers and is unsealed (VAULT_ADDR, VAULT_CACERT), and that the token (VAULT_TOKEN, or \
             ~/.vault-token) is valid and may sign with the transit key {key} (TRANSIT_SECRET_ENGINE_PATH)"
        ),
        Some(KeyRef::AwsKms { .. }) => "check the region (AWS_REGION), the credentials (AWS_ACCESS_KEY_ID, \
             AWS_PROFILE, or the machine's role), and that they may kms:Sign, kms:GetPublicKey and kms:DescribeKey"
            .into(),
        Some(KeyRef::GcpKms { .. }) => "check the credentials (GOOGLE_APPLICATION_CREDENTIALS, or the machine's \
             service account), and that they have the role cloudkms.signerVerifier"
            .into(),
        Some(KeyRef::AzureKms { vault, .. }) => format!(
            "check the credentials (AZURE_TENANT_ID, AZURE_CLIENT_ID and a secret or token, or the managed identity), and \
             that they may get and sign with keys of {vault}"
        ),
        Some(KeyRef::Kubernetes { namespace, secret }) => format!(
            "check that the cluster answers (KUBECONFIG, or the pod's service account) and lets the secret {secret} in \
             the namespace {namespace} be read"
        ),
        Some(KeyRef::GitLab { project }) => format!(
            "check GITLAB_HOST, and that GITLAB_TOKEN (scope api, role Maintainer) may read the variables of {project}"
        ),
        Some(KeyRef::Plugin { scheme, .. }) => {
            format!("check that the program sigstore-kms-{scheme} is on the PATH, and what it needs itself")
        }
        // Public keys only, secrets that nobody can read back, and homes that are not known here.
        Some(_) => {
            return format!("a key there cannot sign: name another one as keys.{} in countersign.toml", key.name());
        }
    };
    format!("{look}. A server that runs finds the key again by itself, within seconds")
}

/// Whole days from now to the end; negative after it.
fn days_left(now: Timestamp, end: Timestamp) -> i64 {
    (end.as_second() - now.as_second()) / 86_400
}

fn expiry(findings: &mut Findings, what: String, now: Timestamp, end: Timestamp, warn_days: i64, next: &str) {
    let left = days_left(now, end);
    if end <= now {
        findings.problem(what, format!("expired at {end}"), next);
    } else if left < warn_days {
        findings.add(Level::Warning, what, format!("{left} days left, until {end}"), next);
    } else {
        findings.good(what, format!("{left} days left"));
    }
}

fn certificates(instance: &Instance, now: Timestamp, findings: &mut Findings) {
    for (what, file, key, next) in [
        ("certificate authority", paths::CA_CHAIN, InstanceKey::Ca, "countersign rotate ca"),
        ("timestamp authority", paths::TSA_CHAIN, InstanceKey::Tsa, "countersign rotate tsa"),
    ] {
        let chain = match instance.chain(file) {
            Ok(chain) => chain,
            Err(e) => {
                findings.problem(what, e.to_string(), "restore the file from a backup");
                continue;
            }
        };
        let fits = key
            .load_public(&instance.directory)
            .is_ok_and(|public| chain.first().map(Certificate::public_key) == Some(&public));
        if !fits {
            findings.problem(
                what,
                format!("{file} is not the certificate of {}.pub", key.stem()),
                "restore both from the same backup",
            );
        }
        if let Some(start) = chain.iter().map(Certificate::not_before).max().filter(|start| *start > now) {
            findings.problem(
                what,
                format!("the clock shows {now}, before the certificates begin ({start})"),
                "set the machine's clock",
            );
        }
        if let Some(end) = chain.iter().map(Certificate::not_after).min() {
            expiry(findings, what.to_owned(), now, end, EXPIRY_WARNING_DAYS, next);
        }
    }
}

fn trust_root(instance: &Instance, now: Timestamp, findings: &mut Findings) {
    let status = instance.repository(now).and_then(|repository| {
        repository.status(now).map_err(|e| crate::ServerError::Trust(format!("the TUF repository: {e}")))
    });
    match status {
        Err(e) => findings.problem(
            "trust root",
            e.to_string(),
            "bring back keys/offline/tuf-root.key and run `countersign rotate tuf`",
        ),
        Ok(roles) => {
            for role in roles {
                let next = if role.role == "timestamp" {
                    "start the server: it signs the timestamp anew"
                } else {
                    "bring back keys/offline/tuf-root.key and run `countersign rotate tuf`"
                };
                let warn = if role.role == "timestamp" { 1 } else { EXPIRY_WARNING_DAYS };
                expiry(findings, format!("TUF {}", role.role), now, role.expires, warn, next);
            }
        }
    }
}

/// Whether clients can know what is revoked: a list that has expired stops all who follow it.
fn revocations(instance: &Instance, now: Timestamp, findings: &mut Findings) {
    let what = "revocation list";
    if !InstanceKey::Revocation.public(&instance.directory).exists() {
        return findings.add(
            Level::Warning,
            what,
            "nobody may revoke yet: this instance was made before there were revocation lists",
            "bring back keys/offline/tuf-root.key and run `countersign revoke renew`: it makes the key and publishes it",
        );
    }
    match revoke::list(&instance.directory) {
        Ok(Some(list)) => {
            let list = list.list();
            let next =
                "start the server with keys/revocation.key in place, or run `countersign revoke renew`";
            let name = format!("{what} {}, {} entries", list.number, list.entries.len());
            expiry(findings, name, now, list.expires, LIST_WARNING_DAYS, next);
        }
        Ok(None) => findings.problem(
            what,
            "there is a key for it and no list, so clients refuse everything",
            "restore revocations.json from a backup",
        ),
        Err(e) => findings.problem(what, e.to_string(), "restore revocations.json from a backup"),
    }
}

/// Whether clients know the keys that sign here: a rotation that was cut off leaves one which nobody knows.
fn published(instance: &Instance, now: Timestamp, findings: &mut Findings) {
    let what = "published keys";
    let root = instance.repository(now).and_then(|repository| {
        let bad = |e: &dyn std::fmt::Display| crate::ServerError::Trust(format!("the TUF repository: {e}"));
        let bytes = repository.target("trusted_root.json", now).map_err(|e| bad(&e))?;
        TrustedRoot::from_json(&bytes).map_err(|e| bad(&e))
    });
    // That the repository cannot be read is told already.
    let Ok(root) = root else { return };
    let in_use = |valid: &ValidFor| valid.end.is_none_or(|end| end > now);
    let log = |logs: &[TransparencyLog], key: InstanceKey| {
        let own = key.load_public(&instance.directory).ok()?;
        let names = |l: &TransparencyLog| {
            PublicKey::from_spki_der(&l.public_key.raw_bytes).is_ok_and(|public| public == own)
        };
        Some(logs.iter().any(|l| in_use(&l.public_key.valid_for) && names(l)))
    };
    let authority = |authorities: &[CertificateAuthority], file: &str| {
        let chain = instance.chain(file).ok()?;
        let own = chain.first()?.der();
        let names = |a: &CertificateAuthority| a.certificates.first().is_some_and(|der| der == own);
        Some(authorities.iter().any(|a| in_use(&a.valid_for) && names(a)))
    };
    let mut all = true;
    for (name, known) in [
        ("ca", authority(&root.certificate_authorities, paths::CA_CHAIN)),
        ("ct", log(&root.ctlogs, InstanceKey::Ct)),
        ("tsa", authority(&root.timestamp_authorities, paths::TSA_CHAIN)),
        ("log", log(&root.tlogs, InstanceKey::Log)),
        ("log-v1", log(&root.tlogs, InstanceKey::LogV1).filter(|_| instance.config.log.rekor_v1)),
    ] {
        // A file that cannot be read is told already, too.
        if known == Some(false) {
            all = false;
            findings.problem(
                what,
                format!("the trust root does not name the present key of {name}: a rotation was cut off"),
                format!("bring back keys/offline and run `countersign rotate {name}` once more"),
            );
        }
    }
    if all {
        findings.good(what, "the trust root names those that sign here");
    }
}

fn disk(instance: &Instance, findings: &mut Findings) {
    match free_space(&instance.directory) {
        Ok(free) if free < LOW_SPACE => findings.add(
            Level::Warning,
            "disk",
            format!("{} MiB free", free >> 20),
            "make space, or move the instance to a larger disk",
        ),
        Ok(free) => findings.good("disk", format!("{} GiB free", free >> 30)),
        Err(e) => findings.problem("disk", e, "check that the directory is there and readable"),
    }
}

/// Whether a server listens where the configuration says.
fn reachability(instance: &Instance, findings: &mut Findings) {
    let address = instance.config.listen;
    match std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(2)) {
        Ok(_) => findings.good("reachability", format!("something listens on {address}")),
        Err(e) => findings.add(
            Level::Warning,
            "reachability",
            format!("nothing answers on {address}: {e}"),
            format!("countersign serve {}", instance.directory.display()),
        ),
    }
}

fn free_space(directory: &Path) -> Result<u64, String> {
    let stat = rustix::fs::statvfs(directory).map_err(|e| e.to_string())?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::{InitOptions, init};
    use countersign_clock::{ManualClock, SystemClock};
    use countersign_crypto::Signer as _;

    fn levels(findings: &[Finding], level: Level) -> Vec<String> {
        findings.iter().filter(|f| f.level == level).map(|f| format!("{}: {}", f.what, f.found)).collect()
    }

    #[test]
    fn advice_about_a_key_is_of_its_home_and_of_no_other() {
        let words =
            ["PIN", "Vault", "AWS_", "GOOGLE_", "AZURE_", "KUBECONFIG", "GITLAB_", "sigstore-kms-", "PEM"];
        for (home, own) in [
            ("pkcs11:token=a;object=ca", "PIN"),
            ("hashivault://ca", "Vault"),
            ("openbao://ca", "Vault"),
            ("awskms:///alias/ca", "AWS_"),
            ("gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k", "GOOGLE_"),
            ("azurekms://x.vault.azure.net/ca", "AZURE_"),
            ("k8s://signing/ca", "KUBECONFIG"),
            ("gitlab://group/project", "GITLAB_"),
            ("other://ca", "sigstore-kms-"),
            ("env://THE_KEY", "PEM"),
            ("keys/ca.key", "password"),
            ("https://r.example/ca.pub", "cannot sign"),
        ] {
            let advice = advice(InstanceKey::Ca, Some(&KeyRef::parse(home).unwrap()));
            assert!(advice.contains(own), "{home}: {advice}");
            for other in words.iter().filter(|word| **word != own) {
                assert!(!advice.contains(other), "{home}: {advice}");
            }
            let far = !["env://THE_KEY", "keys/ca.key", "https://r.example/ca.pub"].contains(&home);
            assert_eq!(advice.contains("by itself"), far, "{home}: {advice}");
        }
    }

    #[test]
    fn a_new_instance_is_well_and_each_fault_is_named_with_a_next_step() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("instance");
        init(&directory, &InitOptions::default()).unwrap();
        let now = SystemClock.now();
        let findings = run(&directory, None, &SystemClock);
        assert_eq!(levels(&findings, Level::Problem), Vec::<String>::new());

        // Four years on, the issuing certificates have expired; so has the trust root.
        let later = ManualClock::new(Timestamp::from_second(now.as_second() + 4 * 365 * 86_400).unwrap());
        let findings = run(&directory, None, &later);
        let problems = levels(&findings, Level::Problem).join("\n");
        for part in ["certificate authority: expired", "timestamp authority: expired"] {
            assert!(problems.contains(part), "{problems}");
        }
        // The clock set back to before the instance was made.
        let earlier = ManualClock::new(Timestamp::from_second(now.as_second() - 86_400).unwrap());
        let problems = levels(&run(&directory, None, &earlier), Level::Problem).join("\n");
        assert!(problems.contains("the clock shows"), "{problems}");

        let wrong = Zeroizing::new("wrong".to_owned());
        let problems = levels(&run(&directory, Some(&wrong), &SystemClock), Level::Problem);
        assert_eq!(problems.len(), 6, "{problems:?}");
        let findings = run(&directory, Some(&wrong), &SystemClock);
        assert!(findings.iter().filter(|f| f.level != Level::Good).all(|f| !f.next.is_empty()));

        // A rotation that was cut off before the trust root was published.
        let log = InstanceKey::Log.public(&directory);
        let kept = std::fs::read(&log).unwrap();
        let other = countersign_crypto::KeyPair::generate(InstanceKey::Log.key_type()).unwrap();
        std::fs::write(&log, other.public_key().to_pem()).unwrap();
        let problems = levels(&run(&directory, None, &SystemClock), Level::Problem).join("\n");
        assert!(problems.contains("does not name the present key of log"), "{problems}");
        std::fs::write(&log, kept).unwrap();

        // A public half that is gone is not a question of passwords.
        let public = InstanceKey::Ca.public(&directory);
        let kept = std::fs::read(&public).unwrap();
        std::fs::remove_file(&public).unwrap();
        let findings = run(&directory, None, &SystemClock);
        let next: Vec<&str> =
            findings.iter().filter(|f| f.what == "key keys/ca").map(|f| f.next.as_str()).collect();
        assert_eq!(next, ["restore keys/ca.pub from a backup"]);
        std::fs::write(&public, kept).unwrap();

        // Keys of roles that are run elsewhere may be elsewhere.
        std::fs::remove_file(InstanceKey::Ca.private(&directory)).unwrap();
        assert_eq!(levels(&run(&directory, None, &SystemClock), Level::Problem).len(), 1);
        let file = directory.join(crate::config::FILE_NAME);
        let text = std::fs::read_to_string(&file).unwrap();
        let roles = "roles = [\"ca\", \"log\", \"tsa\", \"trust\"]";
        assert!(text.contains(roles));
        std::fs::write(&file, text.replace(roles, "roles = [\"log\", \"tsa\", \"trust\"]")).unwrap();
        assert_eq!(levels(&run(&directory, None, &SystemClock), Level::Problem), Vec::<String>::new());

        let nothing = run(temporary.path(), None, &SystemClock);
        assert_eq!(nothing.len(), 1);
        assert!(nothing[0].found.contains("countersign init"), "{nothing:?}");
    }
}
