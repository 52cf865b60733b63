"""What a message asks of the kernel: system calls, ring entries, context switches."""
import collections
import os
import pathlib
import re
import shutil
import time

from mailworld import MX_PORT, RELAY, SMTP_PORT
from measure.base import Table, row, stage
from measure.load import Sink, source
from measure.servers import NOBODY

TRACING = pathlib.Path("/sys/kernel/tracing")
LOADS = [("accepted and delivered, a connection each", False, False), ("accepted alone, a connection each", True, False),
         ("accepted and delivered, connections kept", False, True)]


class Entries:
    """Requests to the rings by kind, from the kernel's own tracepoint. Counts nothing where that may not be read."""

    def __init__(self, process):
        self.home, self.counts = TRACING / f"instances/ringpost-{os.getpid()}", collections.Counter()
        self.event = self.home / "events/io_uring/io_uring_submit_req/enable"
        try:
            self.home.mkdir()
            (self.home / "buffer_size_kb").write_text("16384")
            threads = " ".join(entry.name for entry in pathlib.Path(f"/proc/{process}/task").iterdir())
            (self.home / "set_event_pid").write_text(threads)
            self.event.write_text("1")
        except OSError:
            self.home = None

    def end(self):
        if self.home:
            self.event.write_text("0")
            self.counts.update(re.findall(r"opcode (\w+)", (self.home / "trace").read_text()))
            self.home.rmdir()
        return self.counts


def run(holds, keeps, count, under_strace):
    """System calls by name with strace; without it entries and context switches, which strace would change."""
    with stage() as (world, relay, load):
        sink = Sink(world, load)
        to = NOBODY if holds else sink.at[0]
        process = world.start_relay("", f'[[route]]\ndomain = "*"\nto = "smtp://{to}:{MX_PORT}"\n', **relay.options())
        relay.leaders.append(process.pid)

        def mail(messages):
            sink.want(0 if holds else messages)
            source(world, load, (RELAY, SMTP_PORT), 20, messages, 1024, keeps)
            if not holds:
                sink.wait()
            time.sleep(1)  # outcomes are written
        mail(400)
        if under_strace:
            tracer = world.start("strace", "-f", "-c", "-U", "name,calls", "-p", process.pid, "-o", world.home / "calls")
            time.sleep(2)
            mail(count)
            os.kill(tracer.pid, 2)
            tracer.wait()
            return {name: int(calls) / count for name, calls in re.findall(r"^(\w+)\s+(\d+)$", (world.home / "calls").read_text(), re.M) if name != "total"}
        entries, switches = Entries(process.pid), relay.switches()
        mail(count)
        switches = (relay.switches() - switches) / count
        return {name: calls / count for name, calls in entries.end().items()} | {"switches": switches}


def listed(figures, least=0.02):
    return ", ".join(f"{name.lower().removeprefix('io_uring_')} {value:.2f}" for name, value in sorted(figures.items(), key=lambda item: -item[1]) if value >= least)


@row("kernel", "System calls, ring entries and context switches for a message: 1 KiB, 20 sessions")
def kernel(bench):
    table = Table(["for each message", "system calls", "of them", "ring entries", "of them", "context switches"])
    count = bench.count(6000)
    for words, holds, keeps in LOADS:
        calls = run(holds, keeps, count, True) if shutil.which("strace") else {}
        entries = run(holds, keeps, count, False)
        switches = entries.pop("switches")
        table.lines.append([words, f"{sum(calls.values()):.1f}", listed(calls), f"{sum(entries.values()):.1f}", listed(entries), f"{switches:.1f}"])
    table.notes.append("System calls under strace, which slows the relay and so lets batches grow; the rest without it. An idle relay's own wake-ups are in it. "
                       "The difference of the first two lines is delivery.")
    return table
