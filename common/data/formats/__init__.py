"""File formats of household meter data, one module each."""

from pathlib import Path

from common.data.formats.ausgrid import Ausgrid
from common.data.formats.canonical import Canonical
from common.data.formats.citylearn_folder import CityLearn
from common.data.formats.dataport import Dataport
from common.data.formats.greenbutton import GreenButton
from common.data.formats.homeassistant import HomeAssistantEnergy, HomeAssistantHistory
from common.data.formats.lcl import LowCarbonLondon
from common.data.formats.mapped import Table
from common.data.formats.mapping import shipped
from common.data.formats.nem12 import Nem12
from common.data.formats.recorder import HomeAssistantRecorder
from common.data.formats.refit import Refit, UkDale
from common.data.formats.uci import Uci
from common.data.readings import Format, Options
from common.errors import InputError
from common.named import is_named, made, require

FORMATS: tuple[Format, ...] = (
    LowCarbonLondon(),
    Ausgrid(),
    CityLearn(),
    Dataport(),
    GreenButton(),
    HomeAssistantEnergy(),
    HomeAssistantHistory(),
    HomeAssistantRecorder(),
    Nem12(),
    Uci(),
    Refit(),
    UkDale(),
    *(Table(name, mapping) for name, mapping in shipped().items()),
    Canonical(),
    Table(),
)
EXAMPLE = "timestamp,consumption / 2025-06-01T00:00:00Z,0.25"


def choose(name: str | None, path: Path, options: Options) -> Format:
    """Return the format called ``name`` or made by ``module:Format``, or who recognises ``path``.

    Raises InputError for an unknown name, an unreadable path, or a file nobody recognises.
    """
    if name is None and options.mapping is not None:
        name = "table"
    if name is not None and is_named(name):
        own: Format = made(name, "--format")
        require(own, name, "--format", "name", "title", "zone", "clock", "reads", "read")
        return own
    if name is not None:
        known = {fmt.name: fmt for fmt in FORMATS}
        if name not in known:
            raise InputError(f"--format {name!r}: known: {', '.join(known)}")
        return _told(known[name], options)
    raw = b""
    if not path.is_dir():
        try:
            with path.open("rb") as stream:
                raw = stream.read(1 << 16)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        if not raw:
            raise InputError(f"{path}: the file is empty")
    head = raw.decode("utf-8-sig", errors="replace")
    bare = head.replace('"', "")  # some programs quote every cell
    for fmt in FORMATS:
        if fmt.recognises(path, head if head.lstrip().startswith("<") else bare):
            by_user = isinstance(fmt, Canonical) and (options.roles or options.unit)
            return _told(Table() if by_user else fmt, options)
    if options.roles and path.is_file():
        return _told(Table(), options)
    if path.is_dir():
        raise InputError(
            f"{path}: is a directory of no known format; name files, or a folder of "
            + ", ".join(f.title for f in FORMATS if f.folders)
        )
    raise InputError(
        f"{path}: format not recognised; name it with --format: {_seen(raw, head)} "
        f"(known: {', '.join(f.name for f in FORMATS)})"
    )


def _told(fmt: Format, options: Options) -> Format:
    return fmt.with_options(options) if isinstance(fmt, Table) else fmt


def _seen(raw: bytes, head: str) -> str:
    """Say what a file nobody recognises seems to be, and what to do with it."""
    text = head.lstrip()
    if raw.startswith(b"SQLite format 3"):
        return "it is an SQLite database: Home Assistant's is read with --format ha-recorder"
    if text[:1] in "{[":
        return "it is JSON: save the readings as a table"
    if text.startswith("<"):
        return "it is XML or a web page, and not of Green Button"
    if raw.startswith(b"%PDF"):
        return "it is a PDF: ask for the readings as a table"
    if b"\x00" in raw[:1024]:
        return "it is no text"
    first = text.splitlines()[0][:80] if text else ""
    return (
        f"it begins with {first!r}; 'fedwatt data guess FILE' proposes how to read a table, and "
        f"fedwatt's own begins, for example, with {EXAMPLE}"
    )
