//! One transaction: which command is next, and what has become of each recipient.

use std::io::Write as _;

use smallvec::SmallVec;

use super::verdict::Sent;
use super::{Outgoing, OutgoingRecipient};
use crate::mail::envelope::{Notify, Ret};
use crate::smtp::extension::Extensions;
use crate::trial::{self, Bug};

/// MAIL to the replies to the dot. Two cursors: `next` goes over the commands as they are sent;
/// the session's queue of sent commands goes over them as they are answered.
#[derive(Debug)]
pub(super) struct Transaction {
    outgoing: Outgoing,
    fates: SmallVec<[Fate; 8]>,
    next: Next,
    /// Recipients that the peer accepted, told or not.
    accepted: usize,
    /// The final dot is on its way: without a reply nobody knows who has the message.
    pub(super) dot_sent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Reset,
    Mail,
    Rcpt(usize),
    Data,
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its RCPT was not answered, or not sent.
    Open,
    /// 250 to its RCPT.
    Accepted,
    /// The driver knows what became of it.
    Told,
}

impl Transaction {
    /// A transaction that begins with MAIL, after RSET where the last one was left open.
    pub(super) fn new(outgoing: Outgoing, reset: bool) -> Self {
        let fates = SmallVec::from_elem(Fate::Open, outgoing.recipients.len());
        let next = if reset { Next::Reset } else { Next::Mail };
        Self {
            outgoing,
            fates,
            next,
            accepted: 0,
            dot_sent: false,
        }
    }

    /// Writes the next command into `batch`; `None` when there is none to send now. `unanswered`:
    /// replies to earlier ones are still to come.
    pub(super) fn next_command(
        &mut self,
        offered: &Extensions,
        unanswered: bool,
        batch: &mut Vec<u8>,
    ) -> Option<Sent> {
        match self.next {
            Next::Reset => {
                batch.extend_from_slice(b"RSET\r\n");
                self.next = Next::Mail;
                Some(Sent::Reset)
            }
            Next::Mail => {
                self.outgoing.write_mail(offered, batch);
                self.next = Next::Rcpt(0);
                Some(Sent::Mail)
            }
            Next::Rcpt(place) => match self.outgoing.recipients.get(place) {
                Some(recipient) => {
                    recipient.write_rcpt(offered, batch);
                    self.next = Next::Rcpt(place + 1);
                    Some(Sent::Rcpt(place))
                }
                None => {
                    self.next = Next::Data;
                    self.next_command(offered, unanswered, batch)
                }
            },
            // Sent on trust while somebody may still be accepted, never once nobody was.
            Next::Data if unanswered || self.accepted > 0 => {
                batch.extend_from_slice(b"DATA\r\n");
                self.next = Next::Nothing;
                Some(Sent::Data)
            }
            Next::Data | Next::Nothing => None,
        }
    }

    /// Sends no more commands: MAIL was refused.
    pub(super) fn stop(&mut self) {
        self.next = Next::Nothing;
    }

    /// The peer takes the recipient at this place.
    pub(super) fn accept(&mut self, place: usize) {
        if let Some(fate @ Fate::Open) = self.fates.get_mut(place) {
            *fate = Fate::Accepted;
            self.accepted += 1;
        }
    }

    /// True when the peer takes one recipient at least.
    pub(super) fn has_accepted(&self) -> bool {
        self.accepted > 0
    }

    /// The places of those accepted and not told yet.
    pub(super) fn accepted(&self) -> impl Iterator<Item = usize> {
        self.fates
            .iter()
            .enumerate()
            .filter(|(_, fate)| **fate == Fate::Accepted)
            .map(|(place, _)| place)
    }

    /// Marks the recipient at this place as told; its index, unless it was told before.
    pub(super) fn tell(&mut self, place: usize) -> Option<u16> {
        let fate = self.fates.get_mut(place)?;
        if *fate == Fate::Told {
            return None;
        }
        *fate = Fate::Told;
        let place = match trial::has(Bug::OutcomeSwapped) {
            true => (place + 1) % self.fates.len(),
            false => place,
        };
        Some(self.outgoing.recipients.get(place)?.index)
    }

    /// How many are not told yet.
    pub(super) fn left(&self) -> usize {
        self.fates
            .iter()
            .filter(|fate| **fate != Fate::Told)
            .count()
    }

    /// Marks all who are left as told: the index of each.
    pub(super) fn tell_rest(&mut self) -> impl Iterator<Item = u16> {
        let recipients = self.outgoing.recipients.iter().zip(&mut self.fates);
        recipients.filter_map(|(recipient, fate)| {
            let was = std::mem::replace(fate, Fate::Told);
            (was != Fate::Told).then_some(recipient.index)
        })
    }
}

impl Outgoing {
    /// `MAIL FROM`, with the parameters the peer offers.
    fn write_mail(&self, offered: &Extensions, batch: &mut Vec<u8>) {
        batch.reserve(BATCH_OCTETS_USUAL);
        push(batch, &["MAIL FROM:<", &self.reverse_path, ">"]);
        if offered.size.is_some() {
            // Writing into a Vec cannot fail.
            let _ = write!(batch, " SIZE={}", self.size);
        }
        if self.eight_bit && offered.eight_bit_mime {
            push(batch, &[" BODY=8BITMIME"]);
        }
        if self.smtputf8 && offered.smtputf8 {
            push(batch, &[" SMTPUTF8"]);
        }
        if self.require_tls && offered.require_tls {
            push(batch, &[" REQUIRETLS"]);
        }
        if let Some(priority) = self.mt_priority.filter(|_| offered.mt_priority) {
            // Writing into a Vec cannot fail.
            let _ = write!(batch, " MT-PRIORITY={priority}");
        }
        if offered.dsn {
            match self.ret {
                Some(Ret::Full) => push(batch, &[" RET=FULL"]),
                Some(Ret::Headers) => push(batch, &[" RET=HDRS"]),
                None => {}
            }
            if let Some(envid) = &self.envid {
                push(batch, &[" ENVID=", envid]);
            }
        }
        push(batch, &["\r\n"]);
    }
}

impl OutgoingRecipient {
    /// `RCPT TO`, with the parameters the peer offers.
    fn write_rcpt(&self, offered: &Extensions, batch: &mut Vec<u8>) {
        push(batch, &["RCPT TO:<", &self.address, ">"]);
        if offered.dsn {
            if let Some(notify) = self.notify {
                push(batch, &[" NOTIFY=", notify_words(notify)]);
            }
            if let Some(orcpt) = &self.orcpt {
                push(batch, &[" ORCPT=", orcpt]);
            }
        }
        push(batch, &["\r\n"]);
    }
}

fn push(batch: &mut Vec<u8>, words: &[&str]) {
    for word in words {
        batch.extend_from_slice(word.as_bytes());
    }
}

/// RFC 3461 §4.1.
const fn notify_words(notify: Notify) -> &'static str {
    match (notify.success, notify.failure, notify.delay) {
        (false, false, false) => "NEVER",
        (true, false, false) => "SUCCESS",
        (false, true, false) => "FAILURE",
        (false, false, true) => "DELAY",
        (true, true, false) => "SUCCESS,FAILURE",
        (true, false, true) => "SUCCESS,DELAY",
        (false, true, true) => "FAILURE,DELAY",
        (true, true, true) => "SUCCESS,FAILURE,DELAY",
    }
}

/// MAIL, RCPT and DATA of a message with one recipient: one allocation for most.
const BATCH_OCTETS_USUAL: usize = 256;
