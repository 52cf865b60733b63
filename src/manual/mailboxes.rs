//! Mailboxes: what lies on disk, octet by octet, who may touch it, and what a crash leaves.
//!
//! # Files
//!
//! `mailboxes/USER@DOMAIN/` below `data_dir` is a Maildir++, as mutt, mbsync and Dovecot write it:
//!
//! ```text
//! tmp/ new/ cur/          INBOX
//! .Archive.2024/          the folder Archive/2024, again with tmp/ new/ cur/
//! .Entw&APw-rfe/          names are in modified UTF-7 (RFC 3501 §5.1.3)
//! subscriptions           a folder in each line, as Dovecot writes it
//! dovecot-keywords        in each folder: which keyword has which letter
//! ringpost.index          in each folder: UIDs, modseqs and what else Maildir has no place for
//! ringpost.toml           the last UIDVALIDITY given out, what folders are meant for
//! ..gone-*                folders that were deleted a moment ago
//! ```
//!
//! A message is a file `SECONDS.UNIQUE.HOST,S=octets,W=octets-with-CRLF:2,FLAGS` with LF line ends.
//! It is given out with CRLF; a line that ends in CRLF on disk stays as it is. FLAGS are `D` draft,
//! `F` flagged, `P` passed, `R` answered, `S` seen, `T` deleted, and `a` to `z` for keywords. The
//! file's time is the internal date.
//!
//! Other programs may add, rename and remove files while the relay runs: the next look takes over
//! what they did, and letters that mean nothing to us stay. A look costs two calls while the
//! directories' times have not changed. A Maildir that was Dovecot's keeps its keywords and subscriptions,
//! and with `dovecot-uidlist` its UIDs and UIDVALIDITY; put it in place while neither program runs on it.
//! Back at Dovecot it keeps all but the UIDs of what came since: it gives those anew.
//! `scripts/interop takeover takeover_mutt` does both.
//!
//! # The index
//!
//! An append-only log of records, little-endian, each at a multiple of 8:
//!
//! ```text
//! checksum u32 | length u32 | batch u32 | kind u8, 3 zeros | payload | zeros to a multiple of 8
//! ```
//!
//! The checksum is CRC-32C over the record's place in the file (u64) and everything behind itself.
//!
//! | kind | payload |
//! |---|---|
//! | 1 head | uid_validity u32, uid_next u32, highest_modseq u64, expunges_from u64, recent u32, key 16 |
//! | 2 rows | 64 octets each: modseq u64, keywords u64, hash u64, name_at u64, summary_at u64, saved i64, uid u32, size u32, system u8, bits u8, 6 zeros |
//! | 3 items | items; the checksum covers the head alone, so that a reader may pass over them |
//! | 4 added | a row and an item (the name), as often as there are messages |
//! | 5 flagged | modseq u64, then uid u32, keywords u64, system u8 each |
//! | 6 expunged | modseq u64, uid u32 each |
//! | 7 keyword | place u8, an item |
//! | 8 looked | times of `cur` and `new`, i64 nanoseconds each |
//! | 9 recent | uid u32 |
//! | 10 renamed | uid u32, bits u8, an item |
//! | 11 summary | uid u32, an item |
//!
//! An item is `length u32 | CRC-32C u32 | octets`. `hash` is SipHash-1-3, under the head's key, of the
//! name up to the colon. A batch is one write and one fdatasync; its number never falls, so what a
//! failed write left behind is not taken for a later one's. The head stands at 0 and at 512.
//!
//! What was seen of the directories (8) and told as recent (9) is written behind the answer and without a
//! sync: lost, it costs one look at all names. With a million messages that, and the first look, which
//! gives every file its row, are all that takes seconds; sessions hear of a change by what changed.
//!
//! When more than twice the rows has been added, the file is written anew beside and renamed into
//! place. A message takes 64 octets of memory in an open folder; names and summaries stay on disk.
//!
//! A record that is damaged is passed over, and so is a torn tail. UIDs and modseqs that it may have
//! given out are never given again, and the next look finds what it told of. Without any head the
//! index begins anew with another UIDVALIDITY.
//!
//! # Odd mail
//!
//! Where the parts of a message are is found in one pass (`imap::mime`), piece by piece, with a turn for
//! others between. A line has a boundary when it begins with it (RFC 2046 §5.1.1); of those that begin
//! alike, the one meant is that of which the line consists, or else the longest. Bounds, beyond which
//! a message is content without structure: 10,000 parts, 100 deep; 512 KiB and 10,000 lines read
//! of one header, 256 KiB of one field, 16 MiB of all headers; boundaries of 256 octets. SEARCH
//! looks at all of it, 32 KiB at a time. What ENVELOPE and BODYSTRUCTURE say is kept in the index, up
//! to 8 MiB for a message.
//!
//! # Who gets what
//!
//! A route with `to = "mailbox"` makes a domain local. `ringpost user add` makes a user, who has a
//! mailbox; `ringpost alias add` lets an address lead to users, other aliases, or addresses elsewhere.
//! An address is looked up in this order: an alias, a user, both again without `+tag`, `postmaster`
//! (the domain's first user, or the first of all), the alias `@domain`. An alias that names itself
//! leaves a copy with the user of that name. Whom nobody knows is refused at RCPT with 550 5.1.1. A
//! message lies in each mailbox once, however many of its recipients lead there. At the relay's own
//! name aliases and the postmaster need no route: `ringpost alias add root@relay.example.org ...`
//! takes this machine's mail.
//!
//! Addresses elsewhere become recipients of their own before the message is written, in the same
//! record: a crash loses none and repeats none but what was on its way. A later change of the alias
//! does not touch them. The sender stays who it was, so a receiver that checks SPF sees a stranger
//! send (DKIM signatures survive); mail that is refused there for this comes back to its sender. With
//! one address NOTIFY and ORCPT go along; of several the alias answers NOTIFY=SUCCESS with
//! `expanded`, and failures are told by the name that was written (RFC 3461 §5.2.7). Where the alias
//! was a message's only recipient, a Delivered-To field names it, and mail that comes back there
//! bearing it is refused with 554 5.4.6; any other circle ends at 50 Received fields.
//!
//! `mailboxes.quota` and `quota_messages` hold for all folders together. Mail for a full mailbox
//! waits (4.2.2) and is tried again; while that is known, RCPT is answered with 452 4.2.2. Other
//! programs' changes count within ten seconds. Room is promised by the home shard to one message at a
//! time, before it is written: mail that comes at the same moment cannot have the same room. Moving mail from
//! folder to folder needs no room.
//!
//! # What is not a folder here
//!
//! The queue is not shown over IMAP. A session reads a folder through some twenty calls that end in an
//! index and files of its own shard; the queue's messages lie in the logs of all shards and go while
//! they are read. A second kind of folder behind those calls, with UIDs for the life of the process and
//! bodies fetched from other shards, comes to about 900 lines that every mailbox would pay for in
//! complexity; `ringpost queue` does the same on a terminal. Bounces can be read: `[queue] bounce_copy`.
//!
//! NOTIFY (RFC 5465) is not offered. It promises every event of every folder asked for, and a folder
//! that nobody has open is not watched here: what other programs do in it shows at the next look, and
//! keeping all folders of a user open for it would cost 64 octets for each message in them. A client
//! gets there with IDLE in one folder, and LIST with STATUS and HIGHESTMODSEQ for the others.
//!
//! # Delivery, and what a crash leaves
//!
//! The shard that holds the message writes the file: `tmp`, fdatasync, rename into `new`, fsync of
//! `new`; only then is the recipient settled. Recipients of one message are synced at the same time.
//! Return-Path and Delivered-To are put before it. UNIQUE is `Q` and the queue id, and SECONDS the
//! moment the message was accepted: repeated after a crash, a delivery finds its own file, unless
//! somebody has moved or removed it already. What a crash leaves in `tmp` is removed by the first
//! open after 36 hours.
//!
//! Then a letter tells the user's home shard, where all sessions of the user run (a hash of the
//! address decides which it is), and a session that waits for news has it at once.
//!
//! | change | in this order | a crash in between leaves |
//! |---|---|---|
//! | APPEND, COPY | `tmp`, record, rename | a file that the next look renames |
//! | STORE | rename, record | a name with other flags, taken over as another program's change |
//! | EXPUNGE | remove, record | a message without a file: expunged by the next look |
//! | MOVE | copy, then expunge | a message in both folders, never in none |
