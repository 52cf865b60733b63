//! The real world keeps the promises of [`World`], on this machine's kernel.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::time::Duration;

use super::start;
use super::*;
use crate::config::{Config, Dns};
use crate::observe::log::{Format, Journal, Level};
use crate::service::{Desk, Service};
use crate::world::{File as _, Listener as _, Stream as _};

/// Runs `main` on an executor of its own, with one listening socket on a port of the kernel's
/// choice.
fn in_world<F, T>(main: F)
where
    F: FnOnce(Uring) -> T + Send + 'static,
    T: Future<Output = ()> + 'static,
{
    start::prepare().unwrap();
    let service = Service::start().unwrap();
    let config = Config {
        dns: Dns {
            servers: vec!["127.0.0.1:1".parse().unwrap()],
            dnssec: None,
        },
        ..Config::default()
    };
    let journal = Journal::start(Format::Text, Level::Error).unwrap();
    let desk = Desk::start(&service, &config, journal.handle()).unwrap();
    let socket = net::bind(ANYWHERE.parse().unwrap()).unwrap();
    let sockets = HashMap::from([(ANYWHERE.parse().unwrap(), vec![socket])]);
    glommio::LocalExecutorBuilder::default()
        .io_memory(64 << 10)
        .spawn(move || async move { main(Uring::new(desk, sockets, None)).await })
        .unwrap()
        .join()
        .unwrap();
}

const ANYWHERE: &str = "127.0.0.1:0";

fn soon(world: &Uring) -> Tick {
    world.now() + Duration::from_secs(5)
}

/// A connection between two ends of one world.
async fn pair(world: &Uring) -> (UringStream, UringStream) {
    let listener = world.listen(ANYWHERE.parse().unwrap()).unwrap();
    let source: IpAddr = "127.0.0.7".parse().unwrap();
    let ours = world
        .dial(Some(source), listener.local(), soon(world))
        .await
        .unwrap();
    let theirs = listener.accept().await.unwrap();
    assert_eq!(theirs.peer().ip(), source);
    (ours, theirs)
}

#[test]
fn who_connects_to_a_socket_that_was_left_waits_for_its_other_owner() {
    in_world(|world| async move {
        let at = ANYWHERE.parse().unwrap();
        let other = world.inner.sockets.borrow()[&at][0].try_clone().unwrap();
        let listener = world.listen(at).unwrap();
        let mut waiting = Box::pin(listener.accept());
        let first = futures_lite::future::poll_once(&mut waiting).await;
        assert!(first.is_none(), "nobody has come");
        listener.leave();
        assert!(waiting.await.is_err(), "it waits no longer");
        let client = world.dial(None, listener.local(), soon(&world)).await;
        assert!(listener.accept().await.is_err(), "who comes is not ours");
        other.accept().expect("the other owner has the client");
        drop(client.unwrap());
    });
}

#[test]
fn octets_travel_in_several_parts_and_a_silent_peer_ends_a_read_at_its_deadline() {
    in_world(|world| async move {
        let (mut ours, mut theirs) = pair(&world).await;
        let mut into = [0u8; 64];
        for _ in 0..3 {
            let began = world.now();
            let silent = theirs
                .read(&mut into, began + Duration::from_millis(30))
                .await;
            assert_eq!(silent.unwrap_err().kind(), io::ErrorKind::TimedOut);
            let waited = world.now().since(began);
            assert!(waited >= Duration::from_millis(29), "{waited:?}");
        }
        let mut parts = [
            IoSlice::new(b"one "),
            IoSlice::new(b""),
            IoSlice::new(b"two"),
        ];
        ours.write(&mut parts, soon(&world)).await.unwrap();
        let len = theirs.read(&mut into, soon(&world)).await.unwrap();
        assert_eq!(&into[..len], b"one two");
        assert!(!ours.is_stale());
        theirs.shutdown();
        assert_eq!(ours.read(&mut into, soon(&world)).await.unwrap(), 0);
        assert!(ours.is_stale());
    });
}

#[test]
fn a_wait_for_octets_can_be_given_up_begun_again_and_looked_at_often() {
    in_world(|world| async move {
        let (mut client, mut server) = pair(&world).await;
        let until = world.now() + Duration::from_millis(20);
        let silent = server.readable(until).await.unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        let until = soon(&world);
        assert!(
            futures_lite::future::poll_once(server.readable(until))
                .await
                .is_none()
        );
        {
            let mut waiting = std::pin::pin!(server.readable(until));
            for _ in 0..1000 {
                let looked = futures_lite::future::poll_once(&mut waiting).await;
                assert!(looked.is_none(), "nothing was said");
            }
            client
                .write(&mut [IoSlice::new(b"hello")], until)
                .await
                .unwrap();
            waiting.await.unwrap();
        }
        let mut into = [0; 3];
        assert_eq!(server.read(&mut into, until).await.unwrap(), 3);
        server.readable(until).await.unwrap();
        assert_eq!(server.read(&mut into, until).await.unwrap(), 2);
        client.shutdown();
        server.readable(until).await.unwrap();
        assert_eq!(server.read(&mut into, until).await.unwrap(), 0, "the end");
    });
}

#[test]
fn a_large_write_to_a_slow_reader_is_whole_and_one_to_a_dead_reader_ends() {
    in_world(|world| async move {
        let (mut ours, mut theirs) = pair(&world).await;
        let sent: Vec<u8> = (0..8 << 20).map(|at: u32| at as u8).collect();
        let copy = sent.clone();
        let reader = world.clone();
        let (tell, told) = futures_channel::oneshot::channel();
        world.spawn(Class::Inbound, async move {
            let (mut got, mut into) = (Vec::new(), vec![0; 1 << 16]);
            while got.len() < copy.len() {
                let len = theirs.read(&mut into, soon(&reader)).await.unwrap();
                got.extend_from_slice(&into[..len]);
            }
            assert!(got == copy);
            let _ = tell.send(theirs);
        });
        ours.write(&mut [IoSlice::new(&sent)], soon(&world))
            .await
            .unwrap();
        let _theirs = told.await.unwrap();
        let until = world.now() + Duration::from_millis(50);
        let stuck = ours
            .write(&mut [IoSlice::new(&sent), IoSlice::new(&sent)], until)
            .await;
        assert_eq!(stuck.unwrap_err().kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn a_task_that_breathes_lets_others_hear_from_the_network() {
    in_world(|world| async move {
        let (mut ours, mut theirs) = pair(&world).await;
        let echo = world.clone();
        world.spawn(Class::Inbound, async move {
            let mut octet = [0];
            while theirs.read(&mut octet, soon(&echo)).await.unwrap() > 0 {
                let back = &mut [IoSlice::new(&octet)];
                theirs.write(back, soon(&echo)).await.unwrap();
            }
        });
        let asker = world.clone();
        let (tell, mut told) = futures_channel::oneshot::channel();
        world.spawn(Class::Inbound, async move {
            let mut octet = [0];
            for _ in 0..ROUNDS {
                let there = &mut [IoSlice::new(b"?")];
                ours.write(there, soon(&asker)).await.unwrap();
                ours.read(&mut octet, soon(&asker)).await.unwrap();
            }
            let _ = tell.send(());
        });
        let mut steps = 0;
        while told.try_recv().unwrap().is_none() {
            let until = world.now() + Duration::from_micros(100);
            while world.now() < until {}
            steps += 1;
            world.breathe().await;
        }
        // Two looks for a round, ten steps between two looks; one look a second would be 10,000.
        assert!(steps < 4_000, "{steps} steps");
    });
}

/// There and back.
const ROUNDS: usize = 20;

#[test]
fn a_peer_that_reset_in_the_backlog_is_passed_over_for_the_next() {
    in_world(|world| async move {
        let listener = world.listen(ANYWHERE.parse().unwrap()).unwrap();
        for _ in 0..3 {
            let gone = std::net::TcpStream::connect(listener.local()).unwrap();
            // Closed with no time to linger, a socket sends RST.
            let gone = socket2::Socket::from(gone);
            gone.set_linger(Some(Duration::ZERO)).unwrap();
        }
        let next = std::net::TcpStream::connect(listener.local()).unwrap();
        let accepted = listener.accept().await.unwrap();
        assert_eq!(accepted.peer(), next.local_addr().unwrap());
    });
}

#[test]
fn nobody_listening_is_refused_and_a_closed_listener_stops_accepting() {
    in_world(|world| async move {
        let listener = Rc::new(world.listen(ANYWHERE.parse().unwrap()).unwrap());
        let accepting = Rc::clone(&listener);
        let (tell, told) = futures_channel::oneshot::channel();
        world.spawn(Class::Inbound, async move {
            let _ = tell.send(accepting.accept().await.is_err());
        });
        world.sleep(world.now() + Duration::from_millis(20)).await;
        listener.close();
        assert!(told.await.unwrap(), "a closed listener accepted");
        let nobody = "127.0.0.1:1".parse().unwrap();
        let refused = world.dial(None, nobody, soon(&world)).await;
        assert_eq!(
            refused.err().unwrap().kind(),
            io::ErrorKind::ConnectionRefused
        );
    });
}

#[test]
fn files_hold_what_was_written_and_directories_list_it() {
    in_world(|world| async move {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("a/b");
        assert_eq!(
            world.list(&directory).await.unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        world.make_directory(&directory).await.unwrap();
        let path = directory.join("one");
        assert_eq!(
            world.open(&path, false).await.err().unwrap().kind(),
            io::ErrorKind::NotFound
        );
        let file = world.open(&path, true).await.unwrap();
        file.write_at(b"hello".to_vec(), 3).await.unwrap();
        file.sync().await.unwrap();
        assert_eq!(file.read_at(0, 100).await.unwrap(), b"\0\0\0hello");
        file.set_len(4).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 4);
        world.rename(&path, &directory.join("two")).await.unwrap();
        // Under its new name it is still the same file, also where it is opened once more.
        file.write_durably(b"all".to_vec(), 4).await.unwrap();
        file.write_durably(b"yes".to_vec(), 1).await.unwrap();
        assert_eq!(file.read_at(0, 100).await.unwrap(), b"\0yesall");
        world.sync_directory(&directory).await.unwrap();
        assert_eq!(
            world.list(&directory).await.unwrap(),
            [PathBuf::from("two")]
        );
        world.remove(&directory.join("two")).await.unwrap();
        assert!(world.list(&directory).await.unwrap().is_empty());
    });
}

#[test]
fn what_is_only_read_is_read_like_the_rest_and_cannot_be_written() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    in_world(|world| async move {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let octets: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        std::fs::write(at("file"), &octets).unwrap();
        let file = world.open_to_read(&at("file")).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 300_000);
        assert_eq!(file.read_at(0, 300_000).await.unwrap(), octets);
        assert_eq!(file.read_at(299_990, 100).await.unwrap(), octets[299_990..]);
        assert!(file.read_at(300_000, 1).await.unwrap().is_empty());
        assert!(file.write_at(b"x".to_vec(), 0).await.is_err());
        // Out of memory, if the kernel hears of it: then the disk is waited for.
        let plain = std::fs::File::open(at("file")).unwrap();
        plain.sync_all().unwrap();
        rustix::fs::fadvise(&plain, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert_eq!(file.read_at(5, 299_000).await.unwrap(), octets[5..299_005]);
        let missing = world.open_to_read(&at("none")).await.err().unwrap();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        assert!(world.open_to_read(&at("link")).await.is_err());
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        // Nobody waits for its writer.
        if let Ok(pipe) = world.open_to_read(&at("pipe")).await {
            assert!(pipe.read_at(0, 10).await.is_err());
        }
    });
}

#[test]
fn a_pipe_is_not_listed_for_nobody_may_wait_for_its_writer() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    in_world(|world| async move {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        let names = world.list(place.path()).await.unwrap();
        assert_eq!(names, ["directory", "file", "link"].map(PathBuf::from));
        let files = world.files(place.path()).await.unwrap();
        assert_eq!(files, [PathBuf::from("file")]);
        assert!(world.open(&at("link"), false).await.is_err());
        assert!(world.open(&at("file"), false).await.is_ok());
    });
}

#[test]
fn a_panic_in_a_task_leaves_the_shard_running() {
    in_world(|world| async move {
        world.spawn(Class::Outbound, async { panic!("meant") });
        world.sleep(world.now() + Duration::from_millis(5)).await;
        assert_eq!(world.inner.panics.get(), 1);
    });
}

#[test]
fn a_dead_resolver_is_a_failure_and_not_a_wait() {
    in_world(|world| async move {
        let question = Question {
            name: "mx.test".into(),
            kind: crate::route::dns::Kind::Mx,
        };
        let response = world.lookup(question).await;
        assert!(matches!(
            response.answer,
            crate::route::dns::Answer::Failure(_)
        ));
    });
}

#[test]
fn work_waiting_and_sleep_are_told_apart() {
    in_world(|world| async move {
        let pause = || world.sleep(world.now() + Duration::from_millis(5));
        let round = || async {
            for _ in 0..10 {
                pause().await;
            }
            world.load()
        };
        round().await;
        let (began, idle_before) = (world.now(), world.load());
        let idle = round().await;
        let took = world.now().since(began);
        let slept = idle.wakeups - idle_before.wakeups;
        assert!(slept >= 10, "{slept} wake-ups for ten sleeps");
        assert!(idle.turns >= idle_before.turns + 10);
        let worked = idle.busy - idle_before.busy;
        assert!(worked < took / 2, "{worked:?} of {took:?} for ten sleeps");

        let end = world.now() + Duration::from_millis(60);
        while world.now() < end {
            std::hint::spin_loop();
        }
        // The round is counted at its end.
        let busy = round().await;
        let (worked, had_core) = (busy.busy - idle.busy, busy.on_cpu - idle.on_cpu);
        assert!(worked >= Duration::from_millis(60), "{worked:?}");
        assert!(had_core >= Duration::from_millis(5), "{had_core:?}");
        assert!(busy.turns > idle.turns && busy.wakeups > idle.wakeups);
    });
}

#[test]
fn errors_of_files_name_the_file_and_what_the_system_said() {
    let said = |path: Option<&str>| {
        plain(glommio::GlommioError::EnhancedIoError {
            source: io::Error::from_raw_os_error(13),
            op: "Opening",
            path: path.map(Into::into),
            fd: None,
        })
    };
    let text = "/spool/FORMAT: Permission denied (os error 13)";
    assert_eq!(said(Some("/spool/FORMAT")).to_string(), text);
    assert_eq!(said(Some("/a")).kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(said(None).raw_os_error(), Some(13));
}
