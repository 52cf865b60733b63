"""Who takes part. Each relays all that it gets to the sink, or holds it; `installed` says whether it is on this machine."""
import os
import pathlib
import shutil
import subprocess

from mailworld import BINARY, MX_PORT, NET, RELAY, SMTP_PORT, eventually, is_open, stop
from measure.load import SINK
from scenarios.postfix import start_postfix

NEIGHBOUR = f"{NET}.20"
NOBODY = f"{NET}.99"  # nothing listens here


class Server:
    """One run: started in `world`, its processor time in `group`."""

    address = NEIGHBOUR, MX_PORT

    def __init__(self, world, group, holds=False):
        self.world, self.group = world, group
        self.process = self.start(holds)
        if self.process:
            group.leaders.append(self.process.pid)

    def stop(self):
        stop(self.process)


class Ringpost(Server):
    """On the configuration as it comes, but for 100 connections to the sink in place of 20: the others have as many."""

    key, name, address = "ringpost", "Ringpost", (RELAY, SMTP_PORT)
    settings, to = "", f"{SINK}:{MX_PORT}"

    @staticmethod
    def installed():
        return os.access(BINARY, os.X_OK)

    def start(self, holds):
        to = f"{NOBODY}:{MX_PORT}" if holds else self.to
        return self.world.start_relay(self.settings, f'[[route]]\ndomain = "*"\nto = "smtp://{to}"\n',
                                      delivery='tls = "none"\nconnections_per_destination = 100', **self.group.options())


class Floor(Server):
    """No relay and no disk: what source and sink themselves can do on this machine."""

    key, name, address = "floor", "floor", (SINK, MX_PORT)

    @staticmethod
    def installed():
        return True

    def start(self, holds):
        return None

    def stop(self):
        pass


class Postfix(Server):
    """As Debian ships it, with 100 connections to the sink."""

    key, name = "postfix", "Postfix"
    settings = "default_destination_concurrency_limit = 100"

    @staticmethod
    def installed():
        return shutil.which("postfix") is not None

    def start(self, holds):
        return start_postfix(self.world, f"relayhost = [{SINK}]:{MX_PORT}\n{self.settings}\n"
                             + ("defer_transports = smtp\n" if holds else ""), host=NEIGHBOUR, **self.group.options())

    def stop(self):
        subprocess.run(["postfix", "-c", self.world.home / "postfix", "stop"], capture_output=True, check=False)
        stop(self.process)


class TunedPostfix(Postfix):
    """Without what slows it on purpose or looks clients up, and with connections that it keeps."""

    key, name = "postfix-tuned", "Postfix, tuned"
    settings = """in_flow_delay = 0s
initial_destination_concurrency = 50
default_destination_concurrency_limit = 50
smtp_destination_concurrency_positive_feedback = 1
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_delay_reject = no
smtp_connection_cache_destinations = static:all
smtp_connection_reuse_count_limit = 0
smtp_connection_cache_time_limit = 10s
default_process_limit = 150
max_use = 10000"""


class Exim(Server):
    """A process for each message, as it comes."""

    key, name = "exim", "Exim"

    @staticmethod
    def program():
        return shutil.which("exim4") or shutil.which("exim")

    @classmethod
    def installed(cls):
        return cls.program() is not None

    def start(self, holds):
        home = self.world.home / "exim"
        home.mkdir()
        config = home / "exim.conf"
        config.write_text(f"""
primary_hostname = exim.test
exim_path = {self.program()}
spool_directory = {home}
log_file_path = {home}/%slog
pid_file_path = {home}/pid
local_interfaces = {NEIGHBOUR}
daemon_smtp_ports = {MX_PORT}
tls_advertise_hosts =
smtp_accept_max = 200
smtp_connect_backlog = 500
acl_smtp_rcpt = anybody
queue_only = {"true" if holds else "false"}
begin acl
anybody:
  accept hosts = 127.0.0.0/8
begin routers
onward:
  driver = manualroute
  route_list = * {SINK} byname
  transport = smtp
  self = send
begin transports
smtp:
  driver = smtp
  port = {MX_PORT}
  hosts_try_fastopen =
begin retry
* * F,1h,1m
""")
        # It refuses a configuration of others' while it keeps its rights, and gives them up without one of root's.
        for path in (home, config):
            shutil.chown(path, "Debian-exim", "Debian-exim")
        shutil.chown(config, "root", "root")
        process = self.world.start(self.program(), "-C", config, "-bdf", *([] if holds else ["-q1m"]), log="exim.log", **self.group.options())
        eventually("Exim listens", lambda: is_open(*self.address))
        return process


class OpenSmtpd(Server):
    """As it comes. Its spool and its socket have fixed places: here they are others in a mount namespace of its own, so that the machine's stay as
    they are. OPENSMTPD names the file to run where it is not on the PATH."""

    key, name = "opensmtpd", "OpenSMTPD"
    spool, run = pathlib.Path("/var/spool/smtpd"), pathlib.Path("/run")

    @staticmethod
    def program():
        return os.environ.get("OPENSMTPD") or shutil.which("smtpd")

    @classmethod
    def installed(cls):
        return cls.program() is not None and cls.spool.is_dir() and os.geteuid() == 0

    def start(self, holds):
        home = self.world.home / "opensmtpd"
        for place in ("spool", "run"):
            (home / place).mkdir(parents=True, mode=0o711)
        host = NOBODY if holds else SINK
        (home / "smtpd.conf").write_text(f"""
listen on {NEIGHBOUR} port {MX_PORT} hostname opensmtpd.test
action "onward" relay host smtp://{host}:{MX_PORT}
match from any for any action "onward"
""")
        apart = f'mount --bind {home}/spool {self.spool} && mount --bind {home}/run {self.run} && exec "$0" -d -f {home}/smtpd.conf'
        process = self.world.start("unshare", "--mount", "sh", "-c", apart, self.program(), log="opensmtpd.log", **self.group.options())
        eventually("OpenSMTPD listens", lambda: is_open(*self.address))
        return process


# Haraka takes its own for granted.
HARAKA_CONNECTION = """[main]
[haproxy]
hosts[] =
[headers]
max_lines=1000
max_received=100
[max]
bytes=26214400
mime_parts=1000
line_length=512
data_line_length=992
[message]
helo=welcome
close=bye
[uuid]
banner_chars=6
deny_chars=0
"""


class Haraka(Server):
    """On Node, with its queue on disk, a single process as it comes. HARAKA names the file to run where it is not on the PATH."""

    key, name = "haraka", "Haraka"

    @staticmethod
    def program():
        return os.environ.get("HARAKA") or shutil.which("haraka")

    @classmethod
    def installed(cls):
        return cls.program() is not None

    def start(self, holds):
        home = self.world.home / "haraka"
        (home / "plugins").mkdir(parents=True)
        (home / "queue").mkdir()
        config = home / "config"
        config.mkdir()
        for name, text in (("smtp.ini", f"listen={NEIGHBOUR}:{MX_PORT}\nnodes=0\n"), ("outbound.ini", "enable_tls=false\nlocal_mx_ok=true\n"),
                           ("me", "haraka.test\n"), ("queue_dir", f"{home}/queue\n"), ("loglevel", "NOTICE\n"), ("plugins", "onward\n"), ("connection.ini", HARAKA_CONNECTION)):
            (config / name).write_text(text)
        host = NOBODY if holds else SINK
        (home / "plugins/onward.js").write_text(f"""
const relays = (next, connection) => {{ connection.relaying = true; next(OK) }}
exports.hook_mail = relays
exports.hook_rcpt = relays
exports.hook_get_mx = (next) => next(OK, {{ exchange: '{host}', port: {MX_PORT}, priority: 0 }})
""")
        process = self.world.start("node", pathlib.Path(self.program()).resolve(), "-c", home, log="haraka.log", cwd=home, **self.group.options())
        eventually("Haraka listens", lambda: is_open(*self.address))
        return process


ALL = [Ringpost, Floor, Postfix, TunedPostfix, Exim, OpenSmtpd, Haraka]
