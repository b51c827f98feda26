"""What configs need not say because the data or the trainer knows it."""

# Name -> meaning of what is known once the data is loaded: `${derived:NAME}`, and arguments of these names.
DERIVED = {
    "input_shape": "shape of one sample, e.g. [1, 8, 8]",
    "output_size": "what a model puts out: the number of classes, or of regression targets",
    "num_classes": "the number of classes (null for regression)",
    "class_names": "names of the classes, where the data set has them",
    "task": "classification or regression",
    "num_train": "samples in the training part",
    "num_val": "samples in the validation part",
    "num_test": "samples in the test part",
    "batch_size": "samples in a training batch",
    "steps_per_epoch": "optimizer steps in an epoch",
    "max_epochs": "epochs that the trainer will run",
    "total_steps": "optimizer steps of the whole training",
}

# What the trainer makes and hands to a task whose signature names it, beside the values above.
TASK_PARTS = {
    "model": "the model of `model:`",
    "loss": "the loss of `loss:`, a function of (prediction, target)",
    "optimizer": "parameters -> the optimizer of `optim:`",
    "scheduler": "optimizer -> the schedule of `scheduler:`; null for none",
    "metrics": "() -> {name: Metric}, a new set for each stage",
    "data": "the data module",
    "task": DERIVED["task"],
}

# Group -> how many first arguments the trainer passes itself (the parameters, the optimizer).
POSITIONAL = {"data": 0, "model": 0, "loss": 0, "optim": 1, "scheduler": 1}
