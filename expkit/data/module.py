"""DataModule: the parts of a dataset, and what a model and a Trainer must know of them."""

from typing import Any, Literal, get_args

import numpy as np

from expkit.data.loader import DataLoader
from expkit.data.sampler import BatchSampler
from expkit.data.transforms import Standardize
from expkit.errors import ConfigError, DataError

Task = Literal["classification", "regression", "language_modeling", "segmentation"]


class DataModule:
    """Training, validation and test data of one task.

    `train`, `val`, `test`: datasets of (x, y) samples; `val` and `test` may be None. `input_shape` (of one x) is looked
    up in the first sample; `output_size` is the number of classes, or of regression targets (looked up as well).
    Targets are class numbers (int64, one per sample) or vectors (float32, `output_size` each); in language modeling x
    and y are tokens, (T,) int64, y those that come next, and `output_size` is the size of the vocabulary; in
    segmentation x is an image (channels, height, width) and y the class of each pixel, (height, width) int64.
    """

    class_names: list[str] | None = None
    feature_names: list[str] | None = None
    input_transform: Standardize | None = None  # was applied to every x; a model that is served must be fed alike
    tokenizer: Any = None  # of text: made the tokens, and turns them into text again
    target_transform: Standardize | None = None  # was applied to every y of a regression; `inverse` undoes it

    def __init__(
        self,
        train: Any,
        val: Any = None,
        test: Any = None,
        *,
        task: Task,
        output_size: int | None = None,
        class_names: list[str] | None = None,
        batch_size: int = 64,
        drop_last: bool = False,
    ) -> None:
        if task not in get_args(Task):
            raise ConfigError(f"task={task!r} cannot be: it is {' or '.join(map(repr, get_args(Task)))}.")
        if len(train) == 0:
            raise DataError("there are no training samples.")
        BatchSampler(range(len(train)), batch_size, drop_last)  # refuses a wrong batch size now, not at the first batch
        self.train, self.val, self.test = train, val, test
        self.task, self.class_names = task, class_names
        self.batch_size, self.drop_last = batch_size, drop_last
        x, y = train[0]
        self.input_shape = tuple(int(size) for size in x.shape)
        self.output_size = self._found_size(y) if output_size is None else output_size

    def _found_size(self, y: Any) -> int:
        if self.task == "regression":
            return int(np.prod(y.shape)) if hasattr(y, "shape") else 1
        if self.class_names is not None:
            return len(self.class_names)
        raise ConfigError(f"a {self.task} needs output_size (the number of classes, or tokens) or class_names.")

    @property
    def num_classes(self) -> int | None:
        """The number of classes; None where there are none."""
        return self.output_size if self.task in ("classification", "segmentation") else None

    @property
    def derived(self) -> dict[str, Any]:
        """What configs can refer to as ${derived:...}, and factories are given."""
        return {
            "input_shape": self.input_shape,
            "output_size": self.output_size,
            "num_classes": self.num_classes,
            "class_names": self.class_names,
            "task": self.task,
            "num_train": len(self.train),
            "num_val": 0 if self.val is None else len(self.val),
            "num_test": 0 if self.test is None else len(self.test),
            "batch_size": self.batch_size,
            "steps_per_epoch": len(self.train_dataloader()),
        }

    def train_dataloader(self) -> DataLoader:
        """Batches of the training part, in a new order each epoch; the order hangs on the run's seed."""
        loader = DataLoader(self.train, self.batch_size, shuffle=True, drop_last=self.drop_last)
        if len(loader) == 0:
            raise ConfigError(
                f"batch_size={self.batch_size} with drop_last leaves no batch of {len(self.train)} training samples."
            )
        return loader

    def val_dataloader(self) -> DataLoader | None:
        """Batches of the validation part in its own order; None where there is none."""
        return DataLoader(self.val, self.batch_size) if self.val is not None else None

    def test_dataloader(self) -> DataLoader | None:
        """Batches of the test part in its own order; None where there is none."""
        return DataLoader(self.test, self.batch_size) if self.test is not None else None
