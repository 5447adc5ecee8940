"""Ten thousand calls that time out: what is left of threads, descriptors and memory.

python -m bench.outbound.leaks [calls]
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict

import httpx
import requests
import urllib3

from bench.outbound.hostile import black_holes, names
from resilient_wsgi import outbound

THREADS = 16


def resident_kib() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def state() -> str:
    gc.collect()
    return f"{threading.active_count()} threads, {len(os.listdir('/proc/self/fd'))} descriptors, {resident_kib()} KiB resident"


def main(calls: int = 10_000) -> None:
    from bench.outbound.costs import server

    logging.disable(logging.CRITICAL)
    outbound.install()
    session, manager, client = (
        requests.Session(),
        urllib3.PoolManager(),
        httpx.Client(verify=False, trust_env=False),
    )
    session.trust_env = False
    with server() as url, black_holes(2) as (holes, port), names({"dead.test": holes}, stall=1.0):
        asks: Dict[str, Callable[[], Any]] = {
            "requests, silent": lambda: session.get(f"{url}/silent"),
            "urllib3, dripping body": lambda: manager.request("GET", f"{url}/drip_body"),
            "httpx, dripping headers": lambda: client.get(f"{url}/drip_headers"),
            "requests, dead addresses": lambda: session.get(f"http://dead.test:{port}/"),
            "urllib3, DNS stall": lambda: manager.request("GET", "http://some.stalled.test/"),
        }

        def many(ask: Callable[[], Any], count: int) -> int:
            def one(_: int) -> bool:
                with outbound.timeouts(total=0.02, connect=0.02, read=0.02):
                    try:
                        ask()
                    except Exception as error:
                        return isinstance(error, TimeoutError)
                return False

            with ThreadPoolExecutor(THREADS) as pool:
                return sum(pool.map(one, range(count)))

        for ask in asks.values():
            many(ask, 200)
        time.sleep(2)
        print(f"warm: {state()}", flush=True)
        for _ in range(2):
            for name, ask in asks.items():
                count = calls // len(asks) // 2
                timed_out = many(ask, count)
                print(f"{count} x {name} ({timed_out} timed out): {state()}", flush=True)
        time.sleep(12)
        print(f"12 s later: {state()}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
