"""fanout: one request, several upstream calls at once, and nothing that outlives its request."""

__version__ = "0.1.0"
