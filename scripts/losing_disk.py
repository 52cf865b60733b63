#!/usr/bin/env python3
"""A file system in memory that loses its power: what was not synced is gone, in part or whole. For scripts/crash --disk.

    scripts/losing_disk.py MOUNTPOINT [SEED]      needs FUSE and mfusepy

Making the file .cut in it cuts the power: each write since the last sync of its file is kept, dropped or torn at 512 octets,
as chance has it; names are those of the last sync of a directory, and a file that has none is gone. That is stricter than
ext4, whose journal keeps names with the next sync of any file. It prints how much it has dropped when it ends.
"""
import errno
import os
import random
import stat
import sys
import time

import mfusepy

SECTOR = 512


class Node:
    def __init__(self, mode):
        self.mode, self.data, self.entries, self.changed = mode, bytearray(), {}, time.time()
        self.begun = []  # writes since the last sync: (offset, octets before, octets after, length before)
        self.links = 1

    def is_directory(self):
        return stat.S_ISDIR(self.mode)

    def write(self, offset, octets):
        length = len(self.data)
        if offset > length:
            self.data.extend(bytes(offset - length))
        self.begun.append((offset, bytes(self.data[offset:offset + len(octets)]), bytes(octets), length))
        self.data[offset:offset + len(octets)] = octets
        self.changed = time.time()

    def resize(self, length):
        before = len(self.data)
        if length < before:
            self.begun.append((length, bytes(self.data[length:]), None, before))
            del self.data[length:]
        else:
            self.write(before, bytes(length - before))

    def sync(self):
        self.begun.clear()

    def lose(self, chance, lost):
        """Goes back to the last sync, and on again with some of what came since."""
        begun, self.begun = self.begun, []
        for offset, before, after, length in reversed(begun):
            if after is None:
                self.data[offset:] = before
            else:
                self.data[offset:offset + len(before)] = before
                del self.data[length:]
        for offset, _, after, _ in begun:
            kept = chance.random()
            if after is None or kept < 0.4:
                lost[0] += 1
                continue
            if kept < 0.7:  # torn: some of its sectors
                lost[1] += 1
                for at in range(0, len(after), SECTOR):
                    if chance.random() < 0.5:
                        self.put(offset + at, after[at:at + SECTOR])
            else:
                self.put(offset, after)

    def put(self, offset, octets):
        if offset > len(self.data):
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset:offset + len(octets)] = octets


def fail(number):
    raise mfusepy.FuseOSError(number)


class LosingDisk(mfusepy.Operations):
    use_ns = False

    def __init__(self, seed):
        self.root = Node(stat.S_IFDIR | 0o700)
        self.open_files, self.next_handle = {}, 1
        self.chance, self.lost, self.cuts, self.syncs = random.Random(seed), [0, 0], 0, 0
        self.durable = self.names()

    # -- names --------------------------------------------------------------------------
    def find(self, path):
        node = self.root
        for name in filter(None, path.split("/")):
            node = node.entries.get(name) or fail(errno.ENOENT)
        return node

    def home(self, path):
        above, _, name = path.rpartition("/")
        return self.find(above), name

    def names(self):
        """What every directory holds."""
        found, ahead = {}, [self.root]
        while ahead:
            node = ahead.pop()
            found[node] = dict(node.entries)
            ahead += [entry for entry in node.entries.values() if entry.is_directory()]
        return found

    def cut(self):
        self.cuts += 1
        files = {node for names in (self.names(), self.durable) for entries in names.values() for node in entries.values()}
        for directory in {node for node in files if node.is_directory()} | {self.root}:
            directory.entries = dict(self.durable.get(directory, {}))
        for node in files:
            if not node.is_directory():
                node.lose(self.chance, self.lost)
        self.durable = self.names()

    def add(self, path, mode):
        home, name = self.home(path)
        home.entries[name] = node = Node(mode)
        return node

    # -- calls ---------------------------------------------------------------------------
    def getattr(self, path, fh=None):
        node = self.open_files[fh][0] if fh in self.open_files else self.find(path)
        return {"st_mode": node.mode, "st_nlink": node.links, "st_size": len(node.data), "st_uid": 0, "st_gid": 0,
                "st_ino": id(node) & 0xFFFFFFFF, "st_mtime": node.changed, "st_ctime": node.changed, "st_atime": node.changed,
                "st_blocks": len(node.data) // 512}

    def readdir(self, path, fh):
        return [".", "..", *self.find(path).entries]

    def mkdir(self, path, mode):
        self.add(path, stat.S_IFDIR | mode)
        return 0

    def create(self, path, mode, fi=None):
        if path == "/.cut":
            self.cut()
            fail(errno.EIO)
        return self.handle(self.add(path, stat.S_IFREG | mode), 0)

    def open(self, path, flags):
        return self.handle(self.find(path), flags)

    def handle(self, node, flags):
        self.next_handle += 1
        self.open_files[self.next_handle] = (node, bool(flags & os.O_DSYNC))
        return self.next_handle

    def release(self, path, fh):
        self.open_files.pop(fh, None)
        return 0

    def read(self, path, size, offset, fh):
        return bytes(self.open_files[fh][0].data[offset:offset + size])

    def write(self, path, data, offset, fh):
        node, is_durable = self.open_files[fh]
        node.write(offset, data)
        if is_durable:
            self.syncs += 1
            node.sync()
        return len(data)

    def truncate(self, path, length, fh=None):
        (self.open_files[fh][0] if fh in self.open_files else self.find(path)).resize(length)
        return 0

    def fsync(self, path, datasync, fh):
        self.syncs += 1
        self.open_files[fh][0].sync()
        return 0

    def fsyncdir(self, path, datasync, fh):
        self.syncs += 1
        self.durable = self.names()
        return 0

    def unlink(self, path):
        home, name = self.home(path)
        home.entries.pop(name) if name in home.entries else fail(errno.ENOENT)
        return 0

    def rmdir(self, path):
        home, name = self.home(path)
        if self.find(path).entries:
            fail(errno.ENOTEMPTY)
        del home.entries[name]
        return 0

    def rename(self, old, new):
        node = self.find(old)
        home, name = self.home(old)
        there, becomes = self.home(new)
        del home.entries[name]
        there.entries[becomes] = node
        return 0

    def link(self, target, source):
        home, name = self.home(target)
        home.entries[name] = node = self.find(source)
        node.links += 1
        return 0

    def chmod(self, path, mode):
        node = self.find(path)
        node.mode = stat.S_IFMT(node.mode) | mode
        return 0

    def chown(self, path, uid, gid):
        return 0

    def utimens(self, path, times=None):
        return 0

    def statfs(self, path):
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 1 << 20, "f_bfree": 1 << 19, "f_bavail": 1 << 19, "f_files": 1 << 20, "f_ffree": 1 << 20}

    def destroy(self, path):
        print(f"{self.cuts} power cuts, {self.syncs} syncs, {self.lost[0]} writes dropped, {self.lost[1]} torn", flush=True)


if __name__ == "__main__":
    # Nothing may be remembered by the kernel that the power has taken.
    mfusepy.FUSE(LosingDisk(sys.argv[2] if len(sys.argv) > 2 else None), sys.argv[1], foreground=True, nothreads=True,
                 attr_timeout=0, entry_timeout=0)
