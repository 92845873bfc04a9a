"""`fanout load`: an open-loop load generator that checks the guarantees on every answer."""
