"""Names to classes, filled by the files of one folder: a file dropped in is found."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """Everything that the modules of one package register under a name.

    The modules are imported at the first look-up, in alphabetical order, so registering costs nothing until
    somebody asks. A module whose name begins with an underscore is left alone.
    """

    def __init__(self, package: str, *, kind: str) -> None:
        self.package = package
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._imported: set[str] = set()

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate a class or function so that `get(name)` returns it; ValueError if the name is taken."""

        def add(entry: T) -> T:
            taken_by = self._entries.get(name)
            if taken_by is not None and _origin(taken_by) != _origin(entry):
                raise ValueError(
                    f"{self.kind} {name!r} is registered twice: {_origin(taken_by)} and {_origin(entry)}"
                )
            self._entries[name] = entry
            return entry

        return add

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._import_modules()
        return sorted(self._entries)

    def get(self, name: str) -> T:
        """What is registered under `name`; ValueError naming the nearest name when nothing is."""
        self._import_modules()
        if name not in self._entries:
            raise ValueError(f"unknown {self.kind} {name!r}{nearest(name, self._entries)}")
        return self._entries[name]

    def _import_modules(self) -> None:
        package = importlib.import_module(self.package)
        for module in sorted(module.name for module in pkgutil.iter_modules(package.__path__)):
            if module not in self._imported and not module.startswith("_"):
                importlib.import_module(f"{self.package}.{module}")
                self._imported.add(module)


def nearest(word: str, known: object) -> str:
    """The end of an error message: `; did you mean 'x'? known: ...` for the known words."""
    names = sorted(str(name) for name in known)  # type: ignore[attr-defined]
    close = difflib.get_close_matches(word, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"{hint} Known: {', '.join(names) or 'none'}"


def _origin(entry: object) -> str:
    return f"{getattr(entry, '__module__', '?')}.{getattr(entry, '__qualname__', entry)}"
