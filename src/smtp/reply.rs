//! Replies the server gives: code, enhanced status, text (RFC 5321 §4.2, RFC 2034).
//!
//! Every reply the relay can give has a name here, so that one file shows all of them and no two
//! places word the same refusal differently.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use std::io::Write as _;

use crate::mail::envelope::QueueId;
use crate::wire::status::EnhancedStatus;

/// One reply, of one line or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    status: Option<EnhancedStatus>,
    text: Cow<'static, str>,
    /// Stands behind the text.
    id: Option<QueueId>,
}

impl Reply {
    /// A reply with an enhanced status. Lines of `text` are separated by `\n`; other control
    /// characters become spaces when it is written.
    ///
    /// The status takes its class from the code, so the two cannot disagree.
    #[must_use]
    pub fn new(code: u16, status: EnhancedStatus, text: impl Into<Cow<'static, str>>) -> Self {
        let code = code.clamp(200, 599);
        let class = if code / 100 == 3 { 2 } else { code / 100 };
        let status = EnhancedStatus::new(class as u8, status.subject(), status.detail());
        Self {
            code,
            status: Some(status),
            text: text.into(),
            id: None,
        }
    }

    /// A reply whose parts are known when the program is written.
    const fn fixed(code: u16, subject: u16, detail: u16, text: &'static str) -> Self {
        assert!(matches!(code / 100, 2 | 4 | 5));
        Self {
            code,
            status: Some(EnhancedStatus::new((code / 100) as u8, subject, detail)),
            text: Cow::Borrowed(text),
            id: None,
        }
    }

    /// Without an enhanced status: the greeting, the reply to a hello and 354 have none
    /// (RFC 2034 §4).
    const fn bare(code: u16, text: Cow<'static, str>) -> Self {
        Self {
            code,
            status: None,
            text,
            id: None,
        }
    }

    /// The three-digit code.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status, where the reply has one.
    #[must_use]
    pub const fn status(&self) -> Option<EnhancedStatus> {
        self.status
    }

    /// The text; lines are separated by `\n`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Appends the reply as it goes over the wire. Every line but the last has a hyphen behind
    /// its code (RFC 5321 §4.2.1); the status stands in every line (RFC 2034 §4).
    pub fn write_into(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let mark = if lines.peek().is_some() { b'-' } else { b' ' };
            self.write_line(line, mark, out);
        }
    }

    fn write_line(&self, line: &str, mark: u8, out: &mut Vec<u8>) {
        let digit = |value: u16| b'0' + (value % 10) as u8;
        out.extend([
            digit(self.code / 100),
            digit(self.code / 10),
            digit(self.code),
            mark,
        ]);
        if let Some(status) = self.status {
            push_number(out, u16::from(status.class()));
            out.push(b'.');
            push_number(out, status.subject());
            out.push(b'.');
            push_number(out, status.detail());
            out.push(b' ');
        }
        let start = out.len();
        out.extend(line.as_bytes().iter().take(TEXT_OCTETS_MAX));
        for octet in &mut out[start..] {
            if !matches!(octet, b' '..=b'~') {
                *octet = b' ';
            }
        }
        if let Some(id) = self.id {
            // Writing to a Vec does not fail.
            let _ = write!(out, " {id}");
        }
        out.extend(b"\r\n");
    }
}

/// Numbers below 1000, without the formatting machinery: replies are written for every command.
fn push_number(out: &mut Vec<u8>, value: u16) {
    for (unit, leading) in [(100, false), (10, false), (1, true)] {
        if leading || value >= unit {
            out.push(b'0' + (value / unit % 10) as u8);
        }
    }
}

/// Octets of text in one line: with code, status and line end it stays below the 512 of a reply
/// line (RFC 5321 §4.5.3.1.5).
const TEXT_OCTETS_MAX: usize = 480;
/// What the greeting calls us. No version: it would tell a stranger which faults to try.
const SOFTWARE: &str = "Ringpost";

/// What is said when all goes well.
impl Reply {
    /// The greeting (RFC 5321 §3.1). `protocol` is `ESMTP` or `LMTP`.
    #[must_use]
    pub fn greeting(hostname: &str, protocol: &str) -> Self {
        let text = [hostname, protocol, SOFTWARE].join(" ");
        Self::bare(220, Cow::Owned(text))
    }

    /// To HELO.
    #[must_use]
    pub fn hello(hostname: &str) -> Self {
        Self::bare(250, Cow::Owned(hostname.to_owned()))
    }

    /// To EHLO and LHLO: the name, then one extension a line.
    #[must_use]
    pub fn extensions(lines: String) -> Self {
        Self::bare(250, Cow::Owned(lines))
    }

    /// To MAIL.
    #[must_use]
    pub const fn sender_ok() -> Self {
        Self::fixed(250, 1, 0, "Ok")
    }

    /// To MAIL, whose client may not have its mail sent before other mail (RFC 6710 §5.1). The text begins
    /// with the priority that it gets instead (the registry of RFC 5248 says so of X.3.6).
    #[must_use]
    pub const fn priority_lowered() -> Self {
        Self::fixed(250, 3, 6, "0 is the priority of mail from there")
    }

    /// To RCPT.
    #[must_use]
    pub const fn recipient_ok() -> Self {
        Self::fixed(250, 1, 5, "Ok")
    }

    /// To DATA.
    #[must_use]
    pub const fn go_ahead() -> Self {
        Self::bare(354, Cow::Borrowed("End data with <CR><LF>.<CR><LF>"))
    }

    /// To a BDAT that is not the last.
    #[must_use]
    pub const fn chunk_ok() -> Self {
        Self::fixed(250, 0, 0, "Ok: chunk received")
    }

    /// To the end of a message that is on stable storage.
    #[must_use]
    pub fn queued(id: QueueId) -> Self {
        Self {
            id: Some(id),
            ..Self::fixed(250, 0, 0, "Ok: queued as")
        }
    }

    /// To RSET and NOOP.
    #[must_use]
    pub const fn ok() -> Self {
        Self::fixed(250, 0, 0, "Ok")
    }

    /// To QUIT.
    #[must_use]
    pub const fn bye() -> Self {
        Self::fixed(221, 0, 0, "Bye")
    }

    /// To HELP.
    #[must_use]
    pub const fn help() -> Self {
        Self::fixed(
            214,
            0,
            0,
            "HELO EHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP: see RFC 5321",
        )
    }

    /// To STARTTLS (RFC 3207 §4).
    #[must_use]
    pub const fn ready_for_tls() -> Self {
        Self::fixed(220, 0, 0, "Ready to start TLS")
    }

    /// To AUTH, as often as the mechanism has to ask (RFC 4954 §4).
    #[must_use]
    pub fn challenge(octets: &[u8]) -> Self {
        Self::bare(334, Cow::Owned(STANDARD.encode(octets)))
    }

    /// To AUTH: in.
    #[must_use]
    pub const fn authenticated() -> Self {
        Self::fixed(235, 7, 0, "Authentication successful")
    }

    /// To VRFY: a relay does not know who exists (RFC 5321 §3.5.3).
    #[must_use]
    pub const fn cannot_verify() -> Self {
        Self::fixed(252, 5, 0, "Cannot verify, send it and see")
    }
}

/// What is said to a client that does not keep to the protocol.
impl Reply {
    /// No such command.
    #[must_use]
    pub const fn unknown_command() -> Self {
        Self::fixed(500, 5, 2, "Command not recognised")
    }

    /// A command line that is no text at all: control characters in it.
    #[must_use]
    pub const fn garbled_line() -> Self {
        Self::fixed(500, 5, 2, "Control characters in a command line")
    }

    /// A command line that ends in a bare LF.
    #[must_use]
    pub const fn bare_line_end() -> Self {
        Self::fixed(
            500,
            5,
            2,
            "Command lines end in <CR><LF>, not in a bare <LF>",
        )
    }

    /// A command line over the limit (RFC 5321 §4.5.3.1.4).
    #[must_use]
    pub const fn line_too_long() -> Self {
        Self::fixed(500, 5, 2, "Line too long")
    }

    /// HELO or EHLO where LMTP is spoken, LHLO where it is not (RFC 2033 §4.1).
    #[must_use]
    pub const fn wrong_hello() -> Self {
        Self::fixed(500, 5, 1, "Not the hello of this protocol")
    }

    /// Known, and not offered.
    #[must_use]
    pub const fn not_implemented() -> Self {
        Self::fixed(502, 5, 1, "Command not implemented")
    }

    /// Known, and not now.
    #[must_use]
    pub const fn out_of_order() -> Self {
        Self::fixed(503, 5, 1, "Bad sequence of commands")
    }

    /// To AUTH: not in. The words are the same whatever was wrong.
    #[must_use]
    pub const fn not_authenticated() -> Self {
        Self::fixed(535, 7, 8, "Authentication credentials invalid")
    }

    /// To AUTH, after too many failures.
    #[must_use]
    pub const fn too_many_failures() -> Self {
        Self::fixed(454, 7, 0, "Too many failures, try again later")
    }

    /// To AUTH: `*` in place of an answer (RFC 4954 §4).
    #[must_use]
    pub const fn auth_cancelled() -> Self {
        Self::fixed(501, 7, 0, "Authentication cancelled")
    }

    /// To AUTH: an answer that is no base64.
    #[must_use]
    pub const fn bad_base64() -> Self {
        Self::fixed(501, 5, 2, "Cannot decode base64")
    }

    /// To AUTH, where it is not offered, or a second time.
    #[must_use]
    pub const fn auth_not_now() -> Self {
        Self::fixed(503, 5, 1, "Authentication is not to be had now")
    }

    /// To AUTH with a mechanism that is not spoken.
    #[must_use]
    pub const fn unknown_mechanism() -> Self {
        Self::fixed(504, 5, 4, "Authentication mechanism not offered")
    }

    /// To MAIL, before AUTH, where mail is submitted (RFC 4954 §6).
    #[must_use]
    pub const fn auth_required() -> Self {
        Self::fixed(530, 7, 0, "Authentication required")
    }

    /// To MAIL with the address of somebody else.
    #[must_use]
    pub const fn not_your_address() -> Self {
        Self::fixed(553, 7, 1, "You may not send from this address")
    }

    /// STARTTLS under TLS.
    #[must_use]
    pub const fn already_secured() -> Self {
        Self::fixed(503, 5, 1, "TLS is active already")
    }

    /// Anything before the hello.
    #[must_use]
    pub const fn hello_first() -> Self {
        Self::fixed(503, 5, 1, "Say hello first")
    }

    /// DATA or BDAT with nobody to send to (RFC 5321 §3.3).
    #[must_use]
    pub const fn no_valid_recipients() -> Self {
        Self::fixed(503, 5, 1, "No valid recipients")
    }

    /// Arguments that are not of the command's grammar.
    #[must_use]
    pub const fn bad_arguments() -> Self {
        Self::fixed(501, 5, 4, "Syntax error in arguments")
    }

    /// A parameter whose value is wrong, or which is there twice.
    #[must_use]
    pub const fn bad_parameter() -> Self {
        Self::fixed(501, 5, 4, "Bad value of a parameter")
    }

    /// A parameter of no extension that was offered (RFC 5321 §4.1.1.11).
    #[must_use]
    pub const fn unknown_parameter() -> Self {
        Self::fixed(555, 5, 4, "Parameter not recognised or not offered")
    }

    /// REQUIRETLS, or anything that wants TLS, before STARTTLS (RFC 3207 §4).
    #[must_use]
    pub const fn must_start_tls() -> Self {
        Self::fixed(530, 7, 0, "Must issue a STARTTLS command first")
    }

    /// To MAIL of a client that has not shown the certificate that it needs.
    #[must_use]
    pub const fn certificate_required() -> Self {
        Self::fixed(530, 7, 0, "A verified certificate is required")
    }

    /// A reverse-path that is none.
    #[must_use]
    pub const fn bad_sender() -> Self {
        Self::fixed(501, 1, 7, "Bad sender address syntax")
    }

    /// A forward-path that is none.
    #[must_use]
    pub const fn bad_recipient() -> Self {
        Self::fixed(501, 1, 3, "Bad recipient address syntax")
    }

    /// An address over 127 without SMTPUTF8 (RFC 6531 §3.5).
    #[must_use]
    pub const fn needs_smtputf8() -> Self {
        Self::fixed(553, 6, 7, "Non-ASCII addresses need SMTPUTF8")
    }

    /// SIZE says it is too large, or it was (RFC 1870 §6).
    #[must_use]
    pub const fn too_large() -> Self {
        Self::fixed(552, 3, 4, "Message size exceeds the limit")
    }

    /// The header alone is too large.
    #[must_use]
    pub const fn header_too_large() -> Self {
        Self::fixed(552, 3, 4, "Message header exceeds the limit")
    }

    /// Over the limit of recipients: the rest goes in another transaction (RFC 5321 §4.5.3.1.10).
    #[must_use]
    pub const fn too_many_recipients() -> Self {
        Self::fixed(452, 5, 3, "Too many recipients")
    }

    /// A bare CR or LF in the content: what one server takes for the end another does not.
    #[must_use]
    pub const fn bare_line_end_in_content() -> Self {
        Self::fixed(550, 5, 2, "Bare <CR> or <LF> in the message")
    }

    /// NUL in the content (RFC 5321 §4.5.2 leaves no place for it).
    #[must_use]
    pub const fn nul_in_content() -> Self {
        Self::fixed(550, 5, 2, "NUL in the message")
    }

    /// Too many Received fields (RFC 5321 §6.3).
    #[must_use]
    pub const fn too_many_hops() -> Self {
        Self::fixed(554, 4, 6, "Too many hops")
    }

    /// The message came back to an alias that it has passed before.
    #[must_use]
    pub const fn alias_loop() -> Self {
        Self::fixed(554, 4, 6, "Loop: it was sent on from this address before")
    }
}

/// What is said before the connection is closed.
impl Reply {
    /// To a client that errs and errs.
    #[must_use]
    pub const fn too_many_errors() -> Self {
        Self::fixed(421, 7, 0, "Too many errors, closing connection")
    }

    /// To one that speaks HTTP.
    #[must_use]
    pub const fn not_smtp() -> Self {
        Self::fixed(421, 7, 0, "This is not HTTP, closing connection")
    }

    /// To one that has had its share of transactions (RFC 9422 §4.1).
    #[must_use]
    pub const fn too_many_transactions() -> Self {
        Self::fixed(421, 7, 0, "Too many transactions, come again")
    }

    /// Instead of a greeting: all places are taken.
    #[must_use]
    pub const fn too_many_connections() -> Self {
        Self::fixed(421, 7, 0, "Too many connections, try later")
    }

    /// To one that says nothing (RFC 5321 §4.5.3.2.7).
    #[must_use]
    pub const fn timed_out() -> Self {
        Self::fixed(421, 4, 2, "Timeout, closing connection")
    }

    /// The server goes away (RFC 5321 §3.8).
    #[must_use]
    pub const fn shutting_down() -> Self {
        Self::fixed(421, 3, 2, "Shutting down, closing connection")
    }
}

/// What the driver answers on behalf of rooms behind the session.
impl Reply {
    /// Neither is the client trusted nor the recipient one of ours.
    #[must_use]
    pub const fn relay_denied() -> Self {
        Self::fixed(554, 7, 1, "Relay access denied")
    }

    /// A route says that nothing is sent there.
    #[must_use]
    pub const fn rejected_by_route() -> Self {
        Self::fixed(550, 7, 1, "Mail for this domain is not accepted here")
    }

    /// There is no such user here (RFC 5321 §3.3).
    #[must_use]
    pub const fn no_such_mailbox() -> Self {
        Self::fixed(550, 1, 1, "There is no such mailbox here")
    }

    /// More than is taken of a tenant in a minute.
    #[must_use]
    pub const fn too_many_messages() -> Self {
        Self::fixed(
            450,
            7,
            1,
            "Too many messages of this tenant, try again in a minute",
        )
    }

    /// Nothing is sent to this address: it was refused before, or somebody said so.
    #[must_use]
    pub const fn suppressed() -> Self {
        Self::fixed(550, 1, 1, "The address is on the suppression list")
    }

    /// The mailbox has no room; it may have later.
    #[must_use]
    pub const fn mailbox_full() -> Self {
        Self::fixed(452, 2, 2, "The mailbox is full")
    }

    /// The author's domain says that it did not send this (RFC 7489 §10.3, RFC 7372 §3.3).
    #[must_use]
    pub const fn disowned() -> Self {
        Self::fixed(
            550,
            7,
            26,
            "The domain in From wants mail refused that is not proved to be its own (DMARC)",
        )
    }

    /// A message that large mailbox providers would not take, and what to change.
    #[must_use]
    pub fn breaks_a_rule(found: &str, remedy: &str) -> Self {
        let text = format!("Receivers refuse mail like this: {found}\n{remedy}");
        Self::new(550, EnhancedStatus::new(5, 7, 1), text)
    }

    /// Nobody can be held to a message with several From fields, or none, or several authors.
    #[must_use]
    pub const fn no_single_author() -> Self {
        let text = "A message must have exactly one From field, with addresses of one domain";
        Self::fixed(550, 7, 1, text)
    }

    /// What the author's domain wants cannot be found out now.
    #[must_use]
    pub const fn author_unsettled() -> Self {
        let text = "Who the message is from cannot be found out now (DMARC): try again later";
        Self::fixed(451, 7, 1, text)
    }

    /// No memory for another message now.
    #[must_use]
    pub const fn out_of_memory() -> Self {
        Self::fixed(452, 3, 1, "Insufficient memory, try later")
    }

    /// No room in the spool now.
    #[must_use]
    pub const fn disk_full() -> Self {
        Self::fixed(452, 3, 1, "Insufficient storage, try later")
    }

    /// The spool failed: nothing is accepted any more.
    #[must_use]
    pub const fn spool_broken() -> Self {
        Self::fixed(451, 3, 0, "Mail system is out of order, try later")
    }

    /// Something went wrong here, for this message.
    #[must_use]
    pub const fn local_error() -> Self {
        Self::fixed(451, 3, 0, "Local error in processing, try later")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write_into(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_but_the_last_has_a_hyphen() {
        let reply = Reply::new(550, EnhancedStatus::new(5, 1, 10), "one\ntwo\nthree");
        assert_eq!(
            written(&reply),
            "550-5.1.10 one\r\n550-5.1.10 two\r\n550 5.1.10 three\r\n"
        );
        assert_eq!(
            written(&Reply::extensions("a.test\nDSN".to_owned())),
            "250-a.test\r\n250 DSN\r\n"
        );
    }

    #[test]
    fn text_from_outside_cannot_begin_a_line_of_its_own() {
        let reply = Reply::new(550, EnhancedStatus::new(5, 0, 0), "a\r250 b\0c\u{e4}");
        assert_eq!(written(&reply), "550 5.0.0 a 250 b c  \r\n");
        let long = Reply::new(550, EnhancedStatus::new(5, 0, 0), "x".repeat(5000));
        assert!(written(&long).len() <= 512);
    }

    #[test]
    fn status_follows_the_class_of_the_code() {
        let reply = Reply::new(451, EnhancedStatus::new(5, 7, 1), "later");
        assert_eq!(written(&reply), "451 4.7.1 later\r\n");
    }

    #[test]
    fn statuses_are_written_without_leading_zeros() {
        for (detail, text) in [(0, "5.0.0"), (7, "5.0.7"), (10, "5.0.10"), (105, "5.0.105")] {
            let reply = Reply::new(550, EnhancedStatus::new(5, 0, detail), "x");
            assert_eq!(written(&reply), format!("550 {text} x\r\n"));
        }
    }
}
