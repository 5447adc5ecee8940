from tests.unit.doctor.completing import ini

CASES = [
    ("U01", ini("lazy-apps = false"), False),
    ("U01", ini("lazy-apps = offline"), False),
    ("U01", ini("lazy-apps = off # comment"), True),
    ("U01", ini("need-app = 0;"), True),
    ("U01", ini("module = false ; text"), False),
    ("U01", ini("lazy-apps = false comment"), True),
    ("U01", ini("lazy-apps = true ; text"), False),
    ("U01", ini("lazy-apps = $(X) ; text"), False),
    ("U01", ini("processes = 0 ; text"), False),
    ("U01", ini("xyz = off ; text"), False),
    ("U01", ini("lazy-apps = off"), False),
    ("U04", ini("proceses = 4"), True),
    ("U04", ini("proceses = 4", "name = %(proceses)"), False),
    ("U04", ini("base = /srv", "chdir = %(base)/app"), False),
    ("U04", ini("zzz = 1"), False),
    ("U04", ini("strict = true", "zzz = 1"), True),
    ("U04", ini("set-ph = zzz=1"), False),
]
