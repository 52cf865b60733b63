//! Which core each shard gets.

use std::path::Path;

use super::start::{EX_CONFIG, EX_OSERR, Refused};
use crate::config::{Cores, Pin, Runtime};
use crate::mail::envelope::SHARDS_MAX;
use crate::world::Seat;

/// Places the shards; `None` leaves the choice to the kernel.
pub fn place(runtime: &Runtime) -> Result<Vec<Option<Seat>>, Refused> {
    let (nodes, allowed) = (Path::new(NODES), allowed_cpus()?);
    // Without /sys, as in a bare chroot, the runtime finds no CPU to pin to. In a container that is
    // limited by quota a pinned shard that used it up would stand still while another core idles.
    let cannot = has_quota() || !Path::new(CPUS).exists();
    let wants = match runtime.pin {
        Pin::Auto => allowed.len() > FEW_CPUS,
        Pin::Always => true,
        Pin::Never => false,
    };
    let cpus = choose(&runtime.cores, &allowed, wants && !cannot)?;
    let seat = |cpu| Seat {
        cpu,
        node: node_of(nodes, cpu),
    };
    Ok(cpus.into_iter().map(|cpu| cpu.map(seat)).collect())
}

/// The CPU of each shard. Whether shards stay on one is asked of those alone that nobody has named CPUs
/// for.
fn choose(cores: &Cores, allowed: &[usize], pins: bool) -> Result<Vec<Option<usize>>, Refused> {
    let pinned = |cpus: &[usize]| cpus.iter().copied().map(Some).collect();
    let count = match cores {
        Cores::All => allowed.len().min(SHARDS_MAX),
        Cores::Count(count) => *count,
        Cores::List(list) => list.len(),
    };
    match cores {
        Cores::All | Cores::Count(_) => Ok(match allowed.get(..count) {
            Some(cpus) if pins => pinned(cpus),
            _ => vec![None; count],
        }),
        Cores::List(list) => match list.iter().find(|cpu| !allowed.contains(cpu)) {
            None => Ok(pinned(list)),
            Some(cpu) => Err(Refused {
                why: format!(
                    "[runtime] cores names CPU {cpu}, but this process may use only {allowed:?}: change the list or the affinity"
                ),
                exit_code: EX_CONFIG,
            }),
        },
    }
}

/// The NUMA node of a CPU, where `nodes` has several: `node1/cpu7` is there for CPU 7 on node 1.
fn node_of(nodes: &Path, cpu: usize) -> Option<usize> {
    let entries = std::fs::read_dir(nodes).ok()?;
    let numbers = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_prefix("node")?.parse::<usize>().ok()
    });
    let numbers: Vec<usize> = numbers.collect();
    let has = |node: &&usize| nodes.join(format!("node{node}/cpu{cpu}")).exists();
    (numbers.len() > 1).then(|| numbers.iter().find(has).copied())?
}

fn allowed_cpus() -> Result<Vec<usize>, Refused> {
    let set = rustix::thread::sched_getaffinity(None).map_err(|error| Refused {
        why: format!("cannot read the CPU affinity: {error}"),
        exit_code: EX_OSERR,
    })?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect())
}

fn has_quota() -> bool {
    let two = std::fs::read_to_string("/sys/fs/cgroup/cpu.max")
        .is_ok_and(|text| !text.starts_with("max"));
    let one = std::fs::read_to_string("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
        .is_ok_and(|text| !text.starts_with("-1"));
    two || one
}

/// With more than so many CPUs, shards keep theirs: clients, the kernel's workers and other programs find
/// room beside them. With one or two everybody wants the same ones: a pinned shard waits there for its turn,
/// or takes the CPU in the middle of another's work, while the next CPU idles (`tuning/cores.md`).
const FEW_CPUS: usize = 2;

/// A directory for each CPU.
const CPUS: &str = "/sys/devices/system/cpu";

/// A directory for each NUMA node, with a link for each of its CPUs.
const NODES: &str = "/sys/devices/system/node";

#[cfg(test)]
mod tests {
    use super::*;

    /// What `cores` chooses of CPUs 2, 3, 6 and 7.
    fn chosen(cores: &Cores, pins: bool) -> Vec<Option<usize>> {
        choose(cores, &[2, 3, 6, 7], pins).expect("a choice")
    }

    fn place_on(cores: Cores) -> Result<Vec<Option<Seat>>, Refused> {
        place(&Runtime {
            cores,
            ..Runtime::default()
        })
    }

    #[test]
    fn pinned_shards_get_the_cores_that_the_configuration_names() {
        let some = |cpus: &[usize]| cpus.iter().copied().map(Some).collect::<Vec<_>>();
        let list = Cores::List(vec![7, 2]);
        assert_eq!(chosen(&Cores::All, true), some(&[2, 3, 6, 7]));
        assert_eq!(chosen(&Cores::Count(3), true), some(&[2, 3, 6]));
        assert_eq!(chosen(&list, true), some(&[7, 2]));
        assert_eq!(
            chosen(&Cores::Count(5), true),
            [None; 5],
            "two on one core are the kernel's to place"
        );
    }

    #[test]
    fn shards_that_are_not_pinned_go_where_a_cpu_is_idle_unless_cpus_are_named() {
        assert_eq!(chosen(&Cores::All, false), [None; 4]);
        assert_eq!(chosen(&Cores::Count(2), false), [None; 2]);
        let list = Cores::List(vec![3]);
        assert_eq!(chosen(&list, false), [Some(3)]);
    }

    #[test]
    fn a_cpu_that_may_not_be_used_is_refused_with_a_remedy() {
        let refused = place_on(Cores::List(vec![usize::MAX])).expect_err("no such CPU");
        assert_eq!(refused.exit_code, 78);
        assert!(refused.why.contains("[runtime] cores"), "{refused}");
        let refused = choose(&Cores::List(vec![2, 4]), &[2, 3], true).expect_err("not ours");
        assert!(refused.why.contains("names CPU 4"), "{refused}");
        assert_eq!(place_on(Cores::Count(3)).expect("seats").len(), 3);
    }

    #[test]
    fn a_cpu_has_a_node_where_there_are_several() {
        let nodes = tempfile::tempdir().expect("a directory");
        let make = |name| std::fs::create_dir_all(nodes.path().join(name)).expect("made");
        ["node0/cpu0", "node0/cpu1", "power"]
            .into_iter()
            .for_each(make);
        assert_eq!(node_of(nodes.path(), 1), None, "there is one");
        ["node1/cpu2", "node1/cpu3"].into_iter().for_each(make);
        assert_eq!(node_of(nodes.path(), 1), Some(0));
        assert_eq!(node_of(nodes.path(), 3), Some(1));
        assert_eq!(node_of(nodes.path(), 9), None);
        assert_eq!(node_of(Path::new("/nowhere"), 0), None);
    }
}
