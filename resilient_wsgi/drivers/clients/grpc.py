"""grpc: a call that waits for its one answer gets what is left until the deadline as its timeout.

Streams may be meant to outlive the request that begins them: only a wait for their next message is
ended, by the watchdog of requests. Futures are not touched.
"""

from __future__ import annotations

from typing import Any

from ...deadline import CURRENT, interruptible
from ..exceptions import translated
from ..limits import AFTERWARDS, SLACK, End
from . import To, need

SERVICE = "grpc"


def patch(module: Any, to: To) -> None:
    """Wrap the calls that block."""
    from grpc import _channel

    kinds = [_channel._UnaryUnaryMultiCallable, _channel._StreamUnaryMultiCallable]
    for kind in kinds:
        need(kind, "__call__", "with_call")
    need(_channel._Rendezvous, "__next__", "cancel")
    calls = _Calls(to, module)
    for kind in kinds:
        to.wrap(kind, "__call__", calls.limited)
        to.wrap(kind, "with_call", calls.limited)
    to.wrap(_channel._Rendezvous, "__next__", calls.next_message)


class _Calls:
    """Limits calls."""

    def __init__(self, to: To, grpc: Any) -> None:
        self._limits = to.limits
        self._error = grpc.RpcError
        self._codes = grpc.StatusCode

    def limited(self, original: Any) -> Any:
        """Wrap a call with one answer."""

        def call(method: Any, request: Any, timeout: Any = None, *args: Any, **kwargs: Any) -> Any:
            held = self._limits.deadline(SERVICE)
            if held is None or self._limits.report:
                return original(method, request, timeout, *args, **kwargs)
            began = self._limits.now()
            until = max(held.at, began + AFTERWARDS)
            if timeout is not None and timeout <= until - began:
                return original(method, request, timeout, *args, **kwargs)
            try:
                return original(method, request, until - began, *args, **kwargs)
            except self._error as error:
                over = error.code() is self._codes.DEADLINE_EXCEEDED
                if not over or self._limits.now() < until - SLACK:
                    raise
                peer = f"{_text(method, '_target')} {_text(method, '_method')}"
                limit = self._limits.over(SERVICE, peer, End.of(held, until), began)
                ours = translated(error, limit)
            raise ours

        return call

    def next_message(self, original: Any) -> Any:
        """Wrap the wait for the next message of a stream: the watchdog may cancel the stream."""

        def next_message(stream: Any) -> Any:
            held = self._limits.deadline(SERVICE) if CURRENT.get() is not None else None
            if held is None or self._limits.report:
                return original(stream)
            began = self._limits.now()
            wait = interruptible(stream.cancel, "grpc (next message of a stream)")
            try:
                with wait:
                    return original(stream)
            except self._error as error:
                if not wait.interrupted:
                    raise
                limit = self._limits.over(SERVICE, "stream", End.of(held, held.at), began)
                ours = translated(error, limit)
            raise ours

        return next_message


def _text(method: Any, name: str) -> str:
    value = getattr(method, name, b"")
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
