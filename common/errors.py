"""Errors told in one clear line, without a traceback."""


class InputError(ValueError):
    """A wrong file, key or value, named in the message. Commands print it and exit with 2."""


class RunError(RuntimeError):
    """What a run needs is gone, for no mistake of the user's. Commands print it and exit with 1."""
