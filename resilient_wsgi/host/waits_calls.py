"""What system call a thread of this process is in, and which descriptors that waits for.

/proc/self/task/TID/syscall names the call, its arguments, the stack pointer and the program counter
of a blocked thread (proc(5)). The arguments of poll and select point into our own memory: that is
read through /proc/self/mem, because the thread may go on and free it, and a pointer of ctypes would
then crash the process. Numbers: asm/unistd_64.h for x86_64, asm-generic/unistd.h for aarch64.
"""

from __future__ import annotations

import os
import struct
import threading
from typing import Dict, List, NamedTuple, Optional, Tuple

MOST_DESCRIPTORS = 1024  # of one poll; who waits for more is an event loop
_POLLFD = struct.Struct("=ihh")
_LINE_BYTES = 256
_FDINFO_BYTES = 1 << 16

# the first argument is the descriptor that is waited for
DIRECT = (
    *("read", "readv", "write", "writev"),
    *("recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg", "sendmmsg"),
    *("connect", "accept", "accept4", "sendfile"),
)
POLLS, SELECTS = ("poll", "ppoll"), ("select", "pselect6")
EPOLLS = ("epoll_wait", "epoll_pwait", "epoll_pwait2")
SLEEPS = ("nanosleep", "clock_nanosleep", "pause", "rt_sigtimedwait", "rt_sigsuspend")
LOCKS = ("futex", "futex_waitv", "semop", "semtimedop")
CHILDREN = ("wait4", "waitid")
FILE_LOCKS = ("flock", "fcntl")  # of fcntl only F_SETLKW waits
DISK = (
    *("fsync", "fdatasync", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2"),
    *("ftruncate", "fallocate", "close", "getdents64"),
)
PATHS = ("open", "openat", "newfstatat", "statx", "unlink", "unlinkat", "rename", "renameat2")
OTHERS = ("io_uring_enter", "splice", "tee", "sync", "syncfs", "msync", "restart_syscall")

_X86_64 = """
    read=0 write=1 open=2 close=3 poll=7 pread64=17 pwrite64=18 readv=19 writev=20 select=23
    msync=26 pause=34 nanosleep=35 sendfile=40 connect=42 accept=43 sendto=44 recvfrom=45
    sendmsg=46 recvmsg=47 wait4=61 semop=65 fcntl=72 flock=73 fsync=74 fdatasync=75 ftruncate=77
    rename=82 unlink=87 rt_sigtimedwait=128 rt_sigsuspend=130 sync=162 futex=202 getdents64=217
    restart_syscall=219 semtimedop=220 clock_nanosleep=230 epoll_wait=232 waitid=247 openat=257
    newfstatat=262 unlinkat=263 pselect6=270 ppoll=271 splice=275 tee=276 epoll_pwait=281
    fallocate=285 accept4=288 preadv=295 pwritev=296 recvmmsg=299 syncfs=306 sendmmsg=307
    renameat2=316 preadv2=327 pwritev2=328 statx=332 io_uring_enter=426 epoll_pwait2=441
    futex_waitv=449
"""
_AARCH64 = """
    epoll_pwait=22 fcntl=25 flock=32 unlinkat=35 ftruncate=46 fallocate=47 openat=56 close=57
    getdents64=61 read=63 write=64 readv=65 writev=66 pread64=67 pwrite64=68 preadv=69 pwritev=70
    sendfile=71 pselect6=72 ppoll=73 splice=76 tee=77 newfstatat=79 sync=81 fsync=82 fdatasync=83
    waitid=95 futex=98 nanosleep=101 clock_nanosleep=115 restart_syscall=128 rt_sigsuspend=133
    rt_sigtimedwait=137 semtimedop=192 semop=193 accept=202 connect=203 sendto=206 recvfrom=207
    sendmsg=211 recvmsg=212 msync=227 accept4=242 recvmmsg=243 wait4=260 syncfs=267 sendmmsg=269
    renameat2=276 preadv2=286 pwritev2=287 statx=291 io_uring_enter=426 epoll_pwait2=441
    futex_waitv=449
"""
TABLES: Dict[str, Dict[str, int]] = {
    machine: {
        name: int(number) for name, _, number in (each.partition("=") for each in text.split())
    }
    for machine, text in (("x86_64", _X86_64), ("aarch64", _AARCH64))
}
FSTAT = {
    "x86_64": 5,
    "aarch64": 80,
}  # waits_end.py calls it by number: glibc has it by name since 2.33
MACHINE = os.uname().machine
_NAMES = {number: name for name, number in TABLES.get(MACHINE, {}).items()}


class Target(NamedTuple):
    """A descriptor that is waited for; `inode` is 0 unless an epoll has said which file it is."""

    fd: int
    inode: int = 0


class Call(NamedTuple):
    """A system call that a thread is blocked in.

    `line` is what /proc says, to be compared by the second look; so are `memory` (address and
    content of the arguments in our memory) and `info` (the text of the epoll's fdinfo).
    """

    thread: int
    line: bytes
    name: str
    arguments: Tuple[int, ...]
    targets: Tuple[Target, ...] = ()
    memory: Tuple[Tuple[int, bytes], ...] = ()
    info: bytes = b""


def path_of(thread: int) -> str:
    """Return the file in /proc that names the system call of a thread."""
    return f"/proc/self/task/{thread}/syscall"


def info_path(fd: int) -> str:
    """Return the file in /proc that lists what an epoll waits for."""
    return f"/proc/self/fdinfo/{fd}"


def call_of(thread: int) -> Optional[Call]:
    """Return the system call in which a thread of this process is blocked; None if it is in none,
    or that may not be seen.
    """
    if thread == threading.get_native_id():  # it would be the read of that file
        return None
    try:
        line = read(path_of(thread), _LINE_BYTES)
    except OSError:  # the thread is gone; not dumpable (`waits.why_not()`)
        return None
    words = line.split()
    if len(words) != 9:  # "running"; "-1 SP PC": blocked, but in no system call (a page fault)
        return None
    arguments = tuple(int(word, 16) for word in words[1:7])
    number = int(words[0])
    call = Call(thread, line, _NAMES.get(number, f"system call {number}"), arguments)
    try:
        return _with_targets(call)
    except OSError:  # it has gone on
        return None


def read(path: str, most: int) -> bytes:
    """Return the beginning of a file of /proc. Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, most)
    finally:
        os.close(fd)


def memory(address: int, size: int) -> bytes:
    """Return bytes of this process's memory. Raises `OSError` if they are not mapped."""
    fd = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.pread(fd, size, address)
    finally:
        os.close(fd)
    if len(found) != size:
        msg = f"{size} bytes at {address:#x} are not mapped"
        raise OSError(msg)
    return found


def epoll_targets(info: bytes) -> Tuple[Target, ...]:
    """Return what an epoll waits for, from the text of its fdinfo."""
    found = []
    for line in info.splitlines():
        words = line.split()
        if words[:1] == [b"tfd:"]:
            fields = dict(zip(words[::2], words[1::2]))
            # "pos:0 ino:61ef sdev:7" are written without blanks; Linux < 4.13 leaves them out
            inode = next((int(word[4:], 16) for word in words if word.startswith(b"ino:")), 0)
            found.append(Target(int(fields[b"tfd:"]), inode))
    return tuple(found)


def _with_targets(call: Call) -> Call:
    first = _signed(call.arguments[0])
    if call.name in DIRECT:
        return call._replace(targets=(Target(first),))
    if call.name in POLLS:
        return _polled(call, call.arguments[0], call.arguments[1])
    if call.name in SELECTS:
        return _selected(call, call.arguments[0], call.arguments[1:4])
    if call.name in EPOLLS:
        info = read(info_path(first), _FDINFO_BYTES)
        return call._replace(targets=epoll_targets(info), info=info)
    return call


def _polled(call: Call, address: int, count: int) -> Call:
    if not 0 < count <= MOST_DESCRIPTORS:
        return call._replace(targets=tuple(Target(-1) for _ in range(min(count, 2))))
    content = memory(address, count * _POLLFD.size)
    asked = [(fd, events) for fd, events, _ in _POLLFD.iter_unpack(content) if fd >= 0]
    targets = dict.fromkeys(Target(fd) for fd, _ in asked)
    # `revents` is written by the kernel when the call returns, and garbage before
    return call._replace(targets=tuple(targets), memory=((address, content),))


def _selected(call: Call, count: int, addresses: Tuple[int, ...]) -> Call:
    size = min(count + 63, MOST_DESCRIPTORS) // 64 * 8
    sets = [(address, memory(address, size)) for address in addresses if address and size]
    asked: List[int] = []
    for _, content in sets:
        bits = int.from_bytes(content, "little")
        asked += [fd for fd in range(min(count, size * 8)) if bits >> fd & 1]
    targets = dict.fromkeys(Target(fd) for fd in asked)
    return call._replace(targets=tuple(targets), memory=tuple(sets))


def _signed(value: int) -> int:
    """Return a descriptor as the C int that it is: its upper half is garbage."""
    return int.from_bytes((value & 0xFFFFFFFF).to_bytes(4, "little"), "little", signed=True)
