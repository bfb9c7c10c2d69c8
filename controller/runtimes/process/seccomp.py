"""The seccomp filter of the process runtime, as BPF bytes.

Promises: everything is allowed but what no experiment needs and exploits like. Compiled once per process by the
system's libseccomp through pyseccomp. Other architectures' system calls (32-bit, x32) kill the process.
Does not: install it.
"""

import errno
import os
from functools import cache

from controller.runtimes.process.namespaces import CLONE_NEWUSER

DENIED = (
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "kcmp",
    "pidfd_getfd",
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "kexec_load",
    "kexec_file_load",
    "open_by_handle_at",
    "name_to_handle_at",
    "perf_event_open",
    "bpf",
    "keyctl",
    "add_key",
    "request_key",
    "userfaultfd",
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "query_module",
    "get_kernel_syms",
    "reboot",
    "swapon",
    "swapoff",
    "setns",
    "unshare",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "acct",
    "quotactl",
    "quotactl_fd",
    "nfsservctl",
    "lookup_dcookie",
    "iopl",
    "ioperm",
    "vhangup",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "stime",
    "syslog",
    "sethostname",
    "setdomainname",
    "vm86",
    "vm86old",
    "modify_ldt",
    "uselib",
    "ustat",
    "sysfs",
    "_sysctl",
    "fanotify_init",
    # System V memory stays when no process maps it: a limit that is polled by process never sees it.
    "shmget",
    "msgget",
    "semget",
)
"""Answered with EPERM."""

_TIOCSTI = 0x5412
_TIOCLINUX = 0x541C
_LOW = 0xFFFFFFFF
_ASK_PERSONALITY = 0x80000000
"""personality(0xffffffff) only asks; a real value never has this bit."""
_PERSONALITY_BITS = (0x0040000, 0x0100000, 0x0200000, 0x0400000)
"""no ASLR, page zero, old layout, READ_IMPLIES_EXEC"""


@cache
def program() -> tuple[bytes | None, str]:
    """The filter, or None and why there is none."""
    try:
        return _compile(), ""
    except (ImportError, OSError, RuntimeError) as error:
        return None, f"no seccomp filter: {error}"


def _compile() -> bytes:
    # Imported here: without the system's libseccomp the import itself fails, and the host still runs attempts.
    import pyseccomp

    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    deny = pyseccomp.ERRNO(errno.EPERM)
    for name in DENIED:
        if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) >= 0:
            rules.add_rule(deny, name)
    # clone3 hides its flags in memory that a filter cannot read; ENOSYS makes libc fall back to clone.
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    rules.add_rule(deny, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER))
    for request in (_TIOCSTI, _TIOCLINUX):
        rules.add_rule(deny, "ioctl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, _LOW, request))
    for bit in _PERSONALITY_BITS:
        rules.add_rule(deny, "personality", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _ASK_PERSONALITY | bit, bit))
    fd = os.memfd_create("seccomp")
    with os.fdopen(fd, "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
