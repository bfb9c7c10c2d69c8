"""Namespaces, mounts and privileges by system call, for hosts without a working bubblewrap.

Promises: the same file system and the same loss of privileges as bubblewrap.py gives; needs Linux 5.12 (mount_setattr).
Does not: clean up after a failure: the process that calls these functions is a fork that ends. Imported by the
supervisor: built-in modules and ctypes only.
"""

import ctypes
import fcntl
import os
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_MS_REMOUNT_FLAGS = 2 | 4 | 8  # nosuid, nodev, noexec
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_AT_RECURSIVE = 0x8000
_SYS_MOUNT_SETATTR = 442
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91, "riscv64": 91}
_CAPABILITY_VERSION_3 = 0x20080522

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 22, 36, 38
_SECCOMP_MODE_FILTER = 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _prctl(option: int, first: object, second: object = 0) -> int:
    return int(_libc.prctl(option, first, second, ctypes.c_ulong(0), ctypes.c_ulong(0)))


def die_with_parent(parent: int) -> None:
    """SIGKILL for this process when its parent (whose pid this is) ends; at once if it has ended already."""
    _check(_prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(9)), "die with parent")
    if os.getppid() != parent:
        os._exit(1)


def become_subreaper() -> None:
    """Orphaned descendants come back to this process."""
    _check(_prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1)), "subreaper")


def unshare(uid: int, *, network: bool) -> None:
    """Enter new namespaces with one user mapped; the pid namespace begins with the next fork."""
    outer_uid, outer_gid = os.getuid(), os.getgid()
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | (0 if network else CLONE_NEWNET)
    _check(_libc.unshare(flags), "unshare")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {outer_uid} 1")
    _write("/proc/self/gid_map", f"{uid} {outer_gid} 1")
    name = b"fetchml"
    _check(_libc.sethostname(name, len(name)), "host name")
    if not network:
        _loopback_up()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _loopback_up() -> None:
    fd = _check(_libc.socket(2, 2, 0), "socket")
    try:
        fcntl.ioctl(fd, 0x8914, struct.pack("16sh22x", b"lo", 1 | 64))  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
    finally:
        os.close(fd)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    words = [word.encode("utf-8", "surrogateescape") for word in (source, target, kind, data)]
    _check(_libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]), f"mount {target}")


def _restrict(target: str, attributes: int, *, recursive: bool = True) -> None:
    """Add mount attributes, on submounts too."""
    change = struct.pack("QQQQ", attributes, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    result = _libc.syscall(_SYS_MOUNT_SETATTR, -100, os.fsencode(target), flags, change, ctypes.c_size_t(len(change)))
    _check(result, f"restrict {target}")


def _pivot(new: str, old: str) -> None:
    number = _SYS_PIVOT_ROOT[os.uname().machine]
    _check(_libc.syscall(number, os.fsencode(new), os.fsencode(old)), "pivot_root")


def build_root(operations: list[tuple[str, str, str]]) -> None:
    """Make the operations the whole file system of this (mount and pid) namespace."""
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    base = "/tmp"  # noqa: S108  # a mount point that every host has; what lies beneath is still reached through /old
    _mount("tmpfs", base, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=1m")
    os.mkdir(f"{base}/new")
    os.mkdir(f"{base}/old")
    _pivot(base, f"{base}/old")
    os.chdir("/")
    _mount("tmpfs", "/new", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=1m")
    _mount_proc_and_dev()
    for kind, source, target in operations:
        _apply(kind, source, target)
    _restrict("/new/dev", _ATTR_RDONLY, recursive=False)
    _restrict("/new", _ATTR_RDONLY, recursive=False)
    _detach("/old")
    os.chdir("/new")
    _pivot(".", ".")
    _detach(".")
    os.chdir("/")


def _detach(path: str) -> None:
    _check(_libc.umount2(os.fsencode(path), _MNT_DETACH), f"unmount {path}")


def _mount_proc_and_dev() -> None:
    os.mkdir("/new/proc")
    _mount("proc", "/new/proc", "proc", _MS_REMOUNT_FLAGS)
    os.mkdir("/new/dev")
    _mount("tmpfs", "/new/dev", "tmpfs", _MS_NOSUID, "mode=755,size=64k")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        _touch(f"/new/dev/{name}")
        _mount(f"/old/dev/{name}", f"/new/dev/{name}", "", _MS_BIND)
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{target}", f"/new/dev/{name}")


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o444))


def _apply(kind: str, source: str, target: str) -> None:
    place = "/new" + target
    if kind == "link":
        os.symlink(source, place)
        return
    if kind == "tmpfs":
        os.makedirs(place, exist_ok=True)
        _mount("tmpfs", place, "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode=755,size={source}")
        return
    _mount_point("/old" + source, place)
    _mount("/old" + source, place, "", _MS_BIND | _MS_REC)
    _restrict(place, _ATTR_NOSUID | _ATTR_NODEV | (_ATTR_RDONLY if kind == "ro" else 0))


def _mount_point(source: str, place: str) -> None:
    if os.path.isdir(source):
        os.makedirs(place, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if not os.path.exists(place):
            _touch(place)


def hide() -> None:
    """Nobody but root reads this process through /proc, and its arguments (paths of the host) are gone from there."""
    begin, end = (int(field) for field in open("/proc/self/stat").read().rpartition(")")[2].split()[45:47])  # noqa: SIM115  # as in confine
    ctypes.memset(begin, 0, end - begin)
    _check(_prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0)), "dumpable")


def confine(seccomp: bytes | None) -> None:
    """Give up every capability for good, bar new privileges, and install the filter."""
    last = int(open("/proc/sys/kernel/cap_last_cap").read())  # noqa: SIM115  # this process ends in an exec
    for capability in range(last + 1):
        _prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability))  # fails where there is nothing to drop
    header, nothing = struct.pack("Ii", _CAPABILITY_VERSION_3, 0), struct.pack("6I", *[0] * 6)
    _check(_libc.syscall(_SYS_CAPSET[os.uname().machine], header, nothing), "capset")
    _check(_prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1)), "no new privileges")
    if seccomp is not None:
        buffer = ctypes.create_string_buffer(seccomp, len(seccomp))
        filter_program = struct.pack("HxxxxxxP", len(seccomp) // 8, ctypes.addressof(buffer))
        _check(_prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), filter_program), "seccomp")
