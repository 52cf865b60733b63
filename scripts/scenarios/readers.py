"""mutt and the imapflow package, as clients of IMAP."""
import json
import os
import pathlib
import subprocess

from mailworld import RELAY, Skipped, World, claim
from scenarios.base import scenario
from scenarios.imap import IMAP_PORT, PASSWORD, USER, Reader
from scenarios.mutt import mutt
from scenarios.talk import Talk

# Where scripts/prepare puts packages for node.
PACKAGES = os.environ.get("INTEROP_NODE", str(pathlib.Path.home() / ".cache/ringpost-interop"))
# Words without which mutt asks.
ACCOUNT = f"""
set imap_user={USER} imap_pass={PASSWORD} imap_authenticators=login imap_check_subscribed=no imap_list_subscribed=no imap_keepalive=5
set imap_qresync=yes imap_condstore=yes imap_idle=no
"""


def listed(talk):
    return [name.decode() if isinstance(name, bytes) else name for name in talk.command('LIST "" "*"').words("LIST")[2::3]]


@scenario(quick=True)
def imap_mutt():
    with World() as world:
        Reader(world, 6)
        home, url = world.home, f"imap://{RELAY}:{IMAP_PORT}/"
        settings = f"{ACCOUNT}\nset folder={url} header_cache={home}/cache message_cachedir={home}/bodies"
        read = home / "read"

        def press(keys):
            return mutt(home, f"{url}INBOX", keys, settings)
        press(f"<first-entry><display-message><exit><pipe-message>cat > {read}<enter><next-entry><flag-message><next-entry><set-flag>r"
              f"<next-entry><copy-message>={'Archive/2024'}<enter><next-entry><save-message>=Sent<enter><last-entry><delete-message><sync-mailbox><exit>")
        claim(b"Subject: 0\n" in read.read_bytes() and read.read_bytes().endswith(b"\n\nbody 0\n"), f"what mutt read: {read.read_bytes()!r}")
        with Talk(RELAY, IMAP_PORT, USER, PASSWORD) as talk:
            def subjects(folder, *keys):
                claim(talk.command(f"SELECT {folder}").ok, folder)
                fetched = talk.command("FETCH 1:* (ENVELOPE)").fetched()
                found = talk.command(f"SEARCH {' '.join(keys)}").words("SEARCH")
                return [fetched[int(number)]["ENVELOPE"][1].decode() for number in found]
            claim(subjects("INBOX", "ALL") == ["0", "1", "2", "3"], f"what is left: {subjects('INBOX', 'ALL')}")
            claim(subjects("INBOX", "SEEN")[:1] == ["0"], f"seen: {subjects('INBOX', 'SEEN')}")
            claim(subjects("INBOX", "FLAGGED") == ["1"] and subjects("INBOX", "ANSWERED") == ["2"], "flags")
            claim(subjects("Archive/2024", "ALL") == ["3"] and subjects("Sent", "ALL") == ["4"],
                  f"copies: {subjects('Archive/2024', 'ALL')} {subjects('Sent', 'ALL')} {listed(talk)}")
            # Changes that mutt has not seen; it asks for them with QRESYNC.
            claim(talk.command("SELECT INBOX").ok and talk.command("STORE 1 +FLAGS (\\Deleted)").ok and talk.command("EXPUNGE").ok, "expunged")
            claim(talk.command("STORE 2 +FLAGS (\\Flagged)").ok, "flagged")
            claim(talk.command(["APPEND INBOX ", b"From: a@c.test\r\nSubject: new\r\n\r\nnew\r\n"]).ok, "appended")
            listing = home / "listing"
            press(f"<tag-pattern>~F<enter><pipe-message>cat > {listing}<enter><untag-pattern>~A<enter><last-entry><set-flag>r<sync-mailbox><exit>")
            flagged = [line for line in listing.read_bytes().splitlines() if line.startswith(b"Subject: ")]
            claim(flagged == [b"Subject: 1", b"Subject: 2"], f"what mutt finds flagged: {flagged}")
            claim(subjects("INBOX", "ANSWERED") == ["2", "new"], f"answered: {subjects('INBOX', 'ANSWERED')}")
        # The folders that mutt makes and removes.
        press("<change-folder>?<create-mailbox>FromMutt<enter><exit><exit>")
        with Talk(RELAY, IMAP_PORT, USER, PASSWORD) as talk:
            claim("FromMutt" in listed(talk), f"the folder that mutt made: {listed(talk)}")


@scenario(quick=True)
def imap_imapflow():
    if not os.path.isdir(os.path.join(PACKAGES, "node_modules", "imapflow")):
        raise Skipped("imapflow is not installed")
    with World() as world:
        Reader(world, 0)
        script = pathlib.Path(__file__).parent / "imapflow.cjs"
        done = subprocess.run(["node", script, PACKAGES, RELAY, str(IMAP_PORT), USER, PASSWORD], capture_output=True, text=True, check=False, timeout=60)
        claim(done.returncode == 0, f"imapflow: {done.stderr}")
        seen = json.loads(done.stdout)
        appended = seen.pop("appended")
        claim(appended["uid"] == 5 and appended["seq"] == 5, appended)
        folders = seen.pop("folders")
        claim(["Projects/Zürich", ""] in folders and ["INBOX", "\\Inbox"] in folders, folders)
        enabled = seen.pop("enabled")
        claim({"CONDSTORE", "QRESYNC"} <= set(enabled), enabled)
        quota = seen.pop("quota")
        claim(quota is False or quota.get("path") == "INBOX", quota)
        expected = {
            "secure": True, "compressed": True, "sent": "Projects/Zürich", "exists": 5, "source": True, "attachment": "content 3", "body": "hällo 3",
            "envelopes": [[number, f"numéro {number}", "A, B", 2, ["\\Seen"] if number % 2 else ["$Flow"]] for number in range(1, 6)],
            "found": [1, 3, 5], "flagged": [1, 2], "moved": [[5, 1]], "copied": [[1, 2], [2, 3]], "left": [1, 2, 3],
            "heard": ["exists", "expunge", "flags"], "renamed": ["Projects", "Projects/Genève"],
        }
        for name, value in expected.items():
            claim(seen.get(name) == value, f"{name}: {seen.get(name)}, not {value}")
        claim(seen.keys() == expected.keys(), seen.keys() ^ expected.keys())
