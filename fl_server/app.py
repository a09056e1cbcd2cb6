"""The coordinator's ServerApp: read the settings, gather the households, run."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.config import from_run_config, run_directory
from fl_server.start import run

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one community from its first interval, or its last checkpoint, to its end."""
    run(
        grid, from_run_config(context.run_config), run_directory(context.run_config, context.run_id)
    )
