"""Packages that only the evaluation needs, imported when they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from hogwild.errors import HogwildError


class MissingPackageError(HogwildError, ImportError):
    """A package of an optional extra is not installed; the message says how to install it."""


def need(module: str, what: str, extra: str = "eval") -> ModuleType:
    """The module, imported.

    Args:
        module: its dotted name.
        what: what needs it, at the beginning of the error.
        extra: the extra of this package that brings it.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != package:
            raise  # it is there, and something that it needs is not
        raise MissingPackageError(
            f'{what}: the package {package} is not installed; pip install "hogwild[{extra}]"'
        ) from error
