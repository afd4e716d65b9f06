"""The lab of question 7: what a confusion matrix is for."""

from __future__ import annotations

from collections.abc import Sequence

from vivavoce.labs.confusion_file import Predictions, read
from vivavoce.labs.confusion_proof import costs, coverage, ignored_class, noise, streaming
from vivavoce.labs.confusion_views import (
    confusion_table,
    matrix_figures,
    percent,
    score_figure,
    score_table,
    suspect_table,
)
from vivavoce.labs.confusion_views import interval as written
from vivavoce.labs.figures import Figure
from vivavoce.labs.lab import Claim, Context, Lab, Option, Result, Table, held
from vivavoce.measure.confusion import ConfusionMatrix
from vivavoce.measure.confusion_scores import NORMALISATIONS, Scores, never_predicted, scores, top_confusions, wilson
from vivavoce.report.words import number


class Confusion(Lab):
    """Counts real against predicted classes, exactly and without keeping the examples."""

    name = "confusion"
    question = "What is a confusion matrix for?"
    textbook = (
        "It counts, for every real class (rows) and every predicted class (columns), how many examples fell there: the "
        "diagonal is right, everything else says which classes are taken for which. Accuracy alone hides that."
    )
    input_help = "a CSV file with the real class and the predicted one, or a score for each class"
    options = (
        Option("real", "Column of the real class. [default: true, real, label, target …]", metavar="COLUMN"),
        Option("predicted", "Column of the predicted class. [default: predicted, prediction …]", metavar="COLUMN"),
        Option(
            "scores",
            "What the columns of scores begin with; the class follows. [default: score_, p_ …]",
            metavar="PREFIX",
        ),
        Option("positive", "The class that a single column of scores is for.", metavar="CLASS"),
        Option("false-alarm", "Cost of saying yes wrongly.", float, 1.0, "COST"),
        Option("miss", "Cost of saying no wrongly.", float, 1.0, "COST"),
    )
    examples = (
        "viva lab confusion predictions.csv",
        "viva lab confusion predictions.csv --real species --scores p_",
        "viva lab confusion spam.csv --positive spam --false-alarm 10 --miss 1",
    )

    def prove(self, context: Context) -> Result:
        """Known labels, known noise, known costs: each claim is held against them."""
        parts = [part(context) for part in (streaming, ignored_class, coverage, noise, costs)]
        answer = (
            "It shows what accuracy hides: which classes are confused, which are never predicted, and, with out-of-sample "
            "probabilities, which labels are probably wrong. Every number here was held against a truth known beforehand."
        )
        return Result.of_parts(answer, parts)

    def apply(self, source: str, context: Context) -> Result:
        """The matrix of a file, its scores, and where probabilities are given the labels that look wrong."""
        found = read(source, context)
        result = scores(found.matrix)
        tables = [score_table(found.matrix, result), confusion_table(found.matrix)]
        tables += [suspect_table(found.joint, found.matrix.names)] if found.joint else []
        tables += [_threshold_table(found)] if found.threshold else []
        figures: list[Figure] = [*matrix_figures(found.matrix), score_figure(found.matrix, result)]
        return Result(
            _answer(found, result), _claims(found, result), tables, figures, found.notes, _data(found, result)
        )


def _answer(found: Predictions, result: Scores) -> str:
    matrix = found.matrix
    parts = [
        f"{written(result.accuracy, 0)} of {matrix.total:,} examples of {len(matrix.names)} classes are right, "
        f"and {percent(result.balanced_accuracy)} on average over the classes."
    ]
    top = top_confusions(matrix, 1)
    if top:
        pair = top[0]
        real, predicted = matrix.names[pair.real], matrix.names[pair.predicted]
        parts.append(
            f"Most often {real!r} is taken for {predicted!r}: {pair.count:,}, {percent(pair.share)} of its examples."
        )
    ignored = [matrix.names[index] for index in never_predicted(matrix)]
    if ignored:
        parts.append(f"Never predicted: {_listed(ignored)}.")
    if found.joint:
        parts.append(f"About {percent(found.joint.noise())} of the labels look wrong.")
    if found.threshold:
        best = found.threshold
        parts.append(f"At these costs say yes from a score of {number(best.threshold)} on.")
    return " ".join(parts)


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def _claims(found: Predictions, result: Scores) -> list[Claim]:
    matrix = found.matrix
    largest = int(result.support.max())
    majority = wilson([largest], [matrix.total])
    ignored = [matrix.names[index] for index in never_predicted(matrix)]
    return [
        held(
            "it beats naming the commonest class each time",
            written(result.accuracy, 0),
            f"above {percent(float(majority.value[0]))}",
            result.accuracy.low[0] > majority.value[0],
        ),
        held(
            "every class that occurs is predicted",
            _listed(ignored) + " never" if ignored else "all",
            "all",
            not ignored,
        ),
        held(
            "accuracy tells the whole story",
            f"accuracy {percent(float(result.accuracy.value[0]))}, mean recall {percent(result.balanced_accuracy)}",
            "equal within the interval",
            result.accuracy.low[0] <= result.balanced_accuracy <= result.accuracy.high[0],
        ),
    ]


def _threshold_table(found: Predictions) -> Table:
    best, (alarm, miss) = found.threshold, found.costs
    assert best is not None
    rows = [
        ["best threshold", number(best.threshold)],
        ["mean cost there", number(best.cost)],
        ["mean cost at 0.5", number(best.at_half)],
        ["false alarms", f"{best.false_alarms:,}"],
        ["misses", f"{best.misses:,}"],
    ]
    caption = f"When to say {found.positive!r}, where a false alarm costs {number(alarm)} and a miss {number(miss)}"
    return Table(caption, ["", "value"], rows)


def _data(found: Predictions, result: Scores) -> dict[str, object]:
    matrix: ConfusionMatrix = found.matrix
    data: dict[str, object] = {
        "classes": list(matrix.names),
        "counts": matrix.counts,
        "rows": "real class",
        "columns": "predicted class",
        "normalisations": dict(NORMALISATIONS),
        "accuracy": _rate(result, "accuracy", 0),
        "balanced_accuracy": result.balanced_accuracy,
        "macro_f1": result.macro_f1,
        "kappa": result.kappa,
        "matthews": result.matthews,
        "per_class": {
            name: {
                "support": int(result.support[index]),
                "predicted": int(result.predicted[index]),
                **{score: _rate(result, score, index) for score in ("precision", "recall", "f1")},
            }
            for index, name in enumerate(matrix.names)
        },
    }
    if found.joint:
        data["label_noise"] = found.joint.noise()
        data["suspects"] = [
            {
                "row": s.row + 2,
                "given": matrix.names[s.given],
                "suggested": matrix.names[s.suggested],
                "margin": s.margin,
            }
            for s in found.joint.suspects
        ]
    if found.threshold:
        data["threshold"] = found.threshold.threshold
        data["cost"] = found.threshold.cost
    return data


def _rate(result: Scores, score: str, index: int) -> list[float]:
    rate = getattr(result, score)
    return [float(part[index]) for part in (rate.value, rate.low, rate.high)]
