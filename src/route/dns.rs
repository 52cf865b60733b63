//! Questions to the DNS and what they mean to a mailer, without a resolver.

use std::net::IpAddr;
use std::time::Duration;

/// One question. Names are absolute, lower-case, without the last dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name asked for.
    pub name: Box<str>,
    /// The kind of record.
    pub kind: Kind,
}

/// The kinds of record a relay asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Mail exchangers.
    Mx,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// What a TLS server's certificate is to be (RFC 6698).
    Tlsa,
    /// Texts.
    Txt,
    /// Names of an address.
    Ptr,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// What the DNS said.
    pub answer: Answer,
    /// True when DNSSEC vouches for the records, and for each alias on the way to them. Never true
    /// of an answer without records.
    pub is_secure: bool,
    /// The names that DNSSEC vouches for on the way to the records, the last alias first and the
    /// name that was asked for last: under which of them TLSA records may stand (RFC 7671 §7). The
    /// name that was asked for can be here alone, when its alias leads out of what is secure.
    pub secure_names: Vec<Box<str>>,
}

impl From<Answer> for Response {
    /// An answer that nothing vouches for.
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            is_secure: false,
            secure_names: Vec::new(),
        }
    }
}

/// What the DNS said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Records of the kind asked for, and how long they hold.
    Records(Records, Duration),
    /// The name is there, this kind of record is not (NODATA).
    NoData(Duration),
    /// There is no such name (NXDOMAIN).
    NoName(Duration),
    /// No answer that can be relied on: SERVFAIL, time-out, no server. The reason, for the log.
    Failure(Box<str>),
    /// The name can never be resolved (a CNAME loop, a label too long). The reason.
    Broken(Box<str>),
}

/// The records of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Preference and exchange, in no order. A null MX (RFC 7505) is one with an empty exchange.
    Mx(Vec<(u16, Box<str>)>),
    /// Addresses, of the family asked for.
    Addresses(Vec<IpAddr>),
    /// What the certificate is to be; one that fits is enough.
    Tlsa(Vec<Tlsa>),
    /// Texts, each put together from its strings.
    Texts(Vec<Box<str>>),
    /// Names that an address has.
    Names(Vec<Box<str>>),
}

/// What a server's certificate, or that of its authority, is to be (RFC 6698 §2.1). The numbers
/// are those of the record: what they mean, and whether we can go by it, is `tls::dane`'s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlsa {
    /// Which certificate of the chain is meant, and what else it must stand up to.
    pub usage: u8,
    /// The whole certificate, or its public key.
    pub selector: u8,
    /// As it is, or a hash of it.
    pub matching: u8,
    /// What it is compared with.
    pub data: Box<[u8]>,
}
