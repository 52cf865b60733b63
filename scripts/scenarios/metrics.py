"""/metrics, the alert rules and the Grafana dashboard, as Prometheus reads them."""
import json
import re
import shutil
import smtplib
import subprocess

from mailworld import MX_PORT, RELAY, ROOT, SMTP_PORT, Skipped, World, claim, eventually
from scenarios.base import MESSAGE, Peer, scenario

SINK = RELAY.rsplit(".", 1)[0] + ".33"
# Of the text format of Prometheus, not of ours; and what only Prometheus itself knows.
PARTS = ("_bucket", "_sum", "_count")


def promtool(*words, text=None):
    done = subprocess.run(["promtool", *words], input=text, capture_output=True, text=True, check=False)
    claim(done.returncode == 0, f"promtool {words}: {done.stdout}{done.stderr}")


def named(text):
    return set(re.findall(r"\bringpost_[a-z0-9_]+", text))


@scenario(quick=True)
def metrics():
    if not shutil.which("promtool"):
        raise Skipped("no promtool")
    with World() as world, Peer(SINK, port=MX_PORT) as peer:
        world.start_dns([f"d IN MX 10 mx\nmx IN A {SINK}"])
        world.start_relay()
        with smtplib.SMTP(RELAY, SMTP_PORT, timeout=30) as client:
            client.sendmail("a@d.test", ["b@d.test"], MESSAGE)
        peer.wait_for(1)
        eventually("the delivery is counted", lambda: "ringpost_recipients_delivered_total 1\n" in world.fetch("/metrics")[1])
        status, text = world.fetch("/metrics")
        claim(status == 200, text)
    promtool("check", "metrics", text=text)
    rules, board = ROOT / "tuning/prometheus-alerts.yml", ROOT / "tuning/grafana-dashboard.json"
    promtool("check", "rules", str(rules))
    there = named(text)
    there |= {name.removesuffix(part) for name in there for part in PARTS}
    for path in (rules, board):
        missing = named(path.read_text()) - there
        claim(not missing, f"{path.name} asks for what the relay has not: {missing}")
    panels = json.loads(board.read_text())["panels"]
    claim(len({panel["id"] for panel in panels}) == len(panels), "panels share an id")
