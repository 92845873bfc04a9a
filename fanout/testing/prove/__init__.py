"""`fanout prove`: every run of a small program with at most N deviations from its usual one, each one judged.

A run of the simulation (`fanout.testing.world`) is a list of choices: which task runs next, whether a
client disconnects now. `choices` numbers them, `moments` and `world` ask for them, and `search` makes every
list with at most N deviations. `scenarios` has the small programs. `failure` makes a failing schedule small,
and shows it next to a passing one.
"""
