//! Deliveries that a power cut ends at every operation, and that are repeated.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::*;
use crate::sim::disk::Faults;
use crate::sim::{Sim, SimWorld, seeds};

const BODY: &[u8] = b"Subject: a\r\n\r\n..stuffed\r\nlast\r\n";
const HEAD: &[u8] = b"Delivered-To: u@d.test\n";

fn maildirs() -> [PathBuf; 3] {
    ["a", "b", "a/.Lists"].map(|user| Path::new("mailboxes").join(user))
}

async fn attempt(world: &SimWorld, is_repeated: bool, in_pieces: bool) -> Vec<io::Result<u64>> {
    let parcel = Parcel {
        id: QueueId(77),
        arrival: Wall(1_772_000_000_000_000),
        host: "relay.test",
        is_repeated,
    };
    let copies = maildirs().map(|maildir| Copy {
        maildir,
        head: HEAD.to_vec(),
        source: if in_pieces {
            Source::Pieces(BODY.len() as u64)
        } else {
            Source::Memory(BODY)
        },
    });
    let read = async |from: u64| {
        let from = usize::try_from(from).unwrap();
        Ok(BODY[from..BODY.len().min(from + 7)].to_vec())
    };
    deliver(world, &parcel, &copies, read).await
}

/// What is in the mailboxes, by place.
async fn delivered(world: &SimWorld, maildir: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for place in ["new", "cur"] {
        for name in world.list(&maildir.join(place)).await.unwrap() {
            let file = world.open(&maildir.join(place).join(name), false).await;
            found.push(file.unwrap().read_at(0, 1000).await.unwrap());
        }
    }
    found
}

/// A mail program moves what is new, as one does that shows it.
async fn show(world: &SimWorld) {
    for maildir in maildirs() {
        for name in world.list(&maildir.join("new")).await.unwrap_or_default() {
            let mut seen = maildir.join("cur").join(&name).into_os_string();
            seen.push(":2,S");
            let new = maildir.join("new").join(&name);
            world.rename(&new, Path::new(&seen)).await.unwrap();
        }
    }
}

#[test]
fn a_power_cut_at_any_operation_leaves_no_second_copy_and_no_half_message() {
    let (cuts, repeats) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    for seed in seeds(4) {
        for cut in 1..60 {
            let sim = Sim::new(seed);
            let world = sim.node();
            let (first, in_pieces) = (world.clone(), cut % 2 == 0);
            sim.disk(world.node()).set_faults(Faults {
                cut_at: Some(cut),
                ..Faults::default()
            });
            let told = sim.run(
                &world,
                async move { attempt(&first, false, in_pieces).await },
            );
            let was_cut = told.is_none();
            cuts.set(cuts.get() + u32::from(was_cut));
            if !was_cut {
                sim.power_cut(world.node());
            }
            let world = sim.boot(world.node());
            let (second, repeats) = (world.clone(), Rc::clone(&repeats));
            sim.run(&world, async move {
                show(&second).await;
                for octets in attempt(&second, true, in_pieces).await {
                    repeats.set(repeats.get() + u32::from(octets.unwrap() == 0));
                }
                for maildir in maildirs() {
                    let whole = [HEAD, b"Subject: a\n\n.stuffed\nlast\n"].concat();
                    let found = delivered(&second, &maildir).await;
                    assert_eq!(found, [whole], "cut at {cut}, {maildir:?}");
                }
            })
            .unwrap();
        }
    }
    assert!(
        cuts.get() > 50 && repeats.get() > 50,
        "{cuts:?} {repeats:?}"
    );
}

#[test]
fn a_disk_that_is_full_or_fails_leaves_nothing_and_says_so() {
    for faults in [
        Faults {
            capacity_octets: Some(0),
            ..Faults::default()
        },
        Faults {
            fail_sync_at: Some(1),
            ..Faults::default()
        },
        Faults {
            fail_write_at: Some(1),
            ..Faults::default()
        },
    ] {
        let sim = Sim::new(3);
        let world = sim.node();
        sim.disk(world.node()).set_faults(faults);
        let inside = world.clone();
        sim.run(&world, async move {
            let outcomes = attempt(&inside, false, false).await;
            assert!(outcomes.iter().any(Result::is_err), "{outcomes:?}");
            for (maildir, outcome) in maildirs().iter().zip(&outcomes) {
                let expected = usize::from(outcome.is_ok());
                assert_eq!(delivered(&inside, maildir).await.len(), expected);
                assert!(inside.list(&maildir.join("tmp")).await.unwrap().is_empty());
            }
        })
        .unwrap();
    }
}
