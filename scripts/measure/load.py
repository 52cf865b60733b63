"""The loads: Postfix's smtp-source and smtp-sink, and our own client and server (benches/load), each with a count of what came."""
import functools
import json
import os
import re
import socket
import subprocess
import threading
import time

from mailworld import MX_PORT, NET, ROOT, Failure, claim, eventually, is_open

SINK = f"{NET}.10"
POLL_S = 0.005
# Our own server has all of 127.80.0.0/14 at one port: what a peer meets there depends on the address.
TAKER, TAKER_PORT = "127.80.0.1", 2625


class Sink:
    """smtp-sink, and how many messages it has: it writes its counters to a pipe, which a thread reads."""

    at, counter = (SINK, MX_PORT), rb"mesg=(\d+)"

    def command(self):
        return ["smtp-sink", "-c", "-u", "nobody", f"{SINK}:{MX_PORT}", "4096"]

    def __init__(self, world, group):
        self.count, self.changed, self.wanted, self.reached = 0, time.monotonic(), None, None
        read, write = os.pipe()
        self.process = world.start(*self.command(), stdout=write, stderr=subprocess.DEVNULL, **group.options())
        group.leaders.append(self.process.pid)
        os.close(write)
        eventually("the sink listens", lambda: is_open(*self.at))
        claim(self.process.poll() is None, f"another listens at {self.at}")
        threading.Thread(target=self.read, args=(read,), daemon=True).start()

    def read(self, pipe):
        while octets := os.read(pipe, 1 << 16):
            counts = re.findall(self.counter, octets[-200:])
            if counts and int(counts[-1]) != self.count:
                self.count, self.changed = int(counts[-1]), time.monotonic()
                if self.wanted is not None and self.reached is None and self.count >= self.wanted:
                    self.reached = self.changed
            time.sleep(POLL_S)  # it writes at every message; one look in a while is cheaper than each
        os.close(pipe)

    def want(self, more):
        self.wanted, self.reached = self.count + more, None

    def wait(self, stalls_after=20.0):
        """The moment at which all that was wanted was there."""
        began = time.monotonic()
        while self.reached is None:
            if time.monotonic() - max(self.changed, began) > stalls_after:
                raise Failure(f"{self.wanted - self.count} of the messages did not arrive")
            time.sleep(POLL_S)
        return self.reached


class Takers(Sink):
    """Our own server. It counts those apart that came to addresses where it answers late."""

    at, counter = (TAKER, TAKER_PORT), rb"(\d+) \d+\n"

    def command(self):
        return [tool(), "sink", f"0.0.0.0:{TAKER_PORT}"]


@functools.cache
def built(package):
    """The program of benches/`package`, built when a row first wants it, unless RINGPOST_LOAD, RINGPOST_BARE name the binary."""
    named = os.environ.get(f"RINGPOST_{package.upper()}")
    if named:
        return named
    subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", "--manifest-path", ROOT / f"benches/{package}/Cargo.toml",
                    "--target-dir", ROOT / "target"], check=True)
    return ROOT / f"target/release/ringpost-{package}"


def tool():
    """Our own client and server."""
    return built("load")


def send(world, group, to, count, **options):
    """Runs our own client to its end, and gives back what it prints. `rate=1000` is its --rate 1000."""
    words = [word for name, value in options.items() for word in ([f"--{name}"] if value is True else [f"--{name}", value])]
    with open(world.home / "send.log", "wb") as log:
        process = world.start(tool(), "send", f"{to[0]}:{to[1]}", "--count", count, *words, stdout=subprocess.PIPE, stderr=log, **group.options())
        group.leaders.append(process.pid)
        answer, _ = process.communicate()
    claim(process.returncode == 0, f"send: {(world.home / 'send.log').read_text()}")
    return json.loads(answer)


def source(world, group, to, sessions, count, size, keeps=False):
    """Runs smtp-source to its end. With `keeps` a connection serves many messages."""
    host, port = to
    with open(world.home / "source.log", "wb") as log:
        process = world.start("smtp-source", "-4", *(["-d"] if keeps else []), "-s", sessions, "-m", count, "-l", size, "-C", "20",
                              "-M", "source.test", "-f", "a@c.test", "-t", "b@d.test", f"inet:{host}:{port}", stderr=log, **group.options())
        group.leaders.append(process.pid)
        process.wait()
    claim(process.returncode == 0, f"smtp-source: {(world.home / 'source.log').read_text()}")


class Client:
    """One session that waits for every answer, as most programs do."""

    def __init__(self, to):
        self.socket = socket.create_connection(to, timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.answer("2")
        self.says("EHLO source.test")

    def answer(self, wanted):
        while (line := self.file.readline())[3:4] == b"-":
            pass
        claim(line[:1].decode() == wanted, f"answered {line!r}")

    def says(self, command, wanted="2"):
        self.socket.sendall(command.encode() + b"\r\n")
        self.answer(wanted)

    def sends(self, size):
        """One message. Seconds from its last octet to the 250."""
        self.says("MAIL FROM:<a@c.test>")
        self.says("RCPT TO:<b@d.test>")
        self.says("DATA", "3")
        content = b"Subject: bench\r\n\r\n" + (b"x" * 78 + b"\r\n") * (size // 80) + b".\r\n"
        began = time.perf_counter()
        self.socket.sendall(content)
        self.answer("2")
        return time.perf_counter() - began

    def close(self):
        self.says("QUIT")
        self.socket.close()
