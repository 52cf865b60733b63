//! One io_uring for each thread and no runtime: reads and the batch go through it, its completions are
//! fetched where the thread waits, and there is no timer.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode, squeue};
use slab::Slab;

use crate::dialogue::{BYE, Dialogue, GREETING, Next, READ_OCTETS, STORED};
use crate::{pin, store};

struct Server {
    ring: IoUring,
    connections: Slab<Connection>,
    file: RawFd,
    place: store::Place,
    /// What is to be written next, and whom to tell then.
    batch: Vec<u8>,
    waiting: Vec<usize>,
    /// The same of what is being written.
    writing: Vec<u8>,
    told_next: Vec<usize>,
}

struct Connection {
    client: TcpStream,
    dialogue: Dialogue,
    /// Where the kernel puts what it reads. Stays in place for as long as the connection does.
    into: Box<[u8; READ_OCTETS]>,
}

pub(crate) fn serve(listener: TcpListener, number: usize, path: &Path) -> io::Result<()> {
    pin(number)?;
    store::make(path)?;
    let durably = rustix::fs::OFlags::DSYNC.bits().cast_signed();
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(durably)
        .open(path)?;
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(ENTRIES)?;
    let mut server = Server {
        ring,
        connections: Slab::new(),
        file: file.as_raw_fd(),
        place: store::Place::default(),
        batch: Vec::new(),
        waiting: Vec::new(),
        writing: Vec::new(),
        told_next: Vec::new(),
    };
    server.accept(&listener)?;
    loop {
        server.store()?;
        match server.ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => drop(done?),
        }
        let done: Vec<cqueue::Entry> = server.ring.completion().collect();
        for entry in done {
            match entry.user_data() {
                LISTENER => server.let_in(&listener, &entry)?,
                DISK => server.stored(entry.result())?,
                key => server.hear(key as usize, entry.result())?,
            }
        }
    }
}

impl Server {
    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: what an entry points to lives until its completion: the buffer of a connection, which is
        // removed only while nothing is read, and `writing`, which is touched only when it is written.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build();
        self.push(&entry.user_data(LISTENER))
    }

    fn let_in(&mut self, listener: &TcpListener, entry: &cqueue::Entry) -> io::Result<()> {
        if entry.result() >= 0 {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
            let mut client = unsafe { TcpStream::from_raw_fd(entry.result()) };
            if client.write_all(GREETING).is_ok() {
                let (dialogue, into) = (Dialogue::default(), Box::new([0; READ_OCTETS]));
                let key = self.connections.insert(Connection {
                    client,
                    dialogue,
                    into,
                });
                self.read(key)?;
            }
        }
        if cqueue::more(entry.flags()) {
            Ok(())
        } else {
            self.accept(listener)
        }
    }

    fn read(&mut self, key: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(());
        };
        let (fd, len) = (Fd(connection.client.as_raw_fd()), READ_OCTETS as u32);
        let entry = opcode::Recv::new(fd, connection.into.as_mut_ptr(), len).build();
        self.push(&entry.user_data(key as u64))
    }

    fn hear(&mut self, key: usize, len: i32) -> io::Result<()> {
        match (usize::try_from(len), self.connections.get_mut(key)) {
            (Ok(len), Some(connection)) if len > 0 => {
                connection.dialogue.hears(&connection.into[..len]);
                self.go_on(key)
            }
            (_, Some(_)) => {
                drop(self.connections.remove(key));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn go_on(&mut self, key: usize) -> io::Result<()> {
        let Some(Connection {
            client, dialogue, ..
        }) = self.connections.get_mut(key)
        else {
            return Ok(());
        };
        loop {
            let said = match dialogue.next() {
                Next::Say(reply) => client.write_all(reply),
                Next::Store(content) => {
                    self.batch.extend_from_slice(&content);
                    self.waiting.push(key);
                    return Ok(());
                }
                Next::Bye => client
                    .write_all(BYE)
                    .and(Err(io::ErrorKind::ConnectionAborted.into())),
                Next::Read => return self.read(key),
            };
            if said.is_err() {
                drop(self.connections.remove(key));
                return Ok(());
            }
        }
    }

    fn store(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() || !self.told_next.is_empty() {
            return Ok(());
        }
        self.writing.clear();
        std::mem::swap(&mut self.batch, &mut self.writing);
        std::mem::swap(&mut self.waiting, &mut self.told_next);
        let (from, len) = (self.writing.as_ptr(), self.writing.len());
        let at = self.place.take(len);
        let entry = opcode::Write::new(Fd(self.file), from, len as u32)
            .offset(at)
            .build();
        // At once: a worker takes it while the replies go out.
        self.push(&entry.user_data(DISK))?;
        self.ring.submit()?;
        Ok(())
    }

    fn stored(&mut self, len: i32) -> io::Result<()> {
        if usize::try_from(len) != Ok(self.writing.len()) {
            return Err(io::Error::other("a batch was not written"));
        }
        for key in std::mem::take(&mut self.told_next) {
            let client = self
                .connections
                .get_mut(key)
                .map(|connection| &mut connection.client);
            match client.map(|client| client.write_all(STORED)) {
                Some(Ok(())) => self.go_on(key)?,
                Some(Err(_)) => drop(self.connections.remove(key)),
                None => {}
            }
        }
        Ok(())
    }
}

const LISTENER: u64 = u64::MAX;
const DISK: u64 = u64::MAX - 1;
const ENTRIES: u32 = 1024;
