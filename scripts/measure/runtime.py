"""What of acceptance is the runtime's: programs that do only what wire and disk ask for, on each of several ways to wait (benches/bare)."""
from mailworld import MX_PORT, eventually, is_open
from measure.base import Table, median, row, say, turns
from measure.latency import MILLISECONDS, at, one_by_one
from measure.load import built
from measure.servers import NEIGHBOUR, Floor, Ringpost, Server
from measure.throughput import relayed


class Bare(Server):
    """Takes mail, has it on disk before its 250, and no more."""

    way = None

    def start(self, holds):
        directory = self.world.home / "bare"
        directory.mkdir()
        process = self.world.start(built("bare"), f"{NEIGHBOUR}:{MX_PORT}", "--on", self.way, "--directory", directory, log="bare.log",
                                   **self.group.options())
        eventually("the bare server listens", lambda: is_open(*self.address))
        return process


def bare(way, name):
    return type("Bare", (Bare,), {"key": way, "name": name, "way": way})


WAYS = [bare("glommio", "glommio alone"), bare("glommio-in-place", "the same, the shard waits for the disk"), bare("ring", "io_uring without glommio"),
        bare("epoll", "epoll, the thread waits for the disk"), bare("threads", "a thread for each connection")]


@row("runtime", "What the runtime takes: acceptance alone, beside programs that do only what wire and disk ask for")
def runtime(bench):
    servers = [Ringpost, *WAYS, Floor]
    count, alone = bench.count(12_000), bench.count(2000)
    runs = turns(bench, servers, lambda server: relayed(server, 20, 1024, count, holds=True), "accept, 20 sessions")
    table = Table(["1 KiB", "20 sessions, accepted/s", "CPU s per 1,000", "of Ringpost's", "of source", "one session, p50 ms", "p99 ms", "of the disk's own"])
    for server in servers:
        mine = runs[server.key]
        is_floor = server is Floor
        took, _, disk = one_by_one(server, alone, holds=not is_floor)
        say(f"  one session, {server.name:40} p50={at(took, 50):.3f} ms  disk={disk * MILLISECONDS:.3f} ms")
        share = median(mine, "cpu") / median(runs["ringpost"], "cpu")
        table.lines.append([server.name, f"{median(mine, 'accepted'):,.0f}", "" if is_floor else f"{median(mine, 'cpu'):.3f}",
                            "" if is_floor else f"{share:.2f}", f"{median(mine, 'load_cpu'):.3f}", f"{at(took, 50):.2f}", f"{at(took, 99):.2f}",
                            "" if is_floor else f"{at(took, 50) / (disk * MILLISECONDS):.2f}"])
    table.notes.append("Files are written before; every 250 waits for the disk. Where the thread waits for the disk, nobody is heard meanwhile.")
    return table
