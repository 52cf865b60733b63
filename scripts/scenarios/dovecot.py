"""A Dovecot of our own: its configuration, its files and its sockets are in the world's directory."""
import os
import pwd
import subprocess

from mailworld import RELAY, claim, eventually, is_open
from scenarios.imap import PASSWORD, USER

DOVECOT, DOVECOT_PORT = RELAY.rsplit(".", 1)[0] + ".21", 2143


class Dovecot:
    """Serves a Maildir as that of ann@c.test. What lies there already is given to whom Dovecot runs as."""

    def __init__(self, world, maildir):
        self.maildir = maildir
        home = world.home / "dovecot"
        home.mkdir(exist_ok=True)
        root = os.geteuid() == 0
        me = pwd.getpwuid(os.geteuid()).pw_name
        # As root it insists on other users: none of its own may read mail as root.
        self.owner, inside, outside = ("nobody", "dovecot", "dovenull") if root else (me, me, me)
        account = pwd.getpwnam(self.owner)
        maildir.mkdir(exist_ok=True)
        self.own(maildir)
        config = home / "dovecot.conf"
        config.write_text(f"""
base_dir = {home}/run
state_dir = {home}/run
log_path = {home}/log
protocols = imap
listen = {DOVECOT}
ssl = no
disable_plaintext_auth = no
default_internal_user = {inside}
default_internal_group = {'dovecot' if root else account.pw_name}
default_login_user = {outside}
default_vsz_limit = 0
first_valid_uid = 1
mail_location = maildir:{maildir}
mail_max_userip_connections = 100
imap_hibernate_timeout = 0
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {DOVECOT_PORT}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid={account.pw_uid} gid={account.pw_gid} home={home}
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
""")
        self.process = world.start("dovecot", "-F", "-c", config, log="dovecot.log")
        eventually("Dovecot answers", lambda: self.process.poll() is None and is_open(DOVECOT, DOVECOT_PORT))

    def own(self, place):
        """What somebody else has written becomes Dovecot's to change."""
        if os.geteuid() == 0:
            done = subprocess.run(["chown", "-R", self.owner, place], capture_output=True, text=True, check=False)
            claim(done.returncode == 0, done.stderr)
