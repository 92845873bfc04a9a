"""`fanout prove`: every run of a small program with at most N deviations from its usual one, each one judged.

A run of the simulation (`fanout.testing.world`) is a list of choices: which task runs next, whether a client
leaves now. `choices` numbers them, `world` asks for them, `search` runs every list of at most N deviations.
`scenarios` are the small programs. `failure` makes a failing schedule small and shows it next to a passing one.
"""
