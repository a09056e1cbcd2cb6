"""Folders, keys and certificates: what is made, with which rights, and when a start is refused."""

import socket
import stat
from pathlib import Path

import pandas as pd
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from common import processes
from common.data.frame import check_name
from common.data.store import write_household
from common.data.synthetic import generate
from common.errors import InputError
from fl_client.host.client_file import ClientFile
from fl_client.host.commands import app as client_app
from fl_client.host.folder import init_client, supernode
from fl_client.host.key import make_node_key
from fl_server.host.commands import app as server_app
from fl_server.host.flower import superlink, write_app
from fl_server.host.folder import Deployment, Folder
from fl_server.host.members import admit, admitted, expel, read_members
from fl_server.host.setup import init_server, renew_certificate
from fl_server.host.tls import check_public_key, days_left, make_authority, make_server_certificate
from fl_server.months import Calendar
from tests.support.commands import refused
from tests.support.ports import free_port

PORTS = {"fleet_port": 9092, "control_port": 8000, "page_port": 9480}
FLAT = ["tariff.source=flat"]


def server(root: Path, address: str = "127.0.0.1", insecure: bool = False) -> Folder:
    init_server(root, [address], None, FLAT, None, 1, Deployment(**PORTS, insecure=insecure))
    return Folder(root)


def household(root: Path, folder: Folder, data: str = "synthetic") -> str:
    return init_client(root, ClientFile("maple-7", data, "127.0.0.1:9092"), folder.tls / "ca.crt")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    """Every private key is a file of mode 0600 in a folder of 0700."""
    server(tmp_path / "server")
    for secret in ("ca.key", "server.key"):
        assert mode(tmp_path / "server" / "tls" / secret) == 0o600
    assert mode(tmp_path / "server") == 0o700


def test_certificate_names_the_server_and_nothing_else(tmp_path: Path) -> None:
    """The server's certificate carries its addresses as SAN, cannot sign, and verifies."""
    make_authority(tmp_path)
    make_server_certificate(tmp_path, ["grid.example.org", "192.0.2.7"])
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    made = x509.load_pem_x509_certificate((tmp_path / "server.pem").read_bytes())
    made.verify_directly_issued_by(authority)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["grid.example.org", "localhost"]
    found = [str(ip) for ip in names.get_values_for_type(x509.IPAddress)]
    assert found == ["192.0.2.7", "127.0.0.1"]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert 824 < days_left(tmp_path / "server.pem") < 826
    make_server_certificate(tmp_path, ["192.0.2.7"], days=-0.5)
    assert days_left(tmp_path / "server.pem") < 0


def test_no_start_without_tls(tmp_path: Path) -> None:
    """A missing certificate or a key that others may read stops server and household."""
    folder = server(tmp_path / "server")
    household(tmp_path / "home", folder)
    assert "--enable-supernode-auth" in superlink(folder)[0]
    (folder.tls / "server.key").chmod(0o644)
    with pytest.raises(InputError, match="others may read this secret"):
        superlink(folder)
    (folder.tls / "server.key").unlink()
    with pytest.raises(InputError, match="without TLS there is no start"):
        superlink(folder)
    (tmp_path / "home" / "key").chmod(0o640)
    with pytest.raises(InputError, match="others may read this secret"):
        supernode(tmp_path / "home")
    (tmp_path / "home" / "ca.crt").unlink()
    with pytest.raises(InputError, match="without TLS there is no start"):
        supernode(tmp_path / "home")


def test_insecure_is_for_loopback(tmp_path: Path) -> None:
    """Without TLS a server listens, and a household connects, on loopback or not at all."""
    folder = server(tmp_path / "server", insecure=True)
    command, _ = superlink(folder)
    assert "--insecure" in command
    assert "127.0.0.1:9092" in command
    with pytest.raises(InputError, match="only loopback"):
        server(tmp_path / "other", "192.0.2.7", insecure=True)
    assert not (tmp_path / "other").exists()
    with pytest.raises(InputError, match="only loopback"):
        init_client(
            tmp_path / "home", ClientFile("a", "synthetic", "192.0.2.7:9092", 9094, True), None
        )
    edited = folder.server_file.read_text().replace("address: 127.0.0.1", "address: 192.0.2.7")
    folder.server_file.write_text(edited)
    with pytest.raises(InputError, match="only loopback"):
        superlink(folder)


def test_households_are_sent_no_path_and_no_password(tmp_path: Path) -> None:
    """What goes to households holds neither the ledger's URL nor where the server's data is."""
    url = "postgresql://books:secret@db.example.org/ledger"
    init_server(
        tmp_path / "server", ["127.0.0.1"], None, [*FLAT, f"ledger.url={url}"], None, 1,
        Deployment(**PORTS),
    )  # fmt: skip
    folder = Folder(tmp_path / "server")
    write_app(folder, folder.settings())
    sent = b"".join(f.read_bytes() for f in folder.app.rglob("*") if f.is_file())
    assert b"secret" not in sent
    assert str(tmp_path).encode() not in sent
    assert [f.name for f in folder.app.iterdir()] == ["pyproject.toml"]


@pytest.mark.parametrize("key", ["control_port", "fleet_port"])
def test_a_port_that_is_taken_is_named_before_flower_is_started(
    tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second ``server start``, or another program on a port of server.yaml, is one line with port
    and key."""
    monkeypatch.setattr(processes, "PORT_PATIENCE_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ports = {name: free_port() for name in PORTS} | {key: port}
        deployment = Deployment(**ports)
        init_server(tmp_path / "server", ["127.0.0.1"], None, FLAT, None, 1, deployment)
        said = refused(server_app, "start", str(tmp_path / "server"))
    assert f"server.yaml: {key} {port}: another process listens there" in said


def test_bad_input_is_one_line_and_status_two(tmp_path: Path) -> None:
    """Names, addresses, keys and folders that will not do are refused, and nothing is left."""
    folder = server(tmp_path / "server")
    with pytest.raises(InputError, match="is a server folder already"):
        server(tmp_path / "server")
    for name in ("", "../x", "a b", "x" * 65, "-a"):
        with pytest.raises(InputError, match="name"):
            check_name(name)
    runner = CliRunner()
    done = runner.invoke(
        client_app,
        ["init", str(tmp_path / "home"), "--name", "a", "--data", "synthetic", "--server", "here"],
    )
    assert isinstance(done.exception, InputError)
    assert "HOST:PORT" in str(done.exception)
    done = runner.invoke(
        client_app, ["init", str(tmp_path / "home"), "--name", "a", "--data", "/no/such/file",
                     "--ca", str(folder.tls / "ca.crt")],
    )  # fmt: skip
    assert "no such file" in str(done.exception)
    assert not (tmp_path / "home").exists()
    for speed in ("fast", "0", "-1"):
        done = runner.invoke(server_app, ["run", str(tmp_path / "server"), "--speed", speed])
        assert "--speed" in str(done.exception)
    done = runner.invoke(server_app, ["run", str(tmp_path / "server")])
    assert "nobody is admitted" in str(done.exception)
    done = runner.invoke(server_app, ["run", str(tmp_path / "other")])
    assert "no server folder" in str(done.exception)
    assert not (tmp_path / "other").exists()
    words = ["admit", str(tmp_path / "server"), "none.pub", "--name", "a"]
    done = runner.invoke(server_app, words)
    assert "public key none.pub: no such file" in str(done.exception)
    done = runner.invoke(client_app, ["months", str(tmp_path / "server")])
    assert "no household's folder" in str(done.exception)
    with pytest.raises(InputError, match=r"--tariff none\.csv: no such file"):
        init_server(tmp_path / "b", ["127.0.0.1"], None, [], "none.csv", 1, Deployment(**PORTS))
    with pytest.raises(InputError, match="--tariff"):
        init_server(tmp_path / "b", ["127.0.0.1"], None, [], None, 1, Deployment(**PORTS))
    assert not (tmp_path / "b").exists()


def test_a_rehearsal_has_the_days_of_its_homes(tmp_path: Path) -> None:
    """First interval and time zone are the data's: the books of a run that begins in London's June
    have no May, though it is May in UTC still."""
    first = pd.Timestamp("2026-05-01", tz="Europe/London").tz_convert("UTC")
    home = generate("H0001", seed=1, first=first, intervals=40 * 48)
    write_household(home, tmp_path / "homes")
    override, root = ["run.days=1", "run.history_days=31"], tmp_path / "server"
    homes = str(tmp_path / "homes")
    init_server(root, ["127.0.0.1"], None, override, homes, 1, Deployment(**PORTS))
    settings, start = Folder(root).settings(), pd.Timestamp(Folder(root).deployment().start)
    assert start.isoformat() == "2026-05-31T23:00:00+00:00"
    assert settings.data.timezone == "Europe/London"
    months = Calendar(start, settings.cadence, settings.data.timezone)
    assert str(months.month(0)) == "2026-06"


def test_public_key_must_be_an_elliptic_curve(tmp_path: Path) -> None:
    """The key of client init is accepted; others are not."""
    line = make_node_key(tmp_path, "maple-7")
    assert check_public_key(line + "\n") == line
    assert line.startswith("ecdsa-sha2-nistp384 ")
    assert isinstance(ec.SECP384R1(), ec.EllipticCurve)
    for bad in ("", "hello", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHK2p1yQf0bXx0Qe6Y5v"):
        with pytest.raises(InputError, match="public key"):
            check_public_key(bad)


def test_names_are_bound_once(tmp_path: Path) -> None:
    """A name belongs to one node until it is expelled, and to one account for ever."""
    path = tmp_path / "members.json"
    admit(path, "B", 2**63 + 5, "key b")
    admit(path, "A", 7, "key a")
    assert [(m.name, m.account, m.node_id) for m in read_members(path)] == [
        ("B", 0, 2**63 + 5),
        ("A", 1, 7),
    ]
    with pytest.raises(InputError, match="admitted already"):
        admit(path, "A", 8, "key c")
    assert expel(path, "A") == 7
    with pytest.raises(InputError, match="not admitted"):
        expel(path, "A")
    assert admitted(read_members(path)) == ["B"]
    assert admit(path, "C", 9, "key d").account == 2
    assert admit(path, "A", 8, "key c").account == 1
    assert admitted(read_members(path)) == ["A", "B", "C"]
    # Written before there were accounts: numbered by name, as the ledger of that time was.
    path.write_text(
        '{"b": {"node_id": "5", "public_key": "k"}, "a": {"node_id": "6", "public_key": "l"}}'
    )
    assert [(m.name, m.account) for m in read_members(path)] == [("a", 0), ("b", 1)]
    for torn in ("", "\0\0", '{"a": {"node_id"', '{"a": 3}', '{"a": {"node_id": "6"}}'):
        path.write_text(torn)
        with pytest.raises(InputError, match=r"members\.json"):
            read_members(path)


@pytest.mark.parametrize(
    "address",
    ["", "grid example.org", "a..b", "x" * 64, "-grid", "grid-", "g" * 82, "über.example"],
)
def test_an_address_that_is_none_is_refused_and_leaves_nothing(
    tmp_path: Path, address: str
) -> None:
    """One line that names it, and no half a folder."""
    with pytest.raises(InputError, match="neither a host name nor an IP address"):
        server(tmp_path / "server", address=address)
    assert not (tmp_path / "server").exists()


def test_a_long_name_has_a_certificate(tmp_path: Path) -> None:
    """A common name has 64 letters at most; the name in full stands among the alternative ones."""
    name = ".".join(["community-of-the-western-quarter"] * 4)
    server(tmp_path / "server", address=name)
    made = (tmp_path / "server" / "tls" / "server.pem").read_bytes()
    certificate = x509.load_pem_x509_certificate(made)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert name in names.get_values_for_type(x509.DNSName)
    renew_certificate(tmp_path / "server", None)
    with pytest.raises(InputError, match="neither a host name"):
        renew_certificate(tmp_path / "server", ["a b"])


@pytest.mark.parametrize("tariff", ["time,retail\n", "time,price\n2024-01-01T00:00Z,0.3\n"])
def test_init_that_fails_leaves_nothing(tmp_path: Path, tariff: str) -> None:
    """A tariff that is none, or a folder that cannot be made: one line, and no folder."""
    (tmp_path / "prices.csv").write_text(tariff)
    arguments = (["127.0.0.1"], None, ["fl.enabled=false"], str(tmp_path / "prices.csv"), 1)
    with pytest.raises(InputError, match=r"prices\.csv"):
        init_server(tmp_path / "server", *arguments, Deployment(**PORTS))
    assert not (tmp_path / "server").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/server"):
        init_server(
            tmp_path / "file" / "server", ["127.0.0.1"], None, FLAT, None, 1, Deployment(**PORTS)
        )
