//! epoll. All that is to be done of what has come is done, and then one write makes every message that is
//! complete durable. Meanwhile the thread hears nobody: a relay must not do that with a slow disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use slab::Slab;

use crate::dialogue::{BYE, Dialogue, GREETING, Next, READ_OCTETS, STORED};
use crate::{pin, store};

struct Server {
    connections: Slab<Connection>,
    file: File,
    place: store::Place,
    /// What is to be written, and whom to tell.
    batch: Vec<u8>,
    waiting: Vec<usize>,
}

struct Connection {
    client: TcpStream,
    dialogue: Dialogue,
}

pub(crate) fn serve(listener: TcpListener, number: usize, path: &Path) -> io::Result<()> {
    pin(number)?;
    store::make(path)?;
    let durably = rustix::fs::OFlags::DSYNC.bits().cast_signed();
    let mut server = Server {
        connections: Slab::new(),
        file: OpenOptions::new()
            .write(true)
            .custom_flags(durably)
            .open(path)?,
        place: store::Place::default(),
        batch: Vec::new(),
        waiting: Vec::new(),
    };
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    listener.set_nonblocking(true)?;
    epoll::add(
        &poll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            match event.data.u64() {
                LISTENER => server.accept(&listener, &poll)?,
                key => server.hear(key as usize),
            }
        }
        server.store()?;
    }
}

impl Server {
    fn accept(&mut self, listener: &TcpListener, poll: &std::os::fd::OwnedFd) -> io::Result<()> {
        while let Ok((mut client, _)) = listener.accept() {
            client.set_nonblocking(true)?;
            let entry = self.connections.vacant_entry();
            let data = EventData::new_u64(entry.key() as u64);
            epoll::add(poll, &client, data, EventFlags::IN)?;
            if client.write_all(GREETING).is_ok() {
                let dialogue = Dialogue::default();
                entry.insert(Connection { client, dialogue });
            }
        }
        Ok(())
    }

    fn hear(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let mut into = [0; READ_OCTETS];
        match connection.client.read(&mut into) {
            Ok(len) if len > 0 => {
                connection.dialogue.hears(&into[..len]);
                self.go_on(key);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => drop(self.connections.remove(key)),
        }
    }

    fn go_on(&mut self, key: usize) {
        let Some(Connection { client, dialogue }) = self.connections.get_mut(key) else {
            return;
        };
        let goes_on = loop {
            match dialogue.next() {
                Next::Say(reply) => {
                    if client.write_all(reply).is_err() {
                        break false;
                    }
                }
                Next::Store(content) => {
                    self.batch.extend_from_slice(&content);
                    self.waiting.push(key);
                    break true;
                }
                Next::Bye => {
                    let _ = client.write_all(BYE);
                    break false;
                }
                Next::Read => break true,
            }
        };
        if !goes_on {
            drop(self.connections.remove(key));
        }
    }

    fn store(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let place = self.place.take(self.batch.len());
        self.file.write_all_at(&self.batch, place)?;
        self.batch.clear();
        for key in std::mem::take(&mut self.waiting) {
            if let Some(connection) = self.connections.get_mut(key)
                && connection.client.write_all(STORED).is_ok()
            {
                self.go_on(key);
            }
        }
        Ok(())
    }
}

const LISTENER: u64 = u64::MAX;
const EVENTS: usize = 256;
