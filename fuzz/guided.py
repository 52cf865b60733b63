#!/usr/bin/env python3
"""Runs fuzz targets guided by what they reach, a minute of each in turn, and keeps count.

    fuzz/guided.py [--minutes 5] [--wrap COMMAND] PROGRAMS HOME [TARGET ...]
    fuzz/guided.py --words TARGET            which dictionary a target has

PROGRAMS is where scripts/fuzz has built them, HOME where corpora, findings and counts are kept: stopped and begun again, it
goes on until each target has had so many minutes of a processor, from all runs together. A Markdown table comes out.
A target that finds something is left out until its line in HOME/counts.json has no "found".
"""
import argparse
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
WORDS = {
    "smtp": "dot smtp_server smuggling commands", "replies": "replies smtp_client", "pop3": "pop3",
    "mime": "downgrade headers imap_message preflight signatures dsn returned", "imap": "imap_commands imap_frame retrieval",
    "toml": "configuration files", "sasl": "sasl token", "policies": "policies",
}
PULSE = re.compile(r"^#(\d+)\t\w+.*?cov: (\d+) ft: (\d+) corp: (\d+)", re.M)


def words(target):
    """The dictionary of a target."""
    return next((word for word, targets in WORDS.items() if target in targets.split()), "")


def turn(target, options, counts):
    """A minute of one target."""
    corpus, findings = options.home / "corpus" / target, options.home / "artifacts" / target
    for place in (corpus, findings):
        place.mkdir(parents=True, exist_ok=True)
    command = [*shlex.split(options.wrap), options.programs / target, corpus, "-max_total_time=55", "-timeout=60", "-rss_limit_mb=2048",
               "-max_len=4096", "-reload=0", f"-artifact_prefix={findings}/", *[f"-dict={HERE}/dictionaries/{word}.dict" for word in [words(target)] if word]]
    with open(options.home / f"{target}.log", "wb") as log:
        process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, cwd=options.home)
        _, status, used = os.wait4(process.pid, 0)
    pulses = PULSE.findall((options.home / f"{target}.log").read_text(errors="replace"))
    count = counts.setdefault(target, {"cpu": 0.0, "inputs": 0})
    count["cpu"] += used.ru_utime + used.ru_stime
    if pulses:
        inputs, edges, features, kept = map(int, pulses[-1])
        count |= {"inputs": count["inputs"] + inputs, "edges": edges, "features": features, "kept": kept}
        count.setdefault("seeds", int(pulses[0][1]))
    if status:
        count["found"] = f"see {options.home / target}.log"
    counts[target] = count


def table(counts):
    print("| target | CPU s | inputs | edges: seeds / now | features | kept | |\n|---|---|---|---|---|---|---|")
    for target, one in sorted(counts.items()):
        print(f"| `{target}` | {one['cpu']:.0f} | {one['inputs']:,} | {one.get('seeds', 0):,} / {one.get('edges', 0):,} "
              f"| {one.get('features', 0):,} | {one.get('kept', 0):,} | {one.get('found', '')} |")


def main():
    if sys.argv[1:2] == ["--words"]:
        return print(words(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="of a processor, for each")
    parser.add_argument("--wrap", default="", metavar="COMMAND", help="what each turn is run by: nice -n 19")
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("home", type=lambda place: pathlib.Path(place).resolve())
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    options = parser.parse_args()
    options.programs = options.programs.resolve()
    targets = options.targets or sorted(path.stem for path in (HERE / "targets").glob("*.rs"))
    kept = options.home / "counts.json"
    counts = json.loads(kept.read_text()) if kept.exists() else {}

    def had(target):
        return counts.get(target, {}).get("cpu", 0.0)
    while left := [target for target in targets if had(target) < options.minutes * 60 and "found" not in counts.get(target, {})]:
        turn(min(left, key=had), options, counts)
        draft = kept.with_suffix(".new")
        draft.write_text(json.dumps(counts, indent=1))
        draft.rename(kept)
    table({target: counts[target] for target in targets if target in counts})
    return any("found" in counts.get(target, {}) for target in targets)


if __name__ == "__main__":
    sys.exit(main())
