//! Where next: static routes, MX order, address choice. Pure.
//!
//! ```text
//!  mailbox ─▶ RouteTable::next_hop ─▶ NextHop ─┬─ Mx(domain) ─▶ mx::plan ─▶ hosts ─▶ addresses
//!                                              ├─ Host ──────────────────────────▶ addresses
//!                                              └─ Address
//! ```

#![forbid(unsafe_code)]

pub mod dns;
pub mod limits;
pub mod mx;
pub mod pool;
pub mod sts;
#[cfg(test)]
mod tests;
pub mod warmup;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use crate::mail::outcome::Diagnosis;
use crate::wire::path::{Host, Mailbox};
use crate::wire::status::EnhancedStatus;

/// The static routes, in the order of the configuration. The first that matches wins; where none
/// does, the domain's MX decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTable {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    pattern: Pattern,
    target: Target,
    tls: Option<TlsPolicy>,
    pool: Option<Rc<str>>,
    /// The way to a smart host, the same for all of its mail and made once.
    smart_host: Option<NextHop>,
}

/// A rule as the configuration has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<'a> {
    /// Which domains it is for.
    pub domain: &'a str,
    /// Where it sends; see [`Target::parse`].
    pub to: &'a str,
    /// How its mail is encrypted, where that differs from all other mail.
    pub tls: Option<TlsPolicy>,
    /// The file that says who we are at the smart host.
    pub credentials: Option<&'a str>,
    /// The file with the certificate that we show to the smart host.
    pub certificate: Option<&'a str>,
    /// The pool of sources that it goes by, where that is another than for all other mail.
    pub pool: Option<&'a str>,
}

/// How mail is encrypted on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsPolicy {
    /// Not.
    None,
    /// Where the peer offers it.
    Opportunistic,
    /// Or not sent.
    Required,
    /// To a peer that proves its name, or not sent.
    Verify,
}

impl TlsPolicy {
    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Opportunistic => "opportunistic",
            Self::Required => "required",
            Self::Verify => "verify",
        }
    }
}

/// Which domains a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// `*`
    Any,
    /// `*.example.org`: the part from its dot on. Subdomains of any depth, not the domain itself.
    Below(Box<str>),
    /// `example.org`
    Exactly(Box<str>),
}

/// Where a rule sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the hosts that the DNS names.
    Mx,
    /// To one host, without asking for MX.
    SmartHost {
        /// A name or an address.
        host: SmartHost,
        /// Its port; `None`: the one of the configuration.
        port: Option<u16>,
        /// The handshake comes before everything else (RFC 8314 §3.3).
        tls_first: bool,
    },
    /// Into a mailbox here.
    Mailbox,
    /// To whoever reads what comes back. No rule says so: an address of `[returns]` does.
    Returns,
    /// Nowhere, and that counts as delivered.
    Discard,
    /// Nowhere, and the sender is told.
    Reject,
}

/// A smart host, by name or by address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SmartHost {
    /// To be looked up: A and AAAA.
    Name(Rc<str>),
    /// As it is.
    Address(IpAddr),
}

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRoute {
    /// The `domain` is not a domain, `*.domain` or `*`.
    Domain,
    /// The `to` is none of the words and neither `smtp://host[:port]` nor `smtps://host[:port]`.
    Target,
    /// The host of `smtp://` is neither a name nor an address.
    Host,
    /// The port of `smtp://` is not a number from 1 to 65535.
    Port,
}

/// Where a recipient goes next. Recipients with equal lanes travel together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The name of its lane: the domain, `[host]:port`, or `[address]`, with the pool of sources and
    /// what a rule says of TLS and logging in behind it; for what goes nowhere over the network the
    /// word in parentheses.
    pub lane: Rc<str>,
    /// How to get there.
    pub how: How,
    /// The pool of sources that it goes by; `None`: the usual one.
    pub pool: Option<Rc<str>>,
}

/// What a rule says of the door of a smart host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The handshake comes before everything else.
    pub tls_first: bool,
    /// The file that says who we are there.
    pub credentials: Option<Rc<str>>,
    /// The file with the certificate that we show there.
    pub certificate: Option<Rc<str>>,
}

/// How to get to a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// Ask for the MX of this domain (A-labels), then see [`mx::plan`].
    Mx(Rc<str>),
    /// Ask for the addresses of this host.
    Host {
        /// Its name.
        name: Rc<str>,
        /// Its port, where the rule says one.
        port: Option<u16>,
        /// How mail to it is encrypted, where the rule says so.
        tls: Option<TlsPolicy>,
        /// How it lets us in.
        entry: Entry,
    },
    /// Connect to this address.
    Address {
        /// The address.
        address: IpAddr,
        /// Its port, where the rule says one.
        port: Option<u16>,
        /// How mail to it is encrypted, where the rule says so.
        tls: Option<TlsPolicy>,
        /// How it lets us in.
        entry: Entry,
    },
    /// Into a mailbox here.
    Mailbox,
    /// It is read here, for what it says of mail that left.
    Returns,
    /// Nowhere, as if delivered.
    Discard,
    /// Nowhere: fails with this.
    Fail(Diagnosis),
}

impl RouteTable {
    /// Reads the rules. A fault comes with the place of its rule.
    pub fn parse<'a>(
        rules: impl IntoIterator<Item = Written<'a>>,
    ) -> Result<Self, (usize, BadRoute)> {
        let rule = |(place, written): (usize, Written<'_>)| {
            Rule::parse(&written).map_err(|bad| (place, bad))
        };
        Ok(Self {
            rules: rules
                .into_iter()
                .enumerate()
                .map(rule)
                .collect::<Result<_, _>>()?,
        })
    }

    /// The target for a domain (lower case; a literal with its brackets, which only `*` matches).
    #[must_use]
    pub fn find(&self, domain: &str) -> &Target {
        self.rule(domain).map_or(&Target::Mx, |rule| &rule.target)
    }

    /// How mail for a domain is encrypted, where its rule says so.
    #[must_use]
    pub fn tls(&self, domain: &str) -> Option<TlsPolicy> {
        self.rule(domain)?.tls
    }

    /// The pool that mail for a domain goes by, where its rule says so.
    #[must_use]
    pub fn pool(&self, domain: &str) -> Option<&Rc<str>> {
        self.rule(domain)?.pool.as_ref()
    }

    /// The place of the rule that a domain's mail follows, in the order of the configuration.
    #[must_use]
    pub fn place(&self, domain: &str) -> Option<usize> {
        let name = ascii_domain(domain);
        let name = name.as_deref().unwrap_or(domain);
        self.rules
            .iter()
            .position(|rule| rule.pattern.matches(name))
    }

    /// Would mail for an address, if anybody had it, lie in a mailbox here? By a rule, or because it
    /// is for `hostname` itself and no rule takes it.
    #[must_use]
    pub fn ends_here(&self, address: &str, hostname: &str) -> bool {
        let domain = address
            .rsplit_once('@')
            .map_or(address, |(_, domain)| domain);
        match self.rule(domain) {
            Some(rule) => rule.target == Target::Mailbox,
            None => domain.eq_ignore_ascii_case(hostname),
        }
    }

    fn rule(&self, domain: &str) -> Option<&Rule> {
        self.rules.get(self.place(domain)?)
    }

    /// Where a mailbox's mail goes next. Mail for `hostname` itself that no rule takes has
    /// arrived where nobody is at home: it would come back for ever, so it fails.
    #[must_use]
    pub fn next_hop(&self, mailbox: &Mailbox, hostname: &str) -> NextHop {
        let rule = self.rule(mailbox.domain());
        if let Some(hop) = rule.and_then(|rule| rule.smart_host.as_ref()) {
            return hop.clone();
        }
        let tls = rule.and_then(|rule| rule.tls);
        match rule.map_or(&Target::Mx, |rule| &rule.target) {
            Target::Mx => match mailbox.host() {
                Host::Literal(address) => NextHop::address(address, None, tls, Entry::default()),
                Host::Name(_) if mailbox.is_postmaster_of(hostname) => NextHop::mailbox(),
                // A domain has one rule: what that says of TLS is asked for when mail leaves.
                Host::Name(domain) => NextHop::mx(domain, hostname),
            },
            // Its rule has it ready.
            Target::SmartHost { .. } => NextHop::fail(REFUSED, "a rule leads nowhere".into()),
            Target::Mailbox => NextHop::mailbox(),
            Target::Returns => NextHop::returns(),
            Target::Discard => NextHop::new("(discard)", How::Discard),
            Target::Reject => {
                NextHop::fail(REFUSED, "mail for this domain is refused by a route".into())
            }
        }
    }
}

impl How {
    /// True where the way leads over the network.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        matches!(self, Self::Mx(_) | Self::Host { .. } | Self::Address { .. })
    }

    /// How the host lets us in, where a rule says something of it.
    #[must_use]
    pub const fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Host { entry, .. } | Self::Address { entry, .. } => Some(entry),
            Self::Mx(_) | Self::Mailbox | Self::Returns | Self::Discard | Self::Fail(_) => None,
        }
    }
}

impl NextHop {
    fn new(lane: impl Into<Rc<str>>, how: How) -> Self {
        Self {
            lane: lane.into(),
            how,
            pool: None,
        }
    }

    /// The mailboxes here.
    #[must_use]
    pub fn mailbox() -> Self {
        Self::new("(mailbox)", How::Mailbox)
    }

    /// What reads that which comes back.
    #[must_use]
    pub fn returns() -> Self {
        Self::new("(returns)", How::Returns)
    }

    /// The same way by a pool of sources of this name: what holds up one pool must not hold up
    /// another, so it is a lane of its own.
    #[must_use]
    pub fn via(mut self, pool: &Rc<str>) -> Self {
        if self.how.is_remote() {
            let end = self.lane.find('/').unwrap_or(self.lane.len());
            let (to, door) = self.lane.split_at(end);
            self.lane = format!("{to}{VIA}{pool}{door}").into();
            self.pool = Some(Rc::clone(pool));
        }
        self
    }

    fn address(address: IpAddr, port: Option<u16>, tls: Option<TlsPolicy>, entry: Entry) -> Self {
        // An IPv4 address in IPv6 clothes is the same host, and must be the same lane.
        let address = address.to_canonical();
        let lane = lane_of_host(&address.to_string(), port, tls, &entry);
        let how = How::Address {
            address,
            port,
            tls,
            entry,
        };
        Self::new(lane, how)
    }

    fn smart_host(
        host: &SmartHost,
        port: Option<u16>,
        tls: Option<TlsPolicy>,
        entry: Entry,
    ) -> Self {
        match host {
            SmartHost::Address(address) => Self::address(*address, port, tls, entry),
            SmartHost::Name(name) => {
                let lane = lane_of_host(name, port, tls, &entry);
                let how = How::Host {
                    name: Rc::clone(name),
                    port,
                    tls,
                    entry,
                };
                Self::new(lane, how)
            }
        }
    }

    fn mx(domain: &str, hostname: &str) -> Self {
        let Some(domain) = ascii_domain(domain) else {
            return Self::fail(
                BAD_DOMAIN,
                format!("the domain {domain} cannot be written in A-labels"),
            );
        };
        if domain.eq_ignore_ascii_case(hostname) {
            return Self::fail(LOOP, format!("mail for {domain} loops back to this host"));
        }
        let domain: Rc<str> = Rc::from(&*domain);
        Self::new(Rc::clone(&domain), How::Mx(domain))
    }

    fn fail(status: EnhancedStatus, text: String) -> Self {
        let diagnosis = Diagnosis::ours(status, text);
        // Its own lane for each reason: a lane has one way to go.
        let lane = format!("(fail) {}", diagnosis.text);
        Self::new(lane, How::Fail(diagnosis))
    }
}

impl Target {
    /// Reads `mx`, `mailbox`, `discard`, `reject`, `smtp://host[:port]` or `smtps://host[:port]`.
    pub fn parse(text: &str) -> Result<Self, BadRoute> {
        match text {
            "mx" => Ok(Self::Mx),
            "mailbox" => Ok(Self::Mailbox),
            "discard" => Ok(Self::Discard),
            "reject" => Ok(Self::Reject),
            _ => match text.strip_prefix("smtps://") {
                Some(rest) => parse_smart_host(rest, true),
                None => {
                    let rest = text.strip_prefix("smtp://").ok_or(BadRoute::Target)?;
                    parse_smart_host(rest, false)
                }
            },
        }
    }
}

impl Rule {
    fn parse(written: &Written<'_>) -> Result<Self, BadRoute> {
        let target = Target::parse(written.to)?;
        let smart_host = match &target {
            Target::SmartHost {
                host,
                port,
                tls_first,
            } => {
                let entry = Entry {
                    tls_first: *tls_first,
                    credentials: written.credentials.map(Rc::from),
                    certificate: written.certificate.map(Rc::from),
                };
                Some(NextHop::smart_host(host, *port, written.tls, entry))
            }
            _ => None,
        };
        Ok(Self {
            pattern: parse_pattern(written.domain)?,
            target,
            tls: written.tls,
            pool: written.pool.map(Rc::from),
            smart_host,
        })
    }
}

impl Pattern {
    fn matches(&self, domain: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Below(tail) => domain.len() > tail.len() && domain.ends_with(&**tail),
            Self::Exactly(name) => **name == *domain,
        }
    }
}

/// The same domain as the DNS knows it; `None` when IDNA (RFC 5891) has no A-labels for it.
fn ascii_domain(domain: &str) -> Option<Cow<'_, str>> {
    if domain.is_ascii() {
        // A mailbox's is in lower case already.
        return Some(
            match domain.bytes().any(|octet| octet.is_ascii_uppercase()) {
                true => Cow::Owned(domain.to_ascii_lowercase()),
                false => Cow::Borrowed(domain),
            },
        );
    }
    idna::domain_to_ascii(domain)
        .ok()
        .filter(|ascii| is_domain(ascii))
        .map(Cow::Owned)
}

fn parse_pattern(text: &str) -> Result<Pattern, BadRoute> {
    if text == "*" {
        return Ok(Pattern::Any);
    }
    let (below, name) = text
        .strip_prefix("*.")
        .map_or((false, text), |name| (true, name));
    let name = ascii_domain(name)
        .filter(|name| is_domain(name))
        .ok_or(BadRoute::Domain)?;
    Ok(if below {
        Pattern::Below(format!(".{name}").into())
    } else {
        Pattern::Exactly(name.into())
    })
}

fn parse_smart_host(text: &str, tls_first: bool) -> Result<Target, BadRoute> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (literal, rest) = rest.split_once(']').ok_or(BadRoute::Host)?;
            let address = literal.parse::<IpAddr>().map_err(|_| BadRoute::Host)?;
            let port = match rest {
                "" => None,
                _ => Some(rest.strip_prefix(':').ok_or(BadRoute::Port)?),
            };
            (SmartHost::Address(address), port)
        }
        None => {
            if text.parse::<Ipv6Addr>().is_ok() {
                // `::1:25` could be read in two ways.
                return Err(BadRoute::Host);
            }
            let (name, port) = text
                .split_once(':')
                .map_or((text, None), |(name, port)| (name, Some(port)));
            (parse_host(name)?, port)
        }
    };
    let port = port.map(parse_port).transpose()?;
    Ok(Target::SmartHost {
        host,
        port: port.or_else(|| tls_first.then_some(TLS_FIRST_PORT)),
        tls_first,
    })
}

fn parse_host(text: &str) -> Result<SmartHost, BadRoute> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SmartHost::Address(address));
    }
    let name = ascii_domain(text)
        .filter(|name| is_domain(name))
        .ok_or(BadRoute::Host)?;
    // A name of digits and dots is an address with a fault, not a name.
    let numeric = name
        .bytes()
        .all(|octet| octet.is_ascii_digit() || octet == b'.');
    if numeric {
        Err(BadRoute::Host)
    } else {
        Ok(SmartHost::Name(name.into()))
    }
}

fn parse_port(text: &str) -> Result<u16, BadRoute> {
    let plain = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|&port| plain && port != 0)
        .ok_or(BadRoute::Port)
}

/// Letters, digits, hyphens and underscores between dots, 255 octets at most.
fn is_domain(name: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(plain);
    name.len() <= crate::wire::path::DOMAIN_OCTETS_MAX && name.split('.').all(label)
}

/// Two rules may send to one host and want different things of it: their mail does not share
/// connections.
fn lane_of_host(host: &str, port: Option<u16>, tls: Option<TlsPolicy>, entry: &Entry) -> Rc<str> {
    let mut lane = format!("[{host}]");
    if let Some(port) = port {
        lane += &format!(":{port}");
    }
    if let Some(tls) = tls {
        lane = lane + "/" + tls.name();
    }
    if entry.tls_first {
        lane += "/tls-first";
    }
    for file in [&entry.credentials, &entry.certificate] {
        lane.extend(file.iter().flat_map(|file| ["/", file]));
    }
    lane.into()
}

/// The destination of a lane, whatever pool it goes by: `d.test` of `d.test via bulk`.
#[must_use]
pub fn destination(lane: &str) -> Cow<'_, str> {
    let end = lane.find('/').unwrap_or(lane.len());
    let (head, door) = lane.split_at(end);
    match head.split_once(VIA) {
        Some((to, _)) if !lane.starts_with('(') => format!("{to}{door}").into(),
        _ => lane.into(),
    }
}

/// Before the name of a pool in that of a lane. Neither domains nor addresses have a blank in them.
const VIA: &str = " via ";
/// RFC 8314 §7.3
const TLS_FIRST_PORT: u16 = 465;
/// RFC 3463 §3.8: delivery not authorized, message refused.
const REFUSED: EnhancedStatus = EnhancedStatus::new(5, 7, 1);
/// RFC 3463 §3.2: bad destination system address.
const BAD_DOMAIN: EnhancedStatus = EnhancedStatus::new(5, 1, 2);
/// RFC 3463 §3.5: routing loop detected.
const LOOP: EnhancedStatus = EnhancedStatus::new(5, 4, 6);
