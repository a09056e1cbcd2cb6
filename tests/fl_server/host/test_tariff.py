"""The published tariff: what is a tariff, what becomes of one that grows, is edited or breaks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.cadence import Cadence
from common.config import Settings, load
from common.errors import InputError
from fl_server.host.folder import Folder
from fl_server.host.tariff_file import PublishedTariff, read_tariff, write_tariff

START = pd.Timestamp("2024-03-30T12:00Z")


def stamps(count: int, step: str) -> list[str]:
    return [t.isoformat() for t in pd.date_range(START, periods=count, freq=step)]


def written(path: Path, times: list[str], prices: list[object]) -> Path:
    rows = [f"{t},{p}" for t, p in zip(times, prices, strict=True)]
    path.write_text("\n".join(["time,retail", *rows]) + "\n")
    return path


def test_half_hours_and_hours_are_read_and_the_rest_is_open(tmp_path: Path) -> None:
    """Half-hourly as it is; of an hourly file both half hours of an hour have its price. Prices may
    be zero or negative, as dynamic tariffs are; beyond the file nothing is known."""
    prices: list[object] = [0.3, -0.05, 0.0]
    half = written(tmp_path / "half.csv", stamps(3, "30min"), prices)
    hour = written(tmp_path / "hour.csv", stamps(3, "1h"), prices)
    assert np.array_equal(read_tariff(half, START, 4), [0.3, -0.05, 0.0, np.nan], equal_nan=True)
    assert read_tariff(hour, START, 6).tolist() == [0.3, 0.3, -0.05, -0.05, 0.0, 0.0]
    assert read_tariff(hour, START + pd.Timedelta(minutes=30), 2).tolist() == [0.3, -0.05]
    half.write_bytes(b"\xef\xbb\xbf" + half.read_bytes())
    assert read_tariff(half, START, 1).tolist() == [0.3]


def test_files_of_any_step(tmp_path: Path) -> None:
    """Finer prices are averaged over the half hour, coarser ones hold for all of it; a half hour
    that the file covers in part has none."""
    fine = written(tmp_path / "fine.csv", stamps(7, "10min"), [1, 2, 6, -1, 0, 1, 5])
    known = read_tariff(fine, START, 3)
    assert known[:2].tolist() == [3.0, 0.0]
    assert np.isnan(known[2])
    coarse = written(tmp_path / "coarse.csv", stamps(2, "2h"), [0.3, 0.1])
    assert read_tariff(coarse, START, 8).tolist() == [0.3] * 4 + [0.1] * 4
    day = written(tmp_path / "day.csv", stamps(2, "1D"), [0.3, 0.1])
    assert read_tariff(day, START + pd.Timedelta(hours=23), 4).tolist() == [0.3, 0.3, 0.1, 0.1]


@pytest.mark.parametrize("step", [5, 10, 15, 30, 60])
@pytest.mark.parametrize("minutes", [5, 10, 15, 30, 60])
def test_intervals_have_the_mean_of_the_steps(tmp_path: Path, step: int, minutes: int) -> None:
    """Whatever the steps of a file and the intervals of a run: each interval costs the mean of the
    prices at its minutes, and one of which the file knows but a part is not known yet."""
    prices: list[object] = np.round(np.random.default_rng(step).normal(0.2, 0.1, 31), 4).tolist()
    path = written(tmp_path / "tariff.csv", stamps(31, f"{step}min"), prices)
    by_minute = np.repeat(np.array(prices, dtype=np.float64), step)
    late = 60 if step == 60 else 30
    whole = (len(by_minute) - late) // minutes
    expected = by_minute[late:][: whole * minutes].reshape(whole, minutes).mean(axis=1)
    read = read_tariff(path, START + pd.Timedelta(minutes=late), whole + 2, Cadence(minutes))
    assert read[:whole] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(read[whole:]).all()


HALF = stamps(8, "30min")


@pytest.mark.parametrize(
    ("times", "prices", "why"),
    [
        (stamps(8, "20s"), [0.3] * 8, "a price every 0 days 00:00:20; expected whole minutes"),
        (stamps(3, "2D"), [0.3] * 3, "a price every 2 days 00:00:00"),
        ([*HALF[:3], *HALF[4:]], [0.3] * 7, "no price 0 days 00:30:00 after"),
        ([*HALF[:3], *stamps(4, "1h")[2:]], [0.3] * 5, "no price 0 days 00:30:00 after"),
        ([*HALF, HALF[3]], [0.3] * 9, "stands there twice"),
        (HALF, [0.3] * 7 + [float("nan")], "row 9: retail = 'nan': wanted are rows such as"),
        (HALF, [0.3, "", *[0.3] * 6], "row 3: retail = '': wanted are rows such as"),
        (HALF, [0.3, '"0,3"', *[0.3] * 6], "row 3: retail = '0,3': wanted are rows such as"),
        (["01.02.2025 00:00"], [0.3], "row 2: time = '01.02.2025 00:00': wanted are rows"),
        (HALF, [0.3] * 7 + ["1e13"], "a price is a number within"),
        (HALF, [0.3] * 7 + ["inf"], "a price is a number within"),
        (HALF, [0.3] * 7 + ["cheap"], "row 9: retail = 'cheap': wanted are rows such as"),
        (["yesterday"], [0.3], "tariff"),
        ([], [], "no rows"),
        (HALF[1:], [0.3] * 7, "no price for"),
    ],
)
def test_what_is_no_tariff_is_refused_in_one_line(
    tmp_path: Path, times: list[str], prices: list[object], why: str
) -> None:
    """Other steps, gaps, repetitions and prices that are none; never a guess."""
    path = written(tmp_path / "tariff.csv", times, prices)
    with pytest.raises(InputError, match=why) as caught:
        read_tariff(path, START, 4)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 50, b"time;retail\n", "time,retail\n".encode("utf-16"), b"\xff\xfe\x00"],
)
def test_files_that_are_no_tables_are_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, zeroed, of another separator or alphabet."""
    path = tmp_path / "tariff.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"tariff\.csv: .*wanted are rows such as"):
        read_tariff(path, START, 4)


@pytest.fixture
def settings() -> Settings:
    return load(None, ("run.days=2", "tariff.published_hours=2"))


@pytest.fixture
def opened(tmp_path: Path, settings: Settings) -> Callable[[], PublishedTariff]:
    """Opens the tariff of a folder whose file has eight prices, as a starting coordinator does."""
    folder = Folder(tmp_path)
    folder.run.mkdir()
    write_tariff(folder.tariff, START, np.arange(1, 9) / 10)
    return lambda: PublishedTariff(folder, settings, START)


def told(tariff: PublishedTariff, t: int) -> dict[str, object]:
    return dict(tariff.tell(t))


def test_a_tariff_that_grows_is_followed(
    tmp_path: Path, opened: Callable[[], PublishedTariff]
) -> None:
    """New rows are taken over; where nothing is known for the interval that begins, the price of
    the day before holds (of the interval before on the first day)."""
    tariff = opened()
    assert told(tariff, 0) == {}
    assert np.isnan(tariff.prices.common[8])
    write_tariff(tmp_path / "tariff.csv", START, np.arange(1, 13) / 10)
    assert told(tariff, 8) == {}
    assert tariff.prices.common[8:12].tolist() == [0.9, 1.0, 1.1, 1.2]
    assert told(tariff, 12) == {
        "no price published: that of the day before holds": {"interval": 12}
    }
    assert tariff.prices.common[12] == 1.2
    tariff.prices.common[12:47] = 0.5
    told(tariff, 48)
    assert tariff.prices.common[48] == tariff.prices.common[0]


def test_what_was_told_holds_whatever_the_file_says_later(
    tmp_path: Path, opened: Callable[[], PublishedTariff]
) -> None:
    """Edited while the run goes on, or while it is down: prices told stay, those beyond change."""
    tariff = opened()
    told(tariff, 0)
    write_tariff(tmp_path / "tariff.csv", START, np.full(8, 0.77))
    differs = {"tariff differs from what was told: that holds": {"from": START.isoformat()}}
    for one in (tariff, opened()):
        assert one.prices.common[:4].tolist() == [0.1, 0.2, 0.3, 0.4]
        assert told(one, 1) == (differs if one is tariff else {})
        assert one.prices.common[:5].tolist() == [0.1, 0.2, 0.3, 0.4, 0.77]
    write_tariff(tmp_path / "tariff.csv", START, np.full(8, 0.66))
    assert told(tariff, 1) == differs
    assert told(tariff, 2) == {}


@pytest.mark.parametrize("content", [None, b"", b"time,retail\nnonsense,1\n"])
def test_a_broken_tariff_keeps_no_run_down(
    tmp_path: Path, opened: Callable[[], PublishedTariff], content: bytes | None
) -> None:
    """Broken in the middle of a run it is told of, and the run goes on with what it has, also when
    the coordinator is started again; before the first interval there is no run to go on."""
    file = tmp_path / "tariff.csv"

    def breaks() -> None:
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content)

    tariff = opened()
    told(tariff, 0)
    breaks()
    assert "tariff refused" in told(tariff, 1)
    assert tariff.prices.common[4] == 0.5
    # Started again it knows what was told, and nothing more until the file is mended.
    tariff = opened()
    for t in range(1, 7):
        assert ("tariff refused" in told(tariff, t)) == (t == 1 or content is None)
    assert tariff.prices.common[:7].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5]
    write_tariff(file, START, np.arange(1, 9) / 10)
    told(tariff, 7)
    assert tariff.prices.common[7] == 0.8
    (tmp_path / "run" / "prices.csv").unlink()
    breaks()
    with pytest.raises(InputError, match=r"tariff\.csv"):
        opened()


def test_export_prices_of_the_file(tmp_path: Path, settings: Settings) -> None:
    """A column ``feed_in`` is what exports earn; told prices of both kinds come back, and where
    nothing is published those of the day before hold. A member's own feed-in is its own."""
    folder = Folder(tmp_path)
    folder.run.mkdir()
    rows = [f"{time},{0.1 * t:.1f},{0.01 * t:.2f}" for t, time in enumerate(stamps(6, "30min"), 1)]
    folder.tariff.write_text("\n".join(["time,retail,feed_in", *rows]) + "\n")
    own = settings.model_copy(update={"homes": {"Ada": {"tariff": {"feed_in": -0.02}}}})
    for _ in range(2):
        tariff = PublishedTariff(folder, own, START)
        told(tariff, 0)
        tariff.prices.seat(["Ada", "Bob"])
        assert tariff.prices.exported(2).tolist() == [-0.02, 0.03]
        assert tariff.prices.imported(2) == pytest.approx([0.3, 0.3])
        folder.tariff.write_text("nonsense")
    for t in range(1, 5):
        told(tariff, t)
    assert tariff.prices.exported(4).tolist() == [-0.02, 0.04]


def _own_file(tmp_path: Path, *more: str) -> tuple[Folder, Settings]:
    """Common prices 0.1, 0.2, ...; Ada's own file asks half of them below zero and pays 0.01 less;
    Cy has the same file, with charges of his own."""
    folder = Folder(tmp_path)
    folder.run.mkdir(exist_ok=True)
    write_tariff(folder.tariff, START, np.arange(1, 9) / 10)
    _write_own(tmp_path, 8)
    path = f"tariff.source_options.path={tmp_path / 'ada.csv'}"
    pairs = [
        f"homes.{name}.{pair}" for name in ("Ada", "Cy") for pair in (path, "tariff.source=file")
    ]
    chosen = load(
        None,
        ["run.days=2", "tariff.published_hours=2", *pairs, "homes.Cy.tariff.markup=0.5", *more],
    )
    return folder, chosen


def _write_own(tmp_path: Path, rows: int) -> None:
    lines = [
        f"{time},{-0.05 * t:.2f},{-0.05 * t - 0.01:.2f}"
        for t, time in enumerate(stamps(rows, "30min"), 1)
    ]
    (tmp_path / "ada.csv").write_text("\n".join(["time,retail,feed_in", *lines]) + "\n")


def test_a_member_may_have_prices_of_a_file_of_its_own(tmp_path: Path) -> None:
    """It pays these, others the common ones; who has the same file and charges pays both. The file
    may grow; a coordinator that starts again tells what was told, whatever the file says."""
    folder, chosen = _own_file(tmp_path)
    tariff = PublishedTariff(folder, chosen, START)
    assert told(tariff, 0) == {}
    tariff.prices.seat(["Ada", "Bob", "Cy"])
    assert tariff.prices.imported(2) == pytest.approx([-0.15, 0.3, 0.35])
    assert tariff.prices.exported(2) == pytest.approx([-0.16, 0.05, -0.16])
    _write_own(tmp_path, 12)
    told(tariff, 8)
    assert tariff.prices.imported(8) == pytest.approx([-0.45, 0.8, 0.05])
    assert tariff.prices.exported(8)[0] == pytest.approx(-0.46)
    (tmp_path / "ada.csv").write_text("nonsense")
    again = PublishedTariff(folder, chosen, START)
    again.prices.seat(["Ada", "Bob", "Cy"])
    for t in (2, 8):
        assert again.prices.imported(t).tolist() == tariff.prices.imported(t).tolist()
        assert again.prices.exported(t).tolist() == tariff.prices.exported(t).tolist()


def test_a_members_broken_file_is_told_and_holds_nobody_up(tmp_path: Path) -> None:
    """The note names the file; others' prices go on, the member's are those of before."""
    folder, chosen = _own_file(tmp_path)
    tariff = PublishedTariff(folder, chosen, START)
    told(tariff, 0)
    tariff.prices.seat(["Ada", "Bob"])
    file = tmp_path / "ada.csv"
    file.unlink()
    notes = list(tariff.tell(1))
    assert [event for event, _ in notes] == ["tariff refused"]
    assert notes[0][1]["tariff"] == str(file)
    for t in range(2, 12):
        told(tariff, t)
    assert np.isfinite(tariff.prices.imported(11)).all()
    assert tariff.prices.imported(7) == pytest.approx([-0.4, 0.8])


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["homes.Eve.tariff.source=octopus"], "homes.Eve: .*source_options"),
        (["homes.Eve.tariff.source=file"], "homes.Eve: .*source_options.path is missing"),
        (["homes.Ada.tariff.source_options.path=/none.csv"], "homes.Ada: .*/none.csv"),
        (["homes.Ada.tariff.source_options.colour=red"], "homes.Ada: .*colour"),
        (["tariff.source=flat", "homes.Eve.tariff.source=data"], "homes.Eve.tariff.source = data"),
    ],
)
def test_a_members_prices_that_cannot_be_had_are_one_line(
    tmp_path: Path, pairs: list[str], said: str
) -> None:
    """Before the run begins: it names the member, and what is wrong."""
    folder, chosen = _own_file(tmp_path, *pairs)
    with pytest.raises(InputError, match=said) as caught:
        PublishedTariff(folder, chosen, START)
    assert "\n" not in str(caught.value)


def test_a_members_file_that_begins_later_is_refused_before_the_run_and_taken_in_it(
    tmp_path: Path,
) -> None:
    """Where the run goes on and the operator has added the member since."""
    folder, chosen = _own_file(tmp_path)
    text = (tmp_path / "ada.csv").read_text().splitlines()
    (tmp_path / "ada.csv").write_text("\n".join([text[0], *text[4:]]) + "\n")
    with pytest.raises(InputError, match=r"homes.Ada: .*no price for .*, the first interval"):
        PublishedTariff(folder, chosen, START)
    plain = load(None, ["run.days=2", "tariff.published_hours=2"])
    before = PublishedTariff(folder, plain, START)
    told(before, 0)
    tariff = PublishedTariff(folder, chosen, START)
    tariff.prices.seat(["Ada", "Bob"])
    told(tariff, 3)
    assert tariff.prices.imported(3) == pytest.approx([-0.2, 0.4])


def test_charges_come_on_top_of_what_is_published(tmp_path: Path) -> None:
    """What is told and written down is the energy price; the members pay it with their charges, a
    member with those the operator set for it."""
    folder = Folder(tmp_path)
    folder.run.mkdir()
    write_tariff(folder.tariff, START, np.arange(1, 9) / 10)
    charged = load(
        None,
        ["run.days=2", "tariff.published_hours=2", "tariff.markup=0.1", "tariff.vat=0.2",
         "homes.Ada.tariff.network_fee=0.05"],
    )  # fmt: skip
    tariff = PublishedTariff(folder, charged, START)
    told(tariff, 0)
    tariff.prices.seat(["Ada", "Bob"])
    assert tariff.prices.imported(1) == pytest.approx([(0.2 + 0.15) * 1.2, (0.2 + 0.1) * 1.2])
    told(tariff, 8)
    assert tariff.prices.imported(8) == pytest.approx([(0.8 + 0.15) * 1.2, (0.8 + 0.1) * 1.2])
    assert (folder.told).read_text().splitlines()[0] == "0,0.1"


@pytest.mark.parametrize("spoil", [lambda b: b"", lambda b: b[:-3], lambda b: b + b"\0\0\0\0"])
def test_prices_told_survive_a_torn_line(
    tmp_path: Path, opened: Callable[[], PublishedTariff], spoil: Callable[[bytes], bytes]
) -> None:
    """A line that a power cut tore was never told; those before it hold, and the next are whole."""
    told(opened(), 0)
    file = tmp_path / "run" / "prices.csv"
    file.write_bytes(spoil(file.read_bytes()))
    tariff = opened()
    lost = spoil(b"0,0.1\n") == b""
    assert ("prices told before are lost: the tariff's hold" in told(tariff, 1)) == lost
    again = opened()
    assert again.prices.common[:5].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
