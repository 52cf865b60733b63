"""What known clients say, line by line, and what they must hear.

The files in sequences/ have lines `C:` from the client, `S:` from the server (`...` is anything), `O:` a command of
another client in the INBOX, and `TLS`, where the handshake is. `{letter}` and `{letter+}` are a literal with a message
in it, `~{utf8+}` one of RFC 6855.
"""
import itertools
import pathlib
import re
import ssl

from mailworld import RELAY, World, claim
from scenarios.base import scenario
from scenarios.imap import IMAP_PORT, PASSWORD, USER, Reader
from scenarios.talk import Talk

LETTER = b"From: me@c.test\r\nTo: you@d.test\r\nSubject: sent\r\nMessage-ID: <sent@c.test>\r\n\r\nsent\r\n"
UTF8 = "From: Jö <jö@c.test>\r\nSubject: grün\r\n\r\ngrün\r\n".encode()


class Client(Talk):
    """One who reads from a file what to say."""

    def start_tls(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.file.close()
        self.socket = context.wrap_socket(self.socket)
        self.file = self.socket.makefile("rb")

    def say(self, line):
        literal = re.search(rb"~?\{(letter|utf8)(\+?)\}$", line)
        if not literal:
            self.raw(line + b"\r\n")
            return
        content = LETTER if literal[1] == b"letter" else UTF8
        mark = b"~" if literal[0].startswith(b"~") else b""
        self.raw(line[:literal.start()] + mark + b"{%d%s}\r\n" % (len(content), literal[2]))
        if not literal[2]:
            claim(self.line().startswith(b"+ "), "the literal is asked for")
        self.raw(content + (b")" if mark else b"") + b"\r\n")


def pattern(line):
    """`...` is anything, literals included."""
    return re.compile(b".*".join(re.escape(part) for part in line.split(b"...")), re.S)


def hear(client, expected, where):
    """As many lines as are expected; untagged ones in any order (RFC 9051 leaves it to servers)."""
    heard = []
    for line in expected:
        try:
            heard.append(client.line())
        except TimeoutError:
            claim(False, f"{where}: nothing more for {line!r} after {heard}")
    left = list(heard)
    for line in expected:
        found = [one for one in left if pattern(line).fullmatch(one)]
        claim(found, f"{where}: no {line!r} in {left}")
        left.remove(found[0])
    claim(pattern(expected[-1]).fullmatch(heard[-1]), f"{where}: {expected[-1]!r} is not the last of {heard}")


def play(file, other):
    lines = [line for line in file.read_bytes().splitlines() if line and not line.startswith(b"#")]
    with Client(RELAY, IMAP_PORT, timeout=20) as client:
        for kind, group in itertools.groupby(lines, lambda line: line.partition(b": ")[0]):
            group = [line.partition(b": ")[2] for line in group]
            where = f"{file.name}, {group[-1].decode()}"
            if kind == b"S":
                hear(client, group, where)
            elif kind == b"TLS":
                client.start_tls()
            for line in group:
                if kind == b"C":
                    client.say(line)
                elif kind == b"O":
                    words = line.decode()
                    command = [words.removesuffix("{letter}"), LETTER] if words.endswith("{letter}") else words
                    claim(other.command(command).ok, where)
                else:
                    claim(kind in (b"S", b"TLS"), f"{where}: what is {kind!r}?")


class Other:
    """Another client, who opens the INBOX when there is something to do: whoever does so first has its messages as recent."""

    def __init__(self, talk):
        self.talk, self.is_open = talk, False

    def command(self, command):
        self.is_open = self.is_open or self.talk.command("SELECT INBOX").ok
        return self.talk.command(command)


@scenario(quick=True)
def sequences():
    for file in sorted((pathlib.Path(__file__).parent / "sequences").iterdir()):
        with World() as world:
            Reader(world, 3, folders=())
            with Talk(RELAY, IMAP_PORT, USER, PASSWORD) as other:
                play(file, Other(other))
