"""How the weights of a model are called: flat, as our parameters are and in what we write; or nested, as transformers
calls them in memory. Published folders have either, PEFT's adapters the second. Each family has its `WeightNames`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WeightNames:
    """`nested_prefixes`: (nested, flat) starts of names, the first that fits counts. `head`: module of the logits."""

    nested_prefixes: tuple[tuple[str, str], ...]
    head: str

    def flat(self, key: str) -> str:
        """Our name of what is called `key` in a file, in either way."""
        for nested, flat in self.nested_prefixes:
            if key.startswith(nested):
                return flat + key.removeprefix(nested)
        return key

    def nested(self, name: str) -> str:
        """The opposite: what transformers 4.57.1 calls a module or a weight that we call `name`."""
        for nested, flat in self.nested_prefixes:
            if name.startswith(flat):
                return nested + name.removeprefix(flat)
        return name
