//! IDLE (RFC 2177): what happens is told while the client waits.

use std::io;
use std::time::Duration;

use futures_lite::future;

use super::{Answer, Next, Visit};
use crate::shard::life::gate::Pass;
use crate::world::World;

/// What ends a wait.
enum Event<T> {
    Heard(T),
    /// Something has happened in the mailbox.
    Changed,
    /// It is time to look for what other programs did.
    Look,
}

impl<W: World> Visit<'_, W> {
    /// Waits for the client, or for something to tell it.
    pub(super) async fn idle(&mut self, pass: &Pass) -> io::Result<Next> {
        let world = self.shard.world.clone();
        let wait = self.shard.settings().config.mailboxes.imap_timeout;
        let ends = world.now() + wait;
        loop {
            let watched = self.selected.as_ref().map(|selected| selected.watched());
            let look_at = world.now() + LOOK_WAIT;
            let left = ends.since(world.now());
            let event = {
                let heard = async { Event::Heard(self.receive(left, pass).await) };
                let changed = async {
                    match &watched {
                        Some((folder, version)) => folder.changed(*version).await,
                        None => future::pending().await,
                    }
                    Event::Changed
                };
                let looks = async {
                    world.sleep(look_at).await;
                    Event::Look
                };
                future::or(heard, future::or(changed, looks)).await
            };
            match event {
                Event::Heard(heard) => return Ok(self.heard(heard?)),
                Event::Changed | Event::Look => {
                    if !self.look().await {
                        return Ok(Next::End);
                    }
                }
            }
            self.news(true).await?;
            self.flush().await?;
        }
    }

    /// DONE, or something that is not.
    pub(super) async fn idle_done(&mut self, tag: &str, line: &[u8]) -> io::Result<Next> {
        self.news(true).await?;
        if line.trim_ascii_end().eq_ignore_ascii_case(b"DONE") {
            self.answer(tag, &Answer::ok("Idle completed."));
            return Ok(Next::Again);
        }
        self.answer(tag, &Answer::bad("Expected DONE"));
        Ok(self.fault())
    }
}

/// Deliveries are told at once; what other programs do to the files is looked for this often.
const LOOK_WAIT: Duration = Duration::from_secs(15);
