"""Programs that fetch mail with POP3."""
import contextlib
import mailbox
import os
import poplib
import re
import shutil
import ssl
import subprocess

from mailworld import BINARY, RELAY, Failure, World, claim, eventually
from scenarios.base import ZONE, scenario

USER, PASSWORD = "ann@d.test", "a secret, with blanks"
POP3_PORT, POP3S_PORT = 1110, 1995
LETTERS = [b"From: a@c.test\nTo: ann@d.test\nSubject: dots\nMessage-ID: <1@c.test>\n\n.dot\n..dots\nend\n",
           b"From: a@c.test\nSubject: no line end\nMessage-ID: <2@c.test>\n\nlast",
           b"From: a@c.test\nSubject: long\nMessage-ID: <3@c.test>\n\n" + b"x" * 900 + b"\n" + b"many lines\n" * 20_000]


def on_the_wire(letter):
    wire = letter.replace(b"\n", b"\r\n")
    return wire if wire.endswith(b"\r\n") else wire + b"\r\n"


class House:
    """A relay with a mailbox that has some letters in it."""

    def __init__(self, world):
        self.world = world
        world.start_dns(ZONE)
        world.start_relay(f"""
[[listener]]
protocol = "pop3"
bind = ["{RELAY}:{POP3_PORT}"]
[[listener]]
protocol = "pop3s"
bind = ["{RELAY}:{POP3S_PORT}"]
""")
        run([BINARY, "user", "add", USER, "--apop", "--config", world.config], input=PASSWORD + "\n", text=True)
        eventually("the relay knows the user", lambda: "changed: done" in world.log())
        self.maildir = world.home / "data/mailboxes" / USER
        self.maildir.parent.mkdir(exist_ok=True)
        self.fill()

    def fill(self):
        box = mailbox.Maildir(self.maildir, create=True)
        for letter in LETTERS:
            box.add(letter)

    def left(self):
        """The letters that are still there."""
        files = [path for place in ("new", "cur") for path in (self.maildir / place).iterdir()]
        return sorted(path.read_bytes() for path in files)


def run(command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, check=False, timeout=120, **options)
    claim(done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
    return done.stdout


def same(found, wanted, words):
    """Letters, whatever their order, line ends and the fields that a client puts before them."""
    def plain(letters):
        return sorted(letter[letter.index(b"From: a@c.test"):].replace(b"\r\n", b"\n").rstrip(b"\n") for letter in letters)
    found, wanted = plain(found), plain(wanted)
    claim(len(found) == len(wanted), f"{words}: {len(found)} letters, not {len(wanted)}")
    for ours, theirs in zip(found, wanted):
        claim(ours == theirs, f"{words}: {ours[:300]!r}, not {theirs[:300]!r}")


@scenario(quick=True)
def curl_fetches_with_pop3():
    with World() as world:
        house = House(world)
        user = ["-s", "-S", "--user", f"{USER}:{PASSWORD}"]
        ways = [["pop3", POP3_PORT], ["pop3", POP3_PORT, "--ssl-reqd", "-k"], ["pop3s", POP3S_PORT, "-k"],
                ["pop3", POP3_PORT, "--login-options", "AUTH=PLAIN"], ["pop3", POP3_PORT, "--login-options", "AUTH=+APOP"],
                ["pop3", POP3_PORT, "--login-options", "AUTH=LOGIN"], ["pop3s", POP3S_PORT, "-k", "--sasl-ir"]]
        for scheme, port, *more in ways:
            url = f"{scheme}://{RELAY}:{port}/"
            listed = run(["curl", *user, *more, url]).split()
            claim(len(listed) == 2 * len(LETTERS), f"LIST: {listed}")
            found = [run(["curl", *user, *more, f"{url}{number}"]) for number in (1, 2, 3)]
            same(found, map(on_the_wire, LETTERS), f"curl {scheme} {more}")
        run(["curl", *user, "-I", "-X", "DELE 2", f"pop3://{RELAY}:{POP3_PORT}/"])
        claim(len(house.left()) == 2, f"{len(house.left())} letters are left")


@scenario(quick=True)
def pythons_poplib_does_everything():
    with World() as world:
        house = House(world)
        trusting = ssl._create_unverified_context()
        with contextlib.closing(poplib.POP3(RELAY, POP3_PORT, timeout=30)) as client:
            claim({"STLS", "UIDL", "TOP", "SASL"} <= set(client.capa()), str(client.capa()))
            client.apop(USER, PASSWORD)
            count, octets = client.stat()
            sizes = [int(line.split()[1]) for line in client.list()[1]]
            claim((count, octets) == (3, sum(sizes)), f"{count} {octets} {sizes}")
            ids = client.uidl()[1]
            found = [b"\r\n".join(client.retr(number)[1]) + b"\r\n" for number in (1, 2, 3)]
            same(found, map(on_the_wire, LETTERS), "poplib")
            claim(client.top(1, 0)[1][-1] == b"", str(client.top(1, 0)))
            client.dele(1)
            client.rset()
            client.dele(3)
            client.noop()
            client.close()  # without QUIT: nothing is deleted
        claim(len(house.left()) == 3, "a lost connection has deleted something")
        client = poplib.POP3(RELAY, POP3_PORT, timeout=30)
        client.stls(context=trusting)
        client.utf8()
        client.user(USER)
        client.pass_(PASSWORD)
        claim(client.uidl()[1] == ids, "unique ids have changed")
        try:
            poplib.POP3_SSL(RELAY, POP3S_PORT, context=trusting).apop(USER, PASSWORD)
            raise Failure("two sessions on one mailbox")
        except poplib.error_proto as error:
            claim(b"[IN-USE]" in error.args[0], str(error))
        client.dele(2)
        client.quit()
        claim(len(house.left()) == 2, "QUIT has not deleted")


def folder(path):
    """The letters in a Maildir."""
    return [file.read_bytes() for place in ("new", "cur") for file in (path / place).iterdir()]


@scenario(quick=True)
def mpop_fetches_and_deletes():
    with World() as world:
        house = House(world)
        ways = [("keep on", "auth user"), ("keep on", "auth apop"), ("keep off", "auth scram-sha-256"),
                ("keep off", "auth plain\ntls on\ntls_starttls on"), ("keep off", f"port {POP3S_PORT}\ntls on\ntls_starttls off")]
        for number, (keep, more) in enumerate(ways):
            box, conf = world.home / f"mpop{number}", world.home / f"mpop{number}.conf"
            mailbox.Maildir(box, create=True)
            conf.write_text(f"account default\nhost {RELAY}\nport {POP3_PORT}\nuser {USER}\npassword \"{PASSWORD}\"\n"
                            f"tls off\ntls_certcheck off\n{more}\n{keep}\ndelivery maildir {box}\n"
                            f"uidls_file {world.home}/mpop{number}.uidls\nreceived_header off\n")
            conf.chmod(0o600)
            run(["mpop", "-C", conf])
            same(folder(box), LETTERS, f"mpop {more}")
            if keep == "keep on":
                run(["mpop", "-C", conf])
                claim(len(folder(box)) == 3, "a letter that was left came twice")
                claim(len(house.left()) == 3, "a letter that was to be left is gone")
            else:
                claim(not house.left(), "a letter is left")
                house.fill()


@scenario(quick=True)
def fetchmail_fetches_and_deletes():
    with World() as world:
        house = House(world)
        for number, (options, more) in enumerate([("keep", "sslproto ''"), ("keep", "sslproto 'auto' no sslcertck"),
                                                  ("no keep", "sslproto 'auto' no sslcertck"), ("no keep", "ssl no sslcertck")]):
            box, conf, home = world.home / f"fetched{number}", world.home / f"fetchmail{number}", world.home / f"home{number}"
            mailbox.Maildir(box, create=True)
            home.mkdir()
            store = world.home / f"store{number}"
            store.write_text(f"#!/bin/sh\nexec cat >{box}/new/$$\n")
            store.chmod(0o755)
            port = POP3S_PORT if more.startswith("ssl ") else POP3_PORT
            conf.write_text(f"set no syslog\npoll {RELAY} service {port} protocol pop3 uidl timeout 60\n  user '{USER}' password '{PASSWORD}' "
                            f"{more} {options} mda '{store}'\n")
            conf.chmod(0o600)
            environment = {**os.environ, "FETCHMAILHOME": str(home), "HOME": str(home)}
            run(["fetchmail", "-f", conf, "-v", "--nodetach"], env=environment)
            same(folder(box), LETTERS, f"fetchmail {more}")
            if options == "keep":
                again = subprocess.run(["fetchmail", "-f", conf, "--nodetach"], env=environment, capture_output=True, check=False)
                claim(again.returncode == 1, f"fetchmail found something new: {again.returncode} {again.stdout!r}")
                claim(len(house.left()) == 3, "a letter that was to be left is gone")
            else:
                claim(not house.left(), "a letter is left")
                house.fill()


@scenario(quick=True)
def getmail_fetches_and_deletes():
    with World() as world:
        house = House(world)
        ways = [("false", "SimplePOP3Retriever", POP3_PORT, ""), ("false", "SimplePOP3Retriever", POP3_PORT, "use_apop = true"),
                ("true", "SimplePOP3SSLRetriever", POP3S_PORT, "")]
        for number, (delete, retriever, port, more) in enumerate(ways):
            box, home = world.home / f"got{number}", world.home / f"getmail{number}"
            mailbox.Maildir(box, create=True)
            for place in (box, *box.iterdir()):
                shutil.chown(place, "nobody")  # as root getmail delivers nothing
            home.mkdir()
            (home / "getmailrc").write_text(f"[retriever]\ntype = {retriever}\nserver = {RELAY}\nport = {port}\nusername = {USER}\n"
                                            f"password = {PASSWORD}\n{more}\n[destination]\ntype = Maildir\npath = {box}/\nuser = nobody\n"
                                            f"[options]\ndelete = {delete}\nread_all = false\ndelivered_to = false\nreceived = false\n")
            run(["getmail", f"--getmaildir={home}", "--rcfile=getmailrc"])
            same(folder(box), LETTERS, f"getmail {retriever} {more}")
            run(["getmail", f"--getmaildir={home}", "--rcfile=getmailrc"])
            claim(len(folder(box)) == 3, "a letter that was left came twice")
            claim(len(house.left()) == (0 if delete == "true" else 3), f"{len(house.left())} letters are left")
