//! One turn of a session after the other: lines to commands, content to pieces.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::incoming::{Incoming, PIECE_OCTETS_MAX, Place, Taken};
use super::stage::{Rule, Stage, rule};
use super::{BareLineEnds, Draft, Encryption, Mode, Piece, Question, ServerSession, Step, Turn};
use crate::mail::envelope::{Envelope, MtPriority, Standing};
use crate::smtp::command::{
    self, AuthArguments, BadArgument, BdatArguments, CommandLine, MailArguments, Verb,
};
use crate::smtp::reply::Reply;
use crate::wire::line::Ending;

impl ServerSession {
    /// Does one thing, and says how much of `input` it took.
    pub(super) fn turn(&mut self, input: &[u8]) -> (usize, Turn) {
        if std::mem::take(&mut self.discard) {
            return (0, Turn::Discard);
        }
        self.part_when_idle();
        if matches!(self.mode, Mode::Closed) {
            return (0, Turn::Close);
        }
        if self.output.len() > OUTPUT_OCTETS_MAX {
            return (0, Turn::Flush);
        }
        match &mut self.mode {
            Mode::Command => self.read_command(input),
            &mut Mode::LongLine { skipped } => self.skip_line(input, skipped),
            Mode::Asking(_) => (0, Turn::Ask),
            Mode::Data => self.read_data(input),
            Mode::Chunk { .. } => self.read_chunk(input),
            Mode::Unwanted { .. } => self.skip_chunk(input),
            Mode::Ended => (0, self.judge_content()),
            Mode::AuthResponse => self.read_auth_response(input),
            Mode::Securing => (0, Turn::StartTls),
            Mode::Closed => (0, Turn::Close),
        }
    }

    /// The open question, as the driver sees it.
    pub(super) fn question(&self) -> Step<'_> {
        match &self.mode {
            Mode::Asking(Question::Mail) => Step::Mail,
            Mode::Asking(Question::Auth(mechanism, said)) => Step::Auth(mechanism, said.as_deref()),
            Mode::Asking(Question::AuthResponse(said)) => Step::AuthResponse(said),
            Mode::Asking(Question::Recipient(recipient)) => Step::Recipient(recipient),
            Mode::Asking(Question::Data(_)) => Step::Data,
            Mode::Asking(Question::Message(_)) => Step::Message,
            _ => Step::NeedInput,
        }
    }

    /// The octets of a piece, from where its turn began in the input.
    pub(super) fn piece<'a>(&'a self, place: Place, input: &'a [u8]) -> Piece<'a> {
        match (place, &self.incoming) {
            (Place::Input(held, range), _) => Piece {
                held,
                octets: input.get(range).unwrap_or_default(),
            },
            (Place::Scratch, incoming) => Piece {
                held: b"",
                octets: incoming.as_ref().map_or(b"", Incoming::scratch),
            },
        }
    }

    pub(super) fn say(&mut self, reply: &Reply) {
        reply.write_into(&mut self.output);
    }

    /// Says a last word.
    pub(super) fn hang_up(&mut self, reply: &Reply) {
        if !matches!(self.mode, Mode::Closed) {
            self.say(reply);
            self.mode = Mode::Closed;
        }
    }

    pub(super) fn part_when_idle(&mut self) {
        if self.shutting_down && self.is_idle() {
            self.hang_up(&Reply::shutting_down());
        }
    }

    /// Refuses what the client got wrong; one that gets too much wrong is no mail program. What
    /// went wrong here (4xx) is not held against it.
    pub(super) fn refuse(&mut self, reply: &Reply) {
        self.errors += u32::from(reply.code() >= 500);
        if self.errors >= self.limits.max_errors {
            self.hang_up(&Reply::too_many_errors());
        } else {
            self.say(reply);
        }
    }
}

/// Commands.
impl ServerSession {
    fn read_command(&mut self, input: &[u8]) -> (usize, Turn) {
        // What a client says to log in may be long (RFC 4954 §4).
        let is_auth = input
            .first_chunk()
            .is_some_and(|verb: &[u8; 5]| verb.eq_ignore_ascii_case(b"AUTH "));
        let limit = if is_auth {
            AUTH_LINE_OCTETS_MAX
        } else {
            self.limits.max_command_line
        };
        let Some(line) = self.lines.find(input) else {
            // One more than the limit may be the CR of a line that just fits.
            if input.len() > limit + 1 {
                self.lines.reset();
                self.mode = Mode::LongLine { skipped: 0 };
                return self.skip_line(input, 0);
            }
            return (0, Turn::NeedInput);
        };
        if line.len > limit {
            self.refuse(&Reply::line_too_long());
        } else if line.ending == Ending::Lf && self.limits.bare_line_ends == BareLineEnds::Reject {
            self.refuse(&Reply::bare_line_end());
        } else {
            self.obey(&input[..line.len]);
        }
        (line.next, Turn::Again)
    }

    /// Skips the rest of a line that is too long, as far as patience goes.
    fn skip_line(&mut self, input: &[u8], skipped: usize) -> (usize, Turn) {
        let Some(at) = memchr::memchr(b'\n', input) else {
            let skipped = skipped + input.len();
            if skipped > SKIPPED_OCTETS_MAX {
                self.hang_up(&Reply::line_too_long());
                return (input.len(), Turn::Again);
            }
            self.mode = Mode::LongLine { skipped };
            return (input.len(), Turn::NeedInput);
        };
        self.mode = Mode::Command;
        self.refuse(&Reply::line_too_long());
        (at + 1, Turn::Again)
    }

    /// Does what a line says, if the table lets it.
    fn obey(&mut self, line: &[u8]) {
        if line.iter().any(u8::is_ascii_control) {
            return self.refuse(&Reply::garbled_line());
        }
        let CommandLine { verb, arguments } = CommandLine::parse(line);
        let rule = rule(self.kind, verb, self.stage);
        if verb == Verb::Bdat {
            return self.bdat(arguments, rule);
        }
        match rule.refusal() {
            Some(reply) if rule == Rule::HangUp => self.hang_up(&reply),
            Some(reply) => self.refuse(&reply),
            None => {
                if let Err(fault) = self.perform(verb, arguments) {
                    self.refuse(&fault.reply());
                }
            }
        }
    }

    /// A command that is in order.
    fn perform(&mut self, verb: Verb, arguments: &[u8]) -> Result<(), BadArgument> {
        match verb {
            Verb::Mail => self.mail(arguments)?,
            Verb::Rcpt => self.rcpt(arguments)?,
            Verb::Data => {
                nothing(arguments)?;
                self.mode = Mode::Asking(Question::Data(None));
            }
            Verb::Helo | Verb::Ehlo | Verb::Lhlo => self.hello(verb, arguments)?,
            Verb::Rset => {
                nothing(arguments)?;
                self.end_transaction();
                self.say(&Reply::ok());
            }
            Verb::Auth => self.auth(arguments)?,
            Verb::StartTls => {
                nothing(arguments)?;
                self.start_tls();
            }
            Verb::Noop => self.say(&Reply::ok()),
            Verb::Help => self.say(&Reply::help()),
            Verb::Vrfy if arguments.is_empty() => return Err(BadArgument::Syntax),
            Verb::Vrfy => self.say(&Reply::cannot_verify()),
            Verb::Quit => self.hang_up(&Reply::bye()),
            // The table lets none of these through.
            Verb::Bdat | Verb::NotOffered | Verb::Http | Verb::Unknown => {}
        }
        Ok(())
    }

    fn hello(&mut self, verb: Verb, arguments: &[u8]) -> Result<(), BadArgument> {
        self.hello = command::hello_arguments(arguments)?.into();
        self.extended = verb != Verb::Helo;
        self.end_transaction();
        self.stage = Stage::Greeted;
        let reply = if self.extended {
            Reply::extensions(self.offer())
        } else {
            Reply::hello(&self.limits.hostname)
        };
        self.say(&reply);
        Ok(())
    }

    fn auth(&mut self, arguments: &[u8]) -> Result<(), BadArgument> {
        if self.mechanisms.is_empty() || self.user.is_some() {
            self.refuse(&Reply::auth_not_now());
            return Ok(());
        }
        let AuthArguments { mechanism, initial } = AuthArguments::parse(arguments)?;
        let spoken = |known: &&&str| known.eq_ignore_ascii_case(mechanism);
        match self.mechanisms.iter().find(spoken) {
            Some(known) => self.mode = Mode::Asking(Question::Auth((*known).into(), initial)),
            None => self.refuse(&Reply::unknown_mechanism()),
        }
        Ok(())
    }

    /// An answer to a challenge: base64, or `*` for enough of it (RFC 4954 §4).
    fn read_auth_response(&mut self, input: &[u8]) -> (usize, Turn) {
        let Some(line) = self.lines.find(input) else {
            if input.len() > AUTH_LINE_OCTETS_MAX {
                self.hang_up(&Reply::line_too_long());
                return (0, Turn::Again);
            }
            return (0, Turn::NeedInput);
        };
        self.mode = Mode::Command;
        match &input[..line.len] {
            b"*" => self.refuse(&Reply::auth_cancelled()),
            said => match STANDARD.decode(said) {
                Ok(said) => self.mode = Mode::Asking(Question::AuthResponse(said)),
                Err(_) => self.refuse(&Reply::bad_base64()),
            },
        }
        (line.next, Turn::Again)
    }

    fn start_tls(&mut self) {
        match self.encryption {
            Encryption::Absent => self.refuse(&Reply::not_implemented()),
            Encryption::Active => self.refuse(&Reply::already_secured()),
            Encryption::Offered => {
                self.say(&Reply::ready_for_tls());
                self.mode = Mode::Securing;
            }
        }
    }

    /// The name and, a line each, what is offered.
    fn offer(&self) -> String {
        let limits = &self.limits;
        let mut lines = format!(
            "{} greets [{}]\nPIPELINING\nSIZE {}\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\nDSN\nCHUNKING\nMT-PRIORITY MIXER",
            limits.hostname,
            self.peer.to_canonical(),
            limits.max_message_size
        );
        match self.encryption {
            Encryption::Offered => lines.push_str("\nSTARTTLS"),
            // Only here: what came in plain cannot be protected any more (RFC 8689 §2).
            Encryption::Active => lines.push_str("\nREQUIRETLS"),
            Encryption::Absent => {}
        }
        if !self.mechanisms.is_empty() {
            let _ = write!(lines, "\nAUTH {}", self.mechanisms.join(" "));
        }
        let counts = [
            ("RCPTMAX", limits.max_recipients as u64),
            ("MAILMAX", u64::from(limits.max_transactions)),
        ];
        let mut intro = "\nLIMITS";
        for (name, count) in counts {
            if (1..=LIMIT_VALUE_MAX).contains(&count) {
                // Writing to a String does not fail.
                let _ = write!(lines, "{} {name}={count}", std::mem::take(&mut intro));
            }
        }
        lines
    }

    fn mail(&mut self, arguments: &[u8]) -> Result<(), BadArgument> {
        if self.transactions >= self.limits.max_transactions {
            self.hang_up(&Reply::too_many_transactions());
            return Ok(());
        }
        let parsed = MailArguments::parse(arguments)?;
        if parsed.auth && self.mechanisms.is_empty() {
            return Err(BadArgument::UnknownParameter);
        }
        match self.encryption {
            Encryption::Active => {}
            _ if !parsed.require_tls => {}
            Encryption::Absent => return Err(BadArgument::UnknownParameter),
            Encryption::Offered => {
                self.refuse(&Reply::must_start_tls());
                return Ok(());
            }
        }
        if parsed.size > self.limits.max_message_size {
            self.say(&Reply::too_large());
            return Ok(());
        }
        // Whoever is nobody to us may ask for patience, not for haste (RFC 6710 §5.1), and the usual would be
        // haste where a tenant's mail goes after others'.
        let asks_haste = |asked: &MtPriority| *asked >= MtPriority::USUAL;
        let is_ours = self.may_relay();
        let mt_priority = parsed
            .mt_priority
            .filter(|asked| is_ours || !asks_haste(asked));
        let envelope = Envelope {
            reverse_path: parsed.reverse_path,
            ret: parsed.ret,
            envid: parsed.envid,
            body: parsed.body,
            smtputf8: parsed.smtputf8,
            require_tls: parsed.require_tls,
            standing: Standing {
                mt_priority,
                ..Standing::default()
            },
            recipients: Vec::new(),
        };
        self.draft = Some(Draft {
            envelope,
            announced: parsed.size,
            is_lowered: !is_ours && parsed.mt_priority > Some(MtPriority::USUAL),
        });
        self.mode = Mode::Asking(Question::Mail);
        Ok(())
    }

    fn rcpt(&mut self, arguments: &[u8]) -> Result<(), BadArgument> {
        let Some(Draft { envelope, .. }) = &self.draft else {
            return Err(BadArgument::Syntax);
        };
        let hostname = &self.limits.hostname;
        let recipient = command::rcpt_arguments(arguments, envelope.smtputf8, hostname)?;
        if envelope.recipients.len() >= self.limits.max_recipients {
            self.say(&Reply::too_many_recipients());
        } else {
            self.mode = Mode::Asking(Question::Recipient(recipient));
        }
        Ok(())
    }

    /// BDAT is read whether or not it is in order: its octets follow all the same (RFC 3030 §2).
    fn bdat(&mut self, arguments: &[u8], rule: Rule) {
        let chunk = match BdatArguments::parse(arguments) {
            Ok(chunk) => chunk,
            // Where the next command begins is anybody's guess now, so nothing more is read.
            Err(fault) => return self.hang_up(&fault.reply()),
        };
        if chunk.size == u64::MAX {
            // A number that nobody can count to (RFC 3030 §2 has no largest): its octets never end,
            // and neither would the wait for them.
            return self.hang_up(&Reply::too_large());
        }
        if let Some(reply) = rule.refusal() {
            self.mode = Mode::Unwanted {
                left: chunk.size,
                reply,
            };
            return;
        }
        if self.stage == Stage::Chunks {
            self.begin_chunk(chunk);
            return;
        }
        if let Some(draft) = &mut self.draft {
            draft.announced = draft
                .announced
                .max(chunk.size.min(self.limits.max_message_size));
        }
        self.mode = Mode::Asking(Question::Data(Some(chunk)));
    }
}

/// Content.
impl ServerSession {
    pub(super) fn begin_chunk(&mut self, chunk: BdatArguments) {
        if let Some(incoming) = &mut self.incoming {
            incoming.announce_chunk(chunk.size);
        }
        self.mode = Mode::Chunk {
            left: chunk.size,
            last: chunk.last,
        };
    }

    fn read_data(&mut self, input: &[u8]) -> (usize, Turn) {
        let Some(incoming) = &mut self.incoming else {
            return (0, self.lose_content());
        };
        if input.is_empty() {
            return (0, Turn::NeedInput);
        }
        let Taken {
            consumed,
            place,
            ended,
        } = incoming.take_data(input);
        if ended {
            self.mode = Mode::Ended;
        }
        (consumed, self.pass_on(place))
    }

    fn read_chunk(&mut self, input: &[u8]) -> (usize, Turn) {
        let (Mode::Chunk { left, .. }, Some(incoming)) = (&mut self.mode, &mut self.incoming)
        else {
            return (0, self.lose_content());
        };
        if *left == 0 {
            return (0, self.end_chunk());
        }
        if input.is_empty() {
            return (0, Turn::NeedInput);
        }
        let len = input
            .len()
            .min(PIECE_OCTETS_MAX)
            .min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= len as u64;
        let place = incoming.take_chunk(&input[..len]);
        (len, self.pass_on(place))
    }

    fn end_chunk(&mut self) -> Turn {
        let (Mode::Chunk { last, .. }, Some(incoming)) = (&self.mode, &mut self.incoming) else {
            return self.lose_content();
        };
        if *last {
            let place = incoming.end_chunks();
            self.mode = Mode::Ended;
            return self.pass_on(place);
        }
        self.mode = Mode::Command;
        match incoming.doom() {
            // The transaction is over with the first chunk that failed; the client may have sent
            // more already, which the table refuses (RFC 3030 §2).
            Some(reply) => {
                self.say(&reply);
                self.end_transaction();
            }
            None => self.say(&Reply::chunk_ok()),
        }
        Turn::Again
    }

    /// Octets nobody wants: a client that sends many without being asked errs only once.
    fn skip_chunk(&mut self, input: &[u8]) -> (usize, Turn) {
        let Mode::Unwanted { left, .. } = &mut self.mode else {
            return (0, Turn::Again);
        };
        let len = input
            .len()
            .min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= len as u64;
        if *left > 0 {
            return (len, Turn::NeedInput);
        }
        if let Mode::Unwanted { reply, .. } = std::mem::replace(&mut self.mode, Mode::Command) {
            self.refuse(&reply);
        }
        (len, Turn::Again)
    }

    /// A piece to the driver, if there is one; none as soon as the message cannot be accepted.
    fn pass_on(&mut self, place: Option<Place>) -> Turn {
        if self.incoming.as_ref().is_some_and(Incoming::is_doomed) {
            self.drop_gathering();
        }
        place.map_or(Turn::Again, Turn::Content)
    }

    /// All content is there: a question to the driver, or a refusal.
    fn judge_content(&mut self) -> Turn {
        match self.incoming.take().map(Incoming::finish) {
            Some(Ok(content)) => {
                self.mode = Mode::Asking(Question::Message(Some(content)));
                Turn::Ask
            }
            Some(Err(reply)) => {
                self.drop_gathering();
                self.end_message(&reply);
                Turn::Again
            }
            None => self.lose_content(),
        }
    }

    /// A message without its scanner cannot be; were it so, it would be refused, not guessed at.
    fn lose_content(&mut self) -> Turn {
        self.drop_gathering();
        self.hang_up(&Reply::local_error());
        Turn::Again
    }

    /// The reply to a whole message, for each recipient one where LMTP is spoken.
    pub(super) fn end_message(&mut self, reply: &Reply) {
        for _ in 0..self.replies {
            self.say(reply);
        }
        // Whoever asked for the message has taken what he gathered.
        if matches!(self.mode, Mode::Asking(_)) {
            self.gathering = false;
        }
        self.mode = Mode::Command;
        self.end_transaction();
    }

    /// Back to where a transaction may begin.
    fn end_transaction(&mut self) {
        self.draft = None;
        self.incoming = None;
        self.drop_gathering();
        if self.stage != Stage::Fresh {
            self.stage = Stage::Greeted;
        }
    }

    fn drop_gathering(&mut self) {
        self.discard |= std::mem::take(&mut self.gathering);
    }
}

/// For commands that take none.
fn nothing(arguments: &[u8]) -> Result<(), BadArgument> {
    if arguments.is_empty() {
        Ok(())
    } else {
        Err(BadArgument::Syntax)
    }
}

/// Octets of output above which the driver is asked to write. One reply may come on top, and for
/// LMTP one a recipient.
const OUTPUT_OCTETS_MAX: usize = 16 * 1024;
/// What is skipped of a line that is too long, before whoever sends it is hung up on: no mail
/// program sends such a line, and to skip it for ever would cost a core.
const SKIPPED_OCTETS_MAX: usize = 64 * 1024;
/// A line of AUTH (RFC 4954 §4).
const AUTH_LINE_OCTETS_MAX: usize = 12_288;
/// What a value of LIMITS can say: six digits (RFC 9422 §3).
const LIMIT_VALUE_MAX: u64 = 999_999;
