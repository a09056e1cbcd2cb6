"""``fedwatt benchmark market``: speed, welfare, fairness and lies, mechanism by mechanism."""

import os
from pathlib import Path
from typing import Annotated

import typer

from common.console import single
from common.errors import InputError
from common.files import look_at_folder

app = single()


@app.command()
def market(
    out: Annotated[Path, typer.Option(help="new folder for results.json, *.csv, picture.png")],
    sizes: Annotated[
        str, typer.Option(help="numbers of orders to time")
    ] = "10,100,1000,10000,100000,1000000",
    runs: Annotated[int, typer.Option(min=1, help="timed runs, of which the median counts")] = 7,
    books: Annotated[int, typer.Option(min=1, help="books per size, for welfare")] = 50,
    book_sizes: Annotated[str, typer.Option(help="numbers of orders, for welfare")] = "20,200",
    lie_sizes: Annotated[
        str, typer.Option(help="numbers of orders, for misreports")
    ] = "10,30,100,300",
    lie_books: Annotated[int, typer.Option(min=1, help="books per size, for misreports")] = 10,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Compare the market's mechanisms on the same random books."""
    timed, compared, lied = (
        _numbers(name, text)
        for name, text in (
            ("--sizes", sizes),
            ("--book-sizes", book_sizes),
            ("--lie-sizes", lie_sizes),
        )
    )
    look_at_folder(out)
    from simulations.benchmarks.market import manipulation, output, quality, speed

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    times = speed.measure(timed, runs, seed)
    typer.echo("\n".join(output.speed_table(times)))
    by_size = {orders: quality.compare(orders, books, seed) for orders in compared}
    for orders, table in by_size.items():
        typer.echo(f"\n{books} books of {orders} orders, shares of the optimum")
        typer.echo("\n".join(output.quality_table(table)))
    lies = manipulation.search(lied, lie_books, seed)
    typer.echo("")
    typer.echo("\n".join(output.lies_table(lies, lied)))
    facts = {"seed": seed, "runs": runs, "books": books, "load": load, "cores": os.cpu_count()}
    output.write(out, facts, times, by_size, lies, lied)
    typer.echo(f"\n{out}/results.json, speed.csv, mechanisms.csv, picture.png")


def _numbers(name: str, text: str) -> list[int]:
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 2 or numbers[-1] > 4_000_000:
        raise InputError(f"{name} {text!r}: expected whole numbers from 2 to 4,000,000")
    return numbers
