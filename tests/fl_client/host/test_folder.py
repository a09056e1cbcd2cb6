"""A household's folder: what is kept, with which rights, and when a start is refused."""

import errno
import importlib
import inspect
import os
import shlex
import socket
import stat
from dataclasses import replace
from pathlib import Path

import grpc  # type: ignore[import-untyped]
import pandas as pd
import pytest
import sqlalchemy as sa
from flwr.app import Context, RecordDict

from common import config, database
from common.data.sql import Readings
from common.data.store import write_household
from common.data.synthetic import generate
from common.errors import InputError
from common.messages import MessageError
from common.named import allow_only, named
from fl_client.host import node
from fl_client.host.client_file import KEEP_LOADED, ClientFile, read_client
from fl_client.host.clientapp import HouseholdError, confined, discreet
from fl_client.host.folder import init_client, supernode
from fl_client.host.status import client_status
from fl_client.membership import membership, own_settings
from fl_client.state import QUANTITIES, State
from fl_server.host.tls import make_authority, make_server_certificate
from tests.support.ports import free_port

FILE = ClientFile("maple-7", "synthetic", "127.0.0.1:9092")


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """A community's certificate; nobody is called here."""
    make_authority(tmp_path)
    make_server_certificate(tmp_path, ["localhost"])
    return tmp_path / "ca.crt"


def node_config(command: list[str]) -> dict[str, str]:
    """The node config that a SuperNode's command line carries."""
    pairs = shlex.split(command[command.index("--node-config") + 1])
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def test_the_key_is_for_its_owner_alone(tmp_path: Path, ca: Path) -> None:
    """The private key is a file of mode 0600, in a folder of 0700; the public one is printed."""
    line = init_client(tmp_path / "home", FILE, ca)
    assert stat.S_IMODE((tmp_path / "home" / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    assert line == (tmp_path / "home" / "key.pub").read_text().strip()
    assert not (tmp_path / "home" / "secret.env").exists()


@pytest.mark.parametrize(
    "url",
    ["postgresql://maple:hunter2@db.org/homes", "postgresql://maple@db.org/homes?password=hunter2"],
)
def test_no_password_in_a_url(tmp_path: Path, ca: Path, url: str) -> None:
    """A URL with a password, in either place, is refused without showing it; nothing is left."""
    with pytest.raises(InputError, match="set PGPASSWORD for init") as caught:
        init_client(tmp_path / "home", replace(FILE, data=url), ca)
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "home").exists()


def test_a_url_without_a_password_is_kept_as_it_is(
    tmp_path: Path, ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be a pgpass file, or a database that asks for none; what is no database's URL, or
    a PGPASSWORD that a line of a file cannot hold, is refused."""
    monkeypatch.delenv("PGPASSWORD", raising=False)
    file = replace(FILE, data="postgresql://maple@db.org/homes")
    with pytest.raises(InputError, match="known: postgresql"):
        init_client(tmp_path / "home", replace(FILE, data="mysql://h/homes"), ca)
    monkeypatch.setenv("PGPASSWORD", "two\nlines")
    with pytest.raises(InputError, match="line break"):
        init_client(tmp_path / "home", file, ca)
    assert not (tmp_path / "home").exists()
    monkeypatch.delenv("PGPASSWORD")
    init_client(tmp_path / "home", file, ca)
    assert file.data in (tmp_path / "home" / "client.yaml").read_text()
    assert not (tmp_path / "home" / "secret.env").exists()


@pytest.mark.parametrize(
    ("server", "cause"),
    [
        ("grid.example.org", "expected HOST:PORT"),
        ("https://grid.example.org:9092", "neither a host name nor an IP address"),
        ("grid.example.org/fleet:9092", "neither a host name nor an IP address"),
        ("grid.example.org:99999", "1 to 65535"),
        ("grid.example.org:0", "1 to 65535"),
    ],
)
def test_an_address_nobody_can_call_is_refused_at_init(
    tmp_path: Path, ca: Path, server: str, cause: str
) -> None:
    """A URL, no port or one that there is not: one line, and no folder."""
    with pytest.raises(InputError, match=cause):
        init_client(tmp_path / "home", replace(FILE, server=server), ca)
    assert not (tmp_path / "home").exists()
    init_client(tmp_path / "home", replace(FILE, server="[2001:db8::7]:9092"), ca)


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ("nowhere.crt", "No such file"),
        (".", "Is a directory"),
        ("notes.txt", "no certificate"),
        ("ca.key", "no certificate"),
        ("server.pem", "not of an authority"),
        ("both.pem", "holds a private key"),
    ],
)
def test_what_is_no_communitys_certificate_is_refused_at_init(
    tmp_path: Path, ca: Path, given: str, cause: str
) -> None:
    """Some text, the server's own certificate, and a key, which must not be handed about; nor does
    a place serve in which there can be no folder."""
    (tmp_path / "notes.txt").write_text("a certificate")
    with pytest.raises(InputError, match=r"notes\.txt/home: Not a directory"):
        init_client(tmp_path / "notes.txt" / "home", FILE, ca)
    (tmp_path / "both.pem").write_bytes((tmp_path / "ca.key").read_bytes() + ca.read_bytes())
    with pytest.raises(InputError, match=cause):
        init_client(tmp_path / "home", FILE, tmp_path / given)
    assert not (tmp_path / "home").exists()


def test_a_disk_that_fills_up_leaves_no_half_made_folder(
    tmp_path: Path, ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that names the folder, which is not there; then init begins anew."""

    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("fl_client.host.folder.make_node_key", full)
        with pytest.raises(InputError, match=r"home: No space left on device"):
            init_client(tmp_path / "home", FILE, ca)
    assert not (tmp_path / "home").exists()
    init_client(tmp_path / "home", FILE, ca)


def test_data_in_which_a_run_would_not_find_the_household_is_refused_at_init(
    tmp_path: Path, ca: Path
) -> None:
    """A meter's own CSV, another home's file, a folder of several or of none: one line that says
    what will do, which does."""
    first = pd.Timestamp("2023-05-01", tz="UTC")
    for name in ("H1", "H2"):
        write_household(generate(name, seed=1, first=first, intervals=48), tmp_path / "homes")
    (tmp_path / "meter.csv").write_text("timestamp,consumption\n2025-01-01T00:00:00Z,0.2\n")
    (tmp_path / "empty").mkdir()
    homes = tmp_path / "homes"
    for data, cause in (
        ("meter.csv", "not a household file of fedwatt: make one with 'fedwatt data import"),
        ("empty", "holds no household files"),
        ("homes", r"holds 2 households, not one: name .*H2\.parquet"),
        ("homes/H1.parquet", "is of household H1, not of H2"),
    ):
        with pytest.raises(InputError, match=cause):
            init_client(tmp_path / "home", replace(FILE, name="H2", data=str(tmp_path / data)), ca)
        assert not (tmp_path / "home").exists()
    init_client(tmp_path / "home", replace(FILE, name="H2", data=str(homes / "H2.parquet")), ca)


def test_a_home_opens_its_guarded_database(
    postgres, tmp_path: Path, ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password set for ``init`` is in a file of mode 0600 and nowhere else; what the SuperNode
    is started with, command and environment, opens the database and reads the home."""
    url = postgres(hba="keeper scram-sha-256")
    admin = database.engine(url)
    database.migrate(admin)
    settings = config.load(None, ["run.days=1", "run.history_days=2"])
    home = generate("maple-7", seed=1, first=pd.Timestamp("2023-05-01", tz="UTC"), intervals=240)
    Readings(url).write(home)
    with admin.begin() as connection:
        connection.execute(sa.text("create role keeper login password 'let me in=#'"))
        connection.execute(sa.text("grant select on all tables in schema public to keeper"))
    folder = tmp_path / "home"
    monkeypatch.setenv("PGPASSWORD", "let me in=#")
    init_client(folder, replace(FILE, data=url.replace("postgres@", "keeper@")), ca)
    monkeypatch.delenv("PGPASSWORD")
    assert stat.S_IMODE((folder / "secret.env").stat().st_mode) == 0o600
    assert "let me in" not in (folder / "client.yaml").read_text()

    command, env = supernode(folder)
    assert not any("let me in" in word for word in command)
    context = Context(
        run_id=1,
        node_id=1,
        node_config=dict(node_config(command)),
        state=RecordDict(),
        run_config={"settings": settings.model_dump_json()},
    )
    member = membership(context)
    with pytest.raises(InputError, match="no password supplied"):
        member.load()
    monkeypatch.setenv("PGPASSWORD", env["PGPASSWORD"])
    found = member.load()
    assert (found.name, len(found.frame)) == ("maple-7", 240)


def test_a_household_overrules_only_what_is_its_own(tmp_path: Path) -> None:
    """Battery, trader and its silence are its own; the market's rules are not, nor are tariff and
    connection, which the operator enters: the refusal says where."""
    file = tmp_path / "settings.yaml"
    assert own_settings(file) == {}
    file.write_text("battery: {capacity_kwh: 10.0}\nrun: {metrics: none}\n")
    assert own_settings(file)["battery"] == {"capacity_kwh": 10.0}
    for text, key in (
        ("market: {loss: 0}", "market"),
        ("run: {seed: 1}", "run.seed"),
        ("connection: {import_kwh: 40}", "'connection' by itself: the operator enters it .* homes"),
        ("tariff: {retail: 0.1}", "'tariff' by itself: the operator enters it .* homes"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=key):
            own_settings(file)


def test_a_household_asks_at_its_own_pace(
    tmp_path: Path, ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--poll reaches Flower's loop, which the pinned release still has; other waits stay."""
    with pytest.raises(InputError, match=r"between 0\.1 and 60"):
        init_client(tmp_path / "home", replace(FILE, poll_s=0.0), ca)
    init_client(tmp_path / "home", replace(FILE, poll_s=15.0), ca)
    command, env = supernode(tmp_path / "home")
    assert KEEP_LOADED not in env
    assert command[1:4] == ["-m", "fl_client.host.node", "15.0"]

    init_client(tmp_path / "other", replace(FILE, keep_loaded=True), ca)
    assert supernode(tmp_path / "other")[1][KEEP_LOADED] == "1"

    loop = importlib.import_module("flwr.supernode.start_client_internal")
    assert f"time.sleep({node.FLOWERS_POLL_S})" in inspect.getsource(loop.start_client_internal)
    slept: list[float] = []
    monkeypatch.setattr(loop, "time", loop.time)
    monkeypatch.setattr(grpc, "secure_channel", lambda *a, options, **k: options)
    monkeypatch.setenv(node._TASK_POLL, "1")
    monkeypatch.setattr(node.time, "sleep", slept.append)
    node.pace(15.0, node.Standby(0, 0))
    loop.time.sleep(3)
    loop.time.sleep(0.5)
    assert slept == [15.0, 0.5]
    options = grpc.secure_channel("address", None, options=[("a", 1)])
    assert ("a", 1) in options
    assert any(key == "grpc.keepalive_time_ms" for key, _ in options)


def test_faults_of_a_household_stay_at_home(caplog: pytest.LogCaptureFixture) -> None:
    """The coordinator hears what kind of fault it was; a file's name and readings it does not."""

    def fails(error: Exception) -> None:
        def app(message: object, context: object) -> None:
            raise error

        discreet(app)(None, None)  # type: ignore[arg-type]

    with pytest.raises(HouseholdError, match=r"^InputError$"):
        fails(InputError("/home/maple/meter.parquet: 0.731 kWh twice"))
    assert "0.731" in caplog.text
    with pytest.raises(MessageError, match="is over"):
        fails(MessageError("interval 3 is over"))
    with pytest.raises(HouseholdError, match=r"^KeyError$"):
        fails(KeyError("meter.parquet"))


def test_status_tells_what_the_household_knows(tmp_path: Path, ca: Path) -> None:
    """Who it is and whom it talks to from the first; the run, its newest interval, the last one
    settled and the round of its model once its own file has them."""
    home = tmp_path / "home"
    init_client(home, replace(FILE, port=free_port()), ca)
    assert client_status(home) == {
        "running": False,
        "name": "maple-7",
        "server": "127.0.0.1:9092",
    }
    state = State(home / "state", durable=True)
    state.begin({"run": "r1", "household": "maple-7", "start": "2026-01-01"}, 0)
    empty = [0.0] * len(QUANTITIES)
    state.put([(t, f"t{t}", int(t < 2), *empty) for t in range(4)])
    state.put_model(5, 3, "digest")
    state.close()
    told = client_status(home)
    assert {key: told[key] for key in ("run", "newest interval", "settled up to")} == {
        "run": "r1",
        "newest interval": 3,
        "settled up to": 1,
    }
    assert told["model of round"] == 5
    with socket.create_server(("127.0.0.1", read_client(home).port)):
        assert client_status(home)["running"] is True


def test_a_run_brings_no_code(tmp_path: Path) -> None:
    """Whatever the coordinator's settings name, a household's process loads only what the home's
    own settings.yaml names; and the model is the run's, not the home's."""
    asked = []

    def app(message: object, context: object) -> None:
        asked.append(named("fractions:Fraction", "trader.kind"))

    config = {"state": str(tmp_path / "home" / "state"), "household": "a", "data": "synthetic"}
    context = Context(run_id=1, node_id=1, node_config=config, state=RecordDict(), run_config={})
    (tmp_path / "home").mkdir()
    try:
        with pytest.raises(InputError, match="not named in this home"):
            confined(app)(None, context)  # type: ignore[arg-type]
        own = tmp_path / "home" / "settings.yaml"
        own.write_text("trader: {kind: 'fractions:Fraction'}\n")
        confined(app)(None, context)  # type: ignore[arg-type]
    finally:
        allow_only(None)
    assert len(asked) == 1
    own.write_text("model: {preset: 'mine:preset'}\n")
    with pytest.raises(InputError, match="in this run it is 'slot'"):
        membership(context)
    own.write_text("model: {init: x}\n")
    with pytest.raises(InputError, match=r"model\.init"):
        membership(context)
