"""Trio's loop as this program runs it: what Trio does once a pass or once a wait, done with less.

Tasks, nurseries and cancel scopes are Trio's; only how a scope notes when it is due is not (`scopes`). `run`
starts a loop; `sockets` tells of what comes over the network; `clock` is its time.
`tests/loop/test_trios_names.py` holds the private names it relies on.
"""
