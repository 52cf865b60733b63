"""Postfix as a neighbour, in both directions."""
import os
import pathlib
import pwd
import re
import shutil
import smtplib
import subprocess

from mailworld import MX_PORT, RELAY, SMTP_PORT, World, claim, eventually, is_open, stop, unstuffed
from scenarios.base import MESSAGE, Peer, ZONE, scenario
from scenarios.clients import PASSWORD, SUBMISSION_PORT, SUBMISSIONS_PORT, start_submission


def start_postfix(world, main="", master_more="", host="127.77.0.20", **options):
    """A Postfix of its own at `host`: p.test goes on to 127.77.0.11, all else to Ringpost. What
    `main` says of a setting takes its place."""
    etc = world.home / "postfix"
    for folder in (etc, world.home / "pfspool", world.home / "pfdata"):
        folder.mkdir()
    shutil.chown(world.home / "pfdata", "postfix")
    master = next(pathlib.Path(path).read_text() for path in ("/usr/share/postfix/master.cf.dist", "/etc/postfix/master.cf.proto",
                                                              "/etc/postfix/master.cf") if os.path.exists(path))
    master = re.sub(r"^smtp(\s+inet)", f"{host}:{MX_PORT}\\1", master, count=1, flags=re.M)
    # Nothing in a chroot: this instance has none prepared.
    master = re.sub(r"^(\S+\s+\S+\s+\S+\s+\S+\s+)y(\s)", r"\1n\2", master, flags=re.M)
    (etc / "master.cf").write_text(master + "\npostlog unix-dgram n - n - 1 postlogd\n" * ("postlogd" not in master) + master_more)
    settings = f"""
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
{main}"""
    named = dict(re.findall(r"^(\w+) = ?(.*)$", settings, re.M))
    (etc / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in named.items()))
    claim(pwd.getpwnam("postfix"), "no user postfix")
    process = world.start("postfix", "-c", etc, "start-fg", log="postfix-start.log", **options)
    eventually("Postfix listens", lambda: is_open(host, MX_PORT))
    return process


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


SMTPS_PORT = 2465


def stop_postfix(world):
    subprocess.run(["postfix", "-c", world.home / "postfix", "stop"], capture_output=True, check=False)
    eventually("Postfix is gone", lambda: not is_open("127.77.0.20", MX_PORT))
    for folder in ("postfix", "pfspool", "pfdata"):
        shutil.rmtree(world.home / folder)


@scenario()
def postfix_submits_with_sasl_over_tls_that_it_verifies():
    """Over STARTTLS and with TLS from the first octet on; it holds mail back from whom it cannot verify."""
    with World() as world, Peer("127.77.0.11") as peer:
        world.start_dns(ZONE)
        start_submission(world)
        runs = [(SUBMISSION_PORT, "no", mechanism) for mechanism in ("plain", "login", "scram-sha-256")]
        for count, (port, is_wrapped, mechanism) in enumerate(runs + [(SUBMISSIONS_PORT, "yes", "plain")], 1):
            submit_by_postfix(world, port, is_wrapped, mechanism, world.home / "data/keys/self-signed.pem", PASSWORD)
            try:
                wire = unstuffed(peer.wait_for(count)[-1][2])
                ours = re.search(rb"^Received: [^\r]*(?:\r\n[ \t][^\r]*)*", wire, re.M)[0]
                claim(b"by relay.test" in ours and b"with ESMTPSA" in ours, f"{port} {mechanism}: {ours}")
                claim("Verified TLS connection established to 127.77.0.1" in (world.home / "postfix.log").read_text(), "not verified")
                claim(wire.endswith(MESSAGE), f"content: {wire!r}")
            finally:
                stop_postfix(world)
        logins = world.log().count("logged in as ann@c.test")
        claim(logins == len(runs) + 1, f"{logins} logins")
        make_certificate(world, "stranger", "relay.test")
        for authority, password, words in ((world.home / "stranger.pem", PASSWORD, "status=deferred.*certificate"),
                                           (world.home / "data/keys/self-signed.pem", "guess", "status=deferred.*SASL authentication failed")):
            (world.home / "postfix.log").write_text("")
            submit_by_postfix(world, SUBMISSION_PORT, "no", "plain", authority, password)
            try:
                eventually(words, lambda: re.search(words, (world.home / "postfix.log").read_text()))
            finally:
                stop_postfix(world)
        claim(len(peer.messages) == len(runs) + 1, "mail went where it must not")


def submit_by_postfix(world, port, is_wrapped, mechanism, authority, password):
    """Starts a Postfix that has to log in at Ringpost and to verify it, and gives it a message."""
    hop = f"[{RELAY}]:{port}"
    (world.home / "password").write_text(f"{hop} ann@c.test:{password}\n")
    start_postfix(world, f"""
relayhost = {hop}
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:{world.home}/password
smtp_sasl_security_options = noanonymous
smtp_sasl_mechanism_filter = {mechanism}
smtp_tls_security_level = verify
smtp_tls_policy_maps = inline:{{ {{ {hop} = verify match=relay.test }} }}
smtp_tls_CAfile = {authority}
smtp_tls_wrappermode = {is_wrapped}
smtp_tls_loglevel = 1
""")
    with smtplib.SMTP("127.77.0.20", MX_PORT, timeout=30) as client:
        client.sendmail("ann@c.test", ["b@d.test"], MESSAGE)


def make_certificate(world, file, name, kind=("rsa:2048",)):
    """NAME.pem and NAME.key, which vouch for themselves."""
    done = subprocess.run(["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-days", "2", "-subj", f"/CN={name}",
                           "-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=critical,CA:FALSE",
                           "-keyout", world.home / f"{file}.key", "-out", world.home / f"{file}.pem"],
                          capture_output=True, text=True, check=False)
    claim(done.returncode == 0, f"openssl req: {done.stderr}")


@scenario()
def postfix_is_a_smart_host_that_wants_sasl_and_tls():
    """With Dovecot's users behind it. Ringpost verifies it, logs in, and waits where the password is wrong."""
    with World() as world, Peer("127.77.0.11") as peer:
        world.start_dns(ZONE + ["smart IN A 127.77.0.20"])
        make_certificate(world, "smart", "smart.test")
        start_dovecot_auth(world)
        start_postfix(world, f"""
mynetworks =
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {world.home}/auth-client
smtpd_tls_security_level = encrypt
smtpd_tls_auth_only = yes
smtpd_tls_cert_file = {world.home}/smart.pem
smtpd_tls_key_file = {world.home}/smart.key
transport_maps = inline:{{ {{ d.test = smtp:[127.77.0.11]:{MX_PORT} }} }}
""", f"127.77.0.20:{SMTPS_PORT} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n")
        try:
            credentials = world.home / "smart.toml"
            for count, to in enumerate((f"smtp://smart.test:{MX_PORT}", f"smtps://smart.test:{SMTPS_PORT}"), 1):
                write_credentials(credentials, PASSWORD)
                relay_through(world, to, credentials)
                wire = unstuffed(peer.wait_for(count)[-1][2])
                traces = re.findall(rb"^Received: [^\r]*(?:\r\n[ \t][^\r]*)*", wire, re.M)
                claim(b"by postfix.test" in traces[0] and b"with ESMTPSA" in traces[0], f"{to}: {traces}")
                claim(wire.endswith(MESSAGE), f"{to}: {wire!r}")
                claim(re.search(r"relay=smart.test.*status=sent.*tls=verified: TLSv1.3", world.log()), world.log()[-2000:])
                stop(world.relay)
            write_credentials(credentials, "guess")
            relay_through(world, to, credentials)
            eventually("Postfix refuses the password",
                       lambda: re.search(r"dsn=4.7.8.*status=deferred.*535 5.7.8", world.log()))
            claim(len(peer.messages) == 2, "mail went without a password")
        finally:
            stop_postfix(world)


def relay_through(world, to, credentials):
    world.start_relay(f'[tls]\ntrusted_roots = "{world.home}/smart.pem"\n',
                      routes=f'[[route]]\ndomain = "*"\nto = "{to}"\ncredentials = "{credentials}"\n')
    with smtplib.SMTP(RELAY, SMTP_PORT, timeout=30) as client:
        client.sendmail("ann@c.test", ["b@d.test"], MESSAGE)


def write_credentials(path, password):
    path.write_text(f'user = "ann@c.test"\npassword = "{password}"\n')
    path.chmod(0o600)


def start_dovecot_auth(world):
    """Dovecot's users, at the socket where Postfix asks for them, and nothing else of it."""
    (world.home / "users").write_text(f"ann@c.test:{{PLAIN}}{PASSWORD}\n")
    (world.home / "dovecot.conf").write_text(f"""
base_dir = {world.home}/dovecot
state_dir = {world.home}/dovecot
protocols =
ssl = no
log_path = {world.home}/dovecot.log
auth_mechanisms = plain login
passdb {{
  driver = passwd-file
  args = {world.home}/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}}
service auth {{
  unix_listener {world.home}/auth-client {{
    mode = 0666
  }}
}}
""")
    world.start("dovecot", "-F", "-c", world.home / "dovecot.conf", log="dovecot-start.log")
    eventually("Dovecot listens", (world.home / "auth-client").exists)
