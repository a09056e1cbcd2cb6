"""A coordinator's folder: where its settings, keys, members, tariff and runs are."""

import fcntl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from common.config import Count, Positive, Section, Settings, load
from common.errors import InputError
from common.files import read_json, write_json
from common.yaml_text import parse_yaml

FOLDER_VARIABLE = "FEDWATT_SERVER"
"""Environment variable by which the ServerApp finds the folder: run config reaches households."""

Port = Annotated[int, Field(ge=1, le=65535)]


class Deployment(Section):
    """``server.yaml``: how the coordinator is reached and how it keeps time."""

    address: str = Field("127.0.0.1", description="name or address that households connect to")
    listen: str = Field("0.0.0.0", description="address the SuperLink listens on for households")
    fleet_port: Port = 9092
    transport: Literal["grpc", "http"] = Field(
        "grpc",
        description="of households' calls; http: flwr 1.40 or later on every host",
    )
    control_port: Port = Field(8000, description="loopback only: who reaches it commands the run")
    page_host: str = "127.0.0.1"
    page_port: Port = 9480
    insecure: bool = Field(False, description="no TLS, no authentication; loopback only")
    start: datetime | None = Field(
        None, description="UTC time of interval 0 in the data; null: real time, the next half hour"
    )
    ends: bool = Field(True, description="whether stored energy is valued when the run is over")
    lead_s: Positive = Field(60.0, description="from starting a run to its first interval")
    market_deadline_s: Positive = Field(120.0, description="how long a market round waits")
    closing_deadline_s: Positive = Field(
        1800.0, description="how long the end waits for households that are away"
    )
    message_mb: Positive = Field(64.0, description="largest message taken from a household")
    requests_per_s: Positive = Field(20.0, description="of one household, over a minute")
    megabytes_per_hour: Positive = Field(1000.0, description="taken from one household")
    failures_before_giving_up: Count = 20

    @property
    def heard_on(self) -> str:
        """Address that households' calls are taken on."""
        return "127.0.0.1" if self.insecure else self.listen


@dataclass(frozen=True)
class Folder:
    """Paths under the folder that ``fedwatt server init`` makes."""

    root: Path

    @property
    def server_file(self) -> Path:
        """How the coordinator is reached and keeps time."""
        return self.root / "server.yaml"

    @property
    def settings_file(self) -> Path:
        """Settings of the run."""
        return self.root / "config.yaml"

    @property
    def tariff(self) -> Path:
        """Published retail prices: CSV with the columns time (UTC) and retail."""
        return self.root / "tariff.csv"

    @property
    def members(self) -> Path:
        """Who has been admitted."""
        return self.root / "members.json"

    @property
    def page_token(self) -> Path:
        """What the page asks for away from loopback."""
        return self.root / "page.token"

    @property
    def tls(self) -> Path:
        """Certificates and their keys."""
        return self.root / "tls"

    @property
    def database(self) -> Path:
        """Flower's own database."""
        return self.root / "superlink.db"

    @property
    def flower(self) -> Path:
        """Flower's home: connection file and app copies."""
        return self.root / "flwr"

    @property
    def app(self) -> Path:
        """The app description that is sent to households; it carries no code."""
        return self.root / "app"

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.root / "run"

    @property
    def log(self) -> Path:
        """Structured logs."""
        return self.root / "log"

    @property
    def live(self) -> Path:
        """Which run this is, and when it began."""
        return self.run / "live.json"

    @property
    def told(self) -> Path:
        """Prices that households were told, which hold: lines of interval and retail price."""
        return self.run / "prices.csv"

    @property
    def status(self) -> Path:
        """What the coordinator is doing."""
        return self.run / "status.json"

    @property
    def outcome(self) -> Path:
        """How the last attempt of the ServerApp ended."""
        return self.run / "outcome.json"

    @property
    def ending(self) -> Path:
        """There once the operator has ended a run that has no end by itself."""
        return self.run / "ending"

    @property
    def lock(self) -> Path:
        """Held by the ServerApp while it lives."""
        return self.run / ".lock"

    def deployment(self) -> Deployment:
        """Read ``server.yaml``. Raises InputError."""
        if not self.server_file.is_file():
            raise InputError(f"{self.root}: no server folder (run fedwatt server init)")
        loaded = parse_yaml(_filled(self.server_file), str(self.server_file))
        try:
            return Deployment.model_validate(loaded)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"{self.server_file}: {key} = {first['input']!r}: {first['msg']}"
            ) from None

    def settings(self, households: int | None = None) -> Settings:
        """Read ``config.yaml``, for this many households. Raises InputError."""
        run = {} if households is None else {"households": households}
        _filled(self.settings_file)
        return load(str(self.settings_file), run=run)


def _filled(path: Path) -> str:
    """The text of a settings file. An empty one would mean defaults in the middle of a run."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file") from None
    if not text.strip("\0 \n"):
        raise InputError(f"{path}: empty, as after a power cut; restore it from a backup")
    return text


@dataclass(frozen=True)
class Live:
    """``live.json``: the run's own id, the time of interval 0, its clock."""

    run: str
    start: str
    anchor: float
    speed: float | None

    def write(self, path: Path) -> None:
        """Write the file whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, vars(self))

    @classmethod
    def read(cls, path: Path) -> "Live | None":
        """Return the run that was begun here, None where there is none. Raises InputError."""
        if not path.exists():
            return None
        try:
            return cls(**read_json(path))
        except TypeError:
            raise InputError(f"{path}: not a run of this release; move it away") from None


def alive(folder: Folder) -> bool:
    """Whether a ServerApp holds the folder."""
    if not folder.lock.exists():
        return False
    with folder.lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
