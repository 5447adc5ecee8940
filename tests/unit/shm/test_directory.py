from __future__ import annotations

import errno
import os
import stat

import pytest

from resilient_wsgi.errors import Unavailable
from resilient_wsgi.shm import instance
from resilient_wsgi.shm.directory import open_private


@pytest.fixture
def directory(base):
    return instance.directory()


def test_a_file_has_its_size_and_space_when_it_can_be_seen(directory):
    fd = directory.create("requests", 1 << 20)
    about = os.fstat(fd)
    os.close(fd)
    assert about.st_size == 1 << 20
    assert about.st_blocks * 512 >= 1 << 20
    assert stat.S_IMODE(about.st_mode) == 0o600
    assert directory.names() == ["requests"]


def test_creating_what_is_there_leaves_it_alone(directory):
    fd = directory.create("requests", 10)
    os.write(fd, b"kept")
    os.close(fd)
    with pytest.raises(FileExistsError):
        directory.create("requests", 10)
    fd = directory.open("requests", os.O_RDONLY)
    assert os.read(fd, 4) == b"kept"
    os.close(fd)
    assert directory.names() == ["requests"]


def test_without_room_it_is_unavailable_and_nothing_is_left(directory, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Unavailable, match=r"no room in .* for 64 KiB: No space left on device"):
        directory.create("requests", 1 << 16)
    assert directory.names() == []


@pytest.mark.parametrize(
    "flags", [os.O_RDONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC]
)
@pytest.mark.parametrize("kind", ["fifo", "symlink", "dangling", "directory", "device"])
def test_what_is_no_regular_file_is_neither_followed_nor_waited_for(
    directory, tmp_path, kind, flags
):
    target = tmp_path / "target"
    target.write_text("precious")
    path = os.path.join(directory.path, "squatted")
    if kind == "device" and os.geteuid():
        pytest.skip("only root can make a device")
    {
        "fifo": lambda: os.mkfifo(path),
        "symlink": lambda: os.symlink(target, path),
        "dangling": lambda: os.symlink(tmp_path / "new", path),
        "directory": lambda: os.mkdir(path),
        "device": lambda: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    }[kind]()
    with pytest.raises((OSError, Unavailable)):
        directory.open("squatted", flags)
    assert target.read_text() == "precious"
    assert not (tmp_path / "new").exists()


def test_a_file_of_another_user_is_not_taken_nor_truncated(directory, other_user):
    path = os.path.join(directory.path, "foreign")
    with open(path, "w") as file:
        file.write("precious")
    os.chown(path, other_user, other_user)
    for flags in (os.O_RDONLY, os.O_RDWR | os.O_CREAT | os.O_TRUNC):
        with pytest.raises(Unavailable, match="not a regular file of uid 0"):
            directory.open("foreign", flags)
    with open(path) as file:
        assert file.read() == "precious"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/passwd"])
def test_a_name_does_not_lead_out_of_it(directory, name):
    with pytest.raises(ValueError, match="not the name of a file"):
        directory.open(name)


def test_a_read_only_view_only_reads(directory):
    os.close(directory.create("requests", 1))
    view = open_private(directory.path, os.geteuid(), read_only=True)
    os.close(view.open("requests", os.O_RDONLY))
    for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDONLY | os.O_CREAT, os.O_RDONLY | os.O_TRUNC):
        with pytest.raises(PermissionError):
            view.open("requests", flags)
    with pytest.raises(PermissionError):
        view.unlink("requests")
    with pytest.raises(PermissionError):
        view.create("more")
    view.close()


@pytest.mark.parametrize("kind", ["file", "fifo", "symlink", "mode", "absent"])
def test_only_a_directory_of_mode_0700_is_private(tmp_path, kind):
    path = tmp_path / "candidate"
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    {
        "file": path.touch,
        "fifo": lambda: os.mkfifo(path),
        "symlink": lambda: path.symlink_to(real),
        "mode": lambda: path.mkdir(mode=0o750),
        "absent": lambda: None,
    }[kind]()
    assert open_private(str(path), os.geteuid()) is None
    assert open_private(str(real), os.geteuid() + 1) is None
    assert open_private(str(real), os.geteuid()) is not None


def test_closing_leaves_a_descriptor_alone_that_is_something_else_by_now(directory):
    fd = directory.fd
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, fd)
    os.close(null)
    assert not directory.still_open()
    directory.close()
    os.close(fd)
