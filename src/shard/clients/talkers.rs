//! Clients who always have more to say: whoever does not wait for answers is answered in turns, with
//! rests between, so that all of them together leave half of the shard to everybody else.

use std::cell::Cell;
use std::time::Duration;

use crate::world::World;

/// How many of them rest at the moment.
#[derive(Default)]
pub(in crate::shard) struct Talkers {
    resting: Cell<u32>,
}

/// One of them; dropped, it rests no more.
struct Resting<'a>(&'a Talkers);

impl Talkers {
    /// Rests, the longer the more there are.
    pub(super) async fn rest<W: World>(&self, world: &W) {
        let resting = self.join();
        world.sleep(world.now() + resting.0.pause()).await;
        drop(resting);
    }

    fn join(&self) -> Resting<'_> {
        self.resting.set(self.resting.get() + 1);
        Resting(self)
    }

    fn pause(&self) -> Duration {
        (REST * self.resting.get()).min(REST_MAX)
    }
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.resting.set(self.0.resting.get() - 1);
    }
}

/// About twice what a turn of one of them costs.
const REST: Duration = Duration::from_millis(1);
/// Even among thousands it is somebody's turn soon.
const REST_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_there_are_the_longer_each_rests() {
        let talkers = Talkers::default();
        let first = talkers.join();
        assert_eq!(talkers.pause(), REST);
        let crowd: Vec<_> = (0..99).map(|_| talkers.join()).collect();
        assert_eq!(talkers.pause(), REST * 100);
        let more: Vec<_> = (0..10_000).map(|_| talkers.join()).collect();
        assert_eq!(talkers.pause(), REST_MAX);
        drop((more, crowd));
        assert_eq!(talkers.pause(), REST);
        drop(first);
        assert_eq!(talkers.resting.get(), 0);
    }
}
