"""Every workload of the training tables in a size that takes milliseconds: what differs from the row itself."""

from benchmarks.training.workloads import Normal, classes, images, tokens

_GPT = {"vocabulary": 11, "length": 6, "width": 8, "heads": 2, "layers": 2}

TINY = {
    "mlp_small": {"sizes": {"sizes": (5, 8, 8, 10)}, "x": Normal((4, 5)), "y": classes(4)},
    "mlp_mnist": {"sizes": {"sizes": (7, 6, 10)}, "x": Normal((3, 7)), "y": classes(3)},
    "resnet20": {"sizes": {"blocks": 2, "widths": (4, 6)}, "x": images(3, 8), "y": classes(3)},
    "resnet_wide": {"sizes": {"blocks": 1, "widths": (4, 6, 8)}, "x": images(3, 8), "y": classes(3)},
    "gpt_mini": {"sizes": _GPT, "x": tokens(11, 3, 6), "y": tokens(11, 3, 6)},
    "lstm": {"sizes": {"kind": "LSTM", "features": 3, "width": 5}, "x": Normal((4, 6, 3)), "y": classes(4)},
    "mlp_norm": {
        "sizes": {"sizes": (6, 9, 9, 4), "activation": "GELU", "norm": True, "dropout": 0.2},
        "x": Normal((5, 6)), "y": classes(5, 4),
    },
    "mlp_odd": {"sizes": {"sizes": (5, 7, 3), "activation": "Tanh"}, "x": Normal((7, 5)), "y": classes(7, 3)},
    "vgg": {"sizes": {"widths": (4, 6), "side": 8, "hidden": 5}, "x": images(3, 8), "y": classes(3)},
    "resnet_deep": {"sizes": {"blocks": 1, "widths": (4, 5)}, "x": images(2, 16), "y": classes(2)},
    "mobilenet": {"sizes": {"stages": ((4, 1), (6, 2))}, "x": images(3, 8), "y": classes(3)},
    "convnext": {"sizes": {"width": 6, "blocks": 2}, "x": images(2, 16), "y": classes(2)},
    "autoencoder": {"sizes": {"widths": (3, 5)}, "x": images(3, 8, 1), "y": images(3, 8, 1)},
    "vit": {
        "sizes": {"side": 8, "patch": 4, "width": 8, "heads": 2, "layers": 1}, "x": images(2, 8), "y": classes(2),
    },
    "encoder": {"sizes": {**_GPT, "classes": 3}, "x": tokens(11, 3, 6), "y": classes(3, 3)},
    "gpt_large": {"sizes": _GPT, "x": tokens(11, 1, 6), "y": tokens(11, 1, 6)},
    "gpt_odd": {"sizes": {**_GPT, "width": 6, "heads": 3}, "x": tokens(11, 3, 6), "y": tokens(11, 3, 6)},
    "gru": {"sizes": {"kind": "GRU", "features": 3, "width": 5}, "x": Normal((4, 6, 3)), "y": classes(4)},
    "lstm_deep": {
        "sizes": {"kind": "LSTM", "features": 3, "width": 5, "layers": 2}, "x": Normal((4, 6, 3)), "y": classes(4),
    },
    "bag_of_words": {
        "sizes": {"vocabulary": 13, "width": 4, "hidden": 5, "classes": 3}, "x": tokens(13, 4, 6), "y": classes(4, 3),
    },
}  # fmt: skip
