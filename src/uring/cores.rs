//! Which core each shard gets.

use std::path::Path;

use super::start::{EX_CONFIG, EX_OSERR, Refused};
use crate::config::Cores;
use crate::mail::envelope::SHARDS_MAX;
use crate::world::Seat;

/// Places the shards; `None` leaves the choice to the kernel.
pub fn place(cores: &Cores) -> Result<Vec<Option<Seat>>, Refused> {
    let nodes = Path::new(NODES);
    // Without /sys, as in a bare chroot, the runtime finds no CPU to pin to.
    let blind = !Path::new(CPUS).exists();
    let cpus = choose(cores, &allowed_cpus()?, has_quota() || blind)?;
    let seat = |cpu| Seat {
        cpu,
        node: node_of(nodes, cpu),
    };
    Ok(cpus.into_iter().map(|cpu| cpu.map(seat)).collect())
}

/// The CPU of each shard. In a container that is limited by quota they are not pinned: a pinned
/// shard that used up the quota would stand still while another core idles.
fn choose(
    cores: &Cores,
    allowed: &[usize],
    has_quota: bool,
) -> Result<Vec<Option<usize>>, Refused> {
    let all = allowed.len().min(SHARDS_MAX);
    let pinned = |cpus: &[usize]| cpus.iter().copied().map(Some).collect();
    match cores {
        Cores::All if has_quota => Ok(vec![None; all]),
        Cores::All => Ok(pinned(&allowed[..all])),
        Cores::Count(count) if *count <= allowed.len() && !has_quota => {
            Ok(pinned(&allowed[..*count]))
        }
        Cores::Count(count) => Ok(vec![None; *count]),
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

/// A directory for each CPU.
const CPUS: &str = "/sys/devices/system/cpu";

/// A directory for each NUMA node, with a link for each of its CPUs.
const NODES: &str = "/sys/devices/system/node";

#[cfg(test)]
mod tests {
    use super::*;

    /// What `cores` chooses of CPUs 2, 3, 6 and 7.
    fn chosen(cores: &Cores, has_quota: bool) -> Vec<Option<usize>> {
        choose(cores, &[2, 3, 6, 7], has_quota).expect("a choice")
    }

    #[test]
    fn shards_get_the_cores_that_the_configuration_names() {
        let some = |cpus: &[usize]| cpus.iter().copied().map(Some).collect::<Vec<_>>();
        let list = Cores::List(vec![7, 2]);
        assert_eq!(chosen(&Cores::All, false), some(&[2, 3, 6, 7]));
        assert_eq!(chosen(&Cores::Count(3), false), some(&[2, 3, 6]));
        assert_eq!(chosen(&list, false), some(&[7, 2]));
        assert_eq!(
            chosen(&Cores::Count(5), false),
            [None; 5],
            "two on one core are the kernel's to place"
        );
    }

    #[test]
    fn a_quota_leaves_the_choice_to_the_kernel_unless_cpus_are_named() {
        assert_eq!(chosen(&Cores::All, true), [None; 4]);
        assert_eq!(chosen(&Cores::Count(2), true), [None; 2]);
        let list = Cores::List(vec![3]);
        assert_eq!(chosen(&list, true), [Some(3)]);
    }

    #[test]
    fn a_cpu_that_may_not_be_used_is_refused_with_a_remedy() {
        let refused = place(&Cores::List(vec![usize::MAX])).expect_err("no such CPU");
        assert_eq!(refused.exit_code, 78);
        assert!(refused.why.contains("[runtime] cores"), "{refused}");
        let refused = choose(&Cores::List(vec![2, 4]), &[2, 3], false).expect_err("not ours");
        assert!(refused.why.contains("names CPU 4"), "{refused}");
        assert_eq!(place(&Cores::Count(3)).expect("seats").len(), 3);
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
