"""What children get for standard output and error when ours has been taken over: in real processes."""

import threading

import pytest

CHILDREN = """
if {protected}:
    stderr.install(Stderr(take_over=True))
else:
    reopened = os.open("/proc/self/fd/2", os.O_RDWR | os.O_NONBLOCK)
    os.dup2(reopened, 1); os.dup2(reopened, 2)
unbuffered = {{**os.environ, "PYTHONUNBUFFERED": "1"}}  # what a child's buffer meets at its exit depends on it
code = "import sys; sys.stdout.write('o' * 150000); sys.stdout.flush(); sys.stderr.write('e' * 150000)"
codes = [subprocess.run(["head", "-c", "300000", "/dev/zero"]).returncode,
         subprocess.run([sys.executable, "-c", code], env=unbuffered).returncode,
         subprocess.run([sys.executable, "-c", code], stderr=subprocess.STDOUT, env=unbuffered).returncode,
         subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, env=unbuffered).returncode,
         os.system("head -c 300000 /dev/zero"),
         os.spawnlp(os.P_WAIT, "head", "head", "-c", "300000", "/dev/zero"),
         os.waitpid(os.posix_spawnp("head", ["head", "-c", "300000", "/dev/zero"], os.environ,
                                    file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)]), 0)[1]]
say(codes=codes)
"""


@pytest.mark.parametrize("protected", [True, False])
def test_children_lose_nothing_to_a_slow_reader(child, pipe, protected):
    """Without the library, that is with the descriptor taken over and inherited, they lose most of it."""
    got, over = [], threading.Event()

    def read_slowly():
        while not over.wait(0.002):
            got.append(len(pipe.read()))

    reader = threading.Thread(target=read_slowly)
    reader.start()
    try:
        said = child(
            CHILDREN.format(protected=protected), stdout=pipe.write_end, stderr=pipe.write_end
        )
    finally:
        over.set()
        reader.join()
    total = sum(got) + len(pipe.read())
    if protected:
        assert said["codes"] == [0] * 7
        assert total == 300_000 * 6 + 150_000
    else:
        assert [code != 0 for code in said["codes"]] == [
            True,
            False,
            False,
            False,
            True,
            True,
            True,
        ]
        assert total < 300_000 * 6


def test_os_system_returns_what_it_always_does(child, pipe):
    said = child(
        """
        stderr.install(Stderr(take_over=True))
        import signal
        os.putenv("PUT", "there")  # os.environ does not show it
        codes = [os.system(c) for c in ("exit 3", b"kill -s TERM $$", "echo $PUT >&2")]
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        say(codes=[*codes, os.system("true")])
        """,
        stdout=pipe.write_end,
        stderr=pipe.write_end,
    )
    assert said["codes"] == [3 << 8, 15, 0, -1]
    assert pipe.read() == b"there\n"
