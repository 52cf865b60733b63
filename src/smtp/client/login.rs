//! AUTH, the client's side (RFC 4954): base64 and replies. What is said in it is the driver's to know.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::session::ClientSession;
use super::verdict::Sent;
use super::{Failure, LogIn, Output};
use crate::mail::outcome::Diagnosis;
use crate::smtp::extension::Mechanism;
use crate::time::Tick;
use crate::wire::status::{EnhancedStatus, ReplyCode};

/// Answers to [`Output::LogIn`] and [`Output::Challenge`].
impl ClientSession {
    /// Begins to log in, where the mechanism lets us speak first with what we say. `may_end`: the peer
    /// may let us in now; as long as it has something to prove, it may not.
    pub fn log_in(&mut self, now: Tick, mechanism: Mechanism, said: Option<&[u8]>, may_end: bool) {
        if self.closed {
            return;
        }
        let said = match said {
            None => String::new(),
            Some(b"") => " =".to_owned(),
            Some(said) => format!(" {}", STANDARD.encode(said)),
        };
        let line = format!("AUTH {}{said}\r\n", mechanism.name());
        self.say(&line, Sent::Auth { may_end });
        self.restart_clock(now);
    }

    /// Answers a challenge. `may_end` as for [`Self::log_in`].
    pub fn answer(&mut self, now: Tick, said: &[u8], may_end: bool) {
        if self.closed {
            return;
        }
        let line = STANDARD.encode(said) + "\r\n";
        self.say(&line, Sent::Auth { may_end });
        self.restart_clock(now);
    }

    /// There is no answer to the challenge, or no way to begin: this host gets no mail now.
    pub fn give_up_login(&mut self, now: Tick, why: &str) {
        if self.closed {
            return;
        }
        let text = format!("logging in at host {}: {why}", self.peer);
        self.failure = Some(Failure {
            diagnosis: Diagnosis::ours(LOGIN_NEEDED, text),
            permanent: false,
            ourselves: false,
            strain: None,
        });
        self.say("*\r\n", Sent::Cancel);
        self.restart_clock(now);
    }

    /// TLS is there, or will not be.
    pub(super) fn consider_login(&mut self) {
        let offered = self.extensions.auth;
        let words = match self.hello.log_in {
            LogIn::Never => return self.ready(),
            LogIn::UnderTls if !self.is_secured => "is not said without TLS to",
            _ if offered.iter().next().is_none() => "with a mechanism we speak was not offered by",
            _ => return self.output.push_back(Output::LogIn(offered)),
        };
        let text = format!("AUTH {words} host {}", self.peer);
        self.give_up(Diagnosis::ours(LOGIN_NEEDED, text));
    }

    fn ready(&mut self) {
        self.greeted = true;
        self.output.push_back(Output::Ready);
    }

    /// The reply to AUTH or to an answer.
    pub(super) fn handle_auth(&mut self, now: Tick, code: ReplyCode, may_end: bool) {
        match (code.class(), code.number()) {
            (_, CHALLENGE) => {
                match STANDARD.decode(self.reader.texts().last().unwrap_or_default().trim()) {
                    Ok(challenge) => self.output.push_back(Output::Challenge(challenge)),
                    Err(_) => self.give_up_login(now, "the challenge is no base64"),
                }
            }
            (2, _) if may_end => self.ready(),
            // Whoever cannot prove that he knows the password is not the one it is for.
            (2, _) => self.give_up(Diagnosis::ours(
                LOGIN_NEEDED,
                format!(
                    "host {} let us in without having proved who it is",
                    self.peer
                ),
            )),
            (4 | 5, _) => {
                let sent = Sent::Auth { may_end };
                let mut diagnosis = self.peer.said(sent, self.reader.reply(code));
                if code.class() == 5 {
                    // The credentials are ours: mail waits until somebody mends them.
                    diagnosis.status = LOGIN_NEEDED;
                }
                self.give_up(diagnosis);
            }
            _ => self.out_of_step(Some(Sent::Auth { may_end })),
        }
    }
}

/// RFC 4954 §6: authentication credentials invalid; here of ours, which somebody can mend.
const LOGIN_NEEDED: EnhancedStatus = EnhancedStatus::new(4, 7, 8);
/// RFC 4954 §4: the server wants an answer.
const CHALLENGE: u16 = 334;
