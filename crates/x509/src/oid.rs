//! Object identifiers in use, by the document that defines them.

use der::asn1::ObjectIdentifier;

const fn oid(text: &'static str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

/// Common name (RFC 4519).
pub const COMMON_NAME: ObjectIdentifier = oid("2.5.4.3");
/// Organization (RFC 4519).
pub const ORGANIZATION: ObjectIdentifier = oid("2.5.4.10");

/// Serial number of a person or device (RFC 4519).
pub const SERIAL_NUMBER: ObjectIdentifier = oid("2.5.4.5");
/// Country (RFC 4519).
pub const COUNTRY: ObjectIdentifier = oid("2.5.4.6");
/// Locality (RFC 4519).
pub const LOCALITY: ObjectIdentifier = oid("2.5.4.7");
/// State or province (RFC 4519).
pub const STATE: ObjectIdentifier = oid("2.5.4.8");
/// Street (RFC 4519).
pub const STREET: ObjectIdentifier = oid("2.5.4.9");
/// Organizational unit (RFC 4519).
pub const ORGANIZATIONAL_UNIT: ObjectIdentifier = oid("2.5.4.11");
/// Postal code (RFC 4519).
pub const POSTAL_CODE: ObjectIdentifier = oid("2.5.4.17");
/// Domain component (RFC 4519).
pub const DOMAIN_COMPONENT: ObjectIdentifier = oid("0.9.2342.19200300.100.1.25");
/// User id (RFC 4519).
pub const USER_ID: ObjectIdentifier = oid("0.9.2342.19200300.100.1.1");

/// Subject key identifier (RFC 5280 section 4.2.1.2).
pub const SUBJECT_KEY_ID: ObjectIdentifier = oid("2.5.29.14");
/// Key usage (RFC 5280 section 4.2.1.3).
pub const KEY_USAGE: ObjectIdentifier = oid("2.5.29.15");
/// Subject alternative name (RFC 5280 section 4.2.1.6).
pub const SUBJECT_ALT_NAME: ObjectIdentifier = oid("2.5.29.17");
/// Basic constraints (RFC 5280 section 4.2.1.9).
pub const BASIC_CONSTRAINTS: ObjectIdentifier = oid("2.5.29.19");
/// Number of a revocation list (RFC 5280 section 5.2.3).
pub const CRL_NUMBER: ObjectIdentifier = oid("2.5.29.20");
/// Why a certificate was revoked (RFC 5280 section 5.3.1).
pub const CRL_REASON: ObjectIdentifier = oid("2.5.29.21");
/// Since when a revoked key was not to be trusted (RFC 5280 section 5.3.2).
pub const INVALIDITY_DATE: ObjectIdentifier = oid("2.5.29.24");
/// Marks a revocation list that only adds to another (RFC 5280 section 5.2.4).
pub const DELTA_CRL_INDICATOR: ObjectIdentifier = oid("2.5.29.27");
/// Which certificates a revocation list is about (RFC 5280 section 5.2.5).
pub const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = oid("2.5.29.28");
/// Where revocation lists are (RFC 5280 section 4.2.1.13).
pub const CRL_DISTRIBUTION_POINTS: ObjectIdentifier = oid("2.5.29.31");
/// Authority key identifier (RFC 5280 section 4.2.1.1).
pub const AUTHORITY_KEY_ID: ObjectIdentifier = oid("2.5.29.35");
/// Where the list is that adds to this one (RFC 5280 section 5.2.6).
pub const FRESHEST_CRL: ObjectIdentifier = oid("2.5.29.46");
/// Where the issuer answers (RFC 5280 section 4.2.2.1).
pub const AUTHORITY_INFORMATION: ObjectIdentifier = oid("1.3.6.1.5.5.7.1.1");
/// Of the last, the place that answers by OCSP.
pub const OCSP: ObjectIdentifier = oid("1.3.6.1.5.5.7.48.1");
/// Extended key usage (RFC 5280 section 4.2.1.12).
pub const EXTENDED_KEY_USAGE: ObjectIdentifier = oid("2.5.29.37");

/// Extended key usage: any (RFC 5280 section 4.2.1.12).
pub const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier = oid("2.5.29.37.0");
/// Extended key usage: server authentication.
pub const SERVER_AUTH: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.1");
/// Extended key usage: client authentication.
pub const CLIENT_AUTH: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.2");
/// Extended key usage: protection of e-mail.
pub const EMAIL_PROTECTION: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.4");
/// Extended key usage: signing answers of OCSP.
pub const OCSP_SIGNING: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.9");
/// Extended key usage: code signing.
pub const CODE_SIGNING: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.3");
/// Extended key usage: time stamping.
pub const TIME_STAMPING: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.8");

/// SCT list embedded in a certificate (RFC 6962 section 3.3).
pub const SCT_LIST: ObjectIdentifier = oid("1.3.6.1.4.1.11129.2.4.2");
/// The poison which makes a precertificate unusable (RFC 6962 section 3.1).
pub const CT_POISON: ObjectIdentifier = oid("1.3.6.1.4.1.11129.2.4.3");

/// Sigstore's timestamping policy.
pub const SIGSTORE_TSA_POLICY: ObjectIdentifier = oid("1.3.6.1.4.1.57264.2");
/// Fulcio's otherName SAN for user names.
pub const FULCIO_USERNAME: ObjectIdentifier = oid("1.3.6.1.4.1.57264.1.7");

/// SHA-256 (RFC 5754).
pub const SHA256: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.1");
/// SHA-384.
pub const SHA384: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.2");
/// SHA-512.
pub const SHA512: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.3");
/// `rsaEncryption` (RFC 8017), which some CMS writers put where the signature algorithm belongs.
pub const RSA_ENCRYPTION: ObjectIdentifier = oid("1.2.840.113549.1.1.1");

/// CMS `SignedData` (RFC 5652 section 5.1).
pub const SIGNED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.2");
/// CMS attribute: the type of the signed content (RFC 5652 section 11.1).
pub const CONTENT_TYPE: ObjectIdentifier = oid("1.2.840.113549.1.9.3");
/// CMS attribute: the digest of the signed content (RFC 5652 section 11.2).
pub const MESSAGE_DIGEST: ObjectIdentifier = oid("1.2.840.113549.1.9.4");
/// CMS attribute: when it was signed (RFC 5652 section 11.3).
pub const SIGNING_TIME: ObjectIdentifier = oid("1.2.840.113549.1.9.5");
/// Content type of a timestamp (RFC 3161 section 2.4.2).
pub const TST_INFO: ObjectIdentifier = oid("1.2.840.113549.1.9.16.1.4");
/// CMS attribute: by which certificate it was signed, with SHA-1 (RFC 2634 section 5.4).
pub const SIGNING_CERTIFICATE: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.12");
/// CMS attribute: by which certificate it was signed (RFC 5035 section 3).
pub const SIGNING_CERTIFICATE_V2: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.47");
