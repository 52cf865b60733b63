#!/usr/bin/env python3
"""Well-behaved clients, and the host that their mail goes to. Run by scripts/attack, in a process of its own.

    scripts/meter.py RELAY PORT CLIENT HOST PORT    prints when it takes mail; then, for each line on standard input, a line
                                                    of JSON with what happened since the line before
"""
import asyncio
import json
import os
import sys
import time

from mailworld import Exchanger

SESSIONS, EVERY = 4, 0.04  # 100 messages a second in all, whatever the relay does
PROBE = 0.1  # a new connection, that often


class Meter:
    def __init__(self, relay, client, domain):
        self.relay, self.client, self.domain = relay, client, domain
        self.sent, self.number, self.shares = {}, 0, 0
        self.begin()

    def begin(self):
        self.took = {"message": [], "connection": [], "delivery": []}
        self.refusals, self.errors = [], []

    def report(self):
        shares = {}
        for name, times in self.took.items():
            times.sort()
            if times:
                shares[name] = {"count": len(times), "p50": times[len(times) // 2], "p99": times[int(len(times) * 0.99)], "max": times[-1]}
        late = [time.monotonic() - begun for begun in self.sent.values()]
        return {"took": shares, "refusals": self.refusals[:5], "refused": len(self.refusals), "errors": self.errors[:5],
                "failed": len(self.errors), "waiting": len(late), "oldest": max(late, default=0.0)}

    async def connect(self):
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(*self.relay, local_addr=(self.client, 0)), 30)
        await self.reply(reader)
        await self.say(reader, writer, b"EHLO good.test\r\n")
        return reader, writer

    async def say(self, reader, writer, octets):
        writer.write(octets)
        return await self.reply(reader)

    async def reply(self, reader):
        while True:
            line = await asyncio.wait_for(reader.readline(), 30)
            if not line.endswith(b"\n"):
                raise ConnectionError("closed")
            if line[3:4] != b"-":
                break
        if line[:1] not in b"23":
            raise Refused(line.decode(errors="replace").strip())
        return line

    async def one(self, reader, writer):
        """One message in one pipelined batch and its content; timed from the first octet to the last reply."""
        self.number += 1
        name = f"m{self.number}"
        begun = time.monotonic()
        writer.write(f"MAIL FROM:<>\r\nRCPT TO:<u@{self.domain}>\r\nDATA\r\n".encode())
        for _ in range(3):
            await self.reply(reader)
        self.sent[name] = begun
        try:
            await self.say(reader, writer, f"Subject: {name}\r\n\r\n".encode() + b"x" * 1000 + b"\r\n.\r\n")
        except Refused:
            self.sent.pop(name, None)
            raise
        self.took["message"].append(time.monotonic() - begun)

    async def session(self, number):
        await asyncio.sleep(EVERY * number / SESSIONS)
        link = None
        due = time.monotonic()
        while True:
            try:
                link = link or await self.connect()
                await self.one(*link)
            except Refused as refusal:
                self.refusals.append(str(refusal))
                link = self.leave(link)
            except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
                self.errors.append(repr(error))
                link = self.leave(link)
                await asyncio.sleep(0.1)
            # By the clock and not by the last answer: a relay that stands still is measured, not waited for.
            due = max(due + EVERY, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def prober(self):
        while True:
            begun = time.monotonic()
            try:
                _, writer = await self.connect()
                self.took["connection"].append(time.monotonic() - begun)
                writer.write(b"QUIT\r\n")
                writer.close()
            except Refused as refusal:
                self.refusals.append(str(refusal))
            except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
                self.errors.append(repr(error))
            await asyncio.sleep(PROBE)

    def leave(self, link):
        if link:
            link[1].transport.abort()

    def arrived(self, content):
        name = content[content.index(b"Subject: ") + 9:].split(b"\r\n", 1)[0].decode()
        begun = self.sent.pop(name, None)
        if begun is not None:
            self.took["delivery"].append(time.monotonic() - begun)


class Refused(Exception):
    """A reply of 4xx or 5xx."""


class Host(Exchanger):
    """Tells the meter of each message, and keeps none."""

    def __init__(self, meter, *at):
        super().__init__(*at)
        self.messages = self
        self.meter = meter

    def append(self, message):
        self.meter.arrived(message[2])


async def main(relay, port, client, host, host_port):
    meter = Meter((relay, int(port)), client, "good.test")
    async with Host(meter, host, int(host_port)):
        tasks = [asyncio.create_task(meter.session(number)) for number in range(SESSIONS)]
        tasks.append(asyncio.create_task(meter.prober()))
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(meter.report()), flush=True)
            meter.begin()
        os._exit(0)  # nobody is left to tell what was under way


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
