"""A Postfix's configuration is translated, and what comes of it relays as that did."""
import pathlib
import re
import smtplib
import subprocess

from mailworld import BINARY, MX_PORT, RELAY, ROOT, SMTP_PORT, World, claim, eventually, is_open, stop, unstuffed
from scenarios.base import MESSAGE, Peer, scenario

# As Debian's installer writes it for a machine that sends through another one.
STOCK = """\
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no
append_dot_mydomain = no
readme_directory = no
compatibility_level = 3.6
smtpd_tls_cert_file=/etc/ssl/certs/ssl-cert-snakeoil.pem
smtpd_tls_key_file=/etc/ssl/private/ssl-cert-snakeoil.key
smtpd_tls_security_level=may
smtp_tls_CApath=/etc/ssl/certs
smtp_tls_security_level=may
smtp_tls_session_cache_database = btree:${data_directory}/smtp_scache
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
myhostname = relay.test
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
mydestination = $myhostname, localhost
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
mailbox_size_limit = 0
recipient_delimiter = +
inet_protocols = ipv4
"""


def translated(world, more):
    """Runs the script over it; the configuration's path, and what was left over."""
    etc, place = world.home / "etc-postfix", world.home / "etc-ringpost"
    etc.mkdir(exist_ok=True)
    (etc / "main.cf").write_text(STOCK + more)
    master = next(path.read_text() for path in (pathlib.Path("/usr/share/postfix/master.cf.dist"), pathlib.Path("/etc/postfix/master.cf")) if path.exists())
    (etc / "master.cf").write_text(re.sub(r"^smtp(\s+inet)", f"{SMTP_PORT}\\1", master, count=1, flags=re.M))
    done = subprocess.run([ROOT / "scripts/from-postfix", "--from", etc, "--to", place], capture_output=True, text=True, check=False)
    claim(done.returncode in (0, 1), f"from-postfix ended with {done.returncode}: {done.stderr}")
    config = place / "ringpost.toml"
    config.write_text(config.read_text().replace('"/var/lib/ringpost"', f'"{world.home}/data"') + '[control]\nbind = "none"\n')
    checked = subprocess.run([BINARY, "check", "--config", config], capture_output=True, text=True, check=False)
    claim(checked.returncode == 0, f"{checked.stderr}\n{config.read_text()}")
    return config, done.stderr


@scenario(quick=True)
def migration_from_postfix():
    with World() as world, Peer("127.77.0.11") as peer, Peer("127.77.0.12") as other:
        transport = world.home / "transport"
        transport.write_text(f".inside.test smtp:[127.77.0.12]:{MX_PORT}\nold.test error:gone\n")
        config, left = translated(world, f"inet_interfaces = {RELAY}\nrelayhost = [127.77.0.11]:{MX_PORT}\ntransport_maps = texthash:{transport}\n"
                                  "message_size_limit = 100000\ncanonical_maps = hash:/etc/canonical\nsmtpd_recipient_limit = 3\n")
        claim("canonical_maps" in left and "alias_maps" in left, f"what was left over is not said: {left}")
        claim("biff" not in left and "smtpd_relay_restrictions" not in left, f"what does not matter is said: {left}")
        relay = world.start(BINARY, "serve", "--config", config, log="relay.log")
        eventually("the relay listens", lambda: is_open(RELAY, SMTP_PORT))
        with smtplib.SMTP(RELAY, SMTP_PORT, timeout=30) as client:
            client.ehlo("c.test")
            claim(client.esmtp_features["size"] == "100000", f"SIZE: {client.esmtp_features}")
            client.sendmail("a@c.test", ["b@d.test"], MESSAGE)
            client.sendmail("a@c.test", ["b@deep.inside.test"], MESSAGE)
            refused = client.sendmail("a@c.test", ["1@d.test", "2@d.test", "3@d.test", "4@d.test"], MESSAGE)
            claim(list(refused) == ["4@d.test"], f"recipients: {refused}")
            client.mail("a@c.test")
            claim(client.rcpt("x@old.test")[0] == 550, "mail for a domain that is an error was taken")
        for at, rcpt, count in ((peer, "b@d.test", 2), (other, "b@deep.inside.test", 1)):
            messages = at.wait_for(count)
            wire = next(wire for _, rcpts, wire in messages if rcpt in rcpts[0])
            claim(unstuffed(wire).endswith(MESSAGE), f"content for {rcpt}")
        stop(relay)


@scenario(quick=True)
def migration_keeps_a_password_to_its_owner():
    with World() as world:
        secrets = world.home / "sasl"
        secrets.write_text('[smtp.provider.test]:587 me:with:"both"\n')
        config, left = translated(world, "inet_interfaces = loopback-only\nrelayhost = [smtp.provider.test]:587\nsmtp_sasl_auth_enable = yes\n"
                                  f"smtp_sasl_password_maps = texthash:{secrets}\n")
        file = config.parent / "smtp.provider.test-587.toml"
        claim(file.stat().st_mode & 0o777 == 0o600, f"its mode is {file.stat().st_mode:o}")
        claim('password = "with:\\"both\\""' in file.read_text() and "both" not in left + config.read_text(), "the password is elsewhere, too")
