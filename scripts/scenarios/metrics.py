"""/metrics, the alert rules and the Grafana dashboard, as Prometheus reads them."""
import json
import re
import shutil
import smtplib
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from mailworld import BINARY, CONTROL_PORT, MX_PORT, RELAY, ROOT, SMTP_PORT, Skipped, World, claim, eventually, is_open
from scenarios.base import MESSAGE, Peer, scenario

SINK = RELAY.rsplit(".", 1)[0] + ".33"
PROMETHEUS_PORT = 9090
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


def asked(query):
    """What Prometheus answers, by stage: values, and of whole histograms their counts."""
    address = f"http://{SINK}:{PROMETHEUS_PORT}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(address, timeout=30) as answer:
        found = json.load(answer)
    claim(found["status"] == "success", found)
    return {one["metric"].get("stage"): float(one["value"][1] if "value" in one else one["histogram"][1]["count"])
            for one in found["data"]["result"]}


def is_ready():
    """Prometheus listens before it answers."""
    if not is_open(SINK, PROMETHEUS_PORT):
        return False
    try:
        with urllib.request.urlopen(f"http://{SINK}:{PROMETHEUS_PORT}/-/ready", timeout=30) as answer:
            return answer.status == 200
    except urllib.error.HTTPError:
        return False


@scenario()
def native_histograms():
    """A real Prometheus scrapes native histograms, and its percentiles are those of `ringpost latency`."""
    if not shutil.which("prometheus"):
        raise Skipped("no prometheus")
    with World() as world, Peer(SINK, port=MX_PORT) as peer:
        world.start_dns([f"d IN MX 10 mx\nmx IN A {SINK}"])
        world.start_relay()
        for _ in range(4):
            with smtplib.SMTP(RELAY, SMTP_PORT, timeout=30) as client:
                for _ in range(25):
                    client.sendmail("a@d.test", ["b@d.test"], MESSAGE)
        peer.wait_for(100)
        world.wait_until_empty()
        done = subprocess.run([BINARY, "latency", "--json", "--config", world.config], capture_output=True, text=True, check=True)
        ours = {row["stage"]: row for row in json.loads(done.stdout)["stages"]}
        (world.home / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: ringpost\n"
            f"  static_configs: [{{targets: ['{RELAY}:{CONTROL_PORT}']}}]\n")
        world.start("prometheus", "--enable-feature=native-histograms", f"--config.file={world.home}/prometheus.yml",
                    f"--storage.tsdb.path={world.home}/tsdb", f"--web.listen-address={SINK}:{PROMETHEUS_PORT}", log="prometheus.log")
        eventually("prometheus is ready", is_ready)
        eventually("it has scraped", lambda: asked('histogram_count(ringpost_stage_seconds{stage="accepted_to_delivered"})'))
        for stage in ("accepted_to_delivered", "commit_wait", "connect", "dot_to_reply"):
            row, of = ours[stage], f'(ringpost_stage_seconds{{stage="{stage}"}})'
            count = asked(f"histogram_count{of}")[stage]
            claim(count == row["count"], f"{stage}: Prometheus counts {count}, we {row['count']}")
            for name, quantile in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
                theirs = asked(f'histogram_quantile({quantile}, ringpost_stage_seconds{{stage="{stage}"}})')[stage] * 1e6
                claim(abs(theirs - row[name]) <= 0.1 * row[name] + 1, f"{stage} {name}: Prometheus has {theirs:.0f} us, we {row[name]}")
        # The dashboard asks for either kind of histogram.
        for panel in json.loads((ROOT / "tuning/grafana-dashboard.json").read_text())["panels"]:
            for target in panel.get("targets", ()):
                query = target["expr"].replace("$__rate_interval", "5s").replace("$instance", ".*").replace("$stage", "commit_wait")
                if "ringpost_stage_seconds" in query:
                    eventually(f"an answer to {query}", lambda query=query: asked(query), 20)
