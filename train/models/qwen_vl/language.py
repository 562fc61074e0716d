"""The language model: embeddings of a packed sequence -> hidden states.

Arithmetic: transformers 4.57.1, `Qwen2_5_VLTextModel` (`Qwen2VLTextModel` is the same) and `Qwen3VLTextModel`, whose
parameter names are kept; `config.Generation` says which.
Suffixes: S tokens, C channels, H heads, G heads of keys and values, D channels of a head, F rotary frequencies (D / 2).
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import nn, ops

from shards.architecture.qwen_vl import ModelConfig
from train.models.attention import sequence_attention
from train.models.layers import Linear, RMSNorm, SwiGLU, rotary_frequencies, rotate
from train.models.sharing import gathering, zeros_weight


class TokenEmbedding(nn.Cell):
    def __init__(self, vocab_size: int, channels: int) -> None:
        super().__init__()
        self.weight = zeros_weight(vocab_size, channels)
        self.gather_exact = gathering(self.weight, ms.float32)
        self.gather_for_head = gathering(self.weight)

    def construct(self, input_ids: ms.Tensor) -> ms.Tensor:
        weight_VC = self.weight if self.gather_exact is None else self.gather_exact(self.weight)
        return ops.gather(weight_VC, input_ids, 0)

    def whole(self, compute: ms.Type) -> ms.Tensor:
        """The weight (V, C) for the products of a tied head."""
        return ops.cast(self.weight, compute) if self.gather_for_head is None else self.gather_for_head(self.weight)


class LanguageAttention(nn.Cell):
    """Causal grouped-query attention within the segments of the pack."""

    def __init__(self, config: ModelConfig[Any], compute: ms.Type) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.num_key_value_heads = config.num_key_value_heads
        self.head_dim = config.head_dim
        channels, bias = config.hidden_size, config.generation.qkv_bias
        self.q_proj = Linear(channels, config.query_size, bias=bias)
        self.k_proj = Linear(channels, config.key_value_size, bias=bias)
        self.v_proj = Linear(channels, config.key_value_size, bias=bias)
        self.o_proj = Linear(config.query_size, channels, bias=False)
        self.has_norms = config.generation.qk_norm
        if self.has_norms:
            self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
            self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
        self.attend = sequence_attention(config.num_attention_heads, config.head_dim, compute, causal=True)

    def construct(
        self, x_SC: ms.Tensor, angles_SF: ms.Tensor, token_keys: ms.Tensor, token_ends: ms.Tensor
    ) -> ms.Tensor:
        length = x_SC.shape[0]
        key_value_shape = (length, self.num_key_value_heads, self.head_dim)
        q_SHD = ops.reshape(self.q_proj(x_SC), (length, self.num_heads, self.head_dim))
        k_SGD = ops.reshape(self.k_proj(x_SC), key_value_shape)
        v_SGD = ops.reshape(self.v_proj(x_SC), key_value_shape)
        if self.has_norms:
            q_SHD, k_SGD = self.q_norm(q_SHD), self.k_norm(k_SGD)
        out_SHD = self.attend(rotate(q_SHD, angles_SF), rotate(k_SGD, angles_SF), v_SGD, token_keys, token_ends)
        return self.o_proj(ops.reshape(out_SHD, (length, self.num_heads * self.head_dim)))


class DecoderLayer(nn.Cell):
    def __init__(self, config: ModelConfig[Any], compute: ms.Type) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = LanguageAttention(config, compute)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size, bias=False)

    def construct(
        self, x_SC: ms.Tensor, angles_SF: ms.Tensor, token_keys: ms.Tensor, token_ends: ms.Tensor
    ) -> ms.Tensor:
        x_SC = x_SC + self.self_attn(self.input_layernorm(x_SC), angles_SF, token_keys, token_ends)
        return x_SC + self.mlp(self.post_attention_layernorm(x_SC))


class LanguageModel(nn.Cell):
    def __init__(self, config: ModelConfig[Any], compute: ms.Type) -> None:
        super().__init__()
        self.embed_tokens = TokenEmbedding(config.vocab_size, config.hidden_size)
        self.layers = nn.CellList([DecoderLayer(config, compute) for _ in range(config.num_hidden_layers)])
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.frequencies = ms.Tensor(rotary_frequencies(config.head_dim, config.rope_theta))
        self.axes = ms.Tensor(mrope_axes(config.mrope_section, interleaved=config.generation.interleaved_mrope))

    def construct(
        self,
        x_SC: ms.Tensor,
        position_ids: ms.Tensor,
        token_keys: ms.Tensor,
        token_ends: ms.Tensor,
        *added_SC: ms.Tensor,
    ) -> ms.Tensor:
        """Map embeddings (S, C) to normalised hidden states (S, C). What is `added` goes to the first layers' outputs.

        The other arguments are fields of a `Batch`.
        """
        positions_FS = ops.gather(ops.cast(position_ids, ms.float32), self.axes, 0)
        angles_SF = ops.transpose(positions_FS, (1, 0)) * self.frequencies
        for index, layer in enumerate(self.layers):
            x_SC = layer(x_SC, angles_SF, token_keys, token_ends)
            if index < len(added_SC):
                x_SC = x_SC + added_SC[index]
        return self.norm(x_SC)


def mrope_axes(section: tuple[int, int, int], *, interleaved: bool) -> npt.NDArray[np.int32]:
    """(F,) the position that turns each frequency: 0 temporal, 1 height, 2 width; `section` counts those of each.

    One section after the other; or interleaved: the frequencies 1, 4, 7, ... are of height and 2, 5, 8, ... of width,
    each up to the three times its number, and all others temporal.
    """
    if not interleaved:
        return np.repeat(np.arange(3, dtype=np.int32), section)
    axes = np.zeros(sum(section), np.int32)
    for axis in (1, 2):
        axes[axis : 3 * section[axis] : 3] = axis
    return axes
