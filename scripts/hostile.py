"""Peers that do what no program should: what scripts/attack lets loose on a relay.

Each is a coroutine that goes on until it is cancelled. Clients come from many addresses, because one
may have [smtp] max_connections_per_client connections only.
"""
import asyncio
import contextlib
import itertools
import os
import random
import socket
import ssl
import struct
import subprocess

from mailworld import CONTROL_PORT, NET, RELAY, SMTP_PORT

EHLO, MAIL, RCPT, DATA = b"EHLO bad.test\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<u@good.test>\r\n", b"DATA\r\n"
STATES = [[], [EHLO], [EHLO, MAIL], [EHLO, MAIL, RCPT], [EHLO, MAIL, RCPT, DATA],
          [EHLO, MAIL, RCPT, DATA, b"Subject: half\r\n\r\nhalf a li"], [EHLO, MAIL, RCPT, DATA, b"Subject: dot\r\n\r\n.\r\n"]]
ADDRESSES = [f"{NET}.{last}" for last in range(30, 250)]
addresses = itertools.cycle(ADDRESSES)


async def dial(address=None):
    return await asyncio.open_connection(RELAY, SMTP_PORT, local_addr=(address or next(addresses), 0))


async def read_on(reader):
    """Reads until the end, and forgets it."""
    while await reader.read(1 << 16):
        pass


async def crowd(count, one, pause=0.0):
    """`count` at a time; who is thrown out comes again, but not at once."""
    async def again(number):
        while True:
            try:
                await one(number)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass
            await asyncio.sleep(pause + 0.2)
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(again(number))
            if number % 200 == 199:
                await asyncio.sleep(0.02)


def forget(writer):
    """Closes with a reset."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def slow_senders():
    """An octet every half second, in commands and in content."""
    async def one(number):
        reader, writer = await dial()
        eaten = asyncio.create_task(read_on(reader))
        try:
            whole = b"".join(STATES[5]) if number % 2 else b"EHLO " + b"a" * 400
            at = len(b"".join(STATES[4])) if number % 2 else 0
            writer.write(whole[:at])
            for octet in whole[at:] + b"x" * 1000:
                writer.write(bytes([octet]))
                await writer.drain()
                await asyncio.sleep(0.5)
        finally:
            eaten.cancel()
            writer.close()
    await crowd(500, one)


async def slow_readers(pause=0.05):
    """Commands by the thousand, and not one reply is read."""
    async def one(_):
        reader, writer = await dial()
        writer.transport.set_write_buffer_limits(1 << 16)
        reader._transport.pause_reading()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while True:
            writer.write(EHLO * 500)
            await writer.drain()
            await asyncio.sleep(pause)
    await crowd(200, one)


async def greedy():
    """The same without a pause, by programs that are not nice."""
    await slow_readers(0)


async def half_open():
    """Silence, at every state of a session."""
    async def one(number):
        reader, writer = await dial()
        for part in STATES[number % len(STATES)]:
            writer.write(part)
        await read_on(reader)
        writer.close()
    await crowd(1000, one)


async def resets():
    """A reset, at every state of a session, a thousand times a second."""
    async def one(number):
        _, writer = await dial()
        for part in STATES[(number + random.randrange(7)) % len(STATES)]:
            writer.write(part)
        await asyncio.sleep(random.uniform(0, 0.02))
        forget(writer)
    await crowd(200, one)


async def idle(count=20_000):
    """As many as the relay takes at all, who have said EHLO and nothing since."""
    async def one(_):
        reader, writer = await dial()
        writer.write(EHLO)
        await read_on(reader)
        writer.close()
        await asyncio.sleep(2)  # there is no room: it was said
    await crowd(count, one)


async def flood():
    """One address that connects as often as it can."""
    async def one(_):
        reader, writer = await dial(ADDRESSES[0])
        await reader.read(100)
        forget(writer)
    await crowd(300, one, -0.2)


async def garbage():
    """Octets by chance, without end and without a look at the replies."""
    octets = os.urandom(1 << 16)

    async def one(_):
        reader, writer = await dial()
        eaten = asyncio.create_task(read_on(reader))
        try:
            while not eaten.done():
                writer.write(octets)
                await writer.drain()
        finally:
            eaten.cancel()
            forget(writer)
    await crowd(100, one)


async def endless_lines():
    """A line that does not end: a command, a header field, a line of the body."""
    async def one(number):
        reader, writer = await dial()
        eaten = asyncio.create_task(read_on(reader))
        try:
            writer.write([b"", b"".join(STATES[4]) + b"Subject: ", b"".join(STATES[4]) + b"Subject: x\r\n\r\n"][number % 3])
            for _ in range(1 << 10):
                if eaten.done():
                    break
                writer.write(b"x" * (1 << 14))
                await writer.drain()
                await asyncio.sleep(0.01)
        finally:
            eaten.cancel()
            forget(writer)
    await crowd(100, one)


async def pipelined():
    """Whole transactions by the hundred in one piece, refused at RCPT every time."""
    piece = EHLO + (MAIL + b"RCPT TO:<u@nowhere.invalid.>\r\nRSET\r\n") * 300

    async def one(_):
        reader, writer = await dial()
        eaten = asyncio.create_task(read_on(reader))
        try:
            while not eaten.done():
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.05)
        finally:
            eaten.cancel()
            forget(writer)
    await crowd(100, one)


# -- TLS --------------------------------------------------------------------------------------------

def hello():
    """What opens a handshake."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


async def at_starttls(address=None):
    """A connection on which a handshake is awaited."""
    reader, writer = await dial(address)
    writer.write(EHLO + b"STARTTLS\r\n")
    while not (await reader.readuntil(b"\r\n")).startswith(b"220 2"):
        pass
    return reader, writer


async def half_handshakes():
    """A part of a handshake's first message, and silence."""
    first = hello()

    async def one(number):
        reader, writer = await at_starttls()
        writer.write(first[:1 + number * 7 % (len(first) - 1)])
        await read_on(reader)
        writer.close()
    await crowd(1000, one)


async def hellos():
    """Handshakes that are left when the server has done its part."""
    first = hello()

    async def one(_):
        reader, writer = await at_starttls()
        writer.write(first)
        await reader.read(1 << 14)
        forget(writer)
    await crowd(200, one, -0.2)


async def keys_anew():
    """New keys, TLS 1.3 (KeyUpdate, an answer wanted) and TLS 1.2 (renegotiation), as often as it goes."""
    async def one(number):
        version, word = ("-tls1_3", b"K\n") if number % 2 else ("-tls1_2", b"R\n")
        client = subprocess.Popen(["openssl", "s_client", "-connect", f"{RELAY}:{SMTP_PORT}", "-starttls", "smtp", version],
                                  stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.set_blocking(client.stdin.fileno(), False)
        try:
            while client.poll() is None:
                with contextlib.suppress(BlockingIOError):
                    os.write(client.stdin.fileno(), word * 100)
                await asyncio.sleep(0.05)
        finally:
            client.kill()
            client.wait()
    await crowd(20, one)


# -- the control plane ------------------------------------------------------------------------------

async def slow_requests():
    """As many requests as the control plane takes at a time, an octet every second of each."""
    async def one(_):
        _, writer = await asyncio.open_connection(RELAY, CONTROL_PORT)
        writer.write(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(1)
    await crowd(64, one)


# -- hosts ------------------------------------------------------------------------------------------

async def hosts(at, serve):
    """A host that serves each connection so."""
    async def session(reader, writer):
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.transport.abort()
    server = await asyncio.start_server(session, *at, backlog=512)
    async with server:
        await server.serve_forever()


async def endless_reply(reader, writer):
    """A reply with one line more, always."""
    writer.write(b"220 bad.test\r\n")
    await reader.readline()
    while True:
        writer.write(b"250-there is more\r\n" * 1000)
        await writer.drain()


async def endless_reply_line(reader, writer):
    """A greeting that does not end."""
    while True:
        writer.write(b"220-" + b"x" * (1 << 16))
        await writer.drain()


async def answers_before_asked(reader, writer):
    """Everything a host ever says, at once and before anything."""
    writer.write(b"220 bad.test\r\n" + b"250-bad.test\r\n250 PIPELINING\r\n" + b"250 ok\r\n" * 50 + b"354 go\r\n" + b"250 ok\r\n" * 50)
    await writer.drain()
    await read_on(reader)


async def out_of_step(reader, writer):
    """Replies to other commands than those that were given, and one too many each time."""
    writer.write(b"220 bad.test\r\n")
    replies = itertools.cycle([b"354 go on\r\n", b"250-bad.test\r\n250 PIPELINING\r\n", b"221 bye\r\n250 and ok\r\n", b"250 ok\r\n", b"nonsense\r\n", b"999 what\r\n"])
    while await reader.readline():
        writer.write(next(replies))
        await writer.drain()


async def slow_replies(reader, writer):
    """A letter every half second."""
    for letter in b"220 bad.test is here, and has all the time that there is\r\n" * 100:
        writer.write(bytes([letter]))
        await writer.drain()
        await asyncio.sleep(0.5)


async def silent(reader, writer):
    """Takes the connection and says nothing."""
    await read_on(reader)


CLIENTS = {act.__name__: act for act in (slow_senders, slow_readers, greedy, half_open, resets, idle, flood, garbage, endless_lines, pipelined,
                                           half_handshakes, hellos, keys_anew, slow_requests)}
HOSTS = {act.__name__: act for act in (endless_reply, endless_reply_line, answers_before_asked, out_of_step, slow_replies, silent)}
