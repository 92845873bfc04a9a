"""The monitor: every guarantee as one formula, evaluated over a trace, which is a stream of records.

* `formulas`: the twelve, as they stand in docs/guarantees.md. `language`: what they are written in.
* `records`: what a trace consists of. `receipts`: the log of a real server, made into such records.
* `monitor`: evaluates the formulas. `command`: `fanout check-trace`.

Rule: nothing here imports the simulation. Its oracle and judge were written apart from this, and the two are
      compared on every simulated request, so that one mistake cannot hide in both.
"""
