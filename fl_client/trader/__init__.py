"""fedwatt: fl_client/trader."""
