"""TokenWindows: pieces of a long row of tokens, each with the tokens that follow, for language models."""

from functools import cached_property

import numpy as np

from expkit.data.dataset import Dataset
from expkit.errors import ConfigError
from expkit.tensor import Tensor, from_numpy


class TokenWindows(Dataset):
    """Samples (x, y), int64 of shape (block_size,): y is x shifted by one, the token that comes next.

    tokens: (n,) ids. stride: from the start of a window to that of the next; block_size if it is not given, so that
    each token is predicted once. What is left over at the end is not used. ConfigError where n gives no window.
    """

    def __init__(self, tokens: np.ndarray, block_size: int, stride: int | None = None) -> None:
        for name, value in (("block_size", block_size), ("stride", stride)):
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value} cannot be: it counts tokens, so it is at least 1.")
        if len(tokens) <= block_size:
            raise ConfigError(
                f"block_size={block_size} needs texts of more than {block_size} tokens, but there are {len(tokens)}: "
                "make it smaller, or take more text."
            )
        self.tokens = np.ascontiguousarray(tokens, dtype=np.int64)
        self.block_size, self.stride = block_size, stride or block_size

    def __len__(self) -> int:
        return (len(self.tokens) - self.block_size - 1) // self.stride + 1

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        x, y = self.batch(np.array([index % len(self)]))
        return x[0], y[0]

    def batch(self, indices: np.ndarray) -> list[Tensor]:
        """The windows of `indices`: x and y of shape (len(indices), block_size)."""
        windows = self._windows[indices]
        return [from_numpy(np.ascontiguousarray(part)) for part in (windows[:, :-1], windows[:, 1:])]

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """All x and all y, (len(self), block_size): views of the tokens."""
        return from_numpy(self._windows[:, :-1]), from_numpy(self._windows[:, 1:])

    @cached_property
    def _windows(self) -> np.ndarray:
        """All windows with the token behind them, as a view: no copy."""
        return np.lib.stride_tricks.sliding_window_view(self.tokens, self.block_size + 1, writeable=True)[
            :: self.stride
        ]
