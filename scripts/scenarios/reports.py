"""Reports, as others read them."""
import email
import email.policy
import re
import smtplib
import subprocess

from mailworld import MX_PORT, RELAY, SMTP_PORT, World, claim, unstuffed
from scenarios.base import MESSAGE, Peer, ZONE, scenario
from scenarios.postfix import start_postfix


def report_of(wire):
    """What Python's email package makes of a report: per-message and per-recipient fields."""
    message = email.message_from_bytes(unstuffed(wire), policy=email.policy.default)
    claim(message.get_content_type() == "multipart/report", f"type {message.get_content_type()}")
    claim(message.get_param("report-type") == "delivery-status", "report-type")
    claim(message["Auto-Submitted"] == "auto-replied", "Auto-Submitted")
    claim(not message.defects, f"defects: {message.defects}")
    parts = list(message.iter_parts())
    claim([part.get_content_type() for part in parts[:2]] == ["text/plain", "message/delivery-status"] and len(parts) == 3,
          f"parts {[part.get_content_type() for part in parts]}")
    for part in parts:
        claim(not part.defects, f"defects: {part.defects}")
    # The email package reads each block of fields as a message of its own.
    per_message, *per_recipient = parts[1].get_payload()
    return per_message, [block for block in per_recipient if block.keys()], parts


@scenario(quick=True)
def bounce_is_read_by_pythons_email_package():
    def decide(word, line):
        return "550-5.1.1 first line of two\r\n550 5.1.1 No such user here" if word == "RCPT" and "<no@" in line else None
    with World() as world, Peer("127.77.0.11", decide=decide), Peer("127.77.0.10") as home:
        world.start_dns(ZONE)
        world.start_relay()
        with smtplib.SMTP(RELAY, SMTP_PORT, timeout=30) as client:
            client.sendmail("a@c.test", ["no@d.test", "yes@d.test"], MESSAGE, mail_options=["RET=HDRS", "ENVID=QQ+2B314159"],
                            rcpt_options=["ORCPT=rfc822;Orig+2Bx@d.test"])
        ((mail, _, wire),) = home.wait_for(1)
        claim(mail.startswith("MAIL FROM:<>"), mail)
        per_message, recipients, parts = report_of(wire)
        claim(per_message["Reporting-MTA"] == "dns; relay.test", str(per_message))
        claim(per_message["Original-Envelope-Id"] == "QQ+314159", str(per_message))
        (block,) = recipients
        wanted = {"Final-Recipient": "rfc822; no@d.test", "Action": "failed", "Status": "5.1.1", "Remote-MTA": "dns; mx1.test",
                  "Diagnostic-Code": "smtp; 550-5.1.1 first line of two 550 5.1.1 No such user here"}
        for name, value in wanted.items():
            claim(re.sub(r"\s+", " ", str(block[name])) == value, f"{name}: {block[name]!r}, not {value!r}")
        claim(parts[2].get_content_type() == "text/rfc822-headers", parts[2].get_content_type())


@scenario(quick=True)
def bounce_says_all_that_postfix_says():
    def decide(word, _):
        return "550 5.1.1 No such user here" if word == "RCPT" else None
    with World() as world, Peer("127.77.0.11", decide=decide), Peer("127.77.0.10") as home:
        world.start_dns(ZONE)
        world.start_relay()
        start_postfix(world)
        try:
            options = {"mail_options": ["ENVID=QQ314159"], "rcpt_options": ["ORCPT=rfc822;first@d.test"]}
            for host, port, rcpt in (("127.77.0.20", MX_PORT, "no@p.test"), (RELAY, SMTP_PORT, "no@d.test")):
                with smtplib.SMTP(host, port, timeout=30) as client:
                    client.sendmail("a@c.test", [rcpt], MESSAGE, **options)
            reports = [report_of(wire) for _, _, wire in home.wait_for(2)]
        finally:
            subprocess.run(["postfix", "-c", world.home / "postfix", "stop"], capture_output=True, check=False)
        ours = next(report for report in reports if "relay.test" in report[0]["Reporting-MTA"])
        theirs = next(report for report in reports if "postfix.test" in report[0]["Reporting-MTA"])

        def names(block):
            return {name.title() for name in block.keys() if not name.title().startswith("X-")}
        claim(names(theirs[0]) <= names(ours[0]), f"of the message: {names(theirs[0])}, and we {names(ours[0])}")
        claim(names(theirs[1][0]) <= names(ours[1][0]), f"of the recipient: {names(theirs[1][0])}, and we {names(ours[1][0])}")
        for name in ("Action", "Status", "Original-Recipient", "Diagnostic-Code"):
            said = [re.sub(r"[;\s]+", " ", str(report[1][0][name])) for report in (ours, theirs)]
            claim(said[0] == said[1], f"{name}: {said}")
        # Nobody asked for the headers alone.
        claim(ours[2][2].get_content_type() == theirs[2][2].get_content_type(), f"the original: {ours[2][2]}")


@scenario(quick=True)
def delay_notice_is_read_by_pythons_email_package():
    with World() as world, Peer("127.77.0.14", decide=lambda word, _: "451 4.7.1 greylisted" if word == "RCPT" else None), \
            Peer("127.77.0.10") as home:
        world.start_dns(ZONE)
        world.start_relay('[queue]\nretry = ["1s"]\ndelay_notice = "2s"')
        with smtplib.SMTP(RELAY, SMTP_PORT, timeout=30) as client:
            client.sendmail("a@c.test", ["b@grey.test"], MESSAGE)
        ((_, _, wire),) = home.wait_for(1)
        _, (block,), _ = report_of(wire)
        claim((block["Action"], block["Status"]) == ("delayed", "4.7.1"), str(block))
        claim(block["Will-Retry-Until"], str(block))
