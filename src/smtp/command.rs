//! Command lines: verbs, paths and parameters (RFC 5321 §4.1.1 and the extensions offered).
//!
//! Nothing here knows the order of commands; that is `smtp::server`. What is parsed borrows from
//! the line until it becomes a type that cannot be wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smallvec::SmallVec;

use crate::mail::envelope::{BodyKind, MtPriority, Notify, Recipient, Ret};
use crate::smtp::reply::Reply;
use crate::wire::codec;
use crate::wire::path::{self, BadPath, Mailbox, ReversePath};

/// The commands the server knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// RFC 5321 §4.1.1.1
    Helo,
    /// RFC 5321 §4.1.1.1
    Ehlo,
    /// RFC 2033 §4.1
    Lhlo,
    /// RFC 5321 §4.1.1.2
    Mail,
    /// RFC 5321 §4.1.1.3
    Rcpt,
    /// RFC 5321 §4.1.1.4
    Data,
    /// RFC 3030 §2
    Bdat,
    /// RFC 5321 §4.1.1.5
    Rset,
    /// RFC 5321 §4.1.1.9
    Noop,
    /// RFC 5321 §4.1.1.10
    Quit,
    /// RFC 5321 §4.1.1.6
    Vrfy,
    /// RFC 5321 §4.1.1.8
    Help,
    /// RFC 3207
    StartTls,
    /// RFC 4954 §4
    Auth,
    /// Commands of SMTP that are not offered: EXPN, TURN, ETRN and the like.
    NotOffered,
    /// A request line of HTTP: a browser, or somebody who makes one talk to us.
    Http,
    /// Anything else.
    Unknown,
}

/// A command line, taken apart at its first space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandLine<'a> {
    /// The first word.
    pub verb: Verb,
    /// What follows it, without spaces around.
    pub arguments: &'a [u8],
}

/// Why arguments were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadArgument {
    /// Not of the command's grammar.
    Syntax,
    /// Not base64.
    Base64,
    /// The path after `FROM:` is none.
    Sender,
    /// The path after `TO:` is none.
    Recipient,
    /// The address has octets over 127, and SMTPUTF8 was not asked for.
    NeedsSmtputf8,
    /// A parameter of no extension that was offered.
    UnknownParameter,
    /// A value out of grammar, or a parameter given twice.
    BadParameter,
}

/// `MAIL FROM:<path> parameters`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailArguments {
    /// The path, without a source route.
    pub reverse_path: ReversePath,
    /// `SIZE=`; zero when not said. Saturated: nothing so large is accepted.
    pub size: u64,
    /// `BODY=`
    pub body: BodyKind,
    /// `SMTPUTF8`
    pub smtputf8: bool,
    /// `RET=`
    pub ret: Option<Ret>,
    /// `ENVID=`
    pub envid: Option<Box<str>>,
    /// `AUTH=` was there (RFC 4954 §5). Who somebody else says has sent it is not passed on.
    pub auth: bool,
    /// `REQUIRETLS` (RFC 8689 §4.1)
    pub require_tls: bool,
    /// `MT-PRIORITY=` (RFC 6710 §4)
    pub mt_priority: Option<MtPriority>,
}

/// `AUTH mechanism [initial-response]` (RFC 4954 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthArguments<'a> {
    /// The mechanism, as the client writes it.
    pub mechanism: &'a str,
    /// What the client says at once; `=` is nothing, said.
    pub initial: Option<Vec<u8>>,
}

/// `BDAT size [LAST]` (RFC 3030 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BdatArguments {
    /// Octets that follow the line.
    pub size: u64,
    /// The message ends with this chunk.
    pub last: bool,
}

impl<'a> CommandLine<'a> {
    /// Takes a line apart (without its line end).
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Self {
        let word_len = line
            .iter()
            .position(|&octet| octet == b' ')
            .unwrap_or(line.len());
        let (word, rest) = line.split_at(word_len);
        Self {
            verb: Verb::parse(word, rest),
            arguments: rest.trim_ascii(),
        }
    }
}

impl Verb {
    fn parse(word: &[u8], rest: &[u8]) -> Self {
        let known = VERBS
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name));
        match known {
            Some(&(_, verb)) => verb,
            None if rest.windows(HTTP_MARK.len()).any(|part| part == HTTP_MARK) => Self::Http,
            None => Self::Unknown,
        }
    }
}

impl BadArgument {
    /// The reply it gets.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            Self::Syntax => Reply::bad_arguments(),
            Self::Base64 => Reply::bad_base64(),
            Self::Sender => Reply::bad_sender(),
            Self::Recipient => Reply::bad_recipient(),
            Self::NeedsSmtputf8 => Reply::needs_smtputf8(),
            Self::UnknownParameter => Reply::unknown_parameter(),
            Self::BadParameter => Reply::bad_parameter(),
        }
    }
}

/// The argument of HELO, EHLO and LHLO: a domain or an address literal. What it says is believed
/// by nobody and refused by few, so any printable word will do (RFC 5321 §4.1.4: a server may not
/// refuse a message because the name does not verify).
pub fn hello_arguments(arguments: &[u8]) -> Result<&str, BadArgument> {
    let text = std::str::from_utf8(arguments).map_err(|_| BadArgument::Syntax)?;
    let word = text.split(' ').next().unwrap_or_default();
    let fits = !word.is_empty() && word.len() <= path::DOMAIN_OCTETS_MAX;
    if fits && !word.chars().any(char::is_control) {
        Ok(word)
    } else {
        Err(BadArgument::Syntax)
    }
}

impl MailArguments {
    /// Parses what follows `MAIL`.
    pub fn parse(arguments: &[u8]) -> Result<Self, BadArgument> {
        let rest = strip_keyword(arguments, b"FROM:").ok_or(BadArgument::Syntax)?;
        let (inside, parameters) = split_path(rest).ok_or(BadArgument::Sender)?;
        let mut parsed = Self {
            reverse_path: ReversePath(None),
            size: 0,
            body: BodyKind::default(),
            smtputf8: false,
            ret: None,
            envid: None,
            auth: false,
            require_tls: false,
            mt_priority: None,
        };
        parsed.take_parameters(parameters)?;
        if !inside.is_empty() {
            let mailbox = mailbox(inside, parsed.smtputf8, BadArgument::Sender)?;
            parsed.reverse_path = ReversePath(Some(mailbox));
        }
        Ok(parsed)
    }

    fn take_parameters(&mut self, parameters: &[u8]) -> Result<(), BadArgument> {
        let mut seen = [false; 8];
        for parameter in Parameters(parameters) {
            let (keyword, value) = parameter?;
            let place = match &*capitals(keyword) {
                b"SIZE" => {
                    self.size = number(some(value)?)?;
                    0
                }
                b"BODY" => {
                    self.body = body_kind(some(value)?)?;
                    1
                }
                b"SMTPUTF8" if value.is_none() => {
                    self.smtputf8 = true;
                    2
                }
                b"REQUIRETLS" if value.is_none() => {
                    self.require_tls = true;
                    6
                }
                b"SMTPUTF8" | b"REQUIRETLS" => return Err(BadArgument::BadParameter),
                b"MT-PRIORITY" => {
                    self.mt_priority = Some(mt_priority(some(value)?)?);
                    7
                }
                b"RET" => {
                    self.ret = Some(ret(some(value)?)?);
                    3
                }
                b"ENVID" => {
                    self.envid = Some(xtext(some(value)?, ENVID_OCTETS_MAX)?.into());
                    4
                }
                b"AUTH" => {
                    xtext(some(value)?, AUTH_OCTETS_MAX)?;
                    self.auth = true;
                    5
                }
                _ => return Err(BadArgument::UnknownParameter),
            };
            if std::mem::replace(&mut seen[place], true) {
                return Err(BadArgument::BadParameter);
            }
        }
        Ok(())
    }
}

/// Parses what follows `RCPT`. `utf8` says that the transaction has SMTPUTF8; `hostname` completes
/// `<postmaster>`, which must be accepted without a domain (RFC 5321 §4.1.1.3).
pub fn rcpt_arguments(
    arguments: &[u8],
    utf8: bool,
    hostname: &str,
) -> Result<Recipient, BadArgument> {
    let rest = strip_keyword(arguments, b"TO:").ok_or(BadArgument::Syntax)?;
    let (inside, parameters) = split_path(rest).ok_or(BadArgument::Recipient)?;
    let mailbox = if inside.eq_ignore_ascii_case(POSTMASTER) {
        let whole = [inside, b"@", hostname.as_bytes()].concat();
        mailbox(&whole, utf8, BadArgument::Recipient)?
    } else {
        mailbox(inside, utf8, BadArgument::Recipient)?
    };
    let mut recipient = Recipient {
        mailbox,
        notify: None,
        orcpt: None,
        expanded: false,
    };
    for parameter in Parameters(parameters) {
        let (keyword, value) = parameter?;
        let twice = match &*capitals(keyword) {
            b"NOTIFY" => recipient.notify.replace(notify(some(value)?)?).is_some(),
            b"ORCPT" => {
                let orcpt = original_recipient(some(value)?, utf8)?;
                recipient.orcpt.replace(orcpt.into()).is_some()
            }
            _ => return Err(BadArgument::UnknownParameter),
        };
        if twice {
            return Err(BadArgument::BadParameter);
        }
    }
    Ok(recipient)
}

impl<'a> AuthArguments<'a> {
    /// Parses what follows `AUTH`.
    pub fn parse(arguments: &'a [u8]) -> Result<Self, BadArgument> {
        let text = std::str::from_utf8(arguments).map_err(|_| BadArgument::Syntax)?;
        let mut words = text.split_ascii_whitespace();
        let mechanism = words.next().ok_or(BadArgument::Syntax)?;
        let initial = match words.next() {
            None => None,
            Some("=") => Some(Vec::new()),
            Some(word) => Some(STANDARD.decode(word).map_err(|_| BadArgument::Base64)?),
        };
        match words.next() {
            None => Ok(Self { mechanism, initial }),
            Some(_) => Err(BadArgument::Syntax),
        }
    }
}

impl BdatArguments {
    /// Parses what follows `BDAT`. Without a size nobody knows where the next command begins; a size
    /// of more than 64 bits is the largest.
    pub fn parse(arguments: &[u8]) -> Result<Self, BadArgument> {
        let mut words = arguments
            .split(|&octet| octet == b' ')
            .filter(|word| !word.is_empty());
        let size = number(words.next().unwrap_or_default()).map_err(|_| BadArgument::Syntax)?;
        let last = match words.next() {
            None => false,
            Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
            Some(_) => return Err(BadArgument::Syntax),
        };
        match words.next() {
            None => Ok(Self { size, last }),
            Some(_) => Err(BadArgument::Syntax),
        }
    }
}

/// `keyword[=value]`, one after the other, separated by spaces (RFC 5321 §4.1.2 `esmtp-param`).
struct Parameters<'a>(&'a [u8]);

impl<'a> Iterator for Parameters<'a> {
    type Item = Result<(&'a [u8], Option<&'a [u8]>), BadArgument>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_ascii_start();
        if rest.is_empty() {
            return None;
        }
        let len = rest
            .iter()
            .position(|&octet| octet == b' ')
            .unwrap_or(rest.len());
        let (word, behind) = rest.split_at(len);
        self.0 = behind;
        let (keyword, value) = match word.iter().position(|&octet| octet == b'=') {
            Some(at) => (&word[..at], Some(&word[at + 1..])),
            None => (word, None),
        };
        let plain = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
        if keyword.is_empty() || !keyword.iter().all(plain) {
            return Some(Err(BadArgument::Syntax));
        }
        Some(Ok((keyword, value)))
    }
}

/// A word in capitals, as keywords are compared: all that are known fit without an allocation.
fn capitals(word: &[u8]) -> SmallVec<[u8; 16]> {
    word.iter().map(u8::to_ascii_uppercase).collect()
}

fn strip_keyword<'a>(arguments: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = arguments.split_at_checked(keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then_some(rest)
}

/// `<path> parameters` into what stands inside the brackets and what follows them. Spaces before
/// the bracket are of no grammar, but common. A bracket in a quoted local part ends nothing.
fn split_path(arguments: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = arguments.trim_ascii_start().strip_prefix(b"<")?;
    let (mut quoted, mut escaped) = (false, false);
    let end = rest.iter().position(|&octet| {
        if escaped {
            escaped = false;
            return false;
        }
        match octet {
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'>' => return !quoted,
            _ => {}
        }
        false
    })?;
    let behind = &rest[end + 1..];
    let separated = behind.is_empty() || behind.starts_with(b" ");
    separated.then_some((&rest[..end], behind))
}

fn mailbox(inside: &[u8], utf8: bool, otherwise: BadArgument) -> Result<Mailbox, BadArgument> {
    let address = path::strip_source_route(inside);
    if !utf8 && !address.is_ascii() {
        return Err(BadArgument::NeedsSmtputf8);
    }
    Mailbox::parse(address, utf8).map_err(|_: BadPath| otherwise)
}

/// The value of a parameter that has to have one.
fn some(value: Option<&[u8]>) -> Result<&[u8], BadArgument> {
    value
        .filter(|value| !value.is_empty())
        .ok_or(BadArgument::BadParameter)
}

/// Digits; more than fit are simply too many.
fn number(digits: &[u8]) -> Result<u64, BadArgument> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadArgument::BadParameter);
    }
    let digits = digits.iter().map(|&octet| u64::from(octet - b'0'));
    Ok(digits.fold(0, |value: u64, digit| {
        value.saturating_mul(10).saturating_add(digit)
    }))
}

/// A digit, and a hyphen before one that is not zero (RFC 6710 §4.2).
fn mt_priority(value: &[u8]) -> Result<MtPriority, BadArgument> {
    let number = match value {
        [digit @ b'0'..=b'9'] => (digit - b'0').cast_signed(),
        [b'-', digit @ b'1'..=b'9'] => -(digit - b'0').cast_signed(),
        _ => return Err(BadArgument::BadParameter),
    };
    MtPriority::new(number).ok_or(BadArgument::BadParameter)
}

fn body_kind(value: &[u8]) -> Result<BodyKind, BadArgument> {
    if value.eq_ignore_ascii_case(b"7BIT") {
        Ok(BodyKind::SevenBit)
    } else if value.eq_ignore_ascii_case(b"8BITMIME") {
        Ok(BodyKind::EightBit)
    } else if value.eq_ignore_ascii_case(b"BINARYMIME") {
        // A value of RFC 3030 §3, which is not offered.
        Err(BadArgument::UnknownParameter)
    } else {
        Err(BadArgument::BadParameter)
    }
}

fn ret(value: &[u8]) -> Result<Ret, BadArgument> {
    if value.eq_ignore_ascii_case(b"FULL") {
        Ok(Ret::Full)
    } else if value.eq_ignore_ascii_case(b"HDRS") {
        Ok(Ret::Headers)
    } else {
        Err(BadArgument::BadParameter)
    }
}

/// `NEVER`, or a list of the others, each once (RFC 3461 §4.1).
fn notify(value: &[u8]) -> Result<Notify, BadArgument> {
    let mut notify = Notify {
        success: false,
        failure: false,
        delay: false,
    };
    if value.eq_ignore_ascii_case(b"NEVER") {
        return Ok(notify);
    }
    for word in value.split(|&octet| octet == b',') {
        let wish = match &*capitals(word) {
            b"SUCCESS" => &mut notify.success,
            b"FAILURE" => &mut notify.failure,
            b"DELAY" => &mut notify.delay,
            _ => return Err(BadArgument::BadParameter),
        };
        if std::mem::replace(wish, true) {
            return Err(BadArgument::BadParameter);
        }
    }
    Ok(notify)
}

fn xtext(value: &[u8], max: usize) -> Result<&str, BadArgument> {
    if value.len() > max || !codec::is_xtext(value) {
        return Err(BadArgument::BadParameter);
    }
    std::str::from_utf8(value).map_err(|_| BadArgument::BadParameter)
}

/// `addr-type;address` (RFC 3461 §4.2). The address of type `utf-8` may also be written as it is,
/// under SMTPUTF8 (RFC 6533 §3).
fn original_recipient(value: &[u8], utf8: bool) -> Result<&str, BadArgument> {
    let text = std::str::from_utf8(value).map_err(|_| BadArgument::BadParameter)?;
    let (kind, address) = text.split_once(';').ok_or(BadArgument::BadParameter)?;
    let atom = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
    if kind.is_empty() || !kind.bytes().all(atom) || value.len() > ORCPT_OCTETS_MAX {
        return Err(BadArgument::BadParameter);
    }
    let international = kind.eq_ignore_ascii_case("utf-8");
    let fits = if international {
        address
            .chars()
            .all(|c| c.is_ascii_graphic() || (utf8 && !c.is_ascii() && !c.is_control()))
    } else {
        codec::is_xtext(address.as_bytes())
    };
    if address.is_empty() || !fits {
        return Err(BadArgument::BadParameter);
    }
    Ok(text)
}

const VERBS: [(&[u8], Verb); 19] = [
    (b"MAIL", Verb::Mail),
    (b"RCPT", Verb::Rcpt),
    (b"DATA", Verb::Data),
    (b"EHLO", Verb::Ehlo),
    (b"HELO", Verb::Helo),
    (b"LHLO", Verb::Lhlo),
    (b"QUIT", Verb::Quit),
    (b"RSET", Verb::Rset),
    (b"NOOP", Verb::Noop),
    (b"BDAT", Verb::Bdat),
    (b"VRFY", Verb::Vrfy),
    (b"HELP", Verb::Help),
    (b"EXPN", Verb::NotOffered),
    (b"STARTTLS", Verb::StartTls),
    (b"AUTH", Verb::Auth),
    (b"ETRN", Verb::NotOffered),
    (b"TURN", Verb::NotOffered),
    (b"XCLIENT", Verb::NotOffered),
    (b"XFORWARD", Verb::NotOffered),
];
/// Ends a request line (RFC 9112 §3), with a version behind it.
const HTTP_MARK: &[u8] = b" HTTP/";
const POSTMASTER: &[u8] = b"postmaster";
/// RFC 3461 §4.4.
const ENVID_OCTETS_MAX: usize = 100;
/// RFC 4954 §5: a mailbox as xtext.
const AUTH_OCTETS_MAX: usize = 500;
/// RFC 3461 §4.2.
const ORCPT_OCTETS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(arguments: &str) -> Result<MailArguments, BadArgument> {
        MailArguments::parse(arguments.as_bytes())
    }

    fn rcpt(arguments: &str) -> Result<Recipient, BadArgument> {
        rcpt_arguments(arguments.as_bytes(), false, "relay.test")
    }

    #[test]
    fn verbs_are_words_in_any_case() {
        for (line, verb, arguments) in [
            ("noop", Verb::Noop, ""),
            ("NoOp  a b ", Verb::Noop, "a b"),
            ("MAIL FROM:<>", Verb::Mail, "FROM:<>"),
            ("MAILFROM:<>", Verb::Unknown, ""),
            ("starttls", Verb::StartTls, ""),
            ("GET / HTTP/1.1", Verb::Http, "/ HTTP/1.1"),
            ("NOOP / HTTP/1.1", Verb::Noop, "/ HTTP/1.1"),
            ("", Verb::Unknown, ""),
            (" NOOP", Verb::Unknown, "NOOP"),
        ] {
            let parsed = CommandLine::parse(line.as_bytes());
            assert_eq!(parsed.verb, verb, "{line}");
            assert_eq!(parsed.arguments, arguments.as_bytes(), "{line}");
        }
    }

    #[test]
    fn sender_says_all_it_can() {
        let all = "from: <a@C.test> size=1000 Body=8bitmime SMTPUTF8 RET=hdrs ENVID=QQ+2B31 \
            RequireTLS mt-priority=-4";
        let parsed = mail(all).unwrap();
        assert_eq!(parsed.reverse_path.to_string(), "a@c.test");
        assert_eq!(parsed.size, 1000);
        assert_eq!(parsed.body, BodyKind::EightBit);
        assert!(parsed.smtputf8 && parsed.require_tls);
        assert_eq!(parsed.mt_priority, MtPriority::new(-4));
        assert_eq!(parsed.ret, Some(Ret::Headers));
        assert_eq!(parsed.envid.as_deref(), Some("QQ+2B31"));
        assert_eq!(mail("FROM:<>").unwrap().reverse_path, ReversePath(None));
        assert_eq!(
            mail("FROM:<> SIZE=99999999999999999999999").unwrap().size,
            u64::MAX
        );
    }

    #[test]
    fn sender_errs() {
        for (arguments, fault) in [
            ("", BadArgument::Syntax),
            ("TO:<a@c.test>", BadArgument::Syntax),
            ("FROM:", BadArgument::Sender),
            ("FROM:a@c.test", BadArgument::Sender),
            ("FROM:<a@c.test", BadArgument::Sender),
            ("FROM:<a@c.test>SIZE=1", BadArgument::Sender),
            ("FROM:<\"a>@c.test", BadArgument::Sender),
            ("FROM:<a@c.test> =1", BadArgument::Syntax),
            ("FROM:<a@c.test> FOO", BadArgument::UnknownParameter),
            ("FROM:<a@c.test> AUTH", BadArgument::BadParameter),
            ("FROM:<a@c.test> AUTH=a+", BadArgument::BadParameter),
            (
                "FROM:<a@c.test> NOTIFY=NEVER",
                BadArgument::UnknownParameter,
            ),
            ("FROM:<a@c.test> SIZE", BadArgument::BadParameter),
            ("FROM:<a@c.test> SIZE=", BadArgument::BadParameter),
            ("FROM:<a@c.test> SIZE=-1", BadArgument::BadParameter),
            ("FROM:<a@c.test> SIZE=1 SIZE=1", BadArgument::BadParameter),
            ("FROM:<a@c.test> BODY=9BIT", BadArgument::BadParameter),
            (
                "FROM:<a@c.test> BODY=BINARYMIME",
                BadArgument::UnknownParameter,
            ),
            ("FROM:<a@c.test> SMTPUTF8=1", BadArgument::BadParameter),
            ("FROM:<a@c.test> REQUIRETLS=1", BadArgument::BadParameter),
            (
                "FROM:<a@c.test> REQUIRETLS REQUIRETLS",
                BadArgument::BadParameter,
            ),
            ("FROM:<a@c.test> ENVID=a+b", BadArgument::BadParameter),
            ("FROM:<a@c.test> MT-PRIORITY", BadArgument::BadParameter),
            ("FROM:<a@c.test> MT-PRIORITY=10", BadArgument::BadParameter),
            ("FROM:<a@c.test> MT-PRIORITY=-0", BadArgument::BadParameter),
            ("FROM:<a@c.test> MT-PRIORITY=+1", BadArgument::BadParameter),
            ("FROM:<a@c.test> MT-PRIORITY=01", BadArgument::BadParameter),
            (
                "FROM:<> MT-PRIORITY=1 MT-PRIORITY=1",
                BadArgument::BadParameter,
            ),
            ("FROM:<\u{e4}@c.test>", BadArgument::NeedsSmtputf8),
        ] {
            assert_eq!(mail(arguments), Err(fault), "{arguments}");
        }
        let long = format!("FROM:<> ENVID={}", "x".repeat(101));
        assert_eq!(mail(&long), Err(BadArgument::BadParameter));
    }

    #[test]
    fn recipient_says_all_it_can() {
        let recipient =
            rcpt("TO:<b@d.test> NOTIFY=success,DELAY ORCPT=rfc822;b+2B@d.test").unwrap();
        let wanted = Notify {
            success: true,
            failure: false,
            delay: true,
        };
        assert_eq!(recipient.notify, Some(wanted));
        assert_eq!(recipient.orcpt.as_deref(), Some("rfc822;b+2B@d.test"));
        for (path, mailbox) in [
            ("<@x.test,@y.test:b@d.test>", "b@d.test"),
            ("<PostMaster>", "PostMaster@relay.test"),
            ("<\"a b\\\">c\"@d.test>", "\"a b\\\">c\"@d.test"),
        ] {
            let recipient = rcpt(&format!("TO:{path}")).unwrap();
            assert_eq!(recipient.mailbox.as_str(), mailbox);
        }
    }

    #[test]
    fn recipient_errs() {
        for (arguments, fault) in [
            ("TO:<>", BadArgument::Recipient),
            ("TO:<b>", BadArgument::Recipient),
            ("FROM:<b@d.test>", BadArgument::Syntax),
            ("TO:<b@d.test> SIZE=1", BadArgument::UnknownParameter),
            (
                "TO:<b@d.test> NOTIFY=NEVER,SUCCESS",
                BadArgument::BadParameter,
            ),
            (
                "TO:<b@d.test> NOTIFY=DELAY,DELAY",
                BadArgument::BadParameter,
            ),
            ("TO:<b@d.test> NOTIFY=", BadArgument::BadParameter),
            (
                "TO:<b@d.test> NOTIFY=NEVER NOTIFY=NEVER",
                BadArgument::BadParameter,
            ),
            ("TO:<b@d.test> ORCPT=foo", BadArgument::BadParameter),
            ("TO:<b@d.test> ORCPT=;b@d.test", BadArgument::BadParameter),
            ("TO:<b@d.test> ORCPT=rfc822;", BadArgument::BadParameter),
            ("TO:<b@d.test> ORCPT=rfc822;b+zz", BadArgument::BadParameter),
            ("TO:<\u{e4}@d.test>", BadArgument::NeedsSmtputf8),
        ] {
            assert_eq!(rcpt(arguments), Err(fault), "{arguments}");
        }
    }

    #[test]
    fn international_original_recipient_needs_smtputf8_unless_it_is_escaped() {
        let plain = "TO:<b@d.test> ORCPT=utf-8;\u{e4}@d.test".as_bytes();
        assert!(rcpt_arguments(plain, true, "relay.test").is_ok());
        assert_eq!(
            rcpt_arguments(plain, false, "relay.test"),
            Err(BadArgument::BadParameter)
        );
        assert!(rcpt("TO:<b@d.test> ORCPT=utf-8;\\x{E4}@d.test").is_ok());
    }

    #[test]
    fn chunk_sizes_are_numbers() {
        let chunk = |text: &str| BdatArguments::parse(text.as_bytes());
        assert_eq!(
            chunk("5"),
            Ok(BdatArguments {
                size: 5,
                last: false
            })
        );
        assert_eq!(
            chunk("0  last"),
            Ok(BdatArguments {
                size: 0,
                last: true
            })
        );
        for bad in ["", "x", "-1", "5 FIRST", "5 LAST LAST", "LAST"] {
            assert_eq!(chunk(bad), Err(BadArgument::Syntax), "{bad}");
        }
    }

    #[test]
    fn hello_is_any_printable_word() {
        for (argument, word) in [
            ("c.test", "c.test"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("a b", "a"),
        ] {
            assert_eq!(hello_arguments(argument.as_bytes()), Ok(word));
        }
        let long = "x".repeat(256);
        for bad in ["", "a\tb", "a\rb", &long] {
            assert_eq!(
                hello_arguments(bad.as_bytes()),
                Err(BadArgument::Syntax),
                "{bad:?}"
            );
        }
        assert_eq!(hello_arguments(b"\xff"), Err(BadArgument::Syntax));
    }
}
