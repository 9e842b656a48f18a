"""What is wrong with a bulk table."""


class BulkError(ValueError):
    """A bulk table that can't be deconvolved, and the way out, in one sentence."""
