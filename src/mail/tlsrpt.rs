//! Reports about TLS from domain to domain (RFC 8460): what is counted, the JSON that is sent, and
//! the mail that carries it. Pure.

use std::collections::BTreeMap;

use mail_builder::MessageBuilder;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::MimePart;
use serde::{Deserialize, Serialize};

use crate::wire::codec;
use crate::wire::path::Mailbox;

/// What came of TLS with one host, over one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The recipients' domain.
    pub domain: Box<str>,
    /// What it has published.
    pub policy: Policy,
    /// `None`: TLS as the policy wants it.
    pub failure: Option<Failure>,
}

/// What a domain has published (RFC 8460 §4.4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Policy {
    /// `tlsa`, `sts` or `no-policy-found`.
    pub policy_type: String,
    /// The policy, line by line, or the TLSA records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_string: Vec<String>,
    /// The domain.
    pub policy_domain: String,
    /// The hosts that a policy names, or the one that TLSA records are of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mx_host: Vec<String>,
}

/// Why a session was not as it should be (RFC 8460 §4.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// As RFC 8460 §4.3 names it.
    pub result_type: String,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending_mta_ip: Option<String>,
    /// To which host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving_mx_hostname: Option<String>,
    /// At which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving_ip: Option<String>,
    /// In other words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason_code: Option<String>,
}

/// Sessions of one period, by domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    domains: BTreeMap<String, Vec<Counted>>,
}

/// Sessions under one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    policy: Policy,
    successful: u64,
    failed: u64,
    failures: Vec<(Failure, u64)>,
}

impl Sessions {
    /// Counts a session. What goes beyond a bound is counted without its details, or not at all
    /// where the domain is new.
    pub fn add(&mut self, session: Session) {
        let known = self.domains.contains_key(&*session.domain);
        if !known && self.domains.len() >= DOMAINS_MAX {
            return;
        }
        let policies = self.domains.entry(session.domain.into()).or_default();
        let place = policies
            .iter()
            .position(|counted| counted.policy == session.policy);
        let place = match place {
            Some(place) => place,
            None if policies.len() >= POLICIES_MAX => return,
            None => {
                policies.push(Counted {
                    policy: session.policy,
                    successful: 0,
                    failed: 0,
                    failures: Vec::new(),
                });
                policies.len() - 1
            }
        };
        let counted = &mut policies[place];
        let Some(failure) = session.failure else {
            counted.successful += 1;
            return;
        };
        counted.failed += 1;
        let is_full = counted.failures.len() >= FAILURES_MAX;
        let known = counted.failures.iter_mut().find(|(one, _)| *one == failure);
        match known {
            Some((_, count)) => *count += 1,
            None if is_full => {}
            None => counted.failures.push((failure, 1)),
        }
    }

    /// The domains that there is something to tell.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.keys().map(String::as_str)
    }

    /// Nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// The report to a domain, as JSON (RFC 8460 §4.4).
    #[must_use]
    pub fn report(&self, domain: &str, about: &About<'_>) -> Option<String> {
        let policies = self.domains.get(domain)?;
        let report = Report {
            organization_name: about.organization,
            date_range: DateRange {
                start_datetime: codec::rfc3339_date(about.start),
                // The period's last second.
                end_datetime: codec::rfc3339_date(about.end - 1),
            },
            contact_info: about.contact,
            report_id: about.report_id,
            policies: policies.iter().map(Told::of).collect(),
        };
        serde_json::to_string_pretty(&report).ok()
    }
}

/// What stands around the counts of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About<'a> {
    /// Who reports.
    pub organization: &'a str,
    /// Whom to ask about it.
    pub contact: &'a str,
    /// Names the report.
    pub report_id: &'a str,
    /// Seconds since 1970.
    pub start: i64,
    /// The second after the last one.
    pub end: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'a> {
    organization_name: &'a str,
    date_range: DateRange,
    contact_info: &'a str,
    report_id: &'a str,
    policies: Vec<Told<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct DateRange {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Told<'a> {
    policy: &'a Policy,
    summary: Summary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failure_details: Vec<Detail<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    total_successful_session_count: u64,
    total_failure_session_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Detail<'a> {
    #[serde(flatten)]
    failure: &'a Failure,
    failed_session_count: u64,
}

impl<'a> Told<'a> {
    fn of(counted: &'a Counted) -> Self {
        let details = counted.failures.iter();
        Self {
            policy: &counted.policy,
            summary: Summary {
                total_successful_session_count: counted.successful,
                total_failure_session_count: counted.failed,
            },
            failure_details: details
                .map(|(failure, count)| Detail {
                    failure,
                    failed_session_count: *count,
                })
                .collect(),
        }
    }
}

/// Where a domain wants its reports (RFC 8460 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// By mail.
    Mail(Box<str>),
    /// By POST: the host and the path.
    Web(Box<str>, Box<str>),
}

fn trimmed(field: &str) -> &str {
    field.trim_matches([' ', '\t'])
}

/// Reads the TXT records of `_smtp._tls.DOMAIN`. Several records are none.
#[must_use]
pub fn destinations<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Destination> {
    let of_version = |text: &&str| {
        let version = text.split(';').next().map(trimmed);
        version == Some("v=TLSRPTv1")
    };
    let mut records = texts.into_iter().filter(of_version);
    let (Some(record), None) = (records.next(), records.next()) else {
        return Vec::new();
    };
    let mut fields = record.split(';').skip(1).map(trimmed);
    let rua = fields.find_map(|field| field.strip_prefix("rua="));
    let uris = rua
        .into_iter()
        .flat_map(|uris| uris.split(','))
        .map(trimmed);
    uris.filter_map(destination)
        .take(DESTINATIONS_MAX)
        .collect()
}

fn destination(uri: &str) -> Option<Destination> {
    // RFC 3986 §2: blanks, and what is no ASCII, are percent-encoded in a URI.
    if !uri.bytes().all(|octet| octet.is_ascii_graphic()) {
        return None;
    }
    let starts = |scheme: &str| {
        let (start, rest) = uri.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    if let Some(address) = starts("mailto:") {
        let address = address.split('?').next().unwrap_or_default();
        let mailbox = Mailbox::parse(address.as_bytes(), false).ok()?;
        return Some(Destination::Mail(mailbox.as_str().into()));
    }
    let rest = starts("https://")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-.".contains(&octet);
    let is_host = !host.is_empty() && host.bytes().all(is_plain);
    let path = if path.is_empty() { "/" } else { path };
    is_host.then(|| Destination::Web(host.into(), path.into()))
}

/// A report on its way by mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letter<'a> {
    /// What the report says of itself.
    pub about: About<'a>,
    /// The domain that it is about.
    pub domain: &'a str,
    /// Whose name the relay has.
    pub hostname: &'a str,
    /// Whom it is for.
    pub to: &'a str,
    /// When it is written: seconds since 1970.
    pub now: i64,
    /// The report, compressed.
    pub gzip: &'a [u8],
}

impl Letter<'_> {
    /// The message (RFC 8460 §5.3), with CRLF line ends.
    #[must_use]
    pub fn compose(&self) -> Vec<u8> {
        let (id, contact) = (self.about.report_id, self.about.contact);
        let (domain, hostname) = (self.domain, self.hostname);
        let words = format!(
            "This is an aggregate report about TLS between {hostname}\r\n\
             and the hosts of {domain}. Questions about it: {contact}\r\n"
        );
        let report = MimePart::new("application/tlsrpt+gzip", self.gzip).attachment(file_name(
            hostname,
            domain,
            &self.about,
        ));
        let kind = ContentType::new("multipart/report").attribute("report-type", "tlsrpt");
        let body = MimePart::new(kind, vec![MimePart::new("text/plain", words), report]);
        let raw = |text: String| Raw::new(text);
        let message = MessageBuilder::new()
            .date(self.now)
            .from(contact)
            .to(self.to)
            .header(
                "Subject",
                raw(format!(
                    "Report Domain: {domain} Submitter: {hostname} Report-ID: <{id}>"
                )),
            )
            .message_id(format!("{id}@{hostname}"))
            .header("TLS-Report-Domain", raw(domain.to_owned()))
            .header("TLS-Report-Submitter", raw(hostname.to_owned()))
            // A report about broken TLS must not wait until it is mended (RFC 8689 §5).
            .header("TLS-Required", raw("No".to_owned()))
            .header("Auto-Submitted", raw("auto-generated".to_owned()))
            .body(body);
        // Writing to a Vec does not fail.
        message.write_to_vec().unwrap_or_default()
    }
}

/// RFC 8460 §5.1
fn file_name(hostname: &str, domain: &str, about: &About<'_>) -> String {
    let (start, end) = (about.start, about.end - 1);
    format!("{hostname}!{domain}!{start}!{end}.json.gz")
}

/// Domains of a period; some hundred octets each.
const DOMAINS_MAX: usize = 10_000;
/// Policies of a domain in a period: a change or two.
const POLICIES_MAX: usize = 8;
/// Kinds of failures under one policy that are told apart.
const FAILURES_MAX: usize = 64;
/// Places that a domain's report is sent to.
const DESTINATIONS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn session(domain: &str, failure: Option<&str>) -> Session {
        Session {
            domain: domain.into(),
            policy: Policy {
                policy_type: "sts".to_owned(),
                policy_string: vec!["version: STSv1".to_owned(), "mode: testing".to_owned()],
                policy_domain: domain.to_owned(),
                mx_host: vec!["*.d.test".to_owned()],
            },
            failure: failure.map(|result| Failure {
                result_type: result.to_owned(),
                sending_mta_ip: Some("192.0.2.1".to_owned()),
                receiving_mx_hostname: Some("mx1.d.test".to_owned()),
                receiving_ip: Some("192.0.2.2".to_owned()),
                failure_reason_code: None,
            }),
        }
    }

    const ABOUT: About<'_> = About {
        organization: "Example",
        contact: "tls@relay.test",
        report_id: "1-d.test",
        start: 1_772_323_200,
        end: 1_772_409_600,
    };

    #[test]
    fn a_report_has_the_shape_of_rfc_8460() {
        let mut sessions = Sessions::default();
        for failure in [
            None,
            None,
            Some("certificate-expired"),
            Some("certificate-expired"),
        ] {
            sessions.add(session("d.test", failure));
        }
        let report = sessions.report("d.test", &ABOUT).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let expected = serde_json::json!({
            "organization-name": "Example",
            "date-range": {
                "start-datetime": "2026-03-01T00:00:00Z",
                "end-datetime": "2026-03-01T23:59:59Z",
            },
            "contact-info": "tls@relay.test",
            "report-id": "1-d.test",
            "policies": [{
                "policy": {
                    "policy-type": "sts",
                    "policy-string": ["version: STSv1", "mode: testing"],
                    "policy-domain": "d.test",
                    "mx-host": ["*.d.test"],
                },
                "summary": {
                    "total-successful-session-count": 2,
                    "total-failure-session-count": 2,
                },
                "failure-details": [{
                    "result-type": "certificate-expired",
                    "sending-mta-ip": "192.0.2.1",
                    "receiving-mx-hostname": "mx1.d.test",
                    "receiving-ip": "192.0.2.2",
                    "failed-session-count": 2,
                }],
            }],
        });
        assert_eq!(report, expected);
        assert_eq!(sessions.report("e.test", &ABOUT), None);
    }

    #[test]
    fn a_hostile_day_is_counted_within_bounds() {
        let mut sessions = Sessions::default();
        for n in 0..DOMAINS_MAX + 10 {
            sessions.add(session(&format!("d{n}.test"), None));
        }
        assert_eq!(sessions.domains().count(), DOMAINS_MAX);
        for n in 0..FAILURES_MAX + 10 {
            sessions.add(session("d0.test", Some(&format!("failure {n}"))));
        }
        let counted = &sessions.domains["d0.test"][0];
        assert_eq!(counted.failures.len(), FAILURES_MAX);
        assert_eq!(counted.failed, FAILURES_MAX as u64 + 10);
    }

    #[test]
    fn a_domain_says_where_it_wants_reports() {
        let mail = |to: &str| Destination::Mail(to.into());
        let web = |host: &str, path: &str| Destination::Web(host.into(), path.into());
        for (record, found) in [
            ("v=TLSRPTv1;rua=mailto:r@d.test", vec![mail("r@d.test")]),
            (
                "v=TLSRPTv1; rua=https://r.d.test/v1/tls, MAILTO:r@D.test?subject=x ;",
                vec![web("r.d.test", "/v1/tls"), mail("r@d.test")],
            ),
            (
                "v=TLSRPTv1; rua=https://r.d.test",
                vec![web("r.d.test", "/")],
            ),
            (
                "v=TLSRPTv1; rua=http://r.d.test/,https://a:1/,mailto:nobody",
                vec![],
            ),
            ("v=TLSRPTv1; rua=https://u@r.d.test/", vec![]),
            ("v=TLSRPTv1; rua=mailto:\"a b\"@d.test", vec![]),
            ("v=TLSRPTv1; rua=https://r.d.test/a b", vec![]),
            ("v=TLSRPTv2; rua=mailto:r@d.test", vec![]),
            ("rua=mailto:r@d.test", vec![]),
        ] {
            assert_eq!(destinations([record]), found, "{record}");
        }
        let twice = ["v=TLSRPTv1;rua=mailto:r@d.test"; 2];
        assert_eq!(destinations(twice), []);
    }

    #[test]
    fn a_letter_is_a_report_that_mail_programs_read() {
        let letter = Letter {
            about: ABOUT,
            domain: "d.test",
            hostname: "relay.test",
            to: "r@d.test",
            now: 1_772_409_700,
            gzip: &[0x1f, 0x8b, 8, 0, 255],
        };
        let octets = letter.compose();
        let text = String::from_utf8(octets.clone()).unwrap();
        for line in [
            "TLS-Report-Domain: d.test\r\n",
            "TLS-Report-Submitter: relay.test\r\n",
            "TLS-Required: No\r\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let parsed = mail_parser::MessageParser::default()
            .parse(&octets)
            .unwrap();
        let subject = "Report Domain: d.test Submitter: relay.test Report-ID: <1-d.test>";
        assert_eq!(parsed.subject(), Some(subject));
        let kind = mail_parser::MimeHeaders::content_type(&parsed).unwrap();
        assert_eq!(
            (kind.ctype(), kind.subtype()),
            ("multipart", Some("report"))
        );
        assert_eq!(kind.attribute("report-type"), Some("tlsrpt"));
        let part = parsed.attachment(0).unwrap();
        assert_eq!(part.contents(), letter.gzip);
        let name = mail_parser::MimeHeaders::attachment_name(part);
        assert_eq!(
            name,
            Some("relay.test!d.test!1772323200!1772409599.json.gz")
        );
    }
}
