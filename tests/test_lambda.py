"""The lambda target: its package, its limits, its templates, and a deployment from the first version to nothing."""

from __future__ import annotations

import json
import os
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import awslike
import boto3
import pytest
from tampering import resealed

from anyport import cli, conformance, deployment, targets
from anyport.bundle import Bundle, read
from anyport.errors import BadBundle, Impossible, Mistake, NotThere, ParityFailed
from anyport.golden import store
from anyport.kit import lock
from anyport.plan import PlanFailed
from anyport.targets import aws_lambda
from anyport.targets.aws_lambda.facts import Facts, facts_of, policy

REGION = "eu-west-1"


@pytest.fixture(scope="module")
def artefact(penguins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return targets.build(penguins, "lambda", tmp_path_factory.mktemp("lambda") / "artefact").path


@pytest.fixture(scope="module")
def image(penguins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lambda") / "image"
    return targets.build(penguins, "lambda", folder, package="image", output="s3://out/here").path


def names(file: Path) -> set[str]:
    with zipfile.ZipFile(file) as archive:
        return set(archive.namelist())


def test_a_function_is_a_small_zip_for_its_machine(artefact: Path) -> None:
    with zipfile.ZipFile(artefact / "function.zip") as archive:
        assert sum(one.file_size for one in archive.infolist()) < 130e6
        listed = {one.filename: one for one in archive.infolist()}
    assert (artefact / "function.zip").stat().st_size < 45e6
    assert {"handler.py", "bundle/bundle.json", "runtime/anyport/functions/aws/handler.py"} <= set(listed)
    native = [name for name in listed if name.endswith(".so") and "cpython" in name]
    assert native
    assert all("cpython-313-x86_64" in name for name in native)
    # the function's user is not its owner
    assert all(one.external_attr >> 16 & stat.S_IROTH for one in listed.values())
    assert not [name for name in listed if re.search(r"/tests?/|sklearn|libonnxruntime\.so|\.pyi$", name)]


def test_arm_gets_wheels_of_its_own_and_never_an_old_runtime(penguins: Path, tmp_path: Path) -> None:
    made = targets.build(penguins, "lambda", tmp_path / "arm", machine="arm64", python="3.14")
    found = names(made.path / "function.zip")
    assert any(re.search(r"onnxruntime_pybind11_state\.cpython-314-aarch64", name) for name in found)
    assert not [name for name in found if "x86_64" in name]
    pinned = {name: version for name, version, _ in lock.pins(lock.shipped("graph"))}
    assert f"lib/onnxruntime-{pinned['onnxruntime']}.dist-info/METADATA" in found


def test_built_twice_it_is_the_same_bytes(artefact: Path, penguins: Path, tmp_path: Path) -> None:
    again = targets.build(penguins, "lambda", tmp_path / "again").path

    def content(folder: Path) -> dict[str, bytes]:
        files = (p for p in folder.rglob("*") if p.is_file() and p.name != "report.json")
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}

    assert content(again) == content(artefact)


def test_build_says_what_fills_the_package(artefact: Path, penguins: Path, tmp_path: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    out = tmp_path / "cli"
    assert cli.main(["build", str(penguins), "--to", "lambda", "-o", str(out), "--no-check"]) == 0
    said = capsys.readouterr().out
    found = re.search(r"([\d.]+) MB as a zip, ([\d.]+) MB unpacked: onnxruntime ([\d.]+), ", said)
    assert found is not None
    assert float(found[1]) == pytest.approx((out / "function.zip").stat().st_size / 1e6, abs=0.06)
    with zipfile.ZipFile(out / "function.zip") as archive:
        inside = sum(one.file_size for one in archive.infolist() if not one.filename.startswith(("config", "handler")))
    assert float(found[2]) == pytest.approx(inside / 1e6, abs=0.1)


def refusal(bundle: Bundle, **given: str) -> str:
    found = targets.fits(aws_lambda, bundle, targets.options(aws_lambda, given))
    return f"{found.why}; {found.fix}" if found is not None else ""


def test_what_lambda_cannot_hold_is_refused_with_the_next_form(penguins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = read(penguins)
    assert refusal(bundle) == ""
    assert "takes 3.12, 3.13, 3.14, whose glibc the packages need; -O package=image" in refusal(bundle, python="3.11")
    assert refusal(bundle, python="3.11", package="image") == ""
    monkeypatch.setitem(aws_lambda.SPEC.limits, "unzipped_mb", 0.001)
    assert "-O model=s3://BUCKET/PREFIX" in refusal(bundle)
    assert refusal(bundle, model="s3://b/p") == ""


def test_a_package_that_is_too_large_is_refused_before_it_is_packed(
    penguins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(aws_lambda.SPEC.limits, "unzipped_mb", 20.0)
    monkeypatch.setattr("anyport.kit.archive.zip_folder", lambda *_, **__: pytest.fail("it was packed"))
    with pytest.raises(Impossible, match=r"MB unpacked: onnxruntime [\d.]+, .*Lambda takes 20 MB") as caught:
        targets.build(penguins, "lambda", tmp_path / "large")
    assert "-O package=image" in caught.value.fix
    assert not (tmp_path / "large").exists()


def test_a_python_model_goes_only_where_its_python_is(shelf: Any) -> None:
    bundle = read(shelf.bundle("notebook_class"))
    assert bundle.form == "python"
    assert f"packed on Python {bundle.manifest.python}" in refusal(bundle)
    assert "-O package=image" in refusal(bundle)
    assert refusal(bundle, package="image") == ""
    assert "runs on no other" in refusal(bundle, package="image", python="3.14")


def test_a_python_models_image_has_its_own_versions(shelf: Any, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("notebook_class"))
    made = targets.build(bundle, "lambda", tmp_path / "image", package="image")
    text = (made.path / "requirements.txt").read_text()
    own = (bundle.path / "requirements.lock").read_text()
    assert own in text
    assert "awslambdaric==" in text
    assert "onnxruntime==" not in text
    assert (made.path / "app/config/anyport/packed").read_text().startswith(bundle.digest)
    assert f"ARG BASE=public.ecr.aws/lambda/python:{bundle.manifest.python}\n" in (made.path / "Dockerfile").read_text()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"memory": "64"}, "-O memory: 64 MB"),
        ({"timeout": "901"}, "-O timeout: 901 s"),
        ({"output": "queue"}, "-O output: queue is no place"),
        ({"model": "gs://b"}, "is not in S3"),
        ({"base": "python:3.13"}, "a zip stands on no image"),
        ({"machine": "riscv"}, "machine"),
    ],
)
def test_options_that_nobody_could_build_are_mistakes(penguins: Path, tmp_path: Path, given: Any, says: str) -> None:
    with pytest.raises(Mistake, match=says):
        targets.build(penguins, "lambda", tmp_path / "x", **given)


def test_a_large_model_is_fetched_once_and_only_if_it_is_that_one(
    penguins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anyport.functions.fetch import place

    made = targets.build(penguins, "lambda", tmp_path / "apart", model="s3://models/here")
    facts = facts_of(made.path)
    assert not [name for name in names(made.path / "function.zip") if name.startswith("bundle/")]
    assert facts.environment["ANYPORT_BUNDLE"] == f"s3://models/here/penguin_species-{facts.digest[:24]}.tar.gz"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    url = (made.path / "model.tar.gz").as_uri()
    said = {"ANYPORT_BUNDLE": url, "ANYPORT_DIGEST": facts.digest}
    found = place(tmp_path, said)
    assert read(found).digest == facts.digest
    os.rename(made.path / "model.tar.gz", made.path / "moved")
    assert place(tmp_path, said) == found  # it is there already
    os.rename(made.path / "moved", made.path / "model.tar.gz")
    with pytest.raises(BadBundle, match=r"holds bundle .*; expected 000000000000"):
        place(tmp_path, {**said, "ANYPORT_DIGEST": "0" * 64})
    assert [p.name for p in (tmp_path / "tmp").iterdir()] == [found.name]
    with pytest.raises(Mistake, match="without ANYPORT_DIGEST"):
        place(tmp_path, {"ANYPORT_BUNDLE": url})
    assert place(tmp_path / "bundle", {}) == tmp_path / "bundle"


# -- templates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["artefact", "image"])
def test_the_template_is_one_that_aws_takes(
    which: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Amazon's own linter, and by the transformation that AWS applies to it."""
    import cfnlint.api
    import yaml
    from cfnlint.decode import cfn_yaml
    from samtranslator.translator.transform import transform

    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    folder: Path = request.getfixturevalue(which)
    text = (folder / "template.yaml").read_text()
    found = cfnlint.api.lint(text, regions=[REGION])
    assert [f"{one.rule.id} {one.message}" for one in found] == []
    values = parameters(folder)

    class Policies:
        def load(self) -> dict[str, str]:
            return {}

    said = json.loads(json.dumps(cfn_yaml.loads(text)))
    function = said["Resources"]["Function"]["Properties"]
    # what `sam deploy` puts there once it has uploaded the package, or pushed the image
    function |= {"ImageUri": "1.dkr.ecr.x/y:z"} if which == "image" else {"CodeUri": "s3://bucket/key"}
    made = transform(said, values, Policies())
    kinds = {one["Type"] for one in made["Resources"].values()}
    assert {"AWS::Lambda::Function", "AWS::Lambda::Version", "AWS::Lambda::Alias", "AWS::Lambda::Url"} <= kinds
    role = made["Resources"]["Role"]["Properties"]
    actions = [s["Action"] for s in role["Policies"][0]["PolicyDocument"]["Statement"]]
    assert actions == [["logs:CreateLogStream", "logs:PutLogEvents"]]
    assert set(values) <= set(yaml.safe_load(re.sub(r"!\w+", "", text))["Parameters"])


def parameters(folder: Path) -> dict[str, str]:
    """What samconfig.toml hands to the template."""
    import tomllib

    said = tomllib.loads((folder / "samconfig.toml").read_text())["default"]["deploy"]["parameters"]
    pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*")', said["parameter_overrides"])
    return {name: json.loads(value) for name, value in pairs}


@pytest.mark.parametrize("which", ["artefact", "image"])
def test_the_terraform_module_says_the_same(which: str, request: pytest.FixtureRequest) -> None:
    """Its structure only: Terraform itself has not read it."""
    import hcl2

    folder: Path = request.getfixturevalue(which)
    with (folder / "main.tf").open() as file:
        said = hcl2.load(file)
    variables = {name.strip('"') for block in said["variable"] for name in block}
    values = json.loads((folder / "terraform.tfvars.json").read_text())
    assert set(values) <= variables
    kinds = {kind.strip('"') for block in said["resource"] for kind in block}
    assert kinds == {"aws_cloudwatch_log_group", "aws_iam_role", "aws_iam_role_policy", "aws_lambda_function",
                     "aws_lambda_alias", "aws_lambda_function_url"}  # fmt: skip
    facts = facts_of(folder)
    assert (values["memory_size"], values["architecture"]) == (facts.memory, facts.machine)
    assert parameters(folder)["MemorySize"] == str(facts.memory)


def test_a_function_may_do_nothing_but_its_work() -> None:
    def rights(**given: str) -> list[tuple[list[str], str]]:
        facts = Facts(package="zip", machine="arm64", python="3.13", memory=512, timeout=3, name="m", version="1",
                      digest="d", form="graph", base="", **{"output": "", "model": "", **given})  # type: ignore[arg-type]  # fmt: skip
        return [(s["Action"], s["Resource"]) for s in policy(facts, REGION, "1", "f")["Statement"]]

    log = (["logs:CreateLogStream", "logs:PutLogEvents"], f"arn:aws:logs:{REGION}:1:log-group:/aws/lambda/f:*")
    assert rights() == [log]
    assert rights(model="s3://b/p/m.tar.gz")[1:] == [(["s3:GetObject"], "arn:aws:s3:::b/p/m.tar.gz")]
    assert rights(output="s3://b/p/")[1:] == [(["s3:PutObject"], "arn:aws:s3:::b/p/*")]
    assert rights(output="sqs:https://sqs.eu-west-1.amazonaws.com/1/q")[1:] == [
        (["sqs:SendMessage"], f"arn:aws:sqs:{REGION}:1:q")
    ]
    assert rights(output="kinesis:s")[1:] == [(["kinesis:PutRecords"], f"arn:aws:kinesis:{REGION}:1:stream/s")]


def test_a_function_that_cannot_begin_says_why(artefact: Path, tmp_path: Path) -> None:
    import shutil

    from anyport.kit.process import Failed

    broken = tmp_path / "broken"
    shutil.copytree(artefact, broken)
    with zipfile.ZipFile(artefact / "function.zip") as old, zipfile.ZipFile(broken / "function.zip", "w") as new:
        for one in old.infolist():
            if one.filename != "bundle/fast.onnx" and not one.filename.startswith("lib/"):
                new.writestr(one, old.read(one))
        new.writestr("lib/empty", b"")
    with pytest.raises(Failed, match=r"cannot be initialised: BadBundle: .*fast\.onnx"):
        conformance.check_artifact(broken)


# -- deployment --------------------------------------------------------------------------------------------------------


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with awslike.cloud() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield url


def there(url: str, **more: str) -> dict[str, str]:
    return {"function": "species", "region": REGION, "endpoint_url": url, **more}


def alias(name: str = "live") -> Mapping[str, Any]:
    found: Mapping[str, Any] = boto3.client("lambda").get_alias(FunctionName="species", Name=name)
    return found


def test_a_plan_is_shown_without_an_account(artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["deploy", str(artefact)]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "1. make the log group /aws/lambda/penguin_species"
    assert "ZipFile" in said
    assert "<function.zip>" in said or "file:function.zip" in said
    assert re.search(r"only once the golden rows are answered.*\n\d+\. name it live", said)


def test_a_function_is_deployed_upgraded_and_taken_back(
    artefact: Path, penguins: Path, tmp_path: Path, aws: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = deployment.deploy(artefact, live=there(aws))
    assert report is not None
    assert (report.ok, report.proof, report.engine["version"]) == (True, "stand-in", "version 1")
    assert alias()["FunctionVersion"] == "1"
    said = boto3.client("lambda").get_function(FunctionName="species")["Configuration"]
    assert (said["Runtime"], said["Handler"], said["MemorySize"]) == ("python3.13", "handler.handler", 512)
    assert said["Environment"]["Variables"] == {"ORT_DISABLE_TELEMETRY": "1"}
    role = boto3.client("iam").get_role_policy(RoleName="species-anyport", PolicyName="anyport")["PolicyDocument"]
    assert [one["Action"] for one in role["Statement"]] == [["logs:CreateLogStream", "logs:PutLogEvents"]]

    # a second version gets a share of the traffic, then all of it
    second = targets.build(penguins, "lambda", tmp_path / "second", memory="1024").path
    deployment.deploy(second, live=there(aws, weight="0.1"))
    assert (alias()["FunctionVersion"], alias()["RoutingConfig"]) == ("1", {"AdditionalVersionWeights": {"2": 0.1}})
    deployment.deploy(second, live=there(aws))
    assert alias()["FunctionVersion"] == "3"
    assert not (alias().get("RoutingConfig") or {}).get("AdditionalVersionWeights")
    assert conformance.check_artifact(second, live=there(aws)).ok

    # a version that answers differently gets no traffic, and goes
    wrong = targets.build(penguins, "lambda", tmp_path / "wrong").path
    inside = read(wrong / "bundle")
    golden = store.read(inside.path / "golden.npz", inside.signature)
    golden.outcome.outputs["probability"].values[7] += 0.25
    store.write(golden, inside.signature, inside.path / "golden.npz")
    resealed(wrong)
    with pytest.raises(ParityFailed, match=r"golden: 1 of 2000 rows differ.*; everything was undone"):
        deployment.deploy(wrong, live=there(aws))
    assert alias()["FunctionVersion"] == "3"
    versions = boto3.client("lambda").list_versions_by_function(FunctionName="species")["Versions"]
    assert [one["Version"] for one in versions] == ["$LATEST", "1", "2", "3"]

    # back to the version before; then everything goes
    found = deployment.planned(second, live=there(aws))
    deployment.undone(found, deployment.way_back(found), say=lambda _: None)
    assert alias()["FunctionVersion"] == "1"
    live = [part for name, value in there(aws).items() for part in ("--live", f"{name}={value}")]
    assert cli.main(["deploy", str(second), *live, "--destroy"]) == 0
    assert "1. delete the function species with all its versions" in capsys.readouterr().out
    assert cli.main(["deploy", str(second), *live, "--destroy", "--yes"]) == 0
    assert boto3.client("lambda").list_functions()["Functions"] == []
    assert boto3.client("iam").list_roles()["Roles"] == []
    assert boto3.client("logs").describe_log_groups()["logGroups"] == []


def test_the_first_version_that_fails_leaves_nothing(artefact: Path, tmp_path: Path, aws: str) -> None:
    import shutil

    wrong = tmp_path / "wrong"
    shutil.copytree(artefact, wrong)
    inside = read(wrong / "bundle")
    golden = store.read(inside.path / "golden.npz", inside.signature)
    golden.outcome.outputs["probability"].values[7] += 0.25
    store.write(golden, inside.signature, inside.path / "golden.npz")
    resealed(wrong)
    shutil.copyfile(artefact / "function.zip", wrong / "function.zip")  # which holds the bundle of before
    with pytest.raises(PlanFailed, match=r"does not answer for penguin_species .*everything was undone"):
        deployment.deploy(wrong, live=there(aws))
    assert boto3.client("lambda").list_functions()["Functions"] == []
    assert boto3.client("iam").list_roles()["Roles"] == []
    with pytest.raises(NotThere, match="species"):
        deployment.way_back(deployment.planned(artefact, live=there(aws)))


def test_what_exists_is_not_replaced_by_another_kind(artefact: Path, image: Path, aws: str) -> None:
    deployment.deploy(artefact, live=there(aws), check=False)
    with pytest.raises(Impossible, match="package type zip, which cannot be changed"):
        deployment.planned(image, live=there(aws, repository="1.dkr.ecr.eu-west-1.amazonaws.com/x"))
    with pytest.raises(Mistake, match=r"weight: 1\.5 is no share"):
        deployment.planned(artefact, live=there(aws, weight="1.5"))
    with pytest.raises(Mistake, match="which function"):
        conformance.check_artifact(artefact, live={"region": REGION})
    with pytest.raises(NotThere, match="ResourceNotFoundException"):
        conformance.check_artifact(artefact, live=there(aws, function="other"))
