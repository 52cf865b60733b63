"""mutt, its keys pressed by a file of commands."""
import os
import pty
import select
import signal
import subprocess
import time

from mailworld import Failure


def mutt(home, folder, keys, settings=""):
    """Opens a folder, presses keys, and waits until mutt has ended. `keys` must end with leaving it."""
    rc = home / "muttrc"
    rc.write_text(f"""
set mbox_type=Maildir folder='{folder}' spoolfile='{folder}' record='' postponed='' mbox='' move=no confirmappend=no confirmcreate=no
set delete=yes quit=yes wait_key=no mark_old=no maildir_trash=no auto_tag=yes resolve=no pipe_decode=no beep=no check_new=no
set ssl_starttls=no ssl_force_tls=no sort=mailbox-order timeout=1 mail_check=1
{settings}
""")
    master, slave = pty.openpty()
    process = subprocess.Popen(["mutt", "-n", "-F", str(rc), "-f", str(folder), "-e", f'push "{keys}"'], stdin=slave, stdout=slave, stderr=slave,
                               start_new_session=True, env={**os.environ, "TERM": "xterm", "HOME": str(home), "LINES": "50", "COLUMNS": "200",
                                                            "LC_ALL": "C.UTF-8"})
    os.close(slave)
    screen, end = b"", time.monotonic() + 60
    try:
        while process.poll() is None:
            if time.monotonic() > end:
                os.killpg(process.pid, signal.SIGKILL)
                raise Failure(f"mutt does not end: {screen[-1500:]!r}")
            if select.select([master], [], [], 0.1)[0]:
                try:
                    screen += os.read(master, 65536)  # mutt waits when nobody reads its screen
                except OSError:  # the other end is gone
                    break
        process.wait(10)
    finally:
        os.close(master)
    return screen


def shown(home, folder, pattern, settings=""):
    """The messages that match one of mutt's patterns, one after the other, as mutt reads them."""
    out = home / "shown"
    out.unlink(missing_ok=True)
    mutt(home, folder, f"<tag-pattern>{pattern}<enter><pipe-message>cat > {out}<enter><exit>", settings)
    return out.read_bytes() if out.exists() else b""
