"""Every queue command on many messages, with clients handing in more of them meanwhile.

QUEUE_MESSAGES says how many (100,000, a smoke run 2,000). Prints what each command took, and what clients waited for
their 250 while nothing was ordered and while commands ran; benches/README.md has these figures.
"""
import json
import os
import socket
import subprocess
import sys
import threading
import time

from mailworld import BINARY, RELAY, SMTP_PORT, World, claim
from scenarios.base import Peer, scenario

MESSAGES = int(os.environ.get("QUEUE_MESSAGES", 2_000 if "smoke" in sys.argv else 100_000))
LANES = 10
ZONE = [f"d{n} IN MX 10 {'later' if n == 0 else 'dead'}" for n in range(LANES)] + [
    "later IN A 127.77.0.31", "dead IN A 127.77.0.32", "c IN MX 10 sink", "sink IN A 127.77.0.33"]
# For a person to wait for; the promise is for an optimised binary.
PROMPT_S = 1.0 if MESSAGES > 10_000 else 5.0


def fill(count):
    """`count` messages in LANES lanes of as many senders, a tenth of them for a host that says "later"."""
    loads = [subprocess.Popen(["smtp-source", "-d", "-s", "10", "-m", str(count // LANES), "-l", "800", "-f", f"s{n}@c.test",
                               "-t", f"b{n}@d{n}.test", f"{RELAY}:{SMTP_PORT}"], stderr=subprocess.PIPE) for n in range(LANES)]
    for load in loads:
        _, said = load.communicate()
        claim(load.returncode == 0, f"smtp-source: {said}")


def near(found, wanted):
    """Those of the client beside pass through at any moment."""
    return wanted <= found <= wanted + 5


class Beside:
    """A client that hands in a message every 5 ms, and knows how long each waited for its 250."""

    def __enter__(self):
        self.waits, self.ends = [], threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.thread.join()

    def run(self):
        with socket.create_connection((RELAY, SMTP_PORT)) as link:
            lines = link.makefile("rb")

            def say(words):
                link.sendall(words)
                while (line := lines.readline())[3:4] == b"-":
                    pass
                claim(line[:1] in b"23", f"{words[:20]}: {line}")
            lines.readline()
            say(b"EHLO c.test\r\n")
            while not self.ends.wait(0.005):
                for words in (b"MAIL FROM:<a@c.test>\r\n", b"RCPT TO:<b@void.test>\r\n", b"DATA\r\n"):
                    say(words)
                began = time.perf_counter()
                say(b"Subject: beside\r\n\r\n" + b"x" * 900 + b"\r\n.\r\n")
                self.waits.append(1e3 * (time.perf_counter() - began))

    def told(self):
        waits = sorted(self.waits)
        at = [waits[min(len(waits) - 1, int(len(waits) * part))] for part in (.5, .99)]
        return f"{len(waits)} messages, 250 after p50 {at[0]:.1f} ms, p99 {at[1]:.1f} ms, max {waits[-1]:.1f} ms"


class Operator:
    """Runs `ringpost queue`, and prints how long each command took."""

    def __init__(self, world):
        self.world, self.prompt = world, {}

    def ask(self, *words, prompt=False):
        began = time.perf_counter()
        done = subprocess.run([BINARY, "queue", *words, "--config", self.world.config], capture_output=True, text=True, check=False)
        took = time.perf_counter() - began
        claim(done.returncode == 0, f"queue {' '.join(words)}: {done.stderr}")
        print(f"  {took:7.3f} s  queue {' '.join(words)}", flush=True)
        if prompt:
            self.prompt.setdefault(" ".join(words), []).append(took)
        return done.stdout

    def was_prompt(self):
        """The machine may be busy once, and not half of the time."""
        for words, took in self.prompt.items():
            usual = sorted(took)[len(took) // 2]
            claim(usual <= PROMPT_S, f"queue {words} usually takes {usual:.2f} s")

    def order(self, *words):
        """How many messages an order reached."""
        return json.loads(self.ask(*words, "--json"))["messages"]

    def count(self, *words):
        return self.order("hold", *words, "--dry-run")


def look(operator, count):
    """What only looks, and has to answer a person at once."""
    each = count // LANES
    listed = json.loads(operator.ask("list", "--json", prompt=True))
    claim(len(listed) == min(1000, count), f"{len(listed)} are listed")
    ages = [entry["accepted"] for entry in listed]
    claim(ages == sorted(ages), "the oldest come first")
    most = min(1000, each)
    for words, least in ((("--state", "ready"), 1), (("--state", "waiting", "--destination", "d0.test"), most), (("--destination", "d3.test"), most),
                         (("--older-than", "1s"), min(1000, count)), (("--reply", "REFUSED", "--destination", "d4.test"), most)):
        found = json.loads(operator.ask("list", *words, "--json", prompt=True))
        claim(least <= len(found) <= 1000, f"{words}: {len(found)}")
    for words, least in ((("--from", "s5@c.test"), most), (("--to", "b6@d6.test"), most), (("--domain", "D7.test"), most), (("--to", "nobody@d6.test"), 0)):
        found = json.loads(operator.ask("list", *words, "--json", prompt=True))
        claim(len(found) == least, f"{words}: {len(found)}, not {least}")
    ages = json.loads(operator.ask("shape", "--json", prompt=True))
    claim(sum(sum(row["ages"]) for row in ages) >= count, f"{ages}")
    rows = operator.ask("shape", "--by-state", prompt=True).splitlines()
    claim(all(any(row.startswith(f"d{n}.test ") for row in rows) for n in range(LANES)), f"a line for each destination: {rows}")
    operator.ask("show", listed[0]["id"])


def search(operator, count):
    """What reads the envelopes that it means, or all of them."""
    each = count // LANES
    for words in (("--from", "s5@c.test"), ("--to", "b6@d6.test"), ("--domain", "d7.test"), ("--smaller-than", "10KiB")):
        reached = operator.count(*words)
        claim(near(reached, count if words[0] == "--smaller-than" else each), f"{words}: {reached}")


def steer(operator, count):
    """Every order, on a tenth of the queue."""
    each = count // LANES
    claim(operator.order("hold", "--destination", "d1.test", "--reason", "by the scenario") == each, "held")
    claim(operator.count("--state", "held") == each, "what is held is found")
    claim(operator.order("release", "--state", "held") == each, "released")
    claim(operator.order("retry", "--destination", "d0.test") == each, "retried")
    claim(operator.order("remove", "--from", "s2@c.test") == each, "removed")
    claim(near(operator.count("--all"), count - each), "what is removed is not there")
    claim(operator.order("undo") == each and near(operator.count("--all"), count), "and put back")
    claim(operator.order("remove", "--destination", "d9.test", "--for-good") == each, "removed for good")
    claim(operator.order("bounce", "--destination", "d3.test", "--older-than", "1s") == each, "bounced")


def on_many(count):
    reports = []
    with World() as world, Peer("127.77.0.31", decide=lambda word, _: "451 4.3.0 later, please" if word == "RCPT" else None), \
            Peer("127.77.0.33", decide=lambda word, line: reports.append(line) if word == "RCPT" else None):
        world.start_dns(ZONE)
        world.start_relay(routes='[[route]]\ndomain = "void.test"\nto = "discard"\n',
                          tables={"queue": {"retry": ["6h"], "delay_notice": "1d", "reports_per_sender": 1_000_000}})
        fill(count)
        operator = Operator(world)
        deadline = time.monotonic() + 120
        while operator.count("--state", "waiting", "--destination", "d0.test") < count // LANES:
            claim(time.monotonic() < deadline, "the first attempts never end")
            time.sleep(1)
        def beside(name, work):
            with Beside() as client:
                work()
            print(f"  {name}: {client.told()}", flush=True)

        beside("nothing ordered", lambda: time.sleep(3))
        beside("lists and shapes", lambda: [look(operator, count) for _ in range(5)])
        beside("searches", lambda: search(operator, count))
        beside("orders", lambda: steer(operator, count))
        operator.was_prompt()
        record = (world.home / "data/audit.jsonl").read_text().splitlines()
        claim(len(record) == 14, f"{len(record)} lines in the record of changes")
        claim("ringpost_accounting_difference 0" in world.fetch("/metrics")[1], "the accounts balance")
        claim(len(reports) > 0, "nobody was told of what bounced")


@scenario(quick=True)
def queue_commands_on_many_messages():
    on_many(MESSAGES)
