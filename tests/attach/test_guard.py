"""The guard: bitwise invisible while nothing is wrong, and doing what it says when something is."""

from __future__ import annotations

import copy
import math
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vivavoce.attach import guard as guard_module
from vivavoce.attach import guard_rules
from vivavoce.attach.session import Session
from vivavoce.examine.verdict import examine
from vivavoce.record.run import Run
from vivavoce.settings import ACTS, Settings

BROKEN = 60  # step whose batch holds a NaN


@contextmanager
def guarding(tmp_path, *allow, quiet=True):
    """A guarded session; every step that is sound leaves a snapshot."""
    session = Session(Settings(guard=True, allow=allow or ACTS, directory=tmp_path, budget=0.5, quiet=quiet))
    session.install()
    assert session.guard is not None
    try:
        yield session
    finally:
        session.uninstall()
        session.recorder.close()
    assert session.faults == []


def events(session):
    return [(event.step, event.data) for event in Run(session.recorder.source()).events("guard")]


def acts(session):
    return [data["act"] for _, data in events(session)]


def tensors_of(*holders):
    """Everything that a training step changes, in one list."""
    found = []
    for holder in holders:
        values = holder.state_dict().values() if isinstance(holder, nn.Module) else _state(holder)
        found += [value.detach().clone() for value in values if isinstance(value, torch.Tensor)]
    return found


def _state(optimizer):
    return [value for state in optimizer.state.values() for value in state.values()]


def same(first, second):
    return len(first) == len(second) and all(
        a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, second, strict=True)
    )


def finite(*holders):
    return all(bool(torch.isfinite(t).all()) for t in tensors_of(*holders) if t.is_floating_point())


def mlp(norm=False):
    layers = [nn.Linear(6, 32), nn.BatchNorm1d(32) if norm else nn.Identity(), nn.ReLU(), nn.Linear(32, 3)]
    return nn.Sequential(*layers)


def batch(step, broken=()):
    made = torch.Generator().manual_seed(step)
    x = torch.randn(32, 6, generator=made)
    y = (x[:, :3] + x[:, 3:]).argmax(1)
    if step in broken:
        x[3, 2] = math.nan
    return x, y


ADAM = {"make": lambda p: torch.optim.Adam(p, 1e-2)}


def train(model, optimizer, steps=100, broken=(), leave_out=(), before=None, after=None):
    """Train on the batches of steps 1 … `steps`, but for those left out."""
    for step in range(1, steps + 1):
        if step in leave_out:
            continue
        x, y = batch(step, broken)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        if before:
            before(step)
        optimizer.step()
        if after:
            after(step)


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, 1e-2),
    "sgd with momentum and decay": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=1e-3),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 1e-3, momentum=0.9),
}


def built(make, norm=False):
    torch.manual_seed(0)
    model = mlp(norm)
    return model, make(model.parameters())


# ---- nothing is wrong ---------------------------------------------------------------------------------------------------


def dropout_and_schedule():
    model = nn.Sequential(nn.Linear(6, 32), nn.Dropout(0.3), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=100)
    train(model, optimizer, after=lambda step: schedule.step())
    return tensors_of(model, optimizer)


def game():
    maker, critic = nn.Linear(4, 2), nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
    of_maker, of_critic = torch.optim.Adam(maker.parameters(), 1e-3), torch.optim.RMSprop(critic.parameters(), 1e-3)
    for step in range(120):
        made = maker(torch.randn(16, 4))
        of_critic.zero_grad()
        (critic(made.detach()).mean() - critic(torch.randn(16, 2) + 1).mean()).backward()
        of_critic.step()
        if step % 3 == 0:
            of_maker.zero_grad()
            (-critic(made).mean()).backward()
            of_maker.step()
    return tensors_of(maker, critic, of_maker, of_critic)


def closure():
    model = mlp()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    for step in range(1, 20):
        x, y = batch(step)

        def evaluate(x=x, y=y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        optimizer.step(evaluate)
    return tensors_of(model)


def scaled_and_accumulated():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126, growth_interval=20)  # overflows at first: steps skipped
    for step in range(1, 120):
        x, y = batch(step)
        scaler.scale(F.cross_entropy(model(x), y) / 2).backward()
        if step % 2 == 0:
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
    return [*tensors_of(model), torch.tensor(scaler.get_scale())]


def tied_and_compiled():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(12, 8)
            self.out = nn.Linear(8, 12, bias=False)
            self.out.weight = self.embedding.weight

        def forward(self, x):
            return self.out(torch.tanh(self.embedding(x)))

    model = Tied()
    run = torch.compile(model, backend="eager")
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        x = torch.randint(0, 12, (32,))
        optimizer.zero_grad(set_to_none=False)
        F.cross_entropy(run(x), (x + 1) % 12).backward()
        optimizer.step()
    return tensors_of(model, optimizer)


@pytest.mark.parametrize("training", [dropout_and_schedule, game, closure, scaled_and_accumulated, tied_and_compiled])
def test_a_healthy_run_is_the_same_bit_for_bit(tmp_path, training):
    torch.manual_seed(1)
    expected = training()
    random = torch.get_rng_state()
    torch.manual_seed(1)
    with guarding(tmp_path) as session:
        guarded = training()
    assert same(guarded, expected)
    assert torch.equal(torch.get_rng_state(), random)
    assert session.guard._newest is not None  # it was at work
    assert acts(session) == []


def test_it_is_off_unless_asked_for(tmp_path):
    session = Session(Settings(directory=tmp_path))
    assert session.guard is None


# ---- a batch that breaks the gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_skipped_batch_is_as_if_it_had_never_come(tmp_path, name):
    expected = built(OPTIMIZERS[name])
    train(*expected, leave_out=(BROKEN,))
    model, optimizer = built(OPTIMIZERS[name])
    with guarding(tmp_path, "skip-batch") as session:
        train(model, optimizer, broken=(BROKEN,))
    assert same(tensors_of(model, optimizer), tensors_of(*expected))
    assert acts(session) == ["skip-batch"]
    assert events(session)[0][0] == BROKEN


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rewind_ends_where_the_script_was_before_an_earlier_step(tmp_path, name):
    past = {}
    expected = built(OPTIMIZERS[name], norm=True)
    train(*expected, BROKEN - 1, after=lambda step: past.update({step: tensors_of(*expected)}))
    model, optimizer = built(OPTIMIZERS[name], norm=True)
    with guarding(tmp_path, "rewind", "skip-batch") as session:
        train(model, optimizer, BROKEN, broken=(BROKEN,))
    assert acts(session) == ["skip-batch", "rewind"]
    to = events(session)[1][1]["to_step"]
    assert 1 < to <= BROKEN
    weights = len(list(model.parameters()))
    buffers = [index for index, key in enumerate(model.state_dict()) if "running" in key or "tracked" in key]
    found, before = tensors_of(model, optimizer), past[to - 1]
    kept = [index for index in range(len(found)) if index not in buffers]
    assert weights == 6
    assert same([found[i] for i in kept], [before[i] for i in kept])
    assert same([found[i] for i in buffers], [past[to][i] for i in buffers])  # the forward of step `to` had been made


def test_running_statistics_of_a_skipped_batch_are_mended(tmp_path):
    model, optimizer = built(OPTIMIZERS["adam"], norm=True)
    with guarding(tmp_path, "skip-batch"):
        train(model, optimizer, broken=(BROKEN,))
    assert finite(model, optimizer)


def test_gradients_of_a_skipped_step_are_zero_afterwards(tmp_path):
    model, optimizer = built(OPTIMIZERS["adam"])
    norms = {}

    def note(step):
        norms[step] = sum(float(p.grad.norm()) for p in model.parameters())

    with guarding(tmp_path):
        train(model, optimizer, broken=(BROKEN,), after=note)
    assert norms[BROKEN] == 0
    assert norms[BROKEN - 1] > 0


def test_weights_that_broke_by_themselves_are_brought_back(tmp_path):
    model, optimizer = built(OPTIMIZERS["adam"])

    def break_them(step):
        if step == BROKEN:
            model[0].weight.data[0, 0] = math.inf

    with guarding(tmp_path, "rewind", "skip-batch") as session:
        train(model, optimizer, after=break_them)
    assert finite(model, optimizer)
    assert acts(session) == ["skip-batch", "rewind"]


def test_what_is_not_allowed_is_not_done(tmp_path):
    expected = built(OPTIMIZERS["adam"])
    train(*expected, broken=(BROKEN,))
    model, optimizer = built(OPTIMIZERS["adam"])
    with guarding(tmp_path, "clip", "lower-learning-rate") as session:
        train(model, optimizer, broken=(BROKEN,))
    assert acts(session) == []
    assert not finite(model)
    assert not finite(expected[0])


def test_the_cause_stays_in_the_verdict(tmp_path):
    model, optimizer = built(OPTIMIZERS["adam"])
    with guarding(tmp_path) as session:
        train(model, optimizer, broken=(BROKEN,))
    run = Run(session.recorder.source())
    found = {slug for finding in examine(run).findings for slug in (finding.slug, *finding.symptoms)}
    assert "non-finite" in found
    row = next(t for t in run.tracks("gradient_norm")).column(0)
    assert not math.isfinite(row.mean[list(row.steps).index(BROKEN)])  # as it was, before the guard acted


def test_networks_that_play_against_each_other_go_back_together(tmp_path):
    """The generator's graph was made before the rewind and is walked after it."""
    torch.manual_seed(0)
    maker, critic = nn.Linear(4, 2), nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
    of_maker, of_critic = torch.optim.Adam(maker.parameters(), 1e-3), torch.optim.Adam(critic.parameters(), 1e-3)
    with guarding(tmp_path) as session:
        for step in range(1, 80):
            made = maker(torch.randn(16, 4))
            real = torch.randn(16, 2) * (math.nan if step == BROKEN else 1)
            of_critic.zero_grad()
            (critic(made.detach()).mean() - critic(real).mean()).backward()
            of_critic.step()
            of_maker.zero_grad()
            (-critic(made).mean()).backward()
            of_maker.step()
    assert finite(maker, critic, of_maker, of_critic)
    assert acts(session) == ["skip-batch", "rewind"]


def test_a_step_with_a_closure_is_undone_when_it_is_over(tmp_path):
    torch.manual_seed(0)
    model = mlp()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    with guarding(tmp_path) as session:
        for step in range(1, 31):
            x, y = batch(step, broken=(20,))

            def evaluate(x=x, y=y):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            optimizer.step(evaluate)
    assert finite(model)
    assert acts(session) == ["skip-batch", "rewind"]
    assert events(session)[1][0] == 20


class Sgd(torch.optim.Optimizer):
    """Of nobody we know: it needs every gradient, and counts its steps."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["count"] = state.get("count", torch.zeros(1)) + 1
                p.sub_(group["lr"] * (p.grad + 0.01 * p))


def test_an_optimizer_that_is_not_known_is_undone(tmp_path):
    expected = built(lambda p: Sgd(p, 0.1))
    train(*expected, leave_out=(BROKEN,))
    model, optimizer = built(lambda p: Sgd(p, 0.1))
    with guarding(tmp_path, "skip-batch") as session:
        train(model, optimizer, broken=(BROKEN,))
    assert acts(session) == ["skip-batch"]
    assert same(tensors_of(model, optimizer), tensors_of(*expected))


# ---- explosions -----------------------------------------------------------------------------------------------------------


class Scalar(nn.Module):
    """A loss whose gradient with respect to `w` is exactly what the script says."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(4, dtype=torch.float64))

    def forward(self, norm):
        return self.w.sum() * (norm / 2)  # four equal entries: norm/2 each, so the norm is `norm`


def exploding(steps=260, onset=200, doubling=4.0):
    noise = torch.rand(steps, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return [(1 + 0.2 * float(noise[s])) * 2.0 ** (max(s - onset, 0) / doubling) for s in range(steps)]


def descend(norms, learning_rate=0.1, schedule=None):
    """Plain gradient descent; the size of each update."""
    model = Scalar()
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule) if schedule else None
    updates, rates = [], []
    for norm in norms:
        before = model.w.detach().clone()
        optimizer.zero_grad()
        model(norm).backward()
        optimizer.step()
        updates.append(float((model.w.detach() - before).norm()))
        rates.append(optimizer.param_groups[0]["lr"])
        if scheduler:
            scheduler.step()
    return updates, rates


def test_an_exploding_gradient_is_scaled_down_to_what_the_act_says(tmp_path):
    norms = exploding()
    with guarding(tmp_path, "clip") as session:
        updates, _ = descend(norms)
    clips = {step: data for step, data in events(session) if data["act"] == "clip"}
    assert len(clips) > 20
    for step, (norm, update) in enumerate(zip(norms, updates, strict=True), 1):
        assert update == pytest.approx(0.1 * (clips[step]["to"] if step in clips else norm), rel=1e-6)
        if step in clips:
            assert clips[step]["norm"] == pytest.approx(norm)
            assert clips[step]["to"] < norm


def test_where_clipping_does_not_hold_it_the_learning_rate_is_lowered_and_the_schedule_is_not_told(tmp_path):
    norms = exploding()
    with guarding(tmp_path, "clip", "lower-learning-rate") as session:
        updates, rates = descend(norms, schedule=lambda step: 0.99**step)
    lowered = [(step, data["factor"]) for step, data in events(session) if data["act"] == "lower-learning-rate"]
    assert [factor for _, factor in lowered] == [0.5**n for n in range(1, len(lowered) + 1)]
    assert lowered
    assert rates == pytest.approx([0.1 * 0.99**step for step in range(len(norms))])
    clips = {step: data["to"] for step, data in events(session) if data["act"] == "clip"}
    for step, update in enumerate(updates, 1):
        factor = min((f for at, f in lowered if at <= step), default=1.0)
        assert update == pytest.approx(factor * rates[step - 1] * clips.get(step, norms[step - 1]), rel=1e-6)


@pytest.mark.parametrize("rate", [0.5, torch.tensor(0.5)], ids=["number", "tensor"])
@pytest.mark.parametrize("set_since", [None, 0.2])
def test_a_rate_that_was_lent_to_a_step_goes_back_unless_the_script_has_set_another(rate, set_since):
    optimizer = torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=rate)
    loans = guard_module.Loans()
    loans.lower_rates(optimizer, 0.1)
    (group,) = optimizer.param_groups
    assert float(group["lr"]) == pytest.approx(0.05)
    if set_since is not None:  # after an exception inside the step
        group["lr"] = set_since
    loans.give_back()
    assert float(group["lr"]) == (0.5 if set_since is None else set_since)


def test_steps_that_blow_the_weights_up_are_made_smaller(tmp_path):
    """The gradient of w⁴ at a learning rate that throws w from 1 to −19 and on."""
    torch.manual_seed(0)
    w = nn.Parameter(torch.ones(3, dtype=torch.float64))

    def run(session=None):
        with torch.no_grad():
            w.fill_(1.0)
        optimizer = torch.optim.SGD([w], lr=5.0)
        for _ in range(60):
            optimizer.zero_grad()
            (w**4).sum().backward()
            optimizer.step()
        return bool(torch.isfinite(w).all())

    assert not run()
    with guarding(tmp_path) as session:
        assert run()
    assert "lower-learning-rate" in acts(session)
    reasons = [data["why"] for _, data in events(session) if data["act"] == "lower-learning-rate"]
    assert "the weights had become" in reasons[0]


# ---- limits ---------------------------------------------------------------------------------------------------------------


def test_it_gives_up_where_nothing_helps_and_says_so(tmp_path, capsys):
    model, optimizer = built(OPTIMIZERS["adam"])
    with guarding(tmp_path, quiet=False) as session:
        train(model, optimizer, broken=range(BROKEN, 101))
    assert acts(session)[-1] == "gave-up"
    assert acts(session).count("rewind") == guard_rules.IN_A_ROW
    assert not finite(model)  # the training went on as it would have without it
    said = [line for line in capsys.readouterr().err.splitlines() if "guard" in line]
    assert len(said) == 3  # the first act of each kind, and the end
    assert "acts no more" in said[-1]


def test_it_does_not_part_one_process_from_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    expected = built(OPTIMIZERS["adam"])
    train(*expected, broken=(BROKEN,))
    model, optimizer = built(OPTIMIZERS["adam"])
    with guarding(tmp_path) as session:
        train(model, optimizer, 1)
        assert acts(session) == ["gave-up"]
        assert "2 processes" in events(session)[0][1]["why"]
    assert session.guard._newest is None


def test_weights_changed_by_hand_cannot_be_guarded(tmp_path):
    w = torch.zeros(3, requires_grad=True)
    with guarding(tmp_path) as session:
        for _ in range(40):
            ((w - 1) ** 2).sum().backward()
            with torch.no_grad():
                w -= 0.1 * w.grad
                w.grad = None
    assert acts(session) == ["gave-up"]
    assert "changed by hand" in events(session)[0][1]["why"]


def test_weights_shared_between_processes_are_left_alone(tmp_path):
    model, optimizer = built(OPTIMIZERS["adam"])
    model.share_memory()
    with guarding(tmp_path) as session:
        train(model, optimizer, 3)
    assert "shared with other processes" in events(session)[0][1]["why"]


@pytest.mark.parametrize("broken", ["ceiling", "Snapshot", "withhold", "give_back", "_go_back"])
def test_a_fault_of_its_own_switches_it_off_and_costs_nothing(tmp_path, monkeypatch, capsys, broken):
    def fail(*args, **kwargs):
        raise RuntimeError("injected")

    expected = built(OPTIMIZERS["adam"])
    train(*expected, 40)
    model, optimizer = built(OPTIMIZERS["adam"])
    session = Session(Settings(guard=True, directory=tmp_path))
    session.install()
    owners = {"ceiling": guard_rules.Growth, "Snapshot": guard_module, "_go_back": guard_module.Guard}
    owner = owners.get(broken, guard_module.Loans)
    with monkeypatch.context() as patch:
        patch.setattr(owner, broken, fail)
        train(model, optimizer, 40, broken=(20,) if broken == "withhold" else ())
    session.uninstall()
    session.recorder.close()
    if broken != "withhold":
        assert same(tensors_of(model, optimizer), tensors_of(*expected))
    assert session.faults == ["guard"]
    assert capsys.readouterr().err.count("guard switched off after an internal error") == 1


def test_it_keeps_no_model_alive(tmp_path):
    import gc
    import weakref

    with guarding(tmp_path):
        model, optimizer = built(OPTIMIZERS["adam"])
        train(model, optimizer, 5)
        dead = weakref.ref(model[0].weight)
        del model, optimizer
        gc.collect()
        assert dead() is None


def test_a_snapshot_holds_copies(tmp_path):
    model, optimizer = built(OPTIMIZERS["adam"], norm=True)
    train(model, optimizer, 3)
    taken = guard_module.Snapshot(4, [optimizer], [model], ())
    before = copy.deepcopy(tensors_of(model, optimizer))
    train(model, optimizer, 3)
    assert not same(tensors_of(model, optimizer), before)
    rates = [group["lr"] for group in optimizer.param_groups]
    optimizer.param_groups[0]["lr"] = 0.5  # the script's own affair
    taken.restore()
    assert same(tensors_of(model, optimizer), before)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5]
    assert rates == [1e-2]
