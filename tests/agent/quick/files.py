"""Generated files: `confs` that can be brought up, and `scraps` of which strip must make what it can."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from tests.agent.quick.corpus import KEY, OTHER, PSK, THIRD

ENDPOINTS = ["192.0.2.1", "198.51.100.7", "2001:db8::7"]

_BLANKS = st.sampled_from(["", " ", "\t", "  \t "])
_ENDS = st.sampled_from(["", " ", " # why", "#x = y", "\r", "\t\r"])
_ADDRESSES = [
    *("10.0.0.1/24", "10.0.1.1", "10.1.0.0/31", "172.16.0.1/12", "0.2.0.1/8", "192.168.7.9/32"),
    *("fd00::1/64", "fd01::1", "2001:DB8:0::9/32", "fe80::5/64"),
]
_PREFIXES = [
    *("0.0.0.0/0", "::/0", "1.2.3.4/0", "128.0.0.0/1", "10.0.0.0/8", "10.0.0.7/24", "10.0.0.9"),
    *("172.16.3.0/24", "0.5.0.0/16", "192.168.7.9/32"),
    *("fd00::/16", "fd00::2/128", "fd01::1", "fe80::/10", "2001:db8::1/33", "::ffff:10.0.0.1"),
]
_DNS = ["1.1.1.1", "::1", "2606:4700::1111", "example.com", "a-b.example", "~lan", "fe80::1%eth0"]
_HOOKS = ["hook a %i", "hook b; hook c", "hook 'x y' \"%i\" %%i", "X=%i; hook $X", ""]

_SCRAPS = [
    *("[Interface]", "[interface]", "[Peer]", "[", "]", "[Interface"),
    *("Address", "ADDRESS", "DNS", "mtu", "Table", "PrivateKey", "PreUp", "PostUp", "PreDown", "PostDown"),
    *("SaveConfig", "saveconfig", "true", "FALSE", "10.0.0.1/24", "%i", "x", "$x", "\n", "\n", "\n"),
    *"===#\\*`'\", \t\r\v\0\x01\x7f\ufeff\xe4\udcff",
]


def scraps() -> st.SearchStrategy[str]:
    joined = st.lists(st.sampled_from(_SCRAPS), max_size=40).map("".join)
    return st.one_of(joined, joined.map(lambda text: f"[Interface]\n{text}"))


@st.composite
def confs(draw: st.DrawFn) -> str:
    lines = [f"PrivateKey = {KEY}"]
    lines += draw(st.lists(st.sampled_from(_ADDRESSES), max_size=4, unique=True).flatmap(_listed("Address")))
    lines += draw(st.lists(st.sampled_from(_DNS), max_size=3).flatmap(_listed("DNS")))
    for said in (
        ["MTU = 1280", "MTU=1420", "MTU ="],
        ["Table = auto", "Table=off", "Table = 77", "Table = main", "Table =", "Table = auto\nTable= auto"],
        ["FwMark = off", "FwMark = 0x10", "FwMark = 51820", "FwMark = 0"],
        ["ListenPort = 51820", "SaveConfig = false"],
    ):
        lines += draw(st.lists(st.sampled_from(said), max_size=1))
    for key in ("PreUp", "PostUp", "PreDown", "PostDown"):
        lines += [f"{key} = {hook}" for hook in draw(st.lists(st.sampled_from(_HOOKS), max_size=2))]
    content = ["[Interface]", *draw(st.permutations(lines))]
    for key in draw(st.sets(st.sampled_from([OTHER, THIRD, PSK]))):
        peer = [f"PublicKey = {key}"]
        peer += draw(st.lists(st.sampled_from(_PREFIXES), max_size=6).flatmap(_listed("AllowedIPs")))
        ends = [f"Endpoint = {f'[{ip}]' if ':' in ip else ip}:51820" for ip in ENDPOINTS]
        peer += draw(st.lists(st.sampled_from(ends), max_size=1))
        content += [
            "",
            draw(st.sampled_from(["[Peer]", "[peer]\t", " [PEER] # x"])),
            *draw(st.permutations(peer)),
        ]
    spaced = [draw(_BLANKS) + _cased(draw, line) + draw(_ENDS) for line in content]
    return "\n".join(spaced) + draw(st.sampled_from(["", "\n"]))


def _listed(key: str) -> Callable[[list[str]], st.SearchStrategy[list[str]]]:
    """Values on one line or several, with commas or, where wg-quick takes them, blanks between."""

    def split(values: list[str]) -> st.SearchStrategy[list[str]]:
        joints: st.SearchStrategy[str] = st.sampled_from(
            [",", ", ", " ,\t", f"\n{key} = ", f"\n{key.lower()}="]
        )
        return st.lists(joints, min_size=len(values), max_size=len(values)).map(
            lambda found: (
                f"{key} = {''.join(a + b for a, b in zip(['', *found], values))}".split("\n")
                if values
                else []
            )
        )

    return split


def _cased(draw: st.DrawFn, line: str) -> str:
    key, equals, value = line.partition("=")
    keys = [key, key.lower(), key.upper()] if equals else [key]
    return f"{draw(st.sampled_from(keys))}{equals}{value}"
