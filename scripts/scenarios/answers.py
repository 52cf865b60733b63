"""The same awkward mail in Dovecot and in Ringpost: every answer is the same, or its difference is known.

`dovecot_differences.txt` has the known ones. With DIFFERENCES=write the scenario writes it anew: reasons stay with
what they were given for, and what is new has `?` for a reason, with which the scenario fails until there is one.
"""
import calendar
import difflib
import os
import pathlib
import sys
import time

from mailworld import Failure, RELAY, World, claim
from scenarios.awkward import corpus
from scenarios.base import scenario
from scenarios.dovecot import DOVECOT, DOVECOT_PORT, Dovecot
from scenarios.imap import IMAP_PORT, PASSWORD, USER, Reader
from scenarios.talk import NIL, Talk

KNOWN = pathlib.Path(__file__).parent / "dovecot_differences.txt"
FIRST = calendar.timegm((2026, 11, 23, 12, 0, 0))
SECTIONS_MAX = 12  # of a message; more parts than that are alike

WHOLE = ["INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY", "BODYSTRUCTURE", "PREVIEW", "FLAGS", "RFC822.HEADER", "BODY.PEEK[]", "BODY.PEEK[]<3.40>",
         "BODY.PEEK[HEADER]", "BODY.PEEK[TEXT]", "BODY.PEEK[TEXT]<2.30>", "BODY.PEEK[HEADER.FIELDS (SUBJECT from X-None)]",
         "BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT FROM TO)]"]
KEYS = ["ALL", "SEEN", "UNSEEN", "FLAGGED ANSWERED", "OR FLAGGED ANSWERED", "NOT DELETED", "KEYWORD $Forwarded", "1:20,400:*", "UID 5:9", "NOT 5:*",
         "LARGER 500", "SMALLER 100", "BEFORE 24-Nov-2026", "ON 23-Nov-2026", "SINCE 23-Nov-2026", "SENTBEFORE 23-Nov-2026", "SENTON 23-Nov-2026", "SENTSINCE 24-Nov-2026",
         "SUBJECT re", "SUBJECT s", 'SUBJECT ""', "FROM a", "FROM c.test", "TO friends", 'TO "A B"', "TO B", "CC cc@c", "BCC bcc", "HEADER Message-ID <1@t>", 'HEADER References ""',
         "HEADER X-Level 0", "HEADER Content-Type html", "HEADER Content-Description zw", "BODY leaf", "BODY body", "BODY innermost", "BODY Reporting-MTA", "BODY more", "BODY zo", "TEXT first", "TEXT header",
         "TEXT attachment", "TEXT number", "BODY zw", ("SUBJECT", "zwö"), ("SUBJECT", "zwÖ"), ("SUBJECT", "привет"), ("SUBJECT", "日本"), ("FROM", "jö"), ("TO", "jö"), ("TEXT", "zwölf"), ("BODY", "zwölf"), ("BODY", "ZWÖLF"),
         ("BODY", "Привет"), ("BODY", "日本語"), ("BODY", "中文"), ("BODY", "ωmega"), ("BODY", "“"), ("HEADER Content-Description", "zwö"), "OR (SUBJECT re FROM a1) NOT BODY body"]
SORTS = ["ARRIVAL", "DATE", "SUBJECT", "FROM", "TO", "CC", "SIZE", "REVERSE ARRIVAL", "REVERSE SUBJECT DATE", "DISPLAYFROM", "DISPLAYTO"]


class Server:
    """One of the two, with the INBOX open."""

    def __init__(self, host, port):
        self.place = host, port
        self.talk = self.open()

    def open(self):
        talk = Talk(*self.place, USER, PASSWORD)
        claim(talk.command("EXAMINE INBOX").ok, "examined")
        return talk

    def ask(self, command):
        """The answer, or None when the connection ends over it, as Dovecot's do where content cannot be decoded."""
        try:
            return self.talk.command(command)
        except Failure:
            self.talk.close()
            self.talk = self.open()
            return None


def write_maildir(place, mails):
    """The mail as files, each a second younger than the one before it."""
    for folder in ("cur", "new", "tmp"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(mails):
        flags = "".join(letter for letter, every in (("F", 3), ("R", 4), ("S", 2), ("T", 7), ("a", 11)) if number % every == 0)
        file = place / "cur" / f"{FIRST + number}.M{number:06}.c.test:2,{flags}"
        file.write_bytes(octets)
        os.utime(file, (FIRST + number, FIRST + number))
    (place / "dovecot-keywords").write_text("0 $Forwarded\n")


def parts(structure, prefix=""):
    """The sections of all parts that a BODYSTRUCTURE has."""
    if not isinstance(structure, list) or not structure:
        return
    if isinstance(structure[0], list):
        for number, part in enumerate([part for part in structure if isinstance(part, list) and part and is_body(part)], 1):
            yield f"{prefix}{number}"
            yield from inside(part, f"{prefix}{number}.")
    elif not prefix:
        yield "1"
        yield from inside(structure, "1.")


def is_body(part):
    return isinstance(part[0], list) or (len(part) >= 7 and isinstance(part[0], bytes) and isinstance(part[1], bytes))


def inside(part, prefix):
    if isinstance(part[0], list):
        yield from parts(part, prefix)
    elif [word.upper() for word in part[:2]] == [b"MESSAGE", b"RFC822"] and len(part) > 8:
        yield f"{prefix}HEADER"
        yield f"{prefix}TEXT"
        yield from parts(part[8], prefix) if isinstance(part[8][0], list) else [f"{prefix}1"]


def plain(value, item=""):
    """A value without what the RFCs leave to servers: the case of types and names, the order of parameters."""
    if isinstance(value, list):
        inner = [plain(one, item) for one in value]
        if item == "FLAGS":
            # \Recent is whoever's who looked first; Maildir's cur/ has none for us.
            return sorted(flag for flag in inner if flag != "\\Recent")
        # A list of parameters: pairs of a name and a value.
        if item.startswith("BODY") and inner and len(inner) % 2 == 0 and all(isinstance(one, bytes) for one in inner):
            return sorted((name.lower(), text) for name, text in zip(inner[::2], inner[1::2]))
        if item.startswith("BODY") and inner and all(isinstance(one, bytes) for one in inner[:2]):
            inner[:2] = [word.lower() for word in inner[:2]]
            inner[5:6] = [word.lower() if isinstance(word, bytes) else word for word in inner[5:6]]
        return inner
    return "NIL" if value is NIL else value


def answers(server, names):
    """{(message, item): answer}, of one server."""
    found, structures = {}, {}
    numbers = range(1, len(names) + 1)
    for number in numbers:  # one by one: Dovecot mingles the answers to commands that come together
        answer = server.ask(f"FETCH {number} ({' '.join(WHOLE)})")
        fetched = answer.fetched().get(number, {}) if answer else {}
        claim(len(fetched) == len(WHOLE), f"{names[number - 1]}: {fetched.keys()}")
        for item, value in fetched.items():
            found[names[number - 1], item] = plain(value, item)
        structures[number] = fetched["BODYSTRUCTURE"]
    return found, structures


def sections(structure):
    every = list(dict.fromkeys(parts(structure)))
    few = every if len(every) <= SECTIONS_MAX else every[:SECTIONS_MAX // 2] + every[-SECTIONS_MAX // 2:]
    for section in few:
        yield f"BODY.PEEK[{section}]"
        if section[-1].isdigit():
            yield from (f"BODY.PEEK[{section}.MIME]", f"BINARY.PEEK[{section}]", f"BINARY.SIZE[{section}]")
    # BINARY[] is left out: Dovecot writes the whole message anew with other encodings, we hand out what is there.
    yield from ("BODY.PEEK[9999]", "BODY.PEEK[1]<2.5>")


def answers_of_parts(server, names, wanted):
    """What can be refused is asked for alone: it must not take the others' answers with it."""
    found = {}
    for number, items in wanted.items():
        alone = [item for item in items if item.startswith("BINARY")]
        for batch in [[item for item in items if item not in alone], *([item] for item in alone)]:
            answer = server.ask(f"FETCH {number} ({' '.join(batch)})")
            fetched = answer.fetched().get(number, {}) if answer else {}
            for item in batch:
                value = fetched.get(item.replace(".PEEK", "").replace("<2.5>", "<2>"))
                if value is None:  # refused
                    value = answer.tagged.split("]")[0] if answer and "[" in answer.tagged else "refused" if answer else "the connection ends"
                found[names[number - 1], item] = plain(value)
    return found


def found_by(server, names):
    """{(message, key): whether it is found or where it stands}."""
    found = {}
    for key in KEYS:
        words = key if isinstance(key, str) else [f"{key[0]} ", key[1].encode()]
        title = f"SEARCH {key if isinstance(key, str) else ' '.join(key)}"
        answer = server.ask(f"SEARCH {words}" if isinstance(words, str) else [f"SEARCH CHARSET UTF-8 {words[0]}", words[1]])
        claim(answer.ok, f"{title}: {answer}")
        for number in answer.words("SEARCH"):
            found[names[int(number) - 1], title] = "found"
    return found


def sorted_by(server, key):
    answer = server.ask(f"SORT ({key}) UTF-8 ALL")
    claim(answer.ok, f"SORT {key}: {answer}")
    return [int(number) for number in answer.words("SORT")]


def threaded_by(server, names, way):
    """{(message, THREAD): the message that it stands below}."""
    found = {}

    def walk(thread, above):
        for one in thread:
            if isinstance(one, list):
                walk(one, above)
            else:
                found[names[int(one) - 1], f"THREAD {way}"] = above
                above = names[int(one) - 1]
    answer = server.ask(f"THREAD {way} UTF-8 ALL")
    claim(answer.ok, f"THREAD {way}: {answer}")
    walk(answer.words("THREAD"), "nobody")
    return found


def misplaced(ours, theirs, names, title):
    """Messages that have to be taken out until both orders are the same."""
    matcher, kept = difflib.SequenceMatcher(None, ours, theirs, autojunk=False), set()
    for block in matcher.get_matching_blocks():
        kept.update(ours[block.a:block.a + block.size])
    return {(names[number - 1], title): (f"place {ours.index(number)}", f"place {theirs.index(number)}") for number in ours if number not in kept}


def compare(ours, theirs, names):
    """{(message, item): (our answer, theirs)}."""
    differences = {}

    def look(mine, other, absent="none"):
        for key in dict.fromkeys([*mine, *other]):
            if mine.get(key, absent) != other.get(key, absent):
                differences[key] = mine.get(key, absent), other.get(key, absent)
    (mine, our_structures), (other, their_structures) = answers(ours, names), answers(theirs, names)
    look(mine, other)
    wanted = {number: list(dict.fromkeys([*sections(their_structures[number]), *sections(our_structures[number])])) for number in our_structures}
    look(answers_of_parts(ours, names, wanted), answers_of_parts(theirs, names, wanted))
    look(found_by(ours, names), found_by(theirs, names), "not found")
    for key in SORTS:
        differences.update(misplaced(sorted_by(ours, key), sorted_by(theirs, key), names, f"SORT {key}"))
    for way in ("REFERENCES", "ORDEREDSUBJECT"):
        look(threaded_by(ours, names, way), threaded_by(theirs, names, way))
    return differences


def known():
    """{(message, item): reason}."""
    found, reason = {}, None
    for line in KNOWN.read_text().splitlines() if KNOWN.exists() else []:
        if line.startswith("## "):
            reason = line[3:]
        elif reason and line.strip():
            message, _, items = line.partition(" | ")
            found.update({(message, item): reason for item in items.split(" | ")})
    return found


def write(reasons):
    text = ["Where Ringpost answers otherwise than Dovecot, by reason: a message of awkward.py, and what was asked.\n"]
    for reason in sorted(set(reasons.values())):
        by_message = {}
        for (message, item), why in reasons.items():
            if why == reason:
                by_message.setdefault(message, []).append(item)
        text.append(f"## {reason}\n" + "".join(f"{message} | {' | '.join(items)}\n" for message, items in by_message.items()))
    KNOWN.write_text("\n".join(text))


def brief(value):
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]} ... {text[-100:]}"


@scenario(quick=True)
def dovecot_answers():
    mails = corpus()
    names = list(mails)
    with World() as world:
        Reader(world, 0)
        ours = world.home / "data/mailboxes" / USER
        theirs = world.home / "dovecot-mail"
        write_maildir(ours, mails.values())
        write_maildir(theirs, mails.values())
        Dovecot(world, theirs)
        servers = Server(RELAY, IMAP_PORT), Server(DOVECOT, DOVECOT_PORT)
        for server in servers:
            dates = server.ask("FETCH 1:* (INTERNALDATE)").fetched()
            expected = [time.strftime("%d-%b-%Y %H:%M:%S", time.gmtime(FIRST + number)) for number in range(len(names))]
            got = [fields["INTERNALDATE"].decode()[:20] for fields in dates.values()]
            claim(got == expected, f"the messages' order: {got[:5]} {got[-5:]}")
        differences = compare(*servers, names)
    reasons = known()
    new = {key: value for key, value in differences.items() if reasons.get(key, "?") == "?"}
    for key in reasons.keys() - differences.keys():
        print(f"  no difference any more: {key[0]} | {key[1]} ({reasons[key]})", file=sys.stderr)
    if os.environ.get("DIFFERENCES") == "write":
        write({key: reasons.get(key, "?") for key in differences})
    for (message, item), (mine, other) in list(new.items())[:int(os.environ.get("DIFFERENCES_SHOWN", 40))]:
        print(f"  {message} | {item}\n    ringpost {brief(mine)}\n    dovecot  {brief(other)}", file=sys.stderr)
    if new:
        raise Failure(f"{len(new)} answers differ from Dovecot's, of {len(differences)} that do; DIFFERENCES=write notes them")
