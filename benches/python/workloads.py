"""What is saved: the same values for every format, as NumPy arrays in dicts."""

from __future__ import annotations

from typing import Any

import numpy as np


def _random(shape, rng) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def gpt2() -> dict[str, np.ndarray]:
    """W1: the 148 tensors of GPT-2 in f32, 498 MB."""
    rng = np.random.default_rng(1)
    width = 768
    shapes = {"wte.weight": (50257, width), "wpe.weight": (1024, width), "ln_f.weight": (width,), "ln_f.bias": (width,)}
    for layer in range(12):
        for name, shape in {
            "ln_1.weight": (width,), "ln_1.bias": (width,), "ln_2.weight": (width,), "ln_2.bias": (width,),
            "attn.c_attn.weight": (width, 3 * width), "attn.c_attn.bias": (3 * width,),
            "attn.c_proj.weight": (width, width), "attn.c_proj.bias": (width,),
            "mlp.c_fc.weight": (width, 4 * width), "mlp.c_fc.bias": (4 * width,),
            "mlp.c_proj.weight": (4 * width, width), "mlp.c_proj.bias": (width,),
        }.items():  # fmt: skip
            shapes[f"h.{layer}.{name}"] = shape
    return {name: _random(shape, rng) for name, shape in shapes.items()}


def billion() -> dict[str, np.ndarray]:
    """W2: about a billion parameters of 2 bytes, 2.47 GB: 16 layers as the Llama family has them."""
    rng = np.random.default_rng(2)
    shapes: dict[str, tuple[int, ...]] = {"embed": (128_256, 2048)}
    for layer in range(16):
        for name, shape in {
            "q": (2048, 2048), "k": (512, 2048), "v": (512, 2048), "o": (2048, 2048),
            "gate": (8192, 2048), "up": (8192, 2048), "down": (2048, 8192), "norm1": (2048,), "norm2": (2048,),
        }.items():  # fmt: skip
            shapes[f"layers.{layer}.{name}"] = shape
    return {name: rng.integers(0, 1 << 16, shape, np.uint16) for name, shape in shapes.items()}


def one() -> dict[str, np.ndarray]:
    """W5: one tensor, 4.3 GB."""
    return {"weight": np.arange(1_073_750_000, dtype=np.float32)}


def small(count: int = 100_000) -> dict[str, np.ndarray]:
    """W3: many tensors of 64 f32, 25.6 MB for 100,000."""
    return {f"layers.{n // 100}.experts.{n % 100}.w": np.full(64, n, np.float32) for n in range(count)}


def training() -> dict[str, Any]:
    """W4: W1 with two moments a parameter, keyed by int, and what else a loop keeps, 1.49 GB."""
    model = gpt2()
    state = {n: {"step": n, "exp_avg": value * 0.1, "exp_avg_sq": value * value} for n, value in enumerate(model.values())}
    groups = [{"lr": 1e-4, "betas": (0.9, 0.999), "params": list(range(len(model)))}]
    return {"model": model, "optimizer": {"state": state, "param_groups": groups}, "step": 1000, "rng": bytes(range(256)) * 20}


WORKLOADS = {"W1": gpt2, "W2": billion, "W3": small, "W4": training, "W5": one, "W6": lambda: small(1_000_000)}
# By count, for opening.
WORKLOADS.update({f"10^{n}": lambda n=n: small(10**n) for n in range(2, 7)})

# What is read alone, and in rows.
ONE = {"W1": "h.5.attn.c_attn.weight", "W3": "layers.500.experts.50.w", "W6": "layers.5000.experts.50.w"}
ROWS = {"W1": "wte.weight"}


def flat(value: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """The tensors of a nest by name, for formats without nests."""
    if isinstance(value, np.ndarray):
        return {prefix[1:]: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    out = {}
    for key, item in items:
        out.update(flat(item, f"{prefix}.{key}"))
    return out
