//! Who mail that comes in is from: iprev, SPF (RFC 7208), DKIM (RFC 6376), ARC (RFC 8617) and DMARC
//! (RFC 9989), told to whoever reads it in an Authentication-Results field (RFC 8601).
//!
//! ```text
//! content as it arrives ─► Body ─► header, hashes ─┐
//! client, hello, sender ───────────────────────────┴─► Verifier ─► Findings: field, verdicts
//! ```
//!
//! The protocols are those of `mail-auth`. What is asked of them, what they are not believed, and
//! what their answers mean for the message, is decided here.

mod body;
mod field;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{Name, RData, Record};
use mail_auth::common::crypto::Algorithm;
use mail_auth::dkim::DkimError;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    ArcOutput, AuthenticatedMessage, AuthenticationResults, DkimOutput, DkimResult, DmarcOutput,
    DmarcResult, DnsError, Error, IprevOutput, IprevResult, MessageAuthenticator, Parameters,
    SpfOutput, SpfResult,
};

pub use body::{Body, Hashed};
pub use field::strip;

use crate::wire::path::Domain;

/// What is to be found out of one message.
#[derive(Debug)]
pub struct Inquiry {
    /// Our name: whose findings they are.
    pub authority: Arc<str>,
    /// Where the message comes from.
    pub client: IpAddr,
    /// What the client calls itself.
    pub hello: Box<str>,
    /// The reverse path; empty for a report.
    pub sender: Box<str>,
    /// Header and body.
    pub content: Content,
    /// How long it may take. What is not known by then is a temporary error.
    pub wait: Duration,
}

/// Header and body of a message.
#[derive(Debug)]
pub enum Content {
    /// All of it, in wire form.
    Whole(Vec<u8>),
    /// Hashed while it went by.
    Hashed(Hashed),
}

/// One way to find out who a message is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The client's name and its address name each other.
    Iprev,
    /// The sender's domain lets the client send.
    Spf,
    /// A domain has signed it.
    Dkim,
    /// Those who passed it on have sealed what they found.
    Arc,
    /// What was found is the author's domain.
    Dmarc,
}

/// What one method says (RFC 8601 §2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Pass,
    /// No.
    Fail,
    /// Rather not.
    SoftFail,
    /// Nothing either way.
    Neutral,
    /// Nobody has said anything of it.
    None,
    /// It could not be found out now.
    TempError,
    /// It can never be found out.
    PermError,
}

/// What was found.
#[derive(Debug)]
pub struct Findings {
    /// The Authentication-Results field, in wire form.
    pub field: Vec<u8>,
    /// Each verdict; one for each signature.
    pub verdicts: Vec<(Method, Verdict)>,
    /// The domains of signatures that hold.
    pub signers: Vec<String>,
    /// The author's domain, where there is one.
    pub author: String,
    /// Why a message should not be taken, where its author's domain or its form says so.
    pub objection: Option<Objection>,
}

/// Why a message should not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    /// The author's domain wants mail refused that it did not send.
    Policy,
    /// From does not name one author: nobody can be held to it.
    Authors,
    /// Whether its author's domain wants it refused cannot be found out now.
    Unsettled,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Iprev, Self::Spf, Self::Dkim, Self::Arc, Self::Dmarc];

    /// Its name in the field, in the log and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iprev => "iprev",
            Self::Spf => "spf",
            Self::Dkim => "dkim",
            Self::Arc => "arc",
            Self::Dmarc => "dmarc",
        }
    }
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pass,
        Self::Fail,
        Self::SoftFail,
        Self::Neutral,
        Self::None,
        Self::TempError,
        Self::PermError,
    ];

    /// Its name in the field, in the log and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::Neutral => "neutral",
            Self::None => "none",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl Findings {
    /// Nothing could be found out now.
    #[must_use]
    pub fn none_now(authority: &str) -> Self {
        let mut field = format!("Authentication-Results: {authority}");
        for method in FOUND_ALWAYS {
            // Writing to a String does not fail.
            let _ = write!(field, ";\r\n\t{}=temperror", method.name());
        }
        field.push_str("\r\n");
        Self {
            field: field.into_bytes(),
            verdicts: FOUND_ALWAYS
                .map(|method| (method, Verdict::TempError))
                .to_vec(),
            signers: Vec::new(),
            author: String::new(),
            objection: Some(Objection::Unsettled),
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (method, verdict) in &self.verdicts {
            write!(f, "{}={} ", method.name(), verdict.name())?;
        }
        write!(f, "from={}", self.author)
    }
}

/// How often each method has said what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally([[u64; Verdict::ALL.len()]; Method::ALL.len()]);

impl Tally {
    /// Counts what was found of one message.
    pub fn count(&mut self, findings: &Findings) {
        for (method, verdict) in &findings.verdicts {
            self.0[*method as usize][*verdict as usize] += 1;
        }
    }

    /// Adds what another shard has counted.
    pub fn add(&mut self, other: &Self) {
        let counts = self.0.iter_mut().flatten();
        for (count, more) in counts.zip(other.0.iter().flatten()) {
            *count += more;
        }
    }

    /// What was said at least once.
    pub fn iter(&self) -> impl Iterator<Item = (Method, Verdict, u64)> {
        let all = Method::ALL.into_iter();
        let all = all.flat_map(|method| Verdict::ALL.map(|verdict| (method, verdict)));
        all.map(|(method, verdict)| (method, verdict, self.0[method as usize][verdict as usize]))
            .filter(|(.., count)| *count > 0)
    }
}

/// Finds out, by asking the DNS.
#[derive(Clone)]
pub struct Verifier(MessageAuthenticator);

/// What each method has said.
struct Said<'m> {
    iprev: IprevOutput,
    spf: SpfOutput,
    dkim: Vec<DkimOutput<'m>>,
    arc: ArcOutput<'m>,
    dmarc: DmarcOutput,
}

impl Verifier {
    /// Asks this resolver.
    #[must_use]
    pub fn new(resolver: TokioResolver) -> Self {
        Self(MessageAuthenticator(resolver))
    }

    /// Finds out what is known of a message until `deadline`. `hashed` is its content: to hash it
    /// takes long, and is done by the caller where it holds nobody up.
    pub async fn verify(&self, inquiry: &Inquiry, hashed: &Hashed, deadline: Instant) -> Findings {
        let Some(mut message) = hashed.parsed() else {
            let nothing = AuthenticatedMessage::default();
            let said = self.ask(inquiry, &nothing, Vec::new(), deadline).await;
            return findings(inquiry, &nothing, &said);
        };
        let unbelieved = withdraw(&mut message);
        let refused = unbelieved.iter().map(|signature| {
            DkimOutput::perm_err(Error::Dkim(DkimError::UnsupportedAlgorithm))
                .with_signature(signature)
        });
        let said = self
            .ask(inquiry, &message, refused.collect(), deadline)
            .await;
        findings(inquiry, &message, &said)
    }

    async fn spf(&self, inquiry: &Inquiry, sender: &Sender) -> SpfOutput {
        // `mail-auth` takes the first of several policies; none of them counts (RFC 7208 §4.5).
        let name = Name::from_ascii(format!("{}.", sender.domain));
        if let Ok(name) = name
            && let Ok(found) = self.0.resolver().txt_lookup(name).await
            && found
                .answers()
                .iter()
                .filter(|record| is_policy(record))
                .count()
                > 1
        {
            return SpfOutput::new(sender.domain.clone()).with_result(SpfResult::PermError);
        }
        self.0.verify_spf(sender.spf(inquiry)).await
    }

    async fn ask<'m>(
        &self,
        inquiry: &'m Inquiry,
        message: &'m AuthenticatedMessage<'m>,
        mut dkim: Vec<DkimOutput<'m>>,
        deadline: Instant,
    ) -> Said<'m> {
        let last = tokio::time::Instant::from_std(deadline);
        // Whoever writes a message chooses whose name servers are asked, and for how long: there has
        // to be time left for those of the author's domain, which say what it wants.
        let until = last - inquiry.wait / 3;
        let sender = Sender::of(inquiry);
        let (iprev, spf, signatures, arc) = futures_util::join!(
            tokio::time::timeout_at(until, self.0.verify_iprev(inquiry.client)),
            tokio::time::timeout_at(until, self.spf(inquiry, &sender)),
            tokio::time::timeout_at(until, self.0.verify_dkim(message)),
            tokio::time::timeout_at(until, self.0.verify_arc(message)),
        );
        let iprev = iprev.unwrap_or_else(|_| IprevOutput {
            result: IprevResult::TempError(overdue()),
            ptr: None,
        });
        let spf = spf.unwrap_or_else(|_| {
            SpfOutput::new(sender.domain.clone()).with_result(SpfResult::TempError)
        });
        dkim.extend(signatures.unwrap_or_else(|_| {
            let late = |header: &'m mail_auth::common::headers::Header<'m, _>| {
                DkimOutput::temp_err(overdue()).with_signature(&header.header)
            };
            message.dkim_headers.iter().map(late).collect()
        }));
        let arc = arc
            .unwrap_or_else(|_| ArcOutput::default().with_result(DkimResult::TempError(overdue())));
        let dmarc = DmarcParameters::new(message, &dkim, &sender.domain, &spf);
        let dmarc = self.0.verify_dmarc(Parameters::new(dmarc));
        let dmarc = tokio::time::timeout_at(last, dmarc).await;
        let dmarc = dmarc.unwrap_or_else(|_| {
            DmarcOutput::new(author_domain(message))
                .with_spf_result(DmarcResult::TempError(overdue()))
        });
        Said {
            iprev,
            spf,
            dkim,
            arc,
            dmarc,
        }
    }
}

/// A policy of SPF (RFC 7208 §4.5).
fn is_policy(record: &Record) -> bool {
    let RData::TXT(text) = &record.data else {
        return false;
    };
    let text = text.txt_data.concat();
    let rest = text.get(SPF.len()..).unwrap_or_default();
    text.get(..SPF.len())
        .is_some_and(|begins| begins.eq_ignore_ascii_case(SPF))
        && rest.first().is_none_or(|octet| *octet == b' ')
}

/// Whom SPF asks for: the domain of the reverse path, or of the hello where it is empty
/// (RFC 7208 §2.4).
struct Sender {
    /// In ASCII.
    path: String,
    /// A-labels.
    domain: String,
}

impl Sender {
    fn of(inquiry: &Inquiry) -> Self {
        let (local, domain) = inquiry.sender.rsplit_once('@').unwrap_or_default();
        if domain.is_empty() {
            return Self {
                path: String::new(),
                domain: inquiry.hello.to_string(),
            };
        }
        let domain = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned());
        // A local part in UTF-8 would make the field 8-bit; its domain says enough.
        let path = if local.is_ascii() {
            format!("{local}@{domain}")
        } else {
            domain.clone()
        };
        Self { path, domain }
    }

    fn spf<'s>(&'s self, inquiry: &'s Inquiry) -> SpfParameters<'s> {
        let (client, hello, here) = (inquiry.client, &*inquiry.hello, &*inquiry.authority);
        if self.path.is_empty() {
            SpfParameters::verify_ehlo(client, hello, here)
        } else {
            SpfParameters::verify_mail_from(client, hello, here, &self.path)
        }
    }
}

/// Takes out the signatures that are not even looked at: those of rsa-sha1, which proves nothing
/// any more (RFC 8301 §3.1), and those beyond the bound. The former are returned.
fn withdraw(message: &mut AuthenticatedMessage<'_>) -> Vec<mail_auth::dkim::Signature> {
    message.dkim_headers.truncate(SIGNATURES_MAX);
    message.errors.truncate(SIGNATURES_MAX);
    let mut withdrawn = Vec::new();
    message.dkim_headers.retain(|header| {
        let is_weak = header.header.a == Algorithm::RsaSha1;
        if is_weak {
            withdrawn.push(header.header.clone());
        }
        !is_weak
    });
    withdrawn
}

fn findings(inquiry: &Inquiry, message: &AuthenticatedMessage<'_>, said: &Said<'_>) -> Findings {
    let mut verdicts = vec![
        (Method::Iprev, iprev_verdict(&said.iprev.result)),
        (Method::Spf, spf_verdict(said.spf.result())),
    ];
    verdicts.extend(
        said.dkim
            .iter()
            .map(|output| (Method::Dkim, dkim_verdict(output.result()))),
    );
    if said.dkim.is_empty() {
        verdicts.push((Method::Dkim, Verdict::None));
    }
    let dmarc = dmarc_verdict(&said.dmarc.result());
    verdicts.push((Method::Arc, dkim_verdict(said.arc.result())));
    verdicts.push((Method::Dmarc, dmarc));
    let objection = match dmarc {
        _ if !has_one_author(message) => Some(Objection::Authors),
        Verdict::Fail if said.dmarc.policy() == Policy::Reject => Some(Objection::Policy),
        Verdict::TempError if said.dmarc.policy() == Policy::Reject => Some(Objection::Unsettled),
        _ => None,
    };
    Findings {
        field: written(inquiry, said),
        verdicts,
        signers: signers(said),
        author: author_domain(message),
        objection,
    }
}

/// The domains of signatures that hold (RFC 6376 §3.5, `d=`).
fn signers(said: &Said<'_>) -> Vec<String> {
    let held = said.dkim.iter();
    let held = held.filter(|output| dkim_verdict(output.result()) == Verdict::Pass);
    let domains = held.filter_map(|output| output.signature());
    domains
        .map(|signature| signature.d.to_ascii_lowercase())
        .collect()
}

/// The field (RFC 8601 §2.2).
fn written(inquiry: &Inquiry, said: &Said<'_>) -> Vec<u8> {
    let sender = Sender::of(inquiry);
    let mut results = AuthenticationResults::new(&inquiry.authority)
        .with_iprev_result(&said.iprev, inquiry.client);
    // A name in UTF-8 is none that may stand here.
    let hello: String = inquiry.hello.chars().filter(char::is_ascii).collect();
    results = if sender.path.is_empty() {
        results.with_spf_ehlo_result(&said.spf, inquiry.client, &hello)
    } else {
        results.with_spf_mailfrom_result(&said.spf, inquiry.client, &sender.path, &hello)
    };
    results = results.with_dkim_results(&said.dkim, said.dmarc.domain());
    if *said.arc.result() != DkimResult::None {
        results = results.with_arc_result(&said.arc, inquiry.client);
    }
    let has_author = !said.dmarc.domain().is_empty();
    if has_author {
        results = results.with_dmarc_result(&said.dmarc);
    }
    let mut field = format!("Authentication-Results: {results}");
    if said.dkim.is_empty() {
        field.push_str(";\r\n\tdkim=none");
    }
    if !has_author {
        field.push_str(";\r\n\tdmarc=none");
    }
    field.push_str("\r\n");
    // What is left of UTF-8 are names of signers that should have been A-labels.
    let octets = field.bytes();
    octets
        .map(|octet| if octet.is_ascii() { octet } else { b'?' })
        .collect()
}

/// The domain of the author: where there are several, of the first.
fn author_domain(message: &AuthenticatedMessage<'_>) -> String {
    let author = message.from.first().and_then(|from| domain_of(from));
    author.unwrap_or_default()
}

/// Is From there exactly once, and does it name one domain that can be asked? DMARC exempts other
/// messages, and their readers see whichever author they see.
fn has_one_author(message: &AuthenticatedMessage<'_>) -> bool {
    let from = |(name, _): &&(&[u8], &[u8])| name.trim_ascii_end().eq_ignore_ascii_case(b"From");
    let mut domains = message.from.iter().map(|from| domain_of(from));
    let first = domains.next().flatten();
    message.headers.iter().filter(from).count() == 1
        && first.is_some()
        && domains.all(|other| other == first)
}

/// In A-labels. Quoted in a log, it must not break the line.
fn domain_of(address: &str) -> Option<String> {
    let (_, domain) = address.rsplit_once('@')?;
    let domain = idna::domain_to_ascii(domain).ok()?;
    Domain::parse(domain.as_bytes(), false).ok()?;
    Some(domain)
}

fn overdue() -> Error {
    Error::Dns(DnsError::Resolver("no answer in time".to_owned()))
}

const fn iprev_verdict(result: &IprevResult) -> Verdict {
    match result {
        IprevResult::Pass => Verdict::Pass,
        IprevResult::Fail(_) => Verdict::Fail,
        IprevResult::TempError(_) => Verdict::TempError,
        IprevResult::PermError(_) => Verdict::PermError,
        IprevResult::None => Verdict::None,
    }
}

const fn spf_verdict(result: SpfResult) -> Verdict {
    match result {
        SpfResult::Pass => Verdict::Pass,
        SpfResult::Fail => Verdict::Fail,
        SpfResult::SoftFail => Verdict::SoftFail,
        SpfResult::Neutral => Verdict::Neutral,
        SpfResult::TempError => Verdict::TempError,
        SpfResult::PermError => Verdict::PermError,
        SpfResult::None => Verdict::None,
    }
}

const fn dkim_verdict(result: &DkimResult) -> Verdict {
    match result {
        DkimResult::Pass => Verdict::Pass,
        DkimResult::Neutral(_) => Verdict::Neutral,
        DkimResult::Fail(_) => Verdict::Fail,
        DkimResult::PermError(_) => Verdict::PermError,
        DkimResult::TempError(_) => Verdict::TempError,
        DkimResult::None => Verdict::None,
    }
}

const fn dmarc_verdict(result: &DmarcResult) -> Verdict {
    match result {
        DmarcResult::Pass => Verdict::Pass,
        DmarcResult::Fail(_) => Verdict::Fail,
        DmarcResult::TempError(_) => Verdict::TempError,
        DmarcResult::PermError(_) => Verdict::PermError,
        DmarcResult::None => Verdict::None,
    }
}

/// How a policy of SPF begins.
const SPF: &[u8] = b"v=spf1";
/// What the field says something of, whatever the message is like.
const FOUND_ALWAYS: [Method; 4] = [Method::Iprev, Method::Spf, Method::Dkim, Method::Dmarc];
/// Signatures of one message that are looked at: each costs a question to the DNS, and whoever
/// writes the message chooses whom we ask (RFC 6376 §8.4).
const SIGNATURES_MAX: usize = 10;
