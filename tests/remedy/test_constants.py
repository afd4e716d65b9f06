"""Where a number is written that a call is given by name."""

from __future__ import annotations

from pathlib import Path

import libcst as cst
import pytest

from vivavoce.remedy.constants import command_line, follow, uses
from vivavoce.remedy.source import Source, argument

CALL = "import torch\n"


def constant(text):
    source = Source(Path("train.py"), text)
    call = next(call for call in source.all(cst.Call) if source.code(call.func).endswith("SGD"))
    arg = argument(call, "lr", 1)
    assert arg is not None
    found = follow(source, arg.value)
    return None if found is None else (found.value, source.line(found.node))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SGD(p, lr=0.1)", (0.1, 1)),
        ("SGD(p, 1e-3)", (0.001, 1)),
        ("SGD(p, lr=-1)", (-1.0, 1)),
        ("RATE = 0.2\nSGD(p, lr=RATE)", (0.2, 1)),
        ("a, RATE = 1, 0.2\nSGD(p, lr=RATE)", (0.2, 1)),
        ("RATE = 0.2\nRATE = 0.3\nSGD(p, lr=RATE)", None),
        ("RATE = 0.2\nRATE *= 2\nSGD(p, lr=RATE)", None),
        ("RATE = float(input())\nSGD(p, lr=RATE)", None),
        ("rate = 0.2\ndef f():\n    rate = 0.3\n    SGD(p, lr=rate)", (0.3, 3)),
        ("def f(rate=0.4):\n    SGD(p, lr=rate)\nf()", (0.4, 1)),
        ("def f(rate=0.4):\n    SGD(p, lr=rate)\nf(rate=0.5)", (0.5, 3)),
        ("def f(rate=0.4):\n    SGD(p, lr=rate)\nf(0.5)", (0.5, 3)),
        ("def f(rate=0.4):\n    SGD(p, lr=rate)\nf(0.5)\nf(0.6)", None),
        ("def f(rate=0.4):\n    SGD(p, lr=rate)\nf(**options)", None),
        ("class C:\n    def __init__(self, rate):\n        SGD(p, lr=rate)\nC(0.7)", (0.7, 4)),
        (
            "class C:\n    def __init__(self):\n        self.rate = 0.7\n    def f(self):\n        SGD(p, lr=self.rate)",
            (0.7, 3),
        ),
        ("class C:\n    rate: float = 0.8\ndef f(cfg):\n    SGD(p, lr=cfg.rate)", (0.8, 2)),
        ("class C:\n    rate: float = 0.8\ndef f(cfg):\n    SGD(p, lr=cfg.rate)\nf(C(rate=0.9))", (0.9, 5)),
        ("class C:\n    rate = 0.8\nSGD(p, lr=C.rate)", (0.8, 2)),
        ("q.add_argument('--rate', default=0.05)\nargs = q.parse_args()\nSGD(p, lr=args.rate)", (0.05, 1)),
        ("q.add_argument('--rate', '-r', default=0.05)\nSGD(p, lr=args.rate)", (0.05, 1)),
        ("q.add_argument('--the-rate', default=0.05)\nSGD(p, lr=args.the_rate)", (0.05, 1)),
        ("q.add_argument('-r', dest='rate', default=0.05)\nSGD(p, lr=args.rate)", (0.05, 1)),
        ("c = {'rate': 0.06}\nSGD(p, lr=c['rate'])", (0.06, 1)),
        ("c = dict(rate=0.06)\nSGD(p, lr=c['rate'])", (0.06, 1)),
        ("c = {'rate': 0.06}\nd = {'rate': 0.07}\nSGD(p, lr=c['rate'])", None),
        ("SGD(p, lr=args.rate)", None),
        ("SGD(p, lr=0.1 * scale)", None),
    ],
)
def test_follows(text, expected):
    assert constant(text) == expected


def test_uses_are_those_that_read_and_do_more_than_print():
    text = "rate = 1.0\nprint(rate)\nprint(f'{rate}')\nSGD(p, lr=rate)\nx.rate = 2\nf(rate=3)\n"
    assert uses(Source(Path("train.py"), text), "rate") == 1
    assert uses(Source(Path("train.py"), text + "g(rate)\n"), "rate") == 2


OPTION = "q.add_argument('--rate', type=float, default=0.05)\nargs = q.parse_args()\n"


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("SGD(p, lr=args.rate)", ["--rate", "3"], (3.0, "args.rate", 3)),
        ("SGD(p, lr=args.rate)", ["--rate=3e-4"], (3e-4, "args.rate", 3)),
        ("lr = args.rate\nSGD(p, lr=lr)", ["--rate", "3"], (3.0, "args.rate", 3)),
        ("SGD(p, lr=args.rate)", ["--other", "3"], (0.05, "0.05", 1)),
        ("SGD(p, lr=args.rate)", ["--rate", "fast"], None),
    ],
)
def test_an_option_that_is_given_is_changed_where_it_is_used(text, given, expected):
    source = Source(Path("train.py"), OPTION + text)
    rate = argument(next(call for call in source.all(cst.Call) if source.code(call.func) == "SGD"), "lr")
    with command_line(given):
        found = follow(source, rate.value)
    assert expected == (None if found is None else (found.value, source.code(found.node), source.line(found.node)))
    assert follow(source, rate.value).value == 0.05
