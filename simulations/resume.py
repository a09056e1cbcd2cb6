"""Whether a run can be gone on with: exactly as if it had never stopped, or not at all.

Everything is read before anything is written. A checkpoint keeps the digests of the files that
were whole when it was made; what a run wrote after it is played again.
"""

from pathlib import Path

from common.config import Settings
from common.errors import InputError
from fl_client.state import State
from fl_server.checkpoint import Checkpoint, Checkpoints
from fl_server.ledger import Ledger
from fl_server.run_files import INTERVALS, LEDGER, ROUNDS, digest_of, ledger_url

_NEXT = "put back the files of the run as they were, or begin it anew"


def check_resumable(settings: Settings, directory: Path) -> None:
    """Raise InputError, naming the file, where the run in ``directory`` cannot be gone on with."""
    name = settings.digest()
    homes = [State(file.parent, durable=False) for file in _files(directory)]
    try:
        of_run = [state for state in homes if state.about().get("run") == name]
        others = [state for state in homes if state.about().get("run") not in (name, None)]
        if others:
            raise InputError(
                f"{directory / 'config.yaml'}: not the settings that the run was begun with "
                f"({others[0].path.parent.name} took part in run {others[0].about()['run']}, these "
                f"are of {name}); {_NEXT}"
            )
        checkpoints = Checkpoints(directory)
        state = checkpoints.load()
        if state is None or state.t == 0:
            return  # it begins with the first interval
        whole = [one for one in of_run if one.decided(state.t) == state.t]
    finally:
        for one in homes:
            one.close()
    expected = settings.run.households
    if len(whole) < expected:
        raise InputError(
            f"{directory / 'households'}: {expected - len(whole)} of {expected} households have no "
            f"record of the {state.t} intervals before the checkpoint; {_NEXT}"
        )
    if settings.fl.enabled:
        checkpoints.check(state)
    proof = checkpoints.proof()
    _check_lines(directory / INTERVALS, "interval", state.t - 1, proof.get("intervals"))
    if settings.fl.enabled:
        _check_lines(directory / ROUNDS, "interval", state.t, proof.get("rounds"))
    if settings.ledger.url is None and not (directory / LEDGER).is_file():
        raise InputError(f"{directory / LEDGER}: missing; {_NEXT}")
    _check_ledger(ledger_url(settings, directory), name, state, proof.get("ledger"))


def _files(directory: Path) -> list[Path]:
    return sorted((directory / "households").glob("*/household.sqlite"))


def _check_lines(file: Path, key: str, first: int, digest: str | None) -> None:
    try:
        same = digest_of(file, key, first) == digest
    except (ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise InputError(f"{file}: not as it was at the run's checkpoint; {_NEXT}")


def _check_ledger(url: str, name: str, state: Checkpoint, head: str | None) -> None:
    with Ledger(url, durable=False, create=False) as ledger:
        ledger.attach(name)
        verdict = ledger.verify()
        if verdict.error is not None:
            raise InputError(f"the run's ledger: {verdict.error}; {_NEXT}")
        seq, _, digest = (head or "").partition(":")
        found = next((bytes(row.hash) for row in ledger.rows() if str(row.seq) == seq), None)
        # Before the first posting there is none to compare.
        if seq != "-1" and (found is None or found.hex() != digest):
            raise InputError(
                f"the run's ledger: not as it was at the checkpoint of interval {state.t}; {_NEXT}"
            )
