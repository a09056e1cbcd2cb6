"""fedwatt: fl_server."""
