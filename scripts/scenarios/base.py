"""What the scenarios share."""
import asyncio
import threading

from mailworld import Exchanger, eventually

SCENARIOS, QUICK = {}, set()
ZONE = ["c IN MX 10 mx0", "mx0 IN A 127.77.0.10", "d IN MX 10 mx1", "mx1 IN A 127.77.0.11",
        "sink IN MX 10 mx2", "mx2 IN A 127.77.0.12", "p IN MX 10 mx3", "mx3 IN A 127.77.0.20",
        "grey IN MX 10 mx4", "mx4 IN A 127.77.0.14"]
MESSAGE = (b"From: a@c.test\r\nTo: b@d.test\r\nSubject: interop\r\nDate: Mon, 23 Nov 2026 11:00:13 +0000\r\n"
           b"Message-ID: <interop@c.test>\r\n\r\n.dot\r\n..dots\r\nend\r\n")


def scenario(quick=False):
    def register(function):
        name = function.__name__
        SCENARIOS[name] = function
        if quick:
            QUICK.add(name)
        return function
    return register


class Peer:
    """An Exchanger in a thread of its own, so that blocking clients can be used beside it."""

    def __init__(self, host, **options):
        self.exchanger = Exchanger(host, **options)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.exchanger.__aenter__(), self.loop).result()
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self.exchanger.__aexit__(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)

    @property
    def messages(self):
        return self.exchanger.messages

    def wait_for(self, count, seconds=60.0):
        eventually(f"{count} messages at {self.exchanger.host}, there are {len(self.messages)}",
                   lambda: len(self.messages) >= count, seconds)
        return self.messages
