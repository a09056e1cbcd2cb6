"""fedwatt: fl_client."""
