"""What an operator installs: the package, in a Debian of its own and under a systemd of its own; units, pages, completions."""
import json
import os
import pathlib
import pty
import re
import resource
import select
import shutil
import subprocess

from mailworld import BINARY, RELAY, ROOT, SMTP_PORT, Skipped, World, claim, eventually
from scenarios.base import scenario
from scenarios.lifecycle import Senders
from scenarios.operators import commands

SUITE, MIRROR = "bookworm", os.environ.get("PACKAGE_MIRROR", "http://deb.debian.org/debian")


def wants(*tools):
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing or os.geteuid() != 0:
        raise Skipped(f"{', '.join(missing)} not installed" if missing else "it wants root")


def done(*command, **options):
    """What a command prints that has to end well."""
    ended = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    claim(ended.returncode == 0, f"{' '.join(map(str, command))} ended with {ended.returncode}: {ended.stdout[-1500:]}{ended.stderr[-1500:]}")
    return ended.stdout


@scenario()
def package():
    """The .deb, installed, upgraded, removed and purged in a fresh Debian."""
    wants("cargo-deb", "debootstrap", "dpkg-deb", "strip")
    done(ROOT / "scripts/package", "--test", "--binary", BINARY)


def debian(place):
    """A fresh Debian there; one is kept between runs."""
    kept = pathlib.Path(f"/var/tmp/ringpost-systemd-{SUITE}")
    if not (kept / "complete").exists():
        shutil.rmtree(kept, ignore_errors=True)
        done("debootstrap", "--variant=minbase", "--include=adduser,ca-certificates,dbus,systemd-sysv", SUITE, kept / "debian", MIRROR)
        (kept / "complete").touch()
    done("cp", "-a", kept / "debian", place)
    return place


class Machine:
    """A Debian with a systemd that runs, on the network of this machine."""

    def __init__(self, world):
        self.root = debian(world.home / "machine")
        # Without a unit or scope of its own around it: there need not be a systemd outside.
        self.nspawn = world.start("systemd-nspawn", "--quiet", "--directory", self.root, "--register=no", "--keep-unit", "--resolv-conf=off", "--boot", log="machine.log")
        self.leader = eventually("systemd is there", self.find_leader)
        eventually("systemd has started", lambda: self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded"))

    def find_leader(self):
        children = pathlib.Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        return next((child for child in children if pathlib.Path(f"/proc/{child}/comm").read_text().strip() == "systemd"), None)

    def run(self, *command, check=True):
        line = ["nsenter", "--target", self.leader, "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root", "--wd", "env", "-i",
                "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *command]
        if check:
            return done(*line)
        return subprocess.run(line, capture_output=True, text=True, check=False).stdout

    def end(self):
        self.run("systemctl", "poweroff", check=False)
        self.nspawn.wait(60)


@scenario()
def package_under_systemd():
    """The unit's own confines let the relay work; an upgrade and a restart under load refuse nobody, the socket unit neither."""
    wants("cargo-deb", "debootstrap", "dpkg-deb", "strip", "systemd-nspawn", "nsenter")
    with World() as world:
        packages = []
        for revision in ("1", "2"):
            done(ROOT / "scripts/package", "--binary", BINARY, "--revision", revision)
            packages.append(shutil.copy(next((ROOT / "target/package").glob(f"ringpost_*-{revision}_*.deb")), world.home))
        machine = Machine(world)
        try:
            etc = machine.root / "etc/ringpost"
            etc.mkdir()
            (etc / "ringpost.toml").write_text(f'hostname = "relay.test"\ndata_dir = "/var/lib/ringpost"\n[[listener]]\nprotocol = "smtp"\nbind = ["{RELAY}:{SMTP_PORT}"]\n'
                                               '[[route]]\ndomain = "*"\nto = "discard"\n[smtp]\ntrusted_networks = ["127.0.0.0/8"]\n[control]\nbind = "none"\n')
            for package in packages:
                shutil.copy(package, machine.root / "opt")
            installed = [f"/opt/{os.path.basename(package)}" for package in packages]
            machine.run("dpkg", "-i", "--force-confold", installed[0])
            pid = claim_running(machine)
            senders = Senders()
            try:
                for step in (("dpkg", "-i", "--force-confold", installed[1]), ("systemctl", "restart", "ringpost"), ("systemctl", "reload", "ringpost")):
                    wait_for(senders)
                    machine.run(*step)
                    before, pid = pid, claim_running(machine)
                    claim((pid == before) == (step[1] == "reload"), f"{step}: process {before}, then {pid}")
                wait_for(senders)
            finally:
                senders.end()
            claim(not senders.refused, f"refused: {senders.refused[:5]} of {len(senders.sent)}")
            open_ports_of_systemd(machine)
            machine.run("dpkg", "-P", "ringpost")
            claim(machine.run("systemctl", "is-active", "ringpost", check=False).strip() == "inactive", "it runs on after its removal")
            claim(not machine.run("systemctl", "--failed", "--no-legend").strip(), "a unit has failed")
        finally:
            machine.end()


def wait_for(senders):
    before = len(senders.sent)
    eventually("mail flows", lambda: len(senders.sent) > before + 50)


def claim_running(machine):
    """The process, which has said that it is ready."""
    shown = machine.run("systemctl", "show", "ringpost", "--property=ActiveState,SubState,NRestarts,MainPID,StatusText")
    claim("ActiveState=active" in shown and "NRestarts=0" in shown and "take and deliver mail" in shown, shown)
    return re.search(r"MainPID=(\d+)", shown).group(1)


def open_ports_of_systemd(machine):
    """While the relay is down, systemd holds its port, and who comes waits for the relay."""
    machine.run("systemctl", "stop", "ringpost")
    unit = (machine.root / "usr/share/doc/ringpost/examples/ringpost.socket").read_text()
    unit = re.sub("ListenStream=127.*", f"ListenStream={RELAY}:{SMTP_PORT}", unit).replace("ListenStream=[::1]:25\n", "")
    (machine.root / "etc/systemd/system/ringpost.socket").write_text(unit)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "ringpost.socket")
    senders = Senders()  # the first of them starts the relay
    try:
        wait_for(senders)
        claim_running(machine)
    finally:
        senders.end()
    claim(not senders.refused, f"refused: {senders.refused[:5]}")
    machine.run("systemctl", "stop", "ringpost.socket", "ringpost.service")


@scenario()
def container():
    """Without root, without capabilities, with nothing to write but its volume: the usual seccomp profile is told what it lacks, ours has it."""
    wants("podman", "runc", "debootstrap")
    with World() as world:
        root, data = debian(world.home / "root"), world.home / "data"
        shutil.copy(BINARY, root / "usr/bin/ringpost")
        (root / "etc/ringpost").mkdir()
        shutil.copy(ROOT / "tuning/container.toml", root / "etc/ringpost/ringpost.toml")
        data.mkdir(mode=0o700)
        os.chown(data, 525, 525)
        # podman raises limits by itself, which is not allowed everywhere: no more than there is here, and few processes.
        limits = {"nofile": resource.RLIMIT_NOFILE, "memlock": resource.RLIMIT_MEMLOCK}
        hard = {name: resource.getrlimit(which)[1] for name, which in limits.items()} | {"nproc": 4096}
        (world.home / "containers.conf").write_text(f"[containers]\ndefault_ulimits = {json.dumps([f'{name}={most}:{most}' for name, most in hard.items()])}\n"
                                                    '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n')
        environment = os.environ | {"CONTAINERS_CONF": str(world.home / "containers.conf")}
        name, config = world.home.name, ("--config", "/etc/ringpost/ringpost.toml")
        podman = ["podman", "--runtime", shutil.which("runc")]
        line = ["run", "--rm", "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges", "--network", "none", "--user", "525:525",
                "--volume", f"{data}:/var/lib/ringpost"]
        serve = ["--rootfs", root, "ringpost", "serve", *config]
        refused = subprocess.run([*podman, *line, *serve], capture_output=True, text=True, check=False, timeout=60, env=environment)
        claim(refused.returncode == 71 and "tuning/seccomp.json" in refused.stderr, f"by the usual profile it ended with {refused.returncode}: {refused.stderr}")
        relay = world.start(*podman, *line, "--name", name, "--security-opt", f"seccomp={ROOT / 'tuning/seccomp.json'}", *serve, log="relay.log", env=environment)

        def inside(*command):
            return subprocess.run([*podman, "exec", "--interactive", name, *command], input="Subject: x\n\nx\n", capture_output=True, text=True, check=False, env=environment)
        eventually("it takes mail", lambda: inside("ringpost", "health", *config).returncode == 0)
        sent = inside("ringpost", "sendmail", "-C", config[1], "-f", "a@c.test", "b@d.invalid")
        claim(sent.returncode == 0, sent.stderr)
        about = done(*podman, "exec", name, "cat", "/proc/1/status", env=environment)
        for words in ("Uid:\t525\t525", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
            claim(words in about, f"{words!r} is not in {about}")
        claim(inside("touch", "/file").returncode != 0, "its root can be written to")
        done(*podman, "kill", "--signal", "TERM", name, env=environment)
        claim(relay.wait(30) == 0, "it did not end well")


@scenario(quick=True)
def units():
    """systemd finds nothing wrong with the units, and little to fear of the service."""
    if not shutil.which("systemd-analyze"):
        raise Skipped("systemd-analyze is not installed")
    with World() as world:
        names = ["ringpost.service", "ringpost.socket"]
        for name in names:
            text = (ROOT / "tuning" / name).read_text().replace("/usr/bin/ringpost", str(BINARY))
            (world.home / name).write_text(text)
        # Whether their pages are installed is another matter, and so is this machine.
        checked = subprocess.run(["systemd-analyze", "verify", "--man=no", *(world.home / name for name in names)], capture_output=True, text=True, check=False)
        claim(checked.returncode == 0 and not checked.stderr.strip(), checked.stderr)
        looked = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", world.home / names[0]],
                                capture_output=True, text=True, check=False)
        claim(looked.returncode == 0, looked.stdout[-300:])


@scenario(quick=True)
def install_and_uninstall():
    """scripts/install twice, and back: what stays is the configuration."""
    with World() as world:
        place = world.home / "root"
        install = [ROOT / "scripts/install", "--destdir", place, "--binary", BINARY, "--mail-commands"]
        for _ in range(2):
            subprocess.run(install, check=True, capture_output=True)
        names = {str(path.relative_to(place)) for path in place.rglob("*") if not path.is_dir()}
        for name in ("usr/local/bin/ringpost", "usr/local/sbin/sendmail", "usr/local/lib/systemd/system/ringpost.service", "etc/ringpost/ringpost.toml"):
            claim(name in names, f"{name} is not there: {sorted(names)}")
        version = subprocess.run([place / "usr/local/bin/ringpost", "--version"], check=True, capture_output=True, text=True).stdout
        claim(version.startswith("ringpost "), version)
        subprocess.run([*install, "--uninstall"], check=True, capture_output=True)
        left = [str(path.relative_to(place)) for path in place.rglob("*") if not path.is_dir()]
        claim(left == ["etc/ringpost/ringpost.toml"], f"left: {left}")


@scenario(quick=True)
def pages():
    """Each command has a manual page, as ringpost.toml does, that man finds nothing wrong with and apropos can list."""
    with World() as world:
        place = world.home / "man"
        done(BINARY, "man", place)
        wanted = {"ringpost.1", "ringpost.toml.5", *(f"ringpost-{name.replace(' ', '-')}.1" for name in commands())}
        there = {path.name for path in place.iterdir()}
        claim(there == wanted, f"too many: {there - wanted}; missing: {wanted - there}")
        if not shutil.which("lexgrog"):
            raise Skipped("man-db is not installed: the pages are there, and were not read")
        for page in place.iterdir():
            read = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page], capture_output=True, text=True, check=False,
                                  env=os.environ | {"MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
            claim(read.returncode == 0 and not read.stderr.strip(), f"{page.name}: {read.stderr[:300]}")
            done("lexgrog", page)


def typed_into_zsh(place, words):
    """What a zsh with completions in `place` makes of words and a tab."""
    leader, follower = pty.openpty()
    shell = subprocess.Popen(["zsh", "-f", "-i"], stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
                             env={"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(place)})
    os.close(follower)
    shown = ""

    def shows(what):
        nonlocal shown
        if select.select([leader], [], [], 0.05)[0]:
            shown += os.read(leader, 4096).decode(errors="replace")
        return what in shown
    try:
        os.write(leader, f"fpath=({place} $fpath); autoload -U compinit; compinit -u -D; echo rea\"\"dy\n".encode())
        eventually("zsh has its completions", lambda: shows("ready"))
        shown = ""
        os.write(leader, f"{words}\t".encode())
        eventually(f"zsh completes {words!r}", lambda: shows("ringpost queue"))
    finally:
        shell.kill()
        shell.wait()
        os.close(leader)


@scenario(quick=True)
def completions():
    """bash, zsh and fish themselves complete a command from what `ringpost completions` prints."""
    wanting = [shell for shell in ("bash", "zsh", "fish") if not shutil.which(shell)]
    with World() as world:
        for shell, name in (("bash", "ringpost.bash"), ("zsh", "_ringpost"), ("fish", "ringpost.fish")):
            (world.home / name).write_text(done(BINARY, "completions", shell))
        found = done("bash", "--norc", "-c", f"source {world.home}/ringpost.bash; COMP_WORDS=(ringpost que); COMP_CWORD=1; _ringpost ringpost que ringpost; "
                     'printf "%s\\n" "${COMPREPLY[@]}"')
        claim(found == "queue\n", f"bash: {found}")
        if "fish" not in wanting:
            found = done("fish", "--no-config", "-c", f"source {world.home}/ringpost.fish; complete -C 'ringpost queue sh'", env=os.environ | {"HOME": str(world.home)})
            claim([line.split("\t")[0] for line in found.splitlines()] == ["shape", "show"], f"fish: {found}")
        if "zsh" not in wanting:
            typed_into_zsh(world.home, "ringpost que")
    if wanting:
        raise Skipped(f"{', '.join(wanting)} not installed: the others complete")
