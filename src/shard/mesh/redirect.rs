//! Gives waiting recipients another address.

use std::io;
use std::rc::Rc;

use crate::mail::envelope::{Envelope, QueueId, Recipient};
use crate::mail::outcome::ReportKind;
use crate::observe::history::Event;
use crate::observe::stage::Times;
use crate::queue::{Decisions, MessageKey, State};
use crate::shard::Shard;
use crate::shard::message::sign::Signatures;
use crate::shard::message::{Body, Message};
use crate::shard::outbound::transmit::read_chunk;
use crate::spool::log::{self, Accepted, ExtentSeal, Reports};
use crate::wire::codec::encode_rfc822;
use crate::wire::path::Mailbox;
use crate::world::World;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirected {
    /// So many recipients are somebody else now.
    Done(u64),
    /// It is being attempted at the moment: nobody can know who gets it.
    Busy,
    /// It is gone, or could not be written.
    Not,
}

impl<W: World> Shard<W> {
    /// Makes a message for `to` of what waits of this one. The new message and what it settles of the
    /// old one are one record: a crash keeps both or neither.
    pub(super) async fn redirect(
        self: &Rc<Self>,
        key: MessageKey,
        id: QueueId,
        to: &Mailbox,
    ) -> Redirected {
        let was_held = {
            let mut queue = self.queue.borrow_mut();
            let Some(message) = queue.glance(key) else {
                return Redirected::Not;
            };
            if message.parts().any(|part| part.state == State::InFlight) {
                return Redirected::Busy;
            }
            let was_held = queue.is_held(key);
            // Nobody may take it while it is written anew.
            queue.hold(key);
            was_held
        };
        let made = self.write_redirected(key, id, to).await;
        let now = self.world.now();
        let (decisions, redirected) = match made {
            Ok(recipients) => {
                let decisions = self.queue.borrow_mut().remove_for_good(now, key);
                (decisions, Redirected::Done(recipients))
            }
            Err(error) => {
                self.warn(format_args!("{id}: not redirected: {error}"));
                if !was_held {
                    self.queue.borrow_mut().release(now, key);
                }
                (Decisions::new(), Redirected::Not)
            }
        };
        self.carry_out(decisions);
        redirected
    }

    async fn write_redirected(
        self: &Rc<Self>,
        key: MessageKey,
        id: QueueId,
        to: &Mailbox,
    ) -> io::Result<u64> {
        let message = self.load(key, id).await?;
        let parts = self.queue.borrow().show(key);
        let recipients = parts.iter().flat_map(|part| &part.recipients);
        let mut places: Vec<u16> = recipients.map(|listed| listed.recipient).collect();
        places.sort_unstable();
        let mut envelope =
            redirected(&message.envelope, &places, to).ok_or(io::ErrorKind::NotFound)?;
        let expanded = self.settings().expand(&mut envelope);
        expanded.map_err(|_| io::Error::other("an alias there leads to too many"))?;
        let new = self.log.next_id();
        let seal;
        let body = match &message.body {
            Body::Memory(octets) => log::Body::Inline(octets),
            Body::Extent(len) => {
                seal = self.copy_content(&message, *len, new).await?;
                log::Body::Extent(&seal)
            }
        };
        let arrival = self.world.wall();
        let accepted = Accepted {
            id: new,
            arrival,
            envelope: &envelope,
            content: &message.content,
            trace: &message.trace,
            body,
            reports: Some(Reports {
                message: id,
                recipients: &places,
                // It settles them, as a report on their failure does.
                kind: ReportKind::Failure,
            }),
        };
        let (_, locator) = self.log.accept(&accepted).await.map_err(io::Error::other)?;
        self.say(format_args!("{id}: redirected to <{to}> as {new}"));
        let act = format!("redirect to {to} as {new}");
        self.remember(id, Event::Ordered { act: act.into() });
        let act = format!("redirected from {id}");
        self.remember(new, Event::Ordered { act: act.into() });
        let fresh = Message {
            id: new,
            arrival,
            envelope,
            content: message.content.clone(),
            trace: Vec::new(),
            body: Body::Memory(Vec::new()),
            tags: message.tags.clone(),
            signatures: Signatures::default(),
        };
        self.admit(&fresh, locator);
        self.tell_accepted(&fresh, None, Times::default());
        Ok(places.len() as u64)
    }

    async fn copy_content(
        &self,
        message: &Message,
        len: u64,
        new: QueueId,
    ) -> io::Result<ExtentSeal> {
        let mut copy = self.log.extent(new).await?;
        let mut position = 0;
        while position < len {
            let chunk = read_chunk(self, message, position).await?;
            position += chunk.len() as u64;
            copy.append(chunk).await?;
        }
        copy.seal().await
    }
}

/// The envelope with one recipient in place of those at `places`. Reports name whom the sender has
/// meant (RFC 3461 §5.2.1).
fn redirected(envelope: &Envelope, places: &[u16], to: &Mailbox) -> Option<Envelope> {
    let first = envelope.recipients.get(usize::from(*places.first()?))?;
    let meant = first.mailbox.as_str();
    let orcpt = || meant.is_ascii().then(|| encode_rfc822(meant).into());
    Some(Envelope {
        smtputf8: envelope.smtputf8 || !to.as_str().is_ascii(),
        recipients: vec![Recipient {
            mailbox: to.clone(),
            notify: first.notify,
            orcpt: first.orcpt.clone().or_else(orcpt),
            expanded: false,
        }],
        ..envelope.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_the_sender_has_meant_stands_there_as_orcpt_has_it() {
        let mailbox = |text: &str| Mailbox::parse(text.as_bytes(), false).unwrap();
        let envelope = Envelope {
            recipients: vec![Recipient {
                mailbox: mailbox("b+x@d.test"),
                notify: None,
                orcpt: None,
                expanded: false,
            }],
            ..Envelope::default()
        };
        let redirected = redirected(&envelope, &[0], &mailbox("ops@c.test")).unwrap();
        let [recipient] = &*redirected.recipients else {
            panic!("{redirected:?}");
        };
        assert_eq!(recipient.orcpt.as_deref(), Some("rfc822;b+2Bx@d.test"));
    }
}
