"""The HTTP interface as its own OpenAPI document has it: schemathesis asks what the document allows, and what it does not."""
import pathlib
import shutil
import subprocess
import urllib.request

from mailworld import CONTROL_PORT, RELAY, Skipped, World, claim
from scenarios.base import scenario

# What an address, a queue id or a set of orders has to be is more than a schema says.
NOT_SAID = "positive_data_acceptance"
# One ends the relay, the other answers for a minute.
APART = ("/api/v1/drain", "/api/v1/dialogues")


@scenario()
def api():
    if not shutil.which("schemathesis"):
        raise Skipped("no schemathesis: pip install schemathesis")
    with World() as world:
        world.start_dns(["d IN MX 0 ."])
        token = pathlib.Path(world.home) / "token"
        token.write_text("secret\n")
        world.start_relay(extra=f'token_file = "{token}"', routes='[[route]]\ndomain = "*"\nto = "discard"')
        address = f"http://{RELAY}:{CONTROL_PORT}/api/v1/openapi.json"
        request = urllib.request.Request(address, headers={"Authorization": "Bearer secret"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            claim(answer.status == 200, answer.status)
        apart = [word for path in APART for word in ("--exclude-path", path)]
        words = ["schemathesis", "run", address, "-H", "Authorization: Bearer secret", "--checks", "all", "--exclude-checks", NOT_SAID,
                 "--phases", "examples,coverage,fuzzing", "--max-examples", "30", "--max-time", "120", "--no-color", *apart]
        done = subprocess.run(words, cwd=world.home, capture_output=True, text=True, check=False)
        claim(done.returncode == 0, done.stdout[-6000:])
