//! Which shard runs on which core, in one line: neighbours on neighbouring cores are told together.

use std::fmt;

use serde_json::{Value, json};

use crate::world::Seat;

/// Where each shard is pinned, by its number.
pub(super) struct Seats<'a>(pub(super) &'a [Option<Seat>]);

impl Seats<'_> {
    /// An object for each shard.
    pub(super) fn as_json(&self) -> Value {
        let rows = self.0.iter().enumerate().map(|(shard, seat)| {
            json!({
                "shard": shard,
                "cpu": seat.map(|seat| seat.cpu),
                "node": seat.and_then(|seat| seat.node),
            })
        });
        rows.collect()
    }
}

impl fmt::Display for Seats<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shards = self.0.len();
        write!(f, "{shards} shard{}", if shards == 1 { "" } else { "s" })?;
        if self.0.iter().all(Option::is_none) {
            return f.write_str(", not pinned: the kernel places them");
        }
        let mut first = 0;
        for run in self.0.chunk_by(is_next) {
            f.write_str(if first == 0 { ": " } else { ", " })?;
            Span(first, run.len()).fmt(f)?;
            first += run.len();
            let Some(Some(seat)) = run.first() else {
                f.write_str(" not pinned")?;
                continue;
            };
            write!(f, " on CPU {}", Span(seat.cpu, run.len()))?;
            if let Some(node) = seat.node {
                write!(f, " (node {node})")?;
            }
        }
        Ok(())
    }
}

/// Whether `b` is pinned to the CPU behind that of `a`.
fn is_next(a: &Option<Seat>, b: &Option<Seat>) -> bool {
    let next = |seat: &Seat| Seat {
        cpu: seat.cpu + 1,
        ..*seat
    };
    a.as_ref().map(next) == *b
}

/// So many numbers from the first one on: `4`, `4-7`.
struct Span(usize, usize);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(first, many) = *self;
        write!(f, "{first}")?;
        if many > 1 {
            write!(f, "-{}", first + many - 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(cpus: &[Option<usize>], node_of: impl Fn(usize) -> Option<usize>) -> String {
        let seat = |cpu| Seat {
            cpu,
            node: node_of(cpu),
        };
        let seats: Vec<_> = cpus.iter().map(|cpu| cpu.map(seat)).collect();
        Seats(&seats).to_string()
    }

    #[test]
    fn operator_reads_which_shard_has_which_core() {
        let one = |_| None;
        for (cpus, text) in [
            (&[Some(3)][..], "1 shard: 0 on CPU 3"),
            (&[Some(0), Some(1), Some(2)], "3 shards: 0-2 on CPU 0-2"),
            (
                &[Some(0), Some(2), Some(3), Some(1)],
                "4 shards: 0 on CPU 0, 1-2 on CPU 2-3, 3 on CPU 1",
            ),
            (
                &[None, None],
                "2 shards, not pinned: the kernel places them",
            ),
        ] {
            assert_eq!(told(cpus, one), text);
        }
        let cpus: Vec<_> = (0..64).map(Some).collect();
        assert_eq!(
            told(&cpus, |cpu| Some(cpu / 32)),
            "64 shards: 0-31 on CPU 0-31 (node 0), 32-63 on CPU 32-63 (node 1)"
        );
    }

    #[test]
    fn programs_read_which_shard_has_which_core() {
        let seat = |cpu, node| Some(Seat { cpu, node });
        assert_eq!(
            Seats(&[seat(4, Some(1)), None]).as_json(),
            json!([
                { "shard": 0, "cpu": 4, "node": 1 },
                { "shard": 1, "cpu": null, "node": null },
            ])
        );
    }
}
