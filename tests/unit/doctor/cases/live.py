from tests.unit.doctor.completing import ini


def live(*lines, **more):
    return {"live": "\n".join(["master = 70 age=9000", *lines, ""]), **more}


WORKERS = [f"worker = {pid} age=9000" for pid in range(71, 75)]
YOUNG = [f"worker = {pid} age={2 * (pid - 70)}" for pid in range(71, 76)]

CASES = [
    ("P01", live("queue = :80 depth=127/128"), False),
    ("P01", live("queue = :80 depth=128/128"), True),
    ("P01", ini("listen = 1"), False),
    ("P02", live("stuck = pipe 1 threads=1"), True),
    ("P03", live(*WORKERS, "close_wait = 4"), False),
    ("P03", live(*WORKERS, "close_wait = 5"), True),
    ("P03", live(*WORKERS, "close_wait = 8", **ini("threads = 2")), False),
    ("P03", live(*WORKERS), False),
    ("P05", live("request = 71 seconds=33"), False),
    ("P05", live("request = 71 seconds=33", **ini("harakiri = 30")), False),
    ("P05", live("request = 71 seconds=34", **ini("harakiri = 30")), True),
    ("P05", live("request = 71 seconds=340", **ini("harakiri = 0")), False),
    ("P05", live("request = 71 seconds=340", **{**ini("harakiri = 9"), "b.ini": "[uwsgi]\nharakiri = 8\n"}), False),
    ("P06", live(*WORKERS, "wait = a:1 threads=2"), False),
    ("P06", live(*WORKERS, "wait = a:1 threads=3"), True),
    ("P06", live(*WORKERS, "wait = a:1 threads=4 main=0"), False),
    ("P06", live(*WORKERS, "wait = a:1 threads=5 main=0", **ini("threads = 2")), True),
    ("P06", live("worker = 71", "wait = a:1 threads=1"), False),
    ("P06", live(*WORKERS, "wait = a:1 threads=3", **ini("threads = 2")), False),
    ("P06", live(*WORKERS, "wait = a:1 threads=5", **ini("threads = 2")), True),
    ("P07", live("worker = 71 descriptors=80 most=100"), False),
    ("P07", live("worker = 71 descriptors=81 most=100"), True),
    ("P07", live("worker = 71 descriptors=81"), False),
    ("P07", {"live": "master = 70 descriptors=9 most=10\n"}, True),
    ("P08", live(*YOUNG), True),
    ("P08", live(*YOUNG[:3]), False),
    ("P08", {"live": "\n".join(["master = 70 age=200", *YOUNG, ""])}, False),
    ("P08", live(*[f"worker = {pid} age=5" for pid in range(71, 79)]), False),
    ("P08", live(*[f"worker = {pid} age={pid}" for pid in range(71, 79)]), False),
    ("P08", live(*[f"worker = {pid}" for pid in range(71, 75)], "worker = 75 age=9"), False),
    ("P09", {"live": "master = 70 state=D\n"}, True),
    ("P09", {"live": "master = 70 state=R\nworker = 71 state=T\n"}, False),
    ("P11", live("queue = /a depth=0/9 holders=2"), True),
    ("P13", live("children = Z number=1"), False),
    ("P13", live("children = Z number=2"), True),
    ("P13", live("children = D number=1"), True),
    ("P15", live("queue = :80 depth=0/128", machine="net.core.somaxconn = 128"), False),
    ("P15", live("queue = :80 depth=0/129", machine="net.core.somaxconn = 128"), True),
    ("P15", live("queue = :80 depth=0/129"), False),
    ("S02", live(machine="net.ipv4.tcp_abort_on_overflow = 1"), True),
    ("S09", {**ini("listen = 5"), "machine": "net.ipv4.tcp_retries2 = 15"}, False),
    ("S11", live("shm.free = 16777215"), True),
    ("S11", live("shm.free = 16777216"), False),
    ("S12", live(), False),
    ("S13", live("cpu.periods = 100", "cpu.throttled = 5"), False),
    ("S13", live("cpu.periods = 0", "cpu.throttled = 0"), False),
    ("S14", live("pids.current = 80", "pids.max = 100"), False),
    ("S14", live("pids.current = 81", "pids.max = 100"), True),
    ("S14", live("pids.current = 81"), False),
]  # fmt: skip
