//! What is no report: answers of people and of programs, and letters to whoever is responsible.

use std::rc::Rc;

use super::Wait;
use super::counts::Came;
use crate::mail::Committed as _;
use crate::mail::envelope::{BodyKind, Envelope, Recipient};
use crate::shard::Shard;
use crate::shard::message::{Body, Message};
use crate::shard::outbound::transmit::read_chunk;
use crate::wire::dot;
use crate::wire::path::{Mailbox, ReversePath};
use crate::world::World;

impl<W: World> Shard<W> {
    /// Forwards it to whoever wants it. From nobody: it is an answer, and nothing of it must come back.
    pub(super) async fn pass_on(
        self: &Rc<Self>,
        message: &Message,
        what: &str,
    ) -> Result<String, Option<Wait>> {
        let settings = self.settings();
        let Some(to) = &settings.config.returns.forward else {
            self.refusals.returned.count(Came::Dropped);
            return Ok(format!("{what}: dropped"));
        };
        let content = self.letter(message).await;
        let content = content.map_err(|error| Some(Wait(error.to_string())))?;
        let envelope = envelope(message, to.clone());
        let stored = self.inject_own(envelope, &content);
        let receipt = Box::pin(stored).await;
        let receipt = match receipt {
            Ok(receipt) => receipt,
            // It has been round too often, or is none that can be sent: no other try changes that.
            Err(reply) if reply.code() >= 500 => {
                self.refusals.returned.count(Came::Dropped);
                return Ok(format!("{what}: dropped: {}", reply.text()));
            }
            Err(reply) => return Err(Some(Wait(reply.text().to_owned()))),
        };
        self.refusals.returned.count(Came::Forwarded);
        Ok(format!(
            "{what}: forwarded to {to} as {}",
            receipt.queue_id()
        ))
    }

    /// All of it as its sender meant it, our trace fields first.
    async fn letter(&self, message: &Message) -> std::io::Result<Vec<u8>> {
        let mut wire = message.trace.clone();
        match &message.body {
            Body::Memory(octets) => wire.extend_from_slice(octets),
            Body::Extent(len) => {
                let mut position = 0;
                while position < *len {
                    let chunk = read_chunk(self, message, position).await?;
                    position += chunk.len() as u64;
                    wire.extend_from_slice(&chunk);
                }
            }
        }
        let mut octets = Vec::with_capacity(wire.len());
        dot::unstuff_into(&mut octets, &wire);
        Ok(octets)
    }
}

fn envelope(message: &Message, to: Mailbox) -> Envelope {
    let content = &message.content;
    Envelope {
        reverse_path: ReversePath(None),
        body: match content.eight_bit || content.eight_bit_header {
            true => BodyKind::EightBit,
            false => BodyKind::SevenBit,
        },
        smtputf8: message.envelope.smtputf8,
        recipients: vec![Recipient {
            mailbox: to,
            notify: None,
            orcpt: None,
            expanded: false,
        }],
        ..Envelope::default()
    }
}
