"""Sherd: a sharded, ordered, durable key-value store.

This package is what ``import sherd`` gives: ``connect``, ``Client``, ``AsyncClient``, ``Store`` and the errors. Names
are resolved on first use, so importing it costs nothing. With ``SHERD_INTERPRETED=1`` in the environment every module
is loaded from its Python source even where a compiled twin lies beside it; the two builds never share a process.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import TYPE_CHECKING

from sherd.common.version import VERSION

if TYPE_CHECKING:
    from sherd.client.aio import AsyncClient as AsyncClient
    from sherd.client.sync import Client as Client
    from sherd.common.errors import BadRequest as BadRequest
    from sherd.common.errors import Conflict as Conflict
    from sherd.common.errors import Corruption as Corruption
    from sherd.common.errors import Forbidden as Forbidden
    from sherd.common.errors import Internal as Internal
    from sherd.common.errors import Overloaded as Overloaded
    from sherd.common.errors import Partial as Partial
    from sherd.common.errors import SherdError as SherdError
    from sherd.common.errors import StoreError as StoreError
    from sherd.common.errors import Timeout as Timeout
    from sherd.common.errors import TooLarge as TooLarge
    from sherd.common.errors import Unauthenticated as Unauthenticated
    from sherd.common.errors import Unavailable as Unavailable
    from sherd.common.errors import UnknownMethod as UnknownMethod
    from sherd.connecting import connect as connect
    from sherd.shard.lsm.store import Store as Store

__version__ = VERSION

_ERRORS = (
    "BadRequest Conflict Corruption Forbidden Internal Overloaded Partial SherdError StoreError Timeout TooLarge "
    "Unauthenticated Unavailable UnknownMethod"
)
_HOMES = {
    "connect": "sherd.connecting",
    "Client": "sherd.client.sync",
    "AsyncClient": "sherd.client.aio",
    "Store": "sherd.shard.lsm.store",
    **dict.fromkeys(_ERRORS.split(), "sherd.common.errors"),
}
__all__ = sorted(_HOMES)


class _SourceFinder:
    """Finds ``sherd.*`` modules as Python source only, whatever compiled files lie beside them."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("sherd.") or path is None:
            return None
        name = fullname.rpartition(".")[2]
        for folder in path:
            package = os.path.join(folder, name, "__init__.py")
            if os.path.isfile(package):
                return spec_from_file_location(fullname, package, submodule_search_locations=[os.path.dirname(package)])
            module = os.path.join(folder, name + ".py")
            if os.path.isfile(module):
                return spec_from_file_location(fullname, module, loader=SourceFileLoader(fullname, module))
        return None


if os.environ.get("SHERD_INTERPRETED", "") not in ("", "0"):
    sys.meta_path.insert(0, _SourceFinder)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'sherd' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
