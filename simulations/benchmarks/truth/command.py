"""``fedwatt benchmark truth``: strategies on small problems whose answer is published."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from common.console import single
from common.errors import InputError
from common.files import look_at_folder, open_folder, write_json, write_whole

PARTS = ("drift", "estimation", "regression", "synthetic")
app = single()


@app.command()
def truth(
    out: Annotated[Path | None, typer.Option(help="new folder for truth.md and truth.json")] = None,
    parts: Annotated[str, typer.Option(help=f"of {','.join(PARTS)}")] = ",".join(PARTS),
    rounds: Annotated[int, typer.Option(min=5, help="on synthetic(alpha, beta)")] = 60,
    seeds: Annotated[int, typer.Option(min=1, help="on synthetic(alpha, beta)")] = 2,
    most: Annotated[
        int, typer.Option(min=0, help="points of a device of it at most; 0: as the paper has them")
    ] = 0,
) -> None:
    """Hold the product's own strategies against published answers; status 1 where one fails.

    Strategies, rounds, messages and the household's side are the product's; only the models are
    small.
    """
    asked = [part.strip() for part in parts.split(",") if part.strip()]
    unknown = [part for part in asked if part not in PARTS]
    if unknown or not asked:
        raise InputError(f"--parts {parts!r}: known are {', '.join(PARTS)}")
    if out is not None:
        look_at_folder(out)
    import logging

    from simulations.benchmarks.strategies.tables import Table
    from simulations.benchmarks.truth import claims, synthetic

    logging.getLogger("flwr").setLevel(logging.ERROR)
    found: list[claims.Claim] = []
    tables: list[Table] = []

    def tell(table: Table) -> None:
        tables.append(table)
        typer.echo(table.markdown())

    for part in asked:
        if part == "synthetic":
            ended = synthetic.means([synthetic.train(rounds, seed, most) for seed in range(seeds)])
            tell(synthetic.table(ended, rounds, seeds))
            fresh = list(synthetic.claims(ended))
        else:
            fresh = list(claims.PARTS[part]())
        tell(claims.table(part, fresh))
        found += fresh
    wrong = [claim for claim in found if not claim.holds]
    if out is not None:
        open_folder(out)
        write_whole(out / "truth.md", "\n".join(table.markdown() for table in tables))
        write_json(out / "truth.json", {"claims": [asdict(claim) for claim in found]})
    typer.echo(f"{len(found) - len(wrong)} of {len(found)} hold")
    if wrong:
        raise typer.Exit(1)
