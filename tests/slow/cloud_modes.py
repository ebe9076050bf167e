"""The clouds' own local modes, each predicting through an image of ours: run by the Python of .envs/cloud.

python cloud_modes.py sagemaker|vertex|azure IMAGE FOLDER BODY prints the answer as JSON. FOLDER is for their files.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def sagemaker(image: str, folder: Path, body: str) -> Any:
    """sagemaker-core's LocalSession: docker-compose starts the image with `serve`; /ping, then /invocations."""
    import boto3
    from sagemaker.core.local.local_session import LocalSession

    (folder / "model.tar.gz").write_bytes(empty_tar())
    boto = boto3.Session("nobody", "nothing", region_name="eu-west-1")
    session = LocalSession(boto)
    session.config = {"local": {"local_code": True, "container_root": str(folder)}}
    client, runtime = session.sagemaker_client, session.sagemaker_runtime_client
    container = {"Image": image, "ModelDataUrl": f"file://{folder / 'model.tar.gz'}", "Environment": {}}
    client.create_model("m", container)
    variant = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "local"}
    client.create_endpoint_config("c", [variant])
    client.create_endpoint("e", "c")
    try:
        reply = runtime.invoke_endpoint(body.encode(), "e", ContentType="application/json", Accept="application/json")
        return json.loads(reply["Body"].read())
    finally:
        client.delete_endpoint("e")


def empty_tar() -> bytes:
    """A model.tar.gz without members: the model is in the image."""
    import io
    import tarfile

    made = io.BytesIO()
    tarfile.open(fileobj=made, mode="w:gz").close()
    return made.getvalue()


def vertex(image: str, folder: Path, body: str) -> Any:
    """google-cloud-aiplatform's LocalModel: AIP_HTTP_PORT, AIP_PREDICT_ROUTE and AIP_HEALTH_ROUTE of its choosing."""
    from google.cloud.aiplatform.prediction import LocalModel

    model = LocalModel(
        serving_container_image_uri=image, serving_container_predict_route="/v1/endpoints/7:predict",
        serving_container_health_route="/healthy", serving_container_ports=[8099],
    )  # fmt: skip
    with model.deploy_to_local_endpoint(artifact_uri=str(folder)) as endpoint:
        health = endpoint.run_health_check()
        assert health.status_code == 200, health.text
        reply = endpoint.predict(request=body, headers={"Content-Type": "application/json"})
        assert reply.status_code == 200, reply.text
        return reply.json()


def azure(image: str, folder: Path, body: str) -> Any:
    """azure-ai-ml's local deployment of an image of one's own: its routes are probed, then POST /score."""
    from azure.ai.ml import MLClient, load_online_deployment
    from azure.ai.ml.entities import ManagedOnlineEndpoint
    from azure.core.credentials import AccessToken

    class Nobody:
        def get_token(self, *scopes: str, **_: Any) -> AccessToken:
            return AccessToken("nothing", int(time.time()) + 3600)

    (folder / "code").mkdir()
    # local mode fails on an image of one's own that has no code (TypeError), so it gets some that nobody reads
    (folder / "code" / "score.py").write_text("")
    (folder / "model").mkdir()
    (folder / "model" / "note.txt").write_text("the model is in the image")
    (folder / "request.json").write_text(body)
    client = MLClient(Nobody(), "00000000-0000-0000-0000-000000000000", "group", "space")
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="anyport-local"), local=True)

    routes = {"liveness_route": "/", "readiness_route": "/readyz", "scoring_route": "/score"}
    written = {
        "name": "blue", "endpoint_name": "anyport-local", "model": {"path": "./model"},
        "code_configuration": {"code": "./code", "scoring_script": "score.py"},
        "environment": {
            "image": image, "inference_config": {name: {"port": 8080, "path": path} for name, path in routes.items()},
        },
        "instance_type": "Standard_DS3_v2", "instance_count": 1,
    }  # fmt: skip
    (folder / "deployment.yml").write_text(json.dumps(written))  # JSON is YAML too
    deployment = load_online_deployment(folder / "deployment.yml")
    try:
        client.online_deployments.begin_create_or_update(deployment, local=True)
        return json.loads(
            client.online_endpoints.invoke("anyport-local", request_file=str(folder / "request.json"), local=True)
        )
    finally:
        client.online_endpoints.begin_delete("anyport-local", local=True)


if __name__ == "__main__":
    mode, image, folder, body = sys.argv[1:]
    answer = {"sagemaker": sagemaker, "vertex": vertex, "azure": azure}[mode](image, Path(folder), body)
    print("ANSWER " + json.dumps(answer))
