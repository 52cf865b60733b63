"""Many destinations, and some that are sick."""
import time

from mailworld import RELAY, SMTP_PORT
from measure.base import Table, median, row, stage, turns, watched
from measure.load import TAKER_PORT, Takers, send

# The second octet of an address says how our server treats who connects: 80 well, 81 two seconds late, 82 closes, 83 silent;
# 84 well, but not counted with 80.
WELL, SICK, OTHERS = (80,), (81, 82, 83), (84,)


def zone(count, fifth=WELL):
    """d0.test to dN.test, each with a host of its own; one in five is as `fifth` says."""
    lines = []
    for number in range(count):
        health = fifth[number // 5 % len(fifth)] if number % 5 == 4 else 80
        lines += [f"d{number} IN MX 10 mx{number}", f"mx{number} IN A 127.{health}.{number // 250}.{1 + number % 250}"]
    return lines


class Spread:
    """One way to spread messages over destinations."""

    def __init__(self, key, name, domains, is_skewed=False, fifth=WELL):
        self.key, self.name, self.domains, self.is_skewed, self.fifth = key, name, domains, is_skewed, fifth
        self.healthy = 1.0 if fifth is WELL else 0.8

    def run(self, count):
        with stage() as (world, relay, load):
            world.start_dns(zone(self.domains, self.fifth))
            takers, run = Takers(world, load), {}
            process = world.start_relay(mx_port=TAKER_PORT, **relay.options())
            relay.leaders.append(process.pid)
            takers.want(int(count * self.healthy))
            options = {"skewed": True} if self.is_skewed else {}
            with watched(run, relay, load):
                began = time.monotonic()
                accepted = send(world, load, (RELAY, SMTP_PORT), count, method="data", depth=2, domains=self.domains, **options)
                run["accepted"] = accepted["rate"]
                run["delivered"] = int(count * self.healthy) / (takers.wait(30) - began)
                run["MiB"] = relay.memory() / (1 << 20)
            run["cpu"] *= 1000 / count
            run["load_cpu"] *= 1000 / count
            return run


SPREADS = [Spread("one", "one destination", 1), Spread("even", "1,000 evenly", 1000),
           Spread("skewed", "90 % to one, the rest over 10,000", 10_000, is_skewed=True),
           Spread("well", "the healthy 80 % of 1,000", 1000, fifth=OTHERS),
           Spread("sick", "the same, the other 20 % sick", 1000, fifth=SICK)]


@row("destinations", "Many destinations, MX looked up, 1 KiB; one in five dead or two seconds late")
def destinations(bench):
    count = bench.count(30_000)
    runs = turns(bench, SPREADS, lambda spread: spread.run(count))
    table = Table(["destinations", "accepted/s", "delivered/s", "CPU s per 1,000", "of client and server", "memory"])
    for spread in SPREADS:
        mine = runs[spread.key]
        table.lines.append([spread.name, f"{median(mine, 'accepted'):,.0f}", f"{median(mine, 'delivered'):,.0f}", f"{median(mine, 'cpu'):.3f}",
                            f"{median(mine, 'load_cpu'):.3f}", f"{median(mine, 'MiB'):.0f} MiB"])
    pairs = [sick["delivered"] / well["delivered"] for sick, well in zip(runs["sick"], runs["well"])]
    table.notes.append(f"In both of the last two as many messages are sent; what counts is when the healthy ones have theirs. Of the sick a third "
                       "answers everything two seconds late, a third closes at once, a third never says a word. "
                       f"The healthy ones' rate beside them, of the rate without: {', '.join(f'{pair:.2f}' for pair in pairs)}.")
    return table
