"""A bundle in the storage account of a function app, read from Azurite, Microsoft's own emulator of Blob Storage.

Needs npm, and .envs/cloud, whose Python has Microsoft's client: make test-docker.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import engines
import pytest

from anyport import targets
from anyport.errors import NotThere, Unauthorized
from anyport.functions.azure import storage
from anyport.functions.fetch import place
from anyport.kit.process import Held, popen
from anyport.targets.azure_functions.facts import facts_of

pytestmark = [pytest.mark.slow, pytest.mark.target_azure_functions]
AZURITE = "azurite@3.37.0"
PYTHON = Path(__file__).parents[2] / ".envs" / "cloud" / "bin" / "python"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""https://learn.microsoft.com/azure/storage/common/storage-connect-azurite#use-a-well-known-storage-account-and-key"""
PUT = """
import sys
from azure.storage.blob import BlobServiceClient
said, container, name, file = sys.argv[1:]
service = BlobServiceClient.from_connection_string(said)
service.create_container(container)
with open(file, "rb") as source:
    service.get_blob_client(container, name).upload_blob(source)
"""


def listens(held: Held) -> str:
    """Where it says that it listens; "" before."""
    said = held.log.read_text("utf-8", "replace")
    return next((line.rpartition(" ")[2] for line in said.splitlines() if "successfully listens on" in line), "")


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The connection string of an account of the emulator."""
    engines.program("npm", "npm")
    engines.must(PYTHON.is_file(), "make .envs/cloud/.ready")
    folder = tmp_path_factory.mktemp("azurite")
    argv = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", AZURITE]
    subprocess.run(argv, check=True, capture_output=True)
    # the port is one that is free; it asks nobody for news, and takes the versions that Microsoft's client speaks
    emulator = [folder / "node_modules" / ".bin" / "azurite-blob", "--blobPort", "0", "--location", folder / "kept",
                "--disableTelemetry", "--skipApiVersionCheck"]  # fmt: skip
    with popen(emulator, ready=lambda held: bool(listens(held)), timeout=60) as held:
        where = f"{listens(held)}/{ACCOUNT}"
        yield f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={where};"


def test_a_bundle_is_read_with_the_account_s_key(
    penguins: Path, account: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = targets.build(penguins, "azure_functions", tmp_path / "made", model="blob:models/the zoo")
    facts = facts_of(made.path)
    container, _, name = facts.model.removeprefix("blob:").partition("/")
    subprocess.run([PYTHON, "-c", PUT, account, container, name, made.path / "model.tar.gz"], check=True)
    monkeypatch.setenv("AzureWebJobsStorage", account)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    found = place(tmp_path, facts.environment)
    assert json.loads((found / "bundle.json").read_text())["name"] == "penguin_species"
    with pytest.raises(NotThere, match="404: BlobNotFound"):
        storage.download(container, "other.tar.gz", tmp_path / "x")
    wrong = {"AzureWebJobsStorage": account.replace("Eby8", "AAAA")}
    with pytest.raises(Unauthorized, match="403: AuthorizationFailure"):
        storage.download(container, name, tmp_path / "x", wrong)
