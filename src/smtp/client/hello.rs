//! Greeting, EHLO or LHLO, and whether what follows is said under TLS (RFC 5321 §3.1, RFC 3207).

use super::session::ClientSession;
use super::strain::strain;
use super::verdict::{Sent, TLS_NEEDED, is_ehlo_unknown};
use super::{Failure, Output, StartTls};
use crate::mail::outcome::Diagnosis;
use crate::wire::status::{EnhancedStatus, ReplyCode};

/// Until the peer is ready for a transaction, or for a login.
impl ClientSession {
    /// A reply to the greeting's wait, EHLO or HELO.
    pub(super) fn handle_hello(&mut self, sent: Sent, code: ReplyCode) {
        if self.is_secured {
            self.is_tls_broken = false;
        }
        match (sent, code.class()) {
            (_, 3) => self.out_of_step(Some(sent)),
            (Sent::Connection, 2) => self.say_hello(),
            (_, 2) => {
                if self.is_own_name() {
                    return self.meet_ourselves();
                }
                if sent != Sent::Helo {
                    // The first line is the peer's name for itself.
                    for line in self.reader.texts().skip(1) {
                        self.extensions.note(&line);
                    }
                    // In plain it is worth nothing, whoever says it (RFC 8689 §2).
                    self.extensions.require_tls &= self.is_secured;
                }
                self.consider_tls();
            }
            (Sent::Hello { lmtp: false }, _) if is_ehlo_unknown(code) => {
                self.say(&format!("HELO {}\r\n", self.hello.name), Sent::Helo);
            }
            _ => {
                let diagnosis = self.peer.said(sent, self.reader.reply(code));
                self.part_with(Failure {
                    permanent: code.class() == 5,
                    ourselves: false,
                    strain: strain(sent, code, &diagnosis),
                    diagnosis,
                });
            }
        }
    }

    /// The peer has said what it offers.
    fn consider_tls(&mut self) {
        let wanted =
            !matches!(self.hello.tls, StartTls::Never | StartTls::First) && !self.is_secured;
        if wanted && self.extensions.starttls {
            self.say("STARTTLS\r\n", Sent::StartTls);
        } else if wanted && self.hello.tls == StartTls::Always {
            let text = format!("TLS is required, but was not offered by host {}", self.peer);
            self.give_up(Diagnosis::ours(TLS_NEEDED, text));
        } else {
            self.consider_login();
        }
    }

    /// The reply to STARTTLS.
    pub(super) fn handle_start_tls(&mut self, code: ReplyCode) {
        match code.class() {
            2 => {
                self.is_tls_broken = true;
                self.sent.push_back(Sent::Handshake);
                self.output.push_back(Output::Secure);
            }
            3 => self.out_of_step(Some(Sent::StartTls)),
            _ if self.hello.tls == StartTls::Always => {
                let diagnosis = self.peer.said(Sent::StartTls, self.reader.reply(code));
                self.give_up(diagnosis);
            }
            _ => self.consider_login(),
        }
    }

    /// True when the reply to hello begins with our own name.
    fn is_own_name(&self) -> bool {
        let first = self.reader.texts().next().unwrap_or_default();
        let name = first.split(' ').next().unwrap_or_default();
        let own = self.hello.own_name.as_deref();
        own.is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    /// Mail for this host would come back to us until it has gone too many hops.
    fn meet_ourselves(&mut self) {
        let text = format!("host {} is this host itself: mail loops back", self.peer);
        self.part_with(Failure {
            diagnosis: Diagnosis::ours(LOOP, text),
            permanent: true,
            ourselves: true,
            strain: None,
        });
    }

    pub(super) fn say_hello(&mut self) {
        let lmtp = self.hello.lmtp;
        let verb = if lmtp { "LHLO" } else { "EHLO" };
        self.say(
            &format!("{verb} {}\r\n", self.hello.name),
            Sent::Hello { lmtp },
        );
    }
}

/// RFC 3463 §3.5: routing loop detected.
const LOOP: EnhancedStatus = EnhancedStatus::new(5, 4, 6);
