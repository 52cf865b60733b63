//! The configuration file.
//!
//! TOML, every key optional. `--config FILE` names the file; without it `./ringpost.toml` is read
//! where it exists, and without that the embedded default holds.
//!
//! - `ringpost config --defaults` prints every key with its meaning and default, and says which of
//!   them change with a restart only. It is a good first file.
//! - `ringpost config --config FILE` prints what is in effect.
//! - `ringpost check --config FILE` names every fault, of the files that it names too, as
//!   `FILE:LINE:COLUMN: what is wrong, and what would be right`, and ends with 78. A key that is
//!   unknown, or not in this version yet, is a fault and not ignored.
//!
//! All of them take `--json`.
//!
//! Sizes take `B`, `KiB`, `MiB`, `GiB`; durations `us`, `ms`, `s`, `m`, `h`, `d`.
//!
//! # A relay for an office
//!
//! ```toml
//! hostname = "relay.example.org"          # what the world calls this machine: forward and reverse DNS agree
//! data_dir = "/var/lib/ringpost"
//!
//! [[listener]]
//! protocol = "smtp"
//! bind = ["0.0.0.0:25", "[::]:25"]
//!
//! [smtp]
//! trusted_networks = ["127.0.0.0/8", "::1/128", "192.168.0.0/16"]
//! ```
//!
//! # Mail for one domain to a fixed host, the rest by MX
//!
//! ```toml
//! [[route]]                               # the first match wins
//! domain = "*.inside.example.org"
//! to = "smtp://mail.inside.example.org:25"
//!
//! [[route]]
//! domain = "retired.example.org"
//! to = "reject"
//! ```
//!
//! # Not too much at a time
//!
//! ```toml
//! [[limit]]
//! domain = "example.com"                  # each destination that matches, for itself
//! connections = 5
//! rate = "500/m"                          # messages, evenly spaced
//!
//! [[limit]]
//! mx = "*.mail.example.net"               # all hosts of such names together, whatever domain they serve
//! connections = 10
//! messages_per_connection = 20
//! recipient_rate = "2000/m"
//! ```
//!
//! The first rule for a domain wins, and that of its host counts too. With pools of sources each pool
//! has the limits of a domain for itself; a group of hosts has one. Nobody has to be given a limit: what
//! a host complains of is learned (`ringpost explain`).
//!
//! # Mailboxes for a domain
//!
//! ```toml
//! [[route]]
//! domain = "example.org"
//! to = "mailbox"                          # users: ringpost user add, ringpost alias add
//!
//! [mailboxes]
//! quota = "2GiB"
//! subaddress = "folder"                   # ann+lists goes into ann's folder Lists
//! ```
//!
//! # Everything through a provider that wants a password
//!
//! ```text
//! [[route]]
//! domain = "*"
//! to = "smtp://smtp.provider.example:587" # or "smtps://smtp.provider.example" (port 465, TLS first)
//! credentials = "/etc/ringpost/provider.toml"
//! ```
//!
//! The file has two lines, `user = "..."` and `password = "..."`, and a mode such as 0640; changed, it
//! is read again. The provider must have a certificate for its name (`tls = "required"` asks for
//! less, and `tls = "none"` lets the password go in plain). The strongest of SCRAM-SHA-256-PLUS,
//! SCRAM-SHA-256, PLAIN and LOGIN that it offers is used. Where it does not let us in, mail waits
//! (4.7.8) and the log has its words.
//!
//! # Mail from several addresses
//!
//! ```text
//! [[source]]
//! name = "bulk-1"
//! address = ["192.0.2.11", "2001:db8::11"]  # one of each family at most
//! helo = "bulk-1.example.org"               # as the reverse DNS of the addresses says
//!
//! [[pool]]
//! name = "bulk"
//! sources = { bulk-1 = 3, bulk-2 = 1 }      # three connections of four leave from bulk-1
//!
//! [delivery]
//! pool = "bulk"                             # for all mail; [[route]] pool = "..." for one destination
//! ```
//!
//! Each connection takes the next source in turn that has an address of the host's family. Mail to one
//! destination by two pools does not share connections, limits or back-off: `ringpost explain`, `queue
//! shape` and `--destination` show the second as `d.test via bulk`. A source that a host turns away before
//! any mail rests for that destination, a minute and then ever longer, and the others of its pool go
//! on; only when all are turned away does the destination's mail wait. One whose address the machine
//! does not have (`ringpost check` warns of it) rests for a minute wherever mail goes.
//!
//! ## A source that nobody knows yet
//!
//! ```text
//! [[source]]
//! name = "bulk-2"
//! address = ["192.0.2.12"]
//! warmup = "careful"
//! warmup_from = 2026-12-01                  # the first day; days are those of UTC
//!
//! [[warmup]]
//! name = "careful"
//! days = [50, 100, 200, 400, 800, 1500]     # then there is no limit
//!
//! [[warmup]]                                # a second line of the same plan
//! name = "careful"
//! mx = "*.mail.example"                     # a provider counts for itself; or domain = "..."
//! start = 20                                # 20, 30, 45, ... as long as that is less than 2000
//! growth = 1.5
//! end = 2000
//! ```
//!
//! Mail counts on every line that is about it, and goes while none is used up: then from the others of
//! the pool; where none of them may either, it waits for the next day, and other destinations and pools
//! do not notice. What counts is each recipient of each transaction, when MAIL is sent: a provider has
//! seen it, whatever it answers, and another attempt counts again. The count is one over all cores and
//! is never more than the plan, whatever crashes: some of the day (a thirty-second part, at least 4) is
//! set aside in `warmup.json` below `data_dir` before it is used, and a crash loses what was not. A clock
//! that goes back gives no day twice. A reload changes the plan; what was sent today stays counted, by the
//! names of source and line. `ringpost explain` shows the day, what it has and what is used.
//!
//! # Mail of several tenants
//!
//! ```toml
//! [tenants]
//! header = "X-Tenant"                     # counts from trusted networks and certificates, and is taken out
//! tag_header = "X-Campaign"
//!
//! [[tenant]]
//! name = "shop"
//! users = ["shop@example.org"]            # who logs in as one of these is of this tenant, whatever a field says
//! priority = "high"                       # or normal, low
//! messages_per_minute = 6000              # over all shards; beyond it 450 4.7.1
//! ```
//!
//! A login's tenant goes before the header field, and that before the listener's (`tenant` in
//! `[[listener]]`). A name without a `[[tenant]]` table is a tenant without rules. `pool` sends a tenant's
//! mail from sources of its own, where no route says otherwise. Of mail that waits for one next hop, high
//! priorities have 16 turns, normal ones 4 and low ones 1 while all have some: nobody waits for ever.
//! `queue list --tenant shop --tag may` finds a tenant's mail, `explain --tenant shop` its way.
//!
//! # What refusals mean
//!
//! Each refusal belongs to a class, which events and metrics are told: whether to clean an address
//! list, to write to a postmaster, or to send more slowly. `src/bounces/default.toml` has the rules, and a file of
//! your own stands before them:
//!
//! ```text
//! [[rule]]
//! class = "inactive"                      # one of those that `ringpost bounces --rules` uses
//! code = [550, 554]                       # or 4, 5 for all of them
//! status = ["5.2.x", "5.1.1"]
//! text = "konto (gesperrt|geschlossen)"   # a regular expression; case does not matter
//! examples = ["550 5.1.1 Konto gesperrt"] # `ringpost check` holds the file to them
//! ```
//!
//! What a rule says has to match altogether, and the first that matches decides. `ringpost bounces
//! '550 5.1.1 Konto gesperrt'` says what comes of a reply.
//!
//! # Addresses that get no mail
//!
//! ```toml
//! [suppression]
//! on = ["bad_mailbox", "inactive"]        # classes of refusals; [] (the default): nobody but who is added by hand
//! after = 1                               # refusals
//! for = "90d"                             # or "none": for good
//! action = "reject"                       # at RCPT with 550 5.1.1; "fail": taken, and its sender gets a report
//! ```
//!
//! Whoever goes on writing to mailboxes that do not exist is taken for a spammer. A host's refusal of a recipient, of
//! one of these classes, puts the address into `suppressions.jsonl` under `data_dir`; what our own routes
//! refuse does not. Only then is the refusal settled: after a crash in between the host is asked once more. Where the list
//! is full, or its disk fails, mail goes on, and `ringpost_suppression_bounces_lost_total` counts. `ringpost suppression list`, `add`, `remove`, `check` and `import` (one address on a
//! line, or CSV) look at it and change it, and so does `/api/v1/suppressions`: a change is on disk before it is
//! answered. Mail that waits for an address fails at its next attempt once that is on the list. Reports to
//! senders (`MAIL FROM:<>`) go out whatever the list says.
//!
//! # Reports that come later, and complaints
//!
//! ```toml
//! [returns]
//! domain = "returns.example.org"          # MX: this relay; SPF: the addresses that mail leaves from
//! feedback = ["fbl@returns.example.org"]  # where providers send their users' complaints
//! reporters = ["192.0.2.0/24"]            # whose complaints count without a return path: networks, and domains by DKIM
//! forward = "ops@example.org"             # who gets letters to it; else they are counted and dropped
//!
//! [[tenant]]
//! name = "shop"
//! return_domain = "returns.shop.example"  # its own, so that SPF stays aligned; or "none": senders stay
//! ```
//!
//! A host may take a message and say an hour later that nobody is there. With a return domain mail leaves with a
//! return path of its own for each recipient, `b+TOKEN@returns.example.org`: the token names message and recipient, and an
//! HMAC keeps anybody from making one up. A report to it is read, sorted by the rules of `[bounces]` and counts as the
//! reply of a host would: the event `bounced` with `later: true`, the suppression list, `ringpost trace`,
//! `ringpost_later_bounces_total`. What a token does not hold for, or no longer (`valid`), is refused at RCPT: no
//! backscatter comes in. Whether its sender is `<>` or `mailer-daemon@` makes no difference: the token is the proof, and
//! what is no report is a letter. Reports of delays are counted and traced alone.
//!
//! No table of what was sent is kept. A token has the queue id, and hashes of the recipient, of the tenant and of the tag:
//! the recipient is the address in the report that has its hash (fields of the report, the header that came back); a
//! report that names nobody who has it counts for nobody. The tenant is looked for among `[[tenant]]`, the tag in the
//! header that came back, so it is known where `tenants.remove_headers = false`. A host that offers DSN is asked for reports of
//! failure alone, with the address and the header (`NOTIFY=FAILURE ORCPT RET=HDRS`); a sender who wants to hear of success
//! hears `relayed` from this relay, and what this relay cannot deliver is told to the sender, as ever.
//!
//! What it costs: a return path has one recipient, so a message to a hundred at one domain is sent a hundred times, not once.
//! Mailings that have one message for each recipient anyway pay four HMACs. The visible From stays what it is: DMARC then
//! rests on DKIM, or on a return domain below the author's.
//!
//! A complaint (RFC 5965) counts where it brings a return path that holds, anywhere in it, or comes from one of `reporters`; then
//! it is about `Original-Rcpt-To`, or what `recipient_header` names. The event is `complained`, the address gets no more
//! mail for good (`suppress = false`: it does), and `ringpost_complaints_total` counts by tenant and by who tells.
//!
//! # What a reload changes
//!
//! SIGHUP reads the file again. Routes and limits change without losing a connection, also for mail
//! that waits. Listeners, cores, the data directory and the other keys that `ringpost config` marks
//! need a restart: the log names each of them that differs. A file with a fault changes nothing: the
//! old configuration stays in force and the fault is logged.
//!
//! # Who may steer the relay
//!
//! The control plane listens on loopback only, unless it is given a token:
//!
//! ```toml
//! [control]
//! bind = "127.0.0.1:8025"
//! token_file = ""                         # needed as soon as bind is not loopback; one line, readable by the relay
//! ```
