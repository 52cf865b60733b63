"""What the rows share: who registers as a row, turns, tables, and runs that others have not disturbed."""
import contextlib
import dataclasses
import statistics
import sys
import time

from mailworld import World
from measure.machine import Group, busy

ROWS = {}
OTHERS_MAX = 0.25  # of one processor, before a run is done again
ATTEMPTS = 3


@dataclasses.dataclass
class Table:
    """What a row gives to results.md; `bars` and `lines` are for the plots."""

    columns: list
    lines: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)
    bars: dict = dataclasses.field(default_factory=dict)  # what: {server: a second}
    curves: dict = dataclasses.field(default_factory=dict)  # name: [(x, y)]


@dataclasses.dataclass
class Bench:
    """Options of this run."""

    rounds: int
    is_quick: bool
    servers: list

    def count(self, usual):
        return max(200, usual // 20) if self.is_quick else usual

    def taking_part(self, *keys):
        return [server for server in self.servers if server.key in keys]


def row(key, title):
    def register(function):
        ROWS[key] = (title, function)
        return function
    return register


def say(words):
    print(words, file=sys.stderr, flush=True)


@contextlib.contextmanager
def stage(load_yields=False):
    """A world, the relay's group in it, and the load's."""
    relay, load = Group(), Group(load_yields)
    try:
        with World() as world:
            yield world, relay, load
    finally:
        relay.close()
        load.close()


@contextlib.contextmanager
def watched(run, relay, load):
    """Fills in what the lines within cost: `cpu` and `load_cpu` in seconds, and what `others` used of a processor."""
    began, relays, loads, all_of_it = time.monotonic(), relay.cpu(), load.cpu(), busy()
    yield
    elapsed = time.monotonic() - began
    run["cpu"], run["load_cpu"] = relay.cpu() - relays, load.cpu() - loads
    run["others"] = max(0.0, busy() - all_of_it - run["cpu"] - run["load_cpu"]) / elapsed


def undisturbed(words, measure, attempts=ATTEMPTS):
    """Runs `measure` again while other programs took much of the machine."""
    for attempt in range(attempts):
        run = measure()
        figures = "  ".join(f"{name}={value:.4g}" for name, value in run.items() if isinstance(value, (int, float)))
        say(f"  {words:40} {figures}")
        if run["others"] <= OTHERS_MAX:
            break
        say(f"  other programs used {run['others']:.0%} of a processor: " + ("again" if attempt + 1 < attempts else "kept"))
    return run


def turns(bench, servers, measure, words=""):
    """A B A B: each round measures every server once. {key: [run, ...]}."""
    runs = {server.key: [] for server in servers}
    for _ in range(bench.rounds):
        for server in servers:
            runs[server.key].append(undisturbed(f"{words} {server.name}", lambda server=server: measure(server), 1 if bench.is_quick else ATTEMPTS))
    return runs


def median(runs, figure):
    return statistics.median(run[figure] for run in runs)


def ratio(runs, ours, theirs, figure):
    """The median of the pairs' ratios, and the pairs."""
    pairs = [one[figure] / other[figure] for one, other in zip(runs[ours], runs[theirs])]
    return f"{statistics.median(pairs):.2f} ({', '.join(f'{pair:.2f}' for pair in pairs)})" if len(pairs) > 1 else f"{pairs[0]:.2f}"
