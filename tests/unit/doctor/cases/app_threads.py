from tests.unit.doctor.completing import ini

APP = "\n\ndef application(environ, start_response):\n    pass\n"


def app(*lines, options=("module = wsgi",)):
    return {**ini(*options), "wsgi.py": "\n".join(["from threading import Thread", *lines]) + APP}


CASES = [
    ("U93", app("Thread(target=f).start()"), True),
    ("U93", app("Thread(target=f, daemon=True).start()"), False),
    ("U93", app("Thread(target=f, daemon=False).start()"), True),
    ("U93", app("Thread(target=f, daemon=DAEMON).start()"), False),
    ("U93", app("t = Thread(target=f)", "t.start()"), True),
    ("U93", app("t = Thread(target=f)"), False),
    ("U93", app("t = Thread(target=f)", "u.start()"), False),
    ("U93", app("t = Thread(target=f)", "t.daemon = True", "t.start()"), False),
    ("U93", app("t = Thread(target=f)", "t.setDaemon(True)", "t.start()"), False),
    ("U93", app("if DEBUG:", "    Thread(target=f).start()"), True),
    ("U93", app("if __name__ == '__main__':", "    Thread(target=f).start()"), False),
    ("U93", app("def go():", "    Thread(target=f).start()"), False),
    ("U93", app("class A:", "    t = Thread(target=f).start()"), False),
    ("U93", app("t = Thread(target=f)", "t.join()"), False),
    ("U93", app("a.t = Thread(target=f)", "b.start()"), False),
    ("U93", app("a.t = Thread(target=f)", "a.t.run()"), False),
    ("U93", app("queue.start()"), False),
    ("U93", app("Queue(target=f).start()"), False),
    ("U93", app("try:", "    Thread(target=f).start()", "finally:", "    pass"), True),
    ("U93", app("print(Thread(target=f))"), False),
    ("U93", app("import resilient_wsgi", "Thread(target=f).start()"), False),
    ("U93", app("Thread(target=f).start(", "x"), False),
    ("U93", app("Thread(target=f).start()", options=["module = wsgi", "worker-reload-mercy = 5"]), True),
    ("U93", app("Thread(target=f).start()", options=["module = wsgi", "ini = other.ini"]), True),
    ("U93", app("Thread(target=f).start()", options=["module = wsgi", "shared-import = resilient_wsgi.uwsgi"]), False),
]  # fmt: skip
