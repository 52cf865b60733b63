"""What scripts/mailbox-bench and scripts/crash --mailboxes share: servers with mailboxes, and readers of mail that
cost little themselves: sockets, and no parsing of what nobody asked about.
"""
import os
import pathlib
import shutil
import socket
import subprocess

from mailworld import BINARY, RELAY, claim, eventually, is_open

IMAP_PORT, POP3_PORT, LMTP_PORT = 2143, 2110, 2424
DOVECOT = RELAY.rsplit(".", 1)[0] + ".2"
DOMAIN, PASSWORD = "box.test", "secret"
TICKS = os.sysconf("SC_CLK_TCK")


def user(number):
    return f"user{number}@{DOMAIN}"


def letter(subject, size=0):
    """A message of about `size` octets, with LF: two parts, so that there is a structure to tell."""
    head = (f"From: Ann Sender <ann@c.test>\nTo: user@{DOMAIN}\nSubject: {subject}\n"
            f"Date: Mon, 23 Nov 2026 11:00:13 +0000\nMessage-ID: <{subject}@c.test>\nMIME-Version: 1.0\n"
            'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/plain\n\n'
            f"hello {subject}\n--b\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n")
    tail = "--b--\n"
    line = "QUJD" * 19 + "\n"
    return head + line * max(1, (size - len(head) - len(tail)) // len(line)) + tail


class Relay:
    """Ringpost with listeners for those who read mail, and some users. Restarted on the same data by `start`."""

    name = "Ringpost"

    def __init__(self, world, users, extra=""):
        self.world, self.extra = world, extra
        self.start()
        for number in range(users):
            done = subprocess.run([BINARY, "user", "add", user(number), "--config", world.config],
                                  input=f"{PASSWORD}\n", capture_output=True, text=True, check=False)
            claim(done.returncode == 0, done.stderr)
        eventually("the users can log in", lambda: self.can_log_in(users - 1))

    def start(self):
        self.world.start_relay(routes=f'[[route]]\ndomain = "{DOMAIN}"\nto = "mailbox"\n', extra=f"""
[[listener]]
protocol = "imap"
bind = ["{RELAY}:{IMAP_PORT}"]
[[listener]]
protocol = "pop3"
bind = ["{RELAY}:{POP3_PORT}"]
[[listener]]
protocol = "lmtp"
bind = ["{RELAY}:{LMTP_PORT}"]
{self.extra}
""")

    def can_log_in(self, number):
        try:
            self.imap(number).close()
            return True
        except Refused:
            return False

    def maildir(self, number):
        return self.world.home / "data/mailboxes" / user(number)

    def own(self, _directory):
        pass

    def imap(self, number):
        return Imap(RELAY, IMAP_PORT, user(number))

    def pop3(self, number):
        return Pop3(RELAY, POP3_PORT, user(number))

    def cpu(self):
        return cpu_of(self.world.relay.pid)

    def memory(self):
        """Of the process: what is resident, in octets."""
        return field(self.world.relay.pid, "VmRSS") * 1024

    def memory_peak(self):
        return field(self.world.relay.pid, "VmHWM") * 1024


class Dovecot:
    """Dovecot as it comes, with Maildirs, and everybody's password the same."""

    name = "Dovecot"

    def __init__(self, world):
        self.home = world.home / "dovecot"
        (self.home / "run").mkdir(parents=True)
        (self.home / "mail").mkdir()
        self.own(self.home / "mail")
        config = self.home / "dovecot.conf"
        config.write_text(f"""
base_dir = {self.home}/run
state_dir = {self.home}/run
log_path = {self.home}/log
ssl = no
disable_plaintext_auth = no
protocols = imap pop3
listen = {DOVECOT}
mail_location = maildir:{self.home}/mail/%u
first_valid_uid = 1
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={self.home}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {IMAP_PORT}
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {POP3_PORT}
  }}
}}
""")
        self.process = world.start("dovecot", "-F", "-c", config, log="dovecot.log")
        eventually("Dovecot listens", lambda: is_open(DOVECOT, IMAP_PORT) and is_open(DOVECOT, POP3_PORT))

    def maildir(self, number):
        return self.home / "mail" / user(number)

    def own(self, directory):
        shutil.chown(directory, "mail", "mail")
        for path in pathlib.Path(directory).rglob("*"):
            shutil.chown(path, "mail", "mail")

    def imap(self, number):
        return Imap(DOVECOT, IMAP_PORT, user(number))

    def pop3(self, number):
        return Pop3(DOVECOT, POP3_PORT, user(number))

    def cpu(self):
        return cpu_of(self.process.pid)


def cpu_of(process):
    """CPU seconds of a process and of those below it, also of those that have ended."""
    used, below = 0, {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            below.setdefault(int(words[1]), []).append((int(entry.name), sum(map(int, words[11:15]))))
            if int(entry.name) == process:
                used += sum(map(int, words[11:15]))
    waiting = [process]
    while waiting:
        for child, ticks in below.get(waiting.pop(), []):
            used += ticks
            waiting.append(child)
    return used / TICKS


def cpu_of_threads(process):
    """CPU seconds by name of the thread."""
    threads = {}
    for entry in pathlib.Path(f"/proc/{process}/task").iterdir():
        name, words = (entry / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
        threads[f"{name} {entry.name}"] = sum(map(int, words.split()[11:13])) / TICKS
    return threads


def field(process, name):
    for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0


class Refused(Exception):
    """NO, BAD or -ERR."""


class Lines:
    """A connection, and what came over it that nobody has looked at yet."""

    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), timeout=600)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.came = bytearray()

    def close(self):
        self.socket.close()

    def more(self):
        octets = self.socket.recv(1 << 20)
        if not octets:
            raise ConnectionError("the server has closed the connection")
        self.came += octets

    def line(self):
        while (end := self.came.find(b"\r\n")) < 0:
            self.more()
        line = bytes(self.came[:end])
        del self.came[:end + 2]
        return line


class Imap(Lines):
    """Says commands, and gives back what came up to the tagged answer."""

    def __init__(self, host, port, name):
        super().__init__(host, port)
        self.count = 0
        self.line()
        self.does(f"LOGIN {name} {PASSWORD}")

    def does(self, command):
        octets = command.encode() if isinstance(command, str) else command
        self.count += 1
        tag = b"t%07d " % self.count
        self.socket.sendall(tag + octets + b"\r\n")
        return self.answer(tag)

    def answer(self, tag):
        while True:
            if self.came.endswith(b"\r\n"):
                last = self.came.rfind(b"\r\n", 0, -2)
                if self.came.startswith(tag, last + 2 if last >= 0 else 0):
                    break
            self.more()
        came, self.came = bytes(self.came), bytearray()
        if not came[came.rfind(tag) + len(tag):].startswith(b"OK"):
            raise Refused(came[-400:].decode(errors="replace"))
        return came

    def append(self, folder, message, flags=""):
        return self.does(f"APPEND {folder} {flags}{{{len(message)}+}}\r\n".encode() + message)

    def idle(self):
        self.count += 1
        self.idling = b"t%07d " % self.count
        self.socket.sendall(self.idling + b"IDLE\r\n")
        claim(self.line().startswith(b"+"), "IDLE")

    def hears(self, word):
        """Waits for a line that ends in `word`."""
        while not (line := self.line()).endswith(word):
            pass
        return line

    def done(self):
        self.socket.sendall(b"DONE\r\n")
        return self.answer(self.idling)


class Pop3(Lines):
    """Says commands, and gives back the lines that come."""

    def __init__(self, host, port, name):
        super().__init__(host, port)
        self.line()
        self.does(f"USER {name}")
        self.does(f"PASS {PASSWORD}")

    def does(self, command):
        self.socket.sendall(command.encode() + b"\r\n")
        line = self.line()
        if not line.startswith(b"+OK"):
            raise Refused(line.decode(errors="replace"))
        return line

    def content(self, command):
        self.socket.sendall(command.encode() + b"\r\n")
        while not self.came.endswith(b"\r\n.\r\n"):
            if self.came.startswith(b"-ERR"):
                raise Refused(self.line().decode(errors="replace"))
            self.more()
        came, self.came = bytes(self.came), bytearray()
        return came
