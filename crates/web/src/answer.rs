//! How a verification went, as markup.

use countersign_bundle::Bundle;
use countersign_verify::{Outcome, Report, Signer, Subject, TimeSource, Verified, verify};
use jiff::Timestamp;

use crate::{Asked, Standing, Trust, card, escaped, fact, fact_of};

/// Where a verification was made, which the answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the reader's browser.
    Browser,
    /// On the server.
    Server,
}

impl Place {
    const fn words(self) -> &'static str {
        match self {
            Self::Browser => {
                "Verified in your browser, with the trust root and the revocation list of this instance."
            }
            Self::Server => "Verified by this server, with its trust root and its revocation list.",
        }
    }
}

/// Verifies what is asked, and says how it went. Markup.
///
/// # Errors
/// Why the question is none, in words.
pub fn answer(asked: &Asked, trust: &Trust, now: Timestamp, place: Place) -> Result<String, String> {
    let digests = asked.digests()?;
    let (requirements, named) = asked.requirements()?;
    let report = match Bundle::from_json(asked.bundle.as_bytes()) {
        Ok(bundle) => verify(&Subject::from_digests(digests), &bundle, trust.material(), &requirements, now),
        Err(error) => Report::malformed(&error),
    };
    Ok(told(&report, named, trust, place))
}

/// That nothing was verified, and why. Markup.
#[must_use]
pub fn problem(why: &str) -> String {
    format!(
        "<section class=\"answer\"><h2 class=\"verdict bad\" id=\"verdict\">Not verified</h2>\n<p>{}</p></section>\n",
        escaped(why)
    )
}

fn told(report: &Report, named: bool, trust: &Trust, place: Place) -> String {
    let mut out = String::from("<section class=\"answer\">");
    match report.verified() {
        Ok(verified) if named => {
            out.push_str(
                "<h2 class=\"verdict good\" id=\"verdict\"><span aria-hidden=\"true\">✓</span> Verified</h2>\n\
                 <p>This file was signed by whom you named.</p>\n",
            );
            out.push_str(&facts(verified, trust));
        }
        Ok(verified) => {
            out.push_str(
                "<h2 class=\"verdict open\" id=\"verdict\"><span aria-hidden=\"true\">✓</span> The signature holds</h2>\n\
                 <p>You named nobody, so whether it is the right one who signed is for you to say. It is this one:</p>\n",
            );
            out.push_str(&facts(verified, trust));
        }
        Err(rejection) => {
            out.push_str(
                "<h2 class=\"verdict bad\" id=\"verdict\"><span aria-hidden=\"true\">✗</span> Rejected</h2>\n\
                 <p>Do not use this file on the strength of this signature.</p>\n<dl class=\"facts\">\n",
            );
            out.push_str(&fact("What fails", &rejection.check.code().replace('_', " ")));
            out.push_str(&fact("Expected", &rejection.expected));
            out.push_str(&fact("Found", &rejection.found));
            out.push_str("</dl>\n");
        }
    }
    out.push_str("<h3>What was checked</h3>\n<ul class=\"checks\">\n");
    for check in report.checks() {
        let (class, sign, word, found) = match (check.outcome, check.consequence_of) {
            (Outcome::Passed, _) => ("good", "✓", "holds", check.found.clone()),
            (Outcome::NotApplicable, _) => ("none", "–", "not there", check.found.clone()),
            (Outcome::Failed, None) => {
                ("bad", "✗", "fails", format!("expected {}, found {}", check.expected, check.found))
            }
            (Outcome::Failed, Some(first)) => {
                ("none", "✗", "fails", format!("fails because this does: {}", first.code().replace('_', " ")))
            }
        };
        out.push_str(&format!(
            "<li class=\"{class}\"><span class=\"sign\" role=\"img\" aria-label=\"{word}\">{sign}</span> <strong>{}</strong> \
             <span class=\"found\"><bdi>{}</bdi></span></li>\n",
            check.name.code().replace('_', " "),
            escaped(&found),
        ));
    }
    out.push_str(&format!("</ul>\n<p class=\"note\" id=\"place\">{}</p></section>\n", place.words()));
    out
}

fn facts(verified: &Verified, trust: &Trust) -> String {
    let mut out = String::new();
    match verified.signer() {
        Signer::Certificate(certificate) => {
            let times: Vec<(Timestamp, String)> = verified
                .times()
                .iter()
                .map(|time| {
                    let who = match time.source {
                        TimeSource::TimestampAuthority => "signed before, says the timestamp authority",
                        TimeSource::Log => "signed before, says the log",
                        _ => "taken for the time of signing",
                    };
                    (time.time, format!("{who} {}", time.authority))
                })
                .collect();
            let standing = Standing::of(certificate, Some(trust.root()));
            out.push_str(&card(certificate, &standing, &times));
        }
        Signer::Key(key) => {
            out.push_str("<dl class=\"facts\">\n");
            out.push_str(&fact("Signed with", &format!("the {} key you gave", key.key_type())));
            out.push_str("</dl>\n");
        }
        _ => {}
    }
    if !verified.entries().is_empty() {
        out.push_str("<dl class=\"facts\">\n");
        for entry in verified.entries() {
            let text = format!("entry {} of {}", entry.index, entry.log);
            let markup = if trust.is_own_log(&entry.log_id) {
                format!("<a href=\"/search?q={}\">{}</a>", entry.index, escaped(&text))
            } else {
                escaped(&text)
            };
            out.push_str(&fact_of("In the log", &markup));
        }
        out.push_str("</dl>\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;

    fn asked(form: &str, place: Place) -> Result<String, String> {
        let root = br#"{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;
        let trust = Trust::from_json(&document(root, None, None).unwrap()).unwrap();
        answer(&Asked::read(form.as_bytes()), &trust, Timestamp::from_second(1_800_000_000).unwrap(), place)
    }

    #[test]
    fn an_answer_says_where_it_was_found_and_a_question_that_is_none_has_no_answer() {
        let form = format!("bundle=%7B%7D&digests={}", "00".repeat(32));
        let (here, there) = (asked(&form, Place::Browser).unwrap(), asked(&form, Place::Server).unwrap());
        assert!(
            here.contains("</span> Rejected")
                && here.contains("in your browser")
                && !here.contains("this server")
        );
        assert!(
            there.contains("</span> Rejected")
                && there.contains("by this server")
                && !there.contains("your browser")
        );
        assert!(asked("bundle=%7B%7D", Place::Server).unwrap_err().contains("digest of the file"));
        assert!(asked(&format!("{form}&identity=alice"), Place::Server).unwrap_err().contains("give both"));
        assert!(problem("<b>").contains("&lt;b&gt;"));
    }
}
