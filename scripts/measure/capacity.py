"""What waits and what idles: a million messages, 20,000 connections."""
import resource
import socket
import time

from mailworld import RELAY, SMTP_PORT, stop
from measure.base import Table, row, say, stage
from measure.destinations import zone
from measure.load import TAKER_PORT, send

BATCHES = 10
DOMAINS = 1000
IDLE = 20_000
REMEMBERED = 100_000
SETTLE_S = 5  # the allocator gives back what it does not need


@row("waiting", "A million messages waiting, 1 KiB, for 1,000 destinations that are all down")
def waiting(bench):
    batch = bench.count(100_000)
    table = Table(["waiting", "accepted/s", "p99 ms", "memory", "octets for each"])
    with stage() as (world, relay, load):
        world.start_dns(zone(DOMAINS))

        def start():
            process = world.start_relay(mx_port=TAKER_PORT, **relay.options())  # nobody listens there
            relay.leaders.append(process.pid)
            return process

        def line(words, waits, rate="", p99=""):
            memory = relay.memory()
            table.lines.append([words, rate, p99, f"{memory / (1 << 20):.0f} MiB", f"{(memory - before) / waits:.0f}"])
            say("  " + "  ".join(table.lines[-1]))
        process = start()
        # Buffers, connections and a lane for each destination are there before the counting begins.
        send(world, load, (RELAY, SMTP_PORT), 4 * DOMAINS, domains=DOMAINS)
        before, waits, rates = relay.memory(), 0, []
        for _ in range(BATCHES):
            came = send(world, load, (RELAY, SMTP_PORT), batch, domains=DOMAINS)
            waits += batch
            rates.append(came["rate"])
            line(f"{waits:,}", waits, f"{came['rate']:,.0f}", f"{came['since_sent']['p99']:.1f}")
        began = time.monotonic()
        stop(process, seconds=30)
        stopped = time.monotonic()
        start()
        ready = time.monotonic() - stopped
        time.sleep(10)  # the allocator gives back what the reading took
        line("10 s after a restart", waits)
        table.notes.append(f"Stopped in {stopped - began:.1f} s, ready again in {ready:.1f} s. The last two tenths were accepted at "
                           f"{sum(rates[-2:]) / sum(rates[:2]):.2f} of the rate of the first two.")
    return table


def more_descriptors(wanted):
    """Of this process and those that it starts: at most as many as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), max(hard, wanted)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def converse(connections, says):
    """Everybody says it, then everybody hears the answer."""
    for one in connections:
        one.sendall(says)
    for one in connections:
        answer = one.recv(4096)
        if answer[:1] not in b"23":
            raise ConnectionError(answer)


@row("idle", "20,000 idle connections")
def idle(bench):
    # The relay keeps a quarter of its descriptors for other things than clients.
    count = min(bench.count(IDLE), more_descriptors(IDLE * 3 // 2) * 3 // 4 - 500)
    table = Table([f"{count:,} connections", "memory", "octets for each"])
    with stage() as (world, relay, load):
        process = world.start_relay("", '[[route]]\ndomain = "*"\nto = "discard"\n', **relay.options())
        relay.leaders.append(process.pid)
        # What it remembers of messages for `ringpost trace` is no connection's, and is at its bound by then.
        send(world, load, (RELAY, SMTP_PORT), bench.count(REMEMBERED))
        time.sleep(SETTLE_S)
        before, connections = relay.memory(), []

        def line(words):
            time.sleep(SETTLE_S)
            memory = relay.memory()
            table.lines.append([words, f"{memory / (1 << 20):.0f} MiB", f"{(memory - before) / count:,.0f}"])
            say("  " + "  ".join(table.lines[-1]))
        try:
            began = time.monotonic()
            for number in range(count):
                connections.append(socket.create_connection((RELAY, SMTP_PORT), timeout=60, source_address=(f"127.90.0.{1 + number % 8}", 0)))
            converse(connections, b"")
            table.notes.append(f"Made in {time.monotonic() - began:.1f} s.")
            line("greeted")
            converse(connections, b"EHLO idle.test\r\n")
            line("after EHLO")
            envelope = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\nBDAT 1024 LAST\r\n" + b"Subject: x\r\n\r\n" + b"x" * 1008 + b"\r\n"
            for one in connections:
                one.sendall(envelope)
                heard = b""
                while heard.count(b"\n") < 3:
                    heard += one.recv(4096)
            line("after a message of 1 KiB each")
        finally:
            for one in connections:
                one.close()
    return table
