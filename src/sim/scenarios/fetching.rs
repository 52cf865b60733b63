//! Users fetch their mail while the world does what it does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::play::Play;
use crate::config::{Listener, Protocol};
use crate::sim::disk::Faults;
use crate::sim::peers::reader::{Reader, Visit};
use crate::sim::{PLANNED_PANIC, Weather, seeds};
use crate::users::{User, Users};
use crate::world::{Class, World as _};

const ANN: &str = "ann@one.test";
const PASSWORD: &str = "secret";

static USERS: LazyLock<Arc<Users>> = LazyLock::new(|| {
    let mut users = Users::default();
    let ann = User::new(PASSWORD, Vec::new()).unwrap();
    assert!(users.add(ANN, ann.with_apop(PASSWORD)));
    Arc::new(users)
});

/// A relay that speaks POP3, with some messages for ann on its disk.
struct House {
    play: Play,
    pop3: SocketAddr,
    /// Unique ids and contents.
    messages: BTreeMap<String, Vec<u8>>,
}

impl House {
    fn new(seed: u64) -> Self {
        let mut pop3 = None;
        let mut play = Play::with(seed, 1 + seed as usize % 3, |config| {
            let mut at = config.listener[0].bind[0];
            at.set_port(110);
            config.listener.push(Listener {
                protocol: Protocol::Pop3,
                bind: vec![at],
                ..config.listener[0].clone()
            });
            pop3 = Some(at);
        });
        play.users = Arc::clone(&USERS);
        let mut house = Self {
            play,
            pop3: pop3.unwrap(),
            messages: BTreeMap::new(),
        };
        house.fill();
        house
    }

    /// Another program has delivered these.
    fn fill(&mut self) {
        let disk = self.play.disk();
        let random = self.play.random();
        let home = Path::new("/ringpost/mailboxes").join(ANN);
        for place in ["cur", "new", "tmp"] {
            disk.make_directory(&home.join(place)).unwrap();
        }
        for number in 0..random.between(1, 8) {
            let id = format!("{}.M1P{number}.one.test", 1_704_067_200 + number);
            let lines = random.below(if random.permille(200) { 5_000 } else { 30 });
            let body: String = (0..lines).map(|line| format!(".line {line}\n")).collect();
            let text = format!("Subject: {id}\n\n{body}");
            let path = match random.permille(500) {
                true => home.join("new").join(&id),
                false => home.join("cur").join(format!("{id}:2,S")),
            };
            let file = disk.open(&path, true).unwrap();
            file.write_at(text.as_bytes(), 0).unwrap();
            file.sync().unwrap();
            self.messages
                .insert(id, text.replace('\n', "\r\n").into_bytes());
        }
        for place in ["cur", "new"] {
            disk.sync_directory(&home.join(place)).unwrap();
        }
    }

    /// Begins a session; what it sees, and whether it has ended.
    fn visit(&self, deletes_permille: u32, breaks_permille: u32) -> Session {
        let session = Session::default();
        let world = self.play.clients().clone();
        let reader = Reader {
            world: world.clone(),
            relay: self.pop3,
            user: ANN.into(),
            password: PASSWORD.into(),
            deletes_permille,
            breaks_permille,
        };
        let (visit, ended) = (Rc::clone(&session.visit), Rc::clone(&session.ended));
        world.spawn(Class::Retrieve, async move {
            // An end that nobody wished for is a part of the play.
            let _ = reader.run(visit).await;
            *ended.borrow_mut() = true;
        });
        session
    }

    /// Sessions until one gets through: what is there then.
    fn look(&self) -> BTreeMap<String, Vec<u8>> {
        self.play.sim.set_weather(Weather::CALM);
        loop {
            let session = self.visit(0, 0);
            self.wait_for(&session);
            let visit = session.visit.borrow();
            if visit.answer == Some(true) {
                return visit.messages.clone();
            }
            // The lock of a session whose end nobody has heard of.
            self.play.sim.run_for(Duration::from_secs(60));
        }
    }

    fn wait_for(&self, session: &Session) {
        let ended = || *session.ended.borrow();
        let what = "the session has ended";
        self.play.run_until(what, ended, Duration::from_secs(3600));
    }

    /// What is there after a session must be what the session was promised.
    fn judge(&self, session: &Session) {
        let seed = self.play.seed();
        let visit = session.visit.borrow();
        for (id, content) in &visit.messages {
            assert!(
                self.messages.get(id) == Some(content),
                "{seed}: {id} came changed"
            );
        }
        let left = self.look();
        for (id, content) in &self.messages {
            let is_there = left.get(id).inspect(|found| {
                assert!(*found == content, "{seed}: half of {id} is left");
            });
            let marked = visit.deleted.contains(id);
            match visit.answer {
                Some(true) if marked => assert_eq!(is_there, None, "{seed}: {id} was to go"),
                // It may have gone; the client does not know.
                _ if marked && visit.quits => {}
                _ => assert!(is_there.is_some(), "{seed}: {id} is lost, {visit:?}"),
            }
        }
        assert!(left.len() <= self.messages.len(), "{seed}: {left:?}");
        let mut panics = self.play.sim.panics();
        panics.retain(|said| !said.ends_with(PLANNED_PANIC));
        assert!(panics.is_empty(), "{seed}:\n{}", panics.join("\n"));
    }
}

#[derive(Default)]
struct Session {
    visit: Rc<RefCell<Visit>>,
    ended: Rc<RefCell<bool>>,
}

#[test]
fn mail_is_fetched_and_deleted_wherever_the_session_comes_in() {
    for seed in seeds(20) {
        let house = House::new(seed);
        house.play.boot_surely();
        let session = house.visit(400, 0);
        house.wait_for(&session);
        assert_eq!(session.visit.borrow().answer, Some(true), "seed {seed}");
        assert_eq!(
            session.visit.borrow().messages,
            house.messages,
            "seed {seed}"
        );
        house.judge(&session);
    }
}

#[test]
fn connections_break_before_quit() {
    for seed in seeds(20) {
        let house = House::new(seed);
        house.play.sim.set_weather(Weather::STORM);
        house.play.boot_surely();
        let session = house.visit(600, 300);
        house.wait_for(&session);
        house.judge(&session);
    }
}

/// The power goes at one of the disk's operations behind QUIT: every message is there, or gone,
/// and gone are only those that were marked.
#[test]
fn power_is_cut_while_quit_deletes() {
    let (mut runs, mut cuts, mut kept, mut gone) = (0, 0, 0, 0);
    for seed in seeds(60) {
        let house = House::new(seed);
        house.play.boot_surely();
        let session = house.visit(700, 0);
        let quits = || session.visit.borrow().quits;
        let what = "QUIT is said";
        house.play.run_until(what, quits, Duration::from_secs(3600));
        house.play.cut_power_within(12);
        house.wait_for(&session);
        house.play.disk().set_faults(Faults::default());
        runs += 1;
        if session.visit.borrow().answer.is_none() {
            cuts += 1;
            house.play.note_crash();
            house.play.boot_surely();
            let left = house.look();
            for id in &session.visit.borrow().deleted {
                *(if left.contains_key(id) {
                    &mut kept
                } else {
                    &mut gone
                }) += 1;
            }
        }
        house.judge(&session);
    }
    // Else the power went too early or too late to show anything.
    assert!(
        runs < 60 || cuts > 10 && kept > 0 && gone > 0,
        "{cuts} of {runs}, {kept} kept, {gone} gone"
    );
}

/// The power goes, or the process is killed, at any moment of a session.
#[test]
fn power_is_cut_during_a_session() {
    for seed in seeds(40) {
        let house = House::new(seed);
        house.play.boot_surely();
        let session = house.visit(500, 200);
        let wait = Duration::from_micros(house.play.random().below(400_000));
        house.play.sim.run_for(wait);
        house.play.crash();
        house.wait_for(&session);
        house.play.boot_surely();
        house.judge(&session);
    }
}

/// A session that panics ends; its maildrop is free again, and whole.
#[test]
fn a_session_panics() {
    let mut panicked = 0;
    for seed in seeds(30) {
        let house = House::new(seed);
        house.play.boot_surely();
        house.play.tempt("retrieve", house.play.random().below(120));
        let session = house.visit(500, 0);
        house.wait_for(&session);
        panicked += u64::from(!house.play.sim.is_tempted());
        house.play.sim.tempt(None);
        house.judge(&session);
    }
    assert!(panicked > 0, "no session got as far");
}
