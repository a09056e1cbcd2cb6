"""The subcommands of ``fedwatt``, one module each."""
