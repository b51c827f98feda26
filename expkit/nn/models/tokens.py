"""What the language models share: checks of contexts and tokens."""

from __future__ import annotations

from expkit.errors import ShapeError
from expkit.nn.models.parts import size, sizes
from expkit.tensor import Tensor

ADVICE = "Language models need tokens: data=pystdlib, or data=text data.path=... for a text of your own."


def context_length(model: str, input_shape: tuple[int, ...], block_size: int | None = None) -> int:
    """The longest context: block_size, or the length of the data's samples. ShapeError for data that are no tokens."""
    shape = sizes("input_shape", input_shape)
    if len(shape) != 1:
        raise ShapeError(f"model {model}: samples must be rows of tokens, (T,), but the data's are {shape}. {ADVICE}")
    longest = shape[0] if block_size is None else size("model.block_size", block_size)
    require_room(shape[0], longest)
    return longest


def require_room(length: int, block_size: int) -> None:
    """ShapeError where there are more tokens than the model has positions for."""
    if length > block_size:
        raise ShapeError(
            f"{length} tokens are more than the model's block_size={block_size}: give a shorter context "
            "(data.block_size), or a model with a larger block_size."
        )


def require_tokens(model: str, ids: Tensor) -> None:
    """ShapeError unless `ids` are whole numbers of shape (N, T), T above 0."""
    if ids.ndim != 2 or ids.is_floating_point() or not ids.shape[1]:
        raise ShapeError(
            f"model {model}: expected tokens, whole numbers of shape (N, T), got {ids.dtype} {tuple(ids.shape)}. "
            f"{ADVICE}"
        )
