//! Hosts that have second thoughts: of mail that they have taken some comes back as a report, of some a
//! reader complains, in a message to its return path. Each is sent until the relay has answered 250.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::Talk;
use super::ledger::Ledger;
use crate::sim::SimWorld;
use crate::trial;
use crate::world::World as _;

/// Whoever sends them, for all hosts.
pub struct Returner {
    /// The node it runs on.
    pub world: SimWorld,
    /// Where the relay listens.
    pub relay: SocketAddr,
    /// Its book.
    pub ledger: Ledger,
    /// Connections that break behind the dot, out of 1000.
    pub breaks_permille: u32,
    /// No more mail comes: it ends when all is sent.
    pub ends: Rc<Cell<bool>>,
}

/// What a host says later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// Nobody is there.
    Bounce,
    /// The reader did not want it.
    Complaint,
    /// It is still on its way.
    Delay,
}

/// A message on its way back.
#[derive(Clone)]
struct Letter {
    to: String,
    about: String,
    word: Word,
    /// How often it is sent, each a message of its own.
    times: u32,
}

impl Returner {
    /// Sends what there is, until it shall end and nothing is left.
    pub async fn run(self) {
        let (mut seen, mut left) = (0, Vec::new());
        loop {
            let is_last = self.ends.get();
            self.look(&mut seen, &mut left);
            while let Some(letter) = left.pop() {
                if let Err(letter) = self.send(letter).await {
                    left.push(letter);
                    break;
                }
            }
            if is_last && left.is_empty() {
                return;
            }
            self.pause(3_000).await;
        }
    }

    async fn pause(&self, most: u64) {
        let pause = Duration::from_millis(self.world.choices().below(most));
        self.world.sleep(self.world.now() + pause).await;
    }

    /// Thinks about what was taken since.
    fn look(&self, seen: &mut usize, left: &mut Vec<Letter>) {
        let random = self.world.choices();
        self.ledger.write(|entries| {
            for copy in &entries.copies[*seen..] {
                let Some(about) = copy.recipients.first() else {
                    continue;
                };
                let is_known = entries.told.contains_key(about);
                if copy.answer != Some(250) || !copy.reverse_path.starts_with("b+") || is_known {
                    continue;
                }
                let (word, times) = match random.below(8) {
                    0..3 => (Word::Bounce, 1),
                    3..5 => (Word::Bounce, 2),
                    5 => (Word::Complaint, 1),
                    6 => (Word::Delay, 1),
                    _ => continue,
                };
                let told = entries.told.entry(about.clone()).or_default();
                (told.planned, told.is_complaint) = match word {
                    Word::Bounce => (times, false),
                    Word::Complaint => (times, true),
                    Word::Delay => (0, false),
                };
                left.push(Letter {
                    to: copy.reverse_path.clone(),
                    about: about.clone(),
                    word,
                    times,
                });
            }
            *seen = entries.copies.len();
        });
    }

    /// Sends one; it comes back where that is to be done once more.
    async fn send(&self, mut letter: Letter) -> Result<(), Letter> {
        while letter.times > 0 {
            let is_over = Cell::new(false);
            let sent = self.visit(&letter, &is_over).await;
            let counts = letter.word != Word::Delay;
            self.ledger.write(|entries| {
                let told = entries.told.entry(letter.about.clone()).or_default();
                match sent {
                    Ok(250) if counts => told.sure += 1,
                    // A disk that fails may keep what it was refused for.
                    Err(_) | Ok(..500) if is_over.get() && counts => told.maybe += 1,
                    Ok(500..) => entries.returns_refused.push(letter.about.clone()),
                    _ => {}
                }
            });
            match sent {
                Ok(250) => {
                    trial::saw("report", letter.word.name());
                    letter.times -= 1;
                }
                Ok(500..) => return Ok(()),
                _ => return Err(letter),
            }
            self.pause(2_000).await;
        }
        Ok(())
    }

    /// The relay's last reply. `is_over` says that the dot was sent.
    async fn visit(&self, letter: &Letter, is_over: &Cell<bool>) -> io::Result<u16> {
        let deadline = self.world.now() + Duration::from_secs(30);
        let stream = self.world.dial(None, self.relay, deadline).await?;
        let mut talk = Talk::new(&self.world, stream);
        talk.reply().await?;
        let rcpt = format!("RCPT TO:<{}>\r\n", letter.to);
        for (line, wanted) in [
            ("EHLO mx.test\r\n", 250),
            ("MAIL FROM:<>\r\n", 250),
            (&*rcpt, 250),
            ("DATA\r\n", 354),
        ] {
            talk.say(line.as_bytes()).await?;
            let (code, _) = talk.reply().await?;
            if code != wanted {
                return Ok(code);
            }
        }
        talk.say(letter.content().as_bytes()).await?;
        is_over.set(true);
        talk.say(b".\r\n").await?;
        if talk.random.permille(self.breaks_permille) {
            talk.stream.below().break_off();
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let (code, _) = talk.reply().await?;
        Ok(code)
    }
}

impl Letter {
    fn content(&self) -> String {
        let about = &self.about;
        let (kind, part) = match self.word {
            Word::Bounce => (
                "delivery-status",
                format!(
                    "Reporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822; {about}\nAction: failed\n\
                     Status: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 nobody of that name\n"
                ),
            ),
            Word::Delay => (
                "delivery-status",
                format!(
                    "Reporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822; {about}\nAction: delayed\n\
                     Status: 4.2.0\n"
                ),
            ),
            Word::Complaint => (
                "feedback-report",
                format!(
                    "Feedback-Type: abuse\nUser-Agent: mx/1\nVersion: 1\nOriginal-Rcpt-To: <{about}>\n"
                ),
            ),
        };
        let text = format!(
            "From: MAILER-DAEMON@mx.test\nTo: you\nSubject: later\nMIME-Version: 1.0\n\
             Content-Type: multipart/report; report-type={kind}; boundary=b\n\n--b\n\n\
             Words.\n\n--b\nContent-Type: message/{kind}\n\n{part}\n--b\n\
             Content-Type: text/rfc822-headers\n\nReturn-Path: <{}>\nTo: <{about}>\n\n--b--\n",
            self.to
        );
        text.replace('\n', "\r\n")
    }
}

impl Word {
    const fn name(self) -> &'static str {
        match self {
            Self::Bounce => "a bounce",
            Self::Complaint => "a complaint",
            Self::Delay => "a delay",
        }
    }
}
