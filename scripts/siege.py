"""A relay under siege: what the cases of scripts/attack share."""
import asyncio
import contextlib
import http.client
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
import time

import hostile
from mailworld import CONTROL_PORT, MX_PORT, NET, RELAY, ROOT, SMTP_PORT, World, claim, eventually

MIB = 1 << 20
# What a relay has beside its budget: program, shards, queue, caches; and what a connection costs that waits.
BESIDE, EACH = 96 * MIB, 40 << 10
GOOD, HOST, BAD = f"{NET}.2", f"{NET}.10", f"{NET}.11"
FILES = 50_000


class Watch:
    """The largest resident size of a process, looked at ten times a second."""

    def __init__(self, pid):
        self.pid, self.peak, self.over = pid, 0, threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while not self.over.wait(0.1):
            self.peak = max(self.peak, resident(self.pid))

    def end(self):
        self.over.set()
        self.thread.join()
        return self.peak


def resident(pid):
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


class Meter:
    """scripts/meter.py: well-behaved clients in a process of their own."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, ROOT / "scripts/meter.py", RELAY, str(SMTP_PORT), GOOD, HOST, str(MX_PORT)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        claim(self.process.stdout.readline() == "ready\n", "the meter runs")

    def over(self, seconds):
        """What happened in the seconds from now on."""
        self.ask()
        time.sleep(seconds)
        return self.ask()

    def ask(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def open_files():
    """How many a process may have open; as many as can be had."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, FILES), max(hard, FILES)))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def loose(attack, niceness):
    """Runs in a process of its own until it is ended."""
    os.nice(niceness)
    asyncio.run(attack())


@contextlib.contextmanager
def attackers(*attacks, niceness=19):
    crowd = [multiprocessing.get_context("fork").Process(target=loose, args=(attack, niceness), daemon=True) for attack in attacks]
    for one in crowd:
        one.start()
    try:
        yield crowd
    finally:
        for one in crowd:
            one.kill()
            one.join()


@contextlib.contextmanager
def relay(extra="", files=FILES, prepare=lambda world: None):
    """A relay that may have so many files open, and well-behaved clients of it."""
    with World() as world:
        prepare(world)
        world.start_dns(["good IN MX 10 mx", f"mx IN A {HOST}", "bad IN MX 10 mxbad", f"mxbad IN A {BAD}"])
        # The relay raises its own limit as far as it may: the hard one counts.
        files = min(files, open_files())
        world.start_relay(f'[queue]\nretry = ["2s"]\n{extra}',
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)))
        meter = Meter()
        try:
            yield world, meter
        finally:
            meter.end()
        claim("panicked" not in world.log(), "a panic in the log")


def connected(world, count):
    """Waits until the relay has so many connections, and one second more."""
    eventually(f"{count} connections", lambda: len(os.listdir(f"/proc/{world.relay.pid}/fd")) >= count, 120)
    time.sleep(1)


def p99(report, what):
    took = report["took"].get(what)
    return f"{took['p99'] * 1000:.1f}" if took else "-"


def row(name, before, during, peak, remark=""):
    cells = [name]
    for what in ("message", "connection", "delivery"):
        cells.append(f"{p99(before, what)} / {p99(during, what)}")
    print("| " + " | ".join([*cells, f"{peak / MIB:.0f}", remark]) + " |", flush=True)


def is_unharmed(name, report):
    """Nobody who behaves was refused, thrown out, or had to wait long."""
    claim(not report["refused"], f"{name}: well-behaved clients were refused: {report['refusals']}")
    claim(not report["failed"], f"{name}: well-behaved clients were thrown out: {report['errors']}")
    claim(report["took"].get("message", {"count": 0})["count"] > 0, f"{name}: no message got through")
    claim(report["oldest"] < 5, f"{name}: a message has waited for {report['oldest']:.1f} s at its host's door")


def goes_on(name, meter):
    """All that was answered arrives, and service is what it was."""
    meter.ask()

    def arrived():
        report = meter.over(1)
        return report if report["oldest"] < 1 and not report["refused"] and not report["failed"] else None
    return eventually(f"{name}: everything is as before", arrived, 60)


def control_wait():
    """How long the control plane lets an operator wait."""
    began = time.monotonic()
    plane = http.client.HTTPConnection(RELAY, CONTROL_PORT, timeout=60)
    plane.request("GET", "/healthz")
    claim(plane.getresponse().status == 200, "the control plane answers")
    took = time.monotonic() - began
    claim(took < 15, f"the control plane answered after {took:.0f} s")
    return took


def attacked(name, attack, seconds, connections=0):
    """One attack on a relay as it is by default; it begins when there are so many connections."""
    if attack is hostile.idle:
        # A quarter of the files is not for clients, and well-behaved ones want some of the rest.
        count = min(20_000, open_files() * 3 // 4 - 500)
        return attacked(f"{name} ({count} connections)", lambda: hostile.idle(count), seconds, count)
    with relay() as (world, meter):
        time.sleep(1)
        before = meter.over(seconds / 2)
        watch = Watch(world.relay.pid)
        # Many who then wait spend no time, and are to be there soon.
        with attackers(attack, niceness=0 if connections or attack is hostile.greedy else 19):
            connected(world, connections)
            during = meter.over(seconds)
            remark = f"the control plane answers after {control_wait():.1f} s" if attack is hostile.slow_requests else ""
        row(name, before, during, watch.end(), remark)
        is_unharmed(name, before)
        is_unharmed(name, during)
        claim(watch.peak < BESIDE + 20_000 * EACH, f"{name}: {watch.peak / MIB:.0f} MiB")
        goes_on(name, meter)


def at_hosts(name, serve, seconds):
    """Mail for a host that misbehaves, beside mail for one that does not."""
    with relay() as (world, meter):
        time.sleep(1)
        before = meter.over(seconds / 2)
        watch = Watch(world.relay.pid)
        with attackers(lambda: hostile.hosts((BAD, MX_PORT), serve)):
            sent = subprocess.run(["smtp-source", "-d", "-s", "10", "-m", "500", "-f", "", "-t", "u@bad.test", f"{RELAY}:{SMTP_PORT}"],
                                  capture_output=True, text=True, check=False)
            claim(sent.returncode == 0, f"smtp-source: {sent.stderr}")
            during = meter.over(seconds)
            # Nobody has taken it: not one message for the bad host may count as delivered, unless it was said so.
            waiting = [entry for entry in world.queue() if "bad.test" in json.dumps(entry)]
        row(name, before, during, watch.end(), f"{len(waiting)} of 500 still wait for the bad host")
        is_unharmed(name, before)
        is_unharmed(name, during)
        claim(watch.peak < BESIDE + 128 * MIB, f"{name}: {watch.peak / MIB:.0f} MiB")
        goes_on(name, meter)


