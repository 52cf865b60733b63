//! What the cores of a relayed message cost, without sockets and disk: commands, replies, both ends of
//! a whole session, its record in the spool. Each checks once that what it measures is what it says.
//!
//! `cargo bench --bench session`

#![allow(
    clippy::expect_used,
    reason = "a bench that cannot go on has nothing to measure"
)]

use std::hint::black_box;
use std::net::IpAddr;
use std::rc::Rc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringpost::mail::envelope::{BodyKind, Content, Envelope, QueueId, Recipient};
use ringpost::mail::outcome::Outcome;
use ringpost::mail::{Committed, Locator};
use ringpost::smtp::client::reply::ReplyReader;
use ringpost::smtp::client::{
    ClientSession, Hello, LogIn, Outgoing, OutgoingRecipient, Output, Peer, StartTls, Waits,
};
use ringpost::smtp::command::{CommandLine, MailArguments, Verb, rcpt_arguments};
use ringpost::smtp::server::{Encryption, ServerKind, ServerLimits, ServerSession, Step};
use ringpost::spool::record::{Accepted, BodyRef, Epoch, Note, StoredBody, read_accept};
use ringpost::time::{Tick, Wall};
use ringpost::wire::path::{Mailbox, ReversePath};

/// A message in wire form, without its end.
fn message(octets: usize) -> Vec<u8> {
    let mut message = b"Date: Mon, 23 Nov 2026 11:00:13 +0000\r\nFrom: <sender@example.org>\r\n\
        To: <first.recipient@example.com>\r\nMessage-ID: <1@example.org>\r\nSubject: of the usual kind\r\n\r\n"
        .to_vec();
    while message.len() < octets {
        message.extend_from_slice(
            b"A line of text as long as most lines are, and with nothing odd.\r\n",
        );
    }
    message
}

fn commands(c: &mut Criterion) {
    let mail: &[u8] = b"MAIL FROM:<sender@example.org> SIZE=1024 BODY=8BITMIME";
    let rcpt: &[u8] = b"RCPT TO:<first.recipient@example.com> NOTIFY=FAILURE,DELAY";
    let read = |line| {
        let command = CommandLine::parse(line);
        (command.verb, command.arguments)
    };
    let sender = |line| MailArguments::parse(read(line).1).expect("a MAIL");
    let recipient = |line| rcpt_arguments(read(line).1, false, "relay.test").expect("a RCPT");
    assert_eq!(read(mail).0, Verb::Mail);
    assert_eq!(sender(mail).size, 1024);
    assert_eq!(recipient(rcpt).mailbox.domain(), "example.com");
    let mut group = c.benchmark_group("command");
    group.bench_function("verb", |b| b.iter(|| read(black_box(b"EHLO c.test"))));
    group.bench_function("MAIL", |b| b.iter(|| sender(black_box(mail))));
    group.bench_function("RCPT", |b| b.iter(|| recipient(black_box(rcpt))));
    group.finish();
}

const EHLO_REPLY: &[u8] = b"250-mx.example.com\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n\
    250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250 DSN\r\n";
const ENVELOPE_REPLIES: &[u8] = b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go ahead\r\n";
const DOT_REPLY: &[u8] = b"250 2.0.0 Ok: queued as 4bFq2r0Xz9z1k\r\n";

fn replies(c: &mut Criterion) {
    let read = |mut octets: &[u8]| {
        let (mut reader, mut last, mut count) = (ReplyReader::default(), 0, 0);
        while let Some(Ok(code)) = reader.next(&mut octets) {
            last = reader.reply(code).code.number();
            count += 1;
        }
        (count, last)
    };
    assert_eq!(read(EHLO_REPLY), (1, 250));
    assert_eq!(read(ENVELOPE_REPLIES), (3, 354));
    let mut group = c.benchmark_group("reply");
    group.bench_function("EHLO, 8 lines", |b| b.iter(|| read(black_box(EHLO_REPLY))));
    group.bench_function("three pipelined", |b| {
        b.iter(|| read(black_box(ENVELOPE_REPLIES)));
    });
    group.finish();
}

/// What the spool would say.
struct Taken;

impl Committed for Taken {
    fn queue_id(&self) -> QueueId {
        QueueId(1)
    }
}

/// A whole session of a client that says `pieces` one after the other; octets of content, and what
/// the client heard.
fn serve(limits: &Rc<ServerLimits>, pieces: &[&[u8]]) -> (usize, Vec<u8>) {
    let client = IpAddr::from([127, 0, 0, 1]);
    let kind = ServerKind::Smtp;
    let mut session = ServerSession::new(Rc::clone(limits), kind, client, true, Encryption::Absent);
    let (mut octets, mut heard) = (0, Vec::new());
    for mut input in pieces.iter().copied() {
        loop {
            let (consumed, step) = session.step(input);
            input = &input[consumed..];
            match step {
                Step::NeedInput | Step::Close => break,
                Step::Flush => heard.append(session.output()),
                Step::Mail => session.mail_accepted(),
                Step::Recipient(_) => session.recipient_accepted(),
                Step::Data => session.data_accepted(),
                Step::Content(piece) => octets += piece.held.len() + piece.octets.len(),
                Step::Message => {
                    black_box(session.transaction());
                    session.message_accepted(&Taken);
                }
                step => unreachable!("{step:?}"),
            }
        }
        heard.append(session.output());
    }
    (octets, heard)
}

fn server(c: &mut Criterion) {
    let limits = Rc::new(ServerLimits::default());
    let mut group = c.benchmark_group("server session");
    for (name, octets) in [
        ("1KiB", 1 << 10),
        ("10KiB", 10 << 10),
        ("100KiB", 100 << 10),
    ] {
        let message = message(octets);
        let one_by_one: Vec<&[u8]> = [
            &b"HELO c.test\r\n"[..],
            b"MAIL FROM:<sender@example.org>\r\n",
            b"RCPT TO:<first.recipient@example.com>\r\n",
            b"DATA\r\n",
        ]
        .into_iter()
        // What one read brings.
        .chain(message.chunks(16 << 10))
        .chain([&b".\r\n"[..], b"QUIT\r\n"])
        .collect();
        let (content, heard) = serve(&limits, &one_by_one);
        assert_eq!(content, message.len());
        let heard = String::from_utf8(heard).expect("ASCII");
        let codes: Vec<&str> = heard.lines().map(|line| &line[..3]).collect();
        assert_eq!(codes, ["220", "250", "250", "250", "354", "250", "221"]);
        group.throughput(Throughput::Elements(1));
        group.bench_with_input(
            BenchmarkId::from_parameter(name),
            &one_by_one,
            |b, pieces| {
                b.iter(|| serve(&limits, black_box(pieces)));
            },
        );
    }
    group.finish();
}

/// A whole session with a host that offers PIPELINING; what came of the message.
fn deliver(hello: &Hello, peer: &Peer) -> Option<Outcome> {
    let mut session = ClientSession::new(hello.clone(), peer.clone(), Waits::default(), Tick(0));
    let mut says = [
        &b"220 mx.example.com ESMTP\r\n"[..],
        EHLO_REPLY,
        ENVELOPE_REPLIES,
        DOT_REPLY,
        b"221 2.0.0 Bye\r\n",
    ]
    .into_iter();
    let mut settled = None;
    loop {
        match session.poll_output() {
            Some(Output::Ready) => session.begin(Tick(1), outgoing()),
            Some(Output::Body) => session.body_sent(Tick(2)),
            Some(Output::Settled { outcome, .. }) => settled = Some(outcome),
            Some(Output::Done) => session.quit(Tick(3)),
            Some(Output::Close) => return settled,
            Some(output) => drop(black_box(output)),
            None => session.handle_input(Tick(1), says.next()?),
        }
    }
}

fn outgoing() -> Outgoing {
    Outgoing {
        reverse_path: "sender@example.org".into(),
        size: 1024,
        recipients: vec![OutgoingRecipient {
            address: "first.recipient@example.com".into(),
            ..OutgoingRecipient::default()
        }]
        .into(),
        ..Outgoing::default()
    }
}

fn client(c: &mut Criterion) {
    let hello = Hello {
        name: "relay.test".into(),
        own_name: Some("relay.test".into()),
        lmtp: false,
        tls: StartTls::Never,
        log_in: LogIn::Never,
    };
    let peer = Peer {
        name: "mx.example.com".into(),
        address: IpAddr::from([192, 0, 2, 1]),
    };
    let outcome = deliver(&hello, &peer);
    assert!(
        matches!(outcome, Some(Outcome::Delivered { .. })),
        "{outcome:?}"
    );
    c.bench_function("client session", |b| b.iter(|| deliver(&hello, &peer)));
}

fn envelope() -> Envelope {
    let mailbox = |text: &str| Mailbox::parse(text.as_bytes(), false).expect("an address");
    Envelope {
        reverse_path: ReversePath(Some(mailbox("sender@example.org"))),
        ret: None,
        envid: None,
        body: BodyKind::SevenBit,
        smtputf8: false,
        require_tls: false,
        standing: Default::default(),
        recipients: vec![Recipient {
            mailbox: mailbox("first.recipient@example.com"),
            notify: None,
            orcpt: None,
            expanded: false,
        }],
    }
}

fn record(c: &mut Criterion) {
    let envelope = envelope();
    let content = Content {
        size: 1024,
        message_id: Some("<1@example.org>".into()),
        ..Content::default()
    };
    let epoch = Epoch { number: 1, salt: 7 };
    let mut group = c.benchmark_group("record");
    for (name, octets) in [("1KiB", 1 << 10), ("100KiB", 100 << 10)] {
        let body = message(octets);
        let accepted = Accepted {
            id: QueueId(1),
            arrival: Wall(1_790_000_000_000_000),
            envelope: &envelope,
            content: &content,
            trace: b"Received: from c.test ([127.0.0.1]) by relay.test with ESMTP id 1;\r\n\tMon, 23 Nov 2026 11:00:13 +0000\r\n",
            body: BodyRef::Inline(&body),
            reports: None,
        };
        let mut written = Vec::new();
        accepted.append_to(&mut written, epoch, None);
        let len = u32::try_from(written.len()).expect("small");
        let locator = Locator {
            segment: 1,
            len,
            offset: 0,
        };
        let stored = read_accept(&written, locator, epoch.salt).expect("a message");
        assert_eq!(stored.body, StoredBody::Inline(body.clone()));
        group.throughput(Throughput::Bytes(u64::from(len)));
        group.bench_function(BenchmarkId::new("write", name), |b| {
            let mut out = Vec::with_capacity(written.len());
            b.iter(|| {
                out.clear();
                black_box(&accepted).append_to(&mut out, epoch, None);
                out.len()
            });
        });
        group.bench_function(BenchmarkId::new("read", name), |b| {
            b.iter(|| read_accept(black_box(&written), locator, epoch.salt));
        });
    }
    let note = Note::Delivered {
        id: QueueId(1),
        recipient: 0,
    };
    group.throughput(Throughput::Elements(1));
    group.bench_function("write an outcome", |b| {
        let mut out = Vec::with_capacity(64);
        b.iter(|| {
            out.clear();
            black_box(note).append_to(&mut out, epoch);
            out.len()
        });
    });
    group.finish();
}

criterion_group!(benches, commands, replies, server, client, record);
criterion_main!(benches);
