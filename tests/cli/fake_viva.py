"""The command `viva` with a stand-in for the session: `python fake_viva.py run …`; FAKE says how it behaves."""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace

BEHAVIOUR = os.environ["FAKE"]


def outcome():
    from vivavoce.examine.finding import Finding
    from vivavoce.examine.verdict import Verdict
    from vivavoce.testing.runs import make_run

    finding = Finding("guessing", "warning", 0.9, 1, "It guesses", "the loss is ln 4", primary=True)
    verdict = Verdict("findings", (finding,), "It guesses.")
    return SimpleNamespace(run=make_run(meta={"steps": 7, "run": "x"}), verdict=verdict, path=None, children=[])


class Session:
    def __init__(self, settings, command):
        self.stopped = None
        print("session", command, settings.budget, flush=True)

    def install(self):
        if BEHAVIOUR == "broken install":
            raise RuntimeError("no tap fits")
        if BEHAVIOUR == "stop":
            sys.modules["torch"].train = self.stop

    def stop(self):
        self.stopped = "guessing"
        raise SystemExit(3)

    def status(self):
        return SimpleNamespace(
            step=1234, loss=0.5, gradient_norm=2.0, overhead=0.01, worst="guessing", severity="warning"
        )

    def finish(self, exit_code, error):
        print("finish", exit_code, repr(error), flush=True)
        if BEHAVIOUR == "broken finish":
            raise RuntimeError("the store\nis gone")
        return None if BEHAVIOUR == "nothing" else outcome()

    def children(self):
        return []


module = ModuleType("vivavoce.attach.session")
module.Session = Session
sys.modules["vivavoce.attach.session"] = module

from vivavoce.cli import main  # noqa: E402

main()
