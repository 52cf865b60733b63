//! The session: takes what happens, says what to do. Replies are taken further by subject: `hello`,
//! `login`, `exchange`.

use std::collections::VecDeque;

use super::reply::ReplyReader;
use super::strain::{Strain, strain};
use super::transaction::Transaction;
use super::verdict::{Peer, REQUIRETLS_NEEDED, Sent};
use super::{Failure, Hello, Outgoing, OutgoingRecipient, Output, Stage, StartTls, Waits};
use crate::mail::outcome::{Blame, Diagnosis, Outcome};
use crate::smtp::extension::Extensions;
use crate::time::Tick;
use crate::wire::status::{EnhancedStatus, ReplyCode};

/// A connection to a mail host: greeting, EHLO, and transactions one after the other.
#[derive(Debug)]
pub struct ClientSession {
    pub(super) hello: Hello,
    pub(super) peer: Peer,
    waits: Waits,
    pub(super) extensions: Extensions,
    pub(super) reader: ReplyReader,
    /// Commands that were sent and are not answered, oldest first (RFC 2920 §3.1).
    pub(super) sent: VecDeque<Sent>,
    pub(super) transaction: Option<Transaction>,
    /// 354 has come and the driver has not called `body_sent`.
    pub(super) in_body: bool,
    /// The last transaction got no dot: the peer may still hold its MAIL.
    pub(super) needs_reset: bool,
    /// Greeting and EHLO are done.
    pub(super) greeted: bool,
    /// What is said is said under TLS.
    pub(super) is_secured: bool,
    /// The peer has offered TLS, and it did not come about.
    pub(super) is_tls_broken: bool,
    pub(super) closed: bool,
    /// MAIL commands sent over this connection (RFC 9422 `MAILMAX`).
    transactions: u32,
    /// Domains of recipients so far, kept where the peer counts them (RFC 9422 `RCPTDOMAINMAX`).
    domains: Vec<Box<str>>,
    /// A message found no room among `domains`: nothing more goes over this connection.
    domains_spent: bool,
    pub(super) failure: Option<Failure>,
    pub(super) output: VecDeque<Output>,
    /// Empty: where the next commands are written.
    batch: Vec<u8>,
    deadline: Tick,
    /// The deadline the driver knows of.
    announced: Tick,
}

impl ClientSession {
    /// A session over a connection that stands since `now`.
    #[must_use]
    pub fn new(hello: Hello, peer: Peer, waits: Waits, now: Tick) -> Self {
        let mut session = Self {
            hello,
            peer,
            waits,
            extensions: Extensions::default(),
            reader: ReplyReader::default(),
            sent: VecDeque::new(),
            transaction: None,
            in_body: false,
            needs_reset: false,
            greeted: false,
            is_secured: false,
            is_tls_broken: false,
            closed: false,
            transactions: 0,
            domains: Vec::new(),
            domains_spent: false,
            failure: None,
            output: VecDeque::new(),
            batch: Vec::new(),
            deadline: Tick::NEVER,
            announced: Tick::NEVER,
        };
        if session.hello.tls == StartTls::First {
            session.sent.push_back(Sent::Handshake);
            session.output.push_back(Output::Secure);
        } else {
            session.sent.push_back(Sent::Connection);
        }
        session.restart_clock(now);
        session
    }

    /// Begins a transaction. When the session cannot ([`Self::may_begin`]), all recipients are
    /// postponed.
    pub fn begin(&mut self, now: Tick, outgoing: Outgoing) {
        if !self.may_begin() {
            self.postpone(&outgoing.recipients);
            // A transaction that is under way ends by itself.
            if self.transaction.is_none() {
                self.output.push_back(match self.closed {
                    true => Output::Close,
                    false => Output::Done,
                });
            }
            return;
        }
        if let Some((status, words)) = self.impossible(&outgoing) {
            let text = format!("{words} host {}", self.peer);
            let outcome = Outcome::Failed {
                blame: Blame::Message,
                diagnosis: Diagnosis::ours(status, text),
            };
            for recipient in &outgoing.recipients {
                self.settled(recipient.index, outcome.clone());
            }
            self.output.push_back(Output::Done);
            return;
        }
        let mut outgoing = outgoing;
        self.keep_to_domains(&mut outgoing);
        if let Some(most) = self.extensions.limits.rcptmax {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let most = most.min(outgoing.recipients.len());
            self.postpone(&outgoing.recipients[most..]);
            outgoing.recipients.truncate(most);
        }
        if outgoing.recipients.is_empty() {
            self.output.push_back(Output::Done);
            return;
        }
        self.transaction = Some(Transaction::new(outgoing, self.needs_reset));
        self.needs_reset = true;
        self.transactions = self.transactions.saturating_add(1);
        self.advance(now);
    }

    /// Takes what the peer sent.
    pub fn handle_input(&mut self, now: Tick, mut input: &[u8]) {
        while !self.closed {
            if self.is_securing() && !input.is_empty() {
                // Not said under TLS, and perhaps by somebody else (CVE-2011-0411).
                return self.out_of_step(Some(Sent::StartTls));
            }
            let read = self.reader.next(&mut input);
            match read {
                None => break,
                Some(Ok(code)) => self.handle_reply(now, code),
                Some(Err(garbled)) => {
                    let front = self.sent.front().copied();
                    let text = self.reader.printable();
                    let diagnosis = garbled.diagnosis(&self.peer, front, text);
                    self.collapse(Blame::Host, diagnosis, false);
                }
            }
        }
        // Nothing may follow 354 before the dot is there.
        let early = self.in_body && !self.reader.is_between_replies();
        if early && !self.closed {
            self.out_of_step(None);
        }
    }

    /// The moment of the last [`Output::WakeAt`] has come.
    pub fn handle_timeout(&mut self, now: Tick) {
        if self.closed || now < self.deadline {
            return;
        }
        let diagnosis = self.peer.timed_out(self.sent.front().copied());
        self.collapse(Blame::Host, diagnosis, false);
    }

    /// The connection is gone; `why` is the system's word for it, or `lost connection`.
    pub fn handle_lost(&mut self, _now: Tick, why: &str) {
        if self.closed {
            return;
        }
        let diagnosis = self.peer.lost(self.sent.front().copied(), why);
        self.collapse(Blame::Host, diagnosis, false);
    }

    /// The handshake is done: the peer greets, or, where it did so in plain, hello is said anew, and
    /// what the peer offered in plain is forgotten (RFC 3207 §4.2).
    pub fn secured(&mut self, now: Tick) {
        if self.closed || !self.is_securing() {
            return;
        }
        self.sent.clear();
        self.is_secured = true;
        self.extensions = Extensions::default();
        if self.hello.tls == StartTls::First {
            self.sent.push_back(Sent::Connection);
        } else {
            self.say_hello();
        }
        self.restart_clock(now);
    }

    /// True when the session came to nothing because TLS did: without it there may be one. A peer
    /// may dislike our end of the handshake after we have ended it (RFC 8446 §4.4.4), so TLS is worth
    /// something from the first reply on that comes under it.
    #[must_use]
    pub const fn is_tls_broken(&self) -> bool {
        self.is_tls_broken
    }

    /// The content and the final dot are with the system: all that is left is the reply.
    pub fn body_sent(&mut self, now: Tick) {
        if self.closed || !self.in_body {
            return;
        }
        self.in_body = false;
        if let Some(transaction) = &mut self.transaction {
            transaction.dot_sent = true;
            if self.hello.lmtp {
                self.sent.extend(transaction.accepted().map(Sent::DotFor));
            } else {
                self.sent.push_back(Sent::Dot);
            }
        }
        self.restart_clock(now);
    }

    /// Ends the connection: QUIT where the peer expects a command, at once where it does not.
    /// Recipients of a transaction under way are deferred.
    pub fn quit(&mut self, now: Tick) {
        if self.closed {
            return;
        }
        if !self.is_idle() {
            let text = format!("delivery to {} was interrupted", self.peer);
            self.collapse(Blame::Local, Diagnosis::ours(SHUTTING_DOWN, text), false);
            return;
        }
        self.output.push_back(Output::Send(QUIT.to_vec()));
        self.sent.push_back(Sent::Quit);
        self.restart_clock(now);
    }

    /// The driver cannot go on with the transaction: the connection ends before the final dot, and
    /// recipients without an outcome are deferred with this.
    pub fn abandon(&mut self, blame: Blame, diagnosis: Diagnosis) {
        if !self.closed {
            self.collapse(blame, diagnosis, false);
        }
    }

    /// Takes back the memory of an [`Output::Send`] that is done: the next one needs as much.
    pub fn take_back(&mut self, mut octets: Vec<u8>) {
        octets.clear();
        self.batch = octets;
    }

    /// What is to be done next; `None`: wait for the peer or the clock.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.output.pop_front() {
            return Some(output);
        }
        (self.announced != self.deadline).then(|| {
            self.announced = self.deadline;
            Output::WakeAt(self.deadline)
        })
    }

    /// True when `begin` would start a transaction: nothing is under way and neither the peer's
    /// `MAILMAX` nor its `RCPTDOMAINMAX` stands against it.
    #[must_use]
    pub fn may_begin(&self) -> bool {
        self.is_idle() && self.has_transactions_left() && !self.domains_spent
    }

    /// What is going on.
    #[must_use]
    pub fn stage(&self) -> Stage {
        if self.closed {
            return Stage::Quit;
        }
        if self.in_body {
            return Stage::Body;
        }
        match self.sent.front() {
            None => Stage::Idle,
            Some(Sent::Connection) => Stage::Greeting,
            Some(
                Sent::Hello { .. } | Sent::Helo | Sent::StartTls | Sent::Auth { .. } | Sent::Cancel,
            ) => Stage::Hello,
            Some(Sent::Handshake) => Stage::Handshake,
            Some(Sent::Reset | Sent::Mail | Sent::Rcpt(_)) => Stage::Envelope,
            Some(Sent::Data) => Stage::DataCommand,
            Some(Sent::Dot | Sent::DotFor(_) | Sent::LoneDot) => Stage::EndOfData,
            Some(Sent::Quit) => Stage::Quit,
        }
    }

    /// What the peer offered.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Why the greeting or EHLO failed.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    fn handle_reply(&mut self, now: Tick, code: ReplyCode) {
        let Some(sent) = self.sent.pop_front() else {
            self.unasked(code);
            return;
        };
        if sent == Sent::Quit {
            self.close();
            return;
        }
        if code.number() == SERVICE_CLOSING {
            let diagnosis = self.peer.said(sent, self.reader.reply(code));
            let strain = strain(sent, code, &diagnosis);
            let blame = match strain {
                Some(Strain::Rate | Strain::Connections) => Blame::Pace,
                Some(Strain::Unsaid) | None => Blame::Host,
            };
            self.refuse(strain, &diagnosis);
            self.collapse(blame, diagnosis, true);
            return;
        }
        match sent {
            Sent::Connection | Sent::Hello { .. } | Sent::Helo => self.handle_hello(sent, code),
            Sent::StartTls => self.handle_start_tls(code),
            Sent::Auth { may_end } => self.handle_auth(now, code, may_end),
            Sent::Cancel => self.part(),
            _ => self.handle_transaction(sent, code),
        }
        if self.closed {
            return;
        }
        if self.sent.is_empty() && !self.in_body && self.transaction.is_some() {
            self.advance(now);
        }
        self.restart_clock(now);
    }

    fn is_securing(&self) -> bool {
        self.sent.front() == Some(&Sent::Handshake)
    }

    /// This host gets no mail now; perhaps later.
    pub(super) fn give_up(&mut self, diagnosis: Diagnosis) {
        self.part_with(Failure {
            diagnosis,
            permanent: false,
            ourselves: false,
            strain: None,
        });
    }

    pub(super) fn part_with(&mut self, failure: Failure) {
        self.failure = Some(failure);
        self.part();
    }

    /// Takes leave of a host that gets no mail.
    fn part(&mut self) {
        self.output.push_back(Output::Send(QUIT.to_vec()));
        self.close();
    }

    pub(super) fn say(&mut self, line: &str, sent: Sent) {
        self.output
            .push_back(Output::Send(line.as_bytes().to_vec()));
        self.sent.push_back(sent);
    }

    /// Sends what may be sent now, or ends the transaction when there is nothing left.
    fn advance(&mut self, now: Tick) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        let window = if self.extensions.pipelining {
            BATCH_COMMANDS_MAX
        } else {
            1
        };
        let mut batch = std::mem::take(&mut self.batch);
        while self.sent.len() < window && batch.len() < BATCH_OCTETS_MAX {
            let unanswered = !self.sent.is_empty();
            match transaction.next_command(&self.extensions, unanswered, &mut batch) {
                Some(command) => self.sent.push_back(command),
                None => break,
            }
        }
        if batch.is_empty() {
            self.batch = batch;
            self.finish();
        } else {
            self.output.push_back(Output::Send(batch));
        }
        self.restart_clock(now);
    }

    fn finish(&mut self) {
        self.transaction = None;
        if self.has_transactions_left() {
            self.output.push_back(Output::Done);
        } else {
            self.output.push_back(Output::Send(QUIT.to_vec()));
            self.output.push_back(Output::Done);
            self.close();
        }
    }

    /// A reply to nothing: between transactions the peer takes its leave (421, RFC 5321 §3.8);
    /// anywhere else the two sides are out of step.
    fn unasked(&mut self, code: ReplyCode) {
        if self.transaction.is_none() {
            if self.transactions == 0 {
                // It is why there will be none.
                let text = self.reader.printable();
                self.failure = Some(Failure {
                    diagnosis: self.peer.babbled(None, UNASKED, text),
                    permanent: false,
                    ourselves: false,
                    strain: None,
                });
            }
            self.close();
        } else if code.number() == SERVICE_CLOSING {
            let diagnosis = self.peer.said(Sent::Data, self.reader.reply(code));
            self.collapse(Blame::Host, diagnosis, true);
        } else {
            self.out_of_step(None);
        }
    }

    /// A reply that does not fit: from here on replies cannot be told apart.
    pub(super) fn out_of_step(&mut self, sent: Option<Sent>) {
        let text = self.reader.printable();
        let diagnosis = self.peer.babbled(sent, UNASKED, text);
        self.collapse(Blame::Host, diagnosis, false);
    }

    /// The conversation is over, and everybody who is left is deferred. `answered`: the peer has
    /// said that it does not have the message; otherwise, after the dot, it may.
    fn collapse(&mut self, blame: Blame, diagnosis: Diagnosis, answered: bool) {
        if let Some(transaction) = &mut self.transaction {
            // After the dot only those are left whom the peer has accepted.
            let doubt = transaction.dot_sent && !answered;
            for recipient in transaction.tell_rest() {
                let diagnosis = diagnosis.clone();
                let outcome = if doubt {
                    Outcome::Doubtful { diagnosis }
                } else {
                    Outcome::Deferred { blame, diagnosis }
                };
                let settled = Output::Settled { recipient, outcome };
                self.output.push_back(settled);
            }
        }
        self.refuse(None, &diagnosis);
        self.close();
    }

    /// The host has ended the conversation before it has greeted.
    fn refuse(&mut self, strain: Option<Strain>, diagnosis: &Diagnosis) {
        if !self.greeted && self.failure.is_none() {
            self.failure = Some(Failure {
                diagnosis: diagnosis.clone(),
                permanent: false,
                ourselves: false,
                strain,
            });
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.in_body = false;
        self.transaction = None;
        self.sent.clear();
        self.deadline = Tick::NEVER;
        self.announced = Tick::NEVER;
        self.output.retain(|output| {
            !matches!(
                output,
                Output::Body | Output::Secure | Output::LogIn(_) | Output::Challenge(_)
            )
        });
        self.output.push_back(Output::Close);
    }

    /// Settles everybody who is left in the same way.
    pub(super) fn settle_rest(&mut self, outcome: Outcome) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        // The last one gets the outcome itself: most transactions have one recipient.
        let outcomes = std::iter::repeat_n(outcome, transaction.left());
        let settled = transaction
            .tell_rest()
            .zip(outcomes)
            .map(|(recipient, outcome)| Output::Settled { recipient, outcome });
        self.output.extend(settled);
    }

    pub(super) fn settled(&mut self, recipient: u16, outcome: Outcome) {
        self.output
            .push_back(Output::Settled { recipient, outcome });
    }

    fn postpone(&mut self, recipients: &[OutgoingRecipient]) {
        let postponed = recipients.iter().map(|recipient| Output::Postponed {
            recipient: recipient.index,
        });
        self.output.extend(postponed);
    }

    /// Why this peer cannot take the message whatever it says: its status, and the words before
    /// the peer's name.
    fn impossible(&self, outgoing: &Outgoing) -> Option<(EnhancedStatus, String)> {
        if outgoing.smtputf8 && !self.extensions.smtputf8 {
            let words = "SMTPUTF8 is required, but was not offered by".to_owned();
            return Some((UTF8_NOT_PERMITTED, words));
        }
        let may_go_without = outgoing.reverse_path.is_empty();
        if outgoing.require_tls && !self.extensions.require_tls && !may_go_without {
            let words = "REQUIRETLS is required, but was not offered by".to_owned();
            return Some((REQUIRETLS_NEEDED, words));
        }
        let limit = self.extensions.size_limit()?;
        (outgoing.size > limit).then(|| {
            let words = format!(
                "message size {} exceeds size limit {limit} of",
                outgoing.size
            );
            (TOO_LARGE, words)
        })
    }

    /// Postpones the recipients whose domains are more than the peer takes over one connection
    /// (RFC 9422 §4.3). Whoever is postponed needs another connection, so this one ends with the
    /// transaction.
    fn keep_to_domains(&mut self, outgoing: &mut Outgoing) {
        let Some(most) = self.extensions.limits.rcptdomainmax else {
            return;
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let (domains, output) = (&mut self.domains, &mut self.output);
        let mut spent = false;
        outgoing.recipients.retain(|recipient| {
            let domain = domain(&recipient.address);
            let known = domains.iter().any(|one| one.eq_ignore_ascii_case(domain));
            if !known && domains.len() < most {
                domains.push(domain.into());
            } else if !known {
                spent = true;
                output.push_back(Output::Postponed {
                    recipient: recipient.index,
                });
                return false;
            }
            true
        });
        self.domains_spent |= spent;
    }

    fn has_transactions_left(&self) -> bool {
        let most = self.extensions.limits.mailmax;
        most.is_none_or(|most| self.transactions < most)
    }

    fn is_idle(&self) -> bool {
        self.greeted && !self.closed && self.transaction.is_none() && self.sent.is_empty()
    }

    /// Each reply has its own wait, from the moment the one before it came.
    pub(super) fn restart_clock(&mut self, now: Tick) {
        let waits = &self.waits;
        let wait = self.sent.front().map(|sent| match sent {
            Sent::Connection => waits.greeting,
            Sent::Hello { .. }
            | Sent::Helo
            | Sent::StartTls
            | Sent::Handshake
            | Sent::Auth { .. }
            | Sent::Cancel
            | Sent::Reset => waits.hello,
            Sent::Mail => waits.mail,
            Sent::Rcpt(_) => waits.rcpt,
            Sent::Data => waits.data,
            Sent::Dot | Sent::DotFor(_) | Sent::LoneDot => waits.end_of_data,
            Sent::Quit => waits.quit,
        });
        self.deadline = wait.map_or(Tick::NEVER, |wait| now + wait);
    }
}

/// A local part may hold an `@` between quotes; a domain never does.
fn domain(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// Commands in flight: a hundred RCPTs, and RSET, MAIL and DATA around them.
const BATCH_COMMANDS_MAX: usize = 103;
/// Octets of commands in flight. The replies to them (some 50 octets to a command's 40) and the
/// commands themselves fit any socket's buffers, so that two sides that both write before they
/// read cannot wait for each other (RFC 2920 §3.1).
const BATCH_OCTETS_MAX: usize = 8 * 1024;
const QUIT: &[u8] = b"QUIT\r\n";
/// RFC 5321 §3.8: the peer ends the connection, whatever it was asked.
const SERVICE_CLOSING: u16 = 421;
/// What a peer sent that speaks when it is not asked.
const UNASKED: &str = "a reply out of step";
/// RFC 3463 §3.4: message too big for the system.
const TOO_LARGE: EnhancedStatus = EnhancedStatus::new(5, 3, 4);
/// RFC 6531 §3.5 (X.6.7): non-ASCII addresses not permitted.
const UTF8_NOT_PERMITTED: EnhancedStatus = EnhancedStatus::new(5, 6, 7);
/// RFC 3463 §3.4: the system (ours) is not accepting messages.
const SHUTTING_DOWN: EnhancedStatus = EnhancedStatus::new(4, 3, 2);
