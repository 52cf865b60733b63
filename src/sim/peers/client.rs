//! A client that hands in mail, as clients do: in pieces, in one go, or only half.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::Talk;
use super::guard::Trick;
use super::ledger::{Fate, Ledger, Submission};
use crate::sim::SimWorld;
use crate::trial;
use crate::world::World as _;

/// A client.
pub struct Client {
    /// The node it runs on.
    pub world: SimWorld,
    /// Where the relay listens.
    pub relay: SocketAddr,
    /// Its book.
    pub ledger: Ledger,
    /// Its number, for the tokens.
    pub number: usize,
    /// Where its recipients live.
    pub domains: Vec<Rc<str>>,
    /// Where reports to it go.
    pub sender_domain: Rc<str>,
    /// Breaks off connections, out of 1000 times per message.
    pub breaks_permille: u32,
    /// The largest body, in octets.
    pub body_max: u64,
    /// How it speaks TLS, where the relay offers it; `None`: never.
    pub tls: Option<Arc<ClientConfig>>,
    /// What it does whenever TLS begins, where that is nothing drawn.
    pub trick: Option<Trick>,
}

/// A message on its way in.
struct Draft {
    token: Rc<str>,
    reverse_path: String,
    recipients: Vec<String>,
    content: Vec<u8>,
    has_eight_bit: bool,
}

/// Where a connection is broken off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Break {
    Never,
    AfterMail,
    InContent,
    AfterDot,
}

impl Client {
    /// Hands in `messages`, over as many connections as it takes, and ends.
    pub async fn run(self, messages: usize) {
        let mut sent = 0;
        while sent < messages {
            let random = self.world.choices();
            let over = sent + usize::try_from(random.between(1, 4)).unwrap_or(1);
            // A connection that breaks is a part of the play; its message counts as tried.
            let _ = self.visit(&mut sent, over.min(messages)).await;
            let pause = Duration::from_millis(random.below(3_000));
            self.world.sleep(self.world.now() + pause).await;
        }
    }

    async fn visit(&self, sent: &mut usize, until: usize) -> io::Result<()> {
        let deadline = self.world.now() + Duration::from_secs(30);
        let stream = self.world.dial(None, self.relay, deadline).await?;
        let mut talk = Talk::new(&self.world, stream);
        expect(talk.reply().await?.0, 220)?;
        let is_extended = talk.random.permille(850);
        let greeting = if is_extended { "EHLO" } else { "HELO" };
        let mut offered = self.greet(&mut talk, greeting).await?;
        if let Some(config) = &self.tls
            && offered.iter().any(|word| word == "STARTTLS")
            && talk.random.permille(TLS_PERMILLE)
        {
            self.secure(&mut talk, config).await?;
            offered = self.greet(&mut talk, greeting).await?;
        }
        let offers = |name: &str| is_extended && offered.iter().any(|word| word == name);
        while *sent < until {
            let draft = self.draft(&talk, *sent, offers("8BITMIME"), offers("DSN"));
            *sent += 1;
            let chunks = offers("CHUNKING") && talk.random.permille(200);
            self.send(&mut talk, &draft, is_extended, chunks).await?;
        }
        talk.say(b"QUIT\r\n").await?;
        talk.reply().await?;
        Ok(())
    }

    async fn greet(&self, talk: &mut Talk, greeting: &str) -> io::Result<Vec<String>> {
        let line = format!("{greeting} client{}.test\r\n", self.number);
        talk.say(line.as_bytes()).await?;
        let (code, offered) = talk.reply().await?;
        expect(code, 250)?;
        Ok(offered)
    }

    /// Begins TLS, now and then in the middle of a transaction, with commands that nobody may hear
    /// behind it; whoever breaks off breaks off anywhere in it.
    async fn secure(&self, talk: &mut Talk, config: &Arc<ClientConfig>) -> io::Result<()> {
        if talk.random.permille(200) {
            talk.say(b"MAIL FROM:<forgotten@client.test>\r\n").await?;
            expect(talk.reply().await?.0, 250)?;
        }
        let injects = talk.random.permille(100);
        talk.say(if injects {
            b"STARTTLS\r\nMAIL FROM:<injected@client.test>\r\n"
        } else {
            b"STARTTLS\r\n"
        })
        .await?;
        expect(talk.reply().await?.0, 220)?;
        let drawn = talk.random.permille(self.breaks_permille);
        let drawn = drawn.then(|| Trick::draw_end(&talk.random));
        let trick = self.trick.or(drawn).unwrap_or(Trick::None);
        if trick == Trick::Garbage {
            talk.say(b"EHLO client.test\r\n").await?;
            talk.line().await?;
        }
        talk.limit.set(trick.limit());
        talk.connect(Arc::clone(config), RELAY_NAME).await?;
        // What was begun in plain is over (RFC 3207 §4.2).
        talk.say(b"RCPT TO:<nobody@client.test>\r\n").await?;
        expect(talk.reply().await?.0, 503)
    }

    /// Hands in one message. An error ends the connection.
    async fn send(
        &self,
        talk: &mut Talk,
        draft: &Draft,
        is_extended: bool,
        chunks: bool,
    ) -> io::Result<()> {
        let breaks = self.break_for(talk);
        self.note(draft, Fate::BrokenOff);
        let pipelined = is_extended && talk.random.permille(600);
        let mut lines = vec![mail_line(draft)];
        lines.extend(draft.recipients.iter().map(|one| rcpt_line(one)));
        if !chunks {
            lines.push("DATA\r\n".to_owned());
        }
        let mut taken = Vec::new();
        if pipelined {
            talk.say(lines.concat().as_bytes()).await?;
        }
        for (place, line) in lines.iter().enumerate() {
            if !pipelined {
                if line.starts_with("DATA") && taken.is_empty() {
                    break;
                }
                talk.say(line.as_bytes()).await?;
            }
            let (code, _) = talk.reply().await?;
            match (
                place.checked_sub(1).and_then(|at| draft.recipients.get(at)),
                code,
            ) {
                (Some(recipient), 250) => taken.push(recipient.clone()),
                (_, 421) => return Err(io::ErrorKind::ConnectionAborted.into()),
                (None, 400..) if line.starts_with("DATA") => taken.clear(),
                _ => {}
            }
            if breaks == Break::AfterMail {
                return Err(self.break_off(talk));
            }
        }
        self.ledger.write(|entries| {
            if let Some(entry) = entries.submissions.get_mut(&draft.token) {
                entry.taken.clone_from(&taken);
            }
        });
        if taken.is_empty() {
            // Nothing to send, or the relay said no to it.
            self.note_fate(draft, Fate::Refused(0));
            talk.say(b"RSET\r\n").await?;
            talk.reply().await?;
            return Ok(());
        }
        self.send_content(talk, draft, chunks, breaks).await
    }

    async fn send_content(
        &self,
        talk: &mut Talk,
        draft: &Draft,
        chunks: bool,
        breaks: Break,
    ) -> io::Result<()> {
        let wire = if chunks {
            draft.content.clone()
        } else {
            stuffed(&draft.content)
        };
        let half = usize::try_from(talk.random.below(wire.len() as u64)).unwrap_or(0);
        if chunks {
            talk.say(format!("BDAT {half}\r\n").as_bytes()).await?;
            talk.say(&wire[..half]).await?;
            let code = talk.reply().await?.0;
            if code != 250 {
                self.note_fate(draft, Fate::Refused(code));
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        } else {
            talk.say(&wire[..half]).await?;
        }
        if breaks == Break::InContent {
            return Err(self.break_off(talk));
        }
        let mut rest = Vec::new();
        if chunks {
            rest.extend_from_slice(format!("BDAT {} LAST\r\n", wire.len() - half).as_bytes());
        }
        rest.extend_from_slice(&wire[half..]);
        if !chunks {
            rest.extend_from_slice(b".\r\n");
        }
        self.note_fate(draft, Fate::Unknown);
        talk.say(&rest).await?;
        if breaks == Break::AfterDot {
            return Err(self.break_off(talk));
        }
        let (code, _) = talk.reply().await?;
        self.note_fate(
            draft,
            if code == 250 {
                Fate::Accepted
            } else {
                Fate::Refused(code)
            },
        );
        Ok(())
    }

    fn break_for(&self, talk: &Talk) -> Break {
        if !talk.random.permille(self.breaks_permille) {
            return Break::Never;
        }
        let (at, name) = match talk.random.below(3) {
            0 => (Break::AfterMail, "after MAIL"),
            1 => (Break::InContent, "in the content"),
            _ => (Break::AfterDot, "after the dot"),
        };
        trial::saw("client breaks off", name);
        at
    }

    /// Half of them die, the others close.
    fn break_off(&self, talk: &Talk) -> io::Error {
        if talk.random.permille(500) {
            talk.stream.below().break_off();
        }
        io::ErrorKind::ConnectionAborted.into()
    }

    fn note(&self, draft: &Draft, fate: Fate) {
        let submission = Submission {
            at: self.world.elapsed(),
            reverse_path: draft.reverse_path.clone(),
            named: draft.recipients.clone(),
            taken: Vec::new(),
            content: draft.content.clone(),
            fate,
        };
        self.ledger.write(|entries| {
            entries
                .submissions
                .insert(Rc::clone(&draft.token), submission);
        });
    }

    fn note_fate(&self, draft: &Draft, fate: Fate) {
        self.ledger.write(|entries| {
            if let Some(entry) = entries.submissions.get_mut(&draft.token) {
                entry.fate = fate;
                entry.at = self.world.elapsed();
            }
        });
    }

    fn draft(&self, talk: &Talk, number: usize, eight_bit: bool, dsn: bool) -> Draft {
        let random = &talk.random;
        let token: Rc<str> = format!("t{}x{number}", self.number).into();
        let count = if random.permille(700) {
            1
        } else {
            random.between(2, 12)
        };
        let recipients = (0..count)
            .filter_map(|place| {
                let domain = random.pick(&self.domains)?;
                // `n` wants no report.
                let kind = if dsn && random.permille(100) {
                    'n'
                } else {
                    'r'
                };
                Some(format!("{kind}{place}-{token}@{domain}"))
            })
            .collect();
        let reverse_path = if random.permille(50) {
            String::new()
        } else {
            format!("s-{token}@{}", self.sender_domain)
        };
        let has_eight_bit = eight_bit && random.permille(100);
        let mut content = format!(
            "From: <{reverse_path}>\r\nSubject: trial\r\nX-Token: {token}\r\nMessage-ID: <{token}@client.test>\r\nDate: Sun, 01 Mar 2026 00:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {}\r\n\r\n",
            if has_eight_bit { "8bit" } else { "7bit" }
        )
        .into_bytes();
        // Most mail is small, and most octets are in the rest.
        let shift = random.below(if random.permille(400) { 3 } else { 14 });
        let size = random.below(self.body_max >> shift) + 1;
        while (content.len() as u64) < size + 300 {
            add_line(&mut content, random, has_eight_bit);
        }
        Draft {
            token,
            reverse_path,
            recipients,
            content,
            has_eight_bit,
        }
    }
}

/// Lines that have gone wrong in one mail program or another.
fn add_line(content: &mut Vec<u8>, random: &crate::sim::random::Random, has_eight_bit: bool) {
    match random.below(8) {
        0 => content.extend_from_slice(b"."),
        1 => content.extend_from_slice(b".."),
        2 => content.extend_from_slice(b".From the edge"),
        3 => {}
        4 => content.extend(std::iter::repeat_n(b'x', 998)),
        5 if has_eight_bit => content.extend_from_slice("Grüße aus Köln".as_bytes()),
        6 => content.extend_from_slice(b"From here on, nothing."),
        _ => content.extend_from_slice(format!("{:x}", random.next()).as_bytes()),
    }
    content.extend_from_slice(b"\r\n");
}

fn mail_line(draft: &Draft) -> String {
    let body = if draft.has_eight_bit {
        " BODY=8BITMIME"
    } else {
        ""
    };
    format!("MAIL FROM:<{}>{body}\r\n", draft.reverse_path)
}

fn rcpt_line(recipient: &str) -> String {
    let silent = recipient.starts_with('n');
    let notify = if silent { " NOTIFY=NEVER" } else { "" };
    format!("RCPT TO:<{recipient}>{notify}\r\n")
}

fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + 64);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if line.first() == Some(&b'.') {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire
}

fn expect(code: u16, wanted: u16) -> io::Result<()> {
    if code == wanted {
        Ok(())
    } else {
        Err(io::Error::other(format!("{code} in place of {wanted}")))
    }
}

/// The name in the relay's certificate.
pub(super) const RELAY_NAME: &str = "relay.test";
/// Clients that speak TLS where they can.
const TLS_PERMILLE: u32 = 600;
