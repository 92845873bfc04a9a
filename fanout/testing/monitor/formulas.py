"""The twelve guarantees, each as one formula. docs/guarantees.md shows exactly these texts.

KNOWN: what every formula may use. `run` is the simulation run, or the server, that a record belongs to.
`instant` is the rounding of times. `lag` is that plus the time for which the event loop is known to have
stood still. `soon` is `lag` plus what is allowed for a real clock.
"""

from __future__ import annotations

from typing import Final

KNOWN: Final = ("run", "instant", "lag", "soon")

DEFINITIONS: Final = """
# the end of the race, and the earliest that a late event loop may make of it
race_ends(r) = r.arrived + r.timeout - r.reserve
race_may_end(r, run) = race_ends(r) - (0.1 if run.stalls else 0)
# a call was made; it ended without being stopped; so did every call of the request
was_made(c) = c.outcome != "not_started"
ended_itself(c) = c.outcome in ("ok", "failed", "internal")
all_ended(r) = r.calls != [] and all(ended_itself(c) for c in r.calls)
# the deadline has stopped no call that ran: each ended by itself, or there was too little time to make it
none_was_stopped(r) = all(c.outcome != "cancelled" for c in r.calls)
# when the last call ended; when it was clear what the answer is; when that is due
last_end(r) = max([c.ended for c in r.calls] + [r.arrived])
has_winner(r) = r.asks == "first" and any(c.outcome == "ok" for c in r.calls)
settled(r) = min(c.ended for c in r.calls if c.outcome == "ok") if has_winner(r)
  else last_end(r) if r.calls != [] and none_was_stopped(r) else max(r.arrived, race_ends(r))
due(r) = settled(r) if r.asks in ("first", "all") and r.in_time else r.arrived
# the client has not taken an answer: it disconnected, or did not read within the bound for a write
not_taken(r, run, lag) = r.left <= r.began + lag or r.slow and r.left < never
  or r.closed >= r.began + 10 - lag or r.closed >= max(r.began, run.drained) + 0.5 - lag
  or r.answer_id != r.id and (r.slow or r.closed >= r.began + 1 - lag)
# the request has a complete answer, or its client disconnected before it was due
served(r, run, lag) = r.left < never and r.left <= due(r) + lag if r.began == never
  else r.written < never or not_taken(r, run, lag)
# the event loop is behind: an iteration was too long for those that began in it, and it has not recovered
behind(at, together, run, instant) = any(
  began - instant <= at <= to + (to - began) - (0.005 - together * 0.0002) + instant
  and to - began >= 0.005 - together * 0.0002 - instant for [began, to] in run.stalls)
"""

FORMULAS: Final[dict[str, str]] = {
    "G1": """
# a request whose head was read has one complete answer, or its client disconnected
each request r if r.by_app and r.arrived < never: served(r, run, lag)
# also one that did not get as far as the application, unless the connection ended in that very moment
each request r if not r.by_app and r.arrived < never:
  r.began < never or min(r.left, r.closed) <= r.arrived + lag or run.crowded
  or run.drained - lag <= r.arrived <= run.drained + lag
each request r if not r.by_app and r.began < never: r.written < never or not_taken(r, run, lag)
# an answer is to the request that was sent, and not before it
each request r if r.by_app and r.status < never and r.asks != "crash": r.answer_id == r.id and r.read < never
each request r if r.status < never: r.came <= r.began + instant
# a request without a race has the answer that it deserves
each request r if r.by_app and r.asks == "fixed" and r.reason != never:
  [r.status, r.reason] in [r.deserves, [503, "draining"], [503, "overloaded"]]
each request r if r.asks == "malformed" and r.status < never:
  r.status in r.deserves or r.status in (408, 503)
# nothing is answered after a malformed or an unread request
each request r if r.status < never and (r.read == never or r.asks == "malformed" and r.status != 503):
  r.closes
# a connection has no more answers than requests
each connection c: c.answers <= (1 if c.rejected else c.requests)
# everything that was seen fits a record
each end e: e.noted == []
""",
    "G2": """
# an answer begins, and is written, within the timeout
each request r if r.began < never and r.timeout < never: r.began <= r.arrived + r.timeout + lag
each request r if r.written < never and r.timeout < never:
  r.written <= r.arrived + r.timeout + r.waited + lag
# the race ends a reserve before the timeout, and sooner only when there is too little time for a call
each request r if r.reason == "deadline":
  (race_may_end(r, run) - instant <= r.began or none_was_stopped(r))
  and r.began <= max(r.arrived, race_ends(r)) + soon
each request r if r.reason == "deadline": race_may_end(r, run) - run.min_call - instant <= r.began
# no call is made when the race is over
each request r, each c in r.calls if was_made(c) and r.arrived < never:
  r.arrived < race_ends(r) or run.stalls != []
# a call is not made, and its request is not sent, with less time left than a call needs
each request r, each c in r.calls if was_made(c):
  all(at <= race_ends(r) - run.min_call + lag for at in [c.started] + [at for [at, said] in c.sent])
# what an upstream is sent is the time that is left then, in whole milliseconds
each request r, each c in r.calls: all(
  race_may_end(r, run) - at - 0.001 - lag <= said <= race_ends(r) - at + soon for [at, said] in c.sent)
# the server counts no late answer when there is none
each end e: e.late_counted == 0 or run.stalls != [] or e.slow_clients > 0
""",
    "G3": """
# no call is running when the answer begins, and each ends
each request r, each c in r.calls if was_made(c) and r.began < never: c.ended <= r.began + instant
each request r, each c in r.calls if was_made(c): c.ended < never
# then as many permits are taken as requests are unanswered, and each connection in use has a running call
each request r if r.began < never: r.permits_taken == r.unanswered and r.connections_in_use <= r.calls_running
# the leak check finds nothing
each leak l: l.text == ""
each end e: e.leak_check == [] and e.leak_checked >= e.raced
# nothing is left at the end
each end e: e.left == []
""",
    "G4": """
# the answer is a success, and of those the first
each request r if r.asks == "first" and r.status == 200:
  any(c.won and all(d.ended >= c.ended - instant for d in r.calls if d.outcome == "ok") for c in r.calls)
# it comes at once
each request r if r.asks == "first" and r.status == 200: r.began <= settled(r) + soon
# no success: every call has failed, the answer comes at once, and says how
each request r if r.asks == "first" and r.reason == "no_success":
  all(c.outcome == "failed" for c in r.calls) and r.began <= last_end(r) + soon
each request r if r.reason == "no_success": r.errors == [c.error for c in r.calls]
# the deadline: no call has succeeded
each request r if r.asks == "first" and r.reason == "deadline": all(c.outcome != "ok" for c in r.calls)
# a call is taken for what the upstream has answered, when that has come
each request r, each c in r.calls if c.outcome in ("ok", "failed"): c.error == c.deserves
each request r, each c in r.calls if c.deserves == never: c.ended <= c.comes + lag
""",
    "G5": """
# success: every call has ended by itself, and at least one has succeeded
each request r if r.asks == "all" and r.status == 200:
  all(c.outcome in ("ok", "failed") for c in r.calls) and any(c.outcome == "ok" for c in r.calls)
# the answer comes at once
each request r if r.asks == "all" and r.status == 200: r.began <= last_end(r) + soon
# it has every success, in call order, and nothing else
each request r if r.asks == "all" and r.status == 200:
  r.payloads == [c.payload for c in r.calls if c.outcome == "ok"]
# no success: every call has failed, and the answer comes at once
each request r if r.asks == "all" and r.reason == "no_success":
  all(c.outcome == "failed" for c in r.calls) and r.began <= last_end(r) + soon
# the deadline: some call had not ended
each request r if r.asks == "all" and r.reason == "deadline": not all_ended(r)
""",
    "G6": """
# when the client disconnects, every call ends at once
each request r, each c in r.calls if r.left < never and was_made(c): c.ended <= max(r.left, r.arrived) + soon
# and nothing is answered
each request r if r.by_app and r.left < never and r.began < never: r.began <= max(r.left, r.arrived) + soon
""",
    "G7": """
# a connection whose answer had not come is closed with its call, and goes on to no other
each request r, each c in r.calls if c.outcome == "cancelled" and c.ended < c.comes - instant: not c.kept
each wire w: all(w.answered[:-1])
# a call is tried again only once, and only when its reused connection was dead; then it is
each request r, each c in r.calls if was_made(c): c.tries <= (2 if c.first_reused else 1)
each request r, each c in r.calls if c.outcome == "cancelled" and c.dead_since < never:
  c.dead_since >= c.ended - lag
# and never when its answer had begun to come
each request r, each c in r.calls if c.tries > 1: c.came_before_retry == 0
# when the last request has ended, the pool has lost nothing
each pool p: p.in_use == 0 and p.connecting == 0 and p.open == p.sockets and p.opened == p.open + p.closed
each end e: e.dead_but_open == 0
""",
    "G8": """
# above the limit a request is rejected, at once
each request r if r.full and r.status < never and r.asks != "crash": r.status == 503
each request r if r.reason == "overloaded" and r.by_app: r.began <= r.arrived + soon
# below it none is
each request r if r.reason == "overloaded" and r.by_app: r.full
each request r if r.status == 503 and r.by_app: r.reason in ("overloaded", "draining", never)
# a request is shed unread only while the event loop is behind, and at once
each request r if r.status < never and not r.by_app and r.status != 408
  and (r.asks != "malformed" or r.status == 503):
  r.status == 503 and r.reason in ("overloaded", never) and r.began <= max(r.came, r.free) + soon
  and behind(r.began, r.together, run, instant)
""",
    "G9": """
# a request in flight when the graceful shutdown begins gets its answer
each request r if r.by_app and r.arrived <= run.drained <= r.written and run.drained < never:
  served(r, run, lag)
# from then on requests are rejected, and none before
each request r if r.by_app and r.arrived > run.drained + lag and r.status < never: r.status == 503
each request r if r.reason == "draining": r.arrived >= run.drained - soon
# over HTTP/2 a stream may be refused instead, also while the event loop is behind
each request r if r.refused < never:
  not r.by_app and (r.refused >= run.drained - lag or behind(r.refused, r.together, run, instant))
# it begins after the lame duck, in which each answer closes its connection
each end e: run.signalled + run.lame_duck - instant <= run.drained <= run.signalled + run.lame_duck + lag
each request r if r.status < never and r.began > run.signalled + lag: r.closes
# the server ends within a second after the last deadline
each end e: e.ended <= e.last_due + 1 + lag and not e.cut_off
""",
    "G10": """
# a request waits for no other connection, and a call for no other request
each request r if r.admitted < never and r.arrived < never:
  r.arrived - instant <= r.admitted <= r.arrived + lag
each request r, each c in r.calls if was_made(c): min(c.begun, c.ended) <= c.started + lag
# a client has 10 s to send a head, and then another second
each request r if r.came < never and r.free < never:
  min(r.read, r.left, r.closed - 1) <= max(r.came, r.free) + 10 + lag
each request r if r.status == 408:
  r.began < r.read + instant and r.began >= min(r.sent + 10, run.drained + 0.5) - lag
# it has 10 s to take an answer
each request r if r.began < never: min(r.written, r.closed, r.left) <= r.began + 10 + lag
# connections are bounded in number
each connection c: c.open <= run.max_connections
""",
    "G11": """
# a bug is answered with a 500, at once
each request r if r.asks == "crash" and r.by_app and r.status < never:
  r.status == 500 and r.reason in ("internal", never) and r.began <= r.arrived + lag
each request r if any(c.outcome == "internal" for c in r.calls) and r.status < never:
  r.status == 500 and r.reason in ("internal", never)
# every bug is reported, once, and nothing else is
each request r if r.reason == "internal": r.bugs > 0
each end e: e.bugs_reported == e.bugs_raised
""",
    "G12": """
# no thread is started
each end e: e.threads_started == 0
""",
}
