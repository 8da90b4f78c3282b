from __future__ import annotations

import math

from yarl import URL

from rrm_plugin.engines.servers import Server, Servers, base_url


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def three() -> tuple[Servers, Clock, list[Server]]:
    clock = Clock()
    servers = Servers([URL(f"http://{name}/v1") for name in "abc"], cooldown=2.0, longest_cooldown=10.0, clock=clock)
    return servers, clock, servers.all


def test_the_least_busy_server_is_chosen():
    servers, _, (a, b, c) = three()
    a.in_flight, b.in_flight, c.in_flight = 2, 1, 3
    assert servers.choose() is b


def test_a_failing_server_is_put_aside_for_longer_each_time():
    servers, clock, (a, b, _) = three()
    pauses = []
    for _ in range(5):
        servers.failed(a)
        pauses.append(a.aside_until - clock.now)
    assert pauses == [2.0, 4.0, 8.0, 10.0, 10.0]
    assert servers.choose() is b


def test_one_request_probes_a_server_whose_pause_is_over():
    servers, clock, (a, b, c) = three()
    servers.failed(a)
    clock.now += 2.0
    b.in_flight = c.in_flight = 5
    assert servers.choose() is a
    assert servers.choose() is not a
    servers.succeeded(a)
    assert servers.choose() is a
    assert a.failures == 0


def test_a_call_that_failed_at_a_server_is_not_the_one_to_probe_it():
    servers, clock, (a, b, c) = three()
    servers.failed(a)
    clock.now += 2.0
    b.in_flight = c.in_flight = 5
    assert servers.choose(a) in (b, c), "where it hangs, the call would lose the rest of its time there"
    assert servers.choose() is a
    servers.failed(b)
    servers.failed(c)
    servers.failed(a)
    clock.now += 60.0
    assert servers.choose(a) is b, "one that is due itself"
    for server in (b, c):
        servers.busy(server, 60.0)
    assert servers.choose(a) is a, "unless no other may be asked"


def test_with_all_aside_the_first_to_be_due_is_tried():
    servers, _, (a, b, c) = three()
    for server, times in ((a, 3), (b, 1), (c, 2)):
        for _ in range(times):
            servers.failed(server)
    assert servers.choose() is b
    assert [servers.seconds_to_another(server) for server in (a, b, c)] == [2.0, 4.0, 2.0]


def test_a_busy_server_rests_without_being_taken_for_a_failing_one():
    servers, clock, (a, b, _) = three()
    servers.busy(a, 5.0)
    assert servers.choose() is b
    clock.now += 5.0
    assert servers.choose() is a
    assert servers.choose() is a


def test_a_request_that_failed_looks_for_another_server_not_for_the_same_one():
    servers, clock, (a, b, c) = three()
    servers.failed(b)
    servers.busy(c, 5.0)
    assert servers.seconds_to_another(a) == 2.0
    assert servers.seconds_to_another(b) == 0.0
    clock.now += 2.0
    assert servers.seconds_to_another(a) == 0.0
    alone = Servers([URL("http://a/v1")], clock=clock)
    assert alone.seconds_to_another(alone.all[0]) == math.inf


def test_however_long_a_server_asks_for_it_is_tried_again():
    servers, clock, (a, b, c) = three()
    servers.busy(a, math.inf)
    servers.busy(b, 86400.0)
    assert servers.choose() is c
    clock.now += 10.0
    c.in_flight = 2
    assert servers.choose() in (a, b)


def test_addresses_beside_and_below_the_base():
    server = Server(base=base_url("http://host:1/judge/v1/?api-version=2"))
    assert str(server.chat) == "http://host:1/judge/v1/chat/completions?api-version=2"
    assert str(server.at_root("tokenize")) == "http://host:1/judge/tokenize?api-version=2"
    assert str(server) == "http://host:1/judge/v1"
    assert str(Server(base=base_url("http://host")).at_root("tokenize")) == "http://host/tokenize"


def test_of_equally_busy_servers_that_with_the_fewest_tokens_under_way_is_chosen():
    servers, _, (a, b, c) = three()
    a.in_flight, b.in_flight, c.in_flight = 2, 2, 3
    a.tokens, b.tokens, c.tokens = 9_000.0, 5_000.0, 300.0
    assert servers.choose() is b


def test_a_request_is_expected_to_take_its_prompt_and_a_reply_like_the_last_ones():
    servers, _, _ = three()
    assert servers.expected(400, 8192) == 100 + 8192
    for _ in range(200):
        servers.replied(1_000)
    assert round(servers.expected(400, 8192)) == 100 + 1_000
    assert servers.expected(400, 16) == 100 + 16
