"""Errors that are the user's to mend: one clear line, exit status 2."""


class InputError(ValueError):
    """A wrong file, key or value, named in the message. Commands print it and exit with 2."""
