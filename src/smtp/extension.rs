//! What a peer offers in its answer to EHLO (RFC 5321 §4.1.1.1).

/// The service extensions of a peer that make a difference to us. Nothing is offered before EHLO
/// was answered, and nothing at all to HELO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Commands may be sent before the replies to earlier ones are in (RFC 2920).
    pub pipelining: bool,
    /// `SIZE` is offered; zero when it names no maximum (RFC 1870 §4).
    pub size: Option<u64>,
    /// `8BITMIME` (RFC 6152).
    pub eight_bit_mime: bool,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `DSN` (RFC 3461).
    pub dsn: bool,
    /// `ENHANCEDSTATUSCODES` (RFC 2034).
    pub enhanced_status: bool,
    /// `STARTTLS` (RFC 3207).
    pub starttls: bool,
    /// `REQUIRETLS` (RFC 8689). It means something only where it is offered under TLS.
    pub require_tls: bool,
    /// `MT-PRIORITY` (RFC 6710), whatever its policy.
    pub mt_priority: bool,
    /// `AUTH` (RFC 4954), and what of it we speak.
    pub auth: Mechanisms,
    /// `LIMITS` (RFC 9422).
    pub limits: Limits,
}

/// SASL mechanisms with which we can log in, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 5802, RFC 7677: also proves that nobody stands between.
    ScramSha256Plus,
    /// RFC 5802, RFC 7677: the password stays with us, and the peer proves that it knows it too.
    ScramSha256,
    /// RFC 4616
    Plain,
    /// What came before PLAIN, and is still all that some offer.
    Login,
}

/// Those of them that a peer offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms([bool; Mechanism::ALL.len()]);

/// What a peer takes at most (RFC 9422 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Recipients in one transaction.
    pub rcptmax: Option<u32>,
    /// Transactions over one connection.
    pub mailmax: Option<u32>,
    /// Different domains among the recipients of one connection.
    pub rcptdomainmax: Option<u32>,
}

impl Extensions {
    /// Notes one line of the answer, without its code: `SIZE 1000`. Keywords are matched in any
    /// case (RFC 5321 §4.1.1.1); what is not known is passed over.
    pub fn note(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let Some(keyword) = words.next() else { return };
        let offered = [
            ("PIPELINING", &mut self.pipelining),
            ("8BITMIME", &mut self.eight_bit_mime),
            ("SMTPUTF8", &mut self.smtputf8),
            ("DSN", &mut self.dsn),
            ("ENHANCEDSTATUSCODES", &mut self.enhanced_status),
            ("STARTTLS", &mut self.starttls),
            ("REQUIRETLS", &mut self.require_tls),
            ("MT-PRIORITY", &mut self.mt_priority),
        ]
        .into_iter()
        .find(|(known, _)| keyword.eq_ignore_ascii_case(known));
        if let Some((_, flag)) = offered {
            *flag = true;
        } else if keyword.eq_ignore_ascii_case("AUTH") {
            words.for_each(|word| self.auth.note(word));
        } else if keyword.eq_ignore_ascii_case("SIZE") {
            // A number that cannot be read is no maximum: the peer still has its say after MAIL.
            self.size = Some(words.next().and_then(|size| size.parse().ok()).unwrap_or(0));
        } else if keyword.eq_ignore_ascii_case("LIMITS") {
            words.for_each(|word| self.limits.note(word));
        }
    }

    /// The largest message the peer takes, where it named one.
    #[must_use]
    pub fn size_limit(&self) -> Option<u64> {
        self.size.filter(|&size| size > 0)
    }
}

impl Mechanism {
    /// Strongest first.
    pub const ALL: [Self; 4] = [
        Self::ScramSha256Plus,
        Self::ScramSha256,
        Self::Plain,
        Self::Login,
    ];

    /// As IANA has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }
}

impl Mechanisms {
    fn note(&mut self, word: &str) {
        for (mechanism, flag) in Mechanism::ALL.into_iter().zip(&mut self.0) {
            *flag |= word.eq_ignore_ascii_case(mechanism.name());
        }
    }

    /// Strongest first.
    pub fn iter(self) -> impl Iterator<Item = Mechanism> {
        let all = Mechanism::ALL.into_iter().zip(self.0);
        all.filter_map(|(mechanism, is_offered)| is_offered.then_some(mechanism))
    }
}

impl Limits {
    /// Notes one `NAME=value`. A maximum has one to six digits and is not zero (RFC 9422 §3);
    /// anything else is no limit.
    fn note(&mut self, word: &str) {
        let Some((name, value)) = word.split_once('=') else {
            return;
        };
        let value = value.parse().ok().filter(|&value| value > 0);
        if name.eq_ignore_ascii_case("RCPTMAX") {
            self.rcptmax = value;
        } else if name.eq_ignore_ascii_case("MAILMAX") {
            self.mailmax = value;
        } else if name.eq_ignore_ascii_case("RCPTDOMAINMAX") {
            self.rcptdomainmax = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(lines: &[&str]) -> Extensions {
        let mut extensions = Extensions::default();
        lines.iter().for_each(|line| extensions.note(line));
        extensions
    }

    #[test]
    fn peer_offers_everything_in_any_case() {
        let all = offered(&[
            "Pipelining",
            "size 1000",
            "8bitmime",
            "SMTPUTF8",
            "dsn",
            "EnhancedStatusCodes",
            "CHUNKING",
            "MT-PRIORITY MIXER",
            "STARTTLS",
            "requiretls",
            "LIMITS rcptmax=50 MAILMAX=3 RCPTDOMAINMAX=1",
            "auth login CRAM-MD5 Plain",
            "AUTH SCRAM-SHA-256",
        ]);
        let auth: Vec<_> = all.auth.iter().collect();
        assert_eq!(
            auth,
            [Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login]
        );
        let limits = Limits {
            rcptmax: Some(50),
            mailmax: Some(3),
            rcptdomainmax: Some(1),
        };
        assert_eq!(
            all,
            Extensions {
                pipelining: true,
                size: Some(1000),
                eight_bit_mime: true,
                smtputf8: true,
                dsn: true,
                enhanced_status: true,
                starttls: true,
                require_tls: true,
                mt_priority: true,
                auth: all.auth,
                limits
            }
        );
    }

    #[test]
    fn peer_names_no_maximum_or_one_that_is_no_number() {
        for line in [
            "SIZE",
            "SIZE 0",
            "SIZE many",
            "SIZE 99999999999999999999999",
        ] {
            let extensions = offered(&[line]);
            assert_eq!(
                (extensions.size, extensions.size_limit()),
                (Some(0), None),
                "{line}"
            );
        }
        assert_eq!(offered(&["SIZE 7"]).size_limit(), Some(7));
    }

    #[test]
    fn peer_offers_things_we_do_not_know() {
        let lines = [
            "",
            " ",
            "X-EXPS GSSAPI",
            "LIMITS",
            "LIMITS RCPTMAX MAILMAX=0",
            "SIZES 4",
            "AUTH",
            "AUTH GSSAPI PLAINER",
        ];
        assert_eq!(offered(&lines), Extensions::default());
    }
}
