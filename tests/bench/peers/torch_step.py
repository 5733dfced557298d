"""A training step of 64 pictures with PyTorch on one thread: `torch_step.py ARCHITECTURE STEPS` prints milliseconds of CPU time a step.

The networks are those of `trainer/src/net/architecture.rs`, medium, at 28 x 28 gray with ten classes.
"""

import sys
import time

import torch
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(1)


def conv(channels, out, side=3, stride=1, groups=1):
    return nn.Sequential(nn.Conv2d(channels, out, side, stride, side // 2, groups=groups, bias=False), nn.BatchNorm2d(out))


class Residual(nn.Module):
    def __init__(self, inside, relu):
        super().__init__()
        self.inside, self.relu = inside, relu

    def forward(self, x):
        x = x + self.inside(x)
        return torch.relu_(x) if self.relu else x


class Pool(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) + x.amax((2, 3))


def pair(width):
    return Residual(nn.Sequential(conv(width, width), nn.ReLU(True), conv(width, width)), True)


def inverted(channels, out, stride):
    wide = channels * 4
    block = nn.Sequential(conv(channels, wide, 1), nn.ReLU(True), conv(wide, wide, 3, stride, wide), nn.ReLU(True), conv(wide, out, 1))
    return Residual(block, False) if stride == 1 and channels == out else block


NETS = {
    "mini-resnet": lambda: nn.Sequential(
        conv(1, 16), nn.ReLU(True), conv(16, 32, 3, 2), nn.ReLU(True), pair(32), conv(32, 96, 3, 2), nn.ReLU(True), pair(96),
        Pool(), nn.Linear(96, 10)),
    "mini-mobilenet": lambda: nn.Sequential(
        conv(1, 16), nn.ReLU(True), inverted(16, 32, 2), inverted(32, 32, 1), inverted(32, 64, 2), inverted(64, 64, 1),
        conv(64, 128, 1), nn.ReLU(True), Pool(), nn.Linear(128, 10)),
}


def main():
    net, steps = NETS[sys.argv[1]](), int(sys.argv[2])
    pictures, classes = torch.rand(64, 1, 28, 28), torch.randint(10, (64,))

    def step():
        net.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(net(pictures), classes).backward()

    for _ in range(3):
        step()
    begun = time.process_time()
    for _ in range(steps):
        step()
    print((time.process_time() - begun) * 1e3 / steps)


if __name__ == "__main__":
    main()
