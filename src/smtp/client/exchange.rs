//! Replies inside a transaction, and what they mean for its recipients (RFC 5321 §3.3, RFC 2033 §4.2).

use std::rc::Rc;

use super::Output;
use super::session::ClientSession;
use super::transaction::Transaction;
use super::verdict::{Sent, is_too_many_recipients, refusal};
use crate::mail::outcome::{Outcome, Success};
use crate::wire::status::ReplyCode;

/// From MAIL to the reply to the dot.
impl ClientSession {
    /// A reply inside a transaction.
    pub(super) fn handle_transaction(&mut self, sent: Sent, code: ReplyCode) {
        let go_on = sent == Sent::Data && code.number() == START_INPUT;
        match code.class() {
            _ if go_on => self.handle_go_ahead(),
            4 | 5 => self.handle_refusal(sent, code),
            2 if sent != Sent::Data => self.handle_success(sent, code),
            _ => self.out_of_step(Some(sent)),
        }
    }

    /// 354: the content, or a lone dot when DATA was sent on trust and nobody was accepted.
    fn handle_go_ahead(&mut self) {
        let wanted = self
            .transaction
            .as_ref()
            .is_some_and(Transaction::has_accepted);
        if wanted {
            self.in_body = true;
            self.output.push_back(Output::Body);
        } else {
            self.output.push_back(Output::Send(LONE_DOT.to_vec()));
            self.sent.push_back(Sent::LoneDot);
        }
    }

    fn handle_success(&mut self, sent: Sent, code: ReplyCode) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        match sent {
            Sent::Rcpt(place) => transaction.accept(place),
            Sent::DotFor(place) => {
                self.needs_reset = false;
                if let Some(index) = transaction.tell(place) {
                    let outcome = self.delivered(code);
                    self.settled(index, outcome);
                }
            }
            Sent::Dot => {
                self.needs_reset = false;
                let outcome = self.delivered(code);
                self.settle_rest(outcome);
            }
            Sent::LoneDot => self.needs_reset = false,
            _ => {}
        }
    }

    fn handle_refusal(&mut self, sent: Sent, code: ReplyCode) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        match sent {
            Sent::Rcpt(place) => {
                let Some(index) = transaction.tell(place) else {
                    return;
                };
                let late = transaction.has_accepted();
                if late && is_too_many_recipients(code, self.reader.enhanced()) {
                    self.output
                        .push_back(Output::Postponed { recipient: index });
                } else {
                    let outcome = self.refused(sent, code);
                    self.settled(index, outcome);
                }
            }
            Sent::DotFor(place) => {
                self.needs_reset = false;
                if let Some(index) = transaction.tell(place) {
                    let outcome = self.refused(sent, code);
                    self.settled(index, outcome);
                }
            }
            // A peer that cannot even forget is in no state to go on.
            Sent::Reset => self.out_of_step(Some(sent)),
            Sent::LoneDot => self.needs_reset = false,
            _ => {
                transaction.stop();
                if sent == Sent::Dot {
                    self.needs_reset = false;
                }
                let outcome = self.refused(sent, code);
                self.settle_rest(outcome);
            }
        }
    }

    fn delivered(&self, code: ReplyCode) -> Outcome {
        Outcome::Delivered {
            reply: self.reader.reply(code),
            remote_mta: Some(Rc::clone(&self.peer.name)),
            success: (!self.extensions.dsn).then_some(Success::Relayed),
        }
    }

    fn refused(&self, sent: Sent, code: ReplyCode) -> Outcome {
        let diagnosis = self.peer.said(sent, self.reader.reply(code));
        refusal(sent, code, diagnosis)
    }
}

const LONE_DOT: &[u8] = b".\r\n";
/// RFC 5321 §4.1.1.4: the only reply to DATA that lets content follow.
const START_INPUT: u16 = 354;
