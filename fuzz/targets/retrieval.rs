//! Whole sessions of POP3 and IMAP with a mailbox behind them: nothing panics, answers are well
//! formed, no message is lost that was not deleted, and others are served afterwards.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ringpost::sim::disk::SimDisk;
use ringpost_fuzz::answers::{answers, shown};
use ringpost_fuzz::halves;
use ringpost_fuzz::house::{ANN, House, IMAP, POP3};

const LOGIN: &[u8] = b"a LOGIN ann@one.test secret\r\nb SELECT INBOX\r\n";
const PASSWORD: &[u8] = b"USER ann@one.test\r\nPASS secret\r\n";
const MESSAGES: [&str; 3] = [
    "From: Ann <a@c.test>\nTo: b@d.test\nSubject: one\nMessage-ID: <1@c>\n\
     Date: Mon, 1 Jan 2024 00:00:00 +0000\n\nl1\n.dot\n..two\n",
    "Subject: Re: one\nReferences: <1@c>\nContent-Type: multipart/mixed; boundary=b\n\n\
     --b\nContent-Type: text/html; charset=iso-8859-1\n\
     Content-Transfer-Encoding: quoted-printable\n\n<p>tw=F6</p>\n--b\n\
     Content-Type: message/rfc822\n\nSubject: in\n\nx\n--b--\n",
    "no header at all",
];

fn furnish(disk: &SimDisk) {
    let home = Path::new("/ringpost/mailboxes").join(ANN);
    for place in ["cur", "new", "tmp"] {
        disk.make_directory(&home.join(place)).expect("a directory");
    }
    for (number, text) in MESSAGES.iter().enumerate() {
        let name = format!("{}.M1P{number}.one.test:2,", 1_704_067_200 + number);
        let file = disk
            .open(&home.join("cur").join(name), true)
            .expect("a file");
        file.write_at(text.as_bytes(), 0).expect("octets");
    }
}

fn mail(house: &House) -> usize {
    let home = Path::new("/ringpost/mailboxes").join(ANN);
    let places = ["cur", "new"].map(|place| house.disk().list(&home.join(place)));
    places.iter().flatten().map(Vec::len).sum()
}

fuzz_target!(|octets: &[u8]| {
    let house = House::new(furnish);
    // What begins with `+` is POP3: no command of either does.
    let (port, before, octets) = match octets.strip_prefix(b"+") {
        Some(rest) => (POP3, PASSWORD, rest),
        None => (IMAP, LOGIN, octets),
    };
    let before = if octets.starts_with(b"-") {
        b""
    } else {
        before
    };
    let (first, second) = halves(octets.strip_prefix(b"-").unwrap_or(octets));
    let heard = house.talk(port, &[before, first, second]);
    let words = octets.to_ascii_uppercase();
    let has = |word: &[u8]| memchr::memmem::find(&words, word).is_some();
    if port == IMAP && !has(b"COMPRESS") {
        if let Err(why) = answers(&heard) {
            panic!("{why}\n{}", shown(&heard));
        }
    }
    let may_delete = [
        &b"DELE"[..],
        b"EXPUNGE",
        b"MOVE",
        b"CLOSE",
        b"RENAME",
        b"STARTTLS",
    ];
    if !may_delete.iter().any(|word| has(word)) && !has(b"COMPRESS") {
        assert!(mail(&house) >= MESSAGES.len(), "mail is gone");
    }
    let again = house.talk(IMAP, &[LOGIN, b"c LOGOUT\r\n"]);
    assert!(
        memchr::memmem::find(&again, b"\r\nb OK").is_some(),
        "{}",
        shown(&again)
    );
});
