//! A mail exchanger with moods.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::Talk;
use super::guard::{Keys, Trick, Trust};
use super::ledger::{Attempt, Copy, Ledger, NamedAt, token_of};
use super::provider::Provider;
use crate::sim::{SimStream, SimWorld};
use crate::trial;
use crate::world::{Class, Listener as _, Stream as _, World as _};

/// How often each thing happens, out of 1000, at every stage of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mood {
    /// 4xx.
    pub temporary: u32,
    /// 5xx.
    pub permanent: u32,
    /// 421, and closed.
    pub closing: u32,
    /// Closed without a word; after the dot too.
    pub dropping: u32,
    /// 450 to RCPT, where no reports are taken.
    pub greylists: u32,
    /// A pause before the answer, of up to [`Mood::pause`].
    pub slow: u32,
    /// The longest pause.
    pub pause: Duration,
    /// What it does with TLS, where it has keys.
    pub tls: Tls,
}

/// What a host does with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// The same on every connection.
    Always(Trick),
    /// A trick so often, each time another.
    Drawn(u32),
}

impl Mood {
    /// Takes everything.
    pub const KIND: Self = Self {
        temporary: 0,
        greylists: 0,
        permanent: 0,
        closing: 0,
        dropping: 0,
        slow: 0,
        pause: Duration::ZERO,
        tls: Tls::Always(Trick::None),
    };
    /// Does everything a host may do, and some that it may not.
    pub const MOODY: Self = Self {
        temporary: 60,
        greylists: 0,
        permanent: 25,
        closing: 15,
        dropping: 25,
        slow: 80,
        pause: Duration::from_secs(400),
        tls: Tls::Drawn(400),
    };
}

/// A host that takes mail.
#[derive(Clone)]
pub struct Exchanger {
    /// The node it runs on.
    pub world: SimWorld,
    /// Where it listens.
    pub at: SocketAddr,
    /// What it serves, and all addresses that serve it: connections are counted together.
    pub destination: (Rc<str>, Rc<[IpAddr]>),
    /// Its book.
    pub ledger: Ledger,
    /// Whose it is.
    pub provider: Provider,
    /// Its mood; may change while it runs.
    pub mood: Rc<Cell<Mood>>,
    /// What it speaks TLS with; `None`: it does not.
    pub keys: Option<Rc<Keys>>,
    /// It takes reports: a refusal for good comes only where it can be told whose report it was.
    pub takes_reports: bool,
}

/// What happens at a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Yes,
    Temporary,
    Permanent,
    Closing,
    Drop,
}

impl Turn {
    const fn name(self) -> &'static str {
        match self {
            Self::Yes => "2xx",
            Self::Temporary => "4xx",
            Self::Permanent => "5xx",
            Self::Closing => "421, and goes",
            Self::Drop => "goes",
        }
    }
}

/// One session.
struct Session {
    exchanger: Exchanger,
    talk: Talk,
    trick: Trick,
    /// What the relay knows of who reads this.
    trust: Trust,
    is_eight_bit: bool,
    /// Where in the dialogue it is.
    stage: &'static str,
    reverse_path: Option<String>,
    recipients: Vec<String>,
    /// Where the relay speaks from.
    source: IpAddr,
    /// The copy whose answer the relay may or may not have read.
    open_answer: Option<usize>,
    /// Attempts whose answers the relay may or may not have read.
    in_flight: Vec<usize>,
}

impl Exchanger {
    /// Listens, and serves until its node ends.
    pub fn start(&self) -> io::Result<()> {
        let listener = self.world.listen(self.at)?;
        self.ledger
            .write(|entries| entries.hosts.push(self.at.ip()));
        let own = self.clone();
        self.world.spawn(Class::Inbound, async move {
            while let Ok(stream) = listener.accept().await {
                own.count(&stream);
                let session = Session::new(&own, stream);
                own.world.spawn(Class::Inbound, session.run());
            }
        });
        Ok(())
    }

    fn count(&self, stream: &SimStream) {
        let (name, addresses) = &self.destination;
        let relay = stream.peer().ip();
        let open = self.world.connections(relay, addresses);
        self.ledger.write(|entries| {
            let all = self.world.connections(relay, &entries.hosts);
            entries.busiest_of_all = all.max(entries.busiest_of_all);
            let most = entries.busiest.entry(Rc::clone(name)).or_default();
            *most = open.max(*most);
        });
    }
}

impl Session {
    fn new(exchanger: &Exchanger, stream: SimStream) -> Self {
        let source = stream.peer().ip();
        let talk = Talk::new(&exchanger.world, stream);
        let trick = match exchanger.mood.get().tls {
            Tls::Always(trick) => trick,
            Tls::Drawn(often) if exchanger.keys.is_some() && talk.random.permille(often) => {
                Trick::draw(&talk.random)
            }
            Tls::Drawn(_) => Trick::None,
        };
        Self {
            exchanger: exchanger.clone(),
            trick,
            trust: Trust::Plain,
            is_eight_bit: false,
            source,
            stage: "host, greeting",
            talk,
            reverse_path: None,
            recipients: Vec::new(),
            open_answer: None,
            in_flight: Vec::new(),
        }
    }

    async fn run(mut self) {
        // A broken connection ends the session; the ledger knows how far it came.
        if self.serve().await.is_err() {
            self.exchanger.ledger.write(|entries| {
                for attempt in self.in_flight {
                    entries.attempts[attempt].code = None;
                }
            });
        }
    }

    async fn serve(&mut self) -> io::Result<()> {
        if !self.answer(false, "220 mx.test ESMTP").await? {
            return Ok(());
        }
        loop {
            let line = self.talk.line().await?;
            if let Some(copy) = self.open_answer.take() {
                let (ledger, now) = (&self.exchanger.ledger, self.talk.world.elapsed());
                ledger.write(|entries| entries.copies[copy].read_by = Some(now));
            }
            let line = String::from_utf8_lossy(&line).into_owned();
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            if matches!(verb.as_str(), "MAIL" | "RSET" | "QUIT") {
                // Nobody says that before the answers are there.
                self.in_flight.clear();
            }
            self.stage = match verb.as_str() {
                "EHLO" | "HELO" => "host, EHLO",
                "MAIL" => "host, MAIL",
                "RCPT" => "host, RCPT",
                "DATA" => "host, DATA",
                _ => self.stage,
            };
            let goes_on = match verb.as_str() {
                "EHLO" => self.greet().await?,
                "HELO" => self.answer(false, "250 mx.test").await?,
                "STAR" => self.secure().await?,
                "MAIL" => self.mail(&line).await?,
                "RCPT" => self.rcpt(&line).await?,
                "DATA" => self.data().await?,
                "RSET" => {
                    self.forget();
                    self.say("250 2.0.0 forgotten").await?
                }
                "QUIT" => {
                    self.say("221 2.0.0 bye").await?;
                    false
                }
                _ => self.say("502 5.5.1 what?").await?,
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    async fn greet(&mut self) -> io::Result<bool> {
        self.forget();
        let mut offered = vec!["mx.test"];
        let mut offer = |often, word| {
            if self.talk.random.permille(often) {
                offered.push(word);
            }
        };
        offer(800, "PIPELINING");
        offer(500, "SIZE 50000000");
        offer(800, "ENHANCEDSTATUSCODES");
        offer(300, "DSN");
        let eight_bit = self.talk.random.permille(700);
        if eight_bit {
            offered.push("8BITMIME");
        }
        if self.exchanger.keys.is_some() && self.trust == Trust::Plain {
            if self.trick == Trick::NotOffered {
                let ledger = &self.exchanger.ledger;
                ledger.write(|entries| entries.tls_tried += 1);
            } else {
                offered.push("STARTTLS");
            }
        }
        let last = offered.len() - 1;
        let mut words = String::new();
        for (place, word) in offered.iter().enumerate() {
            let dash = if place == last { ' ' } else { '-' };
            let end = if place == last { "" } else { "\r\n" };
            words.push_str(&format!("250{dash}{word}{end}"));
        }
        let turn = self.turn(false).await;
        // To HELO, which follows a refusal, nothing is offered.
        self.is_eight_bit = eight_bit && turn == Turn::Yes;
        match turn {
            Turn::Yes => self.say(&words).await,
            other => self.end(other).await,
        }
    }

    /// The reply to STARTTLS, and what follows it.
    async fn secure(&mut self) -> io::Result<bool> {
        let keys = match &self.exchanger.keys {
            Some(keys) if self.trust == Trust::Plain => Rc::clone(keys),
            _ => return self.say("503 5.5.1 not here").await,
        };
        self.exchanger
            .ledger
            .write(|entries| entries.tls_tried += 1);
        match self.trick {
            Trick::NotOffered => return self.say("502 5.5.1 what?").await,
            Trick::Refuses(code) => return self.say(&format!("{code} 5.7.0 no TLS")).await,
            Trick::Injects => self.say("220 2.0.0 go on\r\n250 2.0.0 trust me").await?,
            _ => self.say("220 2.0.0 go on").await?,
        };
        if self.trick == Trick::Garbage {
            self.say("HTTP/1.1 400 Bad Request\r\n").await?;
            while self.talk.line().await.is_ok() {}
            return Ok(false);
        }
        self.forget();
        self.talk.limit.set(self.trick.limit());
        let (config, trust) = keys.of_host(self.trick, &self.talk.random);
        self.talk.accept(config).await?;
        self.trust = trust;
        Ok(true)
    }

    async fn mail(&mut self, line: &str) -> io::Result<bool> {
        self.forget();
        self.reverse_path = Some(path(line));
        self.exchanger.ledger.write(|entries| {
            let many = entries.envelopes.entry(self.trust).or_default();
            *many += 1;
        });
        let now = self.talk.world.elapsed();
        if let Some(words) = self.exchanger.provider.at_mail(now) {
            self.forget();
            self.say(words).await?;
            return Ok(false);
        }
        let destination = Rc::clone(&self.exchanger.destination.0);
        self.exchanger
            .ledger
            .write(|entries| entries.transactions.push((now, destination)));
        let goes_on = self.answer(false, "250 2.1.0 sender ok").await?;
        Ok(goes_on)
    }

    async fn rcpt(&mut self, line: &str) -> io::Result<bool> {
        if self.reverse_path.is_none() {
            return self.say("503 5.5.1 from whom?").await;
        }
        let recipient = path(line);
        let named = NamedAt {
            wall: self.talk.world.wall(),
            at: self.talk.world.elapsed(),
            source: self.source,
            destination: Rc::clone(&self.exchanger.destination.0),
            recipient: recipient.clone(),
        };
        self.exchanger
            .ledger
            .write(|entries| entries.named.push(named));
        let (now, random) = (self.talk.world.elapsed(), Rc::clone(&self.talk.random));
        let provider = &self.exchanger.provider;
        if let Some((code, words)) = provider.at_rcpt(now, &random, (self.source, &recipient)) {
            if code == 550 {
                self.refuse(std::slice::from_ref(&recipient));
            }
            let said = self.say(words).await;
            return self.asked(recipient, Some(code), said);
        }
        let greylists = self.exchanger.mood.get().greylists;
        let turn = match greylists > 0 && !self.exchanger.takes_reports {
            true if self.talk.random.permille(greylists) => {
                trial::saw(self.stage, "4xx");
                Turn::Temporary
            }
            _ => self.turn(true).await,
        };
        let code = match turn {
            Turn::Yes => Some(250),
            Turn::Permanent => Some(550),
            Turn::Temporary => Some(450),
            Turn::Closing => Some(421),
            Turn::Drop => None,
        };
        let said = match code {
            Some(250) => {
                self.recipients.push(recipient.clone());
                self.say("250 2.1.5 recipient ok").await
            }
            Some(550) => {
                self.refuse(std::slice::from_ref(&recipient));
                self.say("550 5.1.1 nobody of that name").await
            }
            _ => self.end(turn).await,
        };
        self.asked(recipient, code, said)
    }

    /// Writes down what was answered for a recipient.
    fn asked(
        &mut self,
        recipient: String,
        code: Option<u16>,
        said: io::Result<bool>,
    ) -> io::Result<bool> {
        let at = self.talk.world.elapsed();
        // On a connection that is gone nobody was told, and what was asked is old.
        if said.is_ok() {
            let attempt = Attempt {
                at,
                host: self.exchanger.at.ip(),
                recipient,
                code,
            };
            let ledger = &self.exchanger.ledger;
            self.in_flight.push(ledger.write(|entries| {
                entries.attempts.push(attempt);
                entries.attempts.len() - 1
            }));
        }
        said
    }

    async fn data(&mut self) -> io::Result<bool> {
        if self.recipients.is_empty() {
            return self.say("503 5.5.1 for whom?").await;
        }
        match self.turn(true).await {
            Turn::Yes => self.say("354 go on").await?,
            Turn::Permanent => {
                self.refuse(&self.recipients.clone());
                return self.say("554 5.7.1 not this one").await;
            }
            other => return self.end(other).await,
        };
        let mut content = Vec::new();
        loop {
            let line = self.talk.line().await?;
            self.in_flight.clear();
            match line.as_slice() {
                b"." => break,
                [b'.', rest @ ..] => content.extend_from_slice(rest),
                whole => content.extend_from_slice(whole),
            }
            content.extend_from_slice(b"\r\n");
            if self.talk.random.permille(DROP_IN_CONTENT_PERMILLE)
                && self.exchanger.mood.get().dropping > 0
            {
                trial::saw("host, content", "goes");
                return Ok(false);
            }
        }
        self.stage = "host, dot";
        let copy = self.keep(content);
        let turn = self.turn(true).await;
        let (code, words) = match turn {
            Turn::Yes => (250, "250 2.0.0 kept"),
            Turn::Temporary => (451, "451 4.3.0 not now"),
            Turn::Permanent => (554, "554 5.6.0 not like this"),
            Turn::Closing => (421, "421 4.3.2 going away"),
            Turn::Drop => return Ok(false),
        };
        let recipients = std::mem::take(&mut self.recipients);
        if code == 554 {
            self.refuse(&recipients);
        }
        self.forget();
        // Written down before it is said: part of it may arrive although saying it fails.
        self.exchanger
            .ledger
            .write(|entries| entries.copies[copy].answer = Some(code));
        self.open_answer = Some(copy);
        self.say(words).await?;
        Ok(turn != Turn::Closing)
    }

    /// Writes a content down.
    fn keep(&self, content: Vec<u8>) -> usize {
        self.exchanger.ledger.write(|entries| {
            entries.copies.push(Copy {
                at: self.talk.world.elapsed(),
                host: self.exchanger.at.ip(),
                reverse_path: self.reverse_path.clone().unwrap_or_default(),
                recipients: self.recipients.clone(),
                content,
                is_eight_bit: self.is_eight_bit,
                answer: None,
                read_by: None,
            });
            entries.copies.len() - 1
        })
    }

    /// Writes down who was told no for good.
    fn refuse(&self, recipients: &[String]) {
        let takes_reports = self.exchanger.takes_reports;
        self.exchanger.ledger.write(|entries| {
            entries.refused.extend(recipients.iter().cloned());
            if takes_reports {
                let tokens = recipients
                    .iter()
                    .filter_map(|recipient| token_of(recipient));
                entries.reports_refused.extend(tokens.map(str::to_owned));
            }
        });
    }

    /// What the mood brings; `named` says that the message is known here.
    async fn turn(&mut self, named: bool) -> Turn {
        let mood = self.exchanger.mood.get();
        let random = &self.talk.random;
        if random.permille(mood.slow) {
            // Short pauses often, long ones seldom.
            let most = u64::try_from(mood.pause.as_micros()).unwrap_or(0);
            let pause = random.below(most >> random.below(12));
            trial::saw(self.stage, "slow");
            let world = &self.talk.world;
            world
                .sleep(world.now() + Duration::from_micros(pause))
                .await;
        }
        let drawn = u32::try_from(random.below(1000)).unwrap_or(0);
        let marks = [
            (mood.temporary, Turn::Temporary),
            (mood.permanent, Turn::Permanent),
            (mood.closing, Turn::Closing),
            (mood.dropping, Turn::Drop),
        ];
        let mut mark = 0;
        for (often, turn) in marks {
            mark += often;
            if drawn < mark {
                let hides = turn == Turn::Permanent && self.exchanger.takes_reports && !named;
                if turn == Turn::Permanent && !named && !hides {
                    let ledger = &self.exchanger.ledger;
                    ledger.write(|entries| entries.refused_unnamed += 1);
                }
                trial::saw(self.stage, turn.name());
                return if hides { Turn::Temporary } else { turn };
            }
        }
        Turn::Yes
    }

    /// Says `yes`, or what the mood brings; false when the session is over.
    async fn answer(&mut self, named: bool, yes: &str) -> io::Result<bool> {
        match self.turn(named).await {
            Turn::Yes => self.say(yes).await,
            other => {
                self.forget();
                self.end(other).await
            }
        }
    }

    async fn end(&mut self, turn: Turn) -> io::Result<bool> {
        match turn {
            Turn::Yes => Ok(true),
            Turn::Temporary => self.say("450 4.2.0 later").await,
            Turn::Permanent => self.say("550 5.7.1 no").await,
            Turn::Closing => {
                self.say("421 4.3.2 going away").await?;
                Ok(false)
            }
            Turn::Drop => Ok(false),
        }
    }

    async fn say(&mut self, words: &str) -> io::Result<bool> {
        let line = format!("{words}\r\n");
        self.talk.say(line.as_bytes()).await?;
        Ok(true)
    }

    fn forget(&mut self) {
        self.reverse_path = None;
        self.recipients.clear();
    }
}

/// What stands between the angle brackets.
fn path(line: &str) -> String {
    let inside = line
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or_else(String::new, |(path, _)| path.to_owned())
}

/// How often a host that drops drops within the content, per line.
const DROP_IN_CONTENT_PERMILLE: u32 = 2;
