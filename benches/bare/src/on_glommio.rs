//! glommio, used as the relay uses it: a task for each connection, and one that writes batches.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_channel::oneshot;
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};
use glommio::io::{BufferedFile, OpenOptions};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};

use crate::dialogue::{BYE, Dialogue, GREETING, Next, READ_OCTETS, STORED};
use crate::store;

/// What is to be written, and who waits for it.
#[derive(Default)]
struct Batch {
    octets: RefCell<Vec<u8>>,
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
    writer: Cell<Option<Waker>>,
}

/// How a batch gets on disk.
enum Disk {
    Worker(BufferedFile),
    InPlace(std::fs::File),
}

pub(crate) fn serve(at: SocketAddr, number: usize, path: &Path, in_place: bool) -> io::Result<()> {
    store::make(path)?;
    let executor = LocalExecutorBuilder::new(Placement::Fixed(number))
        .ring_depth(RING_DEPTH)
        .preempt_timer(Duration::from_secs(1))
        .make()?;
    executor.run(async {
        let durably = rustix::fs::OFlags::DSYNC.bits().cast_signed();
        let disk = if in_place {
            let file = std::fs::OpenOptions::new()
                .write(true)
                .custom_flags(durably)
                .open(path)?;
            Disk::InPlace(file)
        } else {
            let mut options = OpenOptions::new();
            let options = options.write(true).custom_flags(durably);
            Disk::Worker(options.buffered_open(path).await?)
        };
        // The relay has this timer, too: glommio may sleep on a task that could run.
        let beating = async {
            loop {
                glommio::timer::sleep(BEAT).await;
            }
        };
        glommio::spawn_local(beating).detach();
        let batch = Rc::new(Batch::default());
        glommio::spawn_local(write(disk, Rc::clone(&batch))).detach();
        let listener = TcpListener::bind(at)?;
        loop {
            let client = listener.accept().await?;
            client.set_nodelay(true)?;
            let batch = Rc::clone(&batch);
            let talking = async move {
                // A client that goes has no message any more.
                let _ = talk(client, &batch).await;
            };
            glommio::spawn_local(talking).detach();
        }
    })
}

async fn talk(mut client: TcpStream, batch: &Batch) -> io::Result<()> {
    let (mut dialogue, mut into) = (Dialogue::default(), vec![0; READ_OCTETS]);
    client.write_all(GREETING).await?;
    loop {
        match dialogue.next() {
            Next::Say(reply) => client.write_all(reply).await?,
            Next::Store(content) => {
                let (tell, told) = oneshot::channel();
                batch.octets.borrow_mut().extend_from_slice(&content);
                batch.waiting.borrow_mut().push(tell);
                if let Some(writer) = batch.writer.take() {
                    writer.wake();
                }
                told.await.map_err(io::Error::other)?;
                client.write_all(STORED).await?;
            }
            Next::Bye => {
                client.write_all(BYE).await?;
                return Ok(client.shutdown(std::net::Shutdown::Both).await?);
            }
            Next::Read => match client.read(&mut into).await? {
                0 => return Ok(()),
                len => dialogue.hears(&into[..len]),
            },
        }
    }
}

async fn write(disk: Disk, batch: Rc<Batch>) -> io::Result<()> {
    let mut place = store::Place::default();
    loop {
        poll_fn(|cx| {
            if batch.waiting.borrow().is_empty() {
                batch.writer.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        let (octets, waiting) = (batch.octets.take(), batch.waiting.take());
        let at = place.take(octets.len());
        match &disk {
            Disk::Worker(file) => drop(file.write_at(octets, at).await?),
            Disk::InPlace(file) => file.write_all_at(&octets, at)?,
        }
        for tell in waiting {
            let _ = tell.send(());
        }
    }
}

// As in the relay.
const RING_DEPTH: usize = 1024;
const BEAT: Duration = Duration::from_millis(500);
