"""File formats of household meter data, one module each."""

from pathlib import Path

from common.data.formats.ausgrid import Ausgrid
from common.data.formats.canonical import Canonical
from common.data.formats.citylearn_folder import CityLearn
from common.data.formats.dataport import Dataport
from common.data.formats.greenbutton import GreenButton
from common.data.formats.homeassistant import HomeAssistantEnergy, HomeAssistantHistory
from common.data.formats.lcl import LowCarbonLondon
from common.data.formats.refit import Refit, UkDale
from common.data.formats.uci import Uci
from common.data.readings import Format
from common.errors import InputError

FORMATS: tuple[Format, ...] = (
    LowCarbonLondon(),
    Ausgrid(),
    CityLearn(),
    Dataport(),
    GreenButton(),
    HomeAssistantEnergy(),
    HomeAssistantHistory(),
    Uci(),
    Refit(),
    UkDale(),
    Canonical(),
)


def choose(name: str | None, path: Path) -> Format:
    """Return the format called ``name``, or the one that recognises ``path``.

    Raises InputError for an unknown name, an unreadable path, or a file nobody recognises.
    """
    if name is not None:
        known = {fmt.name: fmt for fmt in FORMATS}
        if name not in known:
            raise InputError(f"--format {name!r}: known: {', '.join(known)}")
        return known[name]
    head = ""
    if not path.is_dir():
        try:
            with path.open("rb") as stream:
                head = stream.read(1 << 16).decode("utf-8-sig", errors="replace")
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        if not head:
            raise InputError(f"{path}: the file is empty")
    bare = head.replace('"', "")  # some programs quote every cell
    for fmt in FORMATS:
        if fmt.recognises(path, head if head.lstrip().startswith("<") else bare):
            return fmt
    what = "is a directory of no known format" if path.is_dir() else "format not recognised"
    raise InputError(
        f"{path}: {what}; name it with --format ({', '.join(f.name for f in FORMATS)})"
    )
