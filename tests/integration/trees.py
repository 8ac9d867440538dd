"""Folders for tests: made with everything that is hard about folders, and compared in all that must arrive."""

import contextlib
import hashlib
import os
import pathlib

ODD_NAMES = [
    b"new\nline", b"quote\"and'quote", b"back\\slash", b" leading and trailing ", b"-dash", b"caf\xc3\xa9 \xe2\x98\x83",
    b"invalid \xff\xfe utf8", b"tab\there", b"\x01control\x1b[31m", b"%s%n", b"a" * 255, b"..hidden", b"...",
]


def write(path, data, mode=0o644, mtime_ns=1_600_000_000_123_456_789):
    """A file with everything about it set."""
    path = os.fsencode(path)
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)
    os.utime(path, ns=(mtime_ns, mtime_ns))


def random_file(path, size, mtime_ns=1_650_000_000_987_654_321):
    """@size random bytes, a MiB at a time."""
    with open(path, "wb") as file:
        left = size
        while left:
            left -= file.write(os.urandom(min(left, 1 << 20)))
    os.utime(path, ns=(mtime_ns, mtime_ns))


def sparse_file(path, size):
    """A file with a little data at both ends and in the middle, and holes between."""
    with open(path, "wb") as file:
        file.truncate(size)
        for offset in (0, size // 2, size - 7):
            file.seek(offset)
            file.write(b"islands"[:7])


def small_files(folder, count, size=2000, per_folder=500):
    """@count files of about @size bytes, some empty."""
    folder = pathlib.Path(folder)
    noise = os.urandom(size * 4)
    for number in range(count):
        if number % per_folder == 0:
            into = folder / f"part-{number // per_folder:04}"
            into.mkdir(parents=True)
        start = number * 7 % (size * 2)
        (into / f"file-{number:06}.dat").write_bytes(noise[start:start + number % (size * 2)] + str(number).encode())


def odd_tree(root):
    """Names, kinds, modes and times that have broken programs before."""
    root = os.fsencode(root)
    os.makedirs(root, exist_ok=True)
    for number, name in enumerate(ODD_NAMES):
        write(os.path.join(root, name), name + b" content", mode=[0o644, 0o600, 0o755, 0o400][number % 4],
              mtime_ns=1_500_000_000_000_000_001 + number * 1_000_000_007)
    write(os.path.join(root, b"four"), b"four")
    write(os.path.join(root, b"empty"), b"")
    os.mkdir(os.path.join(root, b"empty folder"))
    deep = os.path.join(root, *[b"d%02d" % level for level in range(40)])
    os.makedirs(deep)
    write(os.path.join(deep, b"bottom"), b"at the bottom")
    os.symlink(b"four", os.path.join(root, b"link"))
    os.symlink(b"../../nowhere/at all", os.path.join(root, b"dangling"))
    os.symlink(b"/etc/passwd", os.path.join(root, b"absolute link"))
    closed = os.path.join(root, b"read only folder")
    os.mkdir(closed)
    write(os.path.join(closed, b"inside"), b"inside")
    os.chmod(closed, 0o555)
    os.utime(closed, ns=(1_400_000_000_000_000_000, 1_400_000_000_000_000_000))


def snapshot(root):
    """{relative name: what must be equal} of everything below @root: kind, mode, mtime, size, SHA-256 or link target."""
    root = os.fsencode(root)
    found = {}
    for path, folders, names in os.walk(root):
        for name in folders + names:
            full = os.path.join(path, name)
            stat = os.lstat(full)
            relative = os.path.relpath(full, root)
            if os.path.islink(full):
                found[relative] = ("link", os.readlink(full))
            elif os.path.isdir(full):
                found[relative] = ("folder", stat.st_mode & 0o7777, stat.st_mtime_ns)
            else:
                with open(full, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                found[relative] = ("file", stat.st_mode & 0o7777, stat.st_mtime_ns, stat.st_size, digest)
    return found


def differences(source, target, limit=10):
    """What is not equal between two folders, for an assertion's message; empty when all is."""
    want, have = snapshot(source), snapshot(target)
    lines = [f"missing {name!r}" for name in want if name not in have]
    lines += [f"extra {name!r}" for name in have if name not in want]
    lines += [f"{name!r}: {have[name]} instead of {want[name]}" for name in want if name in have and have[name] != want[name]]
    return lines[:limit]


def leftovers(*roots):
    """Temporary files that should have gone."""
    return [str(path) for root in roots for path in pathlib.Path(root).rglob(".fairlead-*")]


def disk_use(path):
    """Bytes on disk of one file."""
    return os.lstat(path).st_blocks * 512


def on_disk(folder):
    """Bytes that lie below @folder, temporary files included; files may come and go meanwhile."""
    total = 0
    for path in pathlib.Path(folder).rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += 0 if path.is_dir() else disk_use(path)
    return total
