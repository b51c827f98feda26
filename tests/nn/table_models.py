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
    ("convnext", {"depths": [1, 2], "widths": [8, 16], "layer_scale": 0.1}, IMAGE, None),
    ("convnext", {"depths": [1], "widths": [8], "patch_size": 5, "stochastic_depth": 0.0}, (3, 16, 12), None),
    ("vit", {"hidden_dim": 24, "num_layers": 2, "mlp_dim": 32, "dropout": 0.1}, IMAGE, None),
    ("vit", {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 8, "patch_size": 2}, (3, 6, 4), None),
    ("mlp_mixer", {"hidden_dim": 16, "num_blocks": 2, "tokens_mlp_dim": 8, "channels_mlp_dim": 16}, IMAGE, None),
    ("mlp_mixer", {"hidden_dim": 16, "num_blocks": 1, "patch_size": 4, "dropout": 0.1}, (3, 12, 8), None),
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
    ("convnext", {}, (3, 224, 224), 1000, 28_589_128),
    ("convnext", {"depths": [3, 3, 27, 3]}, (3, 224, 224), 1000, 50_223_688),
    ("vit", {"hidden_dim": 768, "num_layers": 12, "num_heads": 12, "mlp_dim": 3072}, (3, 224, 224), 1000, 86_567_656),
    ("vit", {"num_layers": 12}, (3, 224, 224), 1000, 5_717_416),
    (
        "mlp_mixer",
        {"hidden_dim": 512, "num_blocks": 8, "tokens_mlp_dim": 256, "channels_mlp_dim": 2048},
        (3, 224, 224),
        1000,
        18_528_264,
    ),
]

# name, arguments, sample shape, the name in torchvision_shapes.json
TORCHVISION = [
    ("resnet18", {}, (3, 224, 224), "resnet18"),
    ("resnet34", {}, (3, 224, 224), "resnet34"),
    ("resnet50", {}, (3, 224, 224), "resnet50"),
    ("vgg", {"depth": 11, "norm": "none"}, (3, 224, 224), "vgg11"),
    ("vgg", {}, (3, 224, 224), "vgg16_bn"),
    ("mobilenet", {}, (3, 224, 224), "mobilenet_v2"),
    ("convnext", {}, (3, 224, 224), "convnext_tiny"),
    ("vit", {"hidden_dim": 768, "num_layers": 12, "num_heads": 12, "mlp_dim": 3072}, (3, 224, 224), "vit_b_16"),
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
    ("convnext", {}, (3, 6, 6), ShapeError, ["6x6", "3 halvings", "model.depths", "model.patch_size"]),
    ("convnext", {"patch_size": 4}, IMAGE, ShapeError, ["8x8", "patches of 4x4", "model.patch_size"]),
    ("convnext", {"depths": [1]}, IMAGE, ConfigError, ["model.depths [1]", "model.widths", "one entry per stage"]),
    ("convnext", {"stochastic_depth": 1.0}, IMAGE, ConfigError, ["model.stochastic_depth"]),
    ("convnext", {}, FLAT, ShapeError, ["model convnext", "features.0.0 (Conv2d)"]),
    ("vit", {"patch_size": 3}, IMAGE, ConfigError, ["model.patch_size=3", "8x8", "1, 2, 4, 8", "null takes 1"]),
    ("vit", {"num_heads": 5}, IMAGE, ConfigError, ["model.hidden_dim=192", "model.num_heads=5"]),
    ("vit", {"attention_dropout": -0.1}, IMAGE, ConfigError, ["model.attention_dropout"]),
    ("vit", {}, FLAT, ShapeError, ["model vit", "conv_proj (Conv2d)"]),
    ("mlp_mixer", {"patch_size": 5}, (1, 10, 6), ConfigError, ["model.patch_size=5", "10x6", "1, 2;"]),
    ("mlp_mixer", {}, (3, 4), ShapeError, ["model mlp_mixer", "stem.proj (Conv2d)"]),
]  # fmt: skip
