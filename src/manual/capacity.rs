//! What a machine carries: what a message costs, what follows for 1, 16 and 64 cores and for ten
//! machines, and what ends first at each size.
//!
//! Measured is what stands in the tables of `benches/README.md`, `tuning/` and this page, on two cores of a
//! virtual machine whose disk takes 0.2 to 2 ms for an fdatasync. The rest is arithmetic with those
//! figures, and says so. Do it again with yours: `scripts/load` and `scripts/micro`.
//!
//! # What a message costs
//!
//! 1 KiB, on disk before its 250, no TLS, connections to the host kept, clients and host on the same two CPUs
//! (`scripts/bench`, `scripts/load --count 4000`):
//!
//! | | CPU of a message |
//! |---|---|
//! | 20 clients on two shards that stay on a CPU each, a connection for each message | 290 us |
//! | 20, 100 clients on two shards that go where a CPU is idle | 240 us, 190 us |
//! | 20, 100 clients on one shard | 180 us, 140 us: larger batches, fewer wake-ups |
//! | 20 clients that keep their connections | 130 us |
//! | 100 clients that keep theirs | 115 us |
//! | 20 that keep theirs and do not wait for each reply (`scripts/bench --rows knee`) | 74 us; 80 us with envelope and content in one (BDAT) |
//! | the same on one shard: 6,000, 10,100, 16,700 a second | 151 us, 87 us, 58 us: the fuller a core, the less a message costs |
//! | one client that waits for each 250 | 575 us: nobody shares its wake-ups and syncs |
//! | 10 KiB, 40 clients, a connection each | 290 us |
//!
//! Two thirds of it are the kernel's for sockets and wake-ups, an eighth its workers' that write and sync, a
//! sixth the program's own. Beside the CPU:
//!
//! | | | from |
//! |---|---|---|
//! | the log of the spool | the content, and 400 octets: header, envelope, trace field, outcome | `ringpost_shard_log_written_bytes_total` |
//! | syncs | 0.3 to 0.5 with 20 clients; one with a client alone | `ringpost_shard_syncs_total` |
//! | letters between shards | 0.1 on two shards; below 4 for each recipient when 64 shards crowd at destinations | `ringpost_shard_letters_sent_total`, the simulator |
//! | a TLS handshake on one side | 250 us in full, 115 resumed (TLS 1.3, X25519MLKEM768, P-256) | half of both sides' time in `scripts/micro tls` |
//! | a DKIM signature, RSA-2048, 10 KiB | 255 us, on a thread that is no shard | the same |
//! | memory | its octets while it is on its way, within `[runtime] memory`; about 220 octets while it waits | `ringpost_shard_memory_used_bytes` |
//! | a client that is connected and silent | 4 KiB, 3 KiB of it the relay's own; some more under TLS | `scripts/bench --rows idle` |
//!
//! A shard commits once for each time the disk takes, at most. With 2 ms that is 500 batches a second, so to
//! use up a core (3,400 messages a second) seven messages have to be in each: a dozen clients at once on
//! each shard. A disk whose cache survives a power cut takes 20 to 100 us, and sets no bound.
//!
//! # What follows
//!
//! Arithmetic, with 290 us for a connection each and 115 us for connections kept, which is much: a core that is full
//! takes half of it. Two shards took 0.61 of what one took for a message at the same rate for each (`scripts/bench --rows cores`), so
//! more cores make none dearer:
//!
//! | 1 KiB | 1 core | 16 cores | 64 cores | 10 machines of 16 |
//! |---|---|---|---|---|
//! | messages a second, a connection each | 3,400 | 55,000 | 220,000 | 550,000 |
//! | the same with a full TLS handshake on both sides | 1,270 | 20,000 | 81,000 | 200,000 |
//! | messages a second, connections kept | 8,700 | 140,000 | 560,000 | 1.4 million |
//! | a day, a connection each | 290 million | 4.8 billion | 19 billion | 48 billion |
//! | network, a connection each: about 1.8 KiB and 20 packets on each side | 0.1 Gbit/s, 0.14 million packets | 1.6 Gbit/s, 2.2 million | 6.5 Gbit/s, 8.8 million | 1.6 Gbit/s each |
//! | log, a connection each | 5 MB/s | 80 MB/s | 310 MB/s | 80 MB/s each |
//! | syncs, with batches of seven | 500 | 8,000 | 31,000 | 8,000 each |
//!
//! Messages never change shards, and shards share the disk, the card and the service thread only, so rates
//! multiply until one of these ends, or a destination does. What ends first:
//!
//! - **1 core: the core.** `ringpost_core_busy_ratio` is 1 while disk and card idle. With few clients it is the
//!   disk's latency instead: a client that waits for each 250 gets one message for each sync. Connections
//!   that are kept help most, then TLS resumption.
//! - **16 cores: ports and packets.** A smart host that gets everything over new connections takes 920 a
//!   second from each address of ours (`tuning/sysctl.conf`): let connections carry 100 messages, or name
//!   more `[delivery] source` addresses. Two million packets a second are more than one interrupt queue
//!   carries: as many queues as shards (`tuning/cores.md`). The accept queue is no bound: each shard has one of
//!   its own, and the kernel spreads clients over them by a hash, evenly when there are hundreds. With
//!   ten, one core may be full while another idles: `ringpost shards`.
//! - **64 cores: the disk's flushes, and destinations.** 31,000 syncs a second are a matter of the device and its
//!   file system; batches grow by themselves when it is slow, and latency with them. Several disks need
//!   several relays. A destination that takes 20 connections has none for 44 of 64 shards at any moment:
//!   shards take turns of ten messages or three seconds, and its home shard answers for all of them. Raise
//!   `connections_per_destination` where the receiver bears it, or run fewer shards. Memory is divided: a
//!   shard has a 64th of `[runtime] memory`, and a large message must fit in. With two NUMA nodes name the
//!   CPUs of the one that has disk and card, or run a relay on each.
//! - **10 machines: the receivers.** Nothing is shared between relays, and nothing is counted over them: ten
//!   times the connections reach each destination, so give each relay a tenth. MX records of one preference,
//!   or a balancer with the PROXY header, spread the clients. What large receivers take from addresses and
//!   domains that they have not known for long is far below what one core sends.
//!
//! The DNS is asked once for each destination and time to live, two to four questions, and one thread
//! waits for the answers of all shards. Mail for a few thousand destinations needs it for a moment;
//! a list in which every recipient has another domain needs a caching resolver on the same machine. Where
//! the thread itself ends was not measured. The same thread serves the control plane: each reading
//! of `/metrics` copies every shard's histograms.
//!
//! # What was checked
//!
//! - Two cores: all figures under *What a message costs*. Nothing larger was at hand.
//! - 64 shards in the simulator (`src/sim/scenarios/crowd.rs`): 160 clients, three destinations that take
//!   20 connections each and are slow. Every message arrives once, no destination ever has more than 20
//!   connections, no shard is left out while others deliver, and letters stay within 4 for each
//!   recipient. It found that shards without a permit waited for as long as the others had mail.
//! - Turns (`src/queue/permits.rs`): with mail without end on 64 shards and 1, 20 or 63 permits each shard
//!   gets its turn as often as the others, within a factor of two.
//! - Homes (`src/shard/outbound/permits.rs`): of 10,000 destinations every one of 64 shards keeps the
//!   counts of 100 to 220.
