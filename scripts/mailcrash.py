"""`scripts/crash --mailboxes`: what becomes of mailboxes when the relay is killed in the middle.

Couriers deliver to several users at once; IMAP sessions append, store flags, expunge and move; a POP3 session
deletes. Each writes down what it is about to do before it says so, and what it was answered. After every kill
the relay starts again on the same data, and all mailboxes are read, over IMAP and from the disk:

* what was answered has happened: delivered, appended and moved messages are there, whole and once, flags are
  as they were stored, expunged messages are gone;
* what was not answered has happened to a message or has not, never half; several messages of one APPEND are
  there together or not at all, and a message that was being moved is in one folder at least;
* UIDVALIDITY stays, UIDNEXT does not fall, and no UID that anybody has heard of means another message.
"""
import collections
import random
import re
import signal
import smtplib
import sys
import threading
import time

from mailreaders import IMAP_PORT, POP3_PORT, Imap, Pop3, Refused, Relay, user
from mailworld import RELAY, SMTP_PORT, Failure, World, claim, stop

USERS, COURIERS, READERS = 4, 5, 2  # READERS for each user
FOLDERS = ("INBOX", "Other")
FLAGS = ("\\Flagged", "\\Seen", "\\Answered", "$Kept")
FETCHED = re.compile(rb"\* \d+ FETCH \(UID (\d+) FLAGS \(([^)]*)\) BODY\[\] \{(\d+)\}\r\n")
TOLD = re.compile(rb"\* \d+ FETCH \(UID (\d+) BODY\[HEADER\.FIELDS \(SUBJECT\)\] \{\d+\}\r\nSubject: (\S+)")
SUBJECT = re.compile(rb"^Subject: (\S+)", re.M)


def content(token):
    """Always the same for the same token, and of a length of its own."""
    lines = random.Random(token).randrange(1, 60)
    return f"Subject: {token}\r\nFrom: a@c.test\r\n\r\n" + "".join(f"{token} {n}\r\n" for n in range(lines)) + f"end {token}\r\n"


class Ledger:
    """What must be found in one mailbox."""

    def __init__(self, number):
        self.user = number
        self.copies = {}                                   # (folder, token): least and most
        self.flags = {}                                    # (folder, token): what they may be
        self.uids = collections.defaultdict(dict)          # folder: {uid: token}, all that anybody has heard of
        self.validity, self.next = {}, collections.Counter()
        self.together, self.moved = [], []                 # not answered: all or none; at least one
        self.faults = []

    def expect(self, folder, token, least, most, flags=frozenset()):
        self.copies[folder, token] = (least, most)
        self.flags[folder, token] = {frozenset(flags)}

    def hear(self, folder, uid, token):
        known = self.uids[folder].setdefault(uid, token)
        if known != token:
            self.faults.append(f"UID {uid} of {folder} was {known} and is {token}")

    def select(self, client, folder):
        least, came = self.next[folder], client.does(f"SELECT {folder}")
        validity, following = (int(re.search(rb"\[%s (\d+)\]" % word, came)[1]) for word in (b"UIDVALIDITY", b"UIDNEXT"))
        if self.validity.setdefault(folder, validity) != validity:
            self.faults.append(f"UIDVALIDITY of {folder} was {self.validity[folder]} and is {validity}")
        if following < least:
            self.faults.append(f"UIDNEXT of {folder} was {least} and is {following}")
        self.next[folder] = max(following, self.next[folder])

    # -- after a kill -------------------------------------------------------------------------
    def check(self, maildir):
        """Reads the mailbox, and takes what is there for certain from here on; where it stands: [(folder, token, uid)]."""
        client, standing, found = Imap(RELAY, IMAP_PORT, user(self.user)), [], collections.defaultdict(list)
        for folder in FOLDERS:
            self.select(client, folder)
            came = client.does("UID FETCH 1:* (UID FLAGS BODY.PEEK[])")
            at = 0
            while fetched := FETCHED.search(came, at):
                at = fetched.end() + int(fetched[3])
                self.found(folder, int(fetched[1]), fetched[2], came[fetched.end():at], found, standing)
            on_disk = [path.read_bytes() for path in ((maildir if folder == "INBOX" else maildir / f".{folder}") / "cur").iterdir()]
            tokens = sorted(SUBJECT.search(octets)[1].decode() for octets in on_disk)
            if tokens != sorted(token for place, token, _ in standing if place == folder):
                self.faults.append(f"{folder}: on disk are {len(tokens)} messages, and others than IMAP says")
        client.close()
        for key, (least, most) in self.copies.items():
            count = len(found[key])
            if not least <= count <= most:
                self.faults.append(f"{key} is there {count} times, not {least} to {most}")
        for folder, tokens in self.together:
            if len({len(found[folder, token]) for token in tokens}) > 1:
                self.faults.append(f"of {tokens} appended together to {folder} only some are there")
        for token in self.moved:
            if not any(found[folder, token] for folder in FOLDERS):
                self.faults.append(f"{token} was being moved and is nowhere")
        in_both = sum(all(found[folder, token] for folder in FOLDERS) for token in self.moved)
        self.copies = {key: (len(flags), len(flags)) for key, flags in found.items() if flags}
        self.flags = {key: set(flags) for key, flags in found.items() if flags}
        self.together, self.moved = [], []
        return standing, in_both

    def found(self, folder, uid, flags, octets, found, standing):
        token = SUBJECT.search(octets)[1].decode()
        key, flags = (folder, token), frozenset(flags.decode().split()) - {"\\Recent"}
        if not octets.endswith(content(token).encode()) or token[0] == "a" and octets != content(token).encode():
            self.faults.append(f"{key} is not whole: {octets!r}")
        if key not in self.copies:
            self.faults.append(f"{key} is there, and nobody put it there")
        elif flags not in self.flags[key]:
            self.faults.append(f"{key} has {set(flags)}, not one of {[set(some) for some in self.flags[key]]}")
        self.hear(folder, uid, token)
        found[key].append(flags)
        standing.append((folder, token, uid))


class Killed(Exception):
    """The relay has gone away, as it should."""


class Actor:
    """One session: does what chance says until the relay dies."""

    def __init__(self, name, tally):
        self.name, self.tally, self.count, self.broke = name, tally, 0, None
        self.chance = random.Random(name)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while True:
                self.act()
        except (OSError, ConnectionError, smtplib.SMTPException):
            pass
        except Exception as error:  # a refusal, or a fault of this script: the run must not go on as if nothing was
            self.broke = error

    def token(self, kind):
        self.count += 1
        return f"{kind}{self.name}n{self.count}"


class Courier(Actor):
    def __init__(self, name, tally, ledgers):
        self.ledgers, self.client = ledgers, None
        super().__init__(name, tally)

    def act(self):
        if self.client is None:
            self.client = smtplib.SMTP(RELAY, SMTP_PORT, local_hostname="source.test", timeout=60)
            self.client.ehlo()
        token, to = self.token("d"), self.chance.sample(self.ledgers, self.chance.randint(1, USERS))
        for ledger in to:
            ledger.expect("INBOX", token, 0, 1)
        self.client.sendmail("a@c.test", [user(ledger.user) for ledger in to], content(token))
        for ledger in to:
            ledger.copies["INBOX", token] = (1, 1)
        self.tally["deliveries"] += len(to)


class Reader(Actor):
    def __init__(self, name, tally, ledger, mine):
        self.ledger, self.client, self.selected = ledger, None, None
        self.mine = {(folder, token): uid for folder, token, uid in mine}
        super().__init__(name, tally)

    def act(self):
        if self.client is None:
            self.client = Imap(RELAY, IMAP_PORT, user(self.ledger.user))
        kinds = (self.append, self.store, self.store, self.expunge, self.move, self.look)
        self.chance.choice(kinds)()

    def some(self, most):
        """A folder, selected, and some of this session's messages in it."""
        folder = self.chance.choice(FOLDERS)
        have = [token for place, token in self.mine if place == folder]
        tokens = self.chance.sample(have, min(len(have), self.chance.randint(1, most)))
        if self.selected != folder:
            self.ledger.select(self.client, folder)
            self.selected = folder
        return folder, tokens, ",".join(str(self.mine[folder, token]) for token in tokens)

    def append(self):
        folder, flag = self.chance.choice(FOLDERS), self.chance.choice(FLAGS)
        tokens = [self.token("a") for _ in range(self.chance.choice((1, 1, 3)))]
        for token in tokens:
            self.ledger.expect(folder, token, 0, 1, {flag})
        self.ledger.together.append((folder, tokens))
        command = f"APPEND {folder}"
        for token in tokens:
            command += f" ({flag}) {{{len(content(token))}+}}\r\n{content(token)}"
        came = self.client.does(command)
        self.ledger.together.remove((folder, tokens))
        for token, uid in zip(tokens, uids(re.search(rb"\[APPENDUID \d+ (\S+)\]", came)[1])):
            self.ledger.copies[folder, token] = (1, 1)
            self.ledger.hear(folder, uid, token)
            self.mine[folder, token] = uid
        self.tally["appends"] += len(tokens)

    def flag(self, folder, tokens, named, sign, flag):
        changed = {}
        for token in tokens:
            (before,) = self.ledger.flags[folder, token]
            changed[token] = before | {flag} if sign == "+" else before - {flag}
            self.ledger.flags[folder, token] = {before, changed[token]}
        self.client.does(f"UID STORE {named} {sign}FLAGS.SILENT ({flag})")
        for token in tokens:
            self.ledger.flags[folder, token] = {changed[token]}
        self.tally["flags"] += len(tokens)

    def store(self):
        folder, tokens, named = self.some(10)
        if tokens:
            self.flag(folder, tokens, named, self.chance.choice("+-"), self.chance.choice(FLAGS))

    def expunge(self):
        folder, tokens, named = self.some(30)
        if not tokens:
            return
        self.flag(folder, tokens, named, "+", "\\Deleted")
        for token in tokens:
            self.ledger.copies[folder, token] = (0, 1)
        self.client.does(f"UID EXPUNGE {named}")
        for token in tokens:
            self.ledger.copies[folder, token] = (0, 0)
            del self.mine[folder, token]
        self.tally["expunges"] += len(tokens)

    def move(self):
        folder, tokens, named = self.some(5)
        to = FOLDERS[1 - FOLDERS.index(folder)]
        tokens = [token for token in tokens if self.ledger.copies.get((to, token), (0, 0)) == (0, 0)]
        if not tokens:
            return
        named = ",".join(str(self.mine[folder, token]) for token in tokens)
        for token in tokens:
            self.ledger.copies[folder, token] = (0, 1)
            self.ledger.expect(to, token, 0, 1, *self.ledger.flags[folder, token])
        self.ledger.moved += tokens
        came = self.client.does(f"UID MOVE {named} {to}")
        moved = re.search(rb"\[COPYUID \d+ (\S+) (\S+)\]", came)
        here = {uid: token for token in tokens for uid in (self.mine[folder, token],)}
        for uid, there in zip(uids(moved[1]), uids(moved[2])):
            token = here[uid]
            self.ledger.hear(to, there, token)
            self.ledger.copies[folder, token], self.ledger.copies[to, token] = (0, 0), (1, 1)
            self.ledger.moved.remove(token)
            del self.mine[folder, token]
            self.mine[to, token] = there
        self.tally["moves"] += len(tokens)

    def look(self):
        folder, _, _ = self.some(1)
        after = max(self.ledger.uids[folder], default=0)
        for uid, token in TOLD.findall(self.client.does(f"UID FETCH {max(1, after - 5)}:* (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")):
            self.ledger.hear(folder, int(uid), token.decode())


class Popper(Actor):
    """Deletes messages of INBOX; now and then it goes without QUIT, and nothing may be gone."""

    def __init__(self, name, tally, ledger, mine):
        self.ledger, self.mine = ledger, {token for folder, token, _ in mine if folder == "INBOX"}
        super().__init__(name, tally)

    def act(self):
        if not self.mine:
            raise ConnectionError("nothing to do in this round")
        client = Pop3(RELAY, POP3_PORT, user(self.ledger.user))
        count, doomed = int(client.does("STAT").split()[1]), []
        for number in range(1, min(count, 200) + 1):
            try:
                token = SUBJECT.search(client.content(f"TOP {number} 0"))[1].decode()
            except Refused:  # an IMAP session was faster
                continue
            if token in self.mine:
                doomed.append((number, token))
            if len(doomed) == 20:
                break
        for number, _ in doomed:
            client.does(f"DELE {number}")
        if self.chance.random() < 0.3:
            client.close()
            return
        for _, token in doomed:
            self.ledger.copies["INBOX", token] = (0, 1)
        client.does("QUIT")
        for _, token in doomed:
            self.ledger.copies["INBOX", token] = (0, 0)
            self.mine.remove(token)
        client.close()
        self.tally["deletes"] += len(doomed)


def uids(text):
    """The numbers of a set, in order."""
    for word in text.decode().split(","):
        first, _, last = word.partition(":")
        yield from range(int(first), int(last or first) + 1)


def kill_once(world, ledgers, standing, name, tally, seconds):
    """Load until the kill."""
    actors = [Courier(f"r{name}c{n}", tally, ledgers) for n in range(COURIERS)]
    for ledger in ledgers:
        shares = READERS + 1
        parts = [[one for one in standing[ledger.user] if hash(one[1]) % shares == part] for part in range(shares)]
        # What is there twice, in both folders, belongs to nobody.
        actors += [Reader(f"r{name}u{ledger.user}s{n}", tally, ledger, parts[n]) for n in range(READERS)]
        actors.append(Popper(f"r{name}u{ledger.user}p", tally, ledger, parts[READERS]))
    time.sleep(seconds)
    stop(world.relay, signal.SIGKILL)
    for actor in actors:
        actor.thread.join()
    broke = [(actor.name, actor.broke) for actor in actors if actor.broke]
    if broke:
        raise Failure(f"a session was refused: {broke[:3]}")


def run(options):
    began, tally = time.monotonic(), collections.Counter()
    with World() as world:
        relay = Relay(world, USERS)
        ledgers, standing = [Ledger(number) for number in range(USERS)], [[] for _ in range(USERS)]
        for ledger in ledgers:
            relay.imap(ledger.user).does("CREATE Other")
        for number in range(options.rounds):
            kill_once(world, ledgers, standing, number, tally, options.seconds * random.uniform(0.5, 1.5))
            relay.start()
            world.wait_until_empty(300)
            for ledger in ledgers:
                standing[ledger.user], in_both = ledger.check(relay.maildir(ledger.user))
                tally["in both folders"] += in_both
            faults = [f"{user(ledger.user)}: {fault}" for ledger in ledgers for fault in ledger.faults]
            claim(not faults, f"round {number}: {len(faults)} faults: " + "\n".join(faults[:20]))
            print(f"round {number}: {dict(tally)}; {sum(map(len, standing))} messages stand", flush=True)
        claim("panicked" not in world.log(), "a panic in the log")
    print(f"rounds={options.rounds} acknowledged: {dict(tally)}; none lost, half or twice; UIDs kept; {time.monotonic() - began:.0f} s")
    return 0


def main(options):
    try:
        return run(options)
    except (Failure, Refused) as failure:
        print(f"FAIL {failure}", file=sys.stderr)
        return 1
