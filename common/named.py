"""Code of the user's own, named in a setting as ``module:Name``: how all such names are read."""

import importlib
from typing import Any

from common.errors import InputError

_allowed: set[str] | None = None


def allow_only(names: set[str] | None) -> None:
    """Let this process load these names and no others; None: any. A household's own process runs
    what its own settings name, whatever a coordinator asks for.
    """
    global _allowed
    _allowed = names


def is_named(text: str) -> bool:
    """Whether a setting names code instead of something that fedwatt has."""
    return ":" in text


def named(path: str, key: str) -> Any:
    """The object ``Name`` of ``module``, both of ``path``; ``key`` is the setting that names it.

    Raises InputError that names key and path where there is none, or its module fails.
    """
    if _allowed is not None and path not in _allowed:
        raise InputError(f"{key} = {path!r}: not named in this home's settings.yaml, so not run")
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # a module of the user's own may raise what it likes
        raise _refused(error, path, key) from None


def made(path: str, key: str, **options: object) -> Any:
    """What the factory ``path`` makes of these options. Raises InputError as ``named`` does."""
    factory = named(path, key)
    try:
        return factory(**options)
    except Exception as error:
        raise _refused(error, path, key) from None


def _refused(error: Exception, path: str, key: str) -> InputError:
    why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, ModuleNotFoundError) and error.name == path.partition(":")[0]:
        why += " in PYTHONPATH or among the installed packages"
    return InputError(f"{key} = {path!r}: {' '.join(why.split())}")


def require(thing: object, path: str, key: str, *names: str) -> None:
    """Raise InputError unless ``thing`` has all of these attributes."""
    for name in names:
        if not hasattr(thing, name):
            raise InputError(f"{key} = {path!r}: {type(thing).__name__} has no {name!r}")
