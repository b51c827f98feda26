"""Rows of the registered models: what they are built from, and what does not fit them."""

from expkit.errors import ConfigError, ShapeError

IMAGE, FLAT = (1, 8, 8), (13,)

# name, arguments, input shape, parameters
ROWS = [
    ("mlp", {}, IMAGE, None),
    ("mlp", {"hidden": [32, 16], "norm": "none"}, FLAT, 13 * 32 + 32 + 32 * 16 + 16 + 16 * 10 + 10),
    ("mlp", {"hidden": [32], "norm": "batch"}, FLAT, 13 * 32 + 32 + 64 + 330),
    ("mlp", {"hidden": [32], "norm": "layer", "bias": False}, FLAT, 13 * 32 + 64 + 320),
    ("mlp", {"hidden": [32], "dropout": 0.5, "activation": "gelu"}, FLAT, 13 * 32 + 32 + 64 + 330),
    ("mlp", {"hidden": []}, (3, 4), 130),
    ("cnn", {}, IMAGE, None),
    ("cnn", {"channels": [4], "hidden": [], "norm": "none"}, IMAGE, 4 * 9 + 4 + 64 * 10 + 10),
    ("cnn", {"channels": [4, 6], "pool": 1, "hidden": [5], "dropout": 0.3}, (3, 8, 6), None),
    ("cnn", {"channels": [4, 6], "padding": "valid", "pool": 1}, (2, 9, 8), None),
    ("cnn", {"channels": [4], "padding": 2, "stride": 2, "kernel_size": 4, "pool": 2}, (2, 9, 8), None),
    ("cnn", {"channels": [4, 8, 8]}, IMAGE, None),
    ("cnn", {"channels": []}, IMAGE, None),
    ("linear", {}, IMAGE, 650),
    ("linear", {"bias": False}, FLAT, 130),
    ("resnet20", {}, (3, 16, 16), 269_722),
    ("resnet20", {"shortcut": "B", "width": 8, "zero_init_residual": True}, IMAGE, None),
    ("resnet32", {"width": 4}, IMAGE, None),
    ("resnet56", {"width": 2}, IMAGE, None),
    ("resnet18", {"width": 8}, IMAGE, None),
    ("resnet34", {"width": 2, "stem": "large"}, (3, 32, 34), None),
    ("resnet50", {"width": 2}, (3, 64, 64), None),
    ("vgg", {"width": 8, "hidden": [32], "dropout": 0.3}, IMAGE, None),
    ("vgg", {"depth": 11, "width": 8, "hidden": []}, (3, 32, 40), None),
    ("mobilenet", {"width_mult": 0.25, "dropout": 0.2}, IMAGE, None),
    ("mobilenet", {"width_mult": 0.1, "stem": "large"}, (3, 33, 64), None),
]

# Have tests of their own, in other files: they do not map samples to classes.
ELSEWHERE = {"autoencoder", "bert", "gpt", "gpt2", "gru_lm", "lstm_lm", "unet", "vae"}

# name, arguments, sample shape, parameters with 1000 classes (10 for small images), as published
PUBLISHED = [
    ("resnet20", {}, (3, 32, 32), 10, 269_722),
    ("resnet32", {}, (3, 32, 32), 10, 464_154),
    ("resnet56", {}, (3, 32, 32), 10, 853_018),
    ("resnet20", {"shortcut": "B"}, (3, 32, 32), 10, 272_474),
    ("resnet18", {}, (3, 224, 224), 1000, 11_689_512),
    ("resnet34", {}, (3, 224, 224), 1000, 21_797_672),
    ("resnet50", {}, (3, 224, 224), 1000, 25_557_032),
    ("vgg", {"depth": 11, "norm": "none"}, (3, 224, 224), 1000, 132_863_336),
    ("vgg", {"depth": 13, "norm": "none"}, (3, 224, 224), 1000, 133_047_848),
    ("vgg", {"depth": 16, "norm": "none"}, (3, 224, 224), 1000, 138_357_544),
    ("vgg", {"depth": 16}, (3, 224, 224), 1000, 138_365_992),
    ("vgg", {"depth": 19, "norm": "none"}, (3, 224, 224), 1000, 143_667_240),
    ("mobilenet", {}, (3, 224, 224), 1000, 3_504_872),
]

# name, arguments, sample shape, the name in torchvision_shapes.json
TORCHVISION = [
    ("resnet18", {}, (3, 224, 224), "resnet18"),
    ("resnet34", {}, (3, 224, 224), "resnet34"),
    ("resnet50", {}, (3, 224, 224), "resnet50"),
    ("vgg", {"depth": 11, "norm": "none"}, (3, 224, 224), "vgg11"),
    ("vgg", {}, (3, 224, 224), "vgg16_bn"),
    ("mobilenet", {}, (3, 224, 224), "mobilenet_v2"),
]

# name, arguments, input shape, error, words that the message must hold
MISFITS = [
    ("cnn", {}, FLAT, ShapeError, ["features.0 (Conv2d)", "(13,)", "model=mlp"]),
    ("cnn", {}, (8, 8), ShapeError, ["(channels, height, width)"]),
    (
        "cnn", {"channels": [4, 4, 4, 4]}, IMAGE, ShapeError,
        ["stage 4 of 4", "8x8", "features.15 (MaxPool2d", "1x1", "model.channels [4, 4, 4, 4]", "model.pool"],
    ),
    ("cnn", {"kernel_size": 9, "padding": "valid"}, IMAGE, ShapeError, ["stage 1", "features.0 (", "kernel_size"]),
    ("cnn", {"channels": [4, 0]}, IMAGE, ConfigError, ["model.channels", "at least 1", "got 0"]),
    ("cnn", {"stride": 2}, IMAGE, ConfigError, ["model.padding", "model.stride=1"]),
    ("cnn", {"pool": 0}, IMAGE, ConfigError, ["model.pool"]),
    ("cnn", {"kernel_size": 0}, IMAGE, ConfigError, ["model.kernel_size"]),
    ("cnn", {"padding": -1}, IMAGE, ConfigError, ["model.padding"]),
    ("mlp", {"hidden": [8, -1]}, FLAT, ConfigError, ["model.hidden", "got -1"]),
    ("mlp", {"hidden": 8}, FLAT, ConfigError, ["hidden", "list of int"]),
    ("mlp", {"activation": "rellu"}, FLAT, ConfigError, ["model.activation", "rellu", "'relu'"]),
    ("mlp", {"activation": "rellu", "hidden": []}, FLAT, ConfigError, ["model.activation"]),
    ("mlp", {"dropout": 1.5}, FLAT, ConfigError, ["model.dropout", "[0, 1)"]),
    ("mlp", {"norm": "group"}, FLAT, ConfigError, ["norm", "'batch'"]),
    ("mlp", {"hiden": [8]}, FLAT, ConfigError, ["hiden", "Did you mean 'hidden'"]),
    ("linear", {"bias": "yes"}, FLAT, ConfigError, ["bias", "bool"]),
    ("resnet20", {}, FLAT, ShapeError, ["model resnet20", "conv1 (Conv2d)", "(13,)", "model=mlp"]),
    ("resnet20", {"shortcut": "C"}, IMAGE, ConfigError, ["shortcut", "'A' or 'B'"]),
    ("resnet50", {"width": 0}, IMAGE, ConfigError, ["model.width", "at least 1"]),
    ("resnet18", {"stem": "smal"}, IMAGE, ConfigError, ["stem", "Did you mean 'small'"]),
    ("vgg", {"depth": 12}, IMAGE, ConfigError, ["depth", "11", "19"]),
    ("vgg", {}, (8, 8), ShapeError, ["model vgg", "features.0 (Conv2d)"]),
    ("vgg", {"hidden": [0]}, IMAGE, ConfigError, ["model.hidden", "got 0"]),
    ("mobilenet", {"width_mult": 0.0}, IMAGE, ConfigError, ["model.width_mult", "above 0"]),
    ("mobilenet", {"dropout": 1.0}, IMAGE, ConfigError, ["model.dropout"]),
    ("mobilenet", {}, FLAT, ShapeError, ["model mobilenet", "features.0.0 (Conv2d)"]),
]  # fmt: skip
