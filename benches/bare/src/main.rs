//! Takes mail as a relay does, with nothing but what the wire and the disk ask for: a line is read, a line
//! is answered, and a message is on disk before its 250. No rule is applied, and nothing is delivered.
//!
//! The same dialogue ([`dialogue`]) runs on each of several ways to wait: what the relay costs more than
//! the first of them is the relay's, and what that costs more than the others is its runtime's.

mod dialogue;
mod on_epoll;
mod on_glommio;
mod on_ring;
mod on_threads;
mod store;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use socket2::{Domain, Protocol, Socket, Type};

/// Takes mail and keeps nothing of it but what is on disk
#[derive(Parser)]
struct Options {
    /// Where to listen
    at: SocketAddr,
    /// How it waits
    #[arg(long)]
    on: Way,
    /// Where messages are written; a file for each thread stands there
    #[arg(long)]
    directory: PathBuf,
    /// Threads that share the port
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Way {
    /// glommio's executors, a batch written by a worker of the kernel's: what the relay does
    Glommio,
    /// The same, but the executor itself waits for the disk
    GlommioInPlace,
    /// An io_uring for each thread without glommio, a batch written by a worker of the kernel's
    Ring,
    /// epoll, and the thread waits for the disk when nobody else has anything to say
    Epoll,
    /// A thread for each connection, and a sync for each message
    Threads,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let threads = match options.on {
        Way::Threads => 1,
        _ => options.threads,
    };
    let mut running = Vec::new();
    for number in 0..threads {
        let path = options.directory.join(number.to_string());
        let (at, way) = (options.at, options.on);
        running.push(std::thread::spawn(move || match way {
            Way::Glommio => on_glommio::serve(at, number, &path, false),
            Way::GlommioInPlace => on_glommio::serve(at, number, &path, true),
            Way::Ring => on_ring::serve(listen(at)?, number, &path),
            Way::Epoll => on_epoll::serve(listen(at)?, number, &path),
            Way::Threads => on_threads::serve(&listen(at)?, &path),
        }));
    }
    for thread in running {
        let ended = thread.join();
        ended.map_err(|_| io::Error::other("a thread panicked"))??;
    }
    Ok(())
}

/// One of several sockets that share the port.
fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Ties the caller to a processor, as the relay's shards are.
fn pin(number: usize) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(number);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

const BACKLOG: i32 = 4096;
