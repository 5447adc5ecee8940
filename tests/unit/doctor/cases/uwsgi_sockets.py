from tests.unit.doctor.completing import ini

CASES = [
    ("U45", ini("listen = 128", machine="net.core.somaxconn = 128"), False),
    ("U45", ini("listen = 129", machine="net.core.somaxconn = 128"), True),
    ("U45", ini("listen = 4096"), False),
    ("U45", ini("listen = 10", "listen = 4096", machine="net.core.somaxconn = 128"), True),
    ("U45", ini("listen = 4096", "listen = 10", machine="net.core.somaxconn = 128"), False),
]
