//! Who gets no mail: asked at RCPT and before each attempt, and learnt from refusals.

use crate::config::Suppressed;
use crate::mail::envelope::Envelope;
use crate::mail::outcome::{Blame, Diagnosis, Outcome};
use crate::shard::Shard;
use crate::shard::message::Message;
use crate::shard::outbound::attempt::Attempt;
use crate::smtp::reply::Reply;
use crate::suppress::Bounce;
use crate::trial::{self, Bug};
use crate::wire::path::Mailbox;
use crate::wire::status::EnhancedStatus;
use crate::world::{Class, World};

impl<W: World> Shard<W> {
    /// May mail for this address come in, as far as the list goes? What tells somebody of his own mail
    /// (`is_report`) is no mailing.
    pub(in crate::shard) fn judge_suppressed(
        &self,
        mailbox: &Mailbox,
        is_report: bool,
    ) -> Result<(), Reply> {
        let is_strict = self.settings.borrow().config.suppression.action == Suppressed::Reject;
        if is_strict && !is_report && self.is_suppressed(mailbox) {
            return Err(Reply::suppressed());
        }
        Ok(())
    }

    /// Ends an attempt for those that got onto the list since.
    pub(in crate::shard) fn fail_suppressed(&self, envelope: &Envelope, attempt: &mut Attempt<W>) {
        let is_off = self.settings.borrow().config.suppression.action == Suppressed::Off;
        if is_off || envelope.reverse_path.0.is_none() {
            return;
        }
        let recipients = &envelope.recipients;
        let is_suppressed = |place: &u16| {
            let recipient = recipients.get(usize::from(*place));
            recipient.is_some_and(|recipient| self.is_suppressed(&recipient.mailbox))
        };
        if !attempt.remaining().iter().any(is_suppressed) {
            return;
        }
        let remaining = attempt.remaining().iter().copied();
        let suppressed: Vec<u16> = remaining.filter(is_suppressed).collect();
        for place in suppressed {
            let mailbox = recipients
                .get(usize::from(place))
                .map(|one| one.mailbox.as_str());
            let text = format!("{} is on the suppression list", mailbox.unwrap_or_default());
            attempt.end(
                place,
                Outcome::Failed {
                    blame: Blame::Recipient,
                    diagnosis: Diagnosis::ours(SUPPRESSED, text),
                },
            );
        }
    }

    /// Notes what hosts have refused, where it is one of those after which nothing more is sent: before
    /// it is settled, so that a crash in between has them asked once more.
    pub(in crate::shard) async fn learn_refusals(
        &self,
        message: &Message,
        results: &[(u16, Outcome)],
    ) {
        let settings = self.settings();
        let terms = &settings.config.suppression;
        if terms.on.is_empty() || message.envelope.reverse_path.0.is_none() {
            return;
        }
        let refused = results.iter().filter_map(|(place, outcome)| {
            let Outcome::Failed { diagnosis, .. } = outcome else {
                return None;
            };
            // What we say ourselves is of our routes, not of the mailbox.
            let reply = diagnosis.reply.as_ref()?;
            let class = self.class_of(diagnosis);
            let recipient = message.envelope.recipients.get(usize::from(*place))?;
            terms.on.contains(&class).then(|| Bounce {
                address: recipient.mailbox.as_str().to_owned(),
                why: class.name(),
                at: self.world.wall(),
                text: reply.to_string(),
                after: terms.after,
                span: terms.seconds(),
                report: None,
            })
        });
        let refused: Vec<Bounce> = refused.collect();
        if refused.is_empty() {
            return;
        }
        let suppressions = self.refusals.suppressions.clone();
        let learning = async move { suppressions.learn_or_lose(refused).await };
        if trial::has(Bug::RefusalNotAwaited) {
            return self.world.spawn(Class::Chores, learning);
        }
        learning.await;
    }

    fn is_suppressed(&self, mailbox: &Mailbox) -> bool {
        let suppressions = &self.refusals.suppressions;
        suppressions.has(mailbox.as_str(), self.world.wall())
    }
}

/// RFC 3463 §3.2: bad destination mailbox address, as far as we know.
const SUPPRESSED: EnhancedStatus = EnhancedStatus::new(5, 1, 1);
