"""The life of a process: the next program, a clock that jumps, a profile that refuses io_uring."""
import ctypes
import email.utils
import glob
import itertools
import os
import re
import socket
import struct
import subprocess
import threading
import time

from mailworld import BINARY, RELAY, SMTP_PORT, Failure, Skipped, World, claim, eventually
from scenarios.base import Peer, ZONE, scenario

FAKETIME = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), None)


def send_one(subject):
    """A message over a connection of its own; the last code. Refused or hung up on without a word, it raises."""
    with socket.create_connection((RELAY, SMTP_PORT), timeout=60) as wire, wire.makefile("rb") as replies:
        for words in (b"", b"EHLO c.test\r\n", b"MAIL FROM:<a@c.test>\r\n", b"RCPT TO:<b@d.test>\r\n", b"DATA\r\n",
                      f"Subject: {subject}\r\n\r\nhello\r\n.\r\n".encode()):
            try:
                wire.sendall(words)
            except OSError:
                pass  # what is said to one who has said 421 does not arrive
            line = b"   -"
            while line[3:4] == b"-":
                line = replies.readline()
                claim(line, f"{subject}: hung up on after {words[:20]}")
            code = int(line[:3])
            if code >= 400:
                break
        return code


class Senders:
    """Four clients that send until they are told to stop."""

    def __init__(self):
        self.going, self.sent, self.postponed, self.refused = True, [], 0, []
        self.threads = [threading.Thread(target=self.run, args=(me,)) for me in range(4)]
        for thread in self.threads:
            thread.start()

    def run(self, me):
        for n in itertools.count():
            if not self.going:
                return
            try:
                code = send_one(f"m{me}-{n}")
                if code == 250:
                    self.sent.append(f"m{me}-{n}")
                elif code == 421:
                    self.postponed += 1
                else:
                    self.refused.append(f"m{me}-{n}: {code}")
            except (OSError, Failure) as error:
                self.refused.append(f"m{me}-{n}: {error!r}")

    def end(self):
        self.going = False
        for thread in self.threads:
            thread.join()


@scenario(quick=True)
def takeover_under_load():
    """Connections that come while one program gives way to the next wait, and none is refused."""
    with World() as world, Peer("127.77.0.11") as peer:
        world.start_dns(ZONE)
        world.start_relay()

        def flows():
            before = len(peer.messages)
            eventually("mail flows", lambda: len(peer.messages) > before + 50)
        senders = Senders()
        try:
            for _ in range(3):
                flows()
                following = world.start(BINARY, "serve", "--take-over", "--config", world.config, log="relay.log")
                claim(world.relay.wait(30) == 0, "the old one did not end well")
                world.relay = following
            flows()
        finally:
            senders.end()
        claim(not senders.refused, f"refused: {senders.refused[:5]}")
        world.wait_until_empty()
        subjects = [re.search(rb"Subject: (\S+)", wire).group(1).decode() for _, _, wire in peer.messages]
        lost = set(senders.sent) - set(subjects)
        claim(not lost, f"{len(lost)} of {len(senders.sent)} lost")
        claim(len(subjects) == len(set(subjects)), "some arrived twice")


@scenario()
def clock_jumps():
    """The calendar is set forward a day and back two: mail goes on at its pace, and nothing expires."""
    if not FAKETIME:
        raise Skipped("libfaketime is not installed")
    with World() as world, Peer("127.77.0.11") as peer:
        world.start_dns(ZONE)
        # Below the data directory: the relay reads nothing else.
        clock = world.home / "data/clock"
        clock.parent.mkdir(mode=0o700)
        clock.write_text("+0")
        environment = os.environ | {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
                                    "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        world.start_relay(env=environment)
        sent = 0
        for days in (0, 1, -1, 0):
            clock.write_text(f"{days:+}d")
            for n in range(20):
                claim(send_one(f"{days}-{n}") == 250, "mail is not taken")
            sent += 20
            wire = peer.wait_for(sent)[-1][2].decode()
            stamp = email.utils.parsedate_to_datetime(re.search(r";\s*(\w{3}, [^\r]+)", wire).group(1))
            off = stamp.timestamp() - time.time() - days * 86400
            claim(abs(off) < 60, f"the relay did not see the clock jump by {days} days: {stamp}")
        world.wait_until_empty()
        claim("status=expired" not in world.log() and "status=bounced" not in world.log(), "the jump made mail fail")
        claim(len(peer.messages) == sent, f"{len(peer.messages)} copies of {sent}")


def refuse_io_uring(errno):
    """Has the kernel refuse the three calls of io_uring to the calling process, as a container's profile does."""
    libc = ctypes.CDLL(None, use_errno=True)
    load, equal, give = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
    program = [(load, 0, 0, 0), (equal, 3, 0, 425), (equal, 2, 0, 426), (equal, 1, 0, 427), (give, 0, 0, 0x7FFF0000), (give, 0, 0, 0x00050000 | errno)]
    octets = b"".join(struct.pack("HBBI", *step) for step in program)
    steps = ctypes.create_string_buffer(octets)
    filter_ = ctypes.create_string_buffer(struct.pack("H6xP", len(program), ctypes.addressof(steps)))
    claim(libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter_, 0, 0) == 0, "no filter can be set")


@scenario(quick=True)
def io_uring_refused():
    """Whether a profile says EPERM or claims that there is no such call, the relay says what to change, and ends with 71."""
    with World() as world:
        config = world.home / "ringpost.toml"
        config.write_text(f'data_dir = "{world.home}/data"\n[[listener]]\nprotocol = "smtp"\nbind = ["{RELAY}:{SMTP_PORT}"]\n[control]\nbind = "none"\n')
        for errno in (1, 38):
            done = subprocess.run([BINARY, "serve", "--config", config], capture_output=True, text=True, check=False, timeout=30,
                                  preexec_fn=lambda errno=errno: refuse_io_uring(errno))
            claim(done.returncode == 71, f"errno {errno}: it ended with {done.returncode}: {done.stderr}")
            for word in ("seccomp", "io_uring_setup", "io_uring_enter", "io_uring_register"):
                claim(word in done.stderr, f"errno {errno}: {word} is not in: {done.stderr}")
