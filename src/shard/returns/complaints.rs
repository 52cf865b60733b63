//! Complaints: whom they are about, whether they count, and what follows.

use std::rc::Rc;

use super::counts::Came;
use super::paths::Paths;
use super::{Consequence, Subject, Wait};
use crate::mail::report::feedback::Feedback;
use crate::mail::report::{Returned, Told};
use crate::observe::events::{Happening, Kind as Event};
use crate::shard::Shard;
use crate::shard::message::Message;
use crate::shard::settle::named::OTHER;
use crate::suppress::Bounce;
use crate::wire::header;
use crate::wire::path::Mailbox;
use crate::world::World;

/// The name of the field that says who has sent a complaint. It stands among our trace fields, which
/// nobody else writes.
pub(in crate::shard) const REPORTER: &str = "X-Ringpost-Reporter";

impl<W: World> Shard<W> {
    /// What came to an address for complaints.
    pub(super) async fn hear(
        self: &Rc<Self>,
        message: &Message,
        returned: &Returned,
        paths: &Paths,
    ) -> Result<String, Option<Wait>> {
        let reporter = self.proved_reporter(message);
        let plain;
        let feedback = match &returned.told {
            Told::Feedback(feedback) => &**feedback,
            // Some providers send back the message alone. Who they are, the operator has said.
            Told::Nothing if reporter.is_some() && returned.has_original => {
                plain = Feedback::default();
                &plain
            }
            Told::Nothing | Told::Delivery(_) => {
                return self.pass_on(message, "no complaint").await;
            }
        };
        let token = returned
            .addresses()
            .find_map(|address| paths.read(address, message.arrival));
        let subject = match token {
            Some(token) => {
                let mut subject = self.subject(paths, returned, token);
                if reporter.is_some() {
                    let named = self.named(returned, feedback);
                    subject.recipient = subject.recipient.or(named);
                }
                subject
            }
            None if reporter.is_some() => Subject {
                token: None,
                recipient: self.named(returned, feedback),
                tenant: None,
                tag: None,
            },
            None => {
                self.refusals.returned.count(Came::Unproved);
                return Ok("a complaint that nothing proves".to_owned());
            }
        };
        let told = self.complained(message, returned, &subject, feedback, reporter);
        told.await.map_err(Some)
    }

    /// Whom a complaint names: in its own field, or in the one that the operator knows of.
    fn named<'r>(&self, returned: &'r Returned, feedback: &Feedback) -> Option<&'r str> {
        let is_address = |text: &str| Mailbox::parse(text.as_bytes(), true).is_ok();
        let own = feedback.original_rcpt_to.iter().cloned();
        let known = self.settings().config.returns.recipient_header.clone();
        let known = known.and_then(|name| returned.original_field(&name));
        let wanted = own.chain(known.map(|text| text.trim_matches(['<', '>']).to_owned()));
        let mut wanted = wanted.filter(|text| is_address(text));
        // Found in the report once more, whose text outlives this.
        let wanted = wanted.next()?;
        returned.addresses().find(|one| *one == wanted)
    }

    /// A complaint that counts.
    pub(super) async fn complained(
        self: &Rc<Self>,
        message: &Message,
        returned: &Returned,
        subject: &Subject<'_>,
        feedback: &Feedback,
        reporter: Option<String>,
    ) -> Consequence {
        let kind = feedback.kind.name();
        let whose = subject.recipient.unwrap_or("a recipient it does not name");
        let words = format!("{kind} of {} from {whose}", subject.name());
        if !feedback.kind.is_complaint() {
            self.refusals.returned.count(Came::Feedback);
            self.remember_return(message, subject, Came::Feedback.name(), kind);
            return Ok(format!("feedback: {words}"));
        }
        let settings = self.settings();
        if let Some(address) = subject
            .recipient
            .filter(|_| settings.config.returns.suppress)
        {
            let bounce = Bounce {
                address: address.to_owned(),
                why: "complaint",
                at: self.world.wall(),
                text: words.clone(),
                after: 1,
                // Whoever has said no has not said until when.
                span: None,
                report: Some(message.id.to_string()),
            };
            self.learn_report(bounce).await?;
        }
        let reporter = reporter.as_deref().unwrap_or(OTHER);
        let tenant = subject.tenant.as_deref().unwrap_or(OTHER);
        self.refusals.returned.count(Came::Complained);
        self.refusals.returned.count_complaint(tenant, reporter);
        self.remember_return(message, subject, Came::Complained.name(), kind);
        let happening = Happening {
            feedback: Some(kind),
            relay: Some(reporter),
            ..subject.happening(Event::Complained, message)
        };
        self.tell_return(returned, subject, happening);
        Ok(format!("complaint: {words}"))
    }

    /// Who has sent a message of those who may complain of any address.
    pub(super) fn proved_reporter(&self, message: &Message) -> Option<String> {
        header::value(&message.trace, REPORTER, REPORTER_OCTETS_MAX)
    }
}

/// A domain, or a network.
const REPORTER_OCTETS_MAX: usize = 255;
