"""What policies cost that every message passes: return paths, a source of one's own, a warm-up that has room for all."""
import datetime
import time

from mailworld import RELAY, SMTP_PORT
from measure.base import Table, median, ratio, row, stage, turns, watched
from measure.destinations import zone
from measure.load import TAKER_PORT, Takers, send

SOURCE = f'[[source]]\nname = "s"\naddress = ["{RELAY}"]\n'
POOL = '[[pool]]\nname = "p"\nsources = ["s"]\n'
MANY = 10_000_000  # a day


def plan():
    """All mail and that of one domain counted apart, as a plan for a large provider has it."""
    lines = "".join(f'[[warmup]]\nname = "w"\n{about}days = [{MANY}, {MANY}]\n' for about in ("", 'domain = "d0.test"\n'))
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return f'{SOURCE}warmup = "w"\nwarmup_from = {today}\n{lines}'


class Policy:
    """A configuration, and what the rows call it."""

    def __init__(self, key, name, extra="", delivery=""):
        self.key, self.name, self.extra, self.delivery = key, name, extra, delivery

    def run(self, count):
        with stage() as (world, relay, load):
            world.start_dns(zone(1))
            takers, run = Takers(world, load), {}
            process = world.start_relay(self.extra, delivery=f'tls = "none"\n{self.delivery}', mx_port=TAKER_PORT, **relay.options())
            relay.leaders.append(process.pid)
            takers.want(count)
            with watched(run, relay, load):
                began = time.monotonic()
                send(world, load, (RELAY, SMTP_PORT), count, method="data", depth=2, domains=1)
                run["delivered"] = count / (takers.wait(30) - began)
            run["cpu"] *= 1000 / count
            run["load_cpu"] *= 1000 / count
            return run


@row("policies", "Return paths, a source, and a warm-up that has room for all: 1 KiB to one destination")
def policies(bench):
    all_of_them = [Policy("usual", "none of them"), Policy("returns", "return paths", '[returns]\ndomain = "returns.test"\n'),
                   Policy("source", "a pool of one source", SOURCE + POOL, 'pool = "p"'),
                   Policy("warmup", "the same, on a warm-up of two lines", plan() + POOL, 'pool = "p"')]
    count = bench.count(30_000)
    runs = turns(bench, all_of_them, lambda one: one.run(count))
    table = Table(["policy", "delivered/s", "of none", "CPU s per 1,000", "of none"])
    for one in all_of_them:
        mine = runs[one.key]
        rate, cpu = (("", "") if one.key == "usual" else (ratio(runs, one.key, "usual", figure) for figure in ("delivered", "cpu")))
        table.lines.append([one.name, f"{median(mine, 'delivered'):,.0f}", rate, f"{median(mine, 'cpu'):.4f}", cpu])
    return table
