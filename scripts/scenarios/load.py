"""smtp-source into the relay, smtp-sink behind it."""
import collections
import re
import subprocess
import sys

from mailworld import MX_PORT, RELAY, SMTP_PORT, World, claim, eventually, is_open
from scenarios.base import ZONE, scenario


def source(to, sessions, count, size, *more):
    done = subprocess.run(["smtp-source", "-N", "-s", str(sessions), "-m", str(count), "-l", str(size), *more,
                           "-f", "a@c.test", "-t", "b@sink.test", to], capture_output=True, text=True, check=False)
    claim(done.returncode == 0, f"smtp-source: {done.stderr.strip()}")


def sink(world, host, dump):
    world.home.chmod(0o777)  # smtp-sink gives up root before it writes
    process = world.start("smtp-sink", "-u", "nobody", "-D", world.home / dump, f"{host}:{MX_PORT}", "1024", log="sink.log")
    eventually("smtp-sink listens", lambda: is_open(host, MX_PORT))
    return process


def dumped(path):
    """Recipient and body of each message in a dump of smtp-sink. It writes LF line ends."""
    for part in re.split(rb"^X-Client-Addr: ", path.read_bytes(), flags=re.M)[1:]:
        head, _, body = part.partition(b"\n\n")
        yield re.search(rb"^X-Rcpt-Args: <(.*)>$", head, re.M)[1], body


def through_the_relay(sessions, count, size, *more):
    with World() as world:
        world.start_dns(ZONE)
        sink(world, "127.77.0.12", "relayed")
        sink(world, "127.77.0.13", "direct")
        source(f"127.77.0.13:{MX_PORT}", 1, 1, size)
        world.start_relay()
        source(f"{RELAY}:{SMTP_PORT}", sessions, count, size, *more)
        world.wait_until_empty(600)
        ((_, wanted),) = dumped(world.home / "direct")
        seen = collections.Counter()
        for rcpt, body in dumped(world.home / "relayed"):
            seen[rcpt] += 1
            claim(body == wanted, f"the body for {rcpt!r} differs: {len(body)} octets, {len(wanted)} were sent")
        claim(len(seen) == count, f"{len(seen)} of {count} messages arrived")
        claim(set(seen.values()) == {1}, f"copies: {[item for item in seen.items() if item[1] > 1][:5]}")


FEW = 10 if "smoke" in sys.argv else 1  # the smoke run sends a tenth


@scenario(quick=True)
def smtp_source_20_sessions_1k_a_connection_each():
    through_the_relay(20, 10_000 // FEW, 1024)


@scenario(quick=True)
def smtp_source_20_sessions_1k_many_for_a_connection():
    through_the_relay(20, 10_000 // FEW, 1024, "-d")


@scenario()
def smtp_source_20_sessions_100k():
    through_the_relay(20, 1_000, 100 * 1024)


@scenario()
def smtp_source_5_sessions_10m():
    through_the_relay(5, 20, 10 * 1024 * 1024)
