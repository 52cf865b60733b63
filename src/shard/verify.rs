//! Finds out who a message is from while its client waits, and says it before the message.

use std::net::IpAddr;
use std::sync::Arc;

use super::Shard;
use super::gather::Gathering;
use crate::config::Disowned;
use crate::observe::stage::Stage;
use crate::smtp::reply::Reply;
use crate::smtp::server::Transaction;
use crate::verify::{Body, Content, Findings, Inquiry, Objection, strip};
use crate::wire::header::HeaderScan;
use crate::wire::path::Mailbox;
use crate::world::World;

/// What verification sees of content as it arrives.
pub(super) struct Watch {
    authority: Arc<str>,
    /// The part of it that has gone to the disk.
    body: Option<Body>,
    stripped: Stripped,
}

/// What was taken out of a header.
#[derive(Clone, Copy, Default)]
pub(super) struct Stripped {
    octets: u64,
    /// The header's octets without it.
    header_len: Option<u32>,
}

impl Watch {
    /// Nothing has arrived yet. `authority` is our name.
    pub(super) fn new(authority: &str) -> Self {
        Self {
            authority: authority.into(),
            body: None,
            stripped: Stripped::default(),
        }
    }

    /// Octets on their way to the disk. The header is among the first ones: fields that claim to be
    /// ours are taken out of it.
    pub(super) fn pass(&mut self, octets: &mut Vec<u8>) {
        match &mut self.body {
            Some(body) => body.feed(octets),
            None => {
                self.strip(octets);
                self.body = Some(Body::begin(octets));
            }
        }
    }

    /// All of it has arrived; `rest` is what did not go to the disk.
    pub(super) fn finish(mut self, rest: &mut Vec<u8>) -> (Content, Stripped) {
        let content = match self.body.take() {
            Some(mut body) => {
                body.feed(rest);
                Content::Hashed(body.finish())
            }
            None => {
                self.strip(rest);
                Content::Whole(rest.clone())
            }
        };
        (content, self.stripped)
    }

    fn strip(&mut self, octets: &mut Vec<u8>) {
        let removed = strip(octets, &self.authority);
        if removed > 0 {
            let mut scan = HeaderScan::new(u32::MAX);
            scan.feed(octets);
            self.stripped = Stripped {
                octets: removed as u64,
                header_len: Some(scan.finish().header_len),
            };
        }
    }
}

impl<W: World> Shard<W> {
    /// The field that says who a complete message is from, where its listener wants one; or why the
    /// message is refused. `may_relay`: the client is one of our own networks, which are told of but
    /// not refused.
    pub(super) async fn verify(
        &self,
        gathering: &mut Gathering<W>,
        transaction: &mut Transaction,
        client: IpAddr,
        may_relay: bool,
    ) -> Result<Vec<u8>, Reply> {
        let Some((content, stripped)) = gathering.seen() else {
            return Ok(Vec::new());
        };
        transaction.content.size -= stripped.octets.min(transaction.content.size);
        if let Some(len) = stripped.header_len {
            transaction.content.header_len = len;
        }
        let _charge = match &content {
            Content::Whole(wire) => Some(self.budget.charge(wire.len())),
            Content::Hashed(_) => None,
        };
        let settings = self.settings();
        let sender = transaction.envelope.reverse_path.0.as_ref();
        let began = self.world.now();
        let findings = self.world.verify(Inquiry {
            authority: (&*settings.hostname).into(),
            client,
            hello: (&*transaction.hello).into(),
            sender: sender.map_or("", Mailbox::as_str).into(),
            content,
            wait: settings.config.verify.timeout,
        });
        let findings = findings.await;
        self.record(Stage::Verify, self.world.now().since(began));
        let mut tally = self.verified.get();
        tally.count(&findings);
        self.verified.set(tally);
        self.say(format_args!(
            "{}: verified {client}: {findings}",
            gathering.id
        ));
        let is_strict = settings.config.verify.dmarc == Disowned::Enforce && !may_relay;
        match findings.objection.filter(|_| is_strict) {
            Some(objection) => Err(self.disown(gathering, &findings, objection)),
            None => Ok(findings.field),
        }
    }

    fn disown(&self, gathering: &Gathering<W>, findings: &Findings, objection: Objection) -> Reply {
        self.messages_disowned.set(self.messages_disowned.get() + 1);
        let (id, author) = (gathering.id, &findings.author);
        match objection {
            Objection::Policy => {
                self.say(format_args!("{id}: refused: {author} disowns it (DMARC)"));
                Reply::disowned()
            }
            Objection::Authors => {
                self.say(format_args!(
                    "{id}: refused: From is not there exactly once"
                ));
                Reply::no_single_author()
            }
        }
    }
}
