"""Three large providers: one hangs up on whoever sends too fast, one greylists, one refuses by policy.

Ringpost finds the rate of the first without a setting, slows down for nobody else, and tries again from where it was
greylisted. Prints what it found and what was true.
"""
import json
import subprocess
import threading
import time

from mailworld import BINARY, NET, RELAY, SMTP_PORT, World, claim, eventually
from scenarios.base import Peer, scenario

PER_MINUTE = 300
WINDOW_S = 6.0  # the throttling one counts such stretches: 30 in each
GREY_S = 8.0
LOOKS, LOOK_S = 8, 5.0
SOURCES = [f"{NET}.61", f"{NET}.62"]
ZONE = [f"{name} IN MX 10 mx.{name}\nmx.{name} IN A {NET}.{last}"
        for name, last in [("fast", 41), ("grey", 42), ("policy", 43), ("c", 44)]]


class Throttles:
    """So many transactions in each stretch of time; then 421 4.7.28, and it hangs up."""

    def __init__(self):
        self.lock, self.stretch, self.begun = threading.Lock(), 0, 0
        self.taken, self.refused = [], []

    def __call__(self, words, _line):
        if words != "MAIL":
            return None
        now = time.monotonic()
        with self.lock:
            if (stretch := int(now / WINDOW_S)) != self.stretch:
                self.stretch, self.begun = stretch, 0
            if self.begun >= PER_MINUTE * WINDOW_S / 60:
                self.refused.append(now)
                return "421 4.7.28 an unusual rate of mail from your address"
            self.begun += 1
            self.taken.append(now)
        return None


class Greylists:
    """A recipient is taken from a source that has named it before, so many seconds ago."""

    def __init__(self):
        self.seen, self.from_elsewhere, self.deferred = {}, [], 0

    def decide(self, words, line, source):
        if words != "RCPT":
            return None
        now, recipient = time.monotonic(), line.split(">")[0]
        if recipient not in self.seen:
            self.seen[recipient] = (now, source)
        first, where = self.seen[recipient]
        if where != source:
            self.from_elsewhere.append((recipient, where, source))
        if now >= first + GREY_S and where == source:
            return None
        self.deferred += 1
        return "450 4.7.1 Greylisted, please come back later"


def refuses(words, line):
    """A third of all recipients."""
    number = "".join(sign for sign in line if sign.isdigit())
    return "550 5.7.1 refused by policy" if words == "RCPT" and int(number or 0) % 3 == 0 else None


def hand_in(count, domain):
    done = subprocess.run(["smtp-source", "-d", "-N", "-s", "5", "-m", str(count), "-l", "400", "-f", "a@c.test",
                           "-t", f"b@{domain}.test", f"{RELAY}:{SMTP_PORT}"], capture_output=True, text=True, check=False)
    claim(done.returncode == 0, f"smtp-source: {done.stderr}")


def explain(world, domain):
    done = subprocess.run([BINARY, "explain", f"x@{domain}.test", "--json", "--config", world.config],
                          capture_output=True, text=True, check=False)
    claim(done.returncode == 0, f"explain: {done.stderr}")
    return json.loads(done.stdout)


def learned(world, domain):
    found = [limit["learned"] for limit in explain(world, domain)["limits"] if "learned" in limit]
    return found[0] if found else None


def per_minute(rate):
    count, unit = rate.split("/")
    return float(count) * {"s": 60, "m": 1, "h": 1 / 60}[unit]


@scenario()
def three_providers():
    fast, grey = Throttles(), Greylists()
    sources = "".join(f'[[source]]\nname = "s{n}"\naddress = ["{source}"]\n' for n, source in enumerate(SOURCES))
    pool = '[[pool]]\nname = "two"\nsources = ["s0", "s1"]\n'
    with World() as world, Peer(f"{NET}.41", decide=fast, hangs_up=True), Peer(f"{NET}.42", decide_from=grey.decide) as greylisted, \
            Peer(f"{NET}.43", decide=refuses) as strict, Peer(f"{NET}.44") as senders:
        world.start_dns(ZONE)
        world.start_relay(extra=sources + pool, delivery='tls = "none"\npool = "two"', tables={"queue": {"retry": ["10s"]}})
        for count, domain in [(900, "fast"), (40, "grey"), (60, "policy")]:
            hand_in(count, domain)
        eventually("the relay has learned a rate", lambda: learned(world, "fast"))
        found, began = [], time.monotonic()
        time.sleep(20)
        for _ in range(LOOKS):
            time.sleep(LOOK_S)
            told = learned(world, "fast")
            claim(told and "4.7.28" in told["reason"], f"what is learned: {told}")
            found.append(per_minute(told["rate"]))
        ended, since = time.monotonic(), began + 20
        taken = sum(since <= at for at in fast.taken) / (ended - since) * 60
        refused = sum(since <= at for at in fast.refused)
        print(f"  true {PER_MINUTE}/m; found {min(found):.0f} to {max(found):.0f}/m; taken {taken:.0f}/m, {refused} refused", flush=True)
        claim(0.5 * PER_MINUTE < min(found) and max(found) < 1.5 * PER_MINUTE, f"found {found}")
        claim(taken > 0.5 * PER_MINUTE, f"taken {taken:.0f}/m")
        claim(refused < 0.2 * sum(since <= at for at in fast.taken), f"{refused} refused")
        greylisted.wait_for(40)
        claim(not grey.from_elsewhere, f"tried again from another source: {grey.from_elsewhere[:3]}")
        print(f"  greylisted {grey.deferred} times, each tried again from the same source; no rate learned", flush=True)
        strict.wait_for(40)
        eventually("bounces of what was refused by policy", lambda: len(senders.messages) >= 20)
        for domain in ("grey", "policy"):
            claim(learned(world, domain) is None, f"{domain}: {learned(world, domain)}")
        print(f"  {len(strict.messages)} of 60 taken by the one with a policy, {len(senders.messages)} bounces; no rate learned", flush=True)
