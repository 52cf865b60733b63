//! What a receiver would find: the message is signed as it would leave, and the DNS is asked.

use std::net::IpAddr;

use hickory_resolver::TokioResolver;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DmarcOutput, DmarcResult, DnsError, Error,
    IprevResult, MessageAuthenticator, Parameters, SpfOutput, SpfResult,
};

use super::form::LINE_OCTETS_MAX;
use super::{Finding, Rule, form, named};
use crate::dkim::{Signers, trimmed};

/// How a message would travel.
#[derive(Debug)]
pub struct Journey<'a> {
    /// Header and body as they are read, lines ended with CRLF.
    pub message: &'a [u8],
    /// Who signs.
    pub signers: &'a Signers,
    /// The reverse path; empty for a report.
    pub sender: &'a str,
    /// Where it may leave from.
    pub origins: &'a [Origin],
    /// Whether it leaves encrypted where it can.
    pub encrypts: bool,
}

/// Addresses that mail leaves from, and what we call ourselves there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// What the configuration calls it.
    pub whose: String,
    /// None: the kernel chooses, and nobody knows which.
    pub addresses: Vec<IpAddr>,
    /// What EHLO says.
    pub helo: String,
}

/// Looks at everything that the rules are about.
pub async fn look(journey: &Journey<'_>, resolver: TokioResolver) -> Vec<Finding> {
    let message = journey.message;
    let end = memchr::memmem::find(message, b"\r\n\r\n").map_or(message.len(), |at| at + 4);
    let mut findings = form(&message[..end], journey.signers);
    if let Some(finding) = long_line(&message[end..]) {
        findings.push(finding);
    }
    let asked = Asked {
        dns: MessageAuthenticator(resolver),
        journey,
    };
    let fields = journey.signers.sign(message).unwrap_or_default();
    let signed = [&fields, trimmed(message)].concat();
    if let Some(parsed) = AuthenticatedMessage::parse(&signed) {
        // Signatures that were there before say nothing of ours.
        let ours = count_fields(&fields);
        let mut dkim = asked.dns.verify_dkim(&parsed).await;
        dkim.retain(|output| output.signature().is_some());
        dkim.truncate(ours);
        findings.extend(dkim.iter().map(signature));
        let spf = asked.spf(&mut findings).await;
        asked.dmarc(&parsed, &dkim, &spf, &mut findings).await;
    }
    asked.ptr(&mut findings).await;
    for origin in journey.origins {
        findings.push(asked.helo(origin).await);
    }
    findings.push(tls(journey.encrypts));
    findings
}

struct Asked<'a> {
    dns: MessageAuthenticator,
    journey: &'a Journey<'a>,
}

impl Journey<'_> {
    /// Each address that it may leave from, and what EHLO says there.
    fn sources(&self) -> impl Iterator<Item = (IpAddr, &str)> {
        let origins = self.origins.iter();
        origins.flat_map(|origin| {
            let addresses = origin.addresses.iter();
            addresses.map(|address| (*address, &*origin.helo))
        })
    }
}

impl Asked<'_> {
    /// One finding for each source; what one of them, the worst, came to.
    async fn spf(&self, findings: &mut Vec<Finding>) -> SpfOutput {
        let sender = self.journey.sender;
        let first = self.journey.origins.first();
        let usual = first.map_or("", |origin| &origin.helo);
        let domain = sender.rsplit_once('@').map_or(usual, |(_, domain)| domain);
        let mut worst = None;
        for (source, helo) in self.journey.sources() {
            let domain = sender.rsplit_once('@').map_or(helo, |(_, domain)| domain);
            let parameters = if sender.is_empty() {
                SpfParameters::verify_ehlo(source, helo, helo)
            } else {
                SpfParameters::verify_mail_from(source, helo, helo, sender)
            };
            let output = self.dns.verify_spf(parameters).await;
            let remedy = format!("add ip4: or ip6: with {source} to the SPF record of {domain}");
            findings.push(match output.result() {
                SpfResult::Pass => Finding::ok(Rule::Spf, format!("{domain} lets {source} send")),
                SpfResult::TempError => unknown(Rule::Spf, domain),
                SpfResult::None => Finding::fail(
                    Rule::Spf,
                    format!("{domain} has no SPF record"),
                    format!("publish one that has {source}"),
                ),
                SpfResult::PermError => Finding::fail(
                    Rule::Spf,
                    format!("the SPF record of {domain} cannot be followed"),
                    "mend it: its form, or more than 10 look-ups (RFC 7208 §4.6.4)",
                ),
                SpfResult::Fail | SpfResult::SoftFail | SpfResult::Neutral => Finding::fail(
                    Rule::Spf,
                    format!("{domain} does not let {source} send"),
                    remedy,
                ),
            });
            if worst.is_none() || output.result() != SpfResult::Pass {
                worst = Some(output);
            }
        }
        worst.unwrap_or_else(|| {
            findings.push(no_source(Rule::Spf));
            SpfOutput::new(domain.to_owned())
        })
    }

    async fn dmarc(
        &self,
        parsed: &AuthenticatedMessage<'_>,
        dkim: &[DkimOutput<'_>],
        spf: &SpfOutput,
        findings: &mut Vec<Finding>,
    ) {
        let parameters = DmarcParameters::new(parsed, dkim, spf.domain(), spf);
        let output = self.dns.verify_dmarc(Parameters::new(parameters)).await;
        let author = output.domain();
        let Some(record) = output.dmarc_record() else {
            let is_known = !matches!(output.result(), DmarcResult::TempError(_));
            findings.push(if !is_known {
                unknown(Rule::Dmarc, &format!("_dmarc.{author}"))
            } else {
                Finding::fail(
                    Rule::Dmarc,
                    format!("{author} has no DMARC record"),
                    format!("publish _dmarc.{author} TXT \"v=DMARC1; p=none; rua=mailto:...\""),
                )
            });
            return;
        };
        let policy = match output.policy() {
            Policy::Reject => "reject",
            Policy::Quarantine => "quarantine",
            Policy::None | Policy::Unspecified => "none",
        };
        findings.push(if record.rua.is_empty() {
            Finding::warn(
                Rule::Dmarc,
                format!("{author} has p={policy} and asks for no reports"),
                "add rua=mailto:... to hear who sends in its name",
            )
        } else {
            Finding::ok(Rule::Dmarc, format!("{author} has p={policy}"))
        });
        findings.push(alignment(&output));
    }

    async fn ptr(&self, findings: &mut Vec<Finding>) {
        let mut sources = self.journey.sources().peekable();
        if sources.peek().is_none() {
            findings.push(no_source(Rule::Ptr));
        }
        for (source, _) in sources {
            let found = self.dns.verify_iprev(source).await;
            let names = found.ptr.as_deref().unwrap_or_default();
            findings.push(match found.result {
                IprevResult::TempError(_) => unknown(Rule::Ptr, &source.to_string()),
                result => named(source, names, result == IprevResult::Pass),
            });
        }
    }

    async fn helo(&self, origin: &Origin) -> Finding {
        let Origin {
            whose,
            addresses,
            helo,
        } = origin;
        let dns = &self.dns;
        let v4 = dns.resolver().ipv4_lookup(format!("{helo}.")).await;
        let v6 = dns.resolver().ipv6_lookup(format!("{helo}.")).await;
        let answers = v4.iter().chain(&v6).flat_map(|lookup| lookup.answers());
        let found: Vec<IpAddr> = answers.filter_map(|record| record.data.ip_addr()).collect();
        let remedy = match whose.starts_with("[[") {
            true => "set its helo to a name of its addresses",
            false => "set [delivery] helo, or hostname, to a name of the source addresses",
        };
        if found.is_empty() {
            let found = format!("{whose}: {helo} has no address");
            return Finding::warn(Rule::Helo, found, remedy);
        }
        // One name for all addresses of [delivery] may be that of one of them only.
        let has = |source: &IpAddr| found.contains(source);
        let is_named = match whose.starts_with("[[") {
            true => addresses.iter().all(has),
            false => addresses.is_empty() || addresses.iter().any(has),
        };
        if !is_named {
            let missing = addresses.iter().filter(|source| !has(source));
            let missing: Vec<String> = missing.map(ToString::to_string).collect();
            let found = format!("{whose}: {helo} does not have {}", missing.join(", "));
            return Finding::warn(Rule::Helo, found, remedy);
        }
        Finding::ok(Rule::Helo, format!("{whose}: {helo}"))
    }
}

fn signature(output: &DkimOutput<'_>) -> Finding {
    let name = output.signature().map_or_else(String::new, |signature| {
        format!("{}._domainkey.{}", signature.s, signature.d)
    });
    let publish = "publish what `ringpost dkim show` prints";
    match output.result() {
        DkimResult::Pass => Finding::ok(Rule::Dkim, format!("{name} has our key")),
        DkimResult::TempError(_) => unknown(Rule::Dkim, &name),
        DkimResult::PermError(Error::Dns(DnsError::RecordNotFound(_))) => {
            Finding::fail(Rule::Dkim, format!("{name} is not in the DNS"), publish)
        }
        DkimResult::Fail(_) => {
            Finding::fail(Rule::Dkim, format!("{name} has another key"), publish)
        }
        _ => Finding::fail(Rule::Dkim, format!("{name} is no usable record"), publish),
    }
}

fn alignment(output: &DmarcOutput) -> Finding {
    let author = output.domain();
    let by_dkim = *output.dkim_result() == DmarcResult::Pass;
    let by_spf = *output.spf_result() == DmarcResult::Pass;
    match (by_dkim, by_spf) {
        (true, true) => Finding::ok(Rule::Alignment, format!("DKIM and SPF prove {author}")),
        (true, false) => Finding::ok(Rule::Alignment, format!("DKIM proves {author}")),
        (false, true) => Finding::warn(
            Rule::Alignment,
            format!("only SPF proves {author}: forwarded mail will fail"),
            "sign with a key of that domain",
        ),
        (false, false) => Finding::fail(
            Rule::Alignment,
            format!("nothing proves {author}"),
            "sign with a key of that domain, and send with a reverse path of it",
        ),
    }
}

fn tls(encrypts: bool) -> Finding {
    if encrypts {
        return Finding::ok(Rule::Tls, "used where hosts offer it");
    }
    Finding::fail(
        Rule::Tls,
        "mail leaves in plain",
        "set tls = \"opportunistic\" under [delivery]",
    )
}

fn long_line(body: &[u8]) -> Option<Finding> {
    let mut lines = body.split(|octet| *octet == b'\n');
    // The CR is one more.
    lines.any(|line| line.len() > LINE_OCTETS_MAX + 1).then(|| {
        Finding::fail(
            Rule::Lines,
            format!("a line of the body has more than {LINE_OCTETS_MAX} octets"),
            "encode it as quoted-printable or base64",
        )
    })
}

fn unknown(rule: Rule, name: &str) -> Finding {
    let found = format!("{name} could not be looked up now");
    Finding::warn(rule, found, "try again; ask your name server")
}

fn no_source(rule: Rule) -> Finding {
    Finding::warn(
        rule,
        "the kernel chooses the source address",
        "name it with --source, or under [delivery] source",
    )
}

/// How many fields begin here.
fn count_fields(fields: &[u8]) -> usize {
    let lines = fields.split(|octet| *octet == b'\n');
    lines
        .filter(|line| line.first().is_some_and(|octet| !b" \t".contains(octet)))
        .count()
}
