"""One session, one message at a time; and how long each stage takes inside the relay."""
import json
import re
import statistics
import time

from mailworld import claim
from measure.base import Table, row, say, stage, watched
from measure.load import Client, Sink, source
from measure.machine import syncs
from measure.servers import Ringpost

PERCENTILES = [("p50", 50), ("p90", 90), ("p99", 99), ("p99.9", 99.9), ("p99.99", 99.99)]
MILLISECONDS = 1000


def at(took, percent):
    return sorted(took)[min(len(took) - 1, int(len(took) * percent / 100))] * MILLISECONDS


def one_by_one(server, count, holds=False):
    """One session's waits for its 250s, how many it had a second, and what the disk itself took beside, in seconds."""
    with stage() as (world, relay, load):
        Sink(world, load)
        one = server(world, relay, holds)
        disk = syncs(world.home, size=1500)  # with the trace field and the envelope
        client = Client(one.address)
        for _ in range(50):
            client.sends(1024)
        began = time.perf_counter()
        took = [client.sends(1024) for _ in range(count)]
        rate = count / (time.perf_counter() - began)
        client.close()
        one.stop()
        return took, rate, disk


@row("one-session", "One session, one message at a time, 1 KiB: from the last octet to the 250")
def one_session(bench):
    servers = bench.taking_part("ringpost", "postfix", "floor")
    count, table = bench.count(4000), Table(["", "p50 ms", "p99 ms", "messages/s", "of the disk's own", "of Postfix's rate"])
    took, rates, disks = {server.key: [] for server in servers}, {server.key: [] for server in servers}, []
    for _ in range(bench.rounds):
        for server in servers:
            mine, rate, disk = one_by_one(server, count // (1 if server.key == "ringpost" else 4))
            took[server.key].append(mine)
            rates[server.key].append(rate)
            disks.append(disk)
            say(f"  {server.name:40} p50={at(mine, 50):.3f} ms  disk={disk * MILLISECONDS:.3f} ms  {rate:.0f}/s")
    disk = statistics.median(disks) * MILLISECONDS
    for server in servers:
        halves = statistics.median(at(one, 50) for one in took[server.key])
        rate = statistics.median(rates[server.key])
        table.lines.append([server.name, f"{halves:.2f}", f"{statistics.median(at(one, 99) for one in took[server.key]):.2f}", f"{rate:,.0f}",
                            "" if server.key == "floor" else f"{halves / disk:.2f}",
                            f"{rate / statistics.median(rates['postfix']):.2f}" if "postfix" in rates else ""])
    table.lines.append(["the disk's own write and fdatasync of 1.5 KiB, beside", f"{disk:.2f}", "", f"{1000 / disk:,.0f}", "", ""])
    return table


def percentiles(world, name):
    """What the relay's own histogram of a stage says, in its own unit: ms, or messages for the size of a batch."""
    status, text = world.fetch(f"/api/v1/latency?stage={name}&format=hgrm")
    claim(status == 200, f"{name}: {status} {text}")
    points = [(float(part) * 100, float(value)) for value, part in re.findall(r"^\s*([\d.]+)\s+([\d.]+)\s+\d+", text, re.M)]
    if not points:
        return None
    return [next((value for part, value in points if part >= wanted), points[-1][1]) for _, wanted in PERCENTILES]


SHOWN = ["accept_to_banner", "body_received", "commit_wait", "commit_disk", "queue_wait", "connect", "greeting_ehlo", "dot_to_reply",
         "accepted_to_delivered"]


@row("stages", "How long each stage takes inside the relay: 20 sessions, 1 KiB, a connection for each message")
def stages(bench):
    count, table = bench.count(40_000), Table(["stage", "times", *(f"{name} ms" for name, _ in PERCENTILES)])
    with stage() as (world, relay, load):
        sink = Sink(world, load)
        one, run = Ringpost(world, relay), {}
        sink.want(count)
        with watched(run, relay, load):
            source(world, load, one.address, 20, count, 1024)
            sink.wait()
        for known in json.loads(world.fetch("/api/v1/latency")[1])["stages"]:
            name, values = known["stage"], percentiles(world, known["stage"])
            if known["unit"] != "us" or not values:
                continue
            table.lines.append([name, f"{known['count']:,}", *(f"{value:.3f}" for value in values)])
            if name in SHOWN:
                table.curves[name] = [[place, value] for place, value in enumerate(values)]
        table.notes.append(f"Other programs used {run['others']:.0%} of a processor.")
        one.stop()
    return table
