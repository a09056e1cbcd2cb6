"""Rules for local energy by country: what of the grid's charges a kWh between members pays.

Data files in ``configs/rules``, each with the public pages it was read from and when. Rules change:
who bills by them checks them against the page first. Fees themselves differ by grid operator and
are set by hand.
"""

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import InputError
from common.yaml_text import read_yaml

_Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Page(_Part):
    """A public page, the day it was read, and what it says."""

    page: str
    read: date
    says: str


class LocalCharges(_Part):
    """What local energy pays: keys of ``tariff.local``, None where no page says it."""

    network_share: _Share | None = None
    network_fee: float | None = None
    levies_share: _Share | None = None
    levies: float | None = None
    vat: _Share | None = None


class LocalRules(_Part):
    """A country's rules. ``vat``: on what the grid delivers; None where no page says it."""

    title: str
    vat: _Share | None = None
    local: LocalCharges
    sources: Annotated[tuple[Page, ...], Field(min_length=1)]


def names() -> list[str]:
    """Names of the rules that ship with the package."""
    found = files("configs").joinpath("rules").iterdir()
    return sorted(file.name[:-5] for file in found if file.name.endswith(".yaml"))


@lru_cache(maxsize=32)
def rules_of(name: str) -> LocalRules:
    """The rules of this name. Raises InputError that lists those there are."""
    if name not in names():
        raise InputError(f"tariff.rules = {name!r}: expected one of {', '.join(names())}")
    path = Path(str(files("configs").joinpath("rules", f"{name}.yaml")))
    try:
        return LocalRules.model_validate(read_yaml(path))
    except ValidationError as error:
        raise InputError(f"{path}: {error.errors()[0]['msg']}") from None


def filled(tariff: Mapping[str, object], name: str) -> dict[str, object]:
    """The keys of a tariff with what the rules of this name say where it says nothing itself."""
    rules = rules_of(name)
    own = tariff.get("local")
    local = dict(own) if isinstance(own, Mapping) else {}
    for key, value in rules.local.model_dump().items():
        if value is not None and local.get(key) is None:
            local[key] = value
    made = {**tariff, "local": local}
    if made.get("vat") is None and rules.vat is not None:
        made["vat"] = rules.vat
    return made
