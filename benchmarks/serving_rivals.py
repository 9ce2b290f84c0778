"""One network behind another server, as its own documents show it; run by `serving.py` in that server's environment.

    python benchmarks/serving_rivals.py litserve|bentoml|mlserver MODEL.onnx PORT WORKERS

Each takes the bytes of a JPEG, prepared as in `naive.py`, or those of a float32 tensor (1, 3, 224, 224), and gives
scores.
"""

import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class Network:
    """The ONNX file in one thread."""

    def __init__(self, model):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self.name = self.session.get_inputs()[0].name

    def __call__(self, data):
        """Scores of a JPEG's or a tensor's bytes."""
        batch = tensor(data) if len(data) == 4 * 3 * 224 * 224 else image(data)
        return self.session.run(None, {self.name: batch})[0][0].tolist()


def tensor(data):
    """The batch in raw bytes."""
    return np.frombuffer(data, np.float32).reshape(1, 3, 224, 224)


def image(data):
    """The batch of a file."""
    pixels = cv2.cvtColor(
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
    )
    height, width = pixels.shape[:2]
    scale = 256 / min(height, width)
    pixels = cv2.resize(
        pixels, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA
    )
    top, left = (pixels.shape[0] - 224) // 2, (pixels.shape[1] - 224) // 2
    pixels = pixels[top : top + 224, left : left + 224]
    pixels = (pixels.astype(np.float32) * np.float32(1 / 255) - MEAN) / STD
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def litserve(model, port, workers):
    """LitServe: an upload. Its workers import this module again, so the API stands below."""
    os.environ["RIVAL_MODEL"] = model
    server = _litserve.LitServer(Lit(), accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False)


try:
    import litserve as _litserve
except ImportError:
    _litserve = None
else:

    class Lit(_litserve.LitAPI):
        """The API."""

        def setup(self, device):
            """Open the network."""
            self.network = Network(os.environ["RIVAL_MODEL"])

        def decode_request(self, request):
            """The bytes of the upload."""
            return request["content"].file.read()

        def predict(self, data):
            """Scores."""
            return self.network(data)

        def encode_response(self, output):
            """As JSON."""
            return {"scores": output}


def bentoml(model, port, workers):
    """BentoML: a file; it imports this module as the service `serving_rivals:Bento`."""
    os.environ |= {
        "RIVAL_MODEL": model,
        "RIVAL_WORKERS": str(workers),
        "BENTOML_DO_NOT_TRACK": "true",
    }
    os.chdir(Path(__file__).parent)
    words = ["serve", "serving_rivals:Bento", "--host", "127.0.0.1", "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", *words])


try:
    import bentoml as _bentoml
except ImportError:
    _bentoml = None
else:

    @_bentoml.service(workers=int(os.environ.get("RIVAL_WORKERS", "1")))
    class Bento:
        """The service."""

        def __init__(self):
            self.network = Network(os.environ["RIVAL_MODEL"])

        @_bentoml.api
        def infer(self, content: Path) -> list[float]:
            """Scores of a file."""
            return self.network(content.read_bytes())


_RIVAL = """
import base64, sys
sys.path.insert(0, {home!r})
from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput
from serving_rivals import Network

class Rival(MLModel):
    async def load(self):
        self.network = Network({model!r})
        return True

    async def predict(self, payload):
        data = payload.inputs[0].data
        data = getattr(data, "root", getattr(data, "__root__", data))
        scores = self.network(base64.b64decode(data[0]))
        output = ResponseOutput(name="scores", shape=[1, len(scores)], datatype="FP32", data=scores)
        return InferenceResponse(model_name=self.name, outputs=[output])
"""


def mlserver(model, port, workers):
    """MLServer: a runtime of one's own in a folder of models."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="mlserver-"))
    (folder / "rival.py").write_text(_RIVAL.format(home=str(Path(__file__).parent), model=model))
    settings = {"name": "net", "implementation": "rival.Rival"}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    server = {"host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2,
              "parallel_workers": workers, "debug": False}  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(server))
    program = Path(sys.executable).with_name("mlserver")
    os.execv(program, [str(program), "start", str(folder)])


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
