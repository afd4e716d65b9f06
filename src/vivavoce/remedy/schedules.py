"""warm-up and schedule: small steps at the beginning, or towards the end."""

from __future__ import annotations

from collections.abc import Iterator

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy.optimizers import optimizers_of, place
from vivavoce.remedy.remedy import Prescription
from vivavoce.remedy.snippet import Snippet

WARM_UP_SHARE = 0.1  # of the run
MOST_WARM_UP = 1000  # steps
START = 0.01  # fraction of the learning rate at the first step
FEWEST = 20  # steps: below it there is nothing to schedule


class WarmUp(Snippet):
    """The learning rate rises in a line over the first tenth of the run."""

    name = "warm-up"
    treats = ("exploding-gradients", "gradient-spikes", "dead-units", "learning-rate-too-high")
    rank = 22
    behind = True
    needs_models = False

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For runs long enough."""
        steps = min(MOST_WARM_UP, round(WARM_UP_SHARE * run.steps))
        for optimizer in optimizers_of(run, finding)[:1]:
            if steps >= 2 and run.steps >= FEWEST:
                title = f"warm up over the first {steps:,} steps"
                where = place(optimizer.site, optimizer=optimizer.class_name)
                yield Prescription(self.name, finding.slug, title, {"total_iters": steps}, where)

    def lines(self, prescription: Prescription, models: list[str], optimizer: str) -> list[str]:
        """A scheduler that the optimizer itself drives."""
        steps = prescription.numbers["total_iters"]
        return [
            f"warm_up = torch.optim.lr_scheduler.LinearLR({optimizer}, {START}, total_iters={steps})",
            f"{optimizer}.register_step_post_hook(lambda *_: warm_up.step())",
        ]


class Schedule(Snippet):
    """The learning rate falls along a cosine over the run."""

    name = "schedule"
    treats = ("gradient-spikes", "learning-rate-too-high", "batch-too-small", "oscillating-loss")
    rank = 35
    behind = True
    needs_models = False

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """For runs long enough, whose learning rate did not fall already."""
        for optimizer in optimizers_of(run, finding)[:1]:
            rates = run.series("learning_rate", ("optimizer", optimizer.id))
            if run.steps >= FEWEST and len(rates) <= 1:
                title = f"let the learning rate fall along a cosine over {run.steps:,} steps"
                where = place(optimizer.site, optimizer=optimizer.class_name)
                yield Prescription(self.name, finding.slug, title, {"steps": run.steps}, where)

    def lines(self, prescription: Prescription, models: list[str], optimizer: str) -> list[str]:
        """A scheduler that the optimizer itself drives."""
        steps = prescription.numbers["steps"]
        return [
            f"schedule = torch.optim.lr_scheduler.CosineAnnealingLR({optimizer}, {steps})",
            f"{optimizer}.register_step_post_hook(lambda *_: schedule.step())",
        ]
