"""How latency grows with the rate: our own client, which sends at a given rate whatever becomes of it."""

from measure.base import Table, row, say, stage, watched
from measure.load import TAKER, TAKER_PORT, Takers, send
from measure.servers import Ringpost

SHARES = (0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
SECONDS = 4
SOON_MS = 10.0  # a p99 beyond this is past the knee


class ToTakers(Ringpost):
    """Delivers to our own server."""

    to = f"{TAKER}:{TAKER_PORT}"


def client(bench, method, depth):
    """The client's own most, into our server without a relay; the relay's most; then what each share of that does to latency."""
    with stage() as (world, relay, load):
        takers = Takers(world, load)
        floor = send(world, load, takers.at, bench.count(200_000), method=method, depth=depth)
        one, points = ToTakers(world, relay), []
        count, run = bench.count(60_000), {}
        takers.want(count)
        with watched(run, relay, load):
            most = send(world, load, one.address, count, method=method, depth=depth)
            takers.wait()
        run = {name: value * 1000 / count for name, value in run.items() if name != "others"}
        say(f"  {method}: floor {floor['rate']:,.0f}/s, most {most['rate']:,.0f}/s")
        for share in SHARES[::4] if bench.is_quick else SHARES:
            rate = most["rate"] * share
            count = int(rate * (1 if bench.is_quick else SECONDS))
            takers.want(count)
            came = send(world, load, one.address, count, method=method, depth=64, rate=f"{rate:.0f}", warm=count // 10)
            left = takers.wanted - takers.count
            takers.wait()
            points.append((rate, came, left))
            say(f"  {method}: {rate:8,.0f}/s offered, {came['rate']:8,.0f}/s, p50 {came['since_due']['p50']:.2f} ms, p99 {came['since_due']['p99']:.2f} ms, {left} queued")
        one.stop()
        return floor, most, run, points


@row("knee", "Pipelined, at a given rate, over 20 connections that are kept, 1 KiB: from when a message was due to its 250")
def knee(bench):
    table = Table(["client", "offered/s", "accepted/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "queued at the end"])
    for method, depth, words in (("bdat", 4, "envelope and content in one (BDAT)"), ("data", 2, "content behind 354 (DATA)")):
        floor, most, run, points = client(bench, method, depth)
        for rate, came, left in points:
            since = came["since_due"]
            table.lines.append([method.upper(), f"{rate:,.0f}", f"{came['rate']:,.0f}", *(f"{since[name]:.2f}" for name in ("p50", "p90", "p99", "p99.9", "max")), f"{left:,}"])
        for name in ("p50", "p99"):
            table.curves[f"{method.upper()} {name}"] = [[rate, came["since_due"][name]] for rate, came, _ in points]
        good = [rate for rate, came, _ in points if came["since_due"]["p99"] <= SOON_MS and came["rate"] >= 0.97 * rate]
        table.notes.append(f"{method.upper()}, {words}: as fast as replies come {most['rate']:,.0f}/s are accepted ({floor['rate']:,.0f}/s without the relay); the relay "
                           f"takes {run['cpu']:.3f} CPU seconds for 1,000 from source to sink, client and server {run['load_cpu']:.3f}. "
                           f"The knee: p99 stays within {SOON_MS:.0f} ms up to {max(good, default=0):,.0f}/s.")
    return table
