"""anyport pack: pack a trained model with rows that prove it.

example:
  anyport pack model.joblib --data train.csv --label species --trust all -o penguins.anyport
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from anyport.cli import common_trust


def arguments(sub: ArgumentParser) -> None:
    sub.add_argument(
        "model", help="pickle, joblib, skops, ONNX, XGBoost, LightGBM, CatBoost, torch, Keras or MLflow file"
    )
    sub.add_argument(
        "--data", required=True, help="rows that the model was trained on: CSV, Parquet, Arrow, JSON Lines, npy"
    )
    sub.add_argument("--label", metavar="COL", help="the target's column in the data; it is dropped")
    sub.add_argument("--name", help="name of the bundle (default: the file's)")
    sub.add_argument("--version", default="", help="version of the model (default: from the bundle's digest)")
    sub.add_argument("-o", "--out", help="where to write it (default: NAME.anyport); .tar.gz packs one file")
    sub.add_argument("--form", choices=("auto", "graph", "python"), default="auto", help="insist on one form")
    sub.add_argument("--golden", choices=("synthesised", "real"), default="synthesised",
                     help="what golden rows are stored; 'real' puts rows of yours into every artefact")  # fmt: skip
    sub.add_argument("--rtol", type=float, help="relative tolerance that the bundle states (default 1e-5)")
    sub.add_argument("--atol", type=float, help="absolute tolerance that the bundle states (default 1e-6)")
    common_trust(sub)


def run(args: Namespace) -> int:
    import sys

    from anyport.bundle import Tolerance
    from anyport.cli.inspect import described
    from anyport.cli.show import emit_json, next_line, progress, style
    from anyport.packing import pack

    if args.golden == "real":
        warning = "rows of your data will be stored in the bundle and in every artefact made from it"
        print(f"{style('warning', 'yellow', stream=sys.stderr)}: {warning}", file=sys.stderr)
    tolerance = None
    if args.rtol is not None or args.atol is not None:
        usual = Tolerance()
        tolerance = Tolerance(
            rtol=usual.rtol if args.rtol is None else args.rtol, atol=usual.atol if args.atol is None else args.atol
        )
    say = progress(quiet=args.json)
    bundle = pack(
        args.model, args.data, name=args.name, out=args.out, label=args.label, version=args.version, trust=args.trust,
        form=args.form, golden=args.golden, tolerance=tolerance, say=say,
    )  # fmt: skip
    say("")
    if args.json:
        emit_json(described(bundle))
    else:
        from anyport.cli.inspect import text

        print(text(bundle))
        print(next_line(f"anyport check {Path(bundle.path)}"))
    return 0
