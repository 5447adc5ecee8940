"""Frozen objects of named fields, as `dataclasses` has them, without code that is generated.

`dataclass` compiles source for each class: 0.3 to 2 ms at import, in every process of an app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, ClassVar, Dict, NoReturn, Tuple, TypeVar

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[type], type]:
        """Return what leaves the class alone: it declares the fields to type checkers."""
        return lambda cls: cls


R = TypeVar("R", bound="Record")


@dataclass_transform(frozen_default=True)
class Record:
    """Base of classes whose annotated names are fields; a value in the class is the default.

    Fields are given by position or by name. Two records are equal if they are of one class and
    their fields are equal.
    """

    _field_names: ClassVar[Tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # before 3.10 the attribute may be a base's
        own = cls.__dict__.get("__annotations__")  # noqa: RUF063
        own = cls.__annotations__ if own is None else own
        names = (name for name, kind in own.items() if not str(kind).startswith("ClassVar"))
        cls._field_names = tuple(dict.fromkeys((*cls._field_names, *names)))

    def __init__(self, *values: Any, **named: Any) -> None:
        names = self._field_names
        if len(values) > len(names):
            msg = f"{type(self).__name__} takes {len(names)} fields, got {len(values)}"
            raise TypeError(msg)
        for name in named:
            if name not in names[len(values) :]:
                msg = f"{type(self).__name__} has no field {name!r} that was not given yet"
                raise TypeError(msg)
        given = {**dict(zip(names, values)), **named}
        fields = self.__dict__
        for name in names:
            fields[name] = given[name] if name in given else self._default(name)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
        return f"{type(self).__qualname__}({shown})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = f"{type(self).__name__}.{name} cannot be set: it is frozen"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> NoReturn:
        msg = f"{type(self).__name__}.{name} cannot be deleted: it is frozen"
        raise AttributeError(msg)

    def _asdict(self) -> Dict[str, Any]:
        """Return the fields by name."""
        return dict(vars(self))

    def _replace(self: R, **changes: Any) -> R:  # noqa: PYI019 - typing.Self is newer than 3.9
        """Return another one with some fields changed."""
        return type(self)(**{**vars(self), **changes})

    def _default(self, name: str) -> Any:
        try:
            return getattr(type(self), name)
        except AttributeError:
            msg = f"{type(self).__name__} needs a value for {name!r}"
            raise TypeError(msg) from None
