"""results.json, which further runs add to, and the Markdown made of it."""
import dataclasses
import json
import sys
import time

from measure.base import ROWS
from measure.machine import describe


def load(out):
    path = out / "results.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keep(out, results, key, table, options):
    """What was measured before stays, but for this row."""
    results[key] = dataclasses.asdict(table) | {"when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "machine": describe(),
                                               "command": f"scripts/bench --rows {key} " + " ".join(options)}
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def markdown(results, absent):
    parts = ["# What scripts/bench has measured\n"]
    parts.append("In turns, each server once in a round; a ratio is the median of the rounds' own ratios, which stand behind it in brackets. "
                 f"{' '.join(f'{name}: not installed.' for name in absent)}\n")
    for key, (title, _) in ROWS.items():
        if key in results:
            result = results[key]
            parts.append(f"## {title}\n\n    {result['command'].strip()}\n\n{grid(result['columns'], result['lines'])}\n")
            parts += [f"{note}\n" for note in result["notes"]]
            parts.append(f"{result['when']}: {result['machine']}.\n")
    return "\n".join(parts)


def grid(columns, lines):
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in rows) + "\n"


def write(out, results, absent):
    text = markdown(results, absent)
    (out / "results.md").write_text(text)
    sys.stdout.write(text)
