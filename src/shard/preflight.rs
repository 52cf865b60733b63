//! What comes of the rules for bulk senders where a listener looks at them.

use super::Shard;
use crate::config::Preflight;
use crate::mail::envelope::QueueId;
use crate::preflight::{Finding, Grade};
use crate::smtp::reply::Reply;
use crate::world::World;

impl<W: World> Shard<W> {
    /// Counts the rules that a message breaks and does what the listener wants of it.
    pub(super) fn preflight(
        &self,
        id: QueueId,
        findings: &[Finding],
        wanted: Preflight,
    ) -> Result<(), Reply> {
        let mut broken = findings
            .iter()
            .filter(|finding| finding.grade == Grade::Fail)
            .peekable();
        let Some(first) = broken.peek().copied() else {
            return Ok(());
        };
        let mut tally = self.preflights.get();
        tally.count(findings);
        self.preflights.set(tally);
        if matches!(wanted, Preflight::Warn | Preflight::Refuse) {
            let broken: Vec<String> = broken.map(ToString::to_string).collect();
            self.say(format_args!("{id}: preflight: {}", broken.join("; ")));
        }
        match wanted {
            Preflight::Refuse => Err(Reply::breaks_a_rule(&first.found, &first.remedy)),
            Preflight::Off | Preflight::Warn | Preflight::Count => Ok(()),
        }
    }
}
