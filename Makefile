# Every target makes .venv by itself; nothing needs to be installed before but Python 3.11+ and make.
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo serve test test-slow test-docker endurance check lint types docs locks bench bench-envs clean envs

$(READY): pyproject.toml uv.lock
	@test -x $(BIN)/uv || ($(PYTHON) -m venv .venv && $(BIN)/python -m pip install -q uv==$(UV_VERSION))
	@$(BIN)/uv sync -q --locked --inexact
	@touch $@

demo: $(READY)          ## train, pack, check, predict and serve on real data
	$(BIN)/python examples/penguins/demo.py

serve: $(READY)         ## the demo, with the server kept running
	$(BIN)/python examples/penguins/demo.py --serve

test: check             ## linters, types and the default suite
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(READY)         ## linters and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

envs: .envs/torch/.ready .envs/tensorflow/.ready .envs/mlflow/.ready .envs/kserve/.ready .envs/clickhouse/.ready

.envs/%/.ready: envs/%.txt $(READY)
	@$(BIN)/uv venv -q --clear .envs/$*
	@$(BIN)/uv pip install -q --python .envs/$*/bin/python -r envs/$*.txt -e '.[serve]'
	@touch $@

.envs/tsql/.ready: src/anyport/kit/tsql/__init__.py src/anyport/kit/tsql/Driver.cs $(READY)
	@$(BIN)/python -m anyport.kit.tsql .envs/tsql
	@touch $@

.envs/zetasql/.ready: src/anyport/kit/zetasql/__init__.py $(READY)
	@$(BIN)/python -m anyport.kit.zetasql .envs/zetasql
	@touch $@

test-slow: $(READY) envs .envs/zetasql/.ready .envs/tsql/.ready ## heavy frameworks, each in an environment of its own, and the slow tests
	.envs/torch/bin/python -m pytest -m slow tests/slow/test_framework_torch.py tests/slow/test_deep_targets.py
	.envs/tensorflow/bin/python -m pytest -m slow tests/slow/test_framework_keras.py tests/slow/test_deep_targets.py
	.envs/mlflow/bin/python -m pytest -m slow tests/slow/test_framework_mlflow.py tests/slow/test_client_mlflow.py
	.envs/kserve/bin/python -m pytest -m slow tests/slow/test_client_kserve.py
	.envs/clickhouse/bin/python -m pytest -m slow -n 2 --dist worksteal tests/slow/test_clickhouse.py
	.envs/clickhouse/bin/python -m pytest -m slow -n 2 --dist worksteal --target clickhouse tests/slow/test_zoo_targets.py
	$(BIN)/python -m pytest -m slow -n 2 --dist worksteal tests/slow/test_projects.py tests/slow/test_zoo_targets.py tests/slow/test_pgvector_page.py tests/slow/test_pgvector_minilm.py tests/slow/test_bigquery_zetasql.py tests/slow/test_sqlserver_tsql.py tests/test_joins.py

test-docker: $(READY) .envs/cloud/.ready ## images in a real Docker engine (it must run), and under the clouds' local modes
	$(BIN)/python -m pytest -m slow -n 2 --dist worksteal tests/slow/test_docker.py tests/slow/test_docker_functions.py tests/slow/test_lambda_docker.py tests/slow/test_azurite.py
	$(BIN)/python -m pytest -m slow tests/slow/test_docker_clouds.py

endurance: $(READY) .envs/endurance/.ready ## fuzzing, generated requests, soak; MINUTES=2 for as long each
	$(BIN)/python -m endurance $(if $(MINUTES),--minutes $(MINUTES))

docs: $(READY)          ## regenerate the generated parts of README and docs
	$(BIN)/python docs/generate.py

LOCKS := src/anyport/kit/locks
EXPORT = $(BIN)/uv export -q --frozen --no-dev --no-emit-project --no-annotate --no-header

locks: $(READY)         ## what images and functions install, pinned and hashed, from uv.lock
	$(EXPORT) --extra serve --prune onnxruntime -o $(LOCKS)/server.txt
	$(EXPORT) -o $(LOCKS)/graph.txt
	$(EXPORT) --extra grpc --prune onnxruntime -o $(LOCKS)/grpc.txt
	$(EXPORT) --extra arrow --prune onnxruntime -o $(LOCKS)/arrow.txt
	$(EXPORT) --extra otel --prune onnxruntime -o $(LOCKS)/otel.txt
	for on in lambda lambda-calls gcf azure azure-worker; do $(EXPORT) --only-group on-$$on -o $(LOCKS)/on-$$on.txt || exit 1; done

bench-envs: $(foreach n,web orbital bentoml litserve mlflow mlserver triton ray,.envs/peers-$(n)/.ready) ## the servers that benchmarks compare with

.envs/peers-%/.ready: envs/peers-%.txt $(READY)
	@$(BIN)/uv venv -q --clear .envs/peers-$*
	@$(BIN)/uv pip install -q --python .envs/peers-$*/bin/python -r envs/peers-$*.txt
	@touch $@

bench: $(READY)         ## every benchmark; writes benchmarks/results and docs/benchmarks.md
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .envs build dist
