//! Finds out who a message is from while its client waits, and says it before the message.

use std::net::IpAddr;

use super::watch::Seen;
use crate::config::Disowned;
use crate::mail::envelope::QueueId;
use crate::observe::stage::Stage;
use crate::shard::Shard;
use crate::smtp::reply::Reply;
use crate::smtp::server::Transaction;
use crate::verify::{Content, Findings, Inquiry, Objection};
use crate::wire::path::Mailbox;
use crate::world::World;

impl<W: World> Shard<W> {
    /// The field that says who a complete message is from, where its listener wants one; or why the
    /// message is refused. `may_relay`: the client is one of our own networks, which are told of but
    /// not refused.
    pub(super) async fn verify(
        &self,
        id: QueueId,
        seen: Seen,
        transaction: &Transaction,
        client: IpAddr,
        may_relay: bool,
    ) -> Result<Vec<u8>, Reply> {
        let Some(content) = seen.content else {
            return Ok(Vec::new());
        };
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
        self.say(format_args!("{id}: verified {client}: {findings}"));
        let is_strict = settings.config.verify.dmarc == Disowned::Enforce && !may_relay;
        match findings.objection.filter(|_| is_strict) {
            Some(objection) => Err(self.disown(id, &findings, objection)),
            None => Ok(findings.field),
        }
    }

    fn disown(&self, id: QueueId, findings: &Findings, objection: Objection) -> Reply {
        if objection != Objection::Unsettled {
            self.messages_disowned.set(self.messages_disowned.get() + 1);
        }
        let author = &findings.author;
        match objection {
            Objection::Policy => {
                self.say(format_args!("{id}: refused: {author} disowns it (DMARC)"));
                Reply::disowned()
            }
            Objection::Authors => {
                self.say(format_args!("{id}: refused: From does not name one author"));
                Reply::no_single_author()
            }
            Objection::Unsettled => {
                self.say(format_args!(
                    "{id}: deferred: whether {author} disowns it cannot be found out now"
                ));
                Reply::author_unsettled()
            }
        }
    }
}
