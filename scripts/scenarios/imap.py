"""Programs that read mail with IMAP."""
import imaplib
import ssl
import subprocess

from mailworld import BINARY, RELAY, World, claim, eventually
from scenarios.base import MESSAGE, scenario

IMAP_PORT, USER, PASSWORD = 2143, "ann@c.test", "secret"


class Reader:
    """A relay with a listener for IMAP, a user, and some mail."""

    def __init__(self, world, messages, folders=("Sent", "Archive/2024"), extra=""):
        world.start_relay(extra=f"""
[[listener]]
protocol = "imap"
bind = ["{RELAY}:{IMAP_PORT}"]
{extra}
""")
        self.home = world.home
        done = subprocess.run([BINARY, "user", "add", USER, "--config", world.config], input=f"{PASSWORD}\n",
                              capture_output=True, text=True, check=False)
        claim(done.returncode == 0, done.stderr)
        eventually("the user can log in", self.can_log_in)
        client = self.client()
        for name in folders:
            client.create(name)
        for number in range(messages):
            text = f"From: a@c.test\r\nSubject: {number}\r\nMessage-ID: <{number}@c.test>\r\n\r\nbody {number}\r\n"
            client.append("INBOX", None, None, text.encode())
        client.logout()

    def can_log_in(self):
        try:
            self.client().logout()
            return True
        except imaplib.IMAP4.error:
            return False

    def client(self):
        client = imaplib.IMAP4(RELAY, IMAP_PORT)
        client.login(USER, PASSWORD)
        return client

    def found(self, *keys):
        """The UIDs in INBOX that a search finds."""
        client = self.client()
        client.select(readonly=True)
        found = client.uid("SEARCH", *keys)[1][0].split()
        client.logout()
        return found


@scenario(quick=True)
def imap_curl():
    with World() as world:
        Reader(world, 2)
        base = f"imap://{RELAY}:{IMAP_PORT}"
        command = ["curl", "-sk", "--ssl-reqd", "-u", f"{USER}:{PASSWORD}"]
        listed = subprocess.run([*command, f"{base}/"], capture_output=True, text=True, check=False).stdout
        claim('"/" Archive/2024' in listed and '"/" INBOX' in listed, listed)
        mail = subprocess.run([*command, f"{base}/INBOX;MAILINDEX=2"], capture_output=True, check=False).stdout
        claim(mail.endswith(b"\r\n\r\nbody 1\r\n"), mail)
        file = world.home / "message"
        file.write_bytes(MESSAGE)
        sent = subprocess.run([*command, "-T", file, f"{base}/Sent"], capture_output=True, check=False)
        claim(sent.returncode == 0, sent.stderr)
        back = subprocess.run([*command, f"{base}/Sent;MAILINDEX=1"], capture_output=True, check=False).stdout
        claim(back == MESSAGE, back)


@scenario(quick=True)
def imap_imaplib():
    with World() as world:
        Reader(world, 5)
        client = imaplib.IMAP4(RELAY, IMAP_PORT)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client.starttls(context)
        client.authenticate("PLAIN", lambda _: f"\0{USER}\0{PASSWORD}".encode())
        claim(client.select() == ("OK", [b"5"]), "five messages")
        claim(client.fetch("2", "(RFC822)")[1][0][1].endswith(b"body 1\r\n"), "the second")
        claim(client.sort("REVERSE SUBJECT", "UTF-8", "ALL")[1] == [b"5 4 3 2 1"], "sorted")
        claim(client.thread("REFERENCES", "UTF-8", "1:2")[1] == [b"(1)(2)"], "threads")
        client.store("1", "+FLAGS", "\\Deleted")
        claim(client.expunge()[1] == [b"1"], "expunged")
        claim(client.status("INBOX", "(MESSAGES UIDNEXT)")[1] == [b"INBOX (MESSAGES 4 UIDNEXT 6)"], "status")
        claim(client.logout()[0] == "BYE", "logout")


def files_of(maildir):
    return sorted(file for place in ("cur", "new") for file in (maildir / place).iterdir())


@scenario()
def imap_mbsync():
    """Both ways; and whatever was done, the next run finds nothing to do."""
    with World() as world:
        reader = Reader(world, 30)
        near = reader.home / "near"
        near.mkdir()
        config = reader.home / "mbsyncrc"
        config.write_text(f"""
IMAPAccount r
Host {RELAY}
Port {IMAP_PORT}
User {USER}
Pass {PASSWORD}
SSLType None
AuthMechs LOGIN

IMAPStore far
Account r

MaildirStore near
Path {near}/
Inbox {near}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
Remove Both
SyncState *
""")

        def sync():
            done = subprocess.run(["mbsync", "-c", config, "all"], capture_output=True, text=True, check=False)
            claim(done.returncode == 0, f"mbsync: {done.stderr}")
            return [file.name for file in files_of(near / "INBOX")]

        first = sync()
        claim(len(first) == 30 and (near / "Archive" / "2024").is_dir(), f"what came: {first}")
        claim(sync() == first, "the second run has changed something")
        one, two = files_of(near / "INBOX")[:2]
        base = near / "INBOX" / "cur"
        one.rename(base / (one.name.split(":")[0] + ":2,FS"))
        two.rename(base / (two.name.split(":")[0] + ":2,ST"))
        (near / "INBOX" / "new" / "1700000000.1.near").write_text("Subject: from here\nFrom: me@c.test\n\nhi\n")
        there = reader.client()
        there.select()
        there.uid("STORE", "30", "+FLAGS", "(\\Answered)")
        there.uid("STORE", "29", "+FLAGS", "(\\Deleted)")
        there.expunge()
        there.logout()
        third = sync()
        claim(sync() == third, "the fourth run has changed something")
        claim(len(third) == 29 and any(name.endswith(":2,R") for name in third), f"flags that came: {third}")
        claim(len(reader.found("FLAGGED", "SEEN")) == 1, "the flag that went")
        claim(reader.found("SUBJECT", "here") == [b"31"], "the message that went")
        claim(len(reader.found("ALL")) == 29, "what is left there")


@scenario()
def imap_offlineimap():
    with World() as world:
        reader = Reader(world, 10)
        config = reader.home / "offlineimaprc"
        config.write_text(f"""
[general]
accounts = a
metadata = {reader.home}/meta
ui = quiet
[Account a]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = {reader.home}/near
[Repository far]
type = IMAP
remotehost = {RELAY}
remoteport = {IMAP_PORT}
remoteuser = {USER}
remotepass = {PASSWORD}
ssl = no
starttls = no
auth_mechanisms = LOGIN
""")

        def sync():
            done = subprocess.run(["offlineimap", "-c", config, "-o"], capture_output=True, text=True, check=False)
            claim(done.returncode == 0, f"offlineimap: {done.stdout} {done.stderr}")
            return [file.name for file in files_of(reader.home / "near" / "INBOX")]

        first = sync()
        claim(len(first) == 10, f"what came: {first}")
        claim(sync() == first, "the second run has changed something")
        file = files_of(reader.home / "near" / "INBOX")[0]
        file.rename(reader.home / "near" / "INBOX" / "cur" / (file.name.split(":")[0] + ":2,FS"))
        third = sync()
        claim(sync() == third and len(reader.found("FLAGGED")) == 1, "the flag that went")
