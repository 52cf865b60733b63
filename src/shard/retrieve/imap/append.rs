//! APPEND (RFC 9051 §6.3.12), and literals on their way in.

use std::io;

use imap_codec::imap_types::flag::Flag;
use imap_codec::imap_types::mailbox::Mailbox;

use super::{Answer, NO_MEMORY, Outcome, Visit};
use crate::imap::frame::{Frame, LITERAL_MINUS_OCTETS, SMALL_LITERAL_OCTETS_MAX, probable_tag};
use crate::imap::read::Appended;
use crate::imap::state::State;
use crate::imap::words::words;
use crate::imap::write;
use crate::mailbox::{NewMessage, System};
use crate::world::World;

impl<W: World> Visit<'_, W> {
    /// What one message may have.
    pub(super) fn append_limit(&self) -> u64 {
        self.shard.settings().config.smtp.max_message_size
    }

    /// A literal is announced: may it come?
    pub(super) async fn literal(&mut self, octets: u64) -> io::Result<()> {
        let refusal = self.refuses(octets).await;
        let tag = probable_tag(self.framer.so_far());
        let comes = self.framer.comes_anyhow();
        match refusal {
            Some(answer) => {
                self.framer.refuse_literal();
                self.answer(&tag, &answer);
            }
            None => {
                let held = usize::try_from(octets).unwrap_or(usize::MAX);
                let held = held.saturating_add(self.framer.so_far().len());
                let now = self.shard.world.now();
                self.loan = Some(self.shard.budget.lend(held, now));
                self.framer.take_literal();
                if !comes {
                    self.line("+ OK");
                }
            }
        }
        Ok(())
    }

    async fn refuses(&self, octets: u64) -> Option<Answer> {
        let comes = self.framer.comes_anyhow();
        let so_far = self.framer.so_far();
        let words = words(so_far.trim_ascii_end()).unwrap_or_default();
        let is_message = words.len() > 2
            && words[1].eq_ignore_ascii_case(b"APPEND")
            && self.state != State::NotAuthenticated;
        if !is_message {
            let max = if self.state == State::NotAuthenticated && comes {
                LITERAL_MINUS_OCTETS
            } else {
                SMALL_LITERAL_OCTETS_MAX
            };
            // Together, so that a thousand small ones are not a large one.
            let sum = octets.saturating_add(so_far.len() as u64);
            return (sum > max).then(|| Answer::bad("[TOOBIG] Literal too large"));
        }
        let sum = octets.saturating_add(so_far.len() as u64);
        if octets > self.append_limit() || sum > self.append_limit() * MULTIPLE_MAX {
            return Some(Answer::no("[TOOBIG] Message too large."));
        }
        if octets == 0 {
            return Some(Answer::no("[CANNOT] A message has octets."));
        }
        if !self.shard.budget.room(&self.shard.world).await {
            return Some(Answer::no(NO_MEMORY));
        }
        // The folder is looked up before a large message comes for nothing.
        let mailbox = mailbox_word(words[2])?;
        let account = self.account().ok()?;
        let admitted = async {
            let name = self.decoded_name(&mailbox)?;
            account.folder(&name).await?;
            account.quota().admit(octets, 1)
        };
        let error = admitted.await.err()?;
        Some(self.refusal(&error, true))
    }

    pub(super) async fn append(
        &mut self,
        mailbox: &Mailbox<'_>,
        messages: Vec<Appended>,
        frame: &Frame,
    ) -> Outcome {
        let name = self.name(mailbox)?;
        let folder = match self.account()?.folder(&name).await {
            Ok(folder) => folder,
            Err(error) => return Ok(self.refusal(&error, true)),
        };
        let mut read = Vec::with_capacity(messages.len());
        for message in &messages {
            let Some((flags, keywords)) = flags(&message.flags) else {
                return Ok(Answer::bad("Invalid system flag"));
            };
            read.push((flags, keywords));
        }
        let new: Vec<(Vec<&str>, System, &Appended)> = read
            .iter()
            .zip(&messages)
            .map(|((flags, keywords), message)| {
                let keywords = keywords.iter().map(|word| &**word).collect();
                (keywords, *flags, message)
            })
            .collect();
        let new: Vec<NewMessage<'_>> = new
            .iter()
            .map(|(keywords, flags, message)| NewMessage {
                content: &frame.text[message.content.clone()],
                flags: *flags,
                keywords,
                saved: message.saved,
            })
            .collect();
        if new.iter().any(|message| message.content.is_empty()) {
            return Ok(Answer::no("[CANNOT] A message has octets."));
        }
        let uids = folder.append_all(&new).await?;
        let (validity, uids) = (folder.uid_validity(), write::set(uids));
        Ok(Answer::ok(format!(
            "[APPENDUID {validity} {uids}] Append completed."
        )))
    }
}

/// All messages of one APPEND may have so many times what one may have.
const MULTIPLE_MAX: u64 = 2;

/// A folder's name as it stands in a command; `None` for what is left to the grammar.
fn mailbox_word(word: &[u8]) -> Option<Vec<u8>> {
    use imap_codec::CommandCodec;
    use imap_codec::decode::Decoder as _;
    use imap_codec::imap_types::command::CommandBody;

    let line = [b"t SELECT ", word, b"\r\n"].concat();
    let (_, command) = CommandCodec::default().decode(&line).ok()?;
    match command.body {
        CommandBody::Select { mailbox, .. } => Some(crate::imap::read::mailbox_octets(&mailbox)),
        _ => None,
    }
}

/// System flags and keywords; `None` where a flag is none that a client may set.
pub(super) fn flags(flags: &[Flag<'_>]) -> Option<(System, Vec<String>)> {
    let (mut system, mut keywords) = (System::NONE, Vec::new());
    for flag in flags {
        system = system
            | match flag {
                Flag::Answered => System::ANSWERED,
                Flag::Flagged => System::FLAGGED,
                Flag::Deleted => System::DELETED,
                Flag::Seen => System::SEEN,
                Flag::Draft => System::DRAFT,
                Flag::Keyword(word) => {
                    keywords.push(word.as_ref().to_owned());
                    System::NONE
                }
                Flag::Extension(_) => return None,
            };
    }
    Some((system, keywords))
}
