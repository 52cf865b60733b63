//! Why a handshake is worth nothing, in the words of reports between domains (RFC 8460 §4.3).

use std::io;

use rustls::{CertificateError, Error};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// STARTTLS was not offered.
    NotSupported,
    /// The certificate is for another name.
    OtherName,
    /// It is not valid yet, or not any more.
    Expired,
    /// It hangs on no authority that is trusted.
    NotTrusted,
    /// Everything else.
    Other,
}

impl Failure {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSupported => "starttls-not-supported",
            Self::OtherName => "certificate-host-mismatch",
            Self::Expired => "certificate-expired",
            Self::NotTrusted => "certificate-not-trusted",
            Self::Other => "validation-failure",
        }
    }

    /// What kind of failure this one of a stream is.
    #[must_use]
    pub fn of_stream(error: &io::Error) -> Self {
        let inside = error.get_ref().and_then(|inside| inside.downcast_ref());
        inside.map_or(Self::Other, Self::of)
    }

    /// What kind of failure this one of TLS is.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        let Error::InvalidCertificate(why) = error else {
            return Self::Other;
        };
        match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::OtherName
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Expired,
            // What TLSA records say is no matter of trust.
            CertificateError::Other(_) => Self::Other,
            _ => Self::NotTrusted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_fail_in_ways_that_reports_tell_apart() {
        for (why, name) in [
            (
                CertificateError::NotValidForName,
                "certificate-host-mismatch",
            ),
            (CertificateError::Expired, "certificate-expired"),
            (CertificateError::NotValidYet, "certificate-expired"),
            (CertificateError::UnknownIssuer, "certificate-not-trusted"),
            (CertificateError::BadSignature, "certificate-not-trusted"),
        ] {
            let error = io::Error::new(io::ErrorKind::InvalidData, Error::InvalidCertificate(why));
            assert_eq!(Failure::of_stream(&error).name(), name);
        }
        let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(Failure::of_stream(&cut), Failure::Other);
    }
}
