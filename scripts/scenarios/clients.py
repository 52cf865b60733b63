"""Programs that submit mail."""
import asyncio
import smtplib
import subprocess

from mailworld import BINARY, RELAY, SMTP_PORT, Failure, World, claim, eventually, unstuffed, without_trace
from scenarios.base import MESSAGE, Peer, ZONE, scenario


@scenario(quick=True)
def swaks_with_each_extension():
    with World() as world, Peer("127.77.0.11") as peer:
        world.start_dns(ZONE)
        world.start_relay()
        runs = [[], ["--pipeline"], ["--protocol", "SMTP"], ["--helo", "source.test"],
                ["--from", "<>"], ["--to", "b@d.test,c@d.test"]]
        (world.home / "message").write_bytes(MESSAGE.replace(b"\r\n", b"\n"))
        for options in runs:
            done = subprocess.run(["swaks", "--server", RELAY, "--port", str(SMTP_PORT), "--from", "a@c.test", "--to", "b@d.test",
                                   "--data", f"@{world.home}/message", *options], capture_output=True, text=True, check=False)
            claim(done.returncode == 0, f"swaks {options}: {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-500:]}")
        for _, _, wire in peer.wait_for(len(runs)):
            # swaks ends what it sends with an empty line of its own.
            claim(unstuffed(wire).endswith(b"\r\n\r\n.dot\r\n..dots\r\nend\r\n\r\n"), f"content: {wire[-200:]!r}")


@scenario(quick=True)
def msmtp_submits():
    with World() as world, Peer("127.77.0.11") as peer:
        world.start_dns(ZONE)
        world.start_relay()
        done = subprocess.run(["msmtp", "-C", "/dev/null", f"--host={RELAY}", f"--port={SMTP_PORT}", "--tls=off", "--auth=off",
                               "--from=a@c.test", "--dsn-notify=failure", "--dsn-return=headers", "b@d.test"],
                              input=MESSAGE.replace(b"\r\n", b"\n"), capture_output=True, check=False)
        claim(done.returncode == 0, f"msmtp: {done.stderr.decode()}")
        ((mail, rcpts, wire),) = peer.wait_for(1)
        claim(without_trace(unstuffed(wire)) == MESSAGE, f"content: {wire!r}")
        claim("RET=HDRS" in mail and "NOTIFY=FAILURE" in rcpts[0], f"{mail} {rcpts}")


PASSWORD, SUBMISSION_PORT, SUBMISSIONS_PORT = "pass word", 2587, 2465


def start_submission(world):
    """A relay where ann@c.test may log in, in plain on loopback too."""
    world.start_relay(f"""
[[listener]]
protocol = "submission"
bind = ["{RELAY}:{SUBMISSION_PORT}"]
[[listener]]
protocol = "submissions"
bind = ["{RELAY}:{SUBMISSIONS_PORT}"]
""")
    subprocess.run([BINARY, "user", "add", "ann@c.test", "--config", world.config], input=PASSWORD, text=True, check=True,
                   capture_output=True)

    def offered():
        with smtplib.SMTP(RELAY, SUBMISSION_PORT, timeout=30) as client:
            client.ehlo()
            return client.has_extn("auth")
    eventually("AUTH is offered", offered)


def run(*words, stdin=""):
    done = subprocess.run([str(word) for word in words], input=stdin, capture_output=True, text=True, check=False)
    claim(done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-800:]}")
    return done.stdout


@scenario(quick=True)
def users_log_in_with_swaks_msmtp_and_gsasl():
    with World() as world, Peer("127.77.0.11") as peer:
        world.start_dns(ZONE)
        start_submission(world)
        swaks = ["swaks", "--server", RELAY, "--from", "ann@c.test", "--to", "b@d.test", "--auth-user", "ann@c.test",
                 "--auth-password", PASSWORD, "--body", "x"]
        run(*swaks, "--port", SUBMISSION_PORT, "--auth", "PLAIN", "--tls")
        run(*swaks, "--port", SUBMISSION_PORT, "--auth", "LOGIN", "--tls")
        run(*swaks, "--port", SUBMISSIONS_PORT, "--auth", "PLAIN", "--tls-on-connect")
        (world.home / "secret").write_text(PASSWORD + "\n")
        msmtp = ["msmtp", "-C", "/dev/null", f"--host={RELAY}", "--from=ann@c.test", "--user=ann@c.test", "--tls-certcheck=off",
                 f"--passwordeval=cat {world.home}/secret", "--tls=on"]
        text = "From: ann@c.test\nBcc: hidden@d.test\n\nx\n"
        run(*msmtp, f"--port={SUBMISSION_PORT}", "--tls-starttls=on", "--auth=plain", "b@d.test", stdin=text)
        run(*msmtp, f"--port={SUBMISSIONS_PORT}", "--tls-starttls=off", "--auth=scram-sha-256", "b@d.test", stdin=text)
        messages = peer.wait_for(5)
        for _, _, wire in messages:
            claim(b" with ESMTPSA id " in wire.replace(b"\r\n\t", b" "), f"{wire[:300]!r}")
            claim(b"Message-ID: <" in wire or b"Message-Id: <" in wire, f"{wire[:500]!r}")
            claim(b"hidden@" not in wire, f"{wire!r}")
        # gsasl says STARTTLS before EHLO, which is not in order: in plain then.
        gsasl = ["gsasl", "--smtp", f"--connect={RELAY}:{SUBMISSION_PORT}", "--no-starttls", "--authentication-id=ann@c.test",
                 "--authorization-id=", f"--password={PASSWORD}"]
        for mechanism in ["SCRAM-SHA-256", "PLAIN", "LOGIN"]:
            done = subprocess.run([*gsasl, f"--mechanism={mechanism}"], input="QUIT\n", capture_output=True, text=True, check=False)
            claim("235 2.7.0" in done.stdout, f"{mechanism}: {done.stdout[-1500:]}{done.stderr[-800:]}")


@scenario(quick=True)
def python_smtplib_submits():
    with World() as world, Peer("127.77.0.11") as peer:
        world.start_dns(ZONE)
        world.start_relay()
        with smtplib.SMTP(RELAY, SMTP_PORT, timeout=30) as client:
            client.ehlo()
            refused = client.sendmail("a@c.test", ["b@d.test", "c@d.test"], MESSAGE, mail_options=["BODY=8BITMIME"],
                                      rcpt_options=["NOTIFY=FAILURE,DELAY"])
            claim(refused == {}, str(refused))
            try:
                client.sendmail("a@c.test", ["not an address@@"], MESSAGE)
                raise Failure("a broken address was accepted")
            except smtplib.SMTPRecipientsRefused:
                pass
        wire = peer.wait_for(1)[0][2]
        claim(without_trace(unstuffed(wire)) == MESSAGE, f"content: {wire!r}")


@scenario(quick=True)
def aiosmtplib_submits():
    import aiosmtplib

    async def submit():
        await asyncio.gather(*(aiosmtplib.send(MESSAGE, sender="a@c.test", recipients=[f"b{n}@d.test"],
                                               hostname=RELAY, port=SMTP_PORT, start_tls=False) for n in range(50)))
    with World() as world, Peer("127.77.0.11") as peer:
        world.start_dns(ZONE)
        world.start_relay()
        asyncio.run(submit())
        claim(all(without_trace(unstuffed(wire)) == MESSAGE for _, _, wire in peer.wait_for(50)), "content")
        claim(len(peer.messages) == 50, f"{len(peer.messages)} of 50")
