"""``fedwatt data``: fetch, generate, import and check household readings."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from common.data import citylearn, store, synthetic
from common.data.frame import INTERVAL, local_midnight
from common.data.weather import SITES
from common.errors import InputError
from simulations.progress import track

app = typer.Typer(no_args_is_help=True, help="generate, fetch, import, check household data")


@app.command()
def fetch(
    what: Annotated[str, typer.Argument(help="the data set: citylearn")],
    out: Annotated[Path | None, typer.Option(help="also write canonical files here")] = None,
) -> None:
    """Bring a public data set into the cache."""
    if what != "citylearn":
        raise InputError(f"data fetch {what!r}: known: citylearn")
    folder = citylearn.fetch()
    typer.echo(f"{citylearn.SOURCE}: {len(citylearn.NAMES)} homes in {folder}")
    if out is not None:
        for name in track(citylearn.NAMES, "writing"):
            store.write_household(citylearn.load(name), out)
        typer.echo(f"{len(citylearn.NAMES)} households in {out}")


@app.command()
def generate(
    out: Annotated[Path, typer.Option(help="folder for one Parquet file per household")],
    households: Annotated[int, typer.Option(min=1)] = 10,
    days: Annotated[int, typer.Option(min=1)] = 63,
    start: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"])] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    site: Annotated[str, typer.Option(help=f"climate: {', '.join(SITES)}")] = "london",
    pv: Annotated[float, typer.Option(min=0, max=1, help="share of homes with panels")] = 0.5,
    ev: Annotated[float, typer.Option(min=0, max=1, help="share with an electric car")] = 0.25,
    ac: Annotated[float, typer.Option(min=0, max=1, help="share with air conditioning")] = 0.3,
) -> None:
    """Generate synthetic households: the same seed gives the same bytes."""
    if site not in SITES:
        raise InputError(f"--site {site!r}: known: {', '.join(SITES)}")
    if out.exists() and any(out.glob("*.parquet")):
        raise InputError(f"--out {out}: already holds household files")
    community = synthetic.Community(SITES[site], pv=pv, ev=ev, ac=ac)
    day = start.date() if start else date.fromisoformat(synthetic.DEFAULT_DAY)
    zone = community.site.timezone
    first = local_midnight(day.isoformat(), zone)
    after = local_midnight(pd.Timestamp(day) + pd.Timedelta(days=days), zone)
    rows = int((after - first) // INTERVAL)
    for name in track(synthetic.names(households), "generating"):
        made = synthetic.generate(name, seed=seed, first=first, intervals=rows, community=community)
        store.write_household(made, out)
    typer.echo(f"{households} households x {rows} half hours in {out}")
