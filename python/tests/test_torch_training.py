"""A training that stops and goes on: everything it needs is in one file, and nothing shows that it stopped."""

from __future__ import annotations

import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import cairnfile  # noqa: E402
import cairnfile.torch as ct  # noqa: E402
from torch_equal import assert_same  # noqa: E402

STEPS, STOP = 24, 11
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW([{"params": p[:2]}, {"params": p[2:], "weight_decay": 0.0}], lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
}
SCHEDULERS = {
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=STEPS),
    "warm up": lambda o: torch.optim.lr_scheduler.SequentialLR(o, warm_up(o), milestones=[6]),
    "plateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "steps": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, milestones=[5, 14]),
}


def warm_up(optimizer):
    schedules = torch.optim.lr_scheduler
    return [schedules.LinearLR(optimizer, total_iters=6), schedules.ExponentialLR(optimizer, gamma=0.9)]


class Sampler(torch.utils.data.Sampler):
    """Shuffles each epoch with a generator of its own, and knows where it is."""

    def __init__(self, count):
        self.count, self.position, self.order = count, 0, []
        self.generator = torch.Generator().manual_seed(5)

    def __iter__(self):
        while True:
            if self.position == len(self.order):
                self.order, self.position = torch.randperm(self.count, generator=self.generator).tolist(), 0
            self.position += 1
            yield self.order[self.position - 1]

    def __len__(self):
        return self.count

    def state_dict(self):
        return {"position": self.position, "order": self.order, "generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.position, self.order = state["position"], state["order"]
        self.generator.set_state(state["generator"])


def scaler():
    """One that scales, where torch has it for the CPU; else one that does nothing."""
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=3)
    return torch.cuda.amp.GradScaler(enabled=False)


class Training:
    """A small network with dropout, noise from three generators, a scaler and a moving average."""

    def __init__(self, optimizer, scheduler):
        nn = torch.nn
        front = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))
        self.model = nn.Sequential(*front, nn.Linear(16, 16), nn.Linear(16, 1))
        self.model[4].weight.requires_grad_(False)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = OPTIMIZERS[optimizer](parameters)
        self.scheduler = SCHEDULERS[scheduler](self.optimizer)
        self.scaler = scaler()
        self.average = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.sampler = Sampler(40)
        self.step, self.losses = 0, []

    def run(self, steps):
        inputs = torch.arange(240.0).reshape(40, 6).sin()
        data = torch.utils.data.TensorDataset(inputs, inputs.sum(1, keepdim=True))
        # Without a generator of its own a loader takes a number from torch's when it begins.
        loader = torch.utils.data.DataLoader(data, batch_size=8, sampler=self.sampler, generator=torch.Generator())
        batches = iter(loader)
        for _ in range(steps):
            x, y = next(batches)
            x = x + 0.01 * torch.randn_like(x) + 0.01 * random.random() + 0.01 * float(np.random.rand())
            self.optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(self.model(x), y)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            plateau = isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
            self.scheduler.step(*([loss.item()] if plateau else []))
            for name, p in self.model.named_parameters():
                self.average[name].lerp_(p.detach(), 0.1)
            self.step += 1
            self.losses.append(loss.item())

    def state(self):
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average,
            "sampler": self.sampler.state_dict(),
            "step": self.step,
            "losses": self.losses,
            "rng": {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()},
        }

    def restore(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        self.sampler.load_state_dict(state["sampler"])
        self.average, self.step, self.losses = state["average"], state["step"], state["losses"]
        random.setstate(state["rng"]["python"])
        np.random.set_state(state["rng"]["numpy"])
        torch.set_rng_state(state["rng"]["torch"])


def seed(number):
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


@pytest.mark.parametrize("optimizer, scheduler", list(zip(OPTIMIZERS, SCHEDULERS)))
def test_a_restored_training_goes_on_bit_by_bit(path, optimizer, scheduler):
    seed(1)
    whole = Training(optimizer, scheduler)
    whole.run(STEPS)
    expected = whole.state()

    seed(1)
    first = Training(optimizer, scheduler)
    first.run(STOP)
    ct.save(first.state(), path)
    saved = ct.load(path)
    assert_same(without_numpy(first.state()), without_numpy(saved))
    first.run(2)

    seed(99)
    second = Training(optimizer, scheduler)
    second.run(3)
    second.restore(saved)
    second.run(STEPS - STOP)
    assert second.losses == expected["losses"] and second.step == STEPS
    assert_same(without_numpy(expected), without_numpy(second.state()))


def without_numpy(state):
    """A state whose NumPy arrays are torch's tensors, as they come back."""
    kind, keys, *rest = state["rng"]["numpy"]
    keys = np.asarray(keys)
    return {**state, "rng": {**state["rng"], "numpy": (kind, keys.tolist(), *rest)}}


def test_keys_of_an_optimizer_stay_ints(path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.8, 0.99))
    model(torch.rand(4, 3)).sum().backward()
    optimizer.step()
    ct.save(optimizer.state_dict(), path)
    back = ct.load(path)
    assert_same(optimizer.state_dict(), back)
    assert list(back["state"]) == [0, 1] and all(type(key) is int for key in back["state"])
    assert type(back["param_groups"][0]["betas"]) is tuple


def test_generators_of_numpy(path):
    kinds = (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64)
    generators = [np.random.Generator(kind(7)) for kind in kinds]
    ct.save({"w": torch.rand(3), "rng": [g.bit_generator.state for g in generators]}, path)
    expected = [g.random(5) for g in generators]
    # Some of them take arrays only, which is what `cairnfile.load` makes of a part.
    for generator, state, numbers in zip(generators, cairnfile.load(path, only="/rng"), expected):
        generator.bit_generator.state = state
        assert generator.random(5).tolist() == numbers.tolist()
