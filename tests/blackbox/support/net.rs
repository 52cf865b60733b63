//! Loopback networks and ports that no other test uses.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A /24 of 127/8 of one test's own.
pub struct Network {
    prefix: [u8; 3],
}

impl Network {
    pub fn new() -> Self {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        // The process number keeps two runs of the tests on one machine apart.
        let slot = std::process::id() as usize * 512 + taken;
        let second = 16 + (slot / 254) % 200;
        let third = 1 + slot % 254;
        Self {
            prefix: [127, octet(second), octet(third)],
        }
    }

    pub fn host(&self, n: u8) -> Ipv4Addr {
        let [a, b, c] = self.prefix;
        Ipv4Addr::new(a, b, c, n)
    }

    /// A port that is free at the `n`th host. Nobody else binds in this network, so it stays so.
    pub fn free_port(&self, n: u8) -> u16 {
        let probe = TcpListener::bind((self.host(n), 0)).expect("a loopback port");
        probe.local_addr().expect("a bound socket").port()
    }
}

fn octet(value: usize) -> u8 {
    u8::try_from(value).expect("in range by construction")
}

/// The CPUs that this process may use, one after the other: relays with one shard each would
/// otherwise all sit on the first.
pub fn next_cpu() -> usize {
    static GIVEN: AtomicUsize = AtomicUsize::new(0);
    let cpus = allowed_cpus();
    cpus[GIVEN.fetch_add(1, Ordering::Relaxed) % cpus.len()]
}

pub fn allowed_cpus() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).expect("the affinity of this process");
    (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect()
}
