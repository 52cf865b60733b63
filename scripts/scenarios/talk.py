"""Raw IMAP: what was sent, what was answered, and the answer's values."""
import re
import socket

from mailworld import Failure, claim

NIL = object()
_LITERAL = re.compile(rb"~?\{(\d+)\}\r\n\Z")
_TOKEN = re.compile(rb'''[ \r\n]*(?:
      (?P<open>\() | (?P<close>\))
    | "(?P<quoted>(?:[^"\\]|\\.)*)"
    | ~?\{(?P<literal>\d+)\}\r\n
    | (?P<atom>(?:BODY|BINARY)(?:\.PEEK|\.SIZE)?\[[^\]]*\](?:<\d+>)? | [^ ()"\r\n]+)
    )''', re.X | re.S | re.I)


def values(octets):
    """Nested lists of what stands in an answer: bytes for strings, str for atoms and numbers, NIL.

    Quoted or literal is the server's choice (RFC 9051 §4.3), so it does not show.
    """
    stack, place = [[]], 0
    while place < len(octets) and (token := _TOKEN.match(octets, place)):
        place, kind = token.end(), token.lastgroup
        if kind == "open":
            stack.append([])
        elif kind == "close":
            if len(stack) == 1:
                raise Failure(f"a parenthesis too many: {octets[max(0, place - 80):place]!r}")
            stack[-2].append(stack.pop())
        elif kind == "quoted":
            text = token[kind]
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", text, flags=re.S) if b"\\" in text else text)
        elif kind == "literal":
            size = int(token[kind])
            stack[-1].append(octets[place:place + size])
            place += size
        else:
            atom = token[kind].decode("utf-8", "surrogateescape")
            stack[-1].append(NIL if atom.upper() == "NIL" else atom)
    if len(stack) > 1 or octets[place:].strip():
        raise Failure(f"what is this? {octets[max(0, place - 40):place + 80]!r}")
    return stack[0]


class Answer:
    """Untagged lines and the tagged one, literals included."""

    def __init__(self, untagged, tagged):
        self.untagged, self.tagged = untagged, tagged

    @property
    def ok(self):
        return self.tagged.startswith("OK")

    def __str__(self):
        return "\n".join([line.decode(errors="replace") for line in self.untagged] + [self.tagged])

    def fetched(self):
        """{message number: {ITEM: value}}, of all FETCH lines."""
        found = {}
        for line in self.untagged:
            head = re.match(rb"\* (\d+) FETCH ", line, re.I)
            if head:
                flat = values(line[head.end():])[0]
                found.setdefault(int(head[1]), {}).update(zip([key.upper() for key in flat[::2]], flat[1::2]))
        return found

    def words(self, name):
        """What stands behind `* NAME`, of all such lines."""
        return [value for line in self.untagged if line[2:].upper().startswith(name.encode() + b" ")
                for value in values(line[3 + len(name):])]


class Talk:
    """A connection. `send` does not wait, `answer` waits for the oldest command's answer."""

    def __init__(self, host, port, user=None, password=None, timeout=60):
        self.socket = socket.create_connection((host, port), timeout)
        self.file, self.count, self.waiting, self.last = self.socket.makefile("rb"), 0, [], "nothing"
        self.greeting = self.line()
        if user:
            claim(self.command(f'LOGIN "{user}" "{password}"').ok, "the login")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def line(self):
        """A line with the literals in it, without its end."""
        whole = b""
        while True:
            part = self.file.readline()
            if not part.endswith(b"\n"):
                raise Failure(f"the connection to {self.socket.getpeername()} ended within {whole + part!r}, after {self.last}")
            whole += part
            literal = _LITERAL.search(part)
            if not literal:
                return whole.removesuffix(b"\n").removesuffix(b"\r")
            whole += self.file.read(int(literal[1]))

    def raw(self, octets):
        self.socket.sendall(octets)

    def send(self, command):
        """Strings are sent as they are; of a sequence the bytes are literals that are not asked for."""
        self.count += 1
        tag = f"t{self.count}"
        parts = [command] if isinstance(command, str) else command
        self.last = command
        self.raw(b"".join([tag.encode(), b" ", *(b"{%d+}\r\n%s" % (len(part), part) if isinstance(part, bytes) else part.encode()
                                                 for part in parts), b"\r\n"]))
        self.waiting.append(tag)

    def answer(self):
        tag, untagged = self.waiting.pop(0).encode() + b" ", []
        while not (line := self.line()).startswith(tag):
            untagged.append(line)
        return Answer(untagged, line[len(tag):].decode(errors="replace"))

    def command(self, command):
        self.send(command)
        return self.answer()

    def fetch(self, number, items):
        return self.command(f"FETCH {number} ({items})").fetched().get(number, {})
