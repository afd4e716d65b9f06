"""Loss functions: training and validation told apart, pass means, accuracy, class counts, and where they were called."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from .reading import line_here, rows, track


def training(model, optimizer, loss_of, steps=1):
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()


def classifier(classes=3):
    model = nn.Linear(4, classes)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def fit_step(model, optimizer, classes=3):
    training(model, optimizer, lambda m: F.cross_entropy(m(torch.randn(8, 4)), torch.randint(classes, (8,))))


def validation_rows(run):
    return [list(row) for t in run.tracks("val/loss") for row in t.mean]


WAYS = {
    "no_grad": lambda model: torch.no_grad(),
    "inference_mode": lambda model: torch.inference_mode(),
    "eval mode with gradient": lambda model: torch.enable_grad(),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_validation_pass(watching, way):
    model, optimizer = classifier()
    batches = [(torch.randn(n, 4), torch.randint(3, (n,))) for n in (8, 8, 3)]
    with watching(model, optimizer) as run:
        for _ in range(2):
            model.train()
            fit_step(model, optimizer)
            model.eval()
            losses, hits = [], 0
            with WAYS[way](model):
                for inputs, targets in batches:
                    logits = model(inputs)
                    losses.append(nn.CrossEntropyLoss()(logits, targets).item())
                    hits += int((logits.argmax(1) == targets).sum())
    sizes = np.array([len(t) for _, t in batches])
    mean = np.average(losses, weights=sizes)
    deviation = math.sqrt(np.average((np.array(losses) - mean) ** 2, weights=sizes))
    found = validation_rows(run.run)
    assert len(found) == 2
    assert found[-1] == pytest.approx([mean, deviation, 3, 19, hits / 19], rel=1e-5)
    assert [s for s, _ in rows(run.run, "val/loss")] == [1, 2]
    assert len(rows(run.run, "train/function_loss")) == 2


def test_training_in_eval_mode_is_training(watching):
    """`model.train()` forgotten after an evaluation, or batch norm frozen on purpose."""
    model, optimizer = classifier()
    values = []
    with watching(model, optimizer) as run:
        model.eval()
        for _ in range(4):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(torch.randn(8, 4)), torch.randint(3, (8,)))
            values.append(loss.item())
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                F.cross_entropy(model(torch.randn(8, 4)), torch.randint(3, (8,)))
    trained = track(run.run, "train/function_loss").mean[:, 0].tolist()
    assert trained == pytest.approx(values[4 - len(trained) :])
    assert len(trained) >= 3
    assert len(rows(run.run, "val/loss")) == 4


def test_forward_passes_without_backward_are_no_training(watching):
    model, optimizer = classifier()
    with watching(model, optimizer) as run:
        fit_step(model, optimizer)
        with torch.no_grad():
            F.mse_loss(model(torch.randn(4, 4)), torch.zeros(4, 3))
    assert len(track(run.run, "train/function_loss")) == 1


def test_a_nan_in_validation(watching):
    model, optimizer = classifier()
    with watching(model, optimizer) as run:
        fit_step(model, optimizer)
        with torch.no_grad():
            F.cross_entropy(model(torch.full((4, 4), math.nan)), torch.zeros(4, dtype=torch.long))
        fit_step(model, optimizer)
    row = validation_rows(run.run)[0]
    assert math.isnan(row[0])
    assert row[2:4] == [1, 4]


def test_an_empty_batch(watching):
    model, optimizer = classifier()
    with watching(model, optimizer) as run:
        fit_step(model, optimizer)
        with torch.no_grad():
            F.cross_entropy(model(torch.randn(0, 4)), torch.zeros(0, dtype=torch.long))
            F.cross_entropy(model(torch.randn(4, 4)), torch.zeros(4, dtype=torch.long))
        training(model, optimizer, lambda m: F.cross_entropy(m(torch.randn(0, 4)), torch.zeros(0, dtype=torch.long)))
    assert run.run.steps == 2


# classification --------------------------------------------------------------------------------------------------------


def test_class_counts_and_accuracy(watching):
    model, optimizer = classifier(5)
    targets, predictions = [], []

    def loss_of(model):
        logits, target = model(torch.randn(40, 4)), torch.randint(5, (40,))
        predictions.append(logits.argmax(1).numpy())
        targets.append(target.numpy())
        return F.cross_entropy(logits, target)

    with watching(model, optimizer) as run:
        training(model, optimizer, loss_of, steps=4)
    for name, labels in (("target_classes", targets), ("predicted_classes", predictions)):
        assert track(run.run, name).columns == (0, 1, 2, 3, 4)
        np.testing.assert_array_equal(track(run.run, name).mean, [np.bincount(v, minlength=5) for v in labels])
    accuracy = [np.mean(p == t) for p, t in zip(predictions, targets, strict=True)]
    np.testing.assert_allclose(track(run.run, "train/accuracy").mean[:, 0], accuracy, rtol=1e-6)


@pytest.mark.parametrize("ignored", [-100, 1])
def test_ignored_targets_count_neither_way(watching, ignored):
    model, optimizer = classifier()
    inputs, targets = torch.randn(30, 4), torch.randint(3, (30,))
    targets[::3] = ignored
    with watching(model, optimizer) as run:
        logits = model(inputs)
        training(model, optimizer, lambda m: F.cross_entropy(m(inputs), targets, ignore_index=ignored))
        logits_after = model(inputs).detach()
        with torch.no_grad():
            nn.CrossEntropyLoss(ignore_index=ignored)(model(inputs), targets)
    kept = targets != ignored
    hits = (logits.argmax(1) == targets)[kept].float().mean().item()
    hits_after = (logits_after.argmax(1) == targets)[kept].float().mean().item()
    assert rows(run.run, "train/accuracy")[0][1] == pytest.approx([hits])
    assert validation_rows(run.run)[0][4] == pytest.approx(hits_after)
    counted = [int(((targets == c) & kept).sum()) for c in range(3)]
    assert rows(run.run, "target_classes")[0][1] == counted


def test_segmentation(watching):
    model = nn.Conv2d(2, 4, 3, padding=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs, targets = torch.randn(3, 2, 5, 6), torch.randint(4, (3, 5, 6))
    predicted = model(inputs).argmax(1)
    with watching(model, optimizer) as run:
        training(model, optimizer, lambda m: F.cross_entropy(m(inputs), targets))
    assert rows(run.run, "target_classes")[0][1] == np.bincount(targets.flatten(), minlength=4).tolist()
    assert rows(run.run, "predicted_classes")[0][1] == np.bincount(predicted.flatten(), minlength=4).tolist()
    assert rows(run.run, "train/accuracy")[0][1] == pytest.approx([(predicted == targets).float().mean().item()])
    entity = next(loss for loss in run.run.losses.values() if loss.source == "function")
    assert (entity.classes, entity.prediction_shape, entity.target_shape) == (4, (3, 4, 5, 6), (3, 5, 6))
    assert entity.target_dtype == "int64"


def test_soft_targets(watching):
    model, optimizer = classifier()
    inputs, targets = torch.randn(20, 4), torch.softmax(torch.randn(20, 3), 1)
    predicted = model(inputs).argmax(1)
    with watching(model, optimizer) as run:
        training(model, optimizer, lambda m: F.cross_entropy(m(inputs), targets))
    assert rows(run.run, "train/accuracy")[0][1] == pytest.approx(
        [(predicted == targets.argmax(1)).float().mean().item()]
    )


@pytest.mark.parametrize("with_logits", [True, False])
def test_binary(watching, with_logits):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs, targets = torch.randn(30, 4), torch.randint(2, (30, 1)).float()
    predicted = model(inputs) > 0

    def loss_of(model):
        if with_logits:
            return F.binary_cross_entropy_with_logits(model(inputs), targets)
        return nn.BCELoss()(torch.sigmoid(model(inputs)), targets)

    with watching(model, optimizer) as run:
        training(model, optimizer, loss_of)
    assert rows(run.run, "train/accuracy")[0][1] == pytest.approx([(predicted == (targets > 0)).float().mean().item()])
    assert rows(run.run, "target_classes")[0][1] == [int((targets == 0).sum()), int((targets == 1).sum())]
    assert rows(run.run, "predicted_classes")[0][1] == [int((~predicted).sum()), int(predicted.sum())]


def test_predictions_and_targets_are_described(watching):
    model, optimizer = classifier()
    inputs, targets = torch.randn(50, 4), torch.randn(50, 3) * 2 + 5
    predictions = model(inputs).detach().double()
    with watching(model, optimizer) as run:
        training(model, optimizer, lambda m: F.mse_loss(m(inputs), targets))
    for name, value in (("prediction", predictions), ("target", targets.double())):
        expected = [
            value.mean(),
            value.std(unbiased=False),
            value.min(),
            value.max(),
            value.std(0, unbiased=False).mean(),
        ]
        assert rows(run.run, name)[0][1] == pytest.approx([float(v) for v in expected], rel=1e-4)


@pytest.mark.parametrize(
    ("last", "reshape", "expected"),
    [
        (nn.Softmax(1), lambda y: y, "SoftmaxBackward0"),
        (nn.LogSoftmax(1), lambda y: y.view(-1, 3), "LogSoftmaxBackward0"),
        (nn.Sigmoid(), lambda y: y.unsqueeze(0).squeeze(0).t().t(), "SigmoidBackward0"),
        (nn.ReLU(), lambda y: y.reshape(-1)[:], "ReluBackward0"),
        (nn.Tanh(), lambda y: y.permute(1, 0).contiguous(), "TanhBackward0"),
    ],
)
def test_the_operation_behind_predictions(watching, last, reshape, expected):
    model = nn.Sequential(nn.Linear(4, 3), last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def loss_of(model):
        prediction = reshape(model(torch.randn(6, 4)))
        return F.mse_loss(prediction, torch.zeros_like(prediction))

    with watching(model, optimizer) as run:
        training(model, optimizer, loss_of, steps=2)
    (entity,) = [loss for loss in run.run.losses.values() if loss.source == "function"]
    assert entity.prediction_op == expected


# where it was called -----------------------------------------------------------------------------------------------------


def test_sites_of_functions_modules_and_backward(watching):
    model, optimizer = classifier()
    module = nn.CrossEntropyLoss()
    with watching(model, optimizer) as run:
        optimizer.zero_grad()
        first = F.cross_entropy(model(torch.randn(8, 4)), torch.randint(3, (8,)))
        second = module(model(torch.randn(8, 4)), torch.randint(3, (8,)))
        here = line_here()
        (first + second).backward()
        optimizer.step()
        optimizer.zero_grad()
        third = module(model(torch.randn(8, 4)), torch.randint(3, (8,)))
        third.backward()
        optimizer.step()
    by_line = {loss.site.line - here: loss for loss in run.run.losses.values()}
    assert {loss.site.file for loss in by_line.values()} == {__file__}
    assert {line: (loss.source, loss.function) for line, loss in by_line.items()} == {
        -2: ("function", "cross_entropy"),
        -1: ("function", "cross_entropy"),
        1: ("backward", ""),
        4: ("function", "cross_entropy"),
        5: ("backward", "cross_entropy"),
    }


def test_a_tensor_that_took_the_address_of_a_loss_is_not_that_loss(watching):
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with watching(optimizer) as run:
        for _ in range(5):
            optimizer.zero_grad()
            (((F.mse_loss(weight * 2, torch.zeros(3)) * 2 + 1) * 3 + 1) * 2 + 1).backward()
            optimizer.step()
    assert [loss.function for loss in run.run.losses.values() if loss.source == "backward"] == [""]


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_reductions(watching, reduction):
    model, optimizer = classifier()
    expected = []

    def loss_of(model):
        losses = F.mse_loss(model(torch.randn(5, 4)), torch.zeros(5, 3), reduction=reduction)
        expected.append(losses.detach().mean().item())
        return losses.sum()

    with watching(model, optimizer) as run:
        training(model, optimizer, loss_of, steps=3)
    np.testing.assert_allclose(track(run.run, "train/function_loss").mean[:, 0], expected, rtol=1e-5)
    (entity,) = [loss for loss in run.run.losses.values() if loss.source == "function"]
    assert entity.reduction == reduction


ALL = {
    "nll_loss": lambda x, y: F.nll_loss(F.log_softmax(x, 1), y.argmax(1)),
    "l1_loss": lambda x, y: F.l1_loss(x, y),
    "smooth_l1_loss": lambda x, y: nn.SmoothL1Loss()(x, y),
    "huber_loss": lambda x, y: nn.HuberLoss()(x, y),
    "gaussian_nll_loss": lambda x, y: nn.GaussianNLLLoss()(x, y, torch.ones_like(y)),
    "poisson_nll_loss": lambda x, y: nn.PoissonNLLLoss()(x, y.abs()),
    "kl_div": lambda x, y: nn.KLDivLoss(reduction="batchmean")(F.log_softmax(x, 1), F.softmax(y, 1)),
    "hinge_embedding_loss": lambda x, y: nn.HingeEmbeddingLoss()(x, y.sign()),
    "margin_ranking_loss": lambda x, y: nn.MarginRankingLoss()(x, y, y.sign()),
    "multi_margin_loss": lambda x, y: nn.MultiMarginLoss()(x, y.argmax(1)),
    "multilabel_margin_loss": lambda x, y: nn.MultiLabelMarginLoss()(x, (y > 0).long()),
    "multilabel_soft_margin_loss": lambda x, y: nn.MultiLabelSoftMarginLoss()(x, (y > 0).float()),
    "soft_margin_loss": lambda x, y: nn.SoftMarginLoss()(x, y.sign()),
    "cosine_embedding_loss": lambda x, y: nn.CosineEmbeddingLoss()(x, y, torch.ones(len(y))),
    "triplet_margin_loss": lambda x, y: nn.TripletMarginLoss()(x, y, -y),
    "triplet_margin_with_distance_loss": lambda x, y: nn.TripletMarginWithDistanceLoss()(x, y, -y),
    "ctc_loss": lambda x, y: nn.CTCLoss()(
        F.log_softmax(x, 1).unsqueeze(1), torch.tensor([[1, 2]]), torch.tensor([len(x)]), torch.tensor([2])
    ),
}


@pytest.mark.parametrize("function", ALL)
def test_every_loss_function(watching, function):
    model, optimizer = classifier()
    values = []

    def loss_of(model):
        loss = ALL[function](model(torch.randn(12, 4)), torch.randn(12, 3))
        values.append(loss.item())
        return loss

    with watching(model, optimizer) as run:
        training(model, optimizer, loss_of, steps=2)
        with torch.no_grad():
            ALL[function](model(torch.randn(12, 4)), torch.randn(12, 3))
    trained = [t for t in run.run.tracks("train/function_loss") if run.run.losses[t.owner[1]].function == function]
    assert [row[0] for row in trained[0].mean] == pytest.approx(values)
    assert len(validation_rows(run.run)) == 1


def test_a_registered_override_still_finds_its_function(watching):
    """A tensor subclass looks functions up by identity, as PyTorch's own documentation shows."""
    handled = {F.mse_loss: lambda input, target, **_: "mine"}

    class Own(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func in handled:
                return handled[func](*args, **(kwargs or {}))
            return super().__torch_function__(func, types, args, kwargs)

    value = torch.ones(3).as_subclass(Own)
    with watching():
        assert F.mse_loss(value, torch.zeros(3)) == "mine"


def test_an_exception_in_a_loss_function_reaches_the_script(watching):
    model, optimizer = classifier()
    with watching(model, optimizer) as run:
        with pytest.raises(ValueError, match="batch_size"):
            F.cross_entropy(torch.ones(3, 2), torch.zeros(4, dtype=torch.long))
        fit_step(model, optimizer)
    assert len(rows(run.run, "train/function_loss")) == 1
