"""The twelve guarantees, each as one formula. docs/guarantees.md shows exactly these texts.

`run` is the simulation run or the server that a record belongs to. `instant` is the rounding of times. `lag` is
that, and for how long the event loop is known to have stood still meanwhile. `soon` is that, and what is
allowed for a real clock.
"""

from __future__ import annotations

from typing import Final

KNOWN: Final = ("run", "instant", "lag", "soon")

DEFINITIONS: Final = """
race_ends(r) = r.arrived + r.timeout - r.reserve
may_end(r, run) = race_ends(r) - (0.1 if run.stalls else 0)
ran(c) = c.outcome != "not_started"
ended_itself(c) = c.outcome in ("ok", "failed", "internal")
all_ended(r) = len(r.calls) > 0 and all(ended_itself(c) for c in r.calls)
won(r) = r.asks == "first" and any(c.outcome == "ok" for c in r.calls)
last_end(r) = max([c.ended for c in r.calls] + [r.arrived])
settled(r) = min(c.ended for c in r.calls if c.outcome == "ok") if won(r)
  else last_end(r) if all_ended(r) else max(r.arrived, race_ends(r))
due(r) = settled(r) if r.asks in ("first", "all") and r.in_time else r.arrived
by_driver(r) = r.answer_id != r.id
not_taken(r, run, lag) = r.left <= r.began + lag or r.slow and r.left < never or r.closed >= r.began + 10 - lag
  or r.closed >= max(r.began, run.drained) + 0.5 - lag
  or by_driver(r) and (r.slow or r.closed >= r.began + 1 - lag)
served(r, run, lag) = r.left < never and r.left <= due(r) + lag if r.began == never
  else r.written < never or not_taken(r, run, lag)
behind(at, together, run, instant) = any(
  began - instant <= at <= to + (to - began) - (0.005 - together * 0.0002) + instant
  and to - began >= 0.005 - together * 0.0002 - instant for [began, to] in run.stalls)
"""

FORMULAS: Final[dict[str, str]] = {
    "G1": """
each request r if r.arrived < never and r.by_app: served(r, run, lag)
each request r if r.arrived < never and r.began == never and not r.by_app:
  r.left <= r.arrived + lag or run.crowded or run.drained - lag <= r.arrived <= run.drained + lag
each request r if r.began < never and not r.by_app: r.written < never or not_taken(r, run, lag)
each request r if r.began < never: r.came <= r.began + instant
each request r if r.status < never and r.by_app and r.asks != "crash":
  r.read < never and r.answer_id == r.id
each request r if r.status < never and r.asks == "malformed": r.status in r.deserves or r.status == 408
each request r if r.status < never and (r.asks == "malformed" or r.read == never): r.closes
each request r if r.status < never and r.asks == "fixed" and r.by_app and r.reason != never:
  [r.status, r.reason] in [r.deserves, [503, "draining"], [503, "overloaded"]]
each connection c: c.answers <= (1 if c.rejected else c.requests)
each end e: e.noted == []
""",
    "G2": """
each request r if r.timeout < never and r.began < never: r.began <= r.arrived + r.timeout + lag
each request r if r.timeout < never and r.written < never: r.written <= r.arrived + r.timeout + r.waited + lag
each request r if r.reason == "deadline":
  may_end(r, run) - instant <= r.began <= max(r.arrived, race_ends(r)) + soon
each request r, each c in r.calls if ran(c) and r.arrived < never: r.arrived < race_ends(r) or run.stalls != []
each end e: e.late_counted == 0 or run.stalls != [] or e.slow_clients > 0
""",
    "G3": """
each request r, each c in r.calls if r.began < never and ran(c): c.ended <= r.began + instant
each request r, each c in r.calls if ran(c): c.ended < never
each request r if r.began < never: r.permits_taken == r.unanswered and r.connections_in_use <= r.calls_running
each end e: e.left == [] and e.leak_check == [] and e.leak_checked >= e.raced
each leak l: l.text == ""
""",
    "G4": """
each request r if r.asks == "first" and r.status == 200:
  any(c.won and all(d.ended >= c.ended - instant for d in r.calls if d.outcome == "ok") for c in r.calls)
each request r if r.asks == "first" and r.status == 200: r.began <= settled(r) + soon
each request r if r.asks == "first" and r.reason == "no_success":
  all(c.outcome == "failed" for c in r.calls) and r.began <= last_end(r) + soon
each request r if r.asks == "first" and r.reason == "deadline": all(c.outcome != "ok" for c in r.calls)
each request r if r.reason == "no_success": r.errors == [c.error for c in r.calls]
each request r, each c in r.calls if c.outcome in ("ok", "failed"): c.error == c.deserves
each request r, each c in r.calls if c.deserves == never: c.ended <= c.comes + lag
""",
    "G5": """
each request r if r.asks == "all" and r.status == 200:
  all(c.outcome in ("ok", "failed") for c in r.calls) and any(c.outcome == "ok" for c in r.calls)
each request r if r.asks == "all" and r.status == 200: r.began <= last_end(r) + soon
each request r if r.asks == "all" and r.status == 200:
  r.payloads == [c.payload for c in r.calls if c.outcome == "ok"]
each request r if r.asks == "all" and r.reason == "no_success":
  all(c.outcome == "failed" for c in r.calls) and r.began <= last_end(r) + soon
each request r if r.asks == "all" and r.reason == "deadline": not all_ended(r)
""",
    "G6": """
each request r, each c in r.calls if r.left < never and ran(c): c.ended <= max(r.left, r.arrived) + soon
each request r if r.began < never and r.by_app and r.left < never:
  r.began <= max(r.left, r.arrived) + soon
""",
    "G7": """
each request r, each c in r.calls if c.outcome == "cancelled" and c.ended < c.comes - instant: not c.kept
each request r, each c in r.calls if ran(c): c.tries <= (2 if c.first_reused else 1)
each request r, each c in r.calls if c.outcome == "cancelled" and c.silent_and_dead < never:
  c.silent_and_dead >= c.ended - lag
each wire w: all(w.answered[:-1])
each pool p: p.in_use == 0 and p.connecting == 0 and p.open == p.sockets and p.opened == p.open + p.closed
each end e: e.dead_but_open == 0
""",
    "G8": """
each request r if r.full and r.status < never and r.asks != "crash": r.status == 503
each request r if r.reason == "overloaded" and r.by_app: r.began <= r.arrived + soon
each request r if r.reason == "overloaded" and r.by_app: r.full
each request r if r.status < never and not r.by_app and r.status != 408 and r.asks != "malformed":
  r.status == 503 and r.reason in ("overloaded", never) and r.began <= max(r.came, r.free) + soon
  and behind(r.began, r.together, run, instant)
each request r if r.status == 503 and r.by_app: r.reason in ("overloaded", "draining", never)
""",
    "G9": """
each request r if r.by_app and r.arrived <= run.drained <= r.written and run.drained < never: served(r, run, lag)
each request r if r.arrived > run.drained + lag and r.by_app and r.status < never: r.status == 503
each request r if r.reason == "draining": r.arrived >= run.drained - soon
each request r if r.status < never and r.began > run.signalled + lag: r.closes
each end e: run.signalled + run.lame_duck - instant <= run.drained <= run.signalled + run.lame_duck + lag
each end e: e.ended <= e.last_due + 1 + lag and not e.cut_off
""",
    "G10": """
each request r if r.arrived < never and r.admitted < never:
  r.arrived - instant <= r.admitted <= r.arrived + lag
each request r, each c in r.calls if ran(c): min(c.begun, c.ended) <= c.started + lag
each request r if r.came < never and r.free < never:
  min(r.read, r.left, r.closed - 1) <= max(r.came, r.free) + 10 + lag
each request r if r.began < never: min(r.written, r.closed, r.left) <= r.began + 10 + lag
each request r if r.status == 408:
  r.began < r.read + instant and r.began >= min(r.sent + 10, run.drained + 0.5) - lag
each connection c: c.open <= run.max_connections
""",
    "G11": """
each request r if r.asks == "crash" and r.status < never and r.by_app:
  r.status == 500 and r.reason in ("internal", never) and r.began <= r.arrived + lag
each request r if any(c.outcome == "internal" for c in r.calls) and r.status < never:
  r.status == 500 and r.reason in ("internal", never)
each request r if r.reason == "internal": r.bugs > 0
each end e: e.bugs_reported == e.bugs_raised
""",
    "G12": """
each end e: e.threads_started == 0
""",
}
