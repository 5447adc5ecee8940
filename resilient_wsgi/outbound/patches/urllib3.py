"""urllib3 1.26 and 2: one exchange over redirects, retries and their sleeps, the wait for a pooled
connection, all addresses.
"""

from __future__ import annotations

import math
import socket
from importlib import import_module
from typing import Any, Callable, Mapping, Optional

from ...core.patching import Patches
from .. import call, exceptions
from ..connect import create_connection
from ..exceptions import TimedOut
from ..exchange import Exchange, active, as_number, is_none
from ..policy import guard, installed
from ..unpatched_socket import is_clients_own
from . import http_client

Method = Callable[..., Any]

# positions in HTTPConnectionPool.urlopen, its self not counted; the same in 1.26 and 2
TIMEOUT, _POOL_TIMEOUT = 7, 8
_FUTURES_FROM = 900  # the patch numbers of urllib3-future


def patch(module: Any, patches: Patches) -> Optional[str]:
    """Wrap pools, connections, retries and the reading of responses; return what is not limited."""
    if is_future(module):
        note: Optional[str] = import_module(f"{__package__}.urllib3_future").patch(module, patches)
        return note
    client = Urllib3(module.exceptions)
    patches.wrap(module.poolmanager.PoolManager, "urlopen", client.manager_urlopen)
    patches.wrap(module.connectionpool.HTTPConnectionPool, "urlopen", client.pool_urlopen)
    connections = import_module("urllib3.connection")
    for name in ("HTTPConnection", "HTTPSConnection"):
        patches.wrap(getattr(connections, name), "connect", http_client.connect)
    patches.wrap(import_module("urllib3.util.connection"), "create_connection", _create_connection)
    patch_retries(module, patches, client)
    response = import_module("urllib3.response").HTTPResponse
    patches.wrap(response, "read", client.read)
    patches.wrap(response, "read1", client.read1)
    patches.wrap(response, "read_chunked", client.read_chunked)
    return None


def is_future(module: Any) -> bool:
    """Tell whether what was imported as `urllib3` is urllib3-future, which has taken its place."""
    numbers = str(module.__version__).split(".")
    return len(numbers) > 2 and numbers[2].isdigit() and int(numbers[2]) >= _FUTURES_FROM


def patch_retries(module: Any, patches: Patches, client: Urllib3) -> None:
    """Wrap what decides about another try, and the pause before it."""
    retry = module.util.retry.Retry
    patches.wrap(retry, "increment", client.increment)
    patches.wrap(retry, "sleep", _sleep)
    for name, caller in (
        ("get_retry_after", "sleep_for_retry"),
        ("get_backoff_time", "_sleep_backoff"),
    ):
        patches.wrap(retry, name, _pause)
        patches.wrap(retry, caller, _asking(name))


class Urllib3:
    """The wrappers that need the exceptions of the urllib3 that was imported."""

    def __init__(self, errors: Any) -> None:
        self._errors = errors

    def translate(
        self, error: Exception, failure: TimedOut, exchange: Exchange
    ) -> Optional[Exception]:
        """Return a timeout of urllib3's that is also ours: its own where it has raised one."""
        errors = self._errors
        if isinstance(error, errors.MaxRetryError) and exchange.expired():
            # time has run out, not the number of tries: report what ended the last one
            reason = error.reason
            return self.translate(reason, failure, exchange) or reason
        if isinstance(error, (errors.TimeoutError, errors.MaxRetryError)):
            exceptions.become(error, type(error), failure)
            return None
        kind = self._kind(failure)
        if isinstance(error, errors.HTTPError):
            exceptions.become(error, kind, failure, pool=None, url=None)
            return error  # type: ignore[no-any-return]  # urllib3 has types that are not followed
        return exceptions.instead(kind, failure, error, pool=None, url=None)

    def inner(self, failure: TimedOut, pool: Any, url: Any) -> Exception:
        """Return what urllib3 itself raises for a timeout that has come between two of its tries:
        to requests.
        """
        errors = self._errors
        if self._kind(failure) is errors.ReadTimeoutError:
            error = errors.ReadTimeoutError(pool, url, str(failure))
        else:
            reason = errors.ConnectTimeoutError(str(failure))
            reason.__cause__ = failure
            error = errors.MaxRetryError(pool, url, reason)
        error.__cause__ = failure
        return error  # type: ignore[no-any-return]

    def _kind(self, failure: TimedOut) -> Any:
        waits_for_a_connection = failure.phase in ("dns", "connect", "pool")
        return (
            self._errors.ConnectTimeoutError
            if waits_for_a_connection
            else self._errors.ReadTimeoutError
        )

    def manager_urlopen(self, original: Method) -> Method:
        """One exchange over the redirects, each of which comes through here again."""

        def urlopen(manager: Any, *args: Any, **kwargs: Any) -> Any:
            url = args[1] if len(args) > 1 else kwargs.get("url", "")
            streams = not kwargs.get("preload_content", True)
            timeout = kwargs.get("timeout", manager.connection_pool_kw.get("timeout", 0))
            return call.around(
                original, (manager, *args), kwargs, url, self.translate,
                none_given=is_none(timeout), timeout_given=_is_given(timeout), streams=streams,
                method=args[0] if args else kwargs.get("method", ""),
            )  # fmt: skip

        return urlopen

    def pool_urlopen(self, original: Method) -> Method:
        """One exchange over the retries, each of which comes through here again; the wait for a
        connection in it.
        """

        def urlopen(pool: Any, *args: Any, **kwargs: Any) -> Any:
            exchange = active.get()
            function = original if not pool.block else self._waiting(original)
            if exchange is not None:  # requests, a manager, or the next try of this same pool
                try:
                    return function(pool, *args, **kwargs)
                except TimedOut as failure:
                    raise self.inner(
                        failure, pool, args[1] if len(args) > 1 else kwargs.get("url")
                    ) from failure
            timeout = args[TIMEOUT] if len(args) > TIMEOUT else kwargs.get("timeout", pool.timeout)
            return call.around(
                function, (pool, *args), kwargs, (pool.host, pool.port), self.translate,
                none_given=is_none(timeout), timeout_given=_is_given(timeout),
                streams=not kwargs.get("preload_content", True),
                method=args[0] if args else kwargs.get("method", ""),
                path=args[1] if len(args) > 1 else kwargs.get("url", ""),
            )  # fmt: skip

        return urlopen

    def _waiting(self, original: Method) -> Method:
        """Wait for a connection of the pool no longer than what is left."""

        def urlopen(pool: Any, *args: Any, **kwargs: Any) -> Any:
            exchange = active.get()
            if exchange is None or exchange.dry_run is not None or len(args) > _POOL_TIMEOUT:
                return original(pool, *args, **kwargs)
            asked = kwargs.get("pool_timeout")
            wait = exchange.wait(math.inf if asked is None else asked)
            if wait != math.inf:
                kwargs = {**kwargs, "pool_timeout": wait}
            exchange.phase = "pool"
            try:
                return original(pool, *args, **kwargs)
            except self._errors.EmptyPoolError:
                if wait == asked or not exchange.expired():
                    raise
                raise exchange.give_up(exchange.why) from None

        return urlopen

    def increment(self, original: Method) -> Method:
        """Try nothing again when the exchange is over, or fair share forbids it: no try is left
        then.
        """

        def increment(retry: Any, *args: Any, **kwargs: Any) -> Any:
            exchange = active.get()
            if exchange is None:
                return original(retry, *args, **kwargs)
            if retry.total is not False and _is_last(exchange, kwargs):
                retry = retry.new(total=0)
            result = original(retry, *args, **kwargs)
            # also of a class whose `sleep` is its own, which would sleep in vain
            exchange.phase = "redirect" if _is_redirect(kwargs) else "retry-sleep"
            if exchange.dry_run is None:
                exchange.check(exchange.phase)
            return result

        return increment

    def read(self, original: Method) -> Method:
        """Have the timeout of a read be both kinds of exception."""

        # the arguments are written out, and handed on by position: it is called for each piece of a
        # download
        def read(
            response: Any, amt: Any = None, decode_content: Any = None, cache_content: Any = False
        ) -> Any:
            try:
                return original(response, amt, decode_content, cache_content)
            except Exception as error:
                self._make_ours(error)
                raise

        return read

    def read1(self, original: Method) -> Method:
        """Have the timeout of a read of what is there be both kinds of exception."""

        def read1(*args: Any, **kwargs: Any) -> Any:
            try:
                return original(*args, **kwargs)
            except Exception as error:
                self._make_ours(error)
                raise

        return read1

    def read_chunked(self, original: Method) -> Method:
        """Have the timeout of a chunk be both kinds of exception."""

        def read_chunked(response: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                yield from original(response, *args, **kwargs)
            except Exception as error:
                self._make_ours(error)
                raise

        return read_chunked

    def _make_ours(self, error: Exception) -> None:
        """Have the error of a read be ours, too, if a limit has caused it.

        The error of a whole call is translated when the call ends.
        """
        exchange = active.get()
        if exchange is None:
            with guard:
                failure = exceptions.failure(error)
                if failure is not None and isinstance(error, self._errors.TimeoutError):
                    exceptions.become(error, type(error), failure)


def _is_last(exchange: Exchange, kwargs: Mapping[str, Any]) -> bool:
    """Return whether the try that has failed is the last one, whatever the app allows."""
    if exchange.expired() and exceptions.failure(kwargs.get("error")) is not None:
        return True
    return not _is_redirect(kwargs) and not exchange.may_retry()


def _is_redirect(kwargs: Mapping[str, Any]) -> bool:
    response = kwargs.get("response")
    if response is None or kwargs.get("error") is not None:
        return False
    return bool(response.get_redirect_location())


def _is_given(timeout: Any) -> bool:
    """Return whether the caller limits anything. Looked at only where that is of interest."""
    if not installed.policy.notes_calls:
        return True
    if hasattr(timeout, "connect_timeout"):
        return bool(as_number(timeout.connect_timeout) or as_number(timeout.total))
    return bool(as_number(timeout))


def _create_connection(original: Method) -> Method:
    """Connect within the exchange's limit; keep to the family that `allowed_gai_family`, often
    replaced, allows.
    """
    own = is_clients_own(original, "urllib3.util.connection")

    def create(*args: Any, **kwargs: Any) -> Any:
        exchange = active.get()
        if exchange is None or not exchange.connecting or not own:
            return original(*args, **kwargs)
        return _connect(exchange, *args, **kwargs)

    return create


def _connect(
    exchange: Exchange,
    address: Any,
    timeout: Any = None,
    source_address: Any = None,
    socket_options: Any = None,
) -> socket.socket:
    from urllib3.exceptions import LocationParseError
    from urllib3.util import connection

    host, port = address
    host = host.strip("[]") if host.startswith("[") else host
    try:
        host.encode("idna")
    except UnicodeError:
        msg = f"'{host}', label empty or too long"
        raise LocationParseError(msg) from None
    return create_connection(
        exchange, (host, port), source_address, socket_options, connection.allowed_gai_family()
    )


def _sleep(original: Method) -> Method:
    """Let `_pause` look at the pauses that are going to be slept."""

    def sleep(retry: Any, *args: Any, **kwargs: Any) -> Any:
        exchange = active.get()
        if exchange is not None:
            exchange.phase = "retry-sleep"
        return original(retry, *args, **kwargs)

    return sleep


def _asking(name: str) -> Callable[[Method], Method]:
    """Look at the pause where a subclass has a method of its own that says how long it is."""

    def wrap(original: Method) -> Method:
        def sleep(retry: Any, *args: Any, **kwargs: Any) -> Any:
            exchange = active.get()
            if exchange is None or exchange.dry_run is not None:
                return original(retry, *args, **kwargs)
            seconds = getattr(retry, name)(*args, **kwargs)
            _refuse_pause(exchange, seconds)
            vars(retry)[name] = lambda *_, **__: seconds  # asked twice, a jitter says two things
            try:
                return original(retry, *args, **kwargs)
            finally:
                vars(retry).pop(name, None)

        return sleep

    return wrap


def _pause(original: Method) -> Method:
    """Look at the pauses of a subclass whose `sleep` is its own and asks for how long."""

    def pause(retry: Any, *args: Any, **kwargs: Any) -> Any:
        seconds = original(retry, *args, **kwargs)
        exchange = active.get()
        if exchange is not None and exchange.phase == "retry-sleep" and exchange.dry_run is None:
            _refuse_pause(exchange, seconds)
        return seconds

    return pause


def _refuse_pause(exchange: Exchange, seconds: Optional[float]) -> None:
    """Raise at once if the pause before the next try is longer than what is left."""
    if seconds and seconds > exchange.wait(math.inf):
        saying = f"the pause of {seconds:g} s before the next try is longer than what is left"
        raise exchange.give_up(exchange.why, saying)
