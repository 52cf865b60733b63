//! What Ringpost promises, what is done to it, and what came of that.
//!
//! # The promises
//!
//! 1. A message that was answered with 250 is on stable storage, and leaves the queue only when each
//!    recipient has it, its sender has a report, or an operator removed it. A second copy comes only
//!    after a delivery whose outcome had not reached the disk.
//! 2. Whatever a peer sends, it gets a clear reply or a closed connection, in bounded time and memory.
//! 3. Nobody relays who may not.
//! 4. At a limit new work gets a 4xx that says so, and service returns by itself.
//! 5. No message, panic or destination stops a shard.
//!
//! # In the simulator
//!
//! Whole relays run in memory, on a virtual clock, among clients and hosts that a seed moves (`sim`).
//! Every scenario ends with the same question: was each promise kept, by the ledger that clients and
//! hosts kept (`sim::check`)? The queue is audited after each of its steps, its accounts included.
//! `RINGPOST_SEED=n cargo test --lib NAME` plays one run again, event by event; a failing one names its
//! seed. `--features sim` plays fifty times as many.
//!
//! | Fault | Runs | Lost | Scenario, in `sim::scenarios` |
//! |---|---|---|---|
//! | power cut or kill at any moment, 1 to 4 times a run | 40 | 0 | `the_power_goes_at_any_moment` |
//! | power cut at one of the disk's next 60 operations: unsynced sectors of 512 octets lost one by one, names lost from some moment on | 40 | 0 | `the_power_goes_in_the_middle_of_a_write` |
//! | the same with messages of up to 1.5 MB | 8 | 0 | `large_messages_survive_the_power` |
//! | the same while segments are swept and mail is moved | 18 | 0 | `the_power_goes_while_segments_are_swept` |
//! | the same while a shard takes over another's mail | 12 | 0 | `the_power_goes_while_a_shard_is_taken_over` |
//! | the disk is full for a while | 10 | 0 | `the_disk_is_full_for_a_while` |
//! | any one operation of the disk fails with EIO, and one more at the next start | 40 | 0 | `any_operation_of_the_disk_fails` |
//! | any one operation finds no room | 40 | 0 | `any_operation_of_the_disk_finds_no_room` |
//! | fdatasync fails | 20 | 0 | `a_sync_fails_and_the_relay_is_started_again` |
//! | no file can be read | 4 | 0 | `a_disk_that_cannot_be_read_fails_no_mail` |
//! | hosts refuse, defer, hang, close, drop at each step | 30 | 0 | `hosts_do_everything_a_host_may_do` |
//! | connections are refused, unanswered, reset, silent after any octet | 30 | 0 | `connections_break_anywhere` |
//! | TLS fails at every step, on the way out and in | 182 | 0 | `sim::scenarios::guarded` |
//! | hosts say later for longer than mail may live | 10 | 0 | `hosts_that_say_later_are_asked_until_the_mail_expires` |
//! | one answer of the DNS in three is a lie: SERVFAIL, silence, a stranger's host, ourselves, 200 hosts | 20 | 0 | `the_dns_lies` |
//! | the calendar is set back and forth, while the relay runs and between two lives | 30 | 0 | `the_calendar_jumps_at_any_moment`, `the_calendar_jumps_between_two_lives` |
//! | a task panics, each kind, 12 times a run | 30 | 0 | `tasks_panic_and_the_others_go_on` |
//! | a POP3 session panics | 30 | 0 | `a_session_panics` |
//! | a shard dies | 12 | 0 | `a_shard_panics_and_the_relay_is_started_again` |
//! | an operator holds, releases, bounces meanwhile | 20 | 0 | `an_operator_interferes` |
//! | all of it together, and little memory | 25 | 0 | `everything_goes_wrong_together` |
//! | power cut, kill, a lost shard, a drain, a moment after a report was taken or an address taken off the suppression list | 20, 6 times each | 0 | `the_list_is_what_was_said_of_it_after_any_end` |
//! | power cut at one of the next 30 operations, while that list is written and written anew | 20 | 0 | `the_list_survives_the_power_in_the_middle_of_a_write` |
//! | EIO, ENOSPC, names that cannot be synced, under that list | 20, 12 times each | 0 | `the_list_survives_a_disk_that_fails_or_is_full` |
//! | its keeper panics, or who reads a report | 12, 14 times each | 0 | `the_list_is_kept_through_panics` |
//!
//! Lost is there: an address of which an operator was told that it is on the list and that gets mail, or the
//! other way round; one that a host, a report or a reader has said no to and that gets mail; one that has none
//! although too few have said so, because a report counted twice.
//!
//! That these scenarios can fail is shown by bugs that they must find: each of
//! [`Bug`](crate::trial::Bug) is switched on in turn, and found within 40 runs, most of them in the first
//! two (`every_bug_is_found`; with `--nocapture` it says how many it took and what was complained of).
//! Which faults struck how often, and through which states the queue came,
//! `every_fault_strikes_and_every_state_is_reached` shows, and fails where one is missing.
//!
//! # On the running program
//!
//! | Promise | Fault | Injected | Lost | Where |
//! |---|---|---|---|---|
//! | 1 | SIGKILL at random moments under load | 200, and 200 before | 0 of 176,083, and of 457,383; 3,443 came twice | `scripts/crash` |
//! | 1 | power cut on a file system that loses what was not synced | 150 cuts | 0 of 29,310; 888 came twice | `scripts/crash --disk` |
//! | 1, 4 | full disk, again and again | 300 times 452 | 0 of 456 | `scripts/attack full_disk` |
//! | 4 | messages that begin small and grow past the memory budget together | until the budget is used | none is taken half | `tests/blackbox/limits.rs` |
//! | 2, 4 | half messages of clients that fall silent, past the memory budget | 10,000 connections | 0; nobody else was refused | `scripts/attack half_messages`, `tests/blackbox/limits.rs` |
//! | 2 | clients that never stop talking and never read | 200 connections | others: p99 of 10 ms | `scripts/attack greedy` |
//! | 2 | a pipe, a socket, a device or a link where a file or a shard's directory belongs | each | the start says so, and waits for nobody | `file`, `tests/blackbox/life.rs` |
//! | 2 | a control plane full of requests whose header does not end | 64 connections | the next one is answered within 10 s | `control::listen`, `scripts/attack slow_requests` |
//! | 2 | webhooks that answer without end, an octet at a time, never, before they are asked, with a reset | 8 beside a good one | 0 of 2,000 events for the good one; 53 MiB | by hand |
//! | 4 | full disk under the suppression list, the record of changes, users, and a relay that takes over | each | changes are refused, mail is answered with 452, the queue's commands and the taking over go on | `suppress::book`, by hand |
//! | 1, 5 | the suppression list's keeper panics on every third round | 6 or more | 0 of 12 refused addresses | `tests/blackbox/panics.rs` |
//! | 1 | SIGKILL while the suppression list is written | 5 | 0 of 44,400 that were answered | by hand; `suppress::book` against a plain set |
//! | 4 | 48 imports of 8,400 addresses each at once | 403,200 | all are there; a question meanwhile waits for 3.5 s at the most (49 s before) | by hand |
//! | 4 | a reload 100 times a second, by signals and requests, one file of seven broken | 2,273 in 12 s | 0 of 10,368 messages, p99 of one 41 ms | by hand |
//! | 1 | another relay takes over under load, and either is killed at any moment | 50 times, 30 killed | 0 of 46,010; 53 came twice | `scripts/crash --take-over` |
//! | 1 | the relay that takes over is killed behind its last word; words of other versions | 2, 21 kinds | 0; somebody serves, or exit code 75 | `tests/blackbox/handover.rs`, `serve::handover` |
//! | 4 | the configuration is emptied or removed before a reload | 3 | the old one stays | `tests/blackbox/reload.rs` |
//! | 2 | slow, silent, rude and endless clients and hosts | 15 kinds, see `scripts/attack` | others were served meanwhile | `scripts/attack` |
//! | 3 | privileges, files outside of the data directory | every thread | | `tests/blackbox/confine.rs` |
//! | 1 | SIGKILL and restart, SIGTERM | 1 each | 0 | `tests/blackbox/life.rs` |
//! | 1, 5 | a client's session panics | 20 in 240 messages | 0 of 220 taken | `tests/blackbox/panics.rs` |
//! | 1, 5 | a delivery panics | 73 in 240 | 0 of 240, 25 came twice | the same |
//! | 1, 5 | the spool's writer panics | 3 in 240 | 0 of 236 | the same |
//! | 1, 5 | chores panic | 4 in 240 | 0 of 240 | the same |
//! | 2, 5 | POP3 and IMAP sessions panic, until each has read all of it three times | 3 | 0 of 10 | the same |
//! | 1, 5 | each third lookup panics on the service thread; the pickup panics on every second file | 20, 4 messages | 0; 2 files put aside | the same |
//! | 1, 5 | each second comparison of a password, signature, verification panics | 6, and 5 or more of each other | 0 of 26; nobody hears that a password is wrong | the same |
//!
//! # Under attack
//!
//! What well-behaved clients notice: the 99th percentile of a message (MAIL to 250) and of a new
//! connection, in milliseconds, before and during each attack, and the largest resident size in MiB. Two cores, which
//! attackers (as nice as can be, but for `greedy`) and clients share with the relay; the spool is in memory, so that no disk is in it:
//! `MAILWORLD=/dev/shm scripts/attack --seconds 6`, 2026-11-26, a release build of 81a01f3. Nobody was refused or thrown
//! out. Another round of `greedy` and `slow_readers` had 20 and 22 ms during them. With the spool on the disk, beside compilers, all
//! cases passed too, but what is measured then is the disk: 3 to 200 ms before an attack.
//!
//! | Case | What it does | message | connection | MiB |
//! |---|---|---|---|---|
//! | `half_handshakes` | 1,000 clients, a part of a TLS handshake each, then silence | 4.0 / 2.5 | 2.7 / 3.5 | 109 |
//! | `hellos` | handshakes left when the server has done its part, as fast as 200 can | 5.2 / 16.7 | 4.3 / 7.6 | 94 |
//! | `keys_anew` | new keys without end: KeyUpdate in TLS 1.3, renegotiation in 1.2 | 3.7 / 6.4 | 4.9 / 2.7 | 93 |
//! | `slow_requests` | 64 slow requests on the control plane | 3.5 / 4.5 | 2.5 / 4.9 | 88 |
//! | `greedy` | 200 that never stop talking and never read | 2.2 / 10.8 | 2.4 / 7.2 | 88 |
//! | `slow_readers` | 200 that send commands and read nothing | 2.5 / 8.5 | 1.8 / 9.6 | 94 |
//! | `slow_senders` | 500 that send an octet every half second | 3.7 / 3.4 | 4.5 / 2.6 | 98 |
//! | `half_open` | 1,000 silent at every state | 5.5 / 4.7 | 1.5 / 2.6 | 100 |
//! | `resets` | 200 that reset at every state | 2.8 / 3.5 | 2.9 / 4.4 | 97 |
//! | `flood` | one address that connects without end | 1.9 / 4.0 | 2.2 / 5.0 | 95 |
//! | `garbage` | 100 that send octets by chance | 3.5 / 3.6 | 2.0 / 7.0 | 92 |
//! | `endless_lines` | 100 lines without an end | 2.4 / 4.4 | 2.4 / 7.7 | 137 |
//! | `pipelined` | 100 that pipeline transactions by the hundred | 1.8 / 3.5 | 3.0 / 3.6 | 93 |
//! | `idle` | 14,500 idle connections | 3.2 / 3.7 | 2.0 / 4.6 | 184 |
//! | `endless_reply` | hosts with a reply without end | 3.8 / 3.1 | 4.2 / 2.3 | 96 |
//! | `endless_reply_line` | hosts with a line without end | 4.5 / 3.2 | 2.3 / 9.2 | 95 |
//! | `answers_before_asked` | hosts that answer before they are asked | 4.3 / 2.7 | 2.1 / 2.2 | 97 |
//! | `out_of_step` | hosts whose replies are out of step | 2.2 / 3.9 | 1.9 / 5.2 | 97 |
//! | `slow_replies` | hosts that send a letter every half second | 5.7 / 2.2 | 2.3 / 2.3 | 92 |
//! | `silent` | hosts that say nothing | 1.9 / 2.6 | 1.7 / 5.2 | 98 |
//!
//! # A panic
//!
//! What panics is the end of what it was at: a client's connection, an attempt (its recipients are
//! noted as doubtful and follow the retry curve), a batch of the spool (its senders get 451 4.3.0), a
//! report (made again), a letter between shards. What a shard cannot do without begins anew. Each is
//! counted in `ringpost_panics_total`. Should a shard die in spite of that, the others end what they
//! are at, the process exits with 70, and the next start goes on where it stopped.
//!
//! # Mail that stands still
//!
//! Each shard looks at its whole queue once a minute. A message whose time is over and that has not
//! failed, that no timer and no connection will come for, whose attempt takes hours, or whose report
//! nobody makes, for ten minutes, is a defect: it is counted in `ringpost_queue_stuck` by reason, and
//! the log names it. What an operator holds is not stuck. A message that a defect left on the disk and out
//! of the queue is queued after that time, and the log says so.
