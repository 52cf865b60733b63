"""How latency grows with the rate: our own client, which sends at a given rate whatever becomes of it."""

from measure.base import Table, row, say, stage, undisturbed, watched
from measure.load import TAKER, TAKER_PORT, Takers, send
from measure.machine import Beside
from measure.servers import Ringpost

SHARES = (0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
SECONDS = 4
SHOWN = ("p50", "p90", "p99", "p99.9", "max")
SOON_MS = 10.0  # a p99 beyond this is past the knee


class ToTakers(Ringpost):
    """Delivers to our own server."""

    to = f"{TAKER}:{TAKER_PORT}"


# The first files of a spool grow while they are written, which makes their syncs slower; later ones are used again.
AGED = 300_000


def most(bench, scene, method, depth):
    """The client's own most, into our server without a relay; the relay's most, and what that costs for 1,000."""
    world, relay, load, takers, one = scene
    count, run = bench.count(60_000), {}
    floor = send(world, load, takers.at, bench.count(200_000), method=method, depth=depth)["rate"]
    takers.want(count)
    with watched(run, relay, load):
        rate = send(world, load, one.address, count, method=method, depth=depth)["rate"]
        takers.wait()
    say(f"  {method}: floor {floor:,.0f}/s, most {rate:,.0f}/s")
    return floor, rate, {name: run[name] * 1000 / count for name in ("cpu", "load_cpu")}


def offer(scene, method, rate, count):
    """What becomes of latency at this rate."""
    world, relay, load, takers, one = scene
    came = {}
    takers.want(count)
    with Beside(world.home) as disk, watched(came, relay, load):
        came |= send(world, load, one.address, count, method=method, depth=64, rate=f"{rate:.0f}", warm=count // 10)
        came["left"] = max(0, takers.wanted - takers.count)
        takers.wait()
    came |= {name: came["since_due"][name] for name in SHOWN}
    return came | {"disk_p99": disk.percentile(99), "disk_max": disk.percentile(100), "stalled": len(came["stalls"])}


@row("knee", "Pipelined, at a given rate, over 20 connections that are kept, 1 KiB: from when a message was due to its 250")
def knee(bench):
    table = Table(["client", "offered/s", "accepted/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "stalls over 20 ms", "disk alone p99 ms", "max ms",
                   "queued at the end"])
    with stage() as (world, relay, load):
        takers = Takers(world, load)
        scene = world, relay, load, takers, ToTakers(world, relay)
        takers.want(bench.count(AGED))
        send(world, load, scene[-1].address, bench.count(AGED), depth=64)
        takers.wait()
        for method, depth, words in (("bdat", 4, "envelope and content in one"), ("data", 2, "content behind 354")):
            floor, rate, run = most(bench, scene, method, depth)
            points = []
            for offered in (rate * share for share in (SHARES[::4] if bench.is_quick else SHARES)):
                count = int(offered * (1 if bench.is_quick else SECONDS))
                points.append((offered, undisturbed(f"{method}, {offered:,.0f}/s", lambda: offer(scene, method, offered, count), 1 if bench.is_quick else 2)))
            name = method.upper()
            table.lines += [[name, f"{offered:,.0f}", f"{came['rate']:,.0f}", *(f"{came[part]:.2f}" for part in SHOWN),
                             came["stalled"], f"{came['disk_p99']:.1f}", f"{came['disk_max']:.1f}", f"{came['left']:,}"] for offered, came in points]
            for part in ("p50", "p99"):
                table.curves[f"{name} {part}"] = [[offered, came[part]] for offered, came in points]
            good = [offered for offered, came in points if came["p99"] <= SOON_MS and came["rate"] >= 0.97 * offered]
            table.notes.append(f"{name}, {words}: as fast as replies come {rate:,.0f}/s are accepted ({floor:,.0f}/s without the relay); the relay "
                               f"takes {run['cpu']:.3f} CPU seconds for 1,000 from source to sink, client and server {run['load_cpu']:.3f}. "
                               f"The knee: p99 stays within {SOON_MS:.0f} ms up to {max(good, default=0):,.0f}/s.")
        scene[-1].stop()
    return table
