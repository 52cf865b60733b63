"""Mailboxes under attack, without descriptors, and full."""
import os
import poplib
import resource
import socket
import time

from mailworld import RELAY, World, claim, eventually
from scenarios.base import scenario
from scenarios.imap import IMAP_PORT, PASSWORD, USER, Reader
from scenarios.pop3 import POP3_PORT
from scenarios.talk import Talk

POP3 = f'[[listener]]\nprotocol = "pop3"\nbind = ["{RELAY}:{POP3_PORT}"]\n'
ATTACKER = RELAY.rsplit(".", 1)[0] + ".66"
PROMPT_S = 5.0  # generous: other work may share the machine


def ann():
    return Talk(RELAY, IMAP_PORT, USER, PASSWORD, timeout=30)


def pop3():
    client = poplib.POP3(RELAY, POP3_PORT, timeout=30)
    client.user(USER)
    client.pass_(PASSWORD)
    return client


def attackers(count, says=(b"",)):
    """Connections that say one of these and then nothing more. One that is refused stays away."""
    crowd = []
    for number in range(count):
        one = socket.socket()
        one.settimeout(5)
        # From elsewhere, and not as ann: failed logins shut out their client and their user for a while.
        one.bind((ATTACKER, 0))
        try:
            one.connect((RELAY, POP3_PORT if number % 2 else IMAP_PORT))
            one.sendall(says[number // 2 % len(says)])
        except OSError:
            pass
        crowd.append(one)
    return crowd


def promptly(words, act):
    began = time.monotonic()
    found = act()
    took = time.monotonic() - began
    claim(took < PROMPT_S, f"{words} took {took:.1f} s")
    return found


def serve_a_day(words):
    """What a client wants of IMAP and POP3."""
    with ann() as talk:
        claim(talk.command("SELECT INBOX").ok, f"{words}: SELECT")
        claim(talk.fetch(1, "BODY.PEEK[]").get("BODY[]", b"").endswith(b"body 0\r\n"), f"{words}: FETCH")
    client = pop3()
    claim(client.retr(1)[1][-1] == b"body 0" and client.top(1, 0)[1][-1] == b"", f"{words}: RETR, TOP")
    client.quit()


@scenario(quick=True)
def mailboxes_under_attack():
    says = [b"", b"a", b"a LOGIN {5}\r\nann", b"a LOGIN bob@c.test wrong\r\n", b"USER ann\r\nPASS", b"\xff\0\r\n\r\n" * 3, b"a " * 60_000,
            b"STLS\r\n\x16\x03", b"a STARTTLS\r\n\x16\x03\x01", b"a APPEND INBOX {999999999}\r\n", b"AUTH PLAIN\r\n", b"a IDLE\r\n"]
    with World() as world:
        Reader(world, 3, extra=POP3)
        first = ann()
        claim(first.command("SELECT INBOX").ok, "selected")
        holder = pop3()  # POP3 is one at a time
        try:
            pop3()
            claim(False, "two POP3 sessions at a time")
        except poplib.error_proto as error:
            claim(b"[IN-USE]" in error.args[0], error)
        holder.quit()
        crowd = attackers(400, says)
        promptly("a day under attack", lambda: serve_a_day("under attack"))
        promptly("FETCH under attack", lambda: first.fetch(2, "BODY.PEEK[]"))
        for one in crowd:
            one.close()
        promptly("a day after it", lambda: serve_a_day("after it"))
        first.close()


@scenario(quick=True)
def mailboxes_without_descriptors():
    with World() as world:
        Reader(world, 3, extra=POP3)
        first, client = ann(), pop3()
        claim(first.command("SELECT INBOX").ok, "selected")
        pid = world.relay.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 20, hard))
        crowd = attackers(200)
        eventually("no descriptor is left", lambda: len(os.listdir(f"/proc/{pid}/fd")) >= used + 10, 30)
        # Work accepted goes on, or is refused in words; nothing hangs and nobody is thrown out.
        for number in (1, 2, 3):
            answer = promptly("FETCH without descriptors", lambda: first.command(f"FETCH {number} (BODY.PEEK[])"))
            claim(answer.ok or answer.tagged.startswith("NO "), f"FETCH without descriptors: {answer}")
            answer = promptly("APPEND without descriptors", lambda: first.command(["APPEND INBOX ", b"Subject: x\r\n\r\nx\r\n"]))
            claim(answer.ok or answer.tagged.startswith("NO "), f"APPEND without descriptors: {answer}")
        try:
            promptly("RETR without descriptors", lambda: client.retr(1))
        except poplib.error_proto as error:
            claim(error.args[0].startswith(b"-ERR"), error)
        claim(promptly("NOOP without descriptors", lambda: first.command("NOOP")).ok, "NOOP")
        for one in crowd:
            one.close()
        client.quit()
        eventually("there are descriptors again", lambda: len(os.listdir(f"/proc/{pid}/fd")) < used + 10, 30)
        promptly("a day after it", lambda: serve_a_day("with descriptors again"))
        claim(first.command("FETCH 1:3 (BODY.PEEK[])").ok, "the session goes on")
        first.close()


@scenario(quick=True)
def mailboxes_that_are_full():
    letter = b"Subject: large\r\n\r\n" + b"x" * 998 + b"\r\n"
    with World() as world:
        Reader(world, 2, extra='[mailboxes]\nquota = "8KiB"\nquota_messages = 12\n')
        with ann() as talk:
            claim(talk.command("SELECT INBOX").ok, "selected")
            stored = 0
            while (answer := talk.command(["APPEND INBOX ", letter])).ok:
                stored += 1
                claim(stored < 9, "there is no end")
            claim(answer.tagged.startswith("NO [OVERQUOTA]") and stored == 7, f"{stored} letters, then {answer.tagged}")
            claim(talk.command("COPY 3:4 Sent").tagged.startswith("NO [OVERQUOTA]"), "COPY is told")
            answer = talk.command("MOVE 3 Sent")
            claim(answer.ok, f"MOVE needs no room: {answer}")
            (resources,) = [value for value in talk.command("GETQUOTA \"\"").words("QUOTA") if isinstance(value, list)]
            claim(resources[0] == "STORAGE" and int(resources[1]) >= 7 and resources[3:5] == ["MESSAGE", "9"], resources)
            with Talk(RELAY, IMAP_PORT, USER, PASSWORD) as other:
                # More than may be asked for in one is refused before it is sent.
                claim(other.command("APPEND INBOX {9000}").tagged.startswith("NO "), "a letter that never fits")
            claim(talk.command("STORE 1:* +FLAGS.SILENT (\\Deleted)").ok and talk.command("EXPUNGE").ok, "made room")
            claim(talk.command(["APPEND INBOX ", letter]).ok, "and there is room")
            for number in range(20):
                answer = talk.command(["APPEND INBOX ", b"Subject: s\r\n\r\ns\r\n"])
                if not answer.ok:
                    break
            claim(answer.tagged.startswith("NO [OVERQUOTA]") and number == 10, f"{number} small ones, then {answer.tagged}")
