"""fedwatt: fl_server/market."""
