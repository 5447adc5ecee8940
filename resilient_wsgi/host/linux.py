"""Numbers of the Linux kernel's that Python has no names for, or not everywhere."""

from __future__ import annotations

import select

RWF_NOWAIT = 0x8  # pipes: Linux 6.4, sockets: 6.5
RWF_NOSIGNAL = 0x100  # Linux 6.18
F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032
PIPE_BUF = select.PIPE_BUF
