//! Commands about the session itself: what is offered, TLS, logging in, ENABLE, IDLE's beginning,
//! COMPRESS.

use std::io;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::extensions::enable::CapabilityEnable;

use super::compress::Pair;
use super::{Answer, Awaits, Next, Visit};
use crate::imap::capability::{self, Terms};
use crate::imap::state::State;
use crate::shard::clients::login::Word;
use crate::smtp::server::Encryption;
use crate::world::World;

impl<W: World> Visit<'_, W> {
    /// What is offered to this client now.
    pub(super) fn terms(&self) -> Terms {
        let settings = self.shard.settings();
        let proofs = self.connection.proofs();
        Terms {
            tls: self.encryption == Encryption::Offered,
            passwords: settings.may_log_in(&proofs),
            mechanisms: settings.mechanisms(&proofs),
        }
    }

    fn capabilities(&self) -> String {
        if self.state == State::NotAuthenticated {
            capability::before(self.terms())
        } else {
            capability::after(self.append_limit(), self.compressed.is_some())
        }
    }

    /// Does what concerns the session alone; gives back what does not.
    pub(super) async fn session_command(
        &mut self,
        tag: &str,
        body: CommandBody<'static>,
    ) -> io::Result<Result<Next, CommandBody<'static>>> {
        match body {
            CommandBody::Capability => {
                let list = self.capabilities();
                self.line(&format!("* CAPABILITY {list}"));
                self.answer(tag, &Answer::ok("Capability completed."));
            }
            CommandBody::Noop | CommandBody::Check => {
                if !self.look().await {
                    return Ok(Ok(Next::End));
                }
                self.news(true).await?;
                self.answer(tag, &Answer::ok("Completed."));
            }
            CommandBody::Logout => {
                self.line("* BYE Logging out");
                self.answer(tag, &Answer::ok("Logout completed."));
                self.state = State::Logout;
                return Ok(Ok(Next::End));
            }
            CommandBody::Id { .. } => {
                let version = env!("CARGO_PKG_VERSION");
                self.line(&format!(
                    "* ID (\"name\" \"Ringpost\" \"version\" \"{version}\")"
                ));
                self.answer(tag, &Answer::ok("ID completed."));
            }
            CommandBody::Namespace => {
                self.line("* NAMESPACE ((\"\" \"/\")) NIL NIL");
                self.answer(tag, &Answer::ok("Namespace completed."));
            }
            CommandBody::StartTLS => return Ok(Ok(self.start_tls(tag).await?)),
            CommandBody::Login { username, password } => {
                let password = password.declassify().as_ref().to_vec();
                return Ok(Ok(self.log_in(tag, username.as_ref(), password).await?));
            }
            CommandBody::Authenticate {
                mechanism,
                initial_response,
            } => {
                let said = initial_response.map(|said| said.declassify().to_vec());
                return Ok(Ok(self.authenticate(tag, mechanism.as_ref(), said).await?));
            }
            CommandBody::Enable { capabilities } => self.enable(tag, capabilities.as_ref()),
            CommandBody::Idle => {
                if !self.look().await {
                    return Ok(Ok(Next::End));
                }
                self.news(true).await?;
                self.line("+ idling");
                self.awaits = Awaits::Done(tag.to_owned());
            }
            CommandBody::Compress { .. } => return Ok(Ok(self.compress(tag).await?)),
            other => return Ok(Err(other)),
        }
        Ok(Ok(Next::Again))
    }

    async fn start_tls(&mut self, tag: &str) -> io::Result<Next> {
        if self.encryption != Encryption::Offered {
            self.answer(tag, &Answer::bad("TLS is not offered"));
            return Ok(self.fault());
        }
        self.answer(tag, &Answer::ok("Begin TLS negotiation now."));
        self.flush().await?;
        // What came in plain behind the command may be somebody else's (RFC 9051 §6.2.1).
        self.framer = crate::imap::frame::Framer::default();
        self.connection.secure(self.shard).await?;
        self.encryption = Encryption::Active;
        Ok(Next::Again)
    }

    async fn log_in(&mut self, tag: &str, name: &[u8], password: Vec<u8>) -> io::Result<Next> {
        if !self.terms().passwords {
            let answer = Answer::no("[PRIVACYREQUIRED] Begin TLS first.");
            self.answer(tag, &answer);
            return Ok(Next::Again);
        }
        self.flush().await?;
        let name = String::from_utf8_lossy(name).into_owned();
        let client = self.connection.client();
        let word = self.shard.check_login(client, &name, password).await;
        Ok(self.login_word(tag, word))
    }

    async fn authenticate(
        &mut self,
        tag: &str,
        mechanism: &str,
        said: Option<Vec<u8>>,
    ) -> io::Result<Next> {
        let terms = self.terms();
        let mechanism = mechanism.to_ascii_uppercase();
        if !terms.mechanisms.contains(&&*mechanism) {
            let answer = if terms.passwords {
                Answer::no("[CANNOT] Mechanism not offered.")
            } else {
                Answer::no("[PRIVACYREQUIRED] Begin TLS first.")
            };
            self.answer(tag, &answer);
            return Ok(Next::Again);
        }
        self.flush().await?;
        let proofs = self.connection.proofs();
        let begun = self
            .login
            .begin(self.shard, &mechanism, said.as_deref(), proofs);
        let word = begun.await;
        Ok(self.login_word(tag, word))
    }

    /// A line in answer to a challenge.
    pub(super) async fn sasl_answer(&mut self, tag: String, line: &[u8]) -> io::Result<Next> {
        let line = line.trim_ascii_end();
        if line == b"*" {
            self.login = crate::shard::clients::login::Login::default();
            self.answer(&tag, &Answer::bad("Authentication aborted by client."));
            return Ok(Next::Again);
        }
        let Ok(said) = STANDARD.decode(line) else {
            self.login = crate::shard::clients::login::Login::default();
            self.answer(&tag, &Answer::bad("Invalid base64 data"));
            return Ok(self.fault());
        };
        let client = self.connection.client();
        let word = self.login.go_on(self.shard, client, Some(&said)).await;
        Ok(self.login_word(&tag, word))
    }

    fn login_word(&mut self, tag: &str, word: Word) -> Next {
        match word {
            Word::Challenge(challenge) => {
                let challenge = STANDARD.encode(challenge);
                self.line(&format!("+ {challenge}"));
                self.awaits = Awaits::Sasl(tag.to_owned());
            }
            Word::In(user) => return Next::In(user, tag.to_owned()),
            Word::Wrong => {
                let answer = Answer::no("[AUTHENTICATIONFAILED] Authentication failed.");
                self.answer(tag, &answer);
            }
            Word::Later => {
                let answer = Answer::no("[UNAVAILABLE] Try again later.");
                self.answer(tag, &answer);
            }
        }
        Next::Again
    }

    /// The user is at home here: opens the mailbox.
    pub(super) async fn enter(&mut self, user: &str, tag: &str) {
        let max = self
            .shard
            .settings()
            .config
            .mailboxes
            .max_connections_per_user;
        let Some(lodger) = self.shard.lodgers.enter(user, max) else {
            let answer = Answer::no("[LIMIT] Too many sessions of this user.");
            return self.answer(tag, &answer);
        };
        match self.shard.accounts.open(user).await {
            Ok(account) => {
                self.account = Some(account);
                self.lodger = Some(lodger);
                self.state = State::Authenticated;
                self.stay();
                let list = self.capabilities();
                self.answer(tag, &Answer::ok(format!("[CAPABILITY {list}] Logged in")));
            }
            Err(error) => {
                self.shard.warn(format_args!(
                    "{user}: the mailbox cannot be opened: {error}"
                ));
                self.answer(
                    tag,
                    &Answer::no("[UNAVAILABLE] The mailbox cannot be opened."),
                );
            }
        }
    }

    fn enable(&mut self, tag: &str, capabilities: &[CapabilityEnable<'_>]) {
        let mut enabled = String::from("* ENABLED");
        for capability in capabilities {
            let name = capability.to_string().to_ascii_uppercase();
            match &*name {
                "CONDSTORE" => self.enabled.condstore = true,
                "QRESYNC" => {
                    self.enabled.qresync = true;
                    self.enabled.condstore = true;
                }
                "UTF8=ACCEPT" => self.enabled.utf8 = true,
                "IMAP4REV2" => {
                    self.enabled.rev2 = true;
                }
                _ => continue,
            }
            enabled.push(' ');
            enabled.push_str(if name == "IMAP4REV2" {
                "IMAP4rev2"
            } else {
                &name
            });
        }
        self.line(&enabled);
        self.answer(tag, &Answer::ok("Enabled."));
    }

    /// RFC 4978: compressed from behind the answer on.
    async fn compress(&mut self, tag: &str) -> io::Result<Next> {
        if self.compressed.is_some() {
            let answer = Answer::no("[COMPRESSIONACTIVE] It is compressed already.");
            self.answer(tag, &answer);
            return Ok(Next::Again);
        }
        self.answer(tag, &Answer::ok("DEFLATE active."));
        self.flush().await?;
        let mut pair = Box::new(Pair::default());
        // What was read ahead is compressed too.
        let ahead = self.framer.take_input();
        let Some(octets) = pair.inflate(&ahead) else {
            return Ok(Next::End);
        };
        self.framer.push(&octets);
        self.compressed = Some(pair);
        Ok(Next::Again)
    }

    /// The user's account. Commands that need one are refused before the login.
    pub(super) fn account(&self) -> io::Result<Rc<crate::mailbox::Account<W>>> {
        let account = self.account.as_ref().map(Rc::clone);
        account.ok_or_else(|| io::ErrorKind::PermissionDenied.into())
    }
}
