//! When credentials end: of certificates and tokens that say so themselves.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// When the first certificate of a PEM file ends: the client's own, which comes before those that signed it. None where there is
/// none that can be read.
pub(super) fn of_certificate(pem: &[u8]) -> Option<Timestamp> {
    let own = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
    let (_, own) = x509_parser::parse_x509_certificate(&own).ok()?;
    Timestamp::from_second(own.validity().not_after.timestamp()).ok()
}

/// When a bearer token ends, where it is a JWT that says so (RFC 7519, `exp`). Nothing is verified: the API server does that.
pub(super) fn of_token(token: &str) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Claims {
        exp: f64,
    }
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    // Whole seconds are what it is given in, and a number too large is the end of time.
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    Timestamp::from_second(exp.floor() as i64).ok()
}

#[cfg(test)]
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let lines = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = lines.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jwt_says_when_it_ends_and_another_token_does_not() {
        let jwt = |claims: &str| format!("eyJhbGciOiJub25lIn0.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(of_token(&jwt(r#"{"exp":1700000000,"sub":"x"}"#)), Timestamp::from_second(1_700_000_000).ok());
        assert_eq!(of_token(&jwt(r#"{"exp":1.7e9}"#)), Timestamp::from_second(1_700_000_000).ok());
        for other in
            [&jwt(r#"{"sub":"x"}"#), &jwt(r#"{"exp":"soon"}"#), &jwt(r#"{"exp":1e300}"#), "s3cret", "a.b.c", ""]
        {
            assert_eq!(of_token(other), None, "{other}");
        }
    }

    #[test]
    fn a_certificate_says_when_it_ends_and_other_bytes_do_not() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let pem = pem("CERTIFICATE", params.self_signed(&key).unwrap().der());
        assert_eq!(of_certificate(pem.as_bytes()), "2031-02-03T00:00:00Z".parse().ok());
        let with_key_before = super::pem("PRIVATE KEY", &key.serialize_der()) + &pem;
        assert_eq!(of_certificate(with_key_before.as_bytes()), "2031-02-03T00:00:00Z".parse().ok());
        assert_eq!(of_certificate(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), None);
        assert_eq!(of_certificate(b""), None);
    }
}
