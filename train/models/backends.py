"""Who computes a model: this project's own code (native), or MindNLP's, from the same packs. Loads neither.

| `--backend` | what | where |
| --- | --- | --- |
| native | the rooms of `train.models`, compiled | everywhere |
| mindnlp | MindNLP's Qwen2.5-VL, operator by operator, behind the same `TrainedModel` | `train.models.mindnlp` |
"""

from __future__ import annotations

from importlib.util import find_spec
from types import MappingProxyType

from train.errors import UsageError

NATIVE = "native"
MINDNLP = "mindnlp"
BACKENDS = (NATIVE, MINDNLP)
MINDNLP_FAMILIES = ("qwen2_5_vl",)

# Flags that MindNLP's model does not follow: name -> (the values that it does follow, why no other one).
MINDNLP_TAKES = MappingProxyType(
    {
        "lora_enable": ((False,), "adapters are trained by the native one alone"),
        "bf16": ((False,), "it computes in float32"),
        "gradient_checkpointing": ((False,), "it keeps what each layer computes"),
        "jit_level": (("O0",), "it is not compiled"),
        "zero_stage": ((None, 0), "it trains in one process, which shares nothing"),
    }
)


def require_backend(backend: str, *, model_type: str, num_ranks: int) -> None:
    """Raises UsageError, which says what to do, where `backend` can't train such a model here."""
    if backend == NATIVE:
        return
    if model_type not in MINDNLP_FAMILIES:
        raise UsageError(
            f"backend {backend} trains models of model_type {', '.join(MINDNLP_FAMILIES)}, not {model_type}; leave the "
            "flag out for this one"
        )
    require_one_rank(backend, num_ranks)
    if find_spec("mindnlp") is None:
        raise UsageError(
            f"backend {backend}: MindNLP is not installed. `bash scripts/setup.sh --mindnlp` makes .venv-mindnlp, with "
            "the extra mindnlp, which scripts/train.sh takes for this flag; or leave the flag out"
        )


def describe(backend: str) -> str | None:
    """A line for the log, which says whose code it is: people bring their own. None for ours."""
    found = find_spec("mindnlp") if backend == MINDNLP else None
    return f"computed by MindNLP, operator by operator: {found.origin}" if found else None


def require_one_rank(backend: str, num_ranks: int) -> None:
    if backend == MINDNLP and num_ranks > 1:
        raise UsageError(
            f"backend {backend} trains in one process, not in {num_ranks}: add --nproc 1, or leave the flag out"
        )
