//! A certificate in plain words, and its validity with the times that are known on a bar.
//!
//! A log takes any certificate that fits the signature. So it is said whether the authorities of this instance have issued
//! it: what another says of a name is worth nothing.

use countersign_bundle::TrustedRoot;
use countersign_crypto::PublicKey;
use countersign_crypto::encoding::hex_encode;
use countersign_x509::chain::{self, Purpose, VerifiedChain};
use countersign_x509::{Certificate, San};
use jiff::Timestamp;

use crate::{escaped, fact, fact_of};

/// What this instance's trust root makes of a certificate.
#[derive(Debug)]
pub enum Standing {
    /// An authority in it has issued it.
    Issued {
        /// The times at which its CT logs saw it, each with what it is.
        seen: Vec<(Timestamp, String)>,
    },
    /// None has.
    Foreign,
    /// There is no trust root in this process.
    Unknown,
}

impl Standing {
    /// What a trust root makes of it.
    #[must_use]
    pub fn of(certificate: &Certificate, root: Option<&TrustedRoot>) -> Self {
        let Some(root) = root else { return Self::Unknown };
        match path(certificate, root) {
            Some(chain) => Self::Issued { seen: seen(&chain, root) },
            None => Self::Foreign,
        }
    }
}

/// The path to one of the authorities, which must have been valid when the certificate began to be.
fn path(certificate: &Certificate, root: &TrustedRoot) -> Option<VerifiedChain> {
    let at = certificate.not_before();
    root.certificate_authorities.iter().filter(|authority| authority.valid_for.contains(at)).find_map(
        |authority| {
            let all: Vec<Certificate> = authority
                .certificates
                .iter()
                .map(|der| Certificate::from_der(der))
                .collect::<Result<_, _>>()
                .ok()?;
            let (anchor, intermediates) = all.split_last()?;
            let anchors = std::slice::from_ref(anchor);
            chain::verify(certificate, intermediates, anchors, Purpose::CodeSigning, at).ok()
        },
    )
}

/// When trusted CT logs saw it, by SCTs that verify.
fn seen(chain: &VerifiedChain, root: &TrustedRoot) -> Vec<(Timestamp, String)> {
    let mut times = Vec::new();
    for sct in chain.leaf().scts().unwrap_or_default() {
        let holds = root.ctlogs.iter().any(|log| {
            PublicKey::from_spki_der(&log.public_key.raw_bytes)
                .is_ok_and(|key| sct.verify(chain.leaf(), chain.issuer().public_key(), &key).is_ok())
        });
        let time = i64::try_from(sct.timestamp_ms).ok().and_then(|ms| Timestamp::from_second(ms / 1000).ok());
        if let Some(time) = time.filter(|_| holds) {
            times.push((time, "the CT log saw the certificate".to_owned()));
        }
    }
    times
}

/// The first name in a certificate, as text.
#[must_use]
pub fn name(certificate: &Certificate) -> String {
    certificate.sans().iter().find_map(San::as_text).map_or_else(|| certificate.describe(), str::to_owned)
}

/// The certificate's card: who it is about, who says so, and when, with marks at the times given. Markup.
#[must_use]
pub fn card(certificate: &Certificate, standing: &Standing, times: &[(Timestamp, String)]) -> String {
    let says = certificate.fulcio();
    let mut out = String::new();
    out.push_str(match standing {
        Standing::Issued { .. } => {
            "<p class=\"verdict good\"><span aria-hidden=\"true\">✓</span> Issued by the certificate authority of this instance.</p>\n"
        }
        Standing::Foreign => {
            "<p class=\"verdict bad\"><span aria-hidden=\"true\">✗</span> Not issued by an authority that this instance trusts: \
             whoever signed may have written what follows.</p>\n"
        }
        Standing::Unknown => {
            "<p class=\"verdict open\"><span aria-hidden=\"true\">–</span> Not checked who issued it: this process has no trust root.</p>\n"
        }
    });
    out.push_str("<dl class=\"facts\">\n");
    for name in certificate.sans() {
        let what = match name {
            San::Email(_) => "E-mail",
            San::Uri(_) => "Identity",
            San::Dns(_) => "Host",
            _ => "Name",
        };
        out.push_str(&fact(what, &name.to_string()));
    }
    for (what, value) in [
        ("Vouched for by", says.issuer()),
        ("Repository", says.source_repository_uri.as_deref()),
        ("Commit", says.source_repository_digest.as_deref()),
        ("Branch or tag", says.source_repository_ref.as_deref()),
        ("Workflow", says.build_config_uri.as_deref()),
        ("Signed by build", says.build_signer_uri.as_deref()),
        ("Started by", says.build_trigger.as_deref()),
        ("Run", says.run_invocation_uri.as_deref()),
        ("Runner", says.runner_environment.as_deref()),
        ("Environment", says.deployment_environment.as_deref()),
    ] {
        if let Some(value) = value {
            out.push_str(&fact(what, value));
        }
    }
    out.push_str(&fact("Issued by", &certificate.issuer().to_string()));
    out.push_str(&fact_of("Serial", &format!("<code>{}</code>", hex_encode(certificate.serial()))));
    out.push_str(&fact("Key", &certificate.public_key().key_type().to_string()));
    out.push_str(&fact_of(
        "Its SHA-256",
        &format!("<code>{}</code>", hex_encode(&certificate.public_key().fingerprint())),
    ));
    out.push_str("</dl>\n");
    let mut all: Vec<(Timestamp, String)> = match standing {
        Standing::Issued { seen } => seen.clone(),
        Standing::Foreign | Standing::Unknown => Vec::new(),
    };
    all.extend_from_slice(times);
    out.push_str(&bar(certificate.not_before(), certificate.not_after(), &all));
    out
}

/// The time in which a certificate is valid, with numbered marks at the times given, and what they are. `times` may be in
/// any order.
fn bar(start: Timestamp, end: Timestamp, times: &[(Timestamp, String)]) -> String {
    let mut times = times.to_vec();
    times.sort_by_key(|(time, _)| *time);
    let seconds = || times.iter().map(|(time, _)| time.as_second());
    let (start_s, end_s) = (start.as_second(), end.as_second());
    let first = seconds().chain([start_s, end_s]).min().unwrap_or(start_s);
    let last = seconds().chain([start_s, end_s]).max().unwrap_or(end_s);
    let whole = i128::from(last) - i128::from(first);
    // From 16 to 344 of 360.
    let at = |second: i64| -> i128 {
        if whole == 0 { 180 } else { 16 + (i128::from(second) - i128::from(first)) * 328 / whole }
    };
    let (from, to) = (at(start_s), at(end_s));
    let mut out = format!(
        "<figure class=\"validity\"><svg viewBox=\"0 0 360 48\" role=\"img\" aria-label=\"Validity of the certificate, with the \
         times listed below\">\n<rect class=\"line\" x=\"16\" y=\"37\" width=\"328\" height=\"4\" rx=\"2\"/>\n\
         <rect class=\"valid\" x=\"{from}\" y=\"34\" width=\"{}\" height=\"10\" rx=\"3\"/>\n",
        (to - from).max(4)
    );
    // Marks that would cover each other stand side by side.
    let mut free = i128::MIN;
    for (number, (time, _)) in (1..).zip(&times) {
        let x = at(time.as_second());
        let head = x.max(free);
        free = head + 24;
        let class = if (start..=end).contains(time) { "mark" } else { "mark outside" };
        out.push_str(&format!(
            "<g class=\"{class}\"><path d=\"M{head} 22L{x} 34V46\"/><circle cx=\"{head}\" cy=\"12\" r=\"11\"/>\
             <text x=\"{head}\" y=\"16\">{number}</text></g>\n"
        ));
    }
    out.push_str(&format!("</svg>\n<figcaption>Valid from {start} to {end}.</figcaption>\n"));
    if times.is_empty() {
        out.push_str("<p>No time of signing is known here: the log gives none, and a timestamp is kept beside the signature.</p>\n");
    } else {
        out.push_str("<ol>\n");
        for (time, what) in &times {
            let place = if (start..=end).contains(time) { "" } else { " (outside of it)" };
            out.push_str(&format!("<li>{time}: {}{place}</li>\n", escaped(what)));
        }
        out.push_str("</ol>\n");
    }
    out.push_str("</figure>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_where_they_belong_on_the_bar() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let (start, end) = (time("2026-01-01T00:00:00Z"), time("2026-01-01T00:10:00Z"));
        let middle = bar(start, end, &[(time("2026-01-01T00:05:00Z"), "<b>".into())]);
        assert!(middle.contains("cx=\"180\"") && middle.contains("&lt;b&gt;") && !middle.contains("outside"));
        let late = bar(start, end, &[(time("2026-01-01T00:20:00Z"), "x".into())]);
        assert!(
            late.contains("mark outside") && late.contains("(outside of it)") && late.contains("cx=\"344\"")
        );
        let close = bar(start, end, &[(end, "b".into()), (start, "a".into()), (start, "c".into())]);
        assert!(close.contains("cx=\"16\"") && close.contains("cx=\"40\""), "{close}");
        // Both ends the same, or centuries apart.
        assert!(bar(start, start, &[]).contains("No time of signing"));
        bar(Timestamp::MIN, Timestamp::MAX, &[(start, String::new())]);
    }
}
