"""Run by PaddleClas' own Python: its `predict_cls.py`, unchanged but for one switch.

    PYTHON benchmarks/peers_predict.py -c CONFIG

Paddle 3.3.1 fails on the memory optimisation that the script asks for ("Not find ...
memory_optimize_pass"), with the current form of a program; older releases fail to export or to load
on this processor. The switch changes what memory is reused, not what is computed.
"""

import runpy

from paddle import inference

inference.Config.enable_memory_optim = lambda self, *on: None
runpy.run_module("paddleclas.deploy.python.predict_cls", run_name="__main__")
