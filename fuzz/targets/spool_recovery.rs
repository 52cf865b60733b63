//! A spool whose segments are anything at all: it opens or says why not, what it gives back is what
//! was accepted, and what was found once is found again.
#![no_main]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use ringpost::mail::envelope::{BodyKind, Envelope, QueueId, Recipient};
use ringpost::progress::Progress;
use ringpost::sim::{Sim, SimWorld};
use ringpost::spool::check::check;
use ringpost::spool::log::{Accepted, Body, Log, MessageState, Note, Settings};
use ringpost::spool::record::StoredBody;
use ringpost::time::Wall;
use ringpost::wire::path::{Mailbox, ReversePath};
use ringpost_fuzz::headed;
use ringpost_fuzz::message::{content, diagnosis};

type Messages = BTreeMap<QueueId, (Envelope, Vec<u8>)>;

fn settings() -> Settings {
    Settings {
        shard: 0,
        segment_octets: 4096,
        durable: true,
        arriving: Box::new(|| 0),
        on_commit: Box::new(|_| {}),
        on_move: Box::new(|_, _| {}),
        progress: Progress::default(),
        state: Box::new(|_| MessageState::default()),
    }
}

fn place() -> PathBuf {
    Path::new("data/spool/00").into()
}

fn envelope(number: usize) -> Envelope {
    let mailbox = |text: String| Mailbox::parse(text.as_bytes(), false).expect("an address");
    let recipients = (0..=number % 3).map(|to| Recipient {
        mailbox: mailbox(format!("b{to}@d.test")),
        notify: None,
        orcpt: None,
        expanded: false,
    });
    Envelope {
        reverse_path: ReversePath(Some(mailbox(format!("a{number}@c.test")))),
        ret: None,
        envid: None,
        body: BodyKind::SevenBit,
        smtputf8: false,
        require_tls: false,
        standing: Default::default(),
        recipients: recipients.collect(),
    }
}

/// Fills a spool over several segments, with outcomes between.
async fn fill(world: SimWorld) -> Messages {
    let (log, _) = Log::open(world, place(), settings())
        .await
        .expect("an empty spool");
    let mut accepted = Messages::new();
    for number in 0..8 {
        let (id, envelope) = (log.next_id(), envelope(number));
        let body = format!("\r\n{}\r\n", "x".repeat(number * 200)).into_bytes();
        let message = Accepted {
            id,
            arrival: Wall(1_000_000 + number as i64),
            envelope: &envelope,
            content: &content(&body),
            trace: b"Received: x\r\n",
            body: Body::Inline(&body),
            reports: None,
        };
        log.accept(&message).await.expect("room");
        if number % 4 == 3 {
            log.note(Note::Delivered { id, recipient: 0 });
        }
        let diagnosis = diagnosis("later");
        log.note(Note::Deferred {
            id,
            recipients: &[0],
            attempts: 1,
            due: Wall(2_000_000),
            diagnosis: &diagnosis,
            doubtful: number % 2 == 0,
        });
        accepted.insert(id, (envelope, body));
    }
    log.close().await;
    accepted
}

/// What an opened spool gives back; `None` where it says why it does not open.
async fn reopen(world: SimWorld) -> Option<(Vec<QueueId>, Messages)> {
    let checked = check(&world, Path::new("data"), &Progress::default()).await;
    let (log, recovery) = Log::open(world.clone(), place(), settings()).await.ok()?;
    let found = recovery.messages;
    let report = checked.expect("what opens can be checked");
    assert_eq!(report.messages, found.len() as u64, "{:?}", report.damage);
    let mut all = Messages::new();
    for message in &found {
        assert_eq!(message.recipients.len(), message.envelope.recipients.len());
        let stored = log
            .read(message.locator)
            .await
            .expect("it was read a moment ago");
        assert_eq!(
            (stored.id, &stored.envelope),
            (message.id, &message.envelope)
        );
        if let StoredBody::Inline(body) = stored.body {
            let twice = all.insert(message.id, (stored.envelope, body));
            assert_eq!(twice, None, "one message twice");
        }
    }
    let next = log.next_id();
    assert!(
        found.iter().all(|message| message.id != next),
        "a name was given again"
    );
    log.close().await;
    Some((found.iter().map(|message| message.id).collect(), all))
}

fuzz_target!(|octets: &[u8]| {
    let (mode, mut rest) = headed(octets);
    let sim = Sim::new(0);
    let world = sim.node();
    let accepted = sim.run(&world, fill(world.clone())).expect("no crash");
    sim.kill(world.node());
    let disk = sim.disk(world.node());
    let files = disk.list(&place()).expect("files");
    if mode & 128 != 0 {
        let file = &files[usize::from(mode & 31) % files.len()];
        let file = disk.open(&place().join(file), false).expect("a file");
        file.set_len(0).expect("no octets");
        file.write_at(rest, 0).expect("octets");
    } else {
        // A file, two octets of place, one of length, and what stands there then.
        while let [file, low, high, len, after @ ..] = rest {
            let (now, later) = after.split_at(usize::from(*len).min(after.len()));
            let name = &files[usize::from(*file) % files.len()];
            let file = disk.open(&place().join(name), false).expect("a file");
            let at = u64::from(u16::from_le_bytes([*low, *high]) & 0xfff);
            file.write_at(now, at).expect("octets");
            rest = later;
        }
    }
    let world = sim.boot(world.node());
    let Some((found, all)) = sim.run(&world, reopen(world.clone())).expect("no crash") else {
        return;
    };
    for (id, message) in &all {
        assert!(
            accepted.get(id).is_none_or(|known| known == message),
            "{id} has changed"
        );
    }
    sim.kill(world.node());
    let world = sim.boot(world.node());
    let again = sim.run(&world, reopen(world.clone())).expect("no crash");
    let (again, _) = again.expect("what opened once opens again");
    assert_eq!(again, found, "another start finds something else");
});
