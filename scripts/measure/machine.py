"""What a run costs, and on which machine: processor time of a set of processes, the disk, the kernel."""
import os
import pathlib
import platform
import re
import statistics
import threading
import time

from mailreaders import cpu_of
from mailworld import BINARY, ROOT

PAGE = 4096
TICKS = os.sysconf("SC_CLK_TCK")


class Group:
    """Processor time of processes and of all that they start: a control group's where one can be made, else the sum over /proc."""

    made = 0

    def __init__(self, yields=False):
        """With `yields` they run where nobody else wants the processor (SCHED_IDLE)."""
        Group.made += 1
        self.path, self.leaders, self.yields = None, [], yields
        for base, usage in (("/sys/fs/cgroup/cpuacct", "cpuacct.usage"), ("/sys/fs/cgroup", "cpu.stat")):
            path = pathlib.Path(f"{base}/ringpost-bench-{os.getpid()}-{Group.made}")
            try:
                path.mkdir()
            except OSError:
                continue
            if (path / usage).exists() and (path / "cgroup.procs").exists():
                self.path, self.usage = path, usage
                break
            path.rmdir()

    def options(self):
        """For Popen: the child joins before it becomes the program."""
        return {"preexec_fn": self.join} if self.path or self.yields else {}

    def join(self):
        if self.yields:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        if self.path:
            (self.path / "cgroup.procs").write_text("0")

    def cpu(self):
        """Seconds."""
        if self.path is None:
            return sum(cpu_of(leader) for leader in self.leaders)
        text = (self.path / self.usage).read_text()
        return int(text) / 1e9 if self.usage == "cpuacct.usage" else int(re.search(r"usage_usec (\d+)", text)[1]) / 1e6

    def pids(self):
        return [int(word) for word in (self.path / "cgroup.procs").read_text().split()] if self.path else self.leaders

    def memory(self):
        """Octets, of all processes; of pages that they share each has its part (PSS)."""
        total = 0
        for pid in self.pids():
            try:
                total += int(re.search(r"^Pss:\s+(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
            except (OSError, TypeError):  # it has just ended
                continue
        return total * 1024

    def switches(self):
        """Context switches of the threads that live."""
        return sum(int(number) for pid in self.pids() for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
                   for number in re.findall(r"ctxt_switches:\s+(\d+)", (task / "status").read_text()))

    def close(self):
        for _ in range(100):
            try:
                if self.path:
                    self.path.rmdir()
                return
            except OSError:  # the kernel has not let go of the last process yet
                time.sleep(0.05)


def busy():
    """Seconds that all processors have worked since the machine was started."""
    words = [int(word) for word in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(words) - words[3] - words[4]) / TICKS


def syncs(directory, size, times=400):
    """Seconds that write and fdatasync of `size` octets take in a file that has been written before, the median."""
    path = pathlib.Path(directory) / "syncs"
    room = -(-size // PAGE) * PAGE * times
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for at in range(0, room, 1 << 20):
            os.pwrite(file, b"x" * min(1 << 20, room - at), at)
        os.fsync(file)
        octets, took = os.urandom(size), []
        for number in range(times):
            began = time.perf_counter()
            os.pwrite(file, octets, number * size)
            os.fdatasync(file)
            took.append(time.perf_counter() - began)
        return statistics.median(took)
    finally:
        os.close(file)
        path.unlink()


class Beside(threading.Thread):
    """What the disk takes by itself meanwhile: a write of 1.5 KiB that is on it before the next begins, 200 times a second, in
    a file that has been written before. `took` is in milliseconds."""

    def __init__(self, directory):
        super().__init__(daemon=True)
        self.took, self.ended = [], threading.Event()
        self.path = pathlib.Path(directory) / "beside"
        with open(self.path, "wb") as file:
            file.write(bytes(PAGE * 250))
            os.fsync(file)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()
        self.path.unlink()

    def run(self):
        file, octets, at = os.open(self.path, os.O_WRONLY | os.O_DSYNC), os.urandom(1500), 0
        while not self.ended.wait(0.005):
            began = time.perf_counter()
            os.pwrite(file, octets, at % 250 * PAGE)
            self.took.append((time.perf_counter() - began) * 1000)
            at += 1
        os.close(file)

    def percentile(self, percent):
        return sorted(self.took)[min(len(self.took) - 1, int(len(self.took) * percent / 100))] if self.took else 0.0


def commit():
    """The commit that is checked out, as far as git knows."""
    head = os.popen(f"git -C {ROOT} describe --always --dirty --exclude '*' 2>/dev/null").read().strip()
    return head or "unknown"


def describe():
    """One line: what the figures hold for."""
    model = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    disk = os.popen(f"df --output=fstype {os.environ.get('MAILWORLD', '/var/tmp')}").read().split()[-1]
    built = time.strftime("%Y-%m-%d %H:%M", time.gmtime(os.stat(BINARY).st_mtime))
    # Of a binary that somebody names nobody knows what it was built from.
    what = f"the binary of {built}" if "RINGPOST" in os.environ else f"commit {commit()}"
    return f"{os.cpu_count()} CPUs ({model[1] if model else platform.machine()}), Linux {platform.release()}, {disk}, {what}"
