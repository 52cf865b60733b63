//! What a session says. RFC 1939 fixes the indicator and nothing of the text; where clients show
//! it to people, it says what they can do.

/// A single line: `+OK` or `-ERR`, a response code in brackets where one fits (RFC 2449 §8,
/// RFC 3206), and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply(&'static str);

macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        impl Reply {
            $($(#[$doc])* pub const $name: Self = Self($text);)+
        }
    };
}

replies! {
    /// Yes.
    OK = "+OK";
    /// USER was heard.
    NAME_HEARD = "+OK";
    /// The session is in TRANSACTION.
    LOGGED_IN = "+OK Logged in.";
    /// The handshake may begin.
    BEGIN_TLS = "+OK Begin TLS negotiation now.";
    /// UTF8 is on.
    UTF8_ON = "+OK UTF8 enabled.";
    /// DELE was done.
    MARKED = "+OK Marked to be deleted.";
    /// QUIT.
    BYE = "+OK Logging out.";
    /// QUIT, and messages are gone.
    BYE_DELETED = "+OK Logging out, messages deleted.";
    /// QUIT, and messages should be gone and are not.
    NOT_DELETED = "-ERR [SYS/TEMP] Some messages could not be deleted.";
    /// The same, and why.
    NOT_DELETED_DISK_FULL = "-ERR [SYS/TEMP] The disk is full: nothing was deleted, try again later.";
    /// No such command.
    UNKNOWN = "-ERR Unknown command.";
    /// It comes after the login.
    LOG_IN_FIRST = "-ERR Log in first.";
    /// It comes before the login.
    LOGGED_IN_ALREADY = "-ERR You have logged in already.";
    /// Too many of those.
    TOO_MANY_FAULTS = "-ERR Too many invalid commands.";
    /// Somebody plays with us.
    TOO_MANY_COMMANDS = "-ERR Too many commands before login.";
    /// A line without end.
    TOO_LONG = "-ERR The line is too long.";
    /// Arguments that have no place.
    NO_ARGUMENT = "-ERR The command takes no argument.";
    /// USER without a name.
    NAME_MISSING = "-ERR A user name is needed.";
    /// PASS without USER.
    NO_NAME = "-ERR No username given.";
    /// APOP with something else than a name and a digest.
    BAD_APOP = "-ERR APOP takes a user name and 32 hexadecimal digits.";
    /// APOP without a timestamp in the greeting.
    NO_APOP = "-ERR APOP is not offered.";
    /// A mechanism that is not spoken.
    NO_MECHANISM = "-ERR This mechanism is not offered.";
    /// Passwords in plain.
    PLAINTEXT = "-ERR [AUTH] Plaintext authentication is not allowed without TLS: say STLS first.";
    /// Not base64.
    BAD_BASE64 = "-ERR That is no base64.";
    /// `*`
    CANCELLED = "-ERR [AUTH] Authentication cancelled.";
    /// It is not who it says it is. The same for somebody who does not exist.
    WRONG = "-ERR [AUTH] Authentication failed.";
    /// Guessing ends.
    LATER = "-ERR [SYS/TEMP] Too many failures: try again later.";
    /// Somebody else has the maildrop.
    IN_USE = "-ERR [IN-USE] The mailbox is locked by another POP3 session.";
    /// The user has too many connections.
    TOO_MANY_SESSIONS = "-ERR [IN-USE] You have too many connections.";
    /// The disk, not the client.
    NO_MAILDROP = "-ERR [SYS/TEMP] The mailbox cannot be opened: try again later.";
    /// Of all clients.
    TOO_MANY_CONNECTIONS = "-ERR [SYS/TEMP] Too many connections: try again later.";
    /// No TLS here, or there already.
    NO_TLS = "-ERR TLS is not to be had now.";
    /// RFC 6856 §2
    UTF8_THEN_TLS = "-ERR STLS comes before UTF8.";
    /// A language that is not spoken.
    NO_LANGUAGE = "-ERR That language is not spoken here.";
    /// No number of a message.
    BAD_NUMBER = "-ERR Invalid message number.";
    /// No number of lines.
    BAD_LINES = "-ERR Invalid number of lines.";
    /// DELE was before.
    DELETED = "-ERR Message is deleted.";
    /// Another program has removed it.
    GONE = "-ERR [SYS/PERM] The message is not there any more.";
    /// Other messages have taken the memory.
    NO_MEMORY = "-ERR [SYS/TEMP] Out of memory: try again later.";
    /// The disk, not the client.
    UNREADABLE = "-ERR [SYS/TEMP] The message cannot be read: try again later.";
}

impl Reply {
    /// The text, without its line end.
    #[must_use]
    pub const fn text(self) -> &'static str {
        self.0
    }

    /// Appends the line.
    pub fn write_into(self, output: &mut Vec<u8>) {
        output.extend_from_slice(self.0.as_bytes());
        output.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_fit_a_line() {
        // RFC 2449 §4: 512 octets with the line end.
        assert!(Reply::PLAINTEXT.text().len() < 510);
        let mut output = Vec::new();
        Reply::BYE.write_into(&mut output);
        assert_eq!(output, b"+OK Logging out.\r\n");
    }
}
