"""Postfix as a neighbour, in both directions."""
import os
import pathlib
import pwd
import re
import shutil
import smtplib
import subprocess

from mailworld import MX_PORT, RELAY, SMTP_PORT, World, claim, eventually, is_open, unstuffed
from scenarios.base import MESSAGE, Peer, ZONE, scenario


def start_postfix(world):
    """A Postfix of its own at 127.77.0.20: p.test goes on to 127.77.0.11, all else to Ringpost."""
    etc = world.home / "postfix"
    for folder in (etc, world.home / "pfspool", world.home / "pfdata"):
        folder.mkdir()
    shutil.chown(world.home / "pfdata", "postfix")
    master = next(pathlib.Path(path).read_text() for path in ("/usr/share/postfix/master.cf.dist", "/etc/postfix/master.cf.proto",
                                                              "/etc/postfix/master.cf") if os.path.exists(path))
    master = re.sub(r"^smtp(\s+inet)", f"127.77.0.20:{MX_PORT}\\1", master, count=1, flags=re.M)
    # Nothing in a chroot: this instance has none prepared.
    master = re.sub(r"^(\S+\s+\S+\s+\S+\s+\S+\s+)y(\s)", r"\1n\2", master, flags=re.M)
    (etc / "master.cf").write_text(master + "\npostlog unix-dgram n - n - 1 postlogd\n" * ("postlogd" not in master))
    (etc / "main.cf").write_text(f"""
compatibility_level = 3.6
queue_directory = {world.home}/pfspool
data_directory = {world.home}/pfdata
maillog_file = {world.home}/postfix.log
maillog_file_prefixes = {world.home}
syslog_name = postfix-interop
myhostname = postfix.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
alias_maps =
alias_database =
local_recipient_maps =
relayhost = [{RELAY}]:{SMTP_PORT}
transport_maps = inline:{{ {{ p.test = smtp:[127.77.0.11]:{MX_PORT} }} }}
smtp_tls_security_level = none
smtpd_tls_security_level = none
smtp_dns_support_level = disabled
""")
    claim(pwd.getpwnam("postfix"), "no user postfix")
    world.start("postfix", "-c", etc, "start-fg", log="postfix-start.log")
    eventually("Postfix listens", lambda: is_open("127.77.0.20", MX_PORT))


@scenario(quick=True)
def postfix_relays_to_ringpost_and_ringpost_to_postfix():
    with World() as world, Peer("127.77.0.11") as peer:
        world.start_dns(ZONE)
        world.start_relay()
        start_postfix(world)
        try:
            for host, port, rcpt in (("127.77.0.20", MX_PORT, "b@d.test"), (RELAY, SMTP_PORT, "b@p.test")):
                with smtplib.SMTP(host, port, timeout=30) as client:
                    client.sendmail("a@c.test", [rcpt], MESSAGE)
            messages = peer.wait_for(2)
            for by_ringpost, rcpt in ((True, "b@d.test"), (False, "b@p.test")):
                wire = next(wire for _, rcpts, wire in messages if rcpt in rcpts[0])
                content = unstuffed(wire)
                claim(content.endswith(MESSAGE), f"content for {rcpt}: {content!r}")
                traces = re.findall(rb"^Received: [^\r]*(?:\r\n[ \t][^\r]*)*", content, re.M)
                claim(len(traces) == 2 and (b"by relay.test" in traces[0]) == by_ringpost, f"traces: {traces}")
        finally:
            subprocess.run(["postfix", "-c", world.home / "postfix", "stop"], capture_output=True, check=False)
