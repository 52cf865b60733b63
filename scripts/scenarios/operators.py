"""Every command that `ringpost --help` knows, on a relay with many messages waiting: with and without --json, and how long it took.

OPERATORS_MESSAGES says how many (100,000, a smoke run 2,000). Prints a table; benches/README.md has one.
"""
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

from mailworld import BINARY, ROOT, Skipped, World, claim, eventually
from scenarios.base import MESSAGE, Peer, scenario
from scenarios.queue import LANES, ZONE, fill

MESSAGES = int(os.environ.get("OPERATORS_MESSAGES", 2_000 if "smoke" in sys.argv else 100_000))
PASSWORD = "a word to pass\n"
# Nobody waits longer for a command in silence, on however busy a machine and in whatever build.
PATIENCE_S = 60.0
# What is called otherwise than by a line of CALLS: the relay itself, and those that hold others.
APART = {"serve", "top", "queue", "spool", "user", "alias", "dkim", "suppression"}

# Words; the exit code; standard input. ID is a message that waits, HELD one of a tenth, FILE a message, LIST addresses, DIR a directory.
CALLS = [
    ("check", 0, None), ("config", 0, None), ("config --defaults", 0, None),
    ("queue list", 0, None), ("queue list --state waiting --destination d4.test", 0, None), ("queue list --from s5@c.test", 0, None),
    ("queue list --to b6@d6.test", 0, None), ("queue list --to nobody@d6.test", 0, None), ("queue list --domain d7.test", 0, None),
    ("queue list --reply refused", 0, None), ("queue list --larger-than 1MiB", 0, None), ("queue list --older-than 1s", 0, None),
    ("queue show ID", 0, None), ("queue show 0000000000001", 66, None), ("queue show nothing", 65, None), ("queue shape", 0, None), ("queue shape --by-state", 0, None),
    ("queue hold --destination d1.test", 0, None), ("queue release --state held", 0, None), ("queue retry --destination d0.test", 0, None),
    ("queue hold", 64, None), ("queue redirect --from s2@c.test --into b@void.test --dry-run", 0, None),
    ("queue redirect --from s2@c.test --into b@void.test", 0, None), ("queue remove --destination d9.test", 0, None), ("queue undo", 0, None),
    ("queue remove --destination d9.test --for-good", 0, None), ("queue bounce --destination d3.test --dry-run", 0, None),
    ("queue bounce --destination d3.test", 0, None),
    ("trace ID", 0, None), ("trace 0000000000001", 66, None), ("trace --destination d0.test --seconds 1", 0, None),
    ("explain b1@d1.test", 0, None), ("explain b@void.test", 0, None), ("latency", 0, None), ("latency --window minute", 0, None),
    ("latency --plot --stage commit-wait", 0, None), ("latency --hgrm --stage commit-wait", 0, None), ("shards", 0, None), ("health", 0, None),
    ("reload", 0, None), ("top --once", 0, None),
    ("user add ann@d.test", 0, PASSWORD), ("user password ann@d.test", 0, PASSWORD), ("user list", 0, None),
    ("alias add sales@d.test ann@d.test", 0, None), ("alias list", 0, None), ("alias remove sales@d.test", 0, None), ("user remove ann@d.test", 0, None),
    ("dkim generate d.test --selector s1 --type ed25519", 0, None), ("dkim show", 0, None), ("preflight FILE", (0, 65, 75), None),
    ("bounces 550", 0, None), ("bounces 421-4.7.28", 0, None), ("suppression add eve@e.test", 0, None), ("suppression list", 0, None),
    ("suppression check eve@e.test", 1, None), ("suppression check bob@e.test", 0, None), ("suppression import LIST", 0, None),
    ("suppression remove eve@e.test", 0, None), ("sendmail -f a@c.test b@void.test", 0, "Subject: x\n\nx\n"), ("sendmail -bp", 0, None),
    ("completions bash", 0, None), ("completions zsh", 0, None), ("completions fish", 0, None), ("man DIR", 0, None), ("help", 0, None),
    ("spool check", 75, None), ("drain", 0, None),
    # Nobody runs any more.
    ("queue list", 69, None), ("health", 69, None), ("spool check", 0, None),
]
# Those that cannot be done twice alike, and are not called a second time for --json.
ONCE = re.compile(r"drain|dkim generate|queue undo|queue (redirect|bounce|remove) (?!.*--dry-run)")


def commands(*above):
    """The commands below one, by its help; leaves have none."""
    text = subprocess.run([BINARY, *above, "--help"], capture_output=True, text=True, check=True).stdout
    listed = re.search(r"^Commands:\n((?:  .*\n)+)", text, re.MULTILINE)
    names = re.findall(r"^  (\S+)  ", listed.group(1), re.MULTILINE) if listed else []
    for name in names:
        if name != "help":
            yield " ".join([*above, name])
            yield from commands(*above, name)


def takes_json(words):
    """Whether the command of a line says that it takes --json."""
    name = [word for word in words.split()[:2] if re.fullmatch("[a-z]+", word)]
    for upto in (2, 1):
        done = subprocess.run([BINARY, *name[:upto], "--help"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return "--json" in done.stdout
    return False


class Caller:
    def __init__(self, world, meant):
        self.world, self.meant, self.rows = world, meant, []

    def call(self, words, codes, given, *more):
        """How long it took, and what it printed."""
        line = [self.meant.get(word, word) for word in words.split()] + list(more)
        if line[0] == "sendmail":
            line[1:1] = ["-C", str(self.world.config)]
        elif line[0] not in ("completions", "man", "help", "bounces"):
            line += ["--config", str(self.world.config)]
        began = time.perf_counter()
        done = subprocess.run([BINARY, *line], input=given, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        took = time.perf_counter() - began
        codes = codes if isinstance(codes, tuple) else (codes,)
        claim(done.returncode in codes, f"{' '.join(line)} ends with {done.returncode}, not {codes}: {done.stderr[-500:]}")
        claim("\x1b" not in done.stdout, f"{words}: colours in a pipe")
        if done.returncode >= 64:
            claim(done.stderr.strip() or done.stdout.strip(), f"{words}: not a word of why")
        return took, done.stdout, done.returncode

    def both(self, words, codes, given):
        took, _, code = self.call(words, codes, given)
        second = ""
        if takes_json(words) and not ONCE.match(words) and not re.search("--plot|--hgrm|--seconds", words):
            again, text, code = self.call(words, codes, given, "--json")
            if code < 64 or text.strip():
                claim(json.loads(text) is not None, words)
            second = f"{again:.2f}"
        self.rows.append((words, code, f"{took:.2f}", second))
        print(f"  {took:7.3f} s  {second:>5}  {code:2}  {words}", flush=True)


def on_a_terminal(world):
    """`ringpost top` draws, and ends with a key, or when nobody is at its terminal any more."""
    for code in (0, 74):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        process = world.start(BINARY, "top", "--config", world.config, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
        os.close(theirs)
        seen = b""
        while b"d0.test" not in seen:
            claim(select.select([ours], [], [], 30)[0], f"top shows nothing of the queue: {seen}")
            seen += os.read(ours, 65536)
        # A whole frame hides the cursor: what shows it again at the end has to live with a terminal that is gone.
        while b"\x1b[?25l" not in seen:
            claim(select.select([ours], [], [], 30)[0], "no whole frame")
            seen += os.read(ours, 65536)
        if code == 0:
            os.write(ours, b"q")
            eventually("top ends with q", lambda: process.poll() is not None, 20)
        os.close(ours)
        eventually("top ends", lambda: process.poll() is not None, 20)
        claim(process.returncode == code, f"top ended with {process.returncode}, not {code}")


@scenario(quick=True)
def operators():
    with World() as world, Peer("127.77.0.31", decide=lambda word, _: "451 4.3.0 later, please" if word == "RCPT" else None), Peer("127.77.0.33"):
        world.start_dns(ZONE)
        world.start_relay(routes='[[route]]\ndomain = "void.test"\nto = "discard"\n',
                          tables={"queue": {"retry": ["6h"], "delay_notice": "1d", "reports_per_sender": 1_000_000}})
        fill(MESSAGES)
        (world.home / "one.eml").write_bytes(MESSAGE)
        (world.home / "gone.csv").write_text("mallory@e.test\n")

        # A destination backs off as a whole: some that have been tried are enough.
        eventually("something was tried", lambda: any(one["recipients"][0]["attempts"] for one in world.queue()), 120)
        entry = next(one for one in world.queue() if one["recipients"][0]["destination"] == "d4.test")
        caller = Caller(world, {"ID": entry["id"], "FILE": str(world.home / "one.eml"), "LIST": str(world.home / "gone.csv"), "DIR": str(world.home / "man")})
        called = {words for words, _, _ in CALLS}
        left = [name for name in commands() if name not in APART and not any(words == name or words.startswith(name + " ") for words in called)]
        claim(not left, f"not called: {left}")
        on_a_terminal(world)
        for words, codes, given in CALLS:
            caller.both(words, codes, given)
            if words == "drain":
                claim(world.relay.wait(30) == 0, "the relay did not end well")
        print(f"\n| on {MESSAGES:,} waiting messages | exit | s | s with --json |\n|---|---|---|---|")
        for words, code, took, second in caller.rows:
            print(f"| `{words}` | {code} | {took} | {second} |")


@scenario(quick=True)
def newcomer():
    """The first commands of README, word for word, where there is no network and no name server."""
    if os.geteuid():
        raise Skipped("only root makes a network of its own")
    lines = re.search(r"(    printf '\[\[route.*\n(?:    .*\n)+)", (ROOT / "README.md").read_text()).group(1)
    claim(lines.count("target/release/ringpost") == 4, lines)
    with World() as world:
        (world.home / "target/release").mkdir(parents=True)
        (world.home / "target/release/ringpost").symlink_to(os.path.abspath(BINARY))
        (world.home / "tuning").symlink_to(ROOT / "tuning")
        # Whoever types is slower than a relay starts.
        typed = "\n".join(line.strip() + ("\nsleep 3" if line.endswith("&") else "") for line in lines.splitlines())
        script = f"ip link set lo up\n{typed}\nsleep 2\ntarget/release/ringpost latency --json >latency.json\nkill %1 %2\nwait\n"
        done = subprocess.run(["unshare", "--net", "bash", "-m", "-c", script], cwd=world.home, capture_output=True, text=True, check=False, timeout=120)
        claim("status=sent (250" in done.stderr, f"not relayed: {done.stdout}{done.stderr}")
        stages = {row["stage"]: row["count"] for row in json.loads((world.home / "latency.json").read_text())["stages"]}
        claim(stages.get("accepted_to_delivered") == 1, stages)
