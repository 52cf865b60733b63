//! What comes back later: reports of other hosts, complaints of their users, and letters.
//!
//! ```text
//! a message leaves ─► paths: b+TOKEN@returns ─► host ─► ... days later ─► report to b+TOKEN@returns
//!                                                                              │
//!  550 ◄─ the token does not hold ◄─ RCPT ◄────────────────────────────────────┘
//!  250 ◄─ on disk like any mail; its lane leads here: read, list, then events ─► settled
//! ```
//!
//! Such a message is settled only after the suppression list has on the disk what follows from it: a
//! crash before has it read once more. Whoever sent it hears nothing of that.

pub(in crate::shard) mod complaints;
pub(in crate::shard) mod counts;
mod letters;
pub(in crate::shard) mod paths;

use std::collections::HashSet;
use std::io;
use std::rc::Rc;

use futures_util::FutureExt as _;

use crate::mail::outcome::{Blame, Diagnosis, Outcome, RemoteReply, Success};
use crate::mail::report::{self, Action, Fate, READ_OCTETS_MAX, Returned, Told};
use crate::mail::verp::Token;
use crate::observe::events::{Happening, Kind as Event, Tags};
use crate::observe::history;
use crate::shard::Shard;
use crate::shard::message::{Body, Message};
use crate::shard::outbound::attempt::{Attempt, LOCAL_TROUBLE};
use crate::suppress::{Bounce, Trouble};
use crate::trial::{self, Bug};
use crate::wire::dot;
use crate::wire::path::Mailbox;
use crate::wire::status::{EnhancedStatus, ReplyCode};
use crate::world::{Class, World};

use counts::Came;
use paths::{Kind, Paths};

/// Whom a report is about, as far as that is known.
struct Subject<'a> {
    token: Option<Token>,
    recipient: Option<&'a str>,
    tenant: Option<String>,
    tag: Option<String>,
}

/// What came of one report: words for the log, or why it has to wait.
type Consequence = Result<String, Wait>;

/// Why a report is read once more later.
struct Wait(String);

impl From<Trouble> for Wait {
    fn from(trouble: Trouble) -> Self {
        Self(format!(
            "the suppression list cannot take it now: {trouble:?}"
        ))
    }
}

impl<W: World> Shard<W> {
    /// Reads a message that came back, for each of its recipients.
    pub(in crate::shard) async fn read_returned(
        self: &Rc<Self>,
        message: &Message,
        attempt: &mut Attempt<W>,
    ) {
        attempt.relay = Some("returns".into());
        let settings = self.settings();
        let Some(paths) = settings.returns.as_ref().map(Rc::clone) else {
            // A reload has ended it meanwhile.
            return attempt.fail_all(Blame::Recipient, &does_not_hold());
        };
        let began = self.world.now();
        let octets = match self.beginning(message).await {
            Ok(octets) => octets,
            Err(error) => {
                let diagnosis = self.unreadable(message.id, &error);
                return attempt.defer_all(Blame::Message, &diagnosis);
            }
        };
        let returned = report::read(&octets, is_from_nobody(message.sender()));
        let mut heard = HashSet::new();
        for place in attempt.remaining().to_vec() {
            let Some(recipient) = message.envelope.recipients.get(usize::from(place)) else {
                continue;
            };
            // An address has as many spellings as it has letters, and tells one thing.
            if !heard.insert(recipient.mailbox.as_str().to_ascii_lowercase()) {
                attempt.end(place, delivered("the same address once more"));
                continue;
            }
            let read = self.read_for(message, &returned, &paths, &recipient.mailbox);
            let outcome = read
                .await
                .map_or_else(waits_or_fails, |words| delivered(&words));
            attempt.end(place, outcome);
            self.world.breathe().await;
        }
        attempt.transfer += self.world.now().since(began);
    }

    /// What it is to the address that it came to.
    async fn read_for(
        self: &Rc<Self>,
        message: &Message,
        returned: &Returned,
        paths: &Paths,
        mailbox: &Mailbox,
    ) -> Result<String, Option<Wait>> {
        match paths.kind(mailbox) {
            Some(Kind::Path) => {
                // By the time at which it came: it may have waited since.
                let token = paths.read(mailbox.as_str(), message.arrival).ok_or(None)?;
                self.follow(message, returned, paths, token).await
            }
            Some(Kind::Feedback) => self.hear(message, returned, paths).await,
            Some(Kind::Desk) => self.pass_on(message, "a letter").await,
            None => Err(None),
        }
    }

    /// As much of a message as is worth reading, as its sender meant it.
    async fn beginning(&self, message: &Message) -> io::Result<Vec<u8>> {
        let read;
        let wire = match &message.body {
            Body::Memory(octets) => octets,
            Body::Extent(len) => {
                let len = usize::try_from(*len).unwrap_or(usize::MAX);
                let most = len.min(READ_OCTETS_MAX);
                read = self.log.read_extent(message.id, 0, most).await?;
                &read
            }
        };
        let mut octets = Vec::with_capacity(wire.len());
        dot::unstuff_into(&mut octets, wire);
        Ok(octets)
    }

    /// What came to a return path that holds.
    async fn follow(
        self: &Rc<Self>,
        message: &Message,
        returned: &Returned,
        paths: &Paths,
        token: Token,
    ) -> Result<String, Option<Wait>> {
        let subject = self.subject(paths, returned, token);
        let done = match &returned.told {
            Told::Delivery(fates) => {
                let is_about = |fate: &&Fate| {
                    let named = [&fate.original_recipient, &fate.final_recipient];
                    named
                        .into_iter()
                        .flatten()
                        .any(|one| paths.keys().is_to(&token, one))
                };
                let failed = |fate: &&Fate| fate.action == Action::Failed;
                // Behind an address that mail is passed on from there are others: what failed counts.
                let fate = fates.iter().find(is_about);
                let fate = fate.or_else(|| fates.iter().find(failed)).or(fates.first());
                match fate {
                    Some(fate) => self.told(message, returned, &subject, fate).await,
                    None => Ok("a report of nobody".to_owned()),
                }
            }
            Told::Feedback(feedback) => {
                let reporter = self.proved_reporter(message);
                let told = self.complained(message, returned, &subject, feedback, reporter);
                told.await
            }
            Told::Nothing => {
                let what = match returned.is_automatic {
                    true => "an automatic answer",
                    false => "no report",
                };
                return self.pass_on(message, what).await;
            }
        };
        done.map_err(Some)
    }

    /// Whom a report is about that came to a return path.
    fn subject<'r>(&self, paths: &Paths, returned: &'r Returned, token: Token) -> Subject<'r> {
        let mut addresses = returned.addresses();
        let recipient = addresses.find(|one| paths.keys().is_to(&token, one));
        let tag = self.settings().config.tenants.tag_header.clone();
        let tag = tag.and_then(|name| returned.original_field(&name));
        Subject {
            token: Some(token),
            recipient,
            tenant: paths.tenant(&token).map(str::to_owned),
            tag: tag.filter(|tag| paths.keys().tag(&token, [tag.as_str()]).is_some()),
        }
    }

    /// A host says what became of mail that it had taken.
    async fn told(
        self: &Rc<Self>,
        message: &Message,
        returned: &Returned,
        subject: &Subject<'_>,
        fate: &Fate,
    ) -> Consequence {
        let diagnosis = fate.diagnosis();
        let came = match fate.action {
            Action::Failed => Came::Bounced,
            Action::Delayed => Came::Delayed,
            Action::Arrived => Came::Arrived,
        };
        let whose = subject.recipient.unwrap_or("a recipient it does not name");
        if came != Came::Bounced {
            self.refusals.returned.count(came);
            self.remember_return(message, subject, came.name(), &diagnosis.text);
            return Ok(format!("{}: {} for {whose}", came.name(), subject.name()));
        }
        let class = self.class_of(&diagnosis);
        let settings = self.settings();
        let terms = &settings.config.suppression;
        if let Some(address) = subject.recipient.filter(|_| terms.on.contains(&class)) {
            let bounce = Bounce {
                address: address.to_owned(),
                why: class.name(),
                at: self.world.wall(),
                text: fate.reply.as_deref().unwrap_or(&diagnosis.text).to_owned(),
                after: terms.after,
                span: terms.seconds(),
                report: Some(message.id.to_string()),
            };
            self.learn_report(bounce).await?;
        }
        self.refusals.returned.count(came);
        self.refusals.returned.count_class(class);
        self.remember_return(message, subject, came.name(), &diagnosis.text);
        self.tell_return(
            returned,
            subject,
            Happening {
                relay: fate.remote_mta.as_deref(),
                status: Some(fate.status.to_string()),
                class: Some(class),
                reply: Some(&diagnosis.text),
                ..subject.happening(Event::Bounced, message)
            },
        );
        Ok(format!("bounce of {} for {whose}: {class}", subject.name()))
    }

    /// What follows from a report, on the disk. Of one that is read once more after a crash nothing does.
    async fn learn_report(&self, bounce: Bounce) -> Result<(), Wait> {
        trial::tempt("returns");
        let suppressions = self.refusals.suppressions.clone();
        let learning = async move { suppressions.learn(vec![bounce]).await };
        if trial::has(Bug::ReportNotAwaited) {
            self.world.spawn(Class::Chores, learning.map(drop));
            return Ok(());
        }
        learning.await?;
        Ok(())
    }

    /// Tells other programs, with what the header that came back says.
    fn tell_return(&self, returned: &Returned, subject: &Subject<'_>, happening: Happening<'_>) {
        let events = self.settings().events.clone();
        let Some(events) = events.filter(|events| events.kinds.has(happening.kind)) else {
            return;
        };
        let tags = Tags::find(&events.headers, returned.original_header());
        let message_id = returned.original_field("Message-ID");
        self.events.tell(
            self.world.wall(),
            &Happening {
                headers: Some(&tags),
                message_id: message_id.as_deref(),
                recipients: subject.recipient.as_slice(),
                ..happening
            },
        );
    }

    /// The message that it is about may still be known here, and so may the report.
    fn remember_return(&self, report: &Message, subject: &Subject<'_>, what: &str, text: &str) {
        let Some(token) = subject.token else {
            return;
        };
        let name = report.id.to_string();
        let event = history::Event::Returned {
            report: (&*name).into(),
            what: what.into(),
            to: subject.recipient.map(Into::into),
            text: text.into(),
        };
        self.remember(token.id, event);
    }
}

impl Subject<'_> {
    /// The message, for the log.
    fn name(&self) -> String {
        match self.token {
            Some(token) => token.id.to_string(),
            None => "a message unknown".to_owned(),
        }
    }

    /// The beginning of an event. Of a message that is not known the report's own name stands there.
    fn happening<'e>(&'e self, kind: Event, report: &Message) -> Happening<'e> {
        Happening {
            is_later: true,
            tenant: self.tenant.as_deref(),
            tag: self.tag.as_deref(),
            ..Happening::new(kind, self.token.map_or(report.id, |token| token.id))
        }
    }
}

/// Reports come from nobody (RFC 3464 §2), and from some servers as from the program that wrote them.
fn is_from_nobody(sender: &str) -> bool {
    let (local_part, _) = sender.rsplit_once('@').unwrap_or((sender, ""));
    let programs = ["mailer-daemon", "postmaster"];
    sender.is_empty()
        || programs
            .iter()
            .any(|name| local_part.eq_ignore_ascii_case(name))
}

fn delivered(words: &str) -> Outcome {
    Outcome::Delivered {
        reply: RemoteReply {
            code: ReplyCode::OK,
            status: EnhancedStatus::new(2, 0, 0),
            text: words.into(),
        },
        remote_mta: None,
        success: Some(Success::Delivered),
    }
}

fn waits_or_fails(wait: Option<Wait>) -> Outcome {
    match wait {
        Some(Wait(why)) => Outcome::Deferred {
            blame: Blame::Local,
            diagnosis: Diagnosis::ours(LOCAL_TROUBLE, why),
        },
        None => Outcome::Failed {
            blame: Blame::Recipient,
            diagnosis: does_not_hold(),
        },
    }
}

fn does_not_hold() -> Diagnosis {
    Diagnosis::ours(BAD_MAILBOX, "the return path does not hold")
}

/// RFC 3463 §3.2
const BAD_MAILBOX: EnhancedStatus = EnhancedStatus::new(5, 1, 1);
