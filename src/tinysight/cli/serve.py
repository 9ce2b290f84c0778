"""Serve bundles over REST and gRPC.

    tinysight serve clarity_assessment
    tinysight serve helmet=runs/helmet/bundle clarity:2=runs/clarity/bundle --workers 2
    tinysight serve --system bundles/shelf --gallery galleries/drinks
    tinysight serve --new-token tokens
    tinysight serve --write-triton repository clarity_assessment
    tinysight serve clarity_assessment --host 0.0.0.0 --token-file tokens --tls-cert c.pem --tls-key k.pem

Each bundle is a model: POST an image to /v1/classify, /v1/embed or /v1/detect, or tensors as the Open
Inference Protocol v2 says; with a system and a gallery to /v1/recognize. Needs the extra `serve`.
Ends on SIGTERM or Ctrl-C, when all accepted requests are answered. A bundle that is replaced on disk is
loaded without a pause.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tinysight.cli.arguments import add_engine, add_plugin
from tinysight.errors import ConfigError

if TYPE_CHECKING:
    from tinysight.serving.galleries import GalleryRoutes

_LIMITS = {
    "queue": "jobs of a model that may wait", "batch": "images in one run of a network",
    "deadline": "seconds to a result", "body-bytes": "bytes of a request", "pixels": "pixels of an image",
    "head-seconds": "seconds for the head of a request", "body-seconds": "seconds for its body",
    "connections": "connections of a process", "rate": "requests a second of one client; 0: any number",
    "drain": "seconds between unreadiness and the end of accepting",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    from tinysight.serving.limits import ServerLimits

    add = parser.add_argument
    add(
        "bundle",
        nargs="*",
        metavar="[NAME[:VERSION]=]BUNDLE",
        help="bundle folder, shipped bundle, or public model",
    )
    text = "recognise with it: folder of a system, or of an embedder"
    add("--system", metavar="FOLDER", help=text)
    text = "gallery to ask, and to keep with an admin token; may be repeated"
    add("--gallery", action="append", default=[], metavar="[NAME=]FOLDER", help=text)
    add("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    add("--port", type=int, default=8000, metavar="P", help="of HTTP (8000); 0 takes a free one")
    add(
        "--grpc-port",
        type=int,
        default=8001,
        metavar="P",
        help="of gRPC (8001); 0 takes a free one",
    )
    add("--no-grpc", action="store_true", help="HTTP only")
    add("--workers", type=int, default=1, metavar="N", help="processes that share the ports (1)")
    add("--token-file", metavar="FILE", help="tokens that may ask; needed to listen to others")
    add(
        "--admin-token-file",
        metavar="FILE",
        help="tokens that may load and unload models, and change galleries",
    )
    add("--new-token", metavar="FILE", help="print a new token, add its digest to FILE, and end")
    text = "write the bundles as a model repository of Triton, and end"
    add("--write-triton", metavar="FOLDER", help=text)
    add("--tls-cert", metavar="PEM", help="certificate chain")
    add("--tls-key", metavar="PEM", help="its key")
    add("--store", metavar="FOLDER", help="bundles in it may be loaded by name")
    add(
        "--url-host", action="append", default=[], metavar="HOST", help="read images from this host"
    )
    compat = "also answer as paddlex, paddleserving, hubserving (comma between)"
    add("--compat", default="", metavar="NAMES", help=compat)
    add("--metrics", choices=["triton"], help="also under Triton's names")
    for name, text in _LIMITS.items():
        value = getattr(ServerLimits, name.replace("-", "_"))
        add(f"--{name}", type=type(value), default=value, metavar="N", help=f"{text} ({value})")
    add_engine(parser)
    add_plugin(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until told to end."""
    from tinysight.foreign import foreign_routes
    from tinysight.serving.limits import ServerLimits, new_token

    if args.new_token:
        print(new_token(args.new_token))
        return 0
    if args.system and not args.gallery:
        raise ConfigError("--system", "which gallery?", "add --gallery FOLDER")
    if not (args.bundle or args.store or args.gallery):
        raise ConfigError("BUNDLE", "which bundle?", "tinysight serve clarity_assessment")
    from tinysight.serving.repository import parse_models

    models = parse_models(args.bundle)
    if args.write_triton:
        from tinysight.serving.triton import write_repository

        print(write_repository(args.write_triton, models))
        return 0
    from tinysight.serving.server import ServerSettings, serve

    limits = {name.replace("-", "_"): getattr(args, name.replace("-", "_")) for name in _LIMITS}
    settings = ServerSettings(
        models=models, host=args.host, port=args.port,
        grpc_port=None if args.no_grpc else args.grpc_port,
        options={"engine": args.engine, "precision": args.precision, "exact": args.exact},
        limits=ServerLimits(**limits), token_file=args.token_file, admin_token_file=args.admin_token_file,
        tls_cert=args.tls_cert, tls_key=args.tls_key, workers=args.workers, store=args.store,
        triton_metrics=args.metrics == "triton", url_hosts=tuple(args.url_host),
        more_routes=(*_galleries(args), *(foreign_routes(args.compat) if args.compat else ())),
    )  # fmt: skip
    return serve(settings)


def _galleries(args: argparse.Namespace) -> tuple[GalleryRoutes, ...]:
    if not args.gallery:
        return ()
    from tinysight.serving.galleries import GalleryRoutes, parse_galleries

    options = {"engine": args.engine, "precision": args.precision}
    return (GalleryRoutes(parse_galleries(args.gallery), args.system, options),)
