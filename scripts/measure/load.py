"""The load of the throughput rows: Postfix's smtp-source, and its smtp-sink with a count of what came."""
import os
import re
import socket
import subprocess
import threading
import time

from mailworld import MX_PORT, NET, Failure, claim, eventually, is_open

SINK = f"{NET}.10"
POLL_S = 0.005


class Sink:
    """smtp-sink, and how many messages it has: it writes its counters to a pipe, which a thread reads."""

    def __init__(self, world, group, host=SINK):
        self.count, self.changed, self.wanted, self.reached = 0, time.monotonic(), None, None
        read, write = os.pipe()
        self.process = world.start("smtp-sink", "-c", "-u", "nobody", f"{host}:{MX_PORT}", "4096", stdout=write,
                                   stderr=subprocess.DEVNULL, **group.options())
        group.leaders.append(self.process.pid)
        os.close(write)
        eventually("smtp-sink listens", lambda: is_open(host, MX_PORT))
        threading.Thread(target=self.read, args=(read,), daemon=True).start()

    def read(self, pipe):
        while octets := os.read(pipe, 1 << 16):
            counts = re.findall(rb"mesg=(\d+)", octets[-200:])
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
