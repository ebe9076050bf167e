"""What the environment may say."""

import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Settings:
    """How the application runs; APP_BUNDLE, APP_PREFIX and APP_THREADS say otherwise."""

    bundle: Path = HERE / "bundle"
    prefix: str = ""
    """Of the model's routes, such as /churn."""
    threads: int = 1
    """Of one run of the model."""


def from_environment() -> Settings:
    """The settings of this process."""
    usual = Settings()
    return Settings(
        bundle=Path(os.environ.get("APP_BUNDLE") or usual.bundle),
        prefix=os.environ.get("APP_PREFIX", usual.prefix),
        threads=int(os.environ.get("APP_THREADS", usual.threads)),
    )
