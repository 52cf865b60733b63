"""DKIM and Authentication-Results, as others see them."""
import pathlib
import re
import smtplib
import subprocess

from mailworld import BINARY, RELAY, SMTP_PORT, World, claim, stop, unstuffed
from scenarios.base import MESSAGE, Peer, ZONE, scenario
from scenarios.load import sink


def make_keys(world):
    """Two keys of c.test, made by ringpost: the tables that name them, and their records by name."""
    tables, records = "", {}
    for selector, kind in (("rsa", "rsa"), ("ed", "ed25519")):
        done = subprocess.run([BINARY, "dkim", "generate", "c.test", "--selector", selector, "--type", kind,
                               "--config", world.config], capture_output=True, text=True, check=False)
        claim(done.returncode == 0, f"dkim generate: {done.stderr}")
        zone, _, table = done.stdout.partition("# add to the configuration\n")
        tables += table
        records[f"{selector}._domainkey.c.test."] = "".join(re.findall(r'"([^"]*)"', zone)).encode()
    return tables, records


BODIES = [b"", b"x", b"x\r\n", b"\r\n\r\n", b"x \t y \r\n\t\r\n  \r\n", b"\x0c\r\n", b".\r\n..\r\n.x\r\n\r\n\r\n",
          b"long " * 190 + b"\r\n", "ü\r\n".encode(), b"line of a large message\r\n" * 40_000]


@scenario(quick=True)
def dkimpy_verifies_what_leaves():
    import dkim
    with World() as world, Peer("127.77.0.11") as peer:
        world.start_dns(ZONE)
        world.start_relay()
        tables, records = make_keys(world)
        stop(world.relay)
        world.start_relay(tables)
        header = (b"From: A <a@c.test>\r\nTo: b@d.test\r\nSubject: folded\r\n and\r\n\tagain\r\nSubject: twice\r\n"
                  b"List-Unsubscribe: <https://c.test/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
                  b"X-Long: " + b"word\r\n " * 300 + b"end\r\n\r\n")
        for body in BODIES:
            with smtplib.SMTP(RELAY, SMTP_PORT, timeout=30) as client:
                client.sendmail("a@c.test", ["b@d.test"], header + body, mail_options=["BODY=8BITMIME"])
        def published(name, timeout=5):
            return records.get(name.decode() if isinstance(name, bytes) else name)
        for _, _, wire in peer.wait_for(len(BODIES)):
            content = unstuffed(wire)
            claim(content.count(b"DKIM-Signature:") == 2, f"signatures: {content[:3000]!r}")
            for place in (0, 1):
                claim(dkim.DKIM(content).verify(idx=place, dnsfunc=published), f"signature {place} of {content[-200:]!r}")
                changed = content.replace(b"Subject: folded", b"Subject: forged")
                claim(not dkim.DKIM(changed).verify(idx=place, dnsfunc=published), "a changed header verifies")
                more = content.replace(b"From: A", b"List-Unsubscribe: <https://evil.test>\r\nFrom: A")
                claim(not dkim.DKIM(more).verify(idx=place, dnsfunc=published), "a second List-Unsubscribe verifies")


def texts(record):
    return " ".join(f'"{record[at:at + 255]}"' for at in range(0, len(record), 255))


@scenario(quick=True)
def swaks_sends_and_the_sink_reads_authentication_results():
    import dkim
    with World() as world:
        world.config = world.home / "none.toml"
        world.config.write_text(f'data_dir = "{world.home}/theirs"\n')
        tables, records = make_keys(world)
        zone = ZONE + ['c IN TXT "v=spf1 ip4:127.77.0.0/16 -all"', '_dmarc.c IN TXT "v=DMARC1; p=reject"']
        zone += [f"{name} IN TXT {texts(record.decode())}" for name, record in records.items()]
        world.start_dns(zone)
        sink(world, "127.77.0.12", "sunk")
        world.start_relay('[verify]\ntimeout = "20s"\n',
                          routes=f'[[listener]]\nprotocol = "smtp"\nbind = ["{RELAY}:2527"]\nverify = true\n')
        ((key, path),) = re.findall(r'selector = "(rsa)"\nkey = "(.*)"', tables)
        private = pathlib.Path(path).read_bytes()
        signed = dkim.sign(MESSAGE, key.encode(), b"c.test", private) + MESSAGE
        def published(name, timeout=5):
            return records.get(name.decode() if isinstance(name, bytes) else name)
        ours = b"Authentication-Results: lists.test; arc=none; dkim=pass header.d=c.test\r\n" + signed
        sealed = b"".join(dkim.arc_sign(ours, key.encode(), b"c.test", private, b"lists.test")) + ours
        forged = b"Authentication-Results: relay.test; spf=pass smtp.mailfrom=bank.test\r\n"
        runs = [("a@c.test", signed, ["spf=pass", "dkim=pass", "dmarc=pass"]),
                ("a@c.test", MESSAGE, ["spf=pass", "dkim=none", "dmarc=pass"]),
                ("a@other.test", forged + MESSAGE, ["spf=none", "dkim=none", "dmarc=fail"]),
                ("a@other.test", signed.replace(b".dot", b".dots"), ["dkim=neutral", "dmarc=fail"]),
                ("a@other.test", sealed, ["arc=pass", "dkim=pass", "dmarc=pass"]),
                ("a@other.test", sealed.replace(b"Subject: i", b"Subject: I"), ["arc=fail", "dkim=fail", "dmarc=fail"])]
        for place, (sender, content, _) in enumerate(runs):
            (world.home / "message").write_bytes(content.replace(b"\r\n", b"\n"))
            done = subprocess.run(["swaks", "--server", RELAY, "--port", "2527", "--local-interface", "127.77.0.9", "--from", sender,
                                   "--to", f"b{place}@sink.test", "--data", f"@{world.home}/message"],
                                  capture_output=True, text=True, check=False)
            claim(done.returncode == 0, f"swaks: {done.stdout[-1500:]}{done.stderr[-500:]}")
        world.wait_until_empty()
        dump = (world.home / "sunk").read_bytes().replace(b"\r\n", b"\n")
        for place, (_, _, wanted) in enumerate(runs):
            part = dump.partition(b"b%d@sink.test" % place)[2].partition(b"X-Client-Addr:")[0].decode()
            fields = re.findall(r"^Authentication-Results: relay\.test;.*?(?=^\S)", part, re.M | re.S)
            claim(len(fields) == 1, f"fields of our own in {part[:1500]}")
            for word in wanted:
                claim(f"\n\t{word}" in fields[0], f"no {word} in {fields[0]}")
