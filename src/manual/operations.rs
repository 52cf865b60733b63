//! Running a relay: first what every relay needs, then users, then what goes on between relays.
//!
//! # Start
//!
//! `ringpost serve --config FILE` stays in the foreground, prints where it listens to
//! standard output, and logs to standard error. It needs io_uring (Linux 5.11 or later; some
//! container profiles forbid it) and 512 KiB of lockable memory for each core (`ulimit -l`). What is
//! missing is named at the start, with the remedy, and the exit code is one of sysexits.h.
//!
//! What takes longer than a second says how far it is: reading the spool at the start, `ringpost spool
//! check`, making a mailbox's index anew, the end. On a terminal that is a bar on standard error, else a line for each tenth (of the relay
//! itself: in its log); systemd shows the same in `systemctl status`.
//!
//! # Install
//!
//! - `scripts/package` makes a .deb: a user of its own, the unit, `/etc/ringpost/ringpost.toml`, manual pages,
//!   completions, and `sendmail`, `mailq` and `newaliases` (it provides `mail-transport-agent`). An upgrade
//!   restarts the relay without a refused connection; a removal keeps mail and configuration, and a purge
//!   keeps users' mailboxes. `ringpost-dbgsym` beside it has what `gdb` and `perf` want to know, and
//!   `--target aarch64-unknown-linux-gnu` makes both for another machine.
//! - `scripts/install` does the same without a package manager, below `/usr/local` or `--prefix`, and
//!   `--uninstall` takes it away again.
//! - `tuning/Containerfile` makes an image: no root, and nothing to write but the volume `/var/lib/ringpost`
//!   (`--read-only`). The usual seccomp profiles refuse io_uring, and the relay then says so and ends with 71:
//!   `--security-opt seccomp=tuning/seccomp.json` has the rings, and besides what the unit allows.
//!   `ringpost health` is its health check.
//!
//! # Watch
//!
//! - `ringpost queue list`, `queue show ID`, `queue shape`: what waits, where to, why.
//! - `ringpost trace ID`: what happened to one message, with the time of each stage and each reply.
//!   Each shard remembers its newest messages in 8 MiB, until the relay ends.
//! - `ringpost trace --destination NAME` (a next hop, or a host) and `--client ADDRESS` (or a network) follow
//!   the SMTP dialogues of connections that begin from now on, line by line. Logins are left out, and of content
//!   the length alone is told. Lines that are not taken in time are lost and counted; mail waits for nobody.
//! - `ringpost explain RCPT`: how mail to somebody would travel now: the rule, the hosts and addresses in
//!   order, what TLS has to be there and who says so, and what the lane has waiting. The names are
//!   looked up by the running relay, as a delivery would; nothing is sent.
//! - `ringpost latency`: percentiles for each stage from banner to delivery: since the start, of the last
//!   `--window minute` or `hour`, of one `--shard` or `--destination`. `--save FILE` keeps the histograms,
//!   `--since FILE` shows what was recorded since then beside what was before. Windows are made of looks
//!   every ten seconds, and percentiles in them are off by 1 % at most.
//! - `ringpost shards`: which shard has which core, and how full it is. BUSY is the share of the last
//!   seconds in which the shard had work; at 100 % the core has no more to give, and clients that the
//!   kernel hands to that shard wait longer. Where CPU is much less than BUSY, other programs use the
//!   core; a shard that is not tied to one (`[runtime] pin`) goes where one is idle. What the kernel's workers write
//!   and sync for a shard is in neither. `/metrics` has the same (`ringpost_core_busy_ratio`, `ringpost_shard_*`);
//!   the log says at the start which core is whose.
//! - `http://127.0.0.1:8025/` in a browser: all of this on one page, with a search that leads to what
//!   happened to a message and how mail would travel, and with orders that ask first. It asks the same
//!   addresses as the commands, every five seconds while somebody looks; the token, where there is one,
//!   stays in that tab.
//! - Every command that prints data takes `--json`. Tables have colours on a terminal, unless `NO_COLOR` is set.
//! - Histograms in `/metrics` are native ones (eight buckets for each doubling, from a microsecond on) for a Prometheus
//!   that keeps them (`--enable-feature=native-histograms`, or `scrape_native_histograms` in the configuration of later
//!   ones), because only its Protocol Buffers carry them; in text they have buckets from 100 us (1 ms over a network) to
//!   600 s. Dashboard and alert rules in `tuning/` read either. `ringpost latency` and `/api/v1/latency` have every
//!   digit. OpenTelemetry's collector reads the same address (its `prometheus` receiver); an exporter of our own would
//!   bring gRPC and a second runtime beside the mail.
//! - `/metrics` for Prometheus, `/healthz` (the process lives), `/readyz` (it takes mail), on the
//!   address of `[control] bind`.
//! - The log has one line for each attempt, in the shape that tools for Postfix's log read:
//!   `ID: to=<b@d.test>, relay=mx.d.test[192.0.2.1]:25, delay=..., delays=a/b/c/d, dsn=2.0.0,
//!   status=sent (250 ...)`.
//!
//! A report (bounce, delay notice, success) carries the whole message where it is at most 50 KiB and
//! the sender did not ask for `RET=HDRS`; else its header alone. A delay notice and a report of
//! success carry the header alone. No report is sent about a report. With `[queue] bounce_copy` bounces
//! also go into a mailbox of yours, or into a folder `Bounces` of it: `bounce_copy =
//! "ann+Bounces@example.org"` with `[mailboxes] subaddress = "folder"`. The copy is the sender's report,
//! content included.
//!
//! Alarms worth having: `ringpost_accounting_difference`, `ringpost_queue_stuck` (mail that nothing will
//! move, by reason) and `ringpost_panics_total` (a defect ended one task) other than 0. The log names the
//! message, or the place in the source; [`super::promises`] says what happens then.
//!
//! Accounts must balance at every instant: accepted = delivered + bounced + expired + removed +
//! queued. The difference is a metric of its own; other than 0 is a defect.
//!
//! # Take mail over HTTP
//!
//! `POST /api/v1/messages` takes a message as JSON (`from`, `to`, `cc`, `bcc`, `reply_to`, `subject`, `text`,
//! `html`, `headers`, `attachments` in base64, and `envelope` where it differs) or as it is, as
//! `message/rfc822`, with `?from=` and `&to=` as often as needed or else those whom its header names.
//! `/api/v1/messages/batch` takes up to 1000 of the first kind. Each recipient is judged as in SMTP; the
//! answer says who was accepted and who was not, and comes when the message is on disk. Who may ask may
//! send as anybody: the token is a password. With an `Idempotency-Key` the same request can come again
//! for 24 hours and is answered as before (`idempotency-replayed: true`), also after a restart; the last
//! 100,000 keys are kept, with answers of 256 MiB.
//!
//! `/api/v1/openapi.json` describes all of the control plane (OpenAPI 3.1); failures are problem details (RFC
//! 9457). `/api/v1/users` says who may log in; POST adds a user, DELETE of `/api/v1/users/ADDRESS` removes one, PUT
//! of `/api/v1/users/ADDRESS/password` gives another password. Passwords are taken from loopback alone, because
//! nothing there is encrypted. `/api/v1/config/check` says what is wrong with a configuration that is posted there,
//! and with the files that it names as the relay's user sees them; `/api/v1/drain` with `{"drain": true}` ends the
//! relay as SIGTERM does. Users, the end, and what
//! changes the suppression list stand in the record of changes.
//!
//! # Tell other programs
//!
//! `[events] log = "events.jsonl"` appends what becomes of each message to a file under data_dir, a JSON
//! object on each line: `accepted` (the message, with all its recipients) and for one recipient each
//! `delivered`, `deferred`, `bounced` (with `later` where a report said so afterwards), `expired`, `removed` and
//! `complained`. Each has an `id` of its own, `time`,
//! `queue_id`, and as far as it is known `message_id`, `sender`, `recipient`, `destination`, `relay`, `size`,
//! `delay`, `stages` (seconds), `status`, `reply`, and under `headers` the header fields that `[events]
//! headers` names, such as a tenant's. The file is put aside at `log_size`: `events.jsonl.1` is the newest of
//! `log_keep` old ones.
//!
//! `[[webhook]]` posts the same events as JSON arrays, signed as <https://www.standardwebhooks.com> has it:
//! `webhook-signature` is `v1,` and base64 of HMAC-SHA256 over `ID.TIMESTAMP.BODY`, so that its libraries
//! check it. Until the receiver answers 2xx the same request comes again, after a second first and five
//! minutes at last; requests keep their order. Events wait in a spool of their own that survives
//! restarts; when it is full the oldest are dropped. An event can come twice, after a crash: look at its
//! `id`. Mail never waits for any of it: what does not get through is in `ringpost_events_lost_total`, by
//! `place` (`channel`, `disk`, `spool`). A crash of the process loses the events of the last 50 ms, a power cut
//! those that the kernel had not written.
//!
//! # Steer
//!
//! `ringpost queue hold | release | retry | remove | bounce` with an id, `--to`, `--from`, `--domain`,
//! `--destination` (the next hop, as `queue shape` names it), `--state`, `--reply` (words of the last
//! reply), `--older-than`, `--newer-than`, `--larger-than`, `--smaller-than`, or `--all`. With several,
//! messages that match all of them. `--dry-run` says how many it would be, and shows some.
//!
//! What was removed stays in the spool for ten minutes, and `ringpost queue undo` puts the last removal
//! back, or with a selector what it means; it is as it was, schedule and hold included. `queue list
//! --state removed` shows it. It counts as removed at once, and as accepted once more when it is put back.
//! `remove --for-good` cannot be undone and lets the disk go at once.
//!
//! `ringpost queue redirect ... --into ADDRESS` makes a message for that address of what waits of each, and
//! removes the old one in the same write: age and schedule begin anew. What is being attempted at the
//! moment stays as it is, and is counted. `ringpost queue show ID --raw` prints the message itself.
//!
//! Each order is written down in `audit.jsonl` in the data directory before it is carried out, and once
//! more with its outcome: when, from where, whether with the token, as whom the command ran, which
//! messages, how many, the first hundred ids, and what `--reason` says. At `[control] audit_size` the
//! file rolls. A disk that is too full for it holds no order up; the log says so.
//!
//! # Stop
//!
//! SIGTERM drains: no new connection, idle clients hear 421, transactions in progress end, state is
//! on disk, exit 0 in under 10 s. Mail that waits stays in the spool; the next start goes on. SIGKILL
//! loses no message that was answered with 250; a delivery that was in flight may happen twice.
//!
//! Transactions get `[process] drain` (8 s). `ringpost drain --within 5m` gives them longer and waits for the
//! end; told twice, the earlier end counts, so SIGTERM still ends it soon.
//!
//! # Reload
//!
//! SIGHUP, `systemctl reload ringpost` and `ringpost reload` read the configuration anew, and every file that it
//! names. Each key that differs is told with both values, and whether it holds now or from the next start on;
//! the command prints that, the log has it too. What waits for the next start stays as it was until then. With a
//! fault in the file the old configuration stays, and the command ends with 78. No connection notices.
//! Certificates, users, credentials and whatever else the configuration names (but for the token of the control
//! plane) are noticed within a second when their files change, without any of this.
//!
//! # The next program, without a refused connection
//!
//! Clients that connect between two processes wait in the kernel, in a listening socket that is never closed:
//!
//! - Under systemd, `systemctl restart ringpost`. The relay has its sockets kept by systemd
//!   (`FileDescriptorStoreMax=` in `tuning/ringpost.service`) and finds them again, after a crash too.
//! - With `tuning/ringpost.socket` systemd opens the ports itself, before the relay is there. Each address there
//!   must be one of a `[[listener]]`. A socket that is listed once serves all shards: each waits on a
//!   descriptor of its own, and a connection stays where it was accepted, but all of them wake for
//!   each. With `ReusePort=yes` an address can be listed once for each core instead.
//! - Anywhere else, `ringpost serve --take-over` beside the relay that runs. The new one reads its configuration,
//!   certificates and users, takes the listening sockets and the control plane's over (through
//!   `data_dir/handover.PID`, which only the relay's user and root reach), and only then tells the old one to
//!   end. If anything is wrong before that, the old one goes on and knows nothing of it. The old one stops accepting,
//!   lets transactions end as at SIGTERM (idle clients hear 421 4.3.2), syncs, and lets go of the
//!   spool; the new one opens it, and takes up those who wait. They wait for as long as the slowest
//!   transaction takes, at most `[process] drain`, and for the spool to be read. The numbers of
//!   cores and listeners may differ. A supervisor that started the old process does not know the new one. Where the file
//!   system of `data_dir` takes no sockets the relay runs without this, and the log says so. The old one
//!   waits, without spool and ports, until the new one serves. Should that be killed meanwhile, the old one begins anew as
//!   the same process; behind the walls of `[process] confine` it can run nothing, and ends with 75, so that a
//!   service manager (`Restart=on-failure`) starts it. Both killed leave nobody.
//!
//! # Clocks and logs
//!
//! Waits and deadlines go by the monotonic clock, so a calendar that is set forward or back a day neither sends
//! all waiting mail at once nor holds it up. What is written down (Date, ages in the spool, signatures) is
//! the calendar's.
//!
//! The log goes to standard error, where journald or the supervisor keeps it; there is no log file, and so no
//! signal to reopen one. The files that the relay itself writes, `events.jsonl` and `audit.jsonl`, roll
//! by size.
//!
//! # What the process may do
//!
//! A relay that root starts needs `[process] user = "ringpost"`: it makes the data directory for that user,
//! becomes it with one capability left, binds its ports, and gives that up too. systemd does the same
//! with `tuning/ringpost.service`, which needs no `user`. Everything else is read as that user, at the start as at a
//! reload: give a private key the group of the relay and mode 0640. Listeners cannot be bound anew by
//! a reload, so they change with a restart. A link of the data directory's own, or of a mailbox, that
//! leads elsewhere is part of the data if it was there at the start.
//!
//! With `[process] confine` (the default) the process then has no capabilities and can get none, writes files
//! below the data directory alone, listens on no further TCP port, and signals nobody. All threads but the one that reads
//! the configuration read below the data directory alone, so a private key is out of their reach
//! as a file. The files are Landlock's part, and those of io_uring obey it (Linux 5.19 or later); what the
//! kernel lacks is logged at the start, and the relay runs without it. `confine = false` is for
//! those who look into the process with tools of its own user.
//!
//! # When a limit is reached
//!
//! | Reached | What clients hear | What goes on |
//! |---|---|---|
//! | `runtime.memory` | DATA, or content that goes on, is taken late, then answered with 452 4.3.1 | deliveries, which free it |
//! | a tenant's `messages_per_minute` | 450 4.7.1 at the end of a message | everybody else's mail |
//! | `queue.reports_per_sender` | nothing: bounces to that sender wait for the next hour, delay notices are left out | everything else |
//! | the disk is full | 452 4.3.1 from MAIL on | deliveries; service returns by itself |
//! | the disk fails (EIO) | 4xx: nothing is acknowledged | the shard takes no mail; look at the log |
//! | `smtp.max_connections` | 421 | everybody connected already |
//! | open files | 421: a quarter of them is kept for deliveries and the spool | everybody connected already |
//! | `smtp.max_message_size` | 552 5.3.4 | the session |
//! | `mailboxes.quota` | 452 4.2.2 at RCPT, once it is known | what was accepted waits and is tried again |
//! | `smtp.max_recipients` | 452 4.5.3 | the transaction, with those taken |
//!
//! Where memory is used up, messages that come in give way before newcomers are refused: first those whose
//! clients have brought less than 1 KiB in 2 s, the slowest first; where every client waits for memory,
//! those that began to wait last. What there was of them is thrown away; a client that goes on hears 452
//! 4.3.1 at its end, an IMAP client BYE (`ringpost_messages_shed_total`).
//!
//! # When a provider wants less
//!
//! A 421 or 4xx that complains of how much comes (X.7.28, X.7.n to MAIL or the dot, "too many", "rate limit";
//! greylisting is none) slows down all mail to that destination, or to its group of hosts where a
//! `[[limit]]` makes one: to four fifths of what was really taken in the last half minute to minute, again
//! every 10 s at the most while complaints go on, never below six in an hour. While it goes well for 30 s and
//! the pace is used it rises, by 3% near the rate that was too fast and faster below; after an hour
//! without a complaint it is forgotten. "Too many connections", whenever it is said, takes one connection
//! off for each refusal, and one more is tried every 5 minutes; a plain 421 4.7.n at the greeting does so only
//! while other connections carry mail there, else the host is left alone like any that does not work. The messages concerned wait for half a minute and
//! that counts as no attempt; their time runs. `ringpost explain` says what was learned, from which words, and when
//! the next message may go; `ringpost_destination_rate` has the twenty slowest destinations, `queue shape` and the dashboard have it beside
//! what waits. What was learned less than an hour ago is kept over a restart (`paces/NN.json` below `data_dir`).
//!
//! A message that was greylisted goes again from the source that it came from, while that may go: who
//! greylists remembers that too. Of the last 16,384 messages of a shard that is known; a restart forgets it.
//!
//! Rates are kept by slots that a destination's home shard gives out, so they hold over all shards: in any stretch
//! of time no more begins than the rate brings, and what it brings in one second. Mail whose slot comes within
//! 2 s waits for it with its connection; later ones wait in the queue ("waiting for its turn") without one.
//!
//! # The spool
//!
//! `spool/NN/` below `data_dir`, one directory for each shard. Started with fewer cores than before,
//! the relay adopts the directories of the missing ones. `ringpost spool check` verifies every record
//! of a stopped relay. Never copy a spool of a running one.
//!
//! # Users
//!
//! `ringpost user add ann@example.org < password` lets ann log in and send from that address;
//! `--sender '*@example.org'` lets her send from others. A running relay notices within a second.
//! What is kept (`[auth] users_file`, mode 0600) is an argon2id hash and the keys of SCRAM-SHA-256,
//! never the password. AUTH is offered as soon as there is a user, and only under TLS unless
//! `[auth] allow_plaintext` says otherwise. A `submission` or `submissions` listener takes mail from
//! those alone who have logged in or come from `smtp.trusted_networks`. It adds Date and Message-ID
//! where they are missing, and takes Bcc out; with `hide_client = true` the trace field does not say
//! where the user writes from (the log still does).
//!
//! A wrong password costs its client a second. After 10 a client waits ten minutes. After 30, from
//! wherever they come, nobody gets in as that user for ten minutes but from where the user has logged in
//! within a month, or with a certificate or a token. All cores count together; a stranger's name is
//! answered like a user's.
//!
//! With an identity provider users can log in with its tokens (OAUTHBEARER, in SMTP, POP3 and IMAP):
//!
//! ```toml
//! [oauth]
//! keys = "/etc/ringpost/jwks.json"   # its JWK set, or a public key as PEM; read again when it changes
//! issuer = "https://id.example.org"
//! audience = "mail"
//! ```
//!
//! A token is a JWT signed with RS256, ES256 or EdDSA. It counts for the user whom its `user_claim`
//! (`email`) names, who must have been added here too; an address that the provider calls unverified
//! does not count. The log says why a token was refused, its client does not hear it. Nobody fetches
//! the keys: let a timer do that, into a new file that is renamed over the old one.
//!
//! # Mailboxes
//!
//! `to = "mailbox"` in a route, `ringpost user add` and `ringpost alias add` are all that a domain
//! needs; a running relay takes changes within a second. [`super::mailboxes`] says who gets what, and
//! what lies on disk.
//!
//! # Fetch mail: POP3
//!
//! A `pop3` listener offers STLS, a `pop3s` one speaks TLS first; users log in as above. A session
//! has the mailbox's INBOX as it was at the login, to itself: a second one hears `[IN-USE]`. DELE is
//! done at QUIT and at no other end. Unique ids are the names of the Maildir's files, so they
//! survive a lost index, another machine, and a Maildir taken over from another server. What was
//! retrieved is `\Seen` for IMAP's clients when the session ends, with QUIT or without (but for RSET),
//! as with Dovecot.
//!
//! All sessions of a user run on one shard, the user's home (a hash of the address): a connection
//! that was accepted elsewhere moves there when its user has logged in, with its TLS. So ten users
//! keep all cores busy, and the mailbox needs no lock. The stage `retrieval_command` of `ringpost
//! latency` has what commands take. Limits stand under `[mailboxes]`; at SIGTERM sessions end
//! without a word, and nothing is deleted.
//!
//! `ringpost user add --apop` keeps the password itself in the users' file, because APOP cannot do
//! with less: whoever reads that file (mode 0600) can log in. The greeting has APOP's timestamp
//! only while some user has asked for it. SCRAM does better; leave APOP to clients that have nothing
//! else.
//!
//! # Fetch mail: IMAP
//!
//! `protocol = "imap"` (143, with STARTTLS) and `"imaps"` (993) open a user's mailbox to as many clients at
//! once as `[mailboxes] max_connections_per_user` allows. All of them see one state: what one marks or
//! expunges, the others hear at their next command, or at once while they IDLE. Folders are those of
//! the Maildir; mutt, mbsync or Dovecot may work on it beside, and what they do is looked for at every
//! SELECT, NOOP and CHECK, and every 15 s under IDLE. A message may have `[smtp] max_message_size`
//! octets; a larger one is refused by its announced size. A message of more than 10,000 parts, or with
//! parts more than 100 deep, is shown with as many. Lists and searches by header are answered from
//! the index after they were answered once; SEARCH for text in bodies reads the messages. Odd mail is
//! answered about as Dovecot does; where not, `scripts/scenarios/dovecot_differences.txt` says why.
//!
//! # Mail of this machine's programs
//!
//! Link the program under the name `sendmail` (and `mailq`) where cron and scripts look for it, with
//! the configuration in `/etc/ringpost/ringpost.toml`. It hands mail to the first `smtp` listener,
//! so that address has to be in `smtp.trusted_networks`. Date, Message-ID and From are added where
//! they are missing, and Bcc is removed. While the relay is down, mail of those who may write there
//! waits in `data_dir/maildrop` and is taken up within a second of the start; others are told to try
//! again (exit code 75). What the relay refuses for good, or for some of its recipients, stays there for those, its name
//! ending in `.refused`; so does, ending in `.bad`, a file over which it panicked: it may have been sent. Renamed to `.mail`, either
//! is tried again.
//!
//! # Who incoming mail is from
//!
//! A listener with `verify = true` finds out, before it answers the final dot, whether the client's
//! name and address name each other (iprev), whether the sender's domain lets it send (SPF), who has
//! signed (DKIM, ARC), and whether any of it is the domain in From (DMARC). The message gets an
//! Authentication-Results field with `hostname` as its authority; fields that came in with that name
//! are removed. Mail of users who have logged in is left alone. `[verify] timeout` bounds the wait:
//! what is not known by then is `temperror`, and the message goes on.
//!
//! `[verify] dmarc = "enforce"` refuses with 550 5.7.26 what the domain in From wants refused, and
//! with 550 5.7.1 what has not exactly one From field with authors of one domain; what cannot be
//! decided now is deferred with 451 4.7.1. `smtp.trusted_networks` are excepted. Run with `"observe"`
//! first and look at `ringpost_verified_total{method="dmarc"}` and at the log's
//! `verified` lines: mailing lists break signatures.
//!
//! Bodies are hashed while they arrive, so size does not matter. Ten signatures of a message are
//! looked at; those of rsa-sha1, and those of a part of the body (`l=`), prove nothing. The stage
//! `verify` of `ringpost latency` has what it costs.
//!
//! # TLS
//!
//! Clients are offered STARTTLS; a `submissions` listener speaks TLS from the first octet. Without
//! `[tls] certificate` the relay makes itself a certificate at its first start
//! (`data_dir/keys/self-signed.pem`): it keeps listeners-in out and proves nothing. Several
//! certificates in a list are chosen by the name that a client asks for. Renewed files are noticed
//! within a second, or at SIGHUP; connections go on.
//!
//! `[delivery] tls` decides about hosts. `opportunistic` encrypts where STARTTLS is offered, takes
//! any certificate, and delivers in plain, in the same attempt, where the handshake fails.
//! `required` and `verify` defer instead (4.7.4); `verify` wants a certificate for the host's name
//! from an authority that the machine trusts. The delivery line ends with what came of it:
//! `tls=opportunistic: TLSv1.3`, `not offered` or `broken`. A `[[route]]` may have a `tls` of its own,
//! for a domain whose mail must not leave in plain or a host behind which nothing can be verified:
//! `domain = "partner.example", tls = "verify"`. Without `to` its mail goes to the MX as ever.
//!
//! Clients can be known by certificates. A listener with `client_auth = "request"` asks for one, and
//! the log says whose it is and whether an authority in `[tls] client_ca` vouches for it; with
//! `"require"` nothing is taken without. `trusted_clients = ["relay.example.org"]` lets clients relay for a
//! name in a verified certificate, `["sha256:..."]` for a certificate whoever has issued it. A user
//! whose address stands in a verified one logs in without a password (AUTH EXTERNAL, in SMTP, POP3 and
//! IMAP). To a smart host that asks for ours, `[[route]] client_certificate` and `client_key` are shown.
//!
//! # DANE
//!
//! A domain can say in the DNS which certificate its hosts have (TLSA records, RFC 7672). Where
//! DNSSEC vouches for the MX, the address and those records, mail goes to no host with another
//! certificate and never in plain, whatever `[delivery] tls` says, `none` excepted. A host that does
//! not keep to its records is passed over, and so is one whose records cannot be looked up; when
//! nobody is left, mail waits. Records that mailers cannot go by (usages 0 and 1, unknown numbers)
//! still mean that there is TLS. The delivery line says `tls=dane: TLSv1.3`.
//!
//! Signatures are checked by the name server, which has to be a validating one on this machine: run
//! unbound or knot-resolver there and name `127.0.0.1` in `[dns] servers` or in resolv.conf. Then
//! DANE is on without another word. `[dns] dnssec = "off"` turns it off; `"trust_ad"` makes it a
//! fault when a name server is elsewhere, because everybody on the way to it could forge what it
//! says. To see whether the name server validates: `dig +adflag mx DOMAIN` shows the flag `ad`.
//!
//! # MTA-STS
//!
//! A domain can publish over HTTPS which hosts take its mail and that they speak TLS (RFC 8461). The
//! relay looks for the record `_mta-sts.DOMAIN` of each recipient's domain, fetches the policy when its
//! `id` is new, and keeps it under `data_dir/mta-sts` for as long as it holds; it is fetched again
//! once a day. While a policy is enforced, mail goes to the hosts that it names, with a certificate for
//! the host's name, or waits (4.7.0, 4.7.4). A policy that does not come within 15 seconds counts as none
//! for five minutes, with a warning; one kept from before goes on counting. Of a policy on trial the
//! delivery line says what it would have stopped:
//! `tls=opportunistic: TLSv1.3; sts-testing: certificate-expired`. Where DANE
//! names a host's certificate, the policy is not asked.
//!
//! It is on unless `[delivery] mta_sts = "off"`, and does not touch mail whose route says `tls = "none"`.
//! Web servers and hosts are verified with the authorities that the machine trusts, or those in
//! `[tls] trusted_roots`. The stage `sts` of `ringpost latency` has what looking and fetching cost,
//! `ringpost_tls_total{policy,outcome}` what came of all connections.
//!
//! # Mail that requires TLS, and mail that does not
//!
//! A client under TLS can say `REQUIRETLS` for a message (RFC 8689). It goes only to hosts that MTA-STS,
//! DNSSEC or a route vouches for, whose certificate is good, and that offer `REQUIRETLS` themselves,
//! whatever `tls` says for other mail. Where no host does, the message comes back at once: 5.7.30
//! (nobody offers it) or 5.7.10 (no TLS, or nobody vouches for the host). Handshakes and look-ups that
//! fail are tried again. Reports on such mail return its header only. They go with `REQUIRETLS` to hosts
//! that offer it, and as other mail to those that do not: a report is not lost for it (§5).
//!
//! A message with the field `TLS-Required: No` goes out whatever MTA-STS and DANE say of its hosts: a
//! report about broken TLS is no use if it is held up by it. What `tls` says holds for it too.
//!
//! `ringpost queue show` and `ringpost trace` say which of them a message has.
//!
//! # Reports about TLS
//!
//! A domain can ask to be told what came of TLS with its hosts (TLSRPT, RFC 8460: the record
//! `_smtp._tls.DOMAIN`). With `[tls_reports] organization` set, connections to the MX of each domain are
//! counted by policy (DANE, MTA-STS, none) and failure, kept under `data_dir/tls-reports`, and told once
//! a day, up to four hours after midnight UTC: by mail, from `contact` and through the relay's own queue,
//! signed where there is a key for that domain, or by POST over HTTPS. One that a web server does not
//! take is tried again for a day, first after five minutes, then ever more seldom; then it is lost, with
//! a warning. Other destinations do not wait for that, nor are they told twice. The counts of the last
//! five seconds are lost in a crash. Mail needs a listener for plain SMTP, as `sendmail` does.
//!
//! # Signatures
//!
//! `ringpost dkim generate example.org --selector s1` makes a key (RSA of 2048 bits; `--type ed25519`
//! the other kind) and prints the DNS record and the `[[dkim]]` table. Publish the record, add the
//! table, send SIGHUP. Several tables for one domain all sign: one RSA and one Ed25519 key reach
//! everybody. To change keys, make one with another selector, and remove the old record some days
//! after the old table.
//!
//! The domain is that of the author in From, or the nearest one above it that has a key. What is
//! signed is what leaves, after any conversion to seven bits; relayed mail and our own reports
//! alike. From, To, Cc, Subject, Date, Message-ID, Reply-To, MIME-Version, Content-Type,
//! List-Unsubscribe and List-Unsubscribe-Post are named once more than they occur, so that none can
//! be added. A message with two From fields is not signed. One that has a key and cannot be signed
//! waits (4.7.3); it never leaves unsigned. Signatures are made beside the shards, on as many
//! threads as there are CPUs, one for each form in which a message leaves; the stage `sign` of
//! `ringpost latency` has what it costs. Every thousandth is verified by the relay itself:
//! `ringpost_signatures_unproven_total` must stay 0.
//!
//! # Before a large mailing
//!
//! `ringpost preflight FILE.eml` says whether Google, Yahoo and Microsoft would take a message: it is
//! signed as it would leave, and the DNS is asked what they would ask. Each line is a rule, how it
//! stands with it, and what to change; the exit code is 65 when a rule is broken that mail is refused
//! for. Behind NAT name the address that others see: `--source 192.0.2.1`. Nothing is sent.
//!
//! What can be told from the header and the keys alone, a listener can look at in every message:
//! `preflight = "warn"`, or `"refuse"`, which answers the final dot with 550 5.7.1 and the remedy.
//! `ringpost_preflight_broken_total` counts by rule. `"count"` does that alone.
