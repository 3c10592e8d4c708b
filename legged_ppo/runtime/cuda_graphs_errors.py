"""Why work cannot be a graph."""


class CaptureError(RuntimeError):
    """The work does in Python what a graph does not repeat."""
