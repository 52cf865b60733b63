"""A Maildir changes hands: Dovecot's and mutt's are served by Ringpost, Ringpost's are read by both."""
import shutil

from mailworld import RELAY, World, claim, stop
from scenarios.base import scenario
from scenarios.dovecot import DOVECOT, DOVECOT_PORT, Dovecot
from scenarios.imap import IMAP_PORT, PASSWORD, USER, Reader
from scenarios.mutt import mutt, shown
from scenarios.talk import Talk

FLAGS = ["", "\\Seen", "\\Seen \\Answered", "\\Flagged", "\\Draft", "\\Deleted", "\\Seen $Forwarded", "Work $Label1"]


def letter(number):
    return f"From: a@c.test\r\nSubject: letter {number}\r\nMessage-ID: <{number}@c.test>\r\n\r\nbody {number}\r\n.\r\n".encode()


def ours(world):
    return Talk(RELAY, IMAP_PORT, USER, PASSWORD)


def theirs():
    return Talk(DOVECOT, DOVECOT_PORT, USER, PASSWORD)


def serve(world, maildir):
    """Ringpost, with this Maildir as ann's."""
    place = world.home / "data/mailboxes" / USER
    place.parent.mkdir(parents=True)
    shutil.copytree(maildir, place, copy_function=shutil.copy2)
    Reader(world, 0, folders=())
    return place


def listed(talk, command):
    return sorted(value.decode() if isinstance(value, bytes) else value for value in talk.command(f'{command} "" "*"').words(command)[2::3])


def state(talk, uids=True):
    """Everything that a client sees of a mailbox."""
    found = {"subscribed": listed(talk, "LSUB")}
    for folder in listed(talk, "LIST"):
        status = talk.command(f'STATUS "{folder}" (UIDVALIDITY UIDNEXT)').words("STATUS")[1] if uids else []
        if not talk.command(f'EXAMINE "{folder}"').ok:
            found[folder] = "it only has folders in it"
            continue
        fetched = talk.command("FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])").fetched()
        messages = [(fields["UID"] if uids else None, sorted(set(fields["FLAGS"]) - {"\\Recent"}), fields["INTERNALDATE"].lstrip(b" 0"), fields["BODY[]"])
                    for fields in fetched.values()]
        found[folder] = dict(zip(status[::2], status[1::2])), messages if uids else sorted(messages, key=lambda one: one[3])
    return found


def same(left, right, words):
    claim(left.keys() == right.keys(), f"{words}: {left.keys()}, not {right.keys()}")
    for name, value in left.items():
        claim(value == right[name], f"{words}: {name}:\n{value}\nnot\n{right[name]}")


def fill(talk):
    """What years of use leave: folders, subscriptions, flags, keywords, and gaps in the UIDs."""
    for folder in ("Archive", "Archive/2024", "Entw&APw-rfe", "R&-D"):
        claim(talk.command(f'CREATE "{folder}"').ok, folder)
    for folder in ("Archive/2024", "Entw&APw-rfe"):
        claim(talk.command(f'SUBSCRIBE "{folder}"').ok, folder)
    for number, flags in enumerate(FLAGS * 2):
        date = f"{number % 28 + 1:2}-Feb-2020 10:00:{number:02} +0100"
        claim(talk.command([f'APPEND INBOX ({flags}) "{date}" ', letter(number)]).ok, f"appended {number}")
    claim(talk.command("SELECT INBOX").ok, "selected")
    claim(talk.command("UID COPY 1:5 Archive/2024").ok, "copied")
    claim(talk.command("UID MOVE 9:10 Entw&APw-rfe").ok, "moved")
    claim(talk.command("UID STORE 2,16 +FLAGS (\\Deleted)").ok and talk.command("UID EXPUNGE 2,16").ok, "expunged")
    claim(talk.command("UID STORE 3 +FLAGS (late)").ok, "a keyword")
    claim(talk.command("CLOSE").ok, "closed")


@scenario(quick=True)
def takeover():
    with World() as world:
        maildir = world.home / "mail-of-dovecot"
        process = Dovecot(world, maildir)
        with theirs() as talk:
            fill(talk)
            before = state(talk)
        stop(process.process)
        place = serve(world, maildir)
        with ours(world) as talk:
            same(state(talk), before, "Dovecot's mailbox, served by Ringpost")
            # And on it goes: a change of everything.
            claim(talk.command("SELECT INBOX").ok and talk.command("UID STORE 1 +FLAGS (\\Answered Ours)").ok, "flags")
            claim(talk.command(["APPEND INBOX (\\Flagged New) ", letter(90)]).ok, "appended")
            claim(talk.command("UID STORE 4 +FLAGS (\\Deleted)").ok and talk.command("UID EXPUNGE 4").ok, "expunged")
            claim(talk.command("CREATE Later/Sub").ok and talk.command("SUBSCRIBE Later/Sub").ok, "a folder")
            claim(talk.command("UNSUBSCRIBE Archive/2024").ok and talk.command("UID COPY 1 Later/Sub").ok, "a copy")
            after = state(talk, uids=False)
        stop(world.relay)
        back = world.home / "mail-of-ringpost"
        shutil.copytree(place, back, copy_function=shutil.copy2)
        Dovecot(world, back)
        with theirs() as talk:
            same(state(talk, uids=False), after, "Ringpost's mailbox, served by Dovecot")


@scenario(quick=True)
def takeover_mutt():
    with World() as world:
        # What was delivered, and mutt sorts it.
        maildir = world.home / "mail-of-mutt"
        for folder in (maildir, maildir / ".Kept"):
            for place in ("cur", "new", "tmp"):
                (folder / place).mkdir(parents=True)
        for number in range(6):
            (maildir / "new" / f"170000000{number}.{number}.c.test").write_bytes(letter(number).replace(b"\r\n", b"\n"))
        mutt(world.home, maildir, "<first-entry><flag-message><next-entry><set-flag>r<next-entry><set-flag>N<clear-flag>N"
             f"<next-entry><copy-message>{maildir}/.Kept<enter><next-entry><delete-message><sync-mailbox><exit>", "set maildir_trash=yes")
        place = serve(world, maildir)
        with ours(world) as talk:
            # Which file is whose: mutt keeps the names up to the colon.
            found = state(talk)
            flags = {body.split(b"Subject: ")[1].split(b"\r")[0].decode(): flags for _, flags, _, body in found["INBOX"][1]}
            claim("\\Flagged" in flags["letter 0"] and "\\Answered" in flags["letter 1"] and "\\Seen" in flags["letter 2"], f"flags: {flags}")
            claim("\\Deleted" in flags["letter 4"] and flags["letter 5"] == [], f"flags: {flags}")
            claim([b"Subject: letter 3\r\n" in body for _, _, _, body in found["Kept"][1]] == [True], found["Kept"])
            claim(talk.command("SELECT INBOX").ok and talk.command("STORE 6 +FLAGS (\\Flagged \\Seen $Label1)").ok, "flags")
            claim(talk.command("STORE 5 +FLAGS (\\Deleted)").ok and talk.command("EXPUNGE").ok, "expunged")
            claim(talk.command(["APPEND Kept (\\Answered \\Seen) ", letter(7)]).ok, "appended")
        stop(world.relay)

        def subjects(folder, pattern):
            return sorted(line.decode()[9:] for line in shown(world.home, folder, pattern).splitlines() if line.startswith(b"Subject: "))
        claim(subjects(place, "~A") == [f"letter {n}" for n in (0, 1, 2, 3, 5)], subjects(place, "~A"))
        claim(subjects(place, "~F") == ["letter 0", "letter 5"], subjects(place, "~F"))
        claim(subjects(place, "~Q") == ["letter 1"], subjects(place, "~Q"))
        claim({"letter 2", "letter 5"} <= set(subjects(place, "~R")), subjects(place, "~R"))
        claim(subjects(place / ".Kept", "~Q") == ["letter 7"], subjects(place / ".Kept", "~A"))
