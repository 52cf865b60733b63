//! A thread for each connection: nothing waits for anything but its own client and the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::dialogue::{BYE, Dialogue, GREETING, Next, READ_OCTETS, STORED};
use crate::store;

pub(crate) fn serve(listener: &TcpListener, path: &Path) -> io::Result<()> {
    store::make(path)?;
    let durably = rustix::fs::OFlags::DSYNC.bits().cast_signed();
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(durably)
        .open(path)?;
    let file = Arc::new((file, AtomicU64::new(0)));
    loop {
        let (client, _) = listener.accept()?;
        let file = Arc::clone(&file);
        std::thread::spawn(move || talk(client, &file.0, &file.1));
    }
}

fn talk(mut client: TcpStream, file: &File, next: &AtomicU64) -> io::Result<()> {
    let (mut dialogue, mut into) = (Dialogue::default(), [0; READ_OCTETS]);
    client.write_all(GREETING)?;
    loop {
        match dialogue.next() {
            Next::Say(reply) => client.write_all(reply)?,
            Next::Store(content) => {
                let place = next.fetch_add(content.len() as u64, Ordering::Relaxed);
                file.write_all_at(&content, place % ROOM)?;
                client.write_all(STORED)?;
            }
            Next::Bye => return client.write_all(BYE),
            Next::Read => match client.read(&mut into)? {
                0 => return Ok(()),
                len => dialogue.hears(&into[..len]),
            },
        }
    }
}

/// What is written of the file: its end is left for the last message of a turn.
const ROOM: u64 = 60 << 20;
