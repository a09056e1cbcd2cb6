"""The coordinator's ServerApp: read the settings, gather the households, run."""

import os
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.config import from_run_config, run_directory
from fl_server.host.folder import FOLDER_VARIABLE
from fl_server.start import run

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one community from its first interval, or its last checkpoint, to its end."""
    if context.run_config.get("live"):
        # A simulation asks for none of what a service is made of.
        from fl_server.host.live import run_live

        run_live(grid, Path(os.environ[FOLDER_VARIABLE]))
        return
    run(
        grid,
        from_run_config(context.run_config),
        run_directory(context.run_config, context.run_id),
        durable=not context.run_config.get("simulation", False),
    )
