"""fedwatt: fl_server/strategy."""
