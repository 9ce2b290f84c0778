"""Run by PaddleClas' own Python: export a PP-LCNet x1.0 with weights of a fixed seed.

    PYTHON benchmarks/peers_reference.py OUT_FOLDER

The classifier's last layer is scaled up, so that random weights give decided answers.
"""

import sys

import paddle
from paddleclas.ppcls.arch.backbone import PPLCNet_x1_0

CLASSES = 10


class Scores(paddle.nn.Layer):
    """The network and the softmax that a deployed one ends with."""

    def __init__(self):
        super().__init__()
        self.network = PPLCNet_x1_0(class_num=CLASSES)

    def forward(self, images):
        """Images (N, 3, 224, 224) to scores (N, 10)."""
        return paddle.nn.functional.softmax(self.network(images))


def main():
    """Build, fill the statistics with noise, save."""
    paddle.seed(0)
    model = Scores()
    model.train()
    with paddle.no_grad():
        for _ in range(3):
            model(paddle.randn([8, 3, 224, 224]))
    model.network.fc.weight.set_value(model.network.fc.weight * 30)
    model.eval()
    spec = paddle.static.InputSpec([None, 3, 224, 224], "float32", "x")
    paddle.jit.save(model, sys.argv[1] + "/inference", input_spec=[spec])


main()
