//! Finds out who a message is from while its client waits, and says it before the message.

use std::net::IpAddr;

use super::watch::Seen;
use crate::config::Disowned;
use crate::mail::envelope::QueueId;
use crate::observe::stage::Stage;
use crate::shard::Shard;
use crate::shard::returns::complaints::REPORTER;
use crate::smtp::reply::Reply;
use crate::smtp::server::Transaction;
use crate::verify::{Content, Findings, Inquiry, Objection};
use crate::wire::path::Mailbox;
use crate::world::World;

/// What was found out of a message, to be said before it.
#[derive(Default)]
pub(super) struct Proved {
    pub(super) field: Vec<u8>,
    /// The domains that have signed it.
    signers: Vec<String>,
}

impl<W: World> Shard<W> {
    /// Says of a complaint who has sent it, where that is one whose complaints count.
    pub(super) fn name_reporter(
        &self,
        proved: &mut Proved,
        transaction: &Transaction,
        client: IpAddr,
    ) {
        let settings = self.settings.borrow();
        if settings.config.returns.reporters.is_empty() {
            return;
        }
        let mut recipients = transaction.envelope.recipients.iter();
        if recipients.any(|one| settings.return_kind(&one.mailbox).is_some())
            && let Some(reporter) = settings.reporter(client, &proved.signers)
        {
            let field = format!("{REPORTER}: {reporter}\r\n");
            proved.field.extend(field.into_bytes());
        }
    }

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
    ) -> Result<Proved, Reply> {
        let Some(content) = seen.content else {
            return Ok(Proved::default());
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
            None => Ok(Proved {
                field: findings.field,
                signers: findings.signers,
            }),
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
