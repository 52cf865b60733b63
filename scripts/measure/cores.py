"""One core against two, TLS against plain."""
import json
import os
import subprocess

from mailworld import BINARY, NET, RELAY, SMTP_PORT, claim, eventually, is_open
from measure.base import Table, median, ratio, row, stage, turns, watched
from measure.knee import ToTakers
from measure.load import Takers, send

FIRST, FIRST_CONTROL = f"{NET}.3", 8026


class OneCore(ToTakers):
    key, name, settings, shards = "one", "1 core", "[runtime]\ncores = 1", 1


class AllCores(ToTakers):
    key, name, settings, shards = "all", f"{os.cpu_count()} cores", '[runtime]\ncores = "all"', os.cpu_count()


class Pinned(ToTakers):
    key, name, settings, shards = "pinned", f"{os.cpu_count()} cores, each shard on one of them", '[runtime]\npin = "always"', os.cpu_count()


EACH = 6000  # messages a second of a shard: two carry that here, with the load beside them


def kept(server, count, yields=False, **options):
    """Our own client, which leaves more of the machine to the relay; with `yields`, all that the relay wants."""
    with stage(load_yields=yields) as (world, relay, load):
        takers = Takers(world, load)
        one, run = server(world, relay), {}
        takers.want(count)
        with watched(run, relay, load):
            run["accepted"] = send(world, load, one.address, count, method="data", **options)["rate"]
            takers.wait()
        run["cpu"] *= 1000 / count
        run["load_cpu"] *= 1000 / count
        one.stop()
        return run


@row("cores", "One core against all, 1 KiB, connections kept: what a message costs, wherever it is handled")
def cores(bench):
    count = bench.count(60_000)
    servers = [OneCore, AllCores, Pinned]
    table = Table(["", "load", "accepted/s", "CPU s per 1,000", "of that on one core", "of client and server", "a core to itself would carry"])
    ways = [("as fast as replies come", lambda server: kept(server, count, depth=2)),
            ("the same, where the relay leaves a core idle", lambda server: kept(server, count, yields=True, depth=2)),
            (f"{EACH:,}/s for each shard", lambda server: kept(server, EACH * server.shards * 4, depth=64, rate=EACH * server.shards))]
    for load, measure in ways:
        runs = turns(bench, servers, measure, load)
        for server in servers:
            mine = runs[server.key]
            table.lines.append([server.name, load, f"{median(mine, 'accepted'):,.0f}", f"{median(mine, 'cpu'):.3f}", ratio(runs, server.key, "one", "cpu"),
                                f"{median(mine, 'load_cpu'):.3f}", f"{1000 / median(mine, 'cpu'):,.0f}/s"])
    table.notes.append("A load that runs where the relay leaves a core idle (SCHED_IDLE) takes no core from a shard that has work.")
    return table


class Pair:
    """Two relays in a row, so that one speaks TLS as a client and the other as a server; both count."""

    def __init__(self, key, name, tls, messages):
        self.key, self.name, self.tls, self.messages = key, name, tls, messages

    def run(self, count):
        with stage() as (world, relay, load):
            takers, run = Takers(world, load), {}
            second = world.start_relay("", f'[[route]]\ndomain = "*"\nto = "smtp://{ToTakers.to}"\n', **relay.options())
            config = world.home / "first.toml"
            config.write_text(f"""
hostname = "first.test"
data_dir = "{world.home}/first"
[[route]]
domain = "*"
to = "smtp://{RELAY}:{SMTP_PORT}"
[[listener]]
protocol = "smtp"
bind = ["{FIRST}:{SMTP_PORT}"]
[delivery]
tls = "{self.tls}"
messages_per_connection = {self.messages}
[control]
bind = "{FIRST}:{FIRST_CONTROL}"
""")
            first = world.start(BINARY, "serve", "--config", config, log="first.log", **relay.options())
            relay.leaders += [first.pid, second.pid]
            eventually("the first relay listens", lambda: is_open(FIRST, SMTP_PORT))
            for part, size in ((1, count // 5), (0, count)):  # the first part makes sessions that the second resumes
                takers.want(size)
                with watched(run, relay, load):
                    came = send(world, load, (FIRST, SMTP_PORT), size, method="data", depth=2)
                    takers.wait()
                claim(came["refused"] == 0, f"{came['refused']} refused")
            run["accepted"] = came["rate"]
            run["cpu"] *= 1000 / count
            run["load_cpu"] *= 1000 / count
            answer = subprocess.run([BINARY, "latency", "--json", "--config", config], capture_output=True, text=True, check=True)
            handshakes = sum(row["count"] for row in json.loads(answer.stdout)["stages"] if row["stage"] == "tls")
            claim((handshakes > 0) == (self.tls != "none"), f"tls = {self.tls}: {handshakes} handshakes")
            run["handshakes"] = handshakes
            return run


PAIRS = [Pair("plain", "plain, connections reused", "none", 100), Pair("tls", "TLS, connections reused", "required", 100),
         Pair("plain-1", "plain, a connection each", "none", 1), Pair("tls-1", "TLS, a connection each, resumed", "required", 1)]


@row("tls", "TLS both ways: two relays in a row, the first as client and the second as server, 1 KiB")
def tls(bench):
    count = bench.count(20_000)
    runs = turns(bench, PAIRS, lambda pair: pair.run(count))
    table = Table(["between the two", "accepted/s", "CPU s per 1,000, both relays", "of plain"])
    for pair in PAIRS:
        mine, plain = runs[pair.key], runs["plain" + pair.key[len(pair.key.rstrip("-1")):]]
        table.lines.append([pair.name, f"{median(mine, 'accepted'):,.0f}", f"{median(mine, 'cpu'):.3f}", f"{median(mine, 'cpu') / median(plain, 'cpu'):.2f}"])
    return table
