//! How Ringpost is put together, told along one message's way.
//!
//! # The shape
//!
//! ```text
//!                    one pinned core = one shard, nothing in it behind a lock
//!        ┌───────────────────────────────────────────────────────────────────────────┐
//! client │ shard::inbound ──► spool::log ───────► queue ──────► shard::outbound       │ next hop
//!  ────► │ smtp::server       one log, group      lanes, due    route, dns, dial      │ ────►
//!        │ 250 needs a        commit, fdatasync   times, limits smtp::client          │
//!        │ Receipt                 ▲                                │                │
//!        │                         └──── settled, deferred, failed ◄┘                │
//!        └───────▲───────────────────────────▲───────────────────────────▲───────────┘
//!                │ permits, questions        │ DNS answers               │ figures
//!           other shards               service thread: resolver, HTTP control plane
//! ```
//!
//! A **shard** is one executor on one core (pinned there where there are more than two: `uring::cores`). The
//! kernel spreads connections over the shards (`SO_REUSEPORT`), and a message never leaves the one that
//! accepted it: it is stored, queued, delivered and settled there. Between shards only small facts travel,
//! through `shard::mesh`, and the connections of users whose mailbox is at home elsewhere.
//!
//! **Cores** (`wire`, `mail`, `bounces`, `smtp`, `pop3`, `imap`, `queue`, `route`, `spool::record`, most of
//! `mailbox`) are pure: octets or events in, octets or decisions out. They have no clock, no
//! socket, no file and no `async`, so every one of their tests is a plain function call.
//! **Drivers** (`shard`, `spool::log`, `mailbox::folder`) move octets between a core and a
//! [`World`](crate::world::World). There are two worlds: `uring` is the real one, `sim` a seeded
//! one with power cuts, slow peers and a clock that a test turns. `tidy` checks these borders.
//!
//! The **service thread** runs what is written for tokio: the resolver, HTTPS for policies and
//! reports, checks of passwords and of signatures, and `control`, which commands and Prometheus
//! ask. A shard puts a question on its [`Desk`](crate::service::Desk) and goes on with other work
//! until the answer is there.
//!
//! # 1. A client connects
//!
//! `uring::net` accepts. `shard::clients::door` takes off a balancer's header, counts the client,
//! and hands the stream to what is spoken behind that door, for mail `shard::inbound`. The session
//! itself is `smtp::server`: the driver gives it octets and does what it answers (a recipient to
//! judge, content to keep, a message to commit). Lines are found in place (`wire::line`), a command
//! borrows from the receive buffer (`smtp::command`), and an address is parsed once, into a type
//! that cannot be wrong (`wire::path`).
//!
//! Whether a recipient is taken is decided here: `route` has a way for it, and the client may relay
//! because of where it connects from (`smtp.trusted_networks`) or who it has proved to be
//! (`shard::clients::login`; SASL itself is in `users`). Everybody else hears a 5xx, so the default
//! is not an open relay. Only what a route discards is taken from anybody: it goes nowhere. Whoever is on
//! the list of addresses that get no mail (`suppress`) is refused here too.
//!
//! STARTTLS turns the stream into a `tls::Channel` under TLS; what came in plain behind it is
//! thrown away. rustls decides there, our buffers move, and everything above reads and writes as
//! before.
//!
//! # 2. The content arrives
//!
//! `wire::dot` finds the end of data. Only CRLF.CRLF is one: taking anything else for it lets a
//! second message through inside the first. A bare CR or LF is refused with 550 5.5.2, unless
//! configuration says to mend it.
//!
//! The content is kept as it came, dot-stuffed with CRLF, because that is how it leaves. It is
//! looked at once on the way (`wire::header`): 8-bit octets, longest line, count of `Received`.
//! A small message gathers in memory; a large one streams into an extent of the spool, so that
//! memory for each connection is bounded (`shard::inbound::gather`).
//!
//! What a listener wants beyond that is looked at on the same way (`shard::inbound::watch`): a
//! submission loses its Bcc (`wire::sieve`) and gets what it lacks (`shard::inbound::store`); for
//! the rules of bulk senders its header is kept (`preflight`). Where a listener verifies, the body
//! is hashed, and at its end the service thread is asked who the message is from
//! (`shard::inbound::verify`, `verify`): that stands before the trace field.
//!
//! # 3. The commit
//!
//! `spool::log` appends the message to the open batch. One writer takes the batch, writes it and
//! calls fdatasync; meanwhile the next batch gathers. So many connections share one sync, and no
//! timer is needed. Only a finished fdatasync makes a `spool::Receipt`, and only something that
//! implements [`Committed`](crate::mail::Committed), as the receipt alone does, makes the session
//! say 250. That is the promise as a type.
//!
//! # 4. The queue
//!
//! `queue` holds in memory what deciding needs: ids, next hops, due times, attempts. Content and
//! envelopes of waiting mail stay on disk. All mail of a shard for one next hop is a *lane*; where pools of
//! sources are configured, for one next hop by one pool (`route::pool`). The queue decides and never acts: it is
//! told the time and outcomes, and answers what is due. Whose mail it is (`shard::clients::tenants`) decides
//! about its pool, and how many turns it gets in a lane.
//!
//! # 5. The delivery
//!
//! `shard::outbound::courier` takes what a lane has due; mail for elsewhere goes host by host
//! (`shard::outbound::remote`, `shard::outbound::connect`). `shard::hosts` finds out
//! who may take it: MX and addresses (`shard::hosts::names`, then `service::resolver`), and what
//! TLS has to be there, from DANE or the domain's own policy (`shard::hosts::demand`, `tls::dane`,
//! `route::sts`). It leases a connection permit from the destination's home shard
//! (`shard::outbound::permits`), and where there is a rate, a slot for each message (`shard::outbound::pace`,
//! `queue::pace`, which also learns from hosts that complain). It connects from a source whose turn it is
//! (`shard::outbound::sources`), and runs `smtp::client` over the stream (`shard::outbound::transmit`). What
//! leaves is signed once for each form in which it leaves (`shard::message::sign`, `dkim`). The client session pipelines where the peer allows it and
//! gives one [`Outcome`](crate::mail::outcome::Outcome) for each recipient. A connection serves
//! further messages of its lane.
//!
//! # 6. The outcome
//!
//! The variant alone decides (`shard::settle`): *delivered* settles the recipient, *deferred*
//! schedules it again, *failed* makes a report (`shard::settle::report`, `mail::dsn`) that enters
//! the spool like any message. *Doubtful* is the connection that died between the final dot and its
//! reply: the peer may hold a copy. It is tried again, because twice is better than never, and is
//! shown to the operator.
//!
//! Outcomes are records in the same log. They ride with the next batch and cost no sync of their
//! own: what a crash can repeat is a delivery whose outcome was not on disk yet.
//!
//! Everything that happened to a message on the way is in `observe`: a histogram for each stage, a
//! log line for each attempt, its history for `ringpost trace`, an event for other programs (`observe::events`,
//! `service::events`). A refusal has a class (`bounces`), and may put an address onto the list of those that
//! get no more mail. What came of TLS is counted for the domains that want to know (`shard::hosts::tell`,
//! `service::reports`).
//!
//! # 7. The end
//!
//! When every recipient is settled, so is the message. A segment of the log without a live message
//! is used again. A few survivors in an old segment are moved on by a paced compactor.
//!
//! # Mail for a mailbox here
//!
//! A lane may also lead to mailboxes. `users::alias` says whose, at RCPT already; what an alias
//! sends elsewhere is a recipient of its own before the message is written (`users::expansion`).
//! The shard that holds the message writes its files itself (`shard::outbound::deliver`,
//! `mailbox::deliver`), whichever shard that is, and only a synced file settles a recipient. A
//! letter tells the user's home shard, and a client that is waiting there hears of it.
//!
//! # What comes back later
//!
//! Mail may leave with a return path that names message and recipient (`mail::verp`, `shard::returns::paths`). What
//! comes to it, when its proof holds at RCPT, is stored like any mail, and its lane leads to `shard::returns`: read
//! (`mail::report`), sorted as a reply would be, and settled once the suppression list has it on the disk. Who has sent
//! a complaint is known while it comes in alone, so that is written into a trace field of ours (`shard::inbound::verify`).
//!
//! # Mail is fetched
//!
//! ```text
//!  client ─► door ─► shard::retrieve: greeting, TLS, login ─► at home here? ──yes──► session ◄─► folder
//!                                                              │                        ▲
//!                                                              └ no: the connection moves, TLS and all
//! ```
//!
//! A user's **home** is a shard, by a hash of the address (`shard::mesh`). Whoever logs in
//! elsewhere moves there with the connection (`shard::retrieve`), so all sessions of a user share
//! one account (`mailbox::account`) and one of each open folder (`mailbox::folder`), and no lock is
//! needed: writers take turns (`mailbox::turn`). `pop3` and `imap` are cores like `smtp`:
//! `pop3::session` is fed octets, `imap::frame` finds where a command ends, and `imap-codec` reads
//! it. `imap::view` gives the messages the numbers that one client knows, brought up to date only
//! when the client may hear of it.
//!
//! The Maildir's files are the mail. What a Maildir has no place for, UIDs above all, is in an
//! index (`mailbox::index`) that is made anew when it is lost, and that believes the files where
//! they differ.
//!
//! # Mail of this machine's programs
//!
//! `ringpost sendmail` is a client like any other: it submits to the first `smtp` listener. While
//! no relay runs, mail waits in a directory that the relay picks up at its start (`maildrop`).
//!
//! # After a crash
//!
//! `spool::recover` reads the segments in order, ends each at its torn tail, and tells what waits;
//! `shard::life` rebuilds the queue from it and logs what was found. Directories of shards that no
//! longer exist are taken over then (`shard::life::adopt`, `spool::adopt`).
//!
//! # From one process to the next
//!
//! `serve::site` takes the place: the data directory's lock, and ports, its own (`uring::start`) or such as were open
//! before it (`uring::given`): the service manager's, kept by it, or handed over (`serve::handover`). A shard that
//! hands over stops accepting without closing the socket, which is why `uring::net` waits for a listening
//! socket to be readable and then accepts, and has no accept under way that could not be taken back.
//! `serve::words` does what the running process is told, by signals and by the control plane.
//!
//! # Words
//!
//! Names that no RFC has, and where what they stand for lives:
//!
//! | Word | What it is | |
//! |---|---|---|
//! | part | the recipients of one message for one next hop: they share a schedule | `queue` |
//! | lane | all parts of a shard for one next hop | `queue::lane` |
//! | courier | the task that holds one connection of a lane, and brings one message after the other | `shard::outbound` |
//! | source, pool | an address that mail leaves from, with its name in EHLO; sources that take turns | `route::pool` |
//! | home | the one shard that keeps what must be exact over all: a destination's permits and pace, a user's mailbox | `shard::mesh` |
//! | permit | the right to one connection to a destination, lent by its home | `queue::permits` |
//! | slot | the moment at which one message may go, booked at its home | `queue::pace` |
//! | letter | what a shard finds in its inbox | `shard::mesh` |
//! | desk | where a shard puts questions to the service thread | `service` |
//! | door | a listening socket of a shard, and what is spoken behind it | `shard::clients::door` |
//! | receipt | the proof that a message is on stable storage | `spool` |
//! | extent | a file of its own for a large message's content | `spool::extent` |
//! | gate | who is inside of something that ends when they have left | `shard::life::gate` |
//! | budget | what a shard may hold in memory, and who has to give some back | `shard::life::budget` |
//! | visitors, talkers, suspects, regulars | clients: all that are there, those who never wait for an answer, those who fail to log in, those who did log in | `shard::clients` |
//! | lodgers | users' sessions that run on their home | `shard::retrieve::lodgers` |
//! | bin | what was removed and can be put back | `queue::bin` |
//! | watch | who looks for mail that nothing will move | `queue::watch` |
//! | trial | bugs that tests switch on, to see that they would be found | `trial` |
//! | steward, keeper | who does what the running process is told; the thread it does it on, which may read what others may not | `serve` |
