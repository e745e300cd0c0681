"""How the benchmark is called, and what it reads of what other programs print."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.fairness import received, spread
from tests.bench.options import Options, parse
from tests.bench.traffic import percentile, round_trips


def test_defaults() -> None:
    assert parse([]) == Options(
        runs=5,
        seconds=3,
        idle_seconds=20,
        peers=50,
        callers=1000,
        congestion="cubic",
        parts=("tcp", "udp", "ping", "idle", "fairness", "handshakes"),
        against=("wireguard-go", "-f"),
        name="wireguard-go",
        without=(),
        output=Path(".cache/bench.json"),
    )


def test_options_that_are_lists() -> None:
    options = parse(["--only", "ping,tcp", "--against", "/opt/x 'a b' -f", "--without", "gro,vnet"])
    assert options.parts == ("tcp", "ping")
    assert (options.name, options.against) == ("x", ("/opt/x", "a b", "-f"))
    assert parse(["--name", "before", "--against", "env -C before x"]).name == "before"
    assert options.without == ("gro", "vnet")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--only", "tcp,pong"], "'pong' is none of tcp, udp"),
        (["--without", "tso"], "'tso' is none of gso, gro, vnet"),
        (["--runs", "0"], "'0' is no whole number above 0"),
        (["--seconds", "-1"], "'-1' is no whole number"),
        (["--seconds", "1.5"], "'1.5' is no whole number"),
        (["--peers", "241"], "240 at most"),
        (["--against", "x 'y"], "is no command"),
        (["--against", ""], "an empty command"),
    ],
)
def test_wrong_options(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(argv)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--help"])
    assert ended.value.code == 0
    assert "boringtun-cli -f" in capsys.readouterr().out


def test_round_trips() -> None:
    output = (
        "64 bytes from 10.66.0.2: icmp_seq=1 ttl=64 time=0.410 ms\n"
        "64 bytes from 10.66.0.2: icmp_seq=2 ttl=64 time=12 ms\n"
        "2 packets transmitted, 2 received, 0% packet loss, time 10ms\n"
    )
    assert round_trips(output) == [0.41, 12]


@pytest.mark.parametrize(
    ("numbers", "expected"), [([5.0], 5.0), ([float(n) for n in range(200, 0, -1)], 198.0), ([2.0, 1.0], 2.0)]
)
def test_percentile(numbers: list[float], expected: float) -> None:
    assert percentile(numbers, 99) == expected


def test_received_adds_what_came_from_each_address() -> None:
    output = (
        "ESTAB 0 0 10.66.0.1:5201 10.66.0.2:40000\n"
        "\t cubic rto:204 bytes_sent:4 bytes_received:150 segs_out:3\n"
        "ESTAB 0 0 [::ffff:10.66.0.1]:5201 [::ffff:10.66.0.2]:40002\n"
        "\t cubic rto:204 bytes_sent:4 bytes_received:2000000 segs_out:3\n"
        "ESTAB 0 0 [::ffff:10.66.0.1]:5202 [::ffff:10.66.0.3]:40002\n"
        "\t cubic rto:204 bytes_received:3000000\n"
        "ESTAB 0 0 [::ffff:10.66.0.1]:5203 [::ffff:10.66.0.4]:40002\n"
        "\t cubic rto:204\n"
    )
    assert received(output) == {"10.66.0.2": 2_000_000, "10.66.0.3": 3_000_000}


def test_spread_is_that_of_the_farthest() -> None:
    assert spread([10.0, 9.0, 12.0, 9.0]) == {"fairness_deviation_percent": 20.0, "fairness_mbits": 40.0}
    assert spread([10.0, 5.0, 12.0, 13.0])["fairness_deviation_percent"] == 50.0
