"""Rows with smtp-source and smtp-sink, beside the floor and other relays."""
import time

from measure.base import Table, median, ratio, row, stage, turns, watched
from measure.load import Sink, source

SETTLES_S = 1.0  # what is left to do for messages that have left counts too
WARM = 200


def relayed(server, sessions, size, count, keeps=False, holds=False):
    """One run: rates, and processor seconds for 1,000 messages of the relay (`cpu`) and of source and sink (`load_cpu`)."""
    with stage() as (world, relay, load):
        sink = Sink(world, load)
        one, run = server(world, relay, holds), {}
        holds = holds and server.key != "floor"
        sink.want(0 if holds else WARM)
        source(world, load, one.address, min(sessions, 20), WARM, size, keeps)
        if not holds:
            sink.wait()
        time.sleep(SETTLES_S)
        sink.want(count)
        with watched(run, relay, load):
            began = time.monotonic()
            source(world, load, one.address, sessions, count, size, keeps)
            accepted = time.monotonic()
            run["accepted"] = count / (accepted - began)
            if not holds:
                run["delivered"] = count / (sink.wait() - began)
            run["MiB"] = relay.memory() / (1 << 20)
            time.sleep(SETTLES_S)
        run["cpu"] *= 1000 / count
        run["load_cpu"] *= 1000 / count
        one.stop()
        return run


COLUMNS = ["1 KiB", "server", "accepted/s", "delivered/s", "of the floor", "times Postfix", "CPU s per 1,000", "of source and sink", "memory"]


def lines(table, words, servers, runs, figure):
    """A line for each server; ratios are of the runs of one round."""
    for server in servers:
        mine = runs[server.key]
        is_floor = server.key == "floor"
        beside = "floor" in runs and not is_floor
        table.lines.append([
            words, server.name, f"{median(mine, 'accepted'):,.0f}", f"{median(mine, 'delivered'):,.0f}" if "delivered" in mine[0] else "",
            ratio(runs, server.key, "floor", figure) if beside else "",
            ratio(runs, server.key, "postfix", figure) if "postfix" in runs and server.key not in ("postfix", "floor") else "",
            "" if is_floor else f"{median(mine, 'cpu'):.3f}",
            f"{median(mine, 'load_cpu'):.3f}" + ("" if is_floor else f" ({median(mine, 'cpu') / median(mine, 'load_cpu'):.2f})"),
            "" if is_floor else f"{median(mine, 'MiB'):.0f} MiB"])
    table.bars[words] = {server.name: median(runs[server.key], figure) for server in servers}


def compare(bench, sets, servers, figure="delivered", **options):
    """One table over several loads: (words, sessions, size, count)."""
    table = Table(["load", *COLUMNS[1:]])
    for words, sessions, size, count in sets:
        def measure(server, sessions=sessions, size=size, count=count):
            # A slow one gets fewer: it is the rate that counts.
            share = {"exim": 20, "opensmtpd": 8, "haraka": 8, "postfix": 3, "postfix-tuned": 3}.get(server.key, 1)
            return relayed(server, sessions, size, bench.count(count // share), **options)
        lines(table, words, servers, turns(bench, servers, measure, words), figure)
    return table


@row("end-to-end", "From source to sink: 1 KiB, 20 sessions, a connection for each message")
def end_to_end(bench):
    return compare(bench, [("1 KiB, 20 sessions", 20, 1024, 15_000)], bench.servers)


@row("end-to-end-100", "From source to sink: 1 KiB, 100 sessions, a connection for each message")
def end_to_end_100(bench):
    return compare(bench, [("1 KiB, 100 sessions", 100, 1024, 15_000)], bench.taking_part("ringpost", "floor", "postfix"))


@row("accept", "Acceptance alone, the destination down or deliveries held: 1 KiB")
def accept(bench):
    servers = bench.taking_part("ringpost", "floor", "postfix")
    sets = [("accept, 1 KiB, 20 sessions", 20, 1024, 20_000), ("accept, 1 KiB, 100 sessions", 100, 1024, 20_000)]
    return compare(bench, sets, servers, "accepted", holds=True)


@row("sizes", "Larger messages, 20 sessions, a connection for each message")
def sizes(bench):
    servers = bench.taking_part("ringpost", "floor", "postfix")
    return compare(bench, [("10 KiB", 20, 10 << 10, 10_000), ("100 KiB", 20, 100 << 10, 3_000)], servers)


@row("kept", "Connections kept for many messages (smtp-source -d), 1 KiB, 20 sessions")
def kept(bench):
    servers = bench.taking_part("ringpost", "floor", "postfix")
    return compare(bench, [("1 KiB, 20 sessions, kept", 20, 1024, 20_000)], servers, keeps=True)
