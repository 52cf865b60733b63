//! A message that comes by the control plane: the rules are those of a submission, and so is the way.

use std::net::Ipv6Addr;
use std::rc::Rc;
use std::time::Duration;

use super::gather::Gathering;
use super::store::Origin;
use super::watch::Looks;
use crate::config::Preflight;
use crate::mail::Committed as _;
use crate::mail::envelope::{BodyKind, Content, Envelope, Recipient};
use crate::observe::inject::{Injected, Injection, NotTaken, Rejected};
use crate::observe::stage::Stage;
use crate::shard::Shard;
use crate::smtp::reply::Reply;
use crate::smtp::server::{Intake, Transaction};
use crate::spool::log::Receipt;
use crate::wire::path::ReversePath;
use crate::world::World;

impl<W: World> Shard<W> {
    /// Takes a message; it is on disk when this returns well.
    pub(in crate::shard) async fn inject(
        self: &Rc<Self>,
        injection: &Injection,
    ) -> Result<Injected, NotTaken> {
        let refused = |reply: Reply| NotTaken::Refused(Rejected::new("", &reply));
        // A shard that ends waits for it, as for a client's transaction.
        let pass = self.visits.enter();
        let _pass = pass.ok_or_else(|| refused(Reply::shutting_down()))?;
        self.may_begin().map_err(refused)?;
        let (recipients, rejected) = self.accepted(injection);
        if recipients.is_empty() {
            return Err(NotTaken::Nobody(rejected));
        }
        if !self.budget.room(&self.world).await {
            return Err(refused(Reply::out_of_memory()));
        }
        let began = self.world.now();
        let announced = injection.content.len() as u64;
        let looks = Looks {
            verifies: false,
            preflight: Preflight::Off,
        };
        let watch = looks.watch(self.settings(), true, true);
        let mut gathering = Gathering::new(self, announced, watch);
        let mut content = match self.take_in(&mut gathering, &injection.content).await {
            Ok(content) => content,
            Err(reply) => {
                gathering.discard().await;
                return Err(refused(reply));
            }
        };
        let seen = gathering.seen(self).await.unwrap_or_default();
        seen.stripped.correct(&mut content);
        let standing = match self.assign(None, seen.said, None) {
            Ok(standing) => standing,
            Err(reply) => {
                gathering.discard().await;
                return Err(refused(reply));
            }
        };
        let receiving = self.world.now().since(began);
        self.record(Stage::BodyReceived, receiving);
        let accepted: Vec<String> = recipients
            .iter()
            .map(|one| one.mailbox.as_str().to_owned())
            .collect();
        let message_id = content.message_id.as_deref().map(str::to_owned);
        let origin = Origin {
            client: injection.client,
            is_hidden: true,
            is_submission: true,
            tls: None,
            caller: None,
            receiving,
        };
        let mut transaction = transaction(injection, recipients, content);
        transaction.envelope.standing = standing;
        let stored = self.store(&mut gathering, &mut transaction, &origin, Vec::new());
        let receipt = Box::pin(stored).await.map_err(refused)?;
        Ok(Injected {
            id: receipt.queue_id().to_string(),
            message_id,
            accepted,
            rejected,
        })
    }

    /// Takes a message of the relay's own, with what stands in its header; it is on disk when this
    /// returns well.
    pub(in crate::shard) async fn inject_own(
        self: &Rc<Self>,
        envelope: Envelope,
        content: &[u8],
    ) -> Result<Receipt, Reply> {
        if !self.budget.room(&self.world).await {
            return Err(Reply::out_of_memory());
        }
        let mut gathering = Gathering::new(self, content.len() as u64, None);
        let taken = self.take_in(&mut gathering, content).await;
        let content = match taken {
            Ok(content) => content,
            Err(reply) => {
                gathering.discard().await;
                return Err(reply);
            }
        };
        let origin = Origin {
            client: Ipv6Addr::LOCALHOST.into(),
            is_hidden: true,
            is_submission: false,
            tls: None,
            caller: None,
            receiving: Duration::ZERO,
        };
        let mut transaction = Transaction {
            envelope,
            content,
            hello: "returns".into(),
            protocol: "ESMTP",
        };
        let stored = self.store(&mut gathering, &mut transaction, &origin, Vec::new());
        stored.await
    }

    /// Who of the recipients is accepted, and who is not.
    fn accepted(&self, injection: &Injection) -> (Vec<Recipient>, Vec<Rejected>) {
        let most = self.settings().server.max_recipients;
        let (mut accepted, mut rejected) = (Vec::new(), Vec::new());
        for mailbox in &injection.to {
            let recipient = Recipient {
                mailbox: mailbox.clone(),
                notify: None,
                orcpt: None,
                expanded: false,
            };
            let judged = match accepted.len() < most {
                true => self.judge_recipient(&recipient, true, injection.from.is_none()),
                false => Err(Reply::too_many_recipients()),
            };
            match judged {
                Ok(()) => accepted.push(recipient),
                Err(reply) => rejected.push(Rejected::new(mailbox.as_str(), &reply)),
            }
        }
        (accepted, rejected)
    }

    async fn take_in(
        &self,
        gathering: &mut Gathering<W>,
        content: &[u8],
    ) -> Result<Content, Reply> {
        let mut intake = Intake::new(&self.settings().server);
        for piece in content.chunks(PIECE_OCTETS) {
            gathering.append(self, intake.take(piece)).await;
            self.world.breathe().await;
        }
        gathering.append(self, intake.end()).await;
        intake.finish()
    }
}

fn transaction(injection: &Injection, recipients: Vec<Recipient>, content: Content) -> Transaction {
    let reverse_path = ReversePath(injection.from.clone());
    let mailboxes = recipients.iter().map(|one| &one.mailbox);
    let mut mailboxes = mailboxes.chain(&reverse_path.0);
    let smtputf8 = content.eight_bit_header || mailboxes.any(|one| one.needs_smtputf8());
    let body = match content.eight_bit {
        true => BodyKind::EightBit,
        false => BodyKind::SevenBit,
    };
    Transaction {
        envelope: Envelope {
            reverse_path,
            ret: None,
            envid: None,
            body,
            smtputf8,
            require_tls: false,
            standing: Default::default(),
            recipients,
        },
        content,
        hello: "control".into(),
        protocol: "HTTP",
    }
}

/// What is looked at before others have their turn.
const PIECE_OCTETS: usize = 16 * 1024;
