//! Has a certificate been revoked? Answered by the lists that are given, never by asking anyone.
//!
//! The specification has a verifier ask the place which a certificate names, by OCSP or for a list. This one is offline,
//! so the answer can only come from lists that were fetched before:
//! - a certificate that stands in a list of its issuer is revoked, whether it names a place or not;
//! - one which names no place needs no list, and counts as good when none has it;
//! - one which names a place needs a list of its issuer that is valid now and covers it; without one it was *not
//!   checked*, which is a failure like a revoked one. What becomes of the failure is the policy's word: under `enforce`
//!   it is a refusal, under `log` it is told, under `skip` nothing is looked at.
//!
//! A root is not looked at: it would have to revoke itself.

use countersign_x509::Certificate;
use countersign_x509::crl::{self, RevocationList, Revoked};
use jiff::Timestamp;

use crate::{Reason, Refusal};

/// Checks every certificate of a chain but the root. `signed` is when something was signed with the first, if somebody
/// trusted says so: a key that was lost later was good then.
///
/// # Errors
/// [`Reason::CertificateRevoked`] if there is one such, else [`Reason::RevocationNotChecked`].
pub(crate) fn check(
    chain: &[Certificate],
    lists: &[RevocationList],
    signed: Option<Timestamp>,
    now: Timestamp,
) -> Result<String, Refusal> {
    let mut unchecked = None;
    let mut asked = 0;
    for (certificate, issuer) in chain.iter().zip(chain.iter().skip(1)) {
        match status(certificate, issuer, lists, signed, now) {
            Ok(Status::NamesNoPlace) => {}
            Ok(Status::Good) => asked += 1,
            Err(refusal) if refusal.reason == Reason::CertificateRevoked => return Err(refusal),
            Err(refusal) => unchecked = unchecked.or(Some(refusal)),
        }
    }
    match unchecked {
        Some(refusal) => Err(refusal),
        None if asked == 0 => Ok("certificates that say nothing about revocation".into()),
        None => Ok(format!("{asked} certificates, none of them revoked")),
    }
}

enum Status {
    NamesNoPlace,
    Good,
}

fn not_checked(certificate: &Certificate, found: impl Into<String>) -> Refusal {
    let expected = format!(
        "a revocation list of {}, valid now, which covers {}",
        certificate.issuer(),
        certificate.describe()
    );
    Refusal::new(Reason::RevocationNotChecked, expected, found)
}

fn status(
    certificate: &Certificate,
    issuer: &Certificate,
    lists: &[RevocationList],
    signed: Option<Timestamp>,
    now: Timestamp,
) -> Result<Status, Refusal> {
    let unreadable = |e: countersign_x509::X509Error| not_checked(certificate, e.to_string());
    let mut reason = not_checked(certificate, "none; give the authority's list");
    let mut good = false;
    for list in lists.iter().filter(|list| list.issuer().der == issuer.subject().der && !list.is_addition()) {
        match ask(certificate, issuer, list, lists, signed, now) {
            Ok(()) => good = true,
            Err(refusal) if refusal.reason == Reason::CertificateRevoked => return Err(refusal),
            Err(refusal) => reason = refusal,
        }
    }
    let names_list = crl::distribution_points(certificate).map_err(unreadable)?.is_some();
    if !names_list && !crl::names_ocsp(certificate).map_err(unreadable)? {
        return Ok(Status::NamesNoPlace);
    }
    if good { Ok(Status::Good) } else { Err(reason) }
}

/// Asks one list, together with those that add to it.
fn ask(
    certificate: &Certificate,
    issuer: &Certificate,
    list: &RevocationList,
    all: &[RevocationList],
    signed: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let unusable = |e: countersign_x509::X509Error| not_checked(certificate, e.to_string());
    list.verify(issuer).map_err(unusable)?;
    let additions: Vec<&RevocationList> =
        all.iter().filter(|other| other.adds_to(list) && other.verify(issuer).is_ok()).collect();
    let mut latest: Option<Revoked> = None;
    for part in [list].iter().chain(&additions) {
        for entry in part.entries_of(certificate.serial()).map_err(unusable)? {
            if let (Some(signed), Some(since)) = (signed, entry.invalid_since)
                && signed < since
            {
                continue;
            }
            // For the time being, or not any more: the later word counts. Any other reason is for good.
            let for_good = ![Revoked::HOLD, Revoked::REMOVED].contains(&entry.reason);
            if for_good {
                return Err(revoked(certificate, &entry));
            }
            if latest.as_ref().is_none_or(|other| entry.at >= other.at) {
                latest = Some(entry);
            }
        }
    }
    if let Some(entry) = latest.filter(|entry| entry.reason == Revoked::HOLD) {
        return Err(revoked(certificate, &entry));
    }
    // That it is not in a list means something only for one that is of now and of such certificates.
    for part in [list].iter().chain(&additions) {
        if part.this_update() > now || part.next_update().is_none_or(|next| now > next) {
            let until = part.next_update().map_or_else(|| "no time".to_owned(), |next| next.to_string());
            let found = format!("one that is valid from {} to {until}, and now is {now}", part.this_update());
            return Err(not_checked(certificate, found));
        }
    }
    if !list.covers(certificate).map_err(unusable)? {
        return Err(not_checked(certificate, "one that is about other certificates"));
    }
    if list.has_addition() && additions.is_empty() {
        return Err(not_checked(certificate, "one that has an addition (delta), which is not given"));
    }
    Ok(())
}

fn revoked(certificate: &Certificate, entry: &Revoked) -> Refusal {
    let expected = format!("{} not to be revoked", certificate.describe());
    let found = format!("revoked since {}, reason {}", entry.at, entry.reason);
    Refusal::new(Reason::CertificateRevoked, expected, found)
}
