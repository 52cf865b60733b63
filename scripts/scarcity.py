"""Limits reached under load, for scripts/attack: descriptors, memory, disk."""
import asyncio
import os
import smtplib

import subprocess
import threading
import time

import hostile
from mailworld import RELAY, SMTP_PORT, Skipped, claim, eventually
from scenarios.base import Peer
from siege import BAD, BESIDE, EACH, MIB, Watch, attackers, connected, goes_on, relay, row

CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def are_told(name, report, code, words):
    """Whoever is refused hears why."""
    wrong = [reply for reply in report["refusals"] if not reply.startswith(code)]
    claim(not wrong, f"{name}: refused with {wrong}")
    return f"{report['refused']} times {code} {words}"


@case
def few_descriptors(seconds):
    """192 places for clients, and a thousand who want one."""
    with relay(files=256) as (world, meter):
        time.sleep(1)
        before = meter.over(seconds / 2)
        watch = Watch(world.relay.pid)
        with attackers(hostile.half_open):
            time.sleep(1)
            during = meter.over(seconds)
        remark = are_told("few_descriptors", during, "421", "to those who come")
        row("few_descriptors", before, during, watch.end(), remark)
        # Those who are in stay in, and their mail goes out.
        claim(during["took"]["message"]["count"] >= before["took"]["message"]["count"], "those who were in went on")
        claim(during["oldest"] < 5, f"a message has waited for {during['oldest']:.1f} s")
        claim(during["refused"], "nobody was refused: the limit was not reached")
        goes_on("few_descriptors", meter)


@case
def half_messages(seconds):
    """10,000 connections, each with half a message, and a budget that is smaller than all of them."""
    half, count = 100 << 10, 10_000

    async def attack():
        async def one(_):
            reader, writer = await hostile.dial()
            writer.write(b"".join(hostile.STATES[4]))
            while not (line := await reader.readuntil(b"\r\n")).startswith((b"354", b"4", b"5")):
                pass
            if line.startswith(b"354"):  # who hears 452 stays all the same, and says nothing
                writer.write(b"Subject: half\r\n\r\n" + (b"x" * 510 + b"\r\n") * (half // 512))
            await hostile.read_on(reader)
            writer.close()
        await hostile.crowd(count, one)

    budget = 64 * MIB
    with relay('[runtime]\nmemory = "64MiB"\n') as (world, meter):
        time.sleep(1)
        before = meter.over(seconds / 2)
        watch = Watch(world.relay.pid)
        with attackers(attack, niceness=0):
            connected(world, count)
            during = meter.over(seconds)
        remark = are_told("half_messages", during, "4", "to new mail")
        row("half_messages", before, during, watch.end(), f"budget 64 MiB; {remark}")
        bound = budget + BESIDE + count * EACH
        claim(watch.peak < bound, f"{watch.peak / MIB:.0f} MiB, more than {bound / MIB:.0f}")
        goes_on("half_messages", meter)


@case
def largest_messages(seconds):
    """40 messages of 50 MiB at once, four fifths of each, again and again."""
    async def attack():
        async def one(_):
            reader, writer = await hostile.dial()
            eaten = asyncio.create_task(hostile.read_on(reader))
            try:
                writer.write(b"".join(hostile.STATES[4]))
                piece = (b"x" * 998 + b"\r\n") * 64
                for _ in range(640):
                    writer.write(piece)
                    await writer.drain()
            finally:
                eaten.cancel()
                hostile.forget(writer)
        await hostile.crowd(40, one)

    with relay('[runtime]\nmemory = "64MiB"\n') as (world, meter):
        time.sleep(1)
        before = meter.over(seconds / 2)
        watch = Watch(world.relay.pid)
        with attackers(attack):
            time.sleep(1)
            during = meter.over(seconds)
        remark = are_told("largest_messages", during, "4", "to new mail")
        row("largest_messages", before, during, watch.end(), f"budget 64 MiB; {remark}")
        bound = 64 * MIB + BESIDE
        claim(watch.peak < bound, f"{watch.peak / MIB:.0f} MiB, more than {bound / MIB:.0f}")
        goes_on("largest_messages", meter)


class Submitter:
    """Sends messages for a host that is away, until there is no room; what was answered is remembered."""

    def __init__(self):
        self.answered, self.refused, self.over = set(), [], threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        number = 0
        while not self.over.is_set():
            try:
                with smtplib.SMTP(RELAY, SMTP_PORT, timeout=30) as client:
                    while not self.over.is_set():
                        number += 1
                        subject = f"large{number}"
                        client.sendmail("a@c.test", ["u@bad.test"], f"Subject: {subject}\r\n\r\n" + ("y" * 70 + "\r\n") * 2000)
                        self.answered.add(subject)
            except smtplib.SMTPResponseException as refusal:
                self.refused.append(f"{refusal.smtp_code} {refusal.smtp_error.decode()}")
            except smtplib.SMTPRecipientsRefused as refusal:
                self.refused += [f"{code} {words.decode()}" for code, words in refusal.recipients.values()]
            except (OSError, smtplib.SMTPServerDisconnected):
                pass
            self.over.wait(0.2)

    def end(self):
        self.over.set()
        self.thread.join()


def mount(world):
    """A disk of 64 MiB for the data."""
    data = world.home / "data"
    data.mkdir(mode=0o700)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", data], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Skipped(f"no disk can be mounted: {done.stderr.strip()}")


@case
def full_disk(seconds):
    """The queue fills the disk; then somebody else's file does; each time the room comes back."""
    if os.geteuid() != 0:
        raise Skipped("only root mounts a disk")
    disk = []

    def prepare(world):
        mount(world)
        disk.append(world.home / "data")
    try:
        with relay('[spool]\nsegment = "4MiB"\n', prepare=prepare) as (world, meter):
            filled(seconds, world, meter)
    finally:
        for data in disk:
            subprocess.run(["umount", "-l", data], check=False)


def filled(seconds, world, meter):
    time.sleep(1)
    before = meter.over(seconds / 2)
    watch, submitter = Watch(world.relay.pid), Submitter()
    submitter.thread.start()
    eventually("the queue has filled the disk", lambda: submitter.refused, 60)
    during = meter.over(seconds / 2)
    remark = are_told("full_disk", {**during, "refusals": during["refusals"] + submitter.refused}, "452 4.3.1", "to new mail")
    # Deliveries go on: the host comes back, and takes what has waited.
    with Peer(BAD) as bad:
        submitter.end()
        eventually("what has waited is delivered", lambda: len(bad.messages) >= len(submitter.answered), 120)
        goes_on("full_disk", meter)
        # A full disk that the relay can do nothing about.
        foreign = world.home / "data" / "foreign"
        with open(foreign, "wb", buffering=0) as file:
            try:
                while file.write(b"z" * (1 << 16)) == 1 << 16:
                    pass
            except OSError:
                pass
        second = meter.over(seconds / 2)
        foreign.unlink()
        goes_on("full_disk", meter)
        arrived = {content[content.index(b"Subject: ") + 9:].split(b"\r\n", 1)[0].decode() for _, _, content in bad.messages}
    row("full_disk", before, during, watch.end(), f"{remark}, then {second['refused']}; {len(submitter.answered)} answered, {len(submitter.answered - arrived)} lost")
    claim(not submitter.answered - arrived, f"lost: {sorted(submitter.answered - arrived)[:5]}")
