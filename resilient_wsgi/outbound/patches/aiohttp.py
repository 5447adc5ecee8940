"""aiohttp: one exchange over redirects and the body, given to aiohttp as timeouts of its own.

aiohttp ends its waits itself. What is added is a limit of all that connecting takes (aiohttp's
`sock_connect` is one of each address, after DNS), and that its exceptions are ours, too, where a
limit of ours has ended the wait. A `ClientTimeout` with `total=None` is how aiohttp's users ask for
a stream: the total then ends with the headers.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, Callable, Optional, Tuple

from ...core.patching import Patches
from ...deadline import PASSED_ON, to_pass_on
from ...errors import Unavailable
from .. import call, call_async, exceptions
from ..exceptions import TimedOut
from ..exchange import Exchange
from ..policy import Limit, guard, installed
from . import asyncio_dns
from .aiohttp_waits import BoundedWaits, Call, MeasuredWaits, Own, watch_body

Method = Callable[..., Any]

_ATTRIBUTE = "_resilient_wsgi_call"
_OLDEST = (3, 9, 1)  # 3.9.0 reads the answer to one request as that to the next after a timeout


def patch(module: Any, patches: Patches) -> None:
    """Wrap the session, the making of connections, and what ends a silence."""
    if _version_of(module) < _OLDEST:
        msg = f"aiohttp {module.__version__}: it may use a connection again after a timeout"
        raise Unavailable(msg)
    asyncio_dns.patch(patches)
    client = _Aiohttp(module)
    patches.wrap(module.ClientSession, "_request", client.request)
    patches.wrap(module.TCPConnector, "_create_connection", client.create_connection)
    protocol = module.client_proto.ResponseHandler
    patches.wrap(protocol, "set_response_params", _set_response_params)
    patches.wrap(protocol, "_on_read_timeout", _on_read_timeout)


class _Aiohttp:
    """The wrappers that need the classes of the aiohttp that was imported."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def translate(
        self, error: Exception, failure: TimedOut, _exchange: Exchange
    ) -> Optional[Exception]:
        """Return a timeout of aiohttp's that is also ours: its own where it has raised one."""
        if isinstance(error, self._module.ServerTimeoutError):
            exceptions.become(error, type(error), failure)
            return None
        # the class of a builtin exception cannot be changed
        return exceptions.instead(asyncio.TimeoutError, failure, error)

    def request(self, original: Method) -> Method:
        """One exchange over everything that one call does."""

        async def request(session: Any, method: Any, *args: Any, **kwargs: Any) -> Any:
            if not installed.policy.on:
                return await original(session, method, *args, **kwargs)
            own = self._own(session, kwargs.get("timeout", self._module.client.sentinel))
            host, port, path = _parts(session, args[0] if args else kwargs.get("str_or_url"))
            return await call_async.around(
                self._within, (original, own, session, method, *args), kwargs,
                (host, port), self.translate,
                none_given=own.streams and own.read is None,
                timeout_given=own.largest is not None,
                has_stream_flag=False,
                method=method, path=path,
            )  # fmt: skip

        return request

    def _own(self, session: Any, asked: Any) -> Own:
        timeout = self._asked(session, asked)
        if timeout is self._module.client.DEFAULT_TIMEOUT:
            return Own()
        connect = timeout.connect or timeout.sock_connect or timeout.total
        return Own(timeout.total or None, timeout.sock_read or None, connect, not timeout.total)

    def _asked(self, session: Any, asked: Any) -> Any:
        """Return the `ClientTimeout` that aiohttp would take."""
        if asked is self._module.client.sentinel:
            return session._timeout
        is_number = not isinstance(asked, self._module.ClientTimeout)  # as long ago
        return self._module.ClientTimeout(total=asked) if is_number else asked

    async def _within(
        self, original: Method, own: Own, session: Any, method: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Send the request with timeouts that keep to the exchange; prepare the body's waits."""
        exchange = call_async.mine()
        if exchange is None:
            return await original(session, method, *args, **kwargs)
        if installed.policy.pass_deadline:
            _pass_deadline(session, kwargs)
        if exchange.dry_run is not None:
            with exchange.dry_run.wait(exchange.limits.read, own.largest):
                response = await original(session, method, *args, **kwargs)
            watch_body(response, MeasuredWaits(exchange, own))
            return response
        this = Call(exchange, own)
        if own.largest is not None:
            exchange.stretch(own.largest)
        asked = self._asked(session, kwargs.get("timeout", self._module.client.sentinel))
        kwargs["timeout"] = self._bounded(this, asked)
        response = await self._send(this, original, session, method, *args, **kwargs)
        exchange.phase = "body"
        if own.streams:
            exchange.release()
        _give_back_silence(response, this)
        watch_body(response, BoundedWaits(this, self.translate))
        return response

    def _bounded(self, this: Call, asked: Any) -> Any:
        """Return the `ClientTimeout` to send a request with."""
        exchange = this.exchange
        # of what comes after the headers of a stream, the deadline is the only end
        left = exchange.left_of_deadline() if this.own.streams else exchange.wait(math.inf)
        this.total_is_ours = left < (asked.total or math.inf)
        silence = exchange.limits.read.seconds if this.silence_is_ours else asked.sock_read
        return self._module.ClientTimeout(
            total=left if this.total_is_ours else asked.total,
            connect=asked.connect,
            sock_connect=asked.sock_connect,
            sock_read=silence,
            # aiohttp has longer timeouts end with a full second of its clock
            ceil_threshold=math.inf if this.total_is_ours else asked.ceil_threshold,
        )

    async def _send(self, this: Call, original: Method, *args: Any, **kwargs: Any) -> Any:
        exchange = this.exchange
        outer = getattr(exchange, _ATTRIBUTE, None)
        setattr(exchange, _ATTRIBUTE, this)
        exchange.phase = "pool"
        try:
            if not this.own.streams:
                return await original(*args, **kwargs)
            this.total_is_ours = True
            async with self._scope(exchange.wait(math.inf)):
                return await original(*args, **kwargs)
        except asyncio.TimeoutError as error:
            found = this.limit_of(error)
            if found is not None:
                error.__dict__["limit"] = found
            raise
        finally:
            setattr(exchange, _ATTRIBUTE, outer)

    def _scope(self, seconds: float) -> Any:
        """Return aiohttp's own kind of scope, which raises `asyncio.TimeoutError` at its end."""
        return self._module.helpers.async_timeout.timeout(None if seconds == math.inf else seconds)

    def create_connection(self, original: Method) -> Method:
        """Have DNS, all addresses, a proxy's tunnel and TLS share one limit."""

        async def create(connector: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
            exchange = call_async.mine()
            this = getattr(exchange, _ATTRIBUTE, None)
            if exchange is None or this is None:
                return await original(connector, req, *args, **kwargs)
            _arrive(req)
            exchange.begin_connect(this.own.connect)
            try:
                async with self._scope(_limit_of_connecting(exchange)):
                    return await original(connector, req, *args, **kwargs)
            except asyncio.TimeoutError as error:
                found = exchange.give_up(exchange.why) if exchange.expired() else None
                if isinstance(found, TimedOut):
                    error.__dict__["limit"] = found
                raise
            finally:
                exchange.end_connect()

        return create


def _arrive(req: Any) -> None:
    """Take the limits of the host that is connected to: of a redirect, maybe."""
    try:
        call.admit((req.url.host or "", req.url.port))
    except TimedOut as failure:
        error = asyncio.TimeoutError()
        error.__dict__["limit"] = failure
        raise error from failure


def _limit_of_connecting(exchange: Exchange) -> float:
    """Return how many seconds it may take. The caller's own number is aiohttp's to apply."""
    left, why = exchange.wait(math.inf), exchange.why
    return math.inf if isinstance(why, Limit) and why.by == "caller" else left


def _parts(session: Any, url: Any) -> Tuple[str, Optional[int], str]:
    try:
        url = session._build_url(url)
    except Exception:  # aiohttp will say what is wrong with it
        return "", None, ""
    return url.host or "", url.port, url.path


def _version_of(module: Any) -> Tuple[int, ...]:
    return tuple(int(part) for part in module.__version__.split(".") if part.isdigit())


def _pass_deadline(session: Any, kwargs: Any) -> None:
    with guard:
        left = to_pass_on()
        if left is not None:
            headers = session._prepare_headers(kwargs.get("headers"))
            headers.setdefault(PASSED_ON, left)
            kwargs["headers"] = headers


def _set_response_params(original: Method) -> Method:
    """Let the connection know which call it is used for."""

    def set_response_params(protocol: Any, *args: Any, **kwargs: Any) -> Any:
        exchange = call_async.mine()
        if exchange is not None and not exchange.connecting:  # through a proxy
            exchange.phase = "headers"
        this = protocol.__dict__[_ATTRIBUTE] = getattr(exchange, _ATTRIBUTE, None)
        if this is not None:
            this.protocol = protocol
        return original(protocol, *args, **kwargs)

    return set_response_params


def _on_read_timeout(original: Method) -> Method:
    """Do not end a silence that nobody waits for: the app is busy with something else."""

    def on_read_timeout(protocol: Any) -> Any:
        this = protocol.__dict__.get(_ATTRIBUTE)
        if this is None or not this.silence_is_ours or _is_waited_for(protocol):
            return original(protocol)
        this.silence_is_over = True
        return None

    return on_read_timeout


def _is_waited_for(protocol: Any) -> bool:
    return any(
        getattr(queue, waiter, None) is not None
        for queue in (protocol, getattr(protocol, "_payload", None))
        for waiter in ("_waiter", "_eof_waiter")
    )


def _give_back_silence(response: Any, this: Call) -> None:
    """Lift the limit of silence for a connection that was upgraded: the app decides from here."""
    if response.status == 101 and this.silence_is_ours:
        with guard:
            this.protocol._read_timeout = None
            this.protocol._drop_timeout()
