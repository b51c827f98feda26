"""Models whose memory is planned and measured: name -> (what makes one of a width, width, sample shape, batch)."""

import expkit as ek
from expkit import nn
from expkit.nn import functional as F
from expkit.nn.models import CNN, MLP


class Residual(nn.Module):
    """Two convolutions with a way around them."""

    def __init__(self, ins, outs, stride):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(ins, outs, 3, stride, 1, bias=False), nn.BatchNorm2d(outs), nn.ReLU(),
            nn.Conv2d(outs, outs, 3, 1, 1, bias=False), nn.BatchNorm2d(outs),
        )  # fmt: skip
        same = stride == 1 and ins == outs
        self.aside = nn.Identity() if same else nn.Sequential(nn.Conv2d(ins, outs, 1, stride), nn.BatchNorm2d(outs))

    def forward(self, x):
        return F.relu(self.main(x) + self.aside(x))


def residual(width):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 1, 1), Residual(width, width, 1), Residual(width, 2 * width, 2),
        Residual(2 * width, 4 * width, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10),
    )  # fmt: skip


class Recurrent(nn.Module):
    """An LSTM whose last state is classified."""

    def __init__(self, width):
        super().__init__()
        self.cells, self.head = nn.LSTM(64, width, batch_first=True), nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])


class Attention(nn.Module):
    """Blocks of causal attention and a small network, over vectors."""

    def __init__(self, width, depth=3):
        super().__init__()
        self.into = nn.Linear(32, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2 * depth)])
        self.mixed = nn.ModuleList([nn.Linear(width, 3 * width) for _ in range(depth)])
        self.out = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.nets = nn.ModuleList(
            [nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)) for _ in range(depth)]
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = self.into(x)
        rows, steps, width = x.shape
        for k, net in enumerate(self.nets):
            qkv = self.mixed[k](self.norms[2 * k](x)).view(rows, steps, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(*qkv.unbind(0), is_causal=True)
            x = x + self.out[k](y.transpose(1, 2).reshape(rows, steps, width))
            x = x + net(self.norms[2 * k + 1](x))
        return self.head(x.mean(1))


MODELS = {
    "weights": (lambda w: MLP((784,), 10, hidden=[w, w, w], norm="none"), 2048, (784,), 64),
    "activations": (lambda w: MLP((784,), 10, hidden=[w, w, w]), 512, (784,), 16384),
    "images": (lambda w: CNN((3, 32, 32), 10, channels=[w // 2, w]), 64, (3, 32, 32), 512),
    "residual": (residual, 32, (3, 32, 32), 128),
    "recurrent": (Recurrent, 256, (64, 64), 128),
    "attention": (Attention, 256, (128, 32), 32),
}


def steps(case, width, size, count, *, compiled):
    """So many steps of Adam on random samples."""
    make, _, shape, _ = MODELS[case]
    model, loss = make(width), nn.CrossEntropyLoss()
    optimizer = ek.optim.Adam(model.parameters())

    def step(x, y):
        value = loss(model(x), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value

    run = ek.compile(step) if compiled else step
    x, y = ek.randn(size, *shape), ek.randint(10, (size,))
    for _ in range(count):
        run(x, y)
