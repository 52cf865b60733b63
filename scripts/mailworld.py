"""What scripts/interop, crash, load, bench and mailbox-bench share: a relay process, a name server, sinks.

Everything listens in 127.77.0.0/16, on ports over 1024, in a directory of its own; relay and name server in
what MAILWORLD_NET names (127.77.0), so that runs side by side do not meet.
"""
import asyncio
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("RINGPOST", str(ROOT / "target/release/ringpost"))
os.environ["PATH"] += ":/usr/sbin:/sbin"

NET = os.environ.get("MAILWORLD_NET", "127.77.0")
RELAY, SMTP_PORT, CONTROL_PORT = f"{NET}.1", 2525, 8025
DNS, DNS_PORT = f"{NET}.53", 5353
MX_PORT = 2526


class Skipped(Exception):
    """What a scenario drives is not on this machine."""


class Failure(Exception):
    """A scenario's claim did not hold."""


def claim(holds, words):
    if not holds:
        raise Failure(words)


def eventually(words, look, seconds=60.0):
    """Polls until `look()` is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise Failure(f"not within {seconds:.0f} s: {words}")


def is_open(host, port):
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


class World:
    """Processes and files of one run; `with World() as world`."""

    def __init__(self, keep=False):
        base = os.environ.get("MAILWORLD", "/var/tmp")  # a disk, not tmpfs: fsync must mean something
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="ringpost-", dir=base))
        os.chmod(self.home, 0o755)
        self.processes, self.keep, self.relay, self.relay_config = [], keep, None, {}

    def __enter__(self):
        return self

    def __exit__(self, kind, _value, _trace):
        for process in reversed(self.processes):
            stop(process)
        if kind is not None or self.keep:
            print(f"files kept in {self.home}", file=sys.stderr)
        else:
            shutil.rmtree(self.home, ignore_errors=True)

    def start(self, *command, log=None, **options):
        out = open(self.home / log, "ab") if log else subprocess.DEVNULL
        options = {"stdout": out, "stderr": out, "stdin": subprocess.DEVNULL} | options
        process = subprocess.Popen([str(word) for word in command], start_new_session=True, **options)
        self.processes.append(process)
        return process

    # -- names ------------------------------------------------------------------------------
    def start_dns(self, records):
        """nsd with the zone test.; `records` are lines of a zone file."""
        zone = f"$ORIGIN test.\n$TTL 60\n@ IN SOA ns root 1 3600 600 86400 1\n@ IN NS ns\nns IN A {DNS}\n"
        (self.home / "test.zone").write_text(zone + "\n".join(records) + "\n")
        (self.home / "nsd.conf").write_text(f"""
server:
  server-count: 1
  ip-address: {DNS}@{DNS_PORT}
  username: ""
  chroot: ""
  zonesdir: "{self.home}"
  database: ""
  pidfile: ""
  xfrdfile: "{self.home}/xfrd.state"
  zonelistfile: "{self.home}/zone.list"
  xfrdir: "{self.home}"
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: "test."
  zonefile: "test.zone"
""")
        self.start("nsd", "-d", "-c", self.home / "nsd.conf", log="nsd.log")
        eventually("nsd answers", lambda: is_open(DNS, DNS_PORT))

    # -- the relay ---------------------------------------------------------------------------
    def start_relay(self, extra="", routes="", delivery="", mx_port=MX_PORT, tables=None, **options):
        """Starts or restarts Ringpost with this configuration on the same data directory. `delivery`: that table, but for the
        port; `tables` are laid over all of it."""
        config = f"""
hostname = "relay.test"
data_dir = "{self.home}/data"
{routes}
[[listener]]
protocol = "smtp"
bind = ["{RELAY}:{SMTP_PORT}"]
[smtp]
trusted_networks = ["127.0.0.0/8"]
[dns]
servers = ["{DNS}:{DNS_PORT}"]
[delivery]
port = {mx_port}
{delivery or 'tls = "none"'}
[control]
bind = "{RELAY}:{CONTROL_PORT}"
{extra}
"""
        for table, keys in (tables or {}).items():
            head, lines = f"[{table}]\n", "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            config = config.replace(head, head + lines) if head in config else config + head + lines
        self.config = self.home / "ringpost.toml"
        self.config.write_text(config)
        self.relay = self.start(BINARY, "serve", "--config", self.config, log="relay.log", **options)

        def ready():
            claim(self.relay.poll() is None, f"the relay ended:\n{self.log()[-2000:]}")
            return is_open(RELAY, SMTP_PORT) and self.fetch("/readyz")[0] == 200
        eventually("the relay is ready", ready)
        return self.relay

    def log(self):
        return (self.home / "relay.log").read_text(errors="replace")

    def fetch(self, path):
        try:
            connection = http.client.HTTPConnection(RELAY, CONTROL_PORT, timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""

    def queue(self):
        """The entries of `queue list --json`, an array or one object for each line."""
        done = subprocess.run([BINARY, "queue", "list", "--json", "--config", self.config],
                              capture_output=True, text=True, check=False)
        claim(done.returncode == 0, f"queue list: {done.stderr}")
        decoder, text, entries = json.JSONDecoder(), done.stdout.strip(), []
        while text:
            value, end = decoder.raw_decode(text)
            entries += value if isinstance(value, list) else [value]
            text = text[end:].lstrip()
        return entries

    def wait_until_empty(self, seconds=120.0):
        eventually("the queue is empty", lambda: not self.queue(), seconds)


def stop(process, how=signal.SIGTERM, seconds=15.0):
    """Ends a process that we started, and its children: each has a session of its own."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, how)
            process.wait(seconds)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode


# -- a mail exchanger that keeps what it gets -------------------------------------------------------
class Exchanger:
    """An SMTP server in this process. `decide(words, line)` may return another reply; `decide_from` is told the client's
    address too. `hangs_up`: a 421 of theirs ends the session."""

    def __init__(self, host, port=MX_PORT, decide=None, decide_from=None, hangs_up=False,
                 keywords=("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 0", "DSN")):
        self.host, self.port, self.keywords, self.hangs_up = host, port, keywords, hangs_up
        self.decide = decide_from or (lambda words, line, _client: decide(words, line) if decide else None)
        self.messages = []  # (mail line, [rcpt lines], octets as they came)
        self.sessions = set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.session, self.host, self.port, limit=1 << 26, backlog=512)
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for _, writer in self.sessions:
            writer.transport.abort()
        await asyncio.gather(*[task for task, _ in self.sessions])

    async def session(self, reader, writer):
        session = asyncio.current_task(), writer
        self.sessions.add(session)
        session[0].add_done_callback(lambda _: self.sessions.discard(session))
        mail, rcpts = None, []
        client = writer.get_extra_info("peername")[0]

        def say(usual, words="", line=""):
            reply = self.decide(words, line, client) or usual
            writer.write(reply.encode() + b"\r\n")
            if self.hangs_up and reply.startswith("421"):
                raise ConnectionAbortedError
            return reply[0] in "23"
        try:
            say("220 mx.test ESMTP")
            while True:
                if not reader._buffer:  # answer a pipelined batch in one write
                    await writer.drain()
                raw = await reader.readline()
                if not raw:
                    break
                line = raw.decode(errors="replace").rstrip("\r\n")
                word = line[:4].upper()
                if word == "EHLO":
                    say("\r\n".join(["250-mx.test"] + [f"250-{k}" for k in self.keywords[:-1]] + [f"250 {self.keywords[-1]}"]), word, line)
                elif word == "MAIL":
                    mail, rcpts = (line if say("250 2.1.0 ok", word, line) else None), []
                elif word == "RCPT":
                    if say("250 2.1.5 ok", word, line):
                        rcpts.append(line)
                elif word == "DATA":
                    if not rcpts:
                        writer.write(b"554 5.5.1 no recipients\r\n")
                        continue
                    say("354 go on")
                    content = bytearray()
                    while (text := await reader.readline()) not in (b".\r\n", b""):
                        content += text
                    if text and say("250 2.0.0 stored", ".", rcpts[0]):
                        self.messages.append((mail, rcpts, bytes(content)))
                elif word == "QUIT":
                    say("221 2.0.0 bye")
                    await writer.drain()
                    break
                else:
                    say("250 2.0.0 ok", word, line)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        writer.close()


def unstuffed(wire):
    return b"".join(line[1:] if line.startswith(b".") else line for line in wire.splitlines(keepends=True))


def without_trace(content):
    """The message after the Received field that the relay put before it."""
    claim(content.startswith(b"Received: "), f"no trace field: {content[:200]!r}")
    lines = content.splitlines(keepends=True)
    rest = 1
    while lines[rest][:1] in (b" ", b"\t"):
        rest += 1
    return b"".join(lines[rest:])
