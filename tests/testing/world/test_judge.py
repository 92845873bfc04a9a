"""The judge can say no: facts of a sound world, falsified in one place, break the guarantee they should.

Rule: every sentence that the judge and the simulation run can say stands in `FALSIFICATIONS` or `SABOTAGES`,
      with what makes them say it. `test_everything_that_can_be_said_has_a_falsification` compares the two.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from math import inf
from types import ModuleType
from typing import Any, Final

import pytest
import trio
import trio.testing

from fanout.testing.world import (
    judge as judge_module,
)
from fanout.testing.world import (
    judge_addresses,
    judge_answers,
    judge_calls,
    judge_streams,
    leftovers,
    upstreams,
    world,
)
from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import Attempt, CallFacts, RequestFacts
from fanout.testing.world.judge import Violation, judge
from fanout.testing.world.network import End, Network
from fanout.testing.world.plan import (
    CallScript,
    ClientScript,
    DialScript,
    Http2Script,
    Leave,
    Plan,
    RequestScript,
    Stall,
)
from fanout.testing.world.scheduler import run_seeded
from fanout.testing.world.trace import Trace
from fanout.testing.world.upstreams import SWALLOWED, ScriptedBug
from fanout.testing.world.world import World, run_plan
from tests.testing.world.plans import answers, fails, plan_of, race

Falsify = Callable[[Ended], None]
MODULES: Final[tuple[ModuleType, ...]] = (
    *(judge_module, judge_addresses, judge_answers, judge_calls, judge_streams, leftovers, upstreams, world),
)


def sound_world() -> Ended:
    """w1 is raced, w2 asks for all, w3 fails, w4 meets the deadline, w5's client leaves."""
    return run_plan(
        plan_of(
            race(1, answers(100), answers(200)),
            race(2, answers(50), answers(70), ask="all"),
            race(3, fails("not_json", 5), fails("status", 10)),
            race(4, answers(500), answers(500), timeout_ms=100),
            race(5, answers(500), answers(500), leave=Leave("fin", 50)),
        ),
        0,
    )


def one_request() -> Ended:
    return run_plan(plan_of(race(1, answers(100), answers(200))), 0)


def no_requests() -> Ended:
    """What is no HTTP, and what makes the application raise, each on a connection of its own."""
    garbage = RequestScript(1, b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n", "garbage", status=400)
    crash = RequestScript(2, b"GET / HTTP/1.1\r\nhost: a\r\n", "crash", status=500, reason="internal")
    return run_plan(plan_of(garbage, crash), 0)


def shed_world() -> Ended:
    """The loop stands still twice. The first time as many ask as are let through; so w31 is shed the next."""
    head = b"GET / HTTP/1.1\r\nhost: a\r\n"
    first = [ClientScript((RequestScript(n, head, "fixed", status=303, gap_ms=100),)) for n in range(1, 31)]
    half = RequestScript(31, head, "fixed", status=303, gap_ms=400, split_at=0.5, pause_ms=100)
    others = [ClientScript((RequestScript(n, head, "fixed", status=303, gap_ms=400),)) for n in range(32, 36)]
    stalls = Stall(100, 200), Stall(400, 60)
    for seed in range(50):
        ended = run_plan(Plan((*first, ClientScript((half,)), *others), stalls=stalls), seed)
        if request_of(ended, 31).entered_at is None:
            return ended
    raise AssertionError("w31 is never shed")


def slow_head() -> Ended:
    """The rest of the head comes too late: it is answered 408, and the application never gets it."""
    head = b"GET / HTTP/1.1\r\nhost: a\r\n"
    script = RequestScript(1, head, "crash", status=500, reason="internal", split_at=0.5, pause_ms=20_000)
    return run_plan(plan_of(script), 0)


def dead_address() -> Ended:
    once = CallScript("connection_close", 20)
    asked = (race(n, once, once, ask="all", timeout_ms=200) for n in range(1, 8))
    return run_plan(plan_of(*asked, addresses=2, silent_addresses=1), 0)


def streams_world() -> Ended:
    """As the sound world, over one HTTP/2 connection and at once; w6 is malformed. The shutdown ends it."""
    return run_plan(
        plan_of(
            race(1, answers(100), answers(200)),
            race(2, answers(50), answers(70), ask="all", pipelined=True, extras=("ping",)),
            race(3, fails("not_json", 5), fails("status", 10), pipelined=True),
            race(4, answers(500), answers(500), timeout_ms=100, pipelined=True),
            race(5, answers(500), answers(500), leave=Leave("cancel", 50), pipelined=True),
            RequestScript(6, b"", "garbage", fields=((b":method", b"GET"),), reset=1, pipelined=True),
            race(7, answers(1), answers(1), gap_ms=10_000),
            http2=Http2Script(),
            drain_at_ms=5_000,
        ),
        0,
    )


def refused_world() -> Ended:
    """w2 comes on the connection of w1, which is running, and when the graceful shutdown has begun."""
    late = race(2, answers(1), answers(1), gap_ms=200, pipelined=True)
    return run_plan(
        plan_of(race(1, answers(300), answers(300)), late, http2=Http2Script(), drain_at_ms=100), 0
    )


def request_of(ended: Ended, number: int) -> RequestFacts:
    return next(request for request in ended.requests if request.script.id == number)


def answer_to(ended: Ended, number: int) -> Any:
    request = request_of(ended, number)
    return request.connection.answer_to(request)


# What falsifies the sound world.


def later(ended: Ended) -> None:
    answer_to(ended, 1).first_at += 0.001


def sooner(ended: Ended) -> None:
    answer_to(ended, 4).first_at -= 0.001


def much_later(ended: Ended) -> None:
    answer_to(ended, 4).first_at += 1


def another_status(ended: Ended) -> None:
    answer_to(ended, 4).status = 503


def another_winner(ended: Ended) -> None:
    answer = answer_to(ended, 1)
    answer.body = answer.body.replace(b"w1.0", b"w1.1")


def another_payload(ended: Ended) -> None:
    answer = answer_to(ended, 1)
    answer.body = answer.body.replace(b"100", b"101")


def of_another_request(ended: Ended) -> None:
    answer = answer_to(ended, 2)
    answer.body = answer.body.replace(b"w2.0", b"w1.0")


def out_of_order(ended: Ended) -> None:
    answer = answer_to(ended, 2)
    first, second = answer.body[1:-1].split(b"},")
    answer.body = b"[" + second + b"," + first + b"}]"


def one_success_of_two(ended: Ended) -> None:
    answer = answer_to(ended, 2)
    answer.body = answer.body.partition(b",{")[0] + b"]"


def a_failure_wins(ended: Ended) -> None:
    answer_to(ended, 3).status = 200


def a_wrong_word(ended: Ended) -> None:
    answer = answer_to(ended, 3)
    answer.body = answer.body.replace(b"bad_payload", b"broken")


def a_wrong_reason(ended: Ended) -> None:
    answer = answer_to(ended, 4)
    answer.body = answer.body.replace(b'"deadline"', b'"no_success"')


def no_answer(ended: Ended) -> None:
    del ended.connections[0].reader.answers[3:]


def neither_answered_nor_given(ended: Ended) -> None:
    del ended.connections[0].reader.answers[3:]
    request_of(ended, 4).entered_at = None


def two_answers(ended: Ended) -> None:
    answers_ = ended.connections[0].reader.answers
    answers_.insert(1, answers_[0])


def one_answer_too_many(ended: Ended) -> None:
    """To the client that had left."""
    answers_ = ended.connections[0].reader.answers
    answers_.append(replace(answers_[3], fields={"x-request-id": "w5"}, first_at=answers_[3].first_at + 9))


def half_an_answer(ended: Ended) -> None:
    answer_to(ended, 4).last_at = None


def a_truncated_answer(ended: Ended) -> None:
    """In the middle of a connection, to a client that reads."""
    answer = answer_to(ended, 2)
    answer.body, answer.last_at = answer.body[:9], None


def answered_before_it_was_read(ended: Ended) -> None:
    ended.connections[0].read_places.clear()
    ended.connections[0].read_times.clear()


def given_late_to_the_application(ended: Ended) -> None:
    request_of(ended, 1).entered_at += 0.001  # type: ignore[operator]  # it was given to the application


def no_time_was_left(ended: Ended) -> None:
    request_of(ended, 4).in_flight = 100_000


def a_success_is_withheld(ended: Ended) -> None:
    call = request_of(ended, 4).calls[0]
    call.outcome, call.ended_at = "success", call.started_at + 0.01


def refused_for_nothing(ended: Ended) -> None:
    request_of(ended, 1).entered_at = None


def taken_for_malformed(ended: Ended) -> None:
    answer_to(ended, 1).fields["x-request-id"] = "unread"


def refused_for_too_many(ended: Ended) -> None:
    """And answered all the same."""
    answer, ended.connections[0].too_many = answer_to(ended, 1), True
    answer.status, answer.fields["x-request-id"] = 503, "unread"


def calls_end_after_the_disconnect(ended: Ended) -> None:
    request_of(ended, 5).calls[0].ended_at += 0.3  # type: ignore[operator]  # it has ended


def a_call_outlives_its_client_by_far(ended: Ended) -> None:
    request_of(ended, 5).calls[0].ended_at = 100.0


def a_connection_is_left_open(ended: Ended) -> None:
    request_of(ended, 1).calls[1].attempts[0].closed_at = None


def a_call_waits(ended: Ended) -> None:
    request_of(ended, 1).calls[0].started_at -= 0.001


def a_call_is_not_tried(ended: Ended) -> None:
    request_of(ended, 1).calls[1].attempts.clear()


def a_third_attempt(ended: Ended) -> None:
    request_of(ended, 1).calls[0].attempts *= 3


def a_second_attempt_on_a_new_connection(ended: Ended) -> None:
    request_of(ended, 1).calls[0].attempts *= 2


def a_second_attempt_after_half_an_answer(ended: Ended) -> None:
    call = request_of(ended, 1).calls[0]
    call.attempts.insert(0, replace(call.attempts[0], reused=True, heard_bytes=9))


def a_dead_connection_is_not_replaced(ended: Ended) -> None:
    call = request_of(ended, 1).calls[1]
    attempt = call.attempts[0]
    attempt.reused, attempt.heard_bytes, attempt.ended_at = True, 0, call.started_at


def a_call_ends_late(ended: Ended) -> None:
    request_of(ended, 1).calls[0].ended_at += 1  # type: ignore[operator]  # it has ended


def a_call_is_taken_for_another(ended: Ended) -> None:
    request_of(ended, 3).calls[0].outcome = "broken"


def a_call_never_ends(ended: Ended) -> None:
    request_of(ended, 1).calls[0].ended_at = None


def a_dirty_connection(ended: Ended) -> None:
    ended.wires[0].calls.insert(0, request_of(ended, 4).calls[0])


def overload_without_load(ended: Ended) -> None:
    request_of(ended, 1).was_full = True


def a_slow_drain(ended: Ended) -> None:
    ended.connections[0].closed_at = ended.drained_at + 60


def a_call_is_started_too_late(ended: Ended) -> None:
    call = request_of(ended, 4).calls[0]
    call.started_at += 0.0895


def a_request_is_sent_too_late(ended: Ended) -> None:
    call = request_of(ended, 4).calls[0]
    call.attempts[0].sent_at += 0.0895  # type: ignore[operator]  # it was sent
    call.attempts[0].time_left_ms = 0


def an_upstream_is_sent_more_than_is_left(ended: Ended) -> None:
    request_of(ended, 4).calls[0].attempts[0].time_left_ms += 1  # type: ignore[operator]  # it was sent some


def an_upstream_is_sent_less_than_is_left(ended: Ended) -> None:
    request_of(ended, 4).calls[0].attempts[0].time_left_ms -= 1  # type: ignore[operator]  # as above


def an_upstream_is_not_sent_what_is_left(ended: Ended) -> None:
    request_of(ended, 4).calls[0].attempts[0].time_left_ms = None


def a_call_that_was_sent_is_called_too_late(ended: Ended) -> None:
    request_of(ended, 3).calls[0].outcome = "too_late"


def no_lame_duck(ended: Ended) -> None:
    ended.plan = replace(ended.plan, lame_duck_ms=100)


def an_answer_that_keeps_its_connection(ended: Ended) -> None:
    ended.signalled_at = 0.0


def a_late_answer(ended: Ended) -> None:
    ended.late_answers = 1


def a_thread_is_started(ended: Ended) -> None:
    ended.threads_started = 1


def something_is_left(ended: Ended) -> None:
    ended.wrong.append("G3: something")


# What falsifies the others.


def an_answer_nobody_asked_for(ended: Ended) -> None:
    ended.connections[0].reader.answers *= 2


def refused_and_kept(ended: Ended) -> None:
    answer_to(ended, 1).fields.pop("connection")


def called_late(ended: Ended) -> None:
    answer_to(ended, 1).status = 408


def a_crash_is_called_late(ended: Ended) -> None:
    answer_to(ended, 2).status = 408


def a_slow_head_is_a_crash(ended: Ended) -> None:
    answer_to(ended, 1).status = 500


def a_slow_head_is_given_up_early(ended: Ended) -> None:
    answer_to(ended, 1).first_at -= 1


def a_slow_head_is_waited_for(ended: Ended) -> None:
    connection = ended.connections[0]
    connection.left_at = None
    connection.closed_at += 2  # type: ignore[operator]  # it was closed


def a_slow_head_is_waited_for_without_end(ended: Ended) -> None:
    connection = ended.connections[0]
    connection.left_at = connection.closed_at = None


def garbage_is_served(ended: Ended) -> None:
    answer_to(ended, 1).status = 200


def a_crash_is_another_error(ended: Ended) -> None:
    answer_to(ended, 2).status = 503


def a_crash_is_answered_late(ended: Ended) -> None:
    answer_to(ended, 2).first_at += 0.1


def shed_too_early(ended: Ended) -> None:
    answer_to(ended, 31).first_at -= 0.07


def shed_too_late(ended: Ended) -> None:
    answer_to(ended, 31).first_at += 0.07


def half_a_request_is_shed_and_kept(ended: Ended) -> None:
    connection = request_of(ended, 31).connection
    del connection.read_places[1:], connection.read_times[1:]
    answer_to(ended, 31).fields.pop("connection")


def shed_without_load(ended: Ended) -> None:
    ended.stalls[:] = [(0.1, 0.104), (0.4, 0.404)]


def a_silent_address_is_tried_first_for_ever(ended: Ended) -> None:
    attempt = ended.requests[-1].calls[0].attempts[0]
    attempt.dials.insert(0, (attempt.dials[0][0], SWALLOWED))


def streams_of(ended: Ended) -> Any:
    return ended.connections[0]


def goaway_excludes_too_much(ended: Ended) -> None:
    streams = streams_of(ended).streams
    streams.goaway = replace(streams.goaway, last=0)


def goaway_comes_early(ended: Ended) -> None:
    streams = streams_of(ended).streams
    streams.goaway = replace(streams.goaway, at=0.05)


def no_goaway(ended: Ended) -> None:
    streams_of(ended).streams.goaway = None


def a_client_is_not_waited_for(ended: Ended) -> None:
    streams_of(ended).waits.append((4.9, inf))


def a_ping_is_not_answered(ended: Ended) -> None:
    streams_of(ended).streams.pings.append(0.0)


def too_many_frames_for_it(ended: Ended) -> None:
    streams = streams_of(ended).streams
    streams.goaway = replace(streams.goaway, error=0xB)


def a_head_is_held_back(ended: Ended) -> None:
    answer_to(ended, 1).head_at += 0.001


def a_body_is_held_back(ended: Ended) -> None:
    answer_to(ended, 1).last_at += 1


def an_answer_is_waited_for(ended: Ended) -> None:
    answer_to(ended, 1).first_at -= 11


def a_stream_has_half_an_answer(ended: Ended) -> None:
    answer_to(ended, 1).last_at = None


def a_reset_is_not_noticed(ended: Ended) -> None:
    streams_of(ended).streams.streams[request_of(ended, 1).stream].left_at = 0.05


def malformed_and_reset_late(ended: Ended) -> None:
    answer_to(ended, 6).first_at += 0.1


def malformed_and_reset_otherwise(ended: Ended) -> None:
    answer_to(ended, 6).reset = 2


def refused_before_the_shutdown(ended: Ended) -> None:
    ended.drained_at = ended.signalled_at = 0.25


def a_neighbour_is_stopped(ended: Ended) -> None:
    """With the request whose stream was reset."""
    request = request_of(ended, 1)
    streams_of(ended).streams.streams[request.stream].answer = None


FALSIFICATIONS: Final[tuple[tuple[Callable[[], Ended], Falsify, str, str], ...]] = (
    (sound_world, later, "w1", "G2/G4/G5/G8: it was answered 200"),
    (sound_world, sooner, "w4", "G2/G4/G5/G8: it was answered 500"),
    (sound_world, much_later, "w4", "G2: it was answered at"),
    (sound_world, another_status, "w4", "G2/G4/G5/G8: it was answered 503"),
    (sound_world, another_winner, "w1", "G2/G4/G5/G8: it was answered 200"),
    (sound_world, another_payload, "w1", "G2/G4/G5/G8: it was answered 200"),
    (sound_world, of_another_request, "w2", "G2/G4/G5/G8: it was answered 200"),
    (sound_world, out_of_order, "w2", "G2/G4/G5/G8: it was answered 200"),
    (sound_world, one_success_of_two, "w2", "G2/G4/G5/G8: it was answered 200"),
    (sound_world, a_failure_wins, "w3", "G2/G4/G5/G8: it was answered 200"),
    (sound_world, a_wrong_word, "w3", "G2/G4/G5/G8: it was answered 500"),
    (sound_world, a_wrong_reason, "w4", "G2/G4/G5/G8: it was answered 500"),
    (sound_world, no_answer, "w4", "G1: it has no answer, and its client had not left"),
    (sound_world, neither_answered_nor_given, "w4", "G1: its head was read, and it was neither answered"),
    (sound_world, two_answers, "w2", "G1: it got the answer to w1"),
    (sound_world, one_answer_too_many, "w5", "G6: it was answered although"),
    (sound_world, half_an_answer, "w4", "G1: its answer is not complete"),
    (sound_world, a_truncated_answer, "w2", "G1: its answer is not complete"),
    (sound_world, answered_before_it_was_read, "w1", "G1: it was answered before it was read"),
    (sound_world, given_late_to_the_application, "w1", "it was read at"),
    (sound_world, no_time_was_left, "w4", "G2: a call was started after the deadline"),
    (sound_world, a_success_is_withheld, "w4", "G4: call 0 had succeeded at"),
    (sound_world, refused_for_nothing, "w1", "G8: it was refused for no reason"),
    (sound_world, taken_for_malformed, "w1", "it was refused as malformed"),
    (sound_world, refused_for_too_many, "c0", "G1: there are answers behind its refusal"),
    (sound_world, calls_end_after_the_disconnect, "w5", "G6: call 0 ended at"),
    (sound_world, a_call_outlives_its_client_by_far, "w5.0", "it ended at"),
    (sound_world, a_connection_is_left_open, "w1.1", "G3: it was stopped at"),
    (sound_world, a_call_waits, "w1.0", "G8: it was kept waiting"),
    (sound_world, a_call_is_started_too_late, "w4.0", "G2: it was started at"),
    (sound_world, a_request_is_sent_too_late, "w4.0", "G2: it was sent at"),
    (sound_world, an_upstream_is_sent_more_than_is_left, "w4.0", "G2: its upstream was sent"),
    (sound_world, an_upstream_is_sent_less_than_is_left, "w4.0", "G2: its upstream was sent"),
    (sound_world, an_upstream_is_not_sent_what_is_left, "w4.0", "G2: its upstream was sent None"),
    (sound_world, a_call_that_was_sent_is_called_too_late, "w3.0", "it was taken for too_late"),
    (sound_world, a_call_is_not_tried, "w1.1", "it was not even tried"),
    (sound_world, a_third_attempt, "w1.0", "it was tried 3 times"),
    (sound_world, a_second_attempt_on_a_new_connection, "w1.0", "it was tried 2 times"),
    (sound_world, a_second_attempt_after_half_an_answer, "w1.0", "G7: it was tried again"),
    (sound_world, a_dead_connection_is_not_replaced, "w1.1", "its reused connection was dead"),
    (sound_world, a_call_ends_late, "w1.0", "it ended at"),
    (sound_world, a_call_is_taken_for_another, "w3.0", "it was taken for broken"),
    (sound_world, a_call_never_ends, "w1.0", "G3: it never ended"),
    (sound_world, a_dirty_connection, "w", "G7: it got the connection of w4.0"),
    (sound_world, overload_without_load, "w1", "G2/G4/G5/G8: it was answered 200"),
    (sound_world, a_slow_drain, "server", "G9: drained from"),
    (sound_world, no_lame_duck, "server", "G9: it drained from"),
    (sound_world, an_answer_that_keeps_its_connection, "server", "G9: an answer at"),
    (sound_world, a_late_answer, "server", "G2: it counts 1 late answers"),
    (sound_world, something_is_left, "server", "G3: something"),
    (sound_world, a_thread_is_started, "server", "G12: 1 threads were started"),
    (one_request, an_answer_nobody_asked_for, "c0", "G1: 2 answers to 1 requests"),
    (no_requests, refused_and_kept, "w1", "a refused connection was kept open"),
    (no_requests, called_late, "w1", "its head was called late"),
    (no_requests, garbage_is_served, "w1", "what is no request got 200"),
    (no_requests, a_crash_is_another_error, "w2", "G11: the application crashed, and the answer is 503"),
    (no_requests, a_crash_is_called_late, "w2", "G11: the application crashed, and the answer is 408"),
    (no_requests, a_crash_is_answered_late, "w2", "G11: the application crashed at"),
    (shed_world, shed_too_early, "w31", "G1: it was answered before it came"),
    (shed_world, shed_too_late, "w31", "G8: it came at"),
    (shed_world, half_a_request_is_shed_and_kept, "w31", "its connection was kept open"),
    (shed_world, shed_without_load, "w31", "G8: it was refused for no reason"),
    (slow_head, a_slow_head_is_a_crash, "w1", "G11: the application crashed at None"),
    (slow_head, a_slow_head_is_given_up_early, "w1", "its head was called late, and was not"),
    (slow_head, a_slow_head_is_waited_for, "w1", "G10: its head began to come at"),
    (slow_head, a_slow_head_is_waited_for_without_end, "w1", "G10: its head began to come at"),
    (dead_address, a_silent_address_is_tried_first_for_ever, "server", "G4: at"),
    (streams_world, goaway_excludes_too_much, "c0", "G9: GOAWAY excludes w1, which was begun"),
    (streams_world, goaway_comes_early, "c0", "G9: it said GOAWAY, and w1 was running"),
    (streams_world, no_goaway, "c0", "its connection ended without GOAWAY"),
    (streams_world, a_client_is_not_waited_for, "c0", "G10: its client was not waited for from 4.9"),
    (streams_world, a_ping_is_not_answered, "c0", "a ping of 0.0 was not answered"),
    (streams_world, too_many_frames_for_it, "c0", "G10: 1"),
    (streams_world, an_answer_is_waited_for, "w1", "G10: it was answered at"),
    (streams_world, a_head_is_held_back, "w1", "G2: it was answered at"),
    (streams_world, a_body_is_held_back, "w1", "G2: its windows had room at"),
    (streams_world, a_stream_has_half_an_answer, "w1", "G1: its answer is not complete"),
    (streams_world, a_reset_is_not_noticed, "w1", "G6: it was written until"),
    (streams_world, malformed_and_reset_late, "w6", "G2: it was read at"),
    (streams_world, malformed_and_reset_otherwise, "w6", "G1: its stream was reset with 2"),
    (streams_world, a_neighbour_is_stopped, "w1", "G1: it has no answer, and its client had not left"),
    (refused_world, refused_before_the_shutdown, "w2", "G1: its stream was reset with 7"),
)


# What goes wrong while the world runs: something takes and does not give back, or nobody notices.


class Sabotaged(World):
    """`sabotage` is called once everything is open, before the first client comes."""

    def __init__(self, plan: Plan, clock: trio.testing.MockClock, sabotage: Callable[[World], None]) -> None:
        super().__init__(plan, 0, clock, Trace(kept=False))
        self._sabotage = sabotage

    async def _play(self) -> None:
        self._sabotage(self)
        await super()._play()


def a_leaked_task(world: World) -> None:
    trio.lowlevel.spawn_system_task(trio.sleep_forever)


def a_leaked_deadline(world: World) -> None:
    trio.lowlevel.spawn_system_task(trio.sleep, 1e6)


def an_open_upstream_connection(world: World) -> None:
    world._network.pair(latency_s=0, window_bytes=(1, 1), segment_bytes=0)
    world._upstreams._connect(Attempt(), DialScript("accept_hang"))


def an_open_client_connection(world: World) -> None:
    world._ends.append(End(Network(), 0, 1, 0))


def a_connection_that_the_driver_holds(world: World) -> None:
    world._server.driver._open[None] = None  # type: ignore[index]  # only counted


def too_many_connections(world: World) -> None:
    for number in range(10_001):
        world._server.driver._open[number] = None  # type: ignore[index]  # only counted


def a_lost_permit(world: World) -> None:
    world._server.admission.try_take()


def a_call_that_never_ends(world: World) -> None:
    world._upstreams.running += 1


def a_leak_check_that_finds(world: World) -> None:
    check = world._server.leak_check
    check._leaked_tasks = check._leaked_permits = check._leaked_connections = 1


def a_leak_check_that_is_not_asked(world: World) -> None:
    vars(world._server.leak_check)["begin"] = lambda request_id: None


def with_pool(**wrong: Any) -> Callable[[World], None]:
    """The pool's statistics, wrong in one place."""

    def sabotage(world: World) -> None:
        transport = world._server.transport
        told = transport.statistics

        def statistics() -> Any:
            said = told()
            return replace(said, origins=tuple(replace(origin, **wrong) for origin in said.origins))

        vars(transport)["statistics"] = statistics

    return sabotage


def a_dead_connection_that_is_kept(world: World) -> None:
    vars(world._upstreams)["ended_wires"] = lambda before: 1


def connections_nobody_uses(world: World) -> None:
    vars(world._server.transport)["connections_in_use"] = lambda: 99


def ends_that_are_not_noticed(world: World) -> None:
    vars(world._upstreams)["call_ended"] = lambda call: None


def a_request_given_twice(world: World) -> None:
    def sent(request: RequestFacts) -> None:
        request.entered_at = 0.0
        World.sent(world, request)

    vars(world)["sent"] = sent


def a_call_made_twice(world: World) -> None:
    def sent(request: RequestFacts) -> None:
        request.calls[0] = CallFacts(request, 0, request.script.calls[0], 0.0, 0)
        World.sent(world, request)

    vars(world)["sent"] = sent


def an_unscripted_bug(world: World) -> None:
    world._bugs.append(ValueError("for the test"))


def a_bug_that_is_not_reported(world: World) -> None:
    world._upstreams.new_bug("w1")


def a_bug_that_is_reported_twice(world: World) -> None:
    world._bugs += [world._upstreams.new_bug("w1")] * 2


def a_simulator_that_crashes(world: World) -> None:
    world._upstreams.crashes.append(ValueError("for the test"))


def a_connection_that_hangs(world: World) -> None:
    world._connections.start_soon(trio.sleep_forever)


def a_world_that_hangs(world: World) -> None:
    world._plan = replace(world._plan, drain_at_ms=10_000_000)


def no_answer_at_all(world: World) -> None:
    """What is written is no HTTP."""
    written = World._written
    vars(world)["_written"] = lambda facts, data, waits: written(world, facts, b"HTTP/1.1 x\r\n\r\n", waits)


SABOTAGES: Final[tuple[tuple[Callable[[World], None], str], ...]] = (
    (a_leaked_task, "G3: 1 tasks were left"),
    (a_leaked_deadline, "G3: 1 deadlines were left"),
    (an_open_upstream_connection, "G3: 1 connections to upstreams were left"),
    (an_open_client_connection, "G3: 1 connections of clients were left"),
    (a_connection_that_the_driver_holds, "G3: 1 connections held by the driver were left"),
    (too_many_connections, "G10: 10001 connections are open, of 10000"),
    (a_lost_permit, "G3: 1 admission permits were left"),
    (a_lost_permit, "G3: 1 tokens were taken by 0 requests"),
    (a_call_that_never_ends, "G3: 1 calls were left"),
    (a_leak_check_that_finds, "G3: 1 leaked tasks, by the leak check, were left"),
    (a_leak_check_that_finds, "G3: 1 permits, by the leak check, were left"),
    (a_leak_check_that_finds, "G3: 1 connections, by the leak check, were left"),
    (a_leak_check_that_is_not_asked, "G3: the leak check has looked at 0 requests"),
    (with_pool(in_use=1), "G7: the pool has 1 connections in use, 0 connecting"),
    (with_pool(connecting=1), "G7: the pool has 0 connections in use, 1 connecting"),
    (with_pool(open=7), "G7: the pool counts 7 connections"),
    (with_pool(opened=7), "G7: the pool's counters do not add up"),
    (a_dead_connection_that_is_kept, "G7: 1 idle connections are open"),
    (connections_nobody_uses, "G7: 99 connections were in use by"),
    (ends_that_are_not_noticed, "G3: call 0 still ran when the answer began"),
    (a_request_given_twice, "it was given to the application twice"),
    (a_call_made_twice, "call 0 was made twice"),
    (an_unscripted_bug, "a bug: ValueError"),
    (a_bug_that_is_not_reported, "G11: ScriptedBug('w1') was told 0 times"),
    (a_bug_that_is_reported_twice, "G11: ScriptedBug('w1') was told 2 times"),
    (a_simulator_that_crashes, "the simulator crashed: ValueError"),
    (a_connection_that_hangs, "G9: the drain ended by its grace"),
    (a_world_that_hangs, "something hung until the end of the world"),
    (no_answer_at_all, "not an answer"),
)


@cache
def falsified(base: Callable[[], Ended], falsify: Falsify) -> list[Violation]:
    ended = base()
    assert judge(ended) == []
    falsify(ended)
    return judge(ended)


@cache
def sabotaged(sabotage: Callable[[World], None]) -> list[Violation]:
    plan = plan_of(race(1, answers(100), answers(200), closes=True))

    async def main(clock: trio.testing.MockClock) -> Ended:
        return await Sabotaged(plan, clock, sabotage).run()

    return judge(run_seeded(main, 0))


@pytest.mark.parametrize(
    ("base", "falsify", "of", "said"), FALSIFICATIONS, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_falsified_world_is_found_out(
    base: Callable[[], Ended], falsify: Falsify, of: str, said: str
) -> None:
    """A proof that cannot fail proves nothing."""
    found = falsified(base, falsify)
    assert [v for v in found if v.of.startswith(of) and v.what.startswith(said)], found


@pytest.mark.parametrize(("sabotage", "said"), SABOTAGES, ids=lambda value: getattr(value, "__name__", None))
def test_a_sabotaged_world_is_found_out(sabotage: Callable[[World], None], said: str) -> None:
    found = sabotaged(sabotage)
    assert [v for v in found if v.what.startswith(said)], found


def test_unread_bytes_on_a_connection_that_is_used_again_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(End, "unread", 1)
    found = judge(one_request())
    assert found
    assert {violation.what for violation in found} == {UNREAD}


UNREAD: Final = "it was sent over a connection with unread bytes"


def test_everything_that_can_be_said_has_a_falsification() -> None:
    """One for every clause of the judge, and of what a simulation run notes itself."""
    said = [UNREAD]
    for base, falsify, *_ in FALSIFICATIONS:
        said += [violation.what for violation in falsified(base, falsify)]
    for sabotage, _ in SABOTAGES:
        said += [violation.what for violation in sabotaged(sabotage)]
    sentences = [sentence for module in MODULES for sentence in _sentences(module)]
    assert len(sentences) > 45
    never = [sentence for sentence in sentences if not any(re.fullmatch(sentence, what) for what in said)]
    assert never == []


def _sentences(module: ModuleType) -> Iterator[str]:
    """All that a module can complain of, as regular expressions: what it yields, and what it adds to a list
    of what is `bad` or `wrong`."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Yield) and node.value is not None:
            *_, said = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            yield from _sentence(said)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            target = node.func.value
            if node.func.attr == "append" and getattr(target, "attr", "") in ("bad", "wrong"):
                yield from _sentence(node.args[0])


def _sentence(said: ast.expr) -> Iterator[str]:
    if isinstance(said, ast.Constant) and isinstance(said.value, str):
        yield re.escape(said.value)
    elif isinstance(said, ast.JoinedStr):
        yield "".join(
            re.escape(str(part.value)) if isinstance(part, ast.Constant) else "(?s:.*)"
            for part in said.values
        )


def test_a_scripted_bug_is_one_of_its_own() -> None:
    """So that `count` in the check of reports compares by identity."""
    assert ScriptedBug("w1") != ScriptedBug("w1")
